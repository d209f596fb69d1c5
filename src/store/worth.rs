//! What an entry is worth as a lesson: whose answer it was, how good, and how much that counts.
//!
//! Everything that learns from the log goes by this map, so that a retune and an offline training mean the same by "good".

use super::record::{Entry, OutcomeStatus, Signal};
use crate::config::RewardMap;
use crate::protocol::ModelName;

/// The model whose answer was judged; `None` where the request failed: an outage must not teach that a model is stupid.
pub fn judged_model(entry: &Entry) -> Option<&ModelName> {
    match &entry.outcome {
        // Early feedback, or the outcome was lost: the chosen one, as far as anybody knows.
        None => Some(&entry.decision.chosen),
        Some(outcome) if matches!(outcome.status, OutcomeStatus::Failed(_)) => None,
        Some(outcome) => outcome.model.as_ref().or(Some(&entry.decision.chosen)),
    }
}

/// Reward in [0, 1] and weight of an entry; `None` where nobody said anything and nothing can be told. `again` = its question
/// was soon put again.
pub fn worth(entry: &Entry, again: bool, map: &RewardMap) -> Option<(f64, f64)> {
    if let Some(verdict) = entry.verdict() {
        return (map.feedback_weight > 0.0).then_some((verdict, map.feedback_weight));
    }
    let signals = entry.outcome.iter().flat_map(|outcome| &outcome.signals).copied();
    let values = signals.chain(again.then_some(Signal::AskedAgain)).filter_map(|signal| match signal {
        Signal::Empty => map.empty,
        Signal::FormatViolated => map.format_violated,
        Signal::AskedAgain => map.asked_again,
        Signal::Truncated => map.truncated,
        Signal::Cancelled => map.cancelled,
        // Reliability, not quality.
        Signal::Error | Signal::Timeout => None,
    });
    let worst = values.min_by(f64::total_cmp)?;
    (map.signal_weight > 0.0).then_some((worst, map.signal_weight))
}
