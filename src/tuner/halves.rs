//! Two models of the same make, each fitted to one half of a log, so that none is asked about what it has seen.
//!
//! Pure. The halves are every other piece of the evidence that a policy is measured on, by its place in it. What of the log
//! is not measured on may be known to both.

use std::collections::HashMap;

use super::lesson::Lesson;
use crate::bandit::{Settings, Snapshot};
use crate::protocol::DecisionId;

/// The two, in the order of the halves that they have not seen.
pub struct Halves([Snapshot; 2]);

impl Halves {
    /// What rewards to expect, fitted to the evidence itself; `None` where the settings are not possible.
    pub fn of_rewards<'a>(
        evidence: impl IntoIterator<Item = &'a Lesson> + Clone,
        settings: Settings,
    ) -> Option<Self> {
        // Whoever expects rewards of all times takes them all alike: nothing fades, and nothing changes suddenly.
        let settings = Settings { half_life: None, drift: None, ..settings };
        Self::fitted(settings, |side| {
            let others = evidence.clone().into_iter().enumerate().filter(move |(at, _)| side_of(*at) != side);
            others.map(|(_, lesson)| lesson).collect()
        })
    }

    /// The policy that `learned` makes under `settings`, as it would be without one half of the evidence: it forgets, notices
    /// changes and weighs signals as the whole one does. Without that it would be another policy's gain that is measured.
    pub fn of_policy(learned: &[Lesson], evidence: &[&Lesson], settings: Settings) -> Option<Self> {
        let sides: HashMap<DecisionId, usize> =
            evidence.iter().enumerate().map(|(at, lesson)| (lesson.id, side_of(at))).collect();
        Self::fitted(settings, |side| learned.iter().filter(|it| sides.get(&it.id) != Some(&side)).collect())
    }

    /// One that learns what `others` of each side there are.
    fn fitted<'a>(settings: Settings, others: impl Fn(usize) -> Vec<&'a Lesson>) -> Option<Self> {
        let fit = |side: usize| {
            let mut model = Snapshot::new(settings).ok()?;
            let others = others(side);
            if let Some(seen) = others.iter().find(|lesson| !lesson.features.is_empty()) {
                model = model.in_space(&seen.space, seen.features.len());
            }
            model.learn(others.into_iter().map(Lesson::observation));
            Some(model)
        };
        Some(Self([fit(0)?, fit(1)?]))
    }

    /// The one that has not seen the piece of evidence at this place.
    pub fn without(&self, at: usize) -> &Snapshot {
        &self.0[side_of(at)]
    }
}

fn side_of(at: usize) -> usize {
    at % 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RewardMap;
    use crate::store::{Entry, FeedbackKind};
    use crate::tuner::lesson::tests::{decision, feedback, outcome};

    /// So many judged answers of one model, of which the last `bad` are bad.
    fn judged(count: u64, bad: u64) -> Vec<Lesson> {
        let lesson = |number: u64| {
            let decision = decision(number);
            let said = vec![feedback(&decision, "f", FeedbackKind::Correct(number + bad <= count))];
            let outcome = Some(outcome(&decision));
            Lesson::of(&Entry { decision, outcome, feedback: said }, false, &RewardMap::default())
        };
        (1..=count).filter_map(lesson).collect()
    }

    #[test]
    fn a_half_knows_all_but_the_other_and_what_is_not_measured_on() {
        let learned = judged(60, 20);
        let evidence: Vec<&Lesson> = learned[..40].iter().collect();
        let halves = Halves::of_policy(&learned, &evidence, Settings::default()).unwrap();
        assert_eq!((halves.without(0).learned_from(), halves.without(7).learned_from()), (40, 40));
        let (even, odd): (Vec<_>, Vec<_>) = learned[..40].iter().enumerate().partition(|(at, _)| at % 2 == 0);
        for (side, known) in [(0, odd), (1, even)] {
            let mut fitted = Snapshot::new(Settings::default()).unwrap().in_space("test", 2);
            fitted.learn(known.into_iter().map(|(_, lesson)| lesson).chain(&learned[40..]).map(Lesson::observation));
            assert_eq!(halves.without(side), &fitted);
        }
        let rewards = Halves::of_rewards(evidence.iter().copied(), Settings::default()).unwrap();
        assert_eq!(rewards.without(0).learned_from(), 20);
    }

    #[test]
    fn a_policy_s_halves_notice_what_the_policy_notices_and_expectations_do_not() {
        let learned = judged(600, 100);
        let evidence: Vec<&Lesson> = learned.iter().collect();
        let shifts =
            |halves: &Halves| [0, 1].map(|side| halves.without(side).arms().map(|arm| arm.shifts).sum::<u32>());
        let noticed = shifts(&Halves::of_policy(&learned, &evidence, Settings::default()).unwrap());
        assert!(noticed.iter().all(|shifts| *shifts > 0), "{noticed:?}");
        let rewards = Halves::of_rewards(evidence.iter().copied(), Settings::default()).unwrap();
        assert_eq!(shifts(&rewards), [0, 0]);
    }
}
