//! Makes the plan: candidates, their order, and the reasons.

use std::sync::Arc;

use super::Demand;
use super::eligible::{self, LeftOut};
use super::error::PlanError;
use super::learned::{self, Judged, Learned};
use super::plan::{Considered, Decision, Features, Plan, Prediction};
use super::question::Question;
use super::ranking::{Ranking, by_weight, in_order, preferred, weight};
use super::rules::{Facts, RuleEffect, Rules};
use super::sticky::Stay;
use crate::bandit::Tradeoff;
use crate::config::{Routing, Weights, did_you_mean};
use crate::protocol::{ChatRequest, DecisionId, Dialect, Excluded, Mode, Objective, RequestedModel, Shadow};
use crate::upstream::{Catalog, Model};

/// Plans a request.
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
    let read = question.learned.as_ref().and_then(|learned| learned.reading.ok());
    let facts = Facts::new(request, demand.needs, demand.prompt_tokens, question.token, question.headers)
        .with_body(question.body)
        .with_task(read.and_then(|reading| reading.task.as_deref()));
    let effect = rules.apply(&facts);
    let requested = RequestedModel::parse(catalog.names().unaliased(&request.model))
        .map_err(|word| PlanError::UnknownObjective(word.to_owned()))?;
    let (mode, pool, why) = pool(catalog, &requested, &effect, question)?;
    if question.client == Dialect::Anthropic
        && request.extensions.contains_key("thread")
        && may_change_deployment(mode, &pool)
    {
        let text = "the vendor that keeps its thread may not be the one that is asked; send the whole conversation";
        return Err(PlanError::Uncarried { field: "thread".into(), text: text.into() });
    }
    let named = pool.first().filter(|_| mode == Mode::Named).map(|model| model.name.clone());
    let (able, excluded) = eligible::split(catalog, pool, &demand, &effect, mode, question)?;
    let why = match named {
        Some(named) if able[0].name != named => format!("`{named}` cannot answer, and the client lists it next"),
        _ => why,
    };
    let objective =
        request.routing.objective.or(requested.objective()).or(effect.objective).unwrap_or(settings.objective);
    // A named or pinned model is neither predicted nor left to chance.
    let open = mode == Mode::Weighted;
    let case = Case {
        id: question.id,
        request,
        client: question.client,
        catalog,
        settings,
        demand,
        effect,
        mode,
        objective,
        learned: question.learned.as_ref().filter(|_| open),
        stay: question.stay.as_ref().filter(|_| open),
        home: question.stay.clone(),
    };
    let ranked = case.rank(&able, why, question.chance);
    Ok(case.record(ranked, able, excluded))
}

/// A request with everything known before the models are ranked.
struct Case<'a> {
    id: DecisionId,
    request: &'a ChatRequest,
    client: Dialect,
    catalog: &'a Catalog,
    settings: &'a Routing,
    demand: Demand,
    effect: RuleEffect,
    mode: Mode,
    objective: Objective,
    /// What the learned policy is based on, where it may choose or watch.
    learned: Option<&'a Learned<'a>>,
    /// The conversation's model, if it is under way and free to move.
    stay: Option<&'a Stay>,
    /// The same, whether or not it is free to move.
    home: Option<Stay>,
}

/// The able models in order, and the numbers behind it.
struct Ranked {
    ranking: Ranking,
    weights: Vec<f64>,
    /// One for each model; `None` where the learned policy was not asked.
    predictions: Option<Vec<Prediction>>,
    shadow: Option<Shadow>,
}

impl Case<'_> {
    fn tradeoff(&self) -> Tradeoff {
        let Weights { cost_per_usd, latency_per_s } = self.settings.objectives.weights(self.objective);
        let price = self.learned.map_or(0.0, |learned| learned.budget_price);
        Tradeoff { cost_per_usd: cost_per_usd + price, latency_per_s }
    }

    /// The learned policy, if it chooses.
    fn acting(&self) -> Option<&Learned<'_>> {
        self.learned.filter(|learned| learned.acts)
    }

    /// Ranks the able models: by the learned policy if it acts, else by weight, with what the policy would have
    /// chosen.
    fn rank(&self, able: &[Arc<Model>], why: String, chance: &mut dyn FnMut() -> f64) -> Ranked {
        let (settings, effect, wishes) = (self.settings, &self.effect, &self.request.routing);
        let input = learned::PolicyInput {
            request: self.request,
            client: self.client,
            demand: &self.demand,
            tradeoff: self.tradeoff(),
            stay: self.stay,
            margin: settings.sticky.margin,
            explore: settings.explore && effect.explore != Some(false) && wishes.explore != Some(false),
        };
        let judged = self.learned.and_then(|learned| learned::judge(learned, able, input, chance));
        let (predictions, learned_ranking) =
            judged.map(|Judged { predictions, ranking }| (predictions, ranking)).unzip();
        let acts = self.acting().is_some();
        let weights: Vec<f64> = able.iter().map(|model| weight(model, effect)).collect();
        let (mut ranking, shadow) = match learned_ranking {
            _ if self.mode == Mode::Named => {
                return Ranked { ranking: in_order(able.len(), why), weights, predictions, shadow: None };
            }
            Some(ranking) if acts => (ranking, None),
            watching => {
                let shadow = watching.filter(|_| !acts).map(|ranking| {
                    let first = ranking.order[0];
                    let (model, propensity) = (able[first].name.clone(), ranking.propensities[first]);
                    let policy_version = self.learned.map_or(0, |learned| learned.policy.version);
                    Shadow { model, propensity, policy_version }
                });
                (by_weight(&weights, why, chance), shadow)
            }
        };
        if !acts && let Some(at) = self.stay.and_then(|stay| able.iter().position(|model| model.name == stay.model)) {
            ranking.stay(at);
        }
        ranking.prefer(&preferred(self.catalog, effect, able));
        Ranked { ranking, weights, predictions, shadow }
    }

    /// The plan, with the decision that explains it.
    fn record(self, ranked: Ranked, able: Vec<Arc<Model>>, excluded: Vec<LeftOut>) -> Plan {
        let Ranked { ranking, weights, predictions, shadow } = ranked;
        let (request, learned) = (self.request, self.learned);
        // Not the policy's choice where a rule's preference went before it.
        let chose = self.acting().filter(|_| matches!(ranking.mode, Mode::Learned | Mode::Sticky));
        let consider = |at: usize| {
            let prediction = predictions.as_ref().map(|all| all[at].clone());
            consider(&able[at], weights[at], ranking.propensities[at], prediction, (self.client, &self.demand))
        };
        let failover = request.routing.failover != Some(false);
        let away = excluded.iter().filter(|(_, reason)| failover && reason.available_in().is_some());
        let told = |(model, reason): &LeftOut| Excluded { model: model.name.clone(), reason: reason.to_string() };
        let away = away.map(told).collect();
        let first = ranking.order[0];
        let decision = Decision {
            id: self.id,
            requested: if request.model.is_empty() { "auto".into() } else { request.model.clone() },
            mode: ranking.mode,
            chosen: able[first].name.clone(),
            propensity: ranking.propensities[first],
            policy_version: chose.map_or(0, |learned| learned.policy.version),
            policy_revision: chose.map_or(0, |learned| learned.revision),
            explored: ranking.explored,
            explore: ranking.explore,
            shadow,
            task: learned.and_then(|learned| learned.reading.ok()?.task.clone()),
            features: learned.map(|learned| Features::of(learned.reading)),
            tradeoff: learned.map(|_| self.tradeoff()),
            candidates: ranking.order.iter().map(|at| consider(*at)).collect(),
            reason: ranking.reason,
            objective: self.objective,
            needs: self.demand.needs,
            prompt_tokens: self.demand.prompt_tokens,
            rules: self.effect.hits,
            language: self.effect.language,
            excluded: excluded.iter().map(told).collect(),
        };
        let most = if failover { self.settings.max_candidates } else { 1 };
        // Behind all others: a model that is told to call a tool is better than none.
        let told = excluded.iter().filter(|(_, reason)| reason.is_only_told()).map(|(model, _)| model);
        let candidates = ranking.order.iter().map(|at| &able[*at]).chain(told).take(most).cloned().collect();
        Plan { candidates, away, stay: self.home, decision: Arc::new(decision) }
    }
}

/// The models to consider, how one of them will be chosen, and a clause that says so.
fn pool(
    catalog: &Catalog,
    requested: &RequestedModel,
    effect: &RuleEffect,
    question: &Question<'_>,
) -> Result<(Mode, Vec<Arc<Model>>, String), PlanError> {
    let named = match (&effect.pin, requested) {
        (Some(pin), _) => Some((pin, format!("the rule `{}` pins it", last_hit(effect)))),
        (None, RequestedModel::Model(name)) => Some((name, "the client named it".to_owned())),
        (None, RequestedModel::Auto(_)) => None,
    };
    let Some((name, why)) = named else {
        return Ok((Mode::Weighted, catalog.models().cloned().collect(), "drawn by weight".into()));
    };
    let model = catalog.find(name).ok_or_else(|| match &effect.pin {
        // Not the client's fault: the pinned model's server may not have listed it yet.
        Some(pin) => {
            PlanError::Unavailable { text: format!("there is no model `{pin}` now, and {why}"), available_in: None }
        }
        None => unknown(catalog, name),
    })?;
    if question.allowed.is_some_and(|allowed| catalog.selection(allowed).part_of(model).is_none()) {
        return Err(PlanError::Forbidden(model.name.to_string()));
    }
    // The client's own order, behind the one that it named. A rule's pin admits no other.
    let others = question.request.routing.models.iter().flatten().filter(|_| effect.pin.is_none());
    let mut pool = vec![Arc::clone(model)];
    for other in others.filter_map(|name| catalog.find(name)) {
        if pool.iter().all(|model| model.name != other.name) {
            pool.push(Arc::clone(other));
        }
    }
    Ok((Mode::Named, pool, why))
}

/// Whether two requests of a conversation may go to different deployments.
fn may_change_deployment(mode: Mode, pool: &[Arc<Model>]) -> bool {
    mode != Mode::Named || pool.len() > 1 || pool.iter().any(|model| model.deployments.len() > 1)
}

fn last_hit(effect: &RuleEffect) -> &str {
    effect.hits.last().map_or("", String::as_str)
}

fn unknown(catalog: &Catalog, name: &str) -> PlanError {
    let aliases = catalog.names().aliases().keys().map(String::as_str).filter(|alias| catalog.find(alias).is_some());
    let names: Vec<&str> = catalog.models().map(|model| model.name.as_str()).chain(aliases).collect();
    // Behind a provider's name, as OpenRouter and LiteLLM write it, there may be one of ours.
    let bare = name.rsplit('/').next().filter(|bare| *bare != name);
    let mut hints = [name].into_iter().chain(bare).map(|name| did_you_mean(name, names.iter().copied()));
    let hint = hints.find(|hint| !hint.is_empty()).unwrap_or_default();
    PlanError::UnknownModel { name: name.to_owned(), hint }
}

fn consider(
    model: &Model,
    weight: f64,
    propensity: f64,
    prediction: Option<Prediction>,
    (client, demand): (Dialect, &Demand),
) -> Considered {
    let (answer_tokens, cost_usd) = match &prediction {
        Some(prediction) => (prediction.output_tokens as u64, prediction.cost_usd),
        None => {
            let output_tokens = learned::answer_tokens(model, demand, None) as u64;
            let fills = learned::told_to_cache(model, client, demand) == Some(true);
            (output_tokens, model.settings.price.of(&learned::usage(demand, 0, fills, output_tokens)).0)
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
