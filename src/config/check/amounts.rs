//! Checks of numbers.

use crate::config::range::ranged;
use crate::config::{Config, Dispatch};
use crate::protocol::{NamedObjective, Objective};

pub(super) fn check_amounts(config: &Config, bad: &mut impl FnMut(String, String)) {
    let dispatch = &config.dispatch;
    for number in ranged(config) {
        if let Some(fault) = number.fault() {
            bad(number.path.into(), fault);
        }
    }
    if !(8..=8192).contains(&config.classifier.max_tokens) {
        bad("classifier.max_tokens".into(), "must be between 8 and 8192".into());
    }
    if dispatch.backoff_ms > dispatch.backoff_max_ms {
        // A default is not at fault.
        if dispatch.backoff_ms == Dispatch::default().backoff_ms {
            bad("dispatch.backoff_max_ms".into(), "must not be less than dispatch.backoff_ms".into());
        } else {
            bad("dispatch.backoff_ms".into(), "must not be more than dispatch.backoff_max_ms".into());
        }
    }
    if !(dispatch.breaker.failure_share > 0.0 && dispatch.breaker.failure_share <= 1.0) {
        bad("dispatch.breaker.failure_share".into(), "must be more than 0 and at most 1".into());
    }
    check_objective("routing.objective", Some(config.routing.objective), bad);
    check_fractions(config, bad);
}

/// Shares, amounts, and whatever else has no upper bound or need not be whole.
fn check_fractions(config: &Config, bad: &mut impl FnMut(String, String)) {
    let (routing, learning) = (&config.routing, &config.learning);
    let amount = |value: f64| value.is_finite() && value >= 0.0;
    for objective in NamedObjective::ALL {
        let (name, weights) = (objective.as_str(), routing.objectives.weights(Objective::Named(objective)));
        for (key, weight) in [("cost_per_usd", weights.cost_per_usd), ("latency_per_s", weights.latency_per_s)] {
            if !(0.0..=Objective::MAX_WEIGHT).contains(&weight) {
                bad(format!("routing.objectives.{name}.{key}"), "must be from 0 to a million".into());
            }
        }
    }
    let shares = [
        ("learning.rollout", learning.rollout),
        ("learning.gate.confidence", learning.gate.confidence),
        ("learning.guard.error_rise", learning.guard.error_rise),
        ("learning.guard.rating_drop", learning.guard.rating_drop),
        ("learning.reward.empty", learning.reward.empty.unwrap_or(0.0)),
        ("learning.reward.format_violated", learning.reward.format_violated.unwrap_or(0.0)),
        ("learning.reward.asked_again", learning.reward.asked_again.unwrap_or(0.0)),
        ("learning.reward.truncated", learning.reward.truncated.unwrap_or(0.0)),
        ("learning.reward.cancelled", learning.reward.cancelled.unwrap_or(0.0)),
    ];
    for (path, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            bad(path.into(), "must be between 0 and 1".into());
        }
    }
    let retries = config.dispatch.retry_budget;
    let amounts = [
        ("dispatch.retry_budget.ratio", retries.ratio),
        ("dispatch.retry_budget.min_per_s", retries.min_per_s),
        ("routing.sticky.margin", routing.sticky.margin),
        ("learning.gate.tolerance", learning.gate.tolerance),
        ("learning.guard.cost_factor", learning.guard.cost_factor),
        ("learning.reward.feedback_weight", learning.reward.feedback_weight),
        ("learning.reward.signal_weight", learning.reward.signal_weight),
        ("limits.usd_per_day", config.limits.usd_per_day),
        ("budget.usd_per_hour", config.budget.usd_per_hour),
        ("budget.usd_per_day", config.budget.usd_per_day),
    ];
    for (path, value) in amounts {
        if !amount(value) {
            bad(path.into(), "must be 0 or more".into());
        }
    }
    let positive = [
        ("learning.min_feedback", learning.min_feedback as f64),
        ("learning.window", learning.window as f64),
        ("learning.gate.clip", learning.gate.clip),
        ("learning.guard.window", learning.guard.window as f64),
    ];
    for (path, value) in positive {
        if value.is_nan() || value <= 0.0 {
            bad(path.into(), "must be more than 0".into());
        }
    }
    let bandit = &learning.bandit;
    if bandit.floor.is_some_and(|floor| !(0.0..1.0).contains(&floor)) {
        bad("learning.bandit.floor".into(), "must be 0 or more, and less than 1".into());
    }
    if bandit.half_life.is_some_and(|half_life| !(half_life.is_finite() && half_life > 0.0)) {
        bad("learning.bandit.half_life".into(), "must be more than 0; leave it out for the learner's own".into());
    }
}

pub(super) fn check_objective(path: &str, objective: Option<Objective>, bad: &mut impl FnMut(String, String)) {
    if objective.is_some_and(|objective| !objective.is_valid()) {
        bad(path.to_owned(), "cost_per_usd and latency_per_s must be from 0 to a million".into());
    }
}
