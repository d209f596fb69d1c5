//! Chooses: candidates, weights, order, and the reasons.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use super::Demand;
use super::plan::{Considered, Decision, Excluded, Mode, Plan};
use super::rules::{Facts, Rules, Verdict};
use crate::config::Routing;
use crate::protocol::{ApiError, ChatRequest, DecisionId, ErrorKind, NamedObjective, Objective, Usage};
use crate::upstream::{Availability, Catalog, Model};

/// Tokens an answer is taken to have where nobody says.
const USUAL_ANSWER: u32 = 400;

/// Everything a plan depends on besides configuration.
pub struct Question<'a> {
    /// The request.
    pub request: &'a ChatRequest,
    /// The id the decision gets.
    pub id: DecisionId,
    /// Name of the API token that asks.
    pub token: Option<&'a str>,
    /// Models that token may use; `None` = all.
    pub allowed: Option<&'a [String]>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The moment, for breakers and rests.
    pub now: Instant,
    /// Draws from [0, 1).
    pub chance: &'a mut dyn FnMut() -> f64,
}

/// What the client asked for in `model`.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Any model, under an objective where one is named (`auto:cost`).
    Auto(Option<NamedObjective>),
    /// This one.
    Model(String),
}

impl Asked {
    /// Reads `model`; nothing is `auto`.
    ///
    /// # Errors
    ///
    /// `auto:` with an objective that does not exist.
    pub fn parse(model: &str) -> Result<Self, PlanError> {
        let Some(rest) = model.strip_prefix("auto") else {
            return Ok(if model.is_empty() { Self::Auto(None) } else { Self::Model(model.to_owned()) });
        };
        match rest {
            "" => Ok(Self::Auto(None)),
            ":quality" => Ok(Self::Auto(Some(NamedObjective::Quality))),
            ":balanced" => Ok(Self::Auto(Some(NamedObjective::Balanced))),
            ":cost" => Ok(Self::Auto(Some(NamedObjective::Cost))),
            ":speed" => Ok(Self::Auto(Some(NamedObjective::Speed))),
            _ if rest.starts_with(':') => Err(PlanError::UnknownObjective(rest[1..].to_owned())),
            _ => Ok(Self::Model(model.to_owned())),
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No such objective.
    #[error("there is no objective `{0}`; use auto:quality, auto:balanced, auto:cost or auto:speed")]
    UnknownObjective(String),
    /// No such model.
    #[error("there is no model `{name}`{hint}")]
    UnknownModel {
        /// The name as written.
        name: String,
        /// `; did you mean ...?`, or nothing.
        hint: String,
    },
    /// The token may not use it.
    #[error("this API token may not use the model `{0}`")]
    Forbidden(String),
    /// No model is able to serve the request.
    #[error("no model can serve this request: {0}")]
    Unable(String),
    /// Able models exist, and none can be called now.
    #[error("no model is available: {0}")]
    Unavailable(String),
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let kind = match &error {
            PlanError::UnknownObjective(_) | PlanError::UnknownModel { .. } => ErrorKind::NotFound,
            PlanError::Forbidden(_) => ErrorKind::Permission,
            PlanError::Unable(_) => ErrorKind::InvalidRequest,
            PlanError::Unavailable(_) => ErrorKind::Unavailable,
        };
        let told = ApiError::new(kind, error.to_string());
        if kind == ErrorKind::Unavailable { told } else { told.at("model") }
    }
}

/// Makes a plan.
///
/// # Errors
///
/// See [`PlanError`].
pub fn plan(
    catalog: &Catalog,
    rules: &Rules,
    settings: &Routing,
    question: &mut Question<'_>,
) -> Result<Plan, PlanError> {
    let request = question.request;
    let demand = Demand::of(request);
    let facts = Facts::new(request, demand.needs, demand.prompt_tokens, question.token, question.headers);
    let verdict = rules.apply(&facts);
    let asked = Asked::parse(&request.model)?;
    let named_objective = match asked {
        Asked::Auto(objective) => objective.map(Objective::Named),
        Asked::Model(_) => None,
    };
    let objective = request.routing.objective.or(named_objective).or(verdict.objective).unwrap_or(settings.objective);

    let (mode, pool, why) = pool(catalog, &asked, &verdict, question)?;
    let mut excluded = Vec::new();
    let mut able = Vec::new();
    for model in pool {
        match eligible(&model, &demand, &verdict, mode, question) {
            Ok(()) => able.push(model),
            Err(reason) => excluded.push((model, reason)),
        }
    }
    if able.is_empty() {
        return Err(nobody(&excluded));
    }

    let preferred = preferred(catalog, &verdict, &able);
    let weighed = weigh(able, &verdict);
    let order = order(weighed, &preferred, question.chance);
    let candidates: Vec<Considered> =
        order.iter().map(|(model, weight, propensity)| consider(model, *weight, *propensity, &demand)).collect();
    let chosen = candidates.first().map(|first| (first.model.clone(), first.propensity));
    let Some((chosen, propensity)) = chosen else { return Err(nobody(&excluded)) };
    let failover = request.routing.failover != Some(false);
    let most = if failover { settings.max_candidates } else { 1 };
    let reason = if preferred.contains(&chosen.to_string()) { "a rule prefers it".into() } else { why };
    let decision = Decision {
        id: question.id,
        requested: if request.model.is_empty() { "auto".into() } else { request.model.clone() },
        mode,
        chosen,
        propensity,
        policy_version: 0,
        reason,
        objective,
        needs: demand.needs,
        prompt_tokens: demand.prompt_tokens,
        rules: verdict.hits.into_iter().map(|hit| hit.name).collect(),
        candidates,
        excluded: excluded
            .into_iter()
            .map(|(model, reason)| Excluded { model: model.name.clone(), reason: reason.text })
            .collect(),
    };
    let candidates = order.into_iter().map(|(model, ..)| model).take(most).collect();
    Ok(Plan { candidates, decision: Arc::new(decision) })
}

/// The models to look at, how one of them will be chosen, and a clause that says so.
fn pool(
    catalog: &Catalog,
    asked: &Asked,
    verdict: &Verdict,
    question: &Question<'_>,
) -> Result<(Mode, Vec<Arc<Model>>, String), PlanError> {
    let named = match (&verdict.pin, asked) {
        (Some(pin), _) => Some((pin, format!("the rule `{}` pins it", last_hit(verdict)))),
        (None, Asked::Model(name)) => Some((name, "the client named it".to_owned())),
        (None, Asked::Auto(_)) => None,
    };
    let Some((name, why)) = named else {
        return Ok((Mode::Weighted, catalog.models().cloned().collect(), "drawn by weight".into()));
    };
    let model = catalog.find(name).ok_or_else(|| unknown(catalog, name))?;
    if !allowed(question.allowed, model) {
        return Err(PlanError::Forbidden(model.name.to_string()));
    }
    Ok((Mode::Named, vec![Arc::clone(model)], why))
}

fn last_hit(verdict: &Verdict) -> &str {
    verdict.hits.last().map_or("", |hit| hit.name.as_str())
}

fn unknown(catalog: &Catalog, name: &str) -> PlanError {
    let names = catalog.models().map(|model| model.name.as_str()).chain(catalog.aliases().keys().map(String::as_str));
    let scored = names.map(|known| (strsim::jaro_winkler(name, known), known));
    let near = scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = near.map(|(_, near)| format!("; did you mean `{near}`?")).unwrap_or_default();
    PlanError::UnknownModel { name: name.to_owned(), hint }
}

fn allowed(list: Option<&[String]>, model: &Model) -> bool {
    list.is_none_or(|list| list.iter().any(|name| name == model.name.as_str()))
}

/// Why a model fell out.
struct Reason {
    text: String,
    /// Whether it would be there at another time.
    passing: bool,
}

fn eligible(
    model: &Model,
    demand: &Demand,
    verdict: &Verdict,
    mode: Mode,
    question: &Question<'_>,
) -> Result<(), Reason> {
    let lasting = |text: String| Err(Reason { text, passing: false });
    let name = model.name.as_str();
    let wishes = &question.request.routing;
    if !allowed(question.allowed, model) {
        return lasting("this API token may not use it".into());
    }
    if wishes.models.as_ref().is_some_and(|only| !only.iter().any(|wanted| wanted == name)) {
        return lasting("it is not among the request's models".into());
    }
    if wishes.exclude.iter().any(|unwanted| unwanted == name) {
        return lasting("the request excludes it".into());
    }
    if let Some(rule) = verdict.forbid.get(name) {
        return lasting(format!("the rule `{rule}` forbids it"));
    }
    if mode == Mode::Weighted {
        let weight = verdict.weights.get(name).copied().unwrap_or(model.settings.weight);
        let wanted = verdict.prefer.iter().any(|preferred| preferred == name) || wishes.models.is_some();
        if weight <= 0.0 && !wanted {
            return lasting("its weight is 0".into());
        }
    }
    demand.check(&model.settings).map_err(|text| Reason { text, passing: false })?;
    match model.availability(question.now) {
        Availability::Available => Ok(()),
        Availability::Unavailable(text) => Err(Reason { text, passing: true }),
    }
}

fn nobody(excluded: &[(Arc<Model>, Reason)]) -> PlanError {
    let listed = |passing: bool| {
        let some = excluded.iter().filter(|(_, reason)| reason.passing == passing).take(8);
        some.map(|(model, reason)| format!("{}: {}", model.name, reason.text)).collect::<Vec<_>>().join("; ")
    };
    if excluded.iter().any(|(_, reason)| reason.passing) {
        PlanError::Unavailable(listed(true))
    } else if excluded.is_empty() {
        PlanError::Unavailable("none is configured".into())
    } else {
        PlanError::Unable(listed(false))
    }
}

/// Preferred models that can serve, in order, by their own names.
fn preferred(catalog: &Catalog, verdict: &Verdict, able: &[Arc<Model>]) -> Vec<String> {
    let resolved = verdict.prefer.iter().filter_map(|name| catalog.find(name));
    resolved
        .filter(|model| able.iter().any(|other| other.name == model.name))
        .map(|model| model.name.to_string())
        .collect()
}

fn weigh(able: Vec<Arc<Model>>, verdict: &Verdict) -> Vec<(Arc<Model>, f64)> {
    let weight = |model: &Model| {
        let weight = verdict.weights.get(model.name.as_str()).copied().unwrap_or(model.settings.weight);
        // Asked for by name among others, although never drawn: then all such are alike.
        if weight > 0.0 { weight } else { f64::MIN_POSITIVE }
    };
    able.into_iter()
        .map(|model| {
            let weight = weight(&model);
            (model, weight)
        })
        .collect()
}

/// Preferred models first, in their order; the others drawn without replacement with probabilities proportional to
/// their weights (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006). The propensity is the
/// probability of standing first.
fn order(
    weighed: Vec<(Arc<Model>, f64)>,
    preferred: &[String],
    chance: &mut dyn FnMut() -> f64,
) -> Vec<(Arc<Model>, f64, f64)> {
    let total: f64 = weighed.iter().map(|(_, weight)| weight).sum();
    let place = |model: &Model| preferred.iter().position(|name| name == model.name.as_str());
    let mut keyed: Vec<_> = weighed
        .into_iter()
        .map(|(model, weight)| {
            let propensity = match (place(&model), preferred.is_empty()) {
                (Some(0), _) => 1.0,
                (_, false) => 0.0,
                (_, true) => weight / total,
            };
            // ln(u) / w orders as u^(1/w) does, without underflow.
            let key = (1.0 - chance()).max(f64::MIN_POSITIVE).ln() / weight;
            (place(&model).unwrap_or(usize::MAX), key, model, weight, propensity)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    keyed.into_iter().map(|(_, _, model, weight, propensity)| (model, weight, propensity)).collect()
}

fn consider(model: &Model, weight: f64, propensity: f64, demand: &Demand) -> Considered {
    let answer = demand.max_tokens.unwrap_or(USUAL_ANSWER).min(USUAL_ANSWER).min(model.settings.max_output);
    let usage =
        Usage { input_tokens: u64::from(demand.prompt_tokens), output_tokens: u64::from(answer), ..Usage::default() };
    Considered {
        model: model.name.clone(),
        weight,
        cost_usd: model.settings.price.of(&usage).0,
        latency_ms: model.latency().map(|latency| latency.as_secs_f64() * 1e3),
        propensity,
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
