//! Guard rails: whether requests under a new policy go so much worse than those before it that it is rolled back.
//!
//! Pure. Three figures are compared, each only once there is enough on both sides: the share of requests that fail, the
//! mean cost of a request, and the mean judgement. Each difference must also exceed two standard errors, so that chance
//! alone rolls nothing back: a few long answers can be a good part of the whole cost.
//!
//! The cause may be the world instead of the policy: a model that changed, a vendor that is down, harder questions.
//! Then the version before would do no better, and knows less. So its counterfactual figures on the same requests are
//! estimated ([`Hindsight`]), and a policy is rolled back only if going back would undo a good part of the harm.

use super::hindsight::Hindsight;
use super::tally::Tally;
use crate::config::Guard;

/// Standard errors that a difference must exceed.
const MIN_STANDARD_ERRORS: f64 = 2.0;

/// Share of the harm that going back must undo.
const MIN_UNDONE: f64 = 0.4;

/// Why the policy that was in force during `after` is to be rolled back, if it is; `instead` holds the counterfactual
/// figures of the version before on the same requests.
pub fn objection(before: &Tally, after: &Tally, instead: &Hindsight, guard: &Guard) -> Option<String> {
    let least = guard.min_requests as f64;
    let enough = |count: fn(&Tally) -> f64| count(before) >= least && count(after) >= least;
    let is_worth_it = |was: f64, is: f64, would_be: f64| (is - would_be) / (is - was) >= MIN_UNDONE;
    let helps = |count: fn(&Tally) -> f64, figure: fn(&Tally) -> f64| {
        let was = figure(before);
        is_worth_it(was, figure(after), instead.figure(count(after), was, count, figure))
    };
    if enough(|tally| tally.ended) {
        let (was, is) = (before.failing(), after.failing());
        let error = (was * (1.0 - was) / before.ended + is * (1.0 - is) / after.ended).sqrt();
        let rise = is - was;
        if rise > guard.error_rise && rise > MIN_STANDARD_ERRORS * error && helps(|tally| tally.ended, Tally::failing)
        {
            return Some(format!("{:.0} % of requests fail, {:.0} % did before", is * 100.0, was * 100.0));
        }
    }
    if enough(|tally| tally.priced) && before.cost_usd > 0.0 {
        // A factor below 1 would roll back a policy that saves money.
        let factor = guard.cost_factor.max(1.0);
        let rise = after.cost() - factor * before.cost();
        let error = (after.cost_error() + factor.powi(2) * before.cost_error()).sqrt();
        if rise > 0.0 && rise > MIN_STANDARD_ERRORS * error && helps(|tally| tally.priced, Tally::cost) {
            return Some(format!("a request costs ${:.5}, it was ${:.5} before", after.cost(), before.cost()));
        }
    }
    if enough(|tally| tally.rated) {
        let fall = before.rating() - after.rating();
        let error = (before.rating_error() + after.rating_error()).sqrt();
        let (was, is) = (before.rating(), after.rating());
        let helps = || is_worth_it(was, is, instead.rating(after.rated, was, is));
        if fall > guard.rating_drop && fall > MIN_STANDARD_ERRORS * error && helps() {
            return Some(format!("answers are judged {is:.2}, they were {was:.2} before"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tally::Part;
    use super::*;
    use crate::tuner::hindsight::{Counterfactual, Share};

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

    /// Where the log says nothing of the version before.
    fn blind(before: &Tally, after: &Tally, guard: &Guard) -> Option<String> {
        objection(before, after, &Hindsight::default(), guard)
    }

    #[test]
    fn what_the_version_before_would_do_no_better_is_not_the_policys_doing() {
        let guard = Guard::default();
        let before = tally(200, 4, 0.01, 0.7);
        for (failed, cost, verdict) in [(60, 0.01, 0.7), (4, 0.05, 0.7), (4, 0.01, 0.4)] {
            let after = tally(200, failed, cost, verdict);
            let taken_back =
                |known: &Tally, more| objection(&before, &after, &Hindsight::knowing(*known, more), &guard).is_some();
            assert!(taken_back(&before, (0.0, 60.0)), "it would do as well as before");
            assert!(!taken_back(&after, (0.0, 0.0)), "it would do just as badly");
            assert!(!taken_back(&tally(200, 100, 0.09, 0.2), (0.0, -10.0)), "or worse");
            if verdict == 0.7 {
                assert!(taken_back(&tally(60, failed * 60 / 200, cost, verdict), (0.0, 0.0)), "little speaks of it");
                assert!(!taken_back(&tally(150, failed * 150 / 200, cost, verdict), (0.0, 0.0)), "mostly");
            }
        }
    }

    /// Takes in `count` requests that `model` got, of whose answers `good` were judged 1, the others 0.
    fn rated(model: &str, by: &Counterfactual, count: u32, good: u32, instead: &mut Hindsight, after: &mut Tally) {
        for number in 0..count {
            // Evenly among them.
            let is_good = (number + 1) * good / count > number * good / count;
            let part = Part { outcome: None, verdict: Some(f64::from(u8::from(is_good))) };
            after.add(part, 1.0);
            instead.add(&model.into(), part, by);
        }
    }

    /// What the version before would have done with what surely went to `went_to`: what `a` and `b` get, and the
    /// judgements it expects of them.
    fn would(went_to: &str, a: (f64, f64), b: (f64, f64)) -> Counterfactual {
        let share = |model: &str, (probability, expected)| Share {
            model: model.into(),
            probability,
            more: probability - f64::from(u8::from(model == went_to)),
            expected: Some(expected),
        };
        let weight = if went_to == "a" { a.0 } else { b.0 };
        Counterfactual { weight, shares: vec![share("a", a), share("b", b)] }
    }

    #[test]
    fn a_policy_that_left_a_model_when_it_fell_is_not_taken_back_to_it() {
        let guard = Guard::default();
        let before = tally(200, 4, 0.01, 0.9);
        // The version before asked `b` for nearly all, which gave 0.9, as it knew. So did what is in force; then `b`
        // fell to 0.1, and it has asked `a` alone since, which gives 0.6.
        let taken_back = |fallen: u32| {
            let by = |went_to| would(went_to, (0.05, 0.6), (0.95, 0.9));
            let (mut after, mut instead) = (Tally::of(500), Hindsight::default());
            rated("a", &by("a"), 180, 108, &mut instead, &mut after);
            rated("b", &by("b"), fallen, fallen / 10, &mut instead, &mut after);
            rated("b", &by("b"), 60, 54, &mut instead, &mut after);
            objection(&before, &after, &instead, &guard).is_some()
        };
        assert!(!taken_back(20), "the version before would ask the broken one again");
        assert!(taken_back(0), "as far as is known, `b` is as good as it was");
    }

    #[test]
    fn a_policy_that_leaves_only_what_is_hard_to_the_good_model_is_taken_back_to_it() {
        let guard = Guard::default();
        let before = tally(200, 4, 0.01, 0.9);
        // The version before asked `b` for everything, which gives 0.97 where it is easy and 0.5 where it is hard, and
        // knew it. What is in force asks it for what is hard, and `a` for the rest, which gives 0.5. Neither tries out
        // much.
        let taken_back = |good: u32| {
            let (mut after, mut instead) = (Tally::of(500), Hindsight::default());
            rated("b", &would("b", (0.001, 0.5), (0.999, 0.5)), 75, good, &mut instead, &mut after);
            rated("a", &would("a", (0.001, 0.5), (0.999, 0.97)), 425, 212, &mut instead, &mut after);
            objection(&before, &after, &instead, &guard).is_some()
        };
        assert!(taken_back(37), "`b` is as good as it was");
        assert!(!taken_back(7), "it fell");
    }

    #[test]
    fn a_fall_of_all_models_is_not_charged_to_a_policy_that_asks_one_of_them_alone() {
        let guard = Guard::default();
        // The version before mostly asked `a`, which it expects 0.8 of; what is in force asks `b` alone, which was
        // 0.92. Since then users judge all answers by a quarter less.
        let (mut after, mut instead) = (Tally::of(500), Hindsight::default());
        rated("b", &would("b", (0.8, 0.8), (0.2, 0.92)), 200, 134, &mut instead, &mut after);
        assert_eq!(objection(&tally(200, 4, 0.01, 0.82), &after, &instead, &guard), None);
        // A model that broke is another matter: the version before asked it rarely.
        let (mut after, mut instead) = (Tally::of(500), Hindsight::default());
        rated("b", &would("b", (0.8, 0.8), (0.2, 0.92)), 200, 0, &mut instead, &mut after);
        assert!(objection(&tally(200, 4, 0.01, 0.82), &after, &instead, &guard).is_some());
        // And so is a policy that asks the bad one alone, which was never better than that.
        let (mut after, mut instead) = (Tally::of(500), Hindsight::default());
        rated("a", &would("a", (0.05, 0.6), (0.95, 0.9)), 200, 60, &mut instead, &mut after);
        assert!(objection(&tally(200, 4, 0.01, 0.88), &after, &instead, &guard).is_some());
    }

    #[test]
    fn what_does_as_well_as_before_stays() {
        let guard = Guard::default();
        assert_eq!(blind(&tally(200, 4, 0.01, 0.7), &tally(200, 8, 0.02, 0.68), &guard), None);
    }

    #[test]
    fn each_rail_takes_back_on_its_own() {
        let guard = Guard::default();
        let good = tally(200, 4, 0.01, 0.7);
        let failing = blind(&good, &tally(200, 60, 0.01, 0.7), &guard).unwrap();
        assert!(failing.contains("30 %"), "{failing}");
        assert!(blind(&good, &tally(200, 4, 0.05, 0.7), &guard).unwrap().contains("costs"));
        let odd = Guard { cost_factor: 0.2, ..guard };
        assert_eq!(blind(&good, &tally(200, 4, 0.008, 0.7), &odd), None, "it saves");
        assert!(blind(&good, &tally(200, 4, 0.01, 0.4), &guard).unwrap().contains("judged"));
    }

    #[test]
    fn a_handful_of_requests_says_nothing() {
        let guard = Guard::default();
        assert_eq!(blind(&tally(200, 4, 0.01, 0.7), &tally(20, 20, 1.0, 0.0), &guard), None);
        assert_eq!(blind(&tally(20, 0, 0.01, 0.7), &tally(200, 200, 1.0, 0.0), &guard), None);
    }

    #[test]
    fn a_few_long_answers_take_nothing_back() {
        let guard = Guard::default();
        let dear = |spread: f64| {
            let mut after = tally(60, 0, 0.04, 0.7);
            after.cost_squares = after.priced * (0.04_f64.powi(2) + spread.powi(2));
            blind(&tally(500, 0, 0.01, 0.7), &after, &guard)
        };
        assert!(dear(0.01).unwrap().contains("costs"), "four times as much, each of them");
        assert_eq!(dear(0.1), None, "two of sixty cost it all");
    }

    #[test]
    fn a_fall_that_chance_explains_takes_nothing_back() {
        let guard = Guard { min_requests: 10, ..Guard::default() };
        assert_eq!(blind(&tally(12, 0, 0.01, 0.7), &tally(12, 0, 0.01, 0.55), &guard), None);
    }
}
