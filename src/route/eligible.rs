//! Which models of a pool can serve a request now, and why the others cannot.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Demand;
use super::error::PlanError;
use super::question::Question;
use super::rules::RuleEffect;
use crate::codec::{self, Forcing};
use crate::protocol::{Dialect, Mode, Needs, RoutingOptions};
use crate::upstream::{Catalog, Deployment, Model, Refused, Selection};

/// What to do about a weight of 0 that nobody wrote.
const WEIGH_FOUND: &str = "a model that a server lists is called by name only until it is given a weight, on the \
    dashboard or under [models]";

/// An excluded model, and why.
pub(super) type LeftOut = (Arc<Model>, Reason);

/// Why a model is excluded.
pub(super) enum Reason {
    /// The token's or the request's lists or a rule exclude it, or it lacks an ability.
    Lasting(String),
    /// The API token may not use it.
    Forbidden,
    /// Only its weight excludes it; `callable` = it could be called now.
    Weightless { callable: bool },
    /// Its backends cannot carry a field of the request: one of them speaks `dialect`, which lacks the field; `None`
    /// = its provider refuses the field, of all its models or of this one.
    Uncarried { field: String, dialect: Option<&'static str> },
    /// It cannot be made to call a tool; `told` = it could be told to, in words.
    Unforced { told: bool },
    /// It cannot be called now; when it can be, and what is in the way until then, if known.
    Unavailable { why: String, available_in: Option<(Duration, Refused)> },
    /// Its context is too small for the prompt.
    TooLong(String),
}

impl Reason {
    /// Whether it could serve as well as others, but for a call that it can only be told to make.
    pub(super) fn is_only_told(&self) -> bool {
        matches!(self, Self::Unforced { told: true })
    }

    /// When the model is available again, and what is in the way until then, if waiting helps.
    pub(super) fn available_in(&self) -> Option<(Duration, Refused)> {
        if let Self::Unavailable { available_in, .. } = self { *available_in } else { None }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Uncarried { field, .. } => Some(field),
            Self::Unforced { .. } => Some("tool_choice"),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lasting(text) | Self::TooLong(text) | Self::Unavailable { why: text, .. } => f.write_str(text),
            Self::Forbidden => f.write_str("this API token may not use it"),
            Self::Weightless { .. } => f.write_str("its weight is 0"),
            Self::Unforced { told: true } => {
                f.write_str("it can only be told in words to call a tool, others be made to")
            }
            Self::Unforced { told: false } => {
                f.write_str("it cannot be made to call a tool (`tool_choice` \"auto\" works)")
            }
            Self::Uncarried { field, dialect: None } => write!(f, "its provider does not take `{field}`"),
            Self::Uncarried { field, dialect: Some(dialect) } => {
                let told = format!("into which Pointsman does not translate `{field}`");
                write!(f, "its backend speaks the {dialect} dialect, {told}")
            }
        }
    }
}

/// A field that a dialect cannot say of the request, by dialect: looked for once, however many models speak it.
type Unsaid = HashMap<Dialect, Option<String>>;

/// Splits `pool` into models that can serve the request, never none, and the others. Where none can now, the one
/// whose vendor's pause ends first is taken, if it ends within the question's `patience`.
///
/// # Errors
///
/// No model can serve the request, or it lists models that do not exist.
pub(super) fn split(
    catalog: &Catalog,
    pool: Vec<Arc<Model>>,
    demand: &Demand,
    effect: &RuleEffect,
    mode: Mode,
    question: &Question<'_>,
) -> Result<(Vec<Arc<Model>>, Vec<LeftOut>), PlanError> {
    let lists = Lists::of(catalog, question.allowed, &question.request.routing)?;
    let mut unsaid = HashMap::new();
    let mut able = Vec::new();
    let mut excluded = Vec::new();
    for (at, model) in pool.into_iter().enumerate() {
        let is_named = mode == Mode::Named && at == 0;
        let (model, listed) = match lists.part_of(&model, is_named) {
            Ok(part) => (part, Ok(())),
            Err(reason) => (model, Err(reason)),
        };
        match listed.and_then(|()| eligible(&lists, &model, demand, effect, mode, question, &mut unsaid)) {
            Ok(()) => able.push(model),
            Err(reason) => excluded.push((model, reason)),
        }
    }
    if able.is_empty() {
        // Whoever can be told to call a tool is better than nobody.
        let told = excluded.extract_if(.., |(_, reason)| reason.is_only_told());
        able = told.map(|(model, _)| model).collect();
    }
    if able.is_empty() {
        let waited_for =
            soonest(&excluded, demand, question.patience).ok_or_else(|| none_eligible(&excluded, demand))?;
        able.push(excluded.swap_remove(waited_for).0);
    }
    Ok((able, excluded))
}

/// Lists of models, resolved to the catalog's names once, however many models there are.
struct Lists<'c> {
    allowed: Option<Selection<'c>>,
    wished: Option<Selection<'c>>,
    excluded: Selection<'c>,
}

impl<'c> Lists<'c> {
    /// # Errors
    ///
    /// The request excludes a model that does not exist, or asks for such ones alone.
    fn of(catalog: &'c Catalog, allowed: Option<&[String]>, wishes: &RoutingOptions) -> Result<Self, PlanError> {
        let selection = |names: &[String]| catalog.selection(names);
        let wished = wishes.models.as_deref().map(selection);
        if let (Some(wished), Some(first)) = (&wished, wishes.models.iter().flatten().min())
            && wished.is_empty()
        {
            return Err(PlanError::Unable(format!("there is no model `{first}`")));
        }
        if let Some(unknown) = wishes.exclude.iter().find(|name| catalog.find(name).is_none()) {
            return Err(PlanError::UnknownExclusion(unknown.clone()));
        }
        Ok(Self { allowed: allowed.map(selection), wished, excluded: selection(&wishes.exclude) })
    }

    /// What the lists leave of a model: all of it, or what it is at some of its servers. One that the request names need
    /// not be among those that it lists besides.
    fn part_of(&self, model: &Arc<Model>, is_named: bool) -> Result<Arc<Model>, Reason> {
        let part = |list: &Option<Selection<'_>>, model: &Arc<Model>| match list {
            Some(list) => list.part_of(model),
            None => Some(Arc::clone(model)),
        };
        let model = part(&self.allowed, model).ok_or(Reason::Forbidden)?;
        let others = || Reason::Lasting("it is not among the request's models".into());
        if is_named { Ok(model) } else { part(&self.wished, &model).ok_or_else(others) }
    }
}

fn eligible(
    lists: &Lists<'_>,
    model: &Model,
    demand: &Demand,
    effect: &RuleEffect,
    mode: Mode,
    question: &Question<'_>,
    unsaid: &mut Unsaid,
) -> Result<(), Reason> {
    let lasting = |text: String| Err(Reason::Lasting(text));
    let name = model.name.as_str();
    if lists.excluded.has(model) {
        return lasting("the request excludes it".into());
    }
    if let Some(rule) = effect.forbid.get(name) {
        return lasting(format!("the rule `{rule}` forbids it"));
    }
    if mode == Mode::Weighted {
        let weight = effect.weights.get(name).copied().unwrap_or(model.settings.weight);
        let wanted = effect.prefer.iter().any(|preferred| preferred == name) || lists.wished.is_some();
        if weight <= 0.0 && !wanted {
            let callable = model.unavailable(question.now).is_none();
            return Err(Reason::Weightless { callable });
        }
    }
    Demand { needs: needs(model, demand, mode), ..*demand }.check(&model.settings).map_err(Reason::Lasting)?;
    let forcing = forcing(model, question, unsaid);
    if forcing == Forcing::Impossible {
        return Err(Reason::Unforced { told: false });
    }
    if let Some(field) = codec::refused_field(question.client, &model.settings.refuses, question.request) {
        return Err(Reason::Uncarried { field, dialect: None });
    }
    if let Some((field, dialect)) = uncarried(model, question, unsaid) {
        return Err(Reason::Uncarried { field, dialect });
    }
    if let Some(why) = model.unavailable(question.now) {
        return Err(Reason::Unavailable { why, available_in: model.available_in(question.now) });
    }
    // Behind the others, so that "too long" is only said of models that a shorter prompt could use.
    demand.fits(&model.settings).map_err(Reason::TooLong)?;
    if forcing == Forcing::InWords { Err(Reason::Unforced { told: true }) } else { Ok(()) }
}

/// What the model must be known to be able to do.
fn needs(model: &Model, demand: &Demand, mode: Mode) -> Needs {
    if mode == Mode::Named && model.settings.can_is_guessed {
        // Nothing else would be asked: whether it can, its server says.
        return Needs::default();
    }
    // Anthropic's models are told in words to answer with a JSON object, which needs no structured output.
    let in_words = demand.any_object && model.deployments.iter().all(|it| it.provider.dialect == Dialect::Anthropic);
    Needs { structured_output: demand.needs.structured_output && !in_words, ..demand.needs }
}

/// How a call that the request demands can be had of the model's deployments that carry the request, or of all where
/// none does.
fn forcing(model: &Model, question: &Question<'_>, unsaid: &mut Unsaid) -> Forcing {
    if !question.request.must_call() {
        return Forcing::Said;
    }
    let carrying = model.deployments.iter().filter(|deployment| obstacle(deployment, question, unsaid).is_none());
    let carrying: Vec<&str> = carrying.map(|deployment| &*deployment.name).collect();
    let carry = |deployment: &Deployment| carrying.is_empty() || carrying.contains(&&*deployment.name);
    model.forcing(question.client, question.request, question.now, question.patience, &carry)
}

/// What stands in the way of some deployment, if something does of each.
fn uncarried(model: &Model, question: &Question<'_>, unsaid: &mut Unsaid) -> Option<Obstacle> {
    let mut first = None;
    for deployment in &model.deployments {
        let obstacle = obstacle(deployment, question, unsaid)?;
        first = first.or(Some(obstacle));
    }
    first
}

/// A field of the request that a deployment cannot carry; with the dialect, if that is the reason.
type Obstacle = (String, Option<&'static str>);

fn obstacle(deployment: &Deployment, question: &Question<'_>, unsaid: &mut Unsaid) -> Option<Obstacle> {
    let dialect = deployment.provider.dialect;
    let (client, request) = (question.client, question.request);
    let unsaid = unsaid.entry(dialect).or_insert_with(|| codec::obstacle(client, dialect, request));
    let passes = || deployment.passes_to_responses(client, request, question.now);
    let unsaid = unsaid.clone().filter(|_| !passes()).map(|field| (field, Some(dialect.as_str())));
    let refused = || codec::refused_part(client, dialect, &deployment.provider.quirks, request);
    unsaid.or_else(|| refused().map(|field| (field, None)))
}

/// The excluded model whose vendor's pause ends first, within `patience`.
fn soonest(excluded: &[LeftOut], demand: &Demand, patience: Duration) -> Option<usize> {
    let rest = |(model, reason): &LeftOut| match reason.available_in() {
        Some((wait, Refused::Resting(_))) if wait <= patience && demand.fits(&model.settings).is_ok() => Some(wait),
        _ => None,
    };
    let resting = excluded.iter().enumerate().filter_map(|(at, out)| Some((at, rest(out)?)));
    resting.min_by_key(|(_, wait)| *wait).map(|(at, _)| at)
}

/// The error when no model can serve: of several reasons the one that the client, or time, can do most about. Models
/// that the token may not use are not named.
fn none_eligible(excluded: &[LeftOut], demand: &Demand) -> PlanError {
    let visible = || excluded.iter().filter(|(_, reason)| !matches!(reason, Reason::Forbidden));
    let described = |which: fn(&Reason) -> bool| {
        let some: Vec<&LeftOut> = visible().filter(|(_, reason)| which(reason)).take(8).collect();
        let mut texts: Vec<String> = some.iter().map(|(model, reason)| format!("{}: {reason}", model.name)).collect();
        let is_found = |(model, reason): &&LeftOut| {
            model.discovered && model.settings.weight <= 0.0 && matches!(reason, Reason::Weightless { .. })
        };
        if some.iter().any(is_found) {
            texts.push(WEIGH_FOUND.to_owned());
        }
        texts.join("; ")
    };
    let too_long = described(|reason| matches!(reason, Reason::TooLong(_)));
    // Preferably those that will be back by themselves; the others wait for the operator.
    let mut unavailable = described(|reason| reason.available_in().is_some());
    if unavailable.is_empty() {
        unavailable = described(|reason| matches!(reason, Reason::Unavailable { .. }));
    }
    if !too_long.is_empty() {
        let able = visible().filter(|(_, reason)| matches!(reason, Reason::TooLong(_)));
        let most = able.map(|(model, _)| model.settings.context).max().unwrap_or_default();
        PlanError::TooLong { tokens: demand.prompt_tokens, most, text: too_long }
    } else if !unavailable.is_empty() {
        let available_in =
            excluded.iter().filter_map(|(_, reason)| reason.available_in()).min_by_key(|(wait, _)| *wait);
        // First those that the operator could add by a weight.
        let mut texts =
            vec![described(|reason| matches!(reason, Reason::Weightless { callable: true })), unavailable];
        texts.retain(|text| !text.is_empty());
        PlanError::Unavailable { text: texts.join("; "), available_in }
    } else if excluded.is_empty() {
        PlanError::Unavailable { text: "none is configured".into(), available_in: None }
    } else if visible().next().is_none() {
        PlanError::Unable("this API token may use none of them".into())
    } else {
        let first = visible().next().and_then(|(_, reason)| reason.field());
        let common = first.filter(|first| visible().all(|(_, reason)| reason.field() == Some(*first)));
        let text = described(|_| true);
        match common {
            Some(field) => PlanError::Uncarried { field: field.to_owned(), text },
            None => PlanError::Unable(text),
        }
    }
}
