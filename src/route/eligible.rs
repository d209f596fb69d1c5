//! Which models of a pool can serve a request now, and what is in the way of the others.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Demand;
use super::error::PlanError;
use super::question::Question;
use super::rules::Verdict;
use crate::codec;
use crate::config::Capability;
use crate::protocol::{Dialect, Mode, Needs, RoutingOptions};
use crate::upstream::{Availability, Catalog, Model, Refused};

/// A model that is left out, and why.
pub(super) type LeftOut = (Arc<Model>, Reason);

/// Why a model is left out.
pub(super) enum Reason {
    /// Somebody does not want it, or it is not able.
    Lasting(String),
    /// The API token may not use it.
    Forbidden,
    /// Nothing but its weight keeps it out; `callable` = it could be called now.
    Weightless { callable: bool },
    /// Its backends cannot carry a field of the request: one of them speaks this dialect, or, where there is none,
    /// its provider does not take it.
    Uncarried { field: String, dialect: Option<&'static str> },
    /// It cannot be made to call a tool; `by_schema` = it can hold its answer to a schema.
    Unforced { by_schema: bool },
    /// It would be there at another time: in how long, and what is in the way till then, where that is known.
    Unavailable { why: String, back: Option<(Duration, Refused)> },
    /// It would serve a shorter prompt.
    TooLong(String),
}

impl Reason {
    /// As a clause for people.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Lasting(text) | Self::TooLong(text) | Self::Unavailable { why: text, .. } => text,
            other => other.to_string(),
        }
    }

    /// In how long it is over, and what it is, where it is a matter of time.
    pub(super) fn back(&self) -> Option<(Duration, Refused)> {
        if let Self::Unavailable { back, .. } = self { *back } else { None }
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
            Self::Unforced { by_schema } => {
                let beside = if *by_schema { ", and so does a schema as the answer's format" } else { "" };
                write!(f, "it cannot be made to call a tool (`tool_choice` \"auto\" works{beside})")
            }
            Self::Uncarried { field, dialect: None } => write!(f, "its provider does not take `{field}`"),
            Self::Uncarried { field, dialect: Some(dialect) } => {
                write!(f, "its backend speaks the {dialect} dialect, which cannot carry `{field}`")
            }
        }
    }
}

/// Those of `pool` that can serve the request, and the others. Where none can now, the one whose vendor's rest is
/// over first counts, if that is soon enough. The first part is never empty.
///
/// # Errors
///
/// No model can serve it, or it lists models that there are not.
pub(super) fn split(
    catalog: &Catalog,
    pool: Vec<Arc<Model>>,
    demand: &Demand,
    verdict: &Verdict,
    mode: Mode,
    question: &Question<'_>,
) -> Result<(Vec<Arc<Model>>, Vec<LeftOut>), PlanError> {
    let lists = Lists::of(catalog, question.allowed, &question.request.routing);
    if let Some(stranger) = lists.stranger(catalog) {
        return Err(PlanError::Unable(format!("there is no model `{stranger}`")));
    }
    if let Some(stranger) = lists.excluded.iter().find(|name| catalog.find(name).is_none()) {
        return Err(PlanError::UnknownExclusion((*stranger).to_owned()));
    }
    let mut able = Vec::new();
    let mut excluded = Vec::new();
    for model in pool {
        match eligible(&lists, &model, demand, verdict, mode, question) {
            Ok(()) => able.push(model),
            Err(reason) => excluded.push((model, reason)),
        }
    }
    if able.is_empty() {
        let waited_for = soonest(&excluded, demand, question.patience).ok_or_else(|| nobody(&excluded, demand))?;
        able.push(excluded.swap_remove(waited_for).0);
    }
    Ok((able, excluded))
}

/// Models that somebody listed, by the names of the catalog: looked up once, however many models there are.
struct Lists<'a> {
    allowed: Option<BTreeSet<&'a str>>,
    wished: Option<BTreeSet<&'a str>>,
    excluded: BTreeSet<&'a str>,
}

impl<'a> Lists<'a> {
    fn of(catalog: &'a Catalog, allowed: Option<&'a [String]>, wishes: &'a RoutingOptions) -> Self {
        let listed =
            |names: &'a [String]| names.iter().map(|name| catalog.canonical(name)).collect::<BTreeSet<&'a str>>();
        Self {
            allowed: allowed.map(listed),
            wished: wishes.models.as_deref().map(listed),
            excluded: listed(&wishes.exclude),
        }
    }

    /// One of the wished models, where there is none of them.
    fn stranger(&self, catalog: &Catalog) -> Option<&'a str> {
        let mut wished = self.wished.iter().flatten().copied();
        let first = wished.next()?;
        let is_known = |name: &str| catalog.find(name).is_some();
        (!is_known(first) && !wished.any(is_known)).then_some(first)
    }
}

fn eligible(
    lists: &Lists<'_>,
    model: &Model,
    demand: &Demand,
    verdict: &Verdict,
    mode: Mode,
    question: &Question<'_>,
) -> Result<(), Reason> {
    let lasting = |text: String| Err(Reason::Lasting(text));
    let name = model.name.as_str();
    let absent = |list: &Option<BTreeSet<&str>>| list.as_ref().is_some_and(|list| !list.contains(name));
    if absent(&lists.allowed) {
        return Err(Reason::Forbidden);
    }
    if absent(&lists.wished) {
        return lasting("it is not among the request's models".into());
    }
    if lists.excluded.contains(name) {
        return lasting("the request excludes it".into());
    }
    if let Some(rule) = verdict.forbid.get(name) {
        return lasting(format!("the rule `{rule}` forbids it"));
    }
    if mode == Mode::Weighted {
        let weight = verdict.weights.get(name).copied().unwrap_or(model.settings.weight);
        let wanted = verdict.prefer.iter().any(|preferred| preferred == name) || lists.wished.is_some();
        if weight <= 0.0 && !wanted {
            let callable = !matches!(model.availability(question.now), Availability::Unavailable(_));
            return Err(Reason::Weightless { callable });
        }
    }
    // Claude is told in words of any JSON object, for which it need not be able to hold to a schema.
    let in_words = demand.any_object && model.deployments.iter().all(|it| it.provider.dialect == Dialect::Anthropic);
    let needs = Needs { structured_output: demand.needs.structured_output && !in_words, ..demand.needs };
    Demand { needs, ..*demand }.check(&model.settings).map_err(Reason::Lasting)?;
    if demand.forces(&model.settings) {
        return Err(Reason::Unforced { by_schema: model.settings.can.contains(&Capability::StructuredOutput) });
    }
    if let Some((field, dialect)) = uncarried(model, question) {
        return Err(Reason::Uncarried { field, dialect });
    }
    if let Availability::Unavailable(why) = model.availability(question.now) {
        return Err(Reason::Unavailable { why, back: model.back(question.now) });
    }
    // Last, so that only those are told of that a shorter prompt would reach.
    demand.fits(&model.settings).map_err(Reason::TooLong)
}

/// The field that none of a model's places can carry, and the dialect of one of them, where that is why.
fn uncarried(model: &Model, question: &Question<'_>) -> Option<(String, Option<&'static str>)> {
    let mut first = None;
    for place in &model.deployments {
        let dialect = place.provider.dialect;
        let (client, request) = (question.client, question.request);
        let unsaid = codec::obstacle(client, dialect, request).map(|field| (field, Some(dialect.as_str())));
        let refused = || codec::refused_part(client, dialect, &place.provider.quirks, request);
        let obstacle = unsaid.or_else(|| refused().map(|field| (field, None)))?;
        first = first.or(Some(obstacle));
    }
    first
}

/// Of the models that are left out the one whose vendor's rest is over first, within `patience`.
fn soonest(excluded: &[LeftOut], demand: &Demand, patience: Duration) -> Option<usize> {
    let rest = |(model, reason): &LeftOut| match reason.back() {
        Some((wait, Refused::Resting)) if wait <= patience && demand.fits(&model.settings).is_ok() => Some(wait),
        _ => None,
    };
    let resting = excluded.iter().enumerate().filter_map(|(at, out)| Some((at, rest(out)?)));
    resting.min_by_key(|(_, wait)| *wait).map(|(at, _)| at)
}

/// What stands in the way of all: of several reasons the one that the client, or time, can do most about. Models that a
/// token may not use are not told to whoever holds it.
fn nobody(excluded: &[LeftOut], demand: &Demand) -> PlanError {
    let told = || excluded.iter().filter(|(_, reason)| !matches!(reason, Reason::Forbidden));
    let those = |which: fn(&Reason) -> bool| {
        let some = told().filter(|(_, reason)| which(reason)).take(8);
        some.map(|(model, reason)| format!("{}: {reason}", model.name)).collect::<Vec<_>>().join("; ")
    };
    let too_long = those(|reason| matches!(reason, Reason::TooLong(_)));
    // Those that will be back, if any will; what else is missing is the operator's to set up.
    let mut unavailable = those(|reason| reason.back().is_some());
    if unavailable.is_empty() {
        unavailable = those(|reason| matches!(reason, Reason::Unavailable { .. }));
    }
    if !too_long.is_empty() {
        let able = told().filter(|(_, reason)| matches!(reason, Reason::TooLong(_)));
        let most = able.map(|(model, _)| model.settings.context).max().unwrap_or_default();
        PlanError::TooLong { tokens: demand.prompt_tokens, most, text: too_long }
    } else if !unavailable.is_empty() {
        let back = excluded.iter().filter_map(|(_, reason)| reason.back()).min_by_key(|(wait, _)| *wait);
        // First those that a word of the operator would bring back.
        let mut texts = vec![those(|reason| matches!(reason, Reason::Weightless { callable: true })), unavailable];
        texts.retain(|text| !text.is_empty());
        PlanError::Unavailable { text: texts.join("; "), back }
    } else if excluded.is_empty() {
        PlanError::Unavailable { text: "none is configured".into(), back: None }
    } else if told().next().is_none() {
        PlanError::Unable("this API token may use none of them".into())
    } else {
        let first = told().next().and_then(|(_, reason)| reason.field());
        let common = first.filter(|first| told().all(|(_, reason)| reason.field() == Some(*first)));
        let text = those(|_| true);
        match common {
            Some(field) => PlanError::Uncarried { field: field.to_owned(), text },
            None => PlanError::Unable(text),
        }
    }
}
