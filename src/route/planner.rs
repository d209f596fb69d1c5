//! Chooses: candidates, weights, order, and the reasons.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::Demand;
use super::learned::{self, Judged, Learned};
use super::plan::{Considered, Decision, Excluded, Features, Mode, Plan, Prediction, Shadow};
use super::rules::{Facts, Rules, Verdict};
use super::sticky::Stay;
use crate::bandit::Tradeoff;
use crate::codec;
use crate::config::{Routing, Weights};
use crate::protocol::{
    ApiError, ChatRequest, DecisionId, Dialect, ErrorKind, NamedObjective, Objective, RoutingOptions, Usage,
};
use crate::upstream::{Availability, Catalog, Model, Refused};

/// Everything a plan depends on besides configuration.
pub struct Question<'a> {
    /// The request.
    pub request: &'a ChatRequest,
    /// The dialect it came in: a backend that speaks it gets the body as it is.
    pub client: Dialect,
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
    /// A vendor that asked for a rest is waited for so long, where nobody else can answer.
    pub patience: Duration,
    /// Draws from [0, 1).
    pub chance: &'a mut dyn FnMut() -> f64,
    /// Where the conversation is, if it is under way.
    pub stay: Option<Stay>,
    /// What the learned policy goes by; `None` = the weights choose.
    pub learned: Option<Learned<'a>>,
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
    /// No backend can carry a field of the request.
    #[error("no model can serve this request: {text}")]
    Uncarried {
        /// The field.
        field: String,
        /// Which models, and why.
        text: String,
    },
    /// The prompt is too long for every model that could serve it else.
    #[error("the prompt is too long: {0}")]
    TooLong(String),
    /// Able models exist, and none can be called now.
    #[error("no model is available: {text}")]
    Unavailable {
        /// Which, and why.
        text: String,
        /// When the first of them can be called again, and what is in its way, where that is a matter of time.
        back: Option<(Duration, Refused)>,
    },
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let kind = match &error {
            PlanError::UnknownObjective(_) | PlanError::UnknownModel { .. } => ErrorKind::NotFound,
            PlanError::Forbidden(_) => ErrorKind::Permission,
            PlanError::Unable(_) | PlanError::Uncarried { .. } => ErrorKind::InvalidRequest,
            PlanError::TooLong(_) => ErrorKind::ContextOverflow,
            // As the request was told that brought the rest about.
            PlanError::Unavailable { back: Some((_, Refused::Resting)), .. } => ErrorKind::RateLimited,
            PlanError::Unavailable { .. } => ErrorKind::Unavailable,
        };
        let told = ApiError::new(kind, error.to_string());
        match error {
            PlanError::Unavailable { back: Some((wait, _)), .. } => told.after(wait),
            PlanError::Unavailable { back: None, .. } => told,
            PlanError::Uncarried { field, .. } => told.at(field),
            PlanError::TooLong(_) => told.at("messages"),
            _ => told.at("model"),
        }
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
    if question.client == Dialect::Anthropic && request.extensions.contains_key("thread") && strays(mode, &pool) {
        let text = "the vendor that keeps its thread may not be the one that is asked; send the whole conversation";
        return Err(PlanError::Uncarried { field: "thread".into(), text: text.into() });
    }
    let mut excluded = Vec::new();
    let mut able = Vec::new();
    let lists = Lists::of(catalog, question.allowed, &request.routing);
    for model in pool {
        match eligible(&lists, &model, &demand, &verdict, mode, question) {
            Ok(()) => able.push(model),
            Err(reason) => excluded.push((model, reason)),
        }
    }
    if able.is_empty() {
        let waited_for = soonest(&excluded, &demand, question.patience).ok_or_else(|| nobody(&excluded))?;
        able.push(excluded.swap_remove(waited_for).0);
    }

    let preferred = preferred(catalog, &verdict, &able);
    let Weights { cost_per_usd, latency_per_s } = settings.objectives.weights(objective);
    let learned = question.learned.as_ref().filter(|_| mode == Mode::Weighted);
    let stay = question.stay.as_ref().filter(|_| mode == Mode::Weighted);
    let price = learned.map_or(0.0, |learned| learned.budget_price);
    let tradeoff = Tradeoff { cost_per_usd: cost_per_usd + price, latency_per_s };
    let asked = learned::Asked {
        request,
        demand: &demand,
        tradeoff,
        stay,
        margin: settings.sticky.margin,
        explore: settings.explore && verdict.explore != Some(false) && request.routing.explore != Some(false),
    };
    let judged = learned.and_then(|learned| learned::judge(learned, &able, asked, question.chance));
    let weights: Vec<f64> = able.iter().map(|model| weight(model, &verdict)).collect();
    let acts = learned.is_some_and(|learned| learned.acts);
    let mut ranking = match &judged {
        Some(judged) if acts => Ranking::of(judged),
        _ => by_weight(&weights, mode, why, question.chance),
    };
    if !acts && let Some(at) = stay.and_then(|stay| able.iter().position(|model| model.name == stay.model)) {
        ranking.stay(at);
    }
    ranking.prefer(&preferred);

    let predictions = judged.as_ref().map(|judged| &judged.predictions);
    let candidates: Vec<Considered> = ranking
        .order
        .iter()
        .map(|at| {
            let prediction = predictions.map(|all| all[*at].clone());
            consider(&able[*at], weights[*at], ranking.propensities[*at], prediction, &demand)
        })
        .collect();
    let chosen = candidates.first().map(|first| (first.model.clone(), first.propensity));
    let Some((chosen, propensity)) = chosen else { return Err(nobody(&excluded)) };
    let failover = request.routing.failover != Some(false);
    let most = if failover { settings.max_candidates } else { 1 };
    let shadow = judged.as_ref().filter(|_| !acts).map(|judged| {
        let first = judged.order[0];
        Shadow { model: able[first].name.clone(), propensity: judged.propensities[first] }
    });
    let decision = Decision {
        id: question.id,
        requested: if request.model.is_empty() { "auto".into() } else { request.model.clone() },
        mode: ranking.mode,
        chosen,
        propensity,
        policy_version: learned.map_or(0, |learned| learned.policy.version),
        policy_revision: learned.map_or(0, |learned| learned.revision),
        explored: ranking.explored,
        explore: ranking.explore,
        shadow,
        task: learned.and_then(|learned| learned.reading.ok()?.task.clone()),
        features: learned.map(|learned| Features::of(learned.reading)),
        tradeoff: learned.map(|_| tradeoff),
        reason: ranking.reason,
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
    let candidates = ranking.order.into_iter().map(|at| Arc::clone(&able[at])).take(most).collect();
    Ok(Plan { candidates, decision: Arc::new(decision) })
}

/// Who stands first, and why; indices and propensities are those of the able models.
struct Ranking {
    order: Vec<usize>,
    propensities: Vec<f64>,
    mode: Mode,
    explored: bool,
    explore: bool,
    reason: String,
}

impl Ranking {
    fn of(judged: &Judged) -> Self {
        Self {
            order: judged.order.clone(),
            propensities: judged.propensities.clone(),
            mode: judged.mode,
            explored: judged.explored,
            explore: judged.explore,
            reason: judged.reason.clone(),
        }
    }

    /// Puts the models that rules prefer in front, in the rules' order.
    fn prefer(&mut self, preferred: &[usize]) {
        self.put_first(preferred, "a rule prefers it");
        if !preferred.is_empty() {
            self.mode = Mode::Named;
        }
    }

    /// Puts the model in front that the conversation is on: its prompt is cached there.
    fn stay(&mut self, at: usize) {
        self.put_first(&[at], "the conversation stays where it is");
        self.mode = Mode::Sticky;
    }

    /// Nothing is left to chance then.
    fn put_first(&mut self, these: &[usize], reason: &str) {
        let Some(first) = these.first() else { return };
        let others: Vec<usize> = self.order.iter().copied().filter(|at| !these.contains(at)).collect();
        self.order = these.iter().copied().chain(others).collect();
        self.propensities.fill(0.0);
        self.propensities[*first] = 1.0;
        self.explored = false;
        self.explore = false;
        self.reason = reason.into();
    }
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
    if question.allowed.is_some_and(|allowed| !catalog.is_among(model.name.as_str(), allowed)) {
        return Err(PlanError::Forbidden(model.name.to_string()));
    }
    Ok((Mode::Named, vec![Arc::clone(model)], why))
}

/// Whether one request of a conversation may go elsewhere than the one before.
fn strays(mode: Mode, pool: &[Arc<Model>]) -> bool {
    mode != Mode::Named || pool.iter().any(|model| model.deployments.len() > 1)
}

fn last_hit(verdict: &Verdict) -> &str {
    verdict.hits.last().map_or("", |hit| hit.name.as_str())
}

fn unknown(catalog: &Catalog, name: &str) -> PlanError {
    let aliases = catalog.aliases().keys().map(String::as_str).filter(|alias| catalog.find(alias).is_some());
    let names = catalog.models().map(|model| model.name.as_str()).chain(aliases);
    let scored = names.map(|known| (strsim::jaro_winkler(name, known), known));
    let near = scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = near.map(|(_, near)| format!("; did you mean `{near}`?")).unwrap_or_default();
    PlanError::UnknownModel { name: name.to_owned(), hint }
}

/// Why a model fell out.
struct Reason {
    text: String,
    /// Whether it would be there at another time.
    passing: bool,
    /// In how long, and what is in the way till then, where that is known.
    back: Option<(Duration, Refused)>,
    /// Whether it would serve a shorter prompt.
    too_long: bool,
    /// Whether nothing but its weight keeps it out.
    weightless: bool,
    /// The request's field that its backends cannot carry, where that is why.
    field: Option<String>,
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
}

fn eligible(
    lists: &Lists<'_>,
    model: &Model,
    demand: &Demand,
    verdict: &Verdict,
    mode: Mode,
    question: &Question<'_>,
) -> Result<(), Reason> {
    let reason =
        |text: String| Reason { text, passing: false, back: None, too_long: false, weightless: false, field: None };
    let lasting = |text: String| Err(reason(text));
    let name = model.name.as_str();
    let absent = |list: &Option<BTreeSet<&str>>| list.as_ref().is_some_and(|list| !list.contains(name));
    if absent(&lists.allowed) {
        return lasting("this API token may not use it".into());
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
            let weightless = !matches!(model.availability(question.now), Availability::Unavailable(_));
            return Err(Reason { weightless, ..reason("its weight is 0".into()) });
        }
    }
    demand.check(&model.settings).map_err(&reason)?;
    if let Some((field, dialect)) = uncarried(model, question) {
        let text = format!("its backend speaks the {dialect} dialect, which cannot carry `{field}`");
        return Err(Reason { field: Some(field), ..reason(text) });
    }
    if let Availability::Unavailable(text) = model.availability(question.now) {
        return Err(Reason { passing: true, back: model.back(question.now), ..reason(text) });
    }
    // Last, so that only those are told of that a shorter prompt would reach.
    demand.fits(&model.settings).map_err(|text| Reason { too_long: true, ..reason(text) })
}

/// The field that none of a model's places can carry, and the dialect of one of them.
fn uncarried(model: &Model, question: &Question<'_>) -> Option<(String, &'static str)> {
    let mut first = None;
    for place in &model.deployments {
        let dialect = place.provider.dialect;
        let refused = || codec::refused_part(dialect, &place.provider.quirks, question.request);
        let field = codec::obstacle(question.client, dialect, question.request).or_else(refused)?;
        first = first.or(Some((field, dialect.as_str())));
    }
    first
}

/// Of the models that fell out the one whose vendor's rest is over first, within `patience`.
fn soonest(excluded: &[(Arc<Model>, Reason)], demand: &Demand, patience: Duration) -> Option<usize> {
    let rest = |(model, reason): &(Arc<Model>, Reason)| match reason.back {
        Some((wait, Refused::Resting)) if wait <= patience && demand.fits(&model.settings).is_ok() => Some(wait),
        _ => None,
    };
    let resting = excluded.iter().enumerate().filter_map(|(at, out)| Some((at, rest(out)?)));
    resting.min_by_key(|(_, wait)| *wait).map(|(at, _)| at)
}

fn nobody(excluded: &[(Arc<Model>, Reason)]) -> PlanError {
    let those = |which: &dyn Fn(&Reason) -> bool| {
        let some = excluded.iter().filter(|(_, reason)| which(reason)).take(8);
        some.map(|(model, reason)| format!("{}: {}", model.name, reason.text)).collect::<Vec<_>>().join("; ")
    };
    let listed = |passing: bool| those(&|reason| reason.passing == passing);
    if excluded.iter().any(|(_, reason)| reason.too_long) {
        PlanError::TooLong(those(&|reason| reason.too_long))
    } else if excluded.iter().any(|(_, reason)| reason.passing) {
        let back = excluded.iter().filter_map(|(_, reason)| reason.back).min_by_key(|(wait, _)| *wait);
        // First those that a word of the operator would bring back.
        let mut texts = vec![those(&|reason| reason.weightless), listed(true)];
        texts.retain(|text| !text.is_empty());
        PlanError::Unavailable { text: texts.join("; "), back }
    } else if excluded.is_empty() {
        PlanError::Unavailable { text: "none is configured".into(), back: None }
    } else {
        let field = |(_, reason): &(Arc<Model>, Reason)| reason.field.clone();
        let first = excluded
            .first()
            .and_then(field)
            .filter(|first| excluded.iter().all(|it| field(it).as_ref() == Some(first)));
        match first {
            Some(field) => PlanError::Uncarried { field, text: listed(false) },
            None => PlanError::Unable(listed(false)),
        }
    }
}

/// Preferred models that can serve, in the rules' order.
fn preferred(catalog: &Catalog, verdict: &Verdict, able: &[Arc<Model>]) -> Vec<usize> {
    let mut places = Vec::new();
    for model in verdict.prefer.iter().filter_map(|name| catalog.find(name)) {
        let place = able.iter().position(|other| other.name == model.name);
        places.extend(place.filter(|place| !places.contains(place)));
    }
    places
}

/// A model's share of the draw, relative to the others.
fn weight(model: &Model, verdict: &Verdict) -> f64 {
    let weight = verdict.weights.get(model.name.as_str()).copied().unwrap_or(model.settings.weight);
    // Asked for by name among others, although never drawn: then all such are alike.
    if weight > 0.0 { weight } else { f64::MIN_POSITIVE }
}

/// Drawn without replacement with probabilities proportional to the weights (Efraimidis and Spirakis, "Weighted random
/// sampling with a reservoir", 2006). The propensity is the probability of standing first.
fn by_weight(weights: &[f64], mode: Mode, reason: String, chance: &mut dyn FnMut() -> f64) -> Ranking {
    let total: f64 = weights.iter().sum();
    // ln(u) / w orders as u^(1/w) does, without underflow.
    let keys: Vec<f64> = weights.iter().map(|weight| (1.0 - chance()).max(f64::MIN_POSITIVE).ln() / weight).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
    let propensities = weights.iter().map(|weight| weight / total).collect();
    // A named model stands alone, so nothing was left to chance.
    let explore = mode == Mode::Weighted;
    Ranking { order, propensities, mode, explored: false, explore, reason }
}

fn consider(
    model: &Model,
    weight: f64,
    propensity: f64,
    prediction: Option<Prediction>,
    demand: &Demand,
) -> Considered {
    let (answer_tokens, cost_usd) = match &prediction {
        Some(prediction) => (prediction.output_tokens as u64, prediction.cost_usd),
        None => {
            let output_tokens = learned::answer_tokens(model, demand, None) as u64;
            let input_tokens = u64::from(demand.prompt_tokens);
            let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
            (output_tokens, model.settings.price.of(&usage).0)
        }
    };
    Considered {
        model: model.name.clone(),
        weight,
        cost_usd,
        answer_tokens,
        latency_ms: model.latency().map(|latency| latency.as_secs_f64() * 1e3),
        propensity,
        prediction,
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
