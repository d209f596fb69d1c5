//! Makes the records of the decision log: a decision and an outcome.
//!
//! No text of a prompt goes in unless `store.prompts` is on; questions and conversations are identified by keyed
//! fingerprints.

use super::PlanRequest;
use super::conversation::question_print;
use crate::bandit::Grounds;
use crate::dispatch::Outcome;
use crate::route::{Considered, Decision, Prediction};
use crate::store::{CandidateRecord, DecisionRecord, OutcomeRecord, RequestFacts, Salt, Seen, signals};

/// The record of a decision made at `at_ms` (Unix milliseconds); `dry_run` = the caller only asks which model to use,
/// and the gateway makes no call; `prompts` = with the question's text.
pub fn decision(
    decision: &Decision,
    asked: PlanRequest<'_>,
    dry_run: bool,
    salt: &Salt,
    prompts: bool,
    at_ms: i64,
) -> DecisionRecord {
    let PlanRequest { request, dialect, token, conversation, .. } = asked;
    // A question counts once: the later steps of a tool loop go on with it and do not ask it again.
    let question = request.question().filter(|_| !request.goes_on_with_tools());
    let facts = RequestFacts {
        dialect: Some(dialect),
        requested: decision.requested.clone(),
        rules: decision.rules.clone(),
        objective: decision.objective,
        needs: decision.needs,
        prompt_tokens: decision.prompt_tokens,
        max_tokens: request.max_tokens,
        stream: request.stream,
        question: question.map(|question| question_print(question, salt)),
        conversation: Some(conversation.print),
        conversation_named: conversation.named,
        turn: conversation.turn,
        begun_elsewhere: false,
        token: token.map(|token| token.id.clone()),
        tags: request.routing.tags.clone(),
        dry_run,
    };
    DecisionRecord {
        id: decision.id,
        at_ms,
        request: facts,
        features: decision.features.as_ref().map(|features| features.vector.to_vec()).unwrap_or_default(),
        feature_space: decision.features.as_ref().map(|features| features.space.to_string()).unwrap_or_default(),
        task: decision.task.as_deref().map(str::to_owned),
        candidates: decision.candidates.iter().map(candidate).collect(),
        excluded: decision.excluded.clone(),
        chosen: decision.chosen.clone(),
        propensity: Some(decision.propensity),
        policy_version: decision.policy_version,
        policy_revision: decision.policy_revision,
        tradeoff: decision.tradeoff,
        explore: decision.explore,
        explored: decision.explored,
        mode: decision.mode,
        shadow: decision.shadow.clone(),
        reason: decision.reason.clone(),
        prompt: request.question().filter(|_| prompts).map(|question| bounded(question.question_text())),
    }
}

/// The record of a model that could have been chosen.
fn candidate(considered: &Considered) -> CandidateRecord {
    let prediction = considered.prediction.as_ref();
    CandidateRecord {
        model: considered.model.clone(),
        prior: prediction.map(|it| it.prior),
        quality: prediction.map_or(0.5, |it| it.quality),
        quality_source: prediction.map_or_else(|| "default".into(), source),
        grounds: prediction.map_or(Grounds::Nothing, |it| it.grounds),
        cost_usd: considered.cost_usd,
        latency_s: prediction.and_then(|it| it.latency_s),
        cached_usd: prediction.and_then(|it| it.cached_usd),
        cacheable_usd: prediction.and_then(|it| it.cacheable_usd),
        switching_usd: prediction.map_or(0.0, |it| it.switching_usd),
        utility: prediction.map_or(0.0, |it| it.utility),
        propensity: considered.propensity,
        account: prediction.map(|it| it.account.clone()).unwrap_or_default(),
    }
}

/// Most bytes of a question that are stored: more than the encoder reads of it, and so few that dry runs, which cost
/// their callers nothing, do not push older entries out of the decision log.
const MAX_QUESTION_BYTES: usize = 64 << 10;

/// A question; of one that is too long, its beginning and its end.
fn bounded(text: String) -> String {
    if text.len() <= MAX_QUESTION_BYTES {
        return text;
    }
    let half = MAX_QUESTION_BYTES / 2;
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let (first, last) = ((0..=half).rev().find(is_boundary), (text.len() - half..=text.len()).find(is_boundary));
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(text.len()));
    [&text[..first], &text[last..]].concat()
}

/// Where a predicted quality comes from.
fn source(prediction: &Prediction) -> String {
    if prediction.judged { "posterior".to_owned() } else { prediction.basis.clone() }
}

/// The record of an outcome at `at_ms` (Unix milliseconds).
pub fn outcome(outcome: &Outcome, at_ms: i64) -> OutcomeRecord {
    let seen = Seen {
        status: outcome.status,
        finish_reason: outcome.finish,
        empty: outcome.empty,
        must_be_json: outcome.must_be_json.as_deref(),
    };
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    OutcomeRecord {
        id: outcome.decision.id,
        at_ms,
        model: outcome.model.clone(),
        backend: outcome.deployment.as_deref().map(str::to_owned),
        status: outcome.status,
        attempts: outcome.calls,
        failovers: outcome.failovers,
        usage: outcome.any_usage(),
        cost_usd: outcome.any_usage().map(|_| outcome.cost.0),
        latency_ms: Some(ms(outcome.latency)),
        first_token_ms: outcome.first_token.map(ms),
        finish_reason: outcome.finish,
        signals: signals(&seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_question_beginning_and_end_are_kept() {
        assert_eq!(bounded("short".into()), "short");
        let kept = bounded(format!("begin{}end", "\u{20ac}".repeat(10 << 20)));
        assert!(kept.len() <= MAX_QUESTION_BYTES && kept.len() > MAX_QUESTION_BYTES - 8, "{}", kept.len());
        assert!(kept.starts_with("begin\u{20ac}") && kept.ends_with("\u{20ac}end"));
    }
}
