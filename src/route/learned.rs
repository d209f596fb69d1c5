//! The learned choice: predictions for every candidate, their utility, and the policy's draw among them.
//!
//! 1. **Quality**: the classifier's estimate of each model for this prompt (or, where it could not read the prompt in
//!    time, of each model in general), corrected by what the policy has learned from feedback.
//! 2. **Cost**: the prompt, at the cache's price where the vendor showed that it is cached, and the expected answer
//!    tokens: the classifier's, corrected by how long this model's answers have been ([`Lengths`]).
//! 3. **Time**: as measured, per token ([`Speeds`]); the median of the others for a model without a measurement.
//! 4. **Utility** under the objective, with the budget's price added to its cost weight.
//! 5. **Choice**: a draw by the policy, with known probabilities; the less often, the longer nobody has judged an answer,
//!    since then nothing is learned from try-outs ([`Snapshot::curiosity`]). No exploration where the request, a rule or the
//!    configuration forbids it, inside a tool loop, or in a conversation under way: that one stays on its model unless
//!    another promises clearly more utility.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Demand;
use super::lengths::{Expected, Lengths};
use super::plan::Prediction;
use super::ranking::Ranking;
use super::speed::Speeds;
use super::sticky::Stay;
use crate::bandit::{Attribution, Candidate, Choice, Context, Odds, Snapshot, Tradeoff};
use crate::classifier::{Estimate, EstimateSource, Missed, Reading};
use crate::codec;
use crate::protocol::{ChatRequest, Dialect, Mode, ModelName, Price, Usage};
use crate::upstream::Model;

/// Tokens of an answer where nothing better is known.
const USUAL_ANSWER_TOKENS: u32 = 400;

/// What the learned choice is based on.
pub struct Learned<'a> {
    /// The policy.
    pub policy: &'a Snapshot,
    /// Judgements the policy has taken in since its version was promoted.
    pub revision: u64,
    /// Models the policy has seen feedback on.
    pub known: &'a BTreeSet<ModelName>,
    /// The prompt as the classifier read it, or why it did not.
    pub reading: Result<&'a Reading, &'a Missed>,
    /// The estimate of a model, by name, without reading the prompt.
    pub prior: &'a dyn Fn(&str) -> Estimate,
    /// Sampled choices in a row that nobody has judged.
    pub unjudged: u64,
    /// Points of quality per US dollar, added to the objective's cost weight to keep the budget.
    pub budget_price: f64,
    /// How fast models answer.
    pub speeds: &'a Speeds,
    /// How long models' answers are.
    pub lengths: &'a Lengths,
    /// Whether the policy chooses; else it only watches, and the weights choose.
    pub acts: bool,
}

/// The request as the policy sees it.
#[derive(Clone, Copy)]
pub(super) struct PolicyInput<'a> {
    pub(super) request: &'a ChatRequest,
    /// The client's dialect.
    pub(super) client: Dialect,
    pub(super) demand: &'a Demand,
    pub(super) tradeoff: Tradeoff,
    /// The conversation's model and prompt cache, if it is under way.
    pub(super) stay: Option<&'a Stay>,
    /// Utility another model must gain beyond the cost of switching.
    pub(super) margin: f64,
    /// Whether exploration is allowed by configuration, rules and request.
    pub(super) explore: bool,
}

/// The result of [`judge`].
pub(super) struct Judged {
    /// One for each model, in their order.
    pub(super) predictions: Vec<Prediction>,
    pub(super) ranking: Ranking,
}

/// Predicts for each of `able` and chooses one; `None` if there is none. `chance` draws from [0, 1).
pub(super) fn judge(
    learned: &Learned<'_>,
    able: &[Arc<Model>],
    input: PolicyInput<'_>,
    chance: &mut dyn FnMut() -> f64,
) -> Option<Judged> {
    let stay = input.stay.and_then(|stay| {
        let at = able.iter().position(|model| model.name == stay.model)?;
        let tokens = stay.cached_tokens.min(u64::from(input.demand.prompt_tokens));
        Some(Cached { at, tokens, is_paid_for: able[at].settings.price.cache_write.is_some() })
    });
    let cached = stay.as_ref();
    let (mut predictions, odds): (Vec<Prediction>, Vec<Option<Odds>>) =
        able.iter().enumerate().map(|(at, model)| predict(learned, (at, model), &input, cached)).unzip();
    fill_unknown_latency(&mut predictions);
    let candidates: Vec<Candidate<'_>> = able
        .iter()
        .zip(&predictions)
        .map(|(model, prediction)| Candidate {
            model: &model.name,
            prior: prediction.prior,
            grounds: prediction.grounds,
            cost_usd: prediction.cost_usd,
            latency_s: prediction.latency_s,
            switching_usd: prediction.switching_usd,
        })
        .collect();
    let context = match learned.reading {
        Ok(reading) => Context {
            features: &reading.features,
            space: &reading.space,
            kind: reading.task.as_deref().unwrap_or_default(),
        },
        Err(_) => Context::default(),
    };
    let in_loop = input.request.is_in_tool_loop();
    let explore = input.explore && !in_loop && stay.is_none();
    let curiosity = if explore { learned.policy.curiosity(learned.unjudged) } else { 0.0 };
    let choice = learned.policy.choose_as_curious(&context, &candidates, &input.tradeoff, curiosity, chance())?;
    for (at, prediction) in predictions.iter_mut().enumerate() {
        prediction.quality = choice.qualities[at];
        prediction.utility = choice.utilities[at];
        let corrections = learned.policy.corrections(&context, &candidates[at]);
        prediction.account = Attribution::new(odds[at].as_ref(), prediction.prior, &corrections, prediction.quality);
    }
    let ranking = match stay {
        Some(Cached { at, .. }) => {
            let is_cached = predictions[at].cached_usd.is_some_and(|saved| saved > 0.0);
            stay_or_switch(choice, at, in_loop, is_cached, input.margin)
        }
        None => drawn(choice, &predictions, explore),
    };
    Some(Judged { predictions, ranking })
}

/// Gives models without a measured latency the median of the others, instead of none at all.
fn fill_unknown_latency(predictions: &mut [Prediction]) {
    let mut measured: Vec<f64> = predictions.iter().filter_map(|prediction| prediction.latency_s).collect();
    measured.sort_by(f64::total_cmp);
    let usual = measured.get(measured.len() / 2).copied();
    predictions.iter_mut().for_each(|prediction| prediction.latency_s = prediction.latency_s.or(usual));
}

/// The ranking as the policy drew it.
fn drawn(choice: Choice, predictions: &[Prediction], explore: bool) -> Ranking {
    let chosen = &predictions[choice.chosen];
    let reason = if choice.explored {
        format!("a try-out, to learn how it does ({:.1} % likely)", choice.propensities[choice.chosen] * 100.0)
    } else {
        format!("most useful: good with {:.0} %, about ${:.5}", chosen.quality * 100.0, chosen.cost_usd)
    };
    Ranking {
        order: choice.order,
        propensities: choice.propensities,
        mode: Mode::Learned,
        explored: choice.explored,
        explore,
        reason,
    }
}

/// The ranking for a conversation on the model `at`: it stays unless another model gains more than `margin`.
fn stay_or_switch(choice: Choice, at: usize, in_loop: bool, is_cached: bool, margin: f64) -> Ranking {
    let gain = choice.utilities[choice.chosen] - choice.utilities[at];
    let stays = in_loop || choice.chosen == at || gain <= margin;
    let chosen = if stays { at } else { choice.chosen };
    let mut order: Vec<usize> = choice.order.into_iter().filter(|other| *other != chosen).collect();
    order.insert(0, chosen);
    let mut propensities = vec![0.0; choice.propensities.len()];
    propensities[chosen] = 1.0;
    let reason = match (in_loop, stays) {
        (true, _) => "inside a tool loop the conversation stays".to_owned(),
        (false, true) if is_cached => "the conversation stays, its prompt is cached there".to_owned(),
        (false, true) => "the conversation stays, no other model promises clearly more".to_owned(),
        (false, false) => format!("switching gains {gain:.2} more than it costs"),
    };
    let mode = if stays { Mode::Sticky } else { Mode::Learned };
    Ranking { order, propensities, mode, explored: false, explore: false, reason }
}

fn estimate(learned: &Learned<'_>, model: &Model) -> Estimate {
    match learned.reading {
        Ok(reading) => reading.estimate(model.name.as_str()),
        Err(_) => (learned.prior)(model.name.as_str()),
    }
}

/// What a prior rests on, as shown and recorded.
fn basis(source: &EstimateSource) -> String {
    match source {
        EstimateSource::Learned => "head".into(),
        EstimateSource::Like(model) => format!("like {model}"),
        EstimateSource::Score => "score".into(),
        EstimateSource::Default => "default".into(),
    }
}

/// The prompt cache of the conversation's model.
struct Cached {
    /// The model's index among the able ones.
    at: usize,
    /// Tokens of the prompt that are in the cache; 0 = no answer showed any.
    tokens: u64,
    /// Whether the vendor charges for filling the cache.
    is_paid_for: bool,
}

fn predict(
    learned: &Learned<'_>,
    (at, model): (usize, &Model),
    input: &PolicyInput<'_>,
    cached: Option<&Cached>,
) -> (Prediction, Option<Odds>) {
    let demand = input.demand;
    let estimate = estimate(learned, model);
    let predicted = estimate.output_tokens.filter(|tokens| *tokens > 0.0);
    let tokens = predicted.unwrap_or(f64::from(USUAL_ANSWER_TOKENS));
    let allowed = answer_tokens(model, demand, Some(tokens));
    let reading = learned.reading.ok().filter(|_| predicted.is_some());
    let space = reading.map_or_else(|| "".into(), |reading| Arc::clone(&reading.space));
    let most = f64::from(allowed_tokens(model, demand));
    let expected = Expected { tokens: allowed, bounded: allowed < tokens, most, space };
    let output = answer_tokens(model, demand, Some(learned.lengths.expect(&model.name, &expected)));
    let here = cached.is_some_and(|cached| cached.at == at);
    let tokens = cached.map_or(0, |cached| cached.tokens);
    let price = &model.settings.price.for_prompt(demand.prompt_tokens.into());
    let told = told_to_cache(model, input.client, demand);
    let fills = told == Some(true);
    let usage = usage(demand, if here { tokens } else { 0 }, fills, output as u64);
    let measured = learned.speeds.expect(&model.name, output);
    let known = learned.known.contains(&model.name);
    let fitted = estimate.source == EstimateSource::Learned;
    let prediction = Prediction {
        quality: estimate.quality,
        prior: estimate.quality,
        source: if known || fitted { "learned" } else { "prior" },
        basis: basis(&estimate.source),
        grounds: estimate.source.grounds(),
        judged: known,
        output_tokens: output,
        expected,
        cost_usd: price.of(&usage).0,
        latency_s: measured.or_else(|| model.latency().map(|latency| latency.as_secs_f64())),
        cached_usd: here.then(|| saved(price, tokens, fills)),
        cacheable_usd: cached.filter(|_| !here).map(|_| saved(price, tokens, fills)),
        // The lack of a cache is in the other model's `cost_usd`, and the filling of one that is told what to keep.
        // Beyond it, a conversation that paid for filling a cache pays for the next one that fills by itself, too.
        switching_usd: cached
            .filter(|cached| !here && cached.is_paid_for && told.is_none())
            .map_or(0.0, |_| filling(price, tokens)),
        utility: 0.0,
        account: Attribution::default(),
    };
    (prediction, estimate.odds)
}

/// Whether the model's vendor is told to keep the prompt in its cache; `None` = it needs, and heeds, no telling.
pub(super) fn told_to_cache(model: &Model, client: Dialect, demand: &Demand) -> Option<bool> {
    let provider = &model.deployments.first()?.provider;
    codec::marks_cache(client, provider.dialect, &provider.quirks, demand.cache)
}

/// The use of a prompt of which `cached` tokens are in the model's cache, and of its answer; `fills` = the rest is
/// written to the cache.
pub(super) fn usage(demand: &Demand, cached: u64, fills: bool, output_tokens: u64) -> Usage {
    let rest = u64::from(demand.prompt_tokens) - cached;
    let (input_tokens, cache_write_tokens) = if fills { (0, rest) } else { (rest, 0) };
    Usage { input_tokens, cache_write_tokens, cache_read_tokens: cached, output_tokens, ..Usage::default() }
}

/// What reading `tokens` from the cache saves, US dollars; `fills` = else they would be written to it.
fn saved(price: &Price, tokens: u64, fills: bool) -> f64 {
    let anew = price.cache_write.filter(|_| fills).unwrap_or(price.input);
    let saving = anew - price.cache_read.unwrap_or(price.input);
    saving.max(0.0) * tokens as f64 / 1e6
}

/// What writing `tokens` to the cache costs beyond reading them as input, US dollars.
fn filling(price: &Price, tokens: u64) -> f64 {
    let more = price.cache_write.unwrap_or(price.input) - price.input;
    more.max(0.0) * tokens as f64 / 1e6
}

/// Tokens of the answer: as expected, but within what request and model allow.
pub(super) fn answer_tokens(model: &Model, demand: &Demand, expected: Option<f64>) -> f64 {
    expected
        .filter(|tokens| tokens.is_finite() && *tokens > 0.0)
        .unwrap_or(f64::from(USUAL_ANSWER_TOKENS))
        .min(f64::from(allowed_tokens(model, demand)))
}

/// Most tokens of an answer that request and model allow.
fn allowed_tokens(model: &Model, demand: &Demand) -> u32 {
    demand.max_tokens.unwrap_or(u32::MAX).min(model.settings.max_output.unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
