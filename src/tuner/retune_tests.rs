//! Folding the log.

use super::*;
use crate::config::RewardMap;
use crate::protocol::ModelName;
use crate::store::{Entry, FeedbackKind};
use crate::tuner::lesson::tests::{decision, feedback, outcome};

fn lessons(count: u64) -> Vec<Lesson> {
    let lesson = |number: u64| {
        let mut decision = decision(number);
        decision.chosen = ModelName::from(if number.is_multiple_of(2) { "a" } else { "b" });
        let good = number.is_multiple_of(2) == number.is_multiple_of(3);
        let said = vec![feedback(&decision, "f", FeedbackKind::Correct(good))];
        let outcome = Some(outcome(&decision));
        Lesson::of(&Entry { decision, outcome, feedback: said }, false, &RewardMap::default())
    };
    (1..=count).filter_map(lesson).collect()
}

fn learned(lessons: &[Lesson]) -> Lessons {
    Lessons { learned: lessons.to_vec(), ..Lessons::default() }
}

#[test]
fn the_same_log_gives_the_same_policy() {
    let (lessons, live) = (lessons(120), Snapshot::new(Settings::default()).unwrap());
    let gate = Gate::default();
    let first = propose(&learned(&lessons), (&live, &Knowledge::only_since(0)), Settings::default(), &gate).unwrap();
    assert_eq!(
        first,
        propose(&learned(&lessons), (&live, &Knowledge::only_since(0)), Settings::default(), &gate).unwrap()
    );
    assert_eq!((first.policy.learned_from(), first.policy.space()), (120, "test"));
}

#[test]
fn taking_in_one_by_one_comes_to_what_a_retune_comes_to() {
    let lessons = lessons(60);
    let mut live = LivePolicy::new(Snapshot::new(Settings::default()).unwrap().in_space("test", 2), 0);
    for lesson in &lessons {
        live = take_in(&live, std::slice::from_ref(lesson));
    }
    assert_eq!((live.revision, live.known.len()), (60, 2));
    let gate = Gate::default();
    let proposal =
        propose(&learned(&lessons), (&live.policy, &Knowledge::only_since(0)), Settings::default(), &gate).unwrap();
    let gain = proposal.gain.unwrap();
    assert!(gain.mean.abs() < 1e-9 && proposal.ruling == Ruling::Promote, "{gain:?}");
}

#[test]
fn a_head_that_was_tried_and_put_back_takes_nothing_with_it() {
    let mut lessons = lessons(53);
    (lessons[50].space, lessons[50].features) = ("other".into(), vec![0.5; 5]);
    for unread in [10, 51] {
        lessons[unread].features.clear();
    }
    let live = Snapshot::new(Settings::default()).unwrap();
    let proposal =
        propose(&learned(&lessons), (&live, &Knowledge::only_since(0)), Settings::default(), &Gate::default())
            .unwrap();
    assert_eq!((proposal.policy.space(), proposal.policy.learned_from()), ("test", 51));
    assert_eq!(of_newest_head(&lessons[..50]).len(), 50, "beside one head all count");
}

#[test]
fn what_was_learned_beside_another_head_is_left_behind() {
    let mut lessons = lessons(60);
    let before = LivePolicy::new(Snapshot::new(Settings::default()).unwrap(), 0);
    let before = take_in(&before, &lessons);
    for newest in &mut lessons[50..] {
        newest.space = "newer".into();
        newest.features = vec![0.5; 5];
    }
    lessons[55].features.clear();
    let proposal = propose(
        &learned(&lessons),
        (&before.policy, &Knowledge::only_since(0)),
        Settings::default(),
        &Gate::default(),
    )
    .unwrap();
    assert_eq!((proposal.policy.space(), proposal.policy.learned_from()), ("newer", 10), "one prompt was not read");
    assert_eq!(take_in(&before, &lessons[50..]).revision, 61, "of another head's only what was not read");
    let anew = begin_anew(&before, "newer", 5).unwrap();
    assert_eq!((anew.policy.space(), anew.policy.learned_from(), anew.known.len()), ("newer", 0, 0));
    assert_eq!(begin_anew(&anew, "newer", 5), None);
}

#[test]
fn a_policy_that_would_do_nothing_of_what_was_done_is_told_so() {
    use crate::bandit::PolicyKind;
    let never = Settings { policy: PolicyKind::Greedy, floor: 0.0, ..Settings::default() };
    let by_b = |number: u64| {
        let mut decision = decision(number);
        decision.chosen = ModelName::from("b");
        let said = vec![feedback(&decision, "f", FeedbackKind::Correct(false))];
        let outcome = Some(outcome(&decision));
        Lesson::of(&Entry { decision, outcome, feedback: said }, false, &RewardMap::default())
    };
    let bad: Vec<Lesson> = (1..=60).filter_map(by_b).collect();
    let live = Snapshot::new(never).unwrap();
    let proposal = propose(&learned(&bad), (&live, &Knowledge::only_since(0)), never, &Gate::default()).unwrap();
    assert_eq!((proposal.ruling, proposal.gain), (Ruling::Wait, None));
    assert!(proposal.reason.contains("nothing of what it would do"), "{}", proposal.reason);
}
