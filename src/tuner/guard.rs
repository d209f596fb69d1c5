//! Guard rails: whether requests under a new policy do so much worse than those before it that it is to be taken back.
//!
//! Pure. Three things are compared, each only once there is enough on both sides: the share of requests that fail, the
//! mean cost of one, and the mean judgement. Each difference must also be more than two standard errors, so that chance
//! alone takes nothing back: a few long answers are a good part of what all together cost.

use crate::config::Guard;
use crate::store::{DecisionRecord, Entry, Mode, OutcomeStatus};

/// Standard errors that a difference must exceed.
const SURE: f64 = 2.0;

/// What happened to some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    window: f64,
    ended: f64,
    failed: f64,
    priced: f64,
    cost_usd: f64,
    cost_squares: f64,
    rated: f64,
    verdicts: f64,
    squares: f64,
}

impl Tally {
    /// Takes in the first `window` requests that come, and as many judgements: where few answers are judged, judgements
    /// reach further than requests.
    pub fn of(window: usize) -> Self {
        Self { window: window as f64, ..Self::default() }
    }

    /// Takes in one request, if the policy chose its model.
    pub fn add(&mut self, entry: &Entry) {
        let is_ours = is_by_policy(&entry.decision) && !entry.decision.request.dry_run;
        let Some(outcome) = entry.outcome.as_ref().filter(|_| is_ours) else { return };
        if self.ended < self.window {
            self.ended += 1.0;
            self.failed += f64::from(u8::from(matches!(outcome.status, OutcomeStatus::Failed(_))));
            if let Some(cost_usd) = outcome.cost_usd {
                self.priced += 1.0;
                self.cost_usd += cost_usd;
                self.cost_squares += cost_usd * cost_usd;
            }
        }
        if let Some(verdict) = entry.verdict().filter(|_| self.rated < self.window) {
            self.rated += 1.0;
            self.verdicts += verdict;
            self.squares += verdict * verdict;
        }
    }

    /// Whether it takes in no more.
    pub fn is_full(&self) -> bool {
        self.ended >= self.window && self.rated >= self.window
    }

    fn failing(&self) -> f64 {
        self.failed / self.ended
    }

    fn cost(&self) -> f64 {
        self.cost_usd / self.priced
    }

    fn rating(&self) -> f64 {
        self.verdicts / self.rated
    }

    /// Squared standard error of the mean cost.
    fn cost_error(&self) -> f64 {
        squared_error(self.cost(), self.cost_squares, self.priced)
    }

    /// Squared standard error of the mean judgement.
    fn rating_error(&self) -> f64 {
        squared_error(self.rating(), self.squares, self.rated)
    }
}

/// Squared standard error of the mean of `count` values whose squares sum to `squares`.
fn squared_error(mean: f64, squares: f64, count: f64) -> f64 {
    (squares / count - mean * mean).max(0.0) / count
}

/// Whether the policy in force chose the model: where it only watched, others did.
pub fn is_by_policy(decision: &DecisionRecord) -> bool {
    matches!(decision.mode, Mode::Learned | Mode::Sticky) && decision.shadow.is_none()
}

/// Why the policy that `after` happened under is to be taken back, if it is.
pub fn objection(before: &Tally, after: &Tally, guard: &Guard) -> Option<String> {
    let least = guard.min_requests as f64;
    let enough = |count: fn(&Tally) -> f64| count(before) >= least && count(after) >= least;
    if enough(|tally| tally.ended) {
        let (was, is) = (before.failing(), after.failing());
        let error = (was * (1.0 - was) / before.ended + is * (1.0 - is) / after.ended).sqrt();
        if is - was > guard.error_rise && is - was > SURE * error {
            return Some(format!("{:.0} % of requests fail, {:.0} % did before", is * 100.0, was * 100.0));
        }
    }
    if enough(|tally| tally.priced) && before.cost_usd > 0.0 {
        let rise = after.cost() - guard.cost_factor * before.cost();
        let error = (after.cost_error() + guard.cost_factor.powi(2) * before.cost_error()).sqrt();
        if rise > 0.0 && rise > SURE * error {
            return Some(format!("a request costs ${:.5}, it was ${:.5} before", after.cost(), before.cost()));
        }
    }
    if enough(|tally| tally.rated) {
        let fall = before.rating() - after.rating();
        let error = (before.rating_error() + after.rating_error()).sqrt();
        if fall > guard.rating_drop && fall > SURE * error {
            let (was, is) = (before.rating(), after.rating());
            return Some(format!("answers are judged {is:.2}, they were {was:.2} before"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(count: u32, failed: u32, cost_each: f64, verdict: f64) -> Tally {
        let count = f64::from(count);
        // Half a point up or down: as much spread as judgements have.
        Tally {
            window: count,
            ended: count,
            failed: f64::from(failed),
            priced: count,
            cost_usd: count * cost_each,
            // As much spread as the mean itself: answers are of very different lengths.
            cost_squares: count * 2.0 * cost_each * cost_each,
            rated: count,
            verdicts: count * verdict,
            squares: count * (verdict * verdict + 0.16),
        }
    }

    #[test]
    fn what_the_weights_chose_is_not_the_policys_doing() {
        let mut decision = crate::tuner::lesson::tests::decision(1);
        let shadow =
            crate::store::ShadowRecord { model: decision.chosen.clone(), propensity: 1.0, policy_version: 1 };
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

    #[test]
    fn what_does_as_well_as_before_stays() {
        let guard = Guard::default();
        assert_eq!(objection(&tally(200, 4, 0.01, 0.7), &tally(200, 8, 0.02, 0.68), &guard), None);
    }

    #[test]
    fn each_rail_takes_back_on_its_own() {
        let guard = Guard::default();
        let good = tally(200, 4, 0.01, 0.7);
        let failing = objection(&good, &tally(200, 60, 0.01, 0.7), &guard).unwrap();
        assert!(failing.contains("30 %"), "{failing}");
        assert!(objection(&good, &tally(200, 4, 0.05, 0.7), &guard).unwrap().contains("costs"));
        assert!(objection(&good, &tally(200, 4, 0.01, 0.4), &guard).unwrap().contains("judged"));
    }

    #[test]
    fn a_handful_of_requests_says_nothing() {
        let guard = Guard::default();
        assert_eq!(objection(&tally(200, 4, 0.01, 0.7), &tally(20, 20, 1.0, 0.0), &guard), None);
        assert_eq!(objection(&tally(20, 0, 0.01, 0.7), &tally(200, 200, 1.0, 0.0), &guard), None);
    }

    #[test]
    fn a_few_long_answers_take_nothing_back() {
        let guard = Guard::default();
        let dear = |spread: f64| {
            let mut after = tally(60, 0, 0.04, 0.7);
            after.cost_squares = after.priced * (0.04_f64.powi(2) + spread.powi(2));
            objection(&tally(500, 0, 0.01, 0.7), &after, &guard)
        };
        assert!(dear(0.01).unwrap().contains("costs"), "four times as much, each of them");
        assert_eq!(dear(0.1), None, "two of sixty cost it all");
    }

    #[test]
    fn a_fall_that_chance_explains_takes_nothing_back() {
        let guard = Guard { min_requests: 10, ..Guard::default() };
        assert_eq!(objection(&tally(12, 0, 0.01, 0.7), &tally(12, 0, 0.01, 0.55), &guard), None);
    }
}
