//! The contribution of one log entry to the sums, small enough to keep the newest few thousand in memory.

use std::collections::HashMap;

use crate::store::record::{DecisionRecord, Entry, OutcomeRecord, OutcomeStatus};

/// Interned names of models and tasks.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: Vec<String>,
    places: HashMap<String, u32>,
}

impl Names {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.all.len() as u32;
        self.all.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.all.get(number as usize).map_or("", String::as_str)
    }
}

/// One model that could have been chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choosable {
    pub(super) model: u32,
    /// Predicted probability of a good answer.
    pub(super) quality: f32,
    /// Whether the quality was predicted.
    pub(super) predicted: bool,
    /// Expected cost, US dollars.
    pub(super) cost_usd: f64,
    /// Expected cost if this model had answered the whole conversation so far, US dollars.
    pub(super) alone_usd: f64,
}

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct End {
    /// Whether the outcome names a model.
    pub(super) answered: bool,
    pub(super) status: OutcomeStatus,
    pub(super) failed_over: bool,
    pub(super) cost_usd: Option<f64>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) latency_ms: Option<f64>,
    pub(super) first_token_ms: Option<f64>,
}

/// The contribution of one entry to the sums.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub(super) at_ms: i64,
    /// The model that was chosen.
    pub(super) chosen: u32,
    /// The model that answered, or was to.
    pub(super) model: u32,
    pub(super) dry_run: bool,
    pub(super) explored: bool,
    pub(super) task: Option<u32>,
    pub(super) policy_version: u64,
    pub(super) options: Box<[Choosable]>,
    pub(super) end: Option<End>,
    pub(super) verdict: Option<f64>,
}

impl Fact {
    /// The contribution of a decision alone.
    pub(super) fn of_decision(decision: &DecisionRecord, names: &mut Names) -> Self {
        let chosen = names.number(decision.chosen.as_str());
        Self {
            at_ms: decision.at_ms,
            chosen,
            model: chosen,
            dry_run: decision.request.dry_run,
            explored: decision.explored,
            task: decision.task.as_deref().map(|task| names.number(task)),
            policy_version: decision.policy_version,
            options: decision
                .candidates
                .iter()
                .map(|candidate| Choosable {
                    model: names.number(candidate.model.as_str()),
                    quality: candidate.quality as f32,
                    predicted: candidate.prior.is_some(),
                    cost_usd: candidate.cost_usd,
                    alone_usd: candidate.cost_usd - candidate.cacheable_usd.unwrap_or_default(),
                })
                .collect(),
            end: None,
            verdict: None,
        }
    }

    /// The contribution of an entry.
    pub(super) fn of(entry: &Entry, names: &mut Names) -> Self {
        let mut fact = Self::of_decision(&entry.decision, names);
        if let Some(outcome) = &entry.outcome {
            fact.ends(outcome, names);
        }
        fact.verdict = entry.verdict();
        fact
    }

    /// Adds the outcome.
    pub(super) fn ends(&mut self, outcome: &OutcomeRecord, names: &mut Names) {
        self.model = outcome.model.as_ref().map_or(self.chosen, |model| names.number(model.as_str()));
        let usage = outcome.usage.unwrap_or_default().billed();
        self.end = Some(End {
            answered: outcome.model.is_some(),
            status: outcome.status,
            failed_over: outcome.failovers > 0,
            cost_usd: outcome.cost_usd,
            input_tokens: usage.prompt_tokens(),
            output_tokens: usage.output_tokens,
            latency_ms: outcome.latency_ms,
            first_token_ms: outcome.first_token_ms,
        });
    }
}
