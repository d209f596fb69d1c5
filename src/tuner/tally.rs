//! Sums over requests: how many failed, what they cost, how they were judged.
//!
//! Pure. [`guard`](super::guard) compares the sums before and under a policy; [`hindsight`](super::hindsight) weights
//! each request by how probably another policy would have chosen the same model.

use crate::store::{DecisionRecord, Entry, Mode, OutcomeRecord, OutcomeStatus};

/// Weighted counts and sums over some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub(super) window: f64,
    pub(super) ended: f64,
    pub(super) failed: f64,
    pub(super) priced: f64,
    pub(super) cost_usd: f64,
    pub(super) cost_squares: f64,
    pub(super) rated: f64,
    pub(super) verdicts: f64,
    pub(super) squares: f64,
}

/// The end and the judgement of one request, as far as they are counted.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub(super) outcome: Option<&'a OutcomeRecord>,
    pub(super) verdict: Option<f64>,
}

impl<'a> Part<'a> {
    /// End and judgement of a request whose model the policy chose. Dry runs count if their caller reported the outcome
    /// or a judgement (all calls of a program that embeds the gateway are such); `None` for a mere preview.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        let (outcome, verdict) = (entry.outcome.as_ref(), entry.verdict());
        let is_told = outcome.is_some() || verdict.is_some();
        (is_told && is_by_policy(&entry.decision)).then_some(Self { outcome, verdict })
    }

    /// The judgement, in [0, 1].
    pub fn verdict(&self) -> Option<f64> {
        self.verdict
    }
}

impl Tally {
    /// An empty tally with room for `window` ends and as many judgements, counted apart: where few answers are judged,
    /// the judgements reach further back.
    pub fn of(window: usize) -> Self {
        Self { window: window as f64, ..Self::default() }
    }

    /// The part of a request that there is still room for.
    pub fn part<'a>(&self, entry: &'a Entry) -> Option<Part<'a>> {
        let Part { outcome, verdict } = Part::of(entry)?;
        let outcome = outcome.filter(|_| self.ended < self.window);
        let verdict = verdict.filter(|_| self.rated < self.window);
        (outcome.is_some() || verdict.is_some()).then_some(Part { outcome, verdict })
    }

    /// Adds one request with this weight.
    pub fn add(&mut self, part: Part<'_>, weight: f64) {
        if let Some(outcome) = part.outcome {
            self.ended += weight;
            self.failed += weight * f64::from(u8::from(matches!(outcome.status, OutcomeStatus::Failed(_))));
            if let Some(cost_usd) = outcome.cost_usd {
                self.priced += weight;
                self.cost_usd += weight * cost_usd;
                self.cost_squares += weight * cost_usd * cost_usd;
            }
        }
        if let Some(verdict) = part.verdict {
            self.rated += weight;
            self.verdicts += weight * verdict;
            self.squares += weight * verdict * verdict;
        }
    }

    /// Whether there is room for nothing more.
    pub fn is_full(&self) -> bool {
        self.ended >= self.window && self.rated >= self.window
    }

    pub(super) fn failing(&self) -> f64 {
        self.failed / self.ended
    }

    pub(super) fn cost(&self) -> f64 {
        self.cost_usd / self.priced
    }

    pub(super) fn rating(&self) -> f64 {
        self.verdicts / self.rated
    }

    /// Squared standard error of the mean cost.
    pub(super) fn cost_error(&self) -> f64 {
        squared_error(self.cost(), self.cost_squares, self.priced)
    }

    /// Squared standard error of the mean judgement.
    pub(super) fn rating_error(&self) -> f64 {
        squared_error(self.rating(), self.squares, self.rated)
    }
}

/// Squared standard error of the mean of `count` values whose squares sum to `squares`.
fn squared_error(mean: f64, squares: f64, count: f64) -> f64 {
    (squares / count - mean * mean).max(0.0) / count
}

/// Whether the policy in force chose the model: not so in shadow mode or outside the rollout's share.
pub fn is_by_policy(decision: &DecisionRecord) -> bool {
    matches!(decision.mode, Mode::Learned | Mode::Sticky) && decision.shadow.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_weights_chose_is_not_the_policys_doing() {
        let mut decision = crate::tuner::lesson::tests::decision(1);
        let shadow = crate::store::Shadow { model: decision.chosen.clone(), propensity: 1.0, policy_version: 1 };
        for (mode, shadow, is_its) in [
            (Mode::Learned, None, true),
            (Mode::Sticky, None, true),
            (Mode::Sticky, Some(shadow), false),
            (Mode::Named, None, false),
        ] {
            (decision.mode, decision.shadow) = (mode, shadow);
            assert_eq!(is_by_policy(&decision), is_its, "{mode:?}");
        }
    }
}
