//! Cross-fitting: two models with the same settings, each fitted without one half of the evidence and asked only about
//! that half, so that neither is asked about a reward that it has seen.
//!
//! Pure. The half of a lesson follows from a hash of its decision's id. Alternating by position would put two
//! alternating kinds of work into one half each, and each model would be asked about a kind that it has never seen.

use std::collections::HashSet;

use super::lesson::Lesson;
use crate::bandit::{Candidate, Settings, Snapshot};
use crate::protocol::DecisionId;

/// The two models; each stands at the index of the half that it has not seen.
pub struct CrossFit([Snapshot; 2]);

impl CrossFit {
    /// Reward models fitted to the evidence alone; `None` where the settings are out of range.
    pub fn of_rewards<'a>(
        evidence: impl IntoIterator<Item = &'a Lesson> + Clone,
        settings: Settings,
    ) -> Option<Self> {
        // The evidence spans all times, so nothing fades and no sudden change is acted on.
        let settings = Settings { half_life: None, drift: None, ..settings };
        Self::fitted(settings, |side| evidence.clone().into_iter().filter(|it| side_of(it.id) != side).collect())
    }

    /// The policy trained on `learned`, without one half of the `unseen` lessons. The settings stay as they are: a
    /// model that forgot or noticed changes otherwise would be another policy.
    pub fn of_policy(learned: &[Lesson], unseen: &HashSet<DecisionId>, settings: Settings) -> Option<Self> {
        let is_in = |id: DecisionId, side| side_of(id) == side && unseen.contains(&id);
        Self::fitted(settings, |side| learned.iter().filter(|it| !is_in(it.id, side)).collect())
    }

    /// For each side, a model fitted to the lessons that `others` gives for it.
    fn fitted<'a>(settings: Settings, others: impl Fn(usize) -> Vec<&'a Lesson>) -> Option<Self> {
        let fit = |side: usize| {
            let mut model = Snapshot::new(settings).ok()?;
            let others = others(side);
            if let Some(read) = others.iter().find(|lesson| !lesson.features.is_empty()) {
                model = model.in_space(&read.space, read.features.len());
            }
            model.learn(others.into_iter().map(Lesson::observation));
            Some(model)
        };
        Some(Self([fit(0)?, fit(1)?]))
    }

    /// What the model that has not seen the lesson expects of each of its choice's candidates.
    pub fn expected(&self, lesson: &Lesson, candidates: &[Candidate<'_>]) -> Vec<f64> {
        let model = self.without(lesson.id);
        candidates.iter().map(|candidate| model.quality(&lesson.context(), candidate)).collect()
    }

    /// The model that has not seen the lesson of this decision.
    pub fn without(&self, id: DecisionId) -> &Snapshot {
        &self.0[side_of(id)]
    }
}

fn side_of(id: DecisionId) -> usize {
    (id.mixed() % 2) as usize
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

    fn ids(lessons: &[Lesson]) -> HashSet<DecisionId> {
        lessons.iter().map(|lesson| lesson.id).collect()
    }

    #[test]
    fn a_half_knows_all_but_the_other_and_what_is_not_measured_on() {
        let learned = judged(60, 20);
        let evidence: Vec<&Lesson> = learned[..40].iter().collect();
        let halves = CrossFit::of_policy(&learned, &ids(&learned[..40]), Settings::default()).unwrap();
        let of_side = |side| evidence.iter().copied().filter(move |lesson| side_of(lesson.id) == side);
        for side in [0, 1] {
            assert!((15..=25).contains(&of_side(side).count()), "{}", of_side(side).count());
            let mut fitted = Snapshot::new(Settings::default()).unwrap().in_space("test", 2);
            fitted.learn(of_side(1 - side).chain(&learned[40..]).map(Lesson::observation));
            let one = of_side(side).next().unwrap();
            assert_eq!(halves.without(one.id), &fitted);
        }
        let rewards = CrossFit::of_rewards(evidence.iter().copied(), Settings::default()).unwrap();
        let known = [0, 1].map(|side| rewards.0[side].learned_from());
        assert_eq!(known, [1, 0].map(|side| of_side(side).count() as u64));
    }

    #[test]
    fn a_policy_s_halves_notice_what_the_policy_notices_and_expectations_do_not() {
        let learned = judged(600, 100);
        let shifts = |halves: &CrossFit| [0, 1].map(|side| halves.0[side].arms().map(|arm| arm.shifts).sum::<u32>());
        let noticed = shifts(&CrossFit::of_policy(&learned, &ids(&learned), Settings::default()).unwrap());
        assert!(noticed.iter().all(|shifts| *shifts > 0), "{noticed:?}");
        let rewards = CrossFit::of_rewards(&learned, Settings::default()).unwrap();
        assert_eq!(shifts(&rewards), [0, 0]);
    }

    #[test]
    fn no_rhythm_of_ids_is_a_half_s() {
        for step in 1..=12_u128 {
            for first in 0..step {
                let ids = (0..1_000).map(|number| DecisionId(uuid::Uuid::from_u128(first + step * number)));
                let there = ids.filter(|id| side_of(*id) == 1).count();
                assert!((400..=600).contains(&there), "{there} of every {step}");
            }
        }
    }
}
