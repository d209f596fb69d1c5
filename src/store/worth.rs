//! The reward of an entry: whose answer it was, how good, and how much that counts.
//!
//! Everything that learns from the decision log uses this map, so that a retune and an offline training mean the same
//! by "good".

use super::record::{Entry, OutcomeStatus, Signal};
use crate::config::RewardMap;
use crate::protocol::ModelName;

/// The model that a judgement is about; `None` where the request failed: an outage must not teach that a model is
/// stupid.
pub fn judged_model(entry: &Entry) -> Option<&ModelName> {
    match &entry.outcome {
        // Early feedback, or the outcome was lost: the chosen model is the best guess.
        None => Some(&entry.decision.chosen),
        Some(outcome) if matches!(outcome.status, OutcomeStatus::Failed(_)) => None,
        Some(outcome) => outcome.model.as_ref().or(Some(&entry.decision.chosen)),
    }
}

/// The reward of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// How good it was, in [0, 1].
    pub value: f64,
    /// How much it counts.
    pub weight: f64,
    /// The signal that `value` is of, where nobody judged. Signals exist for bad answers only, so the value must be
    /// weighed by [`Rates`](super::Rates).
    pub signal: Option<Signal>,
}

/// The reward of an entry; `None` where it has neither feedback nor a signal that teaches. `again` = its question was
/// soon asked again.
pub fn worth(entry: &Entry, again: bool, map: &RewardMap) -> Option<Worth> {
    if let Some(value) = entry.verdict() {
        let judged = Worth { value, weight: map.feedback_weight, signal: None };
        return (map.feedback_weight > 0.0).then_some(judged);
    }
    let outcome = entry.outcome.as_ref()?;
    // A client that gave up waiting has seen no answer, so its asking again is no complaint of one.
    let again = (again && outcome.status == OutcomeStatus::Ok).then_some(Signal::AskedAgain);
    let values = outcome.signals.iter().copied().chain(again).filter_map(|signal| {
        let value = match signal {
            Signal::Empty => map.empty,
            Signal::FormatViolated => map.format_violated,
            Signal::AskedAgain => map.asked_again,
            Signal::Truncated => map.truncated,
            Signal::Cancelled => map.cancelled,
            // These are about reliability, not quality.
            Signal::Error | Signal::Timeout => None,
        };
        value.map(|value| (signal, value))
    });
    let (signal, value) = values.min_by(|a, b| a.1.total_cmp(&b.1))?;
    (map.signal_weight > 0.0).then_some(Worth { value, weight: map.signal_weight, signal: Some(signal) })
}
