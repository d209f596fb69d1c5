//! What guard rails take back, and what they leave; and what a full disk leaves to be done later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::tests::{Went, begun, budgets, happen, happen_by, happen_to_b, in_force, judged, surely_b, worker};
use super::*;
use crate::bandit::{Candidate, Context, Grounds, Observation, Reward, Settings, Tradeoff};
use crate::protocol::ModelName;
use crate::store::{DecisionRecord, FeedbackKind, Mode, OutcomeRecord, SnapshotRecord, Store, on_disk_with};
use crate::tuner::lesson::tests::{decision, feedback, outcome};

#[test]
fn failures_take_a_version_back_and_hold_the_next() {
    let (store, mut worker) = in_force();
    happen_to_b(&store, now_ms(), 60, |_| Went { failed: true, judged: None });
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    assert_eq!(worker.shared.live.load().policy.version, 1, "it is judged before its child");
    let held = worker.retune(now_ms()).unwrap();
    assert_eq!(held.ruling, Ruling::Wait);
    assert!(held.reason.contains("rolled back a while ago"), "{}", held.reason);
    // What people say meanwhile is learned all the same: it may be the cure.
    let held_revision = worker.shared.live.load().revision;
    let mut late = decision(now_ms() as u64 + 60);
    late.chosen = ModelName::from("b");
    let mut said = vec![feedback(&late, "f", FeedbackKind::Correct(false))];
    store.append(&[late.clone()], &[outcome(&late)], &mut said).unwrap();
    worker.take_in(&[late.id], now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().revision, held_revision + 1);
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_waiting_and_what_it_dated_ahead_judges_no_version() {
    let (store, mut worker) = begun();
    let ahead_ms = now_ms() + 86_400_000;
    worker.clock = (ahead_ms, Instant::now());
    happen(&store, 1, 60, |_| judged(true));
    happen_to_b(&store, ahead_ms - 1_000, 60, |_| Went { failed: true, judged: None });
    worker.perform(Job::Retune, &budgets(&store), ahead_ms);
    let record = store.snapshot(2).unwrap().unwrap();
    store.update_snapshot(&SnapshotRecord { promoted_at_ms: Some(ahead_ms), ..record }).unwrap();
    worker.size_at_watch = None;
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    assert_eq!(worker.shared.live.load().policy.version, 2, "the failures may be of the version before");
    assert!(!worker.is_proven(2, now_ms()).unwrap());
    let from_ms = now_ms();
    happen(&store, from_ms, 60, |_| judged(true));
    let then_ms = from_ms + 100;
    assert!(worker.is_proven(2, then_ms).unwrap(), "it counts from when the clock was set");
    worker.take_in(&[decision(from_ms as u64 + 50).id], then_ms).unwrap();
    assert_eq!(worker.shared.live.load().revision, 1, "and what is judged from then on is news");
}

/// `count` requests from `at_ms` on that the policy in force decides, each judged and learned from at once; `liked` =
/// how often which model's answers are. Looks at the guard rails now and then.
fn go_on(worker: &mut Worker, at_ms: i64, count: u64, rng: &mut SmallRng, liked: impl Fn(&str) -> f64) {
    for number in 0..count {
        let mut decision = decision(at_ms as u64 + number);
        (decision.features, decision.feature_space) = (Vec::new(), String::new());
        let live = worker.shared.live.load_full();
        let candidates: Vec<Candidate<'_>> = decision
            .candidates
            .iter()
            .map(|way| Candidate {
                model: &way.model,
                prior: 0.6,
                grounds: Grounds::Likened,
                cost_usd: 0.0,
                latency_s: None,
                switching_usd: 0.0,
            })
            .collect();
        let tradeoff = Tradeoff::default();
        let choice = live.policy.choose(&Context::default(), &candidates, &tradeoff, true, rng.random()).unwrap();
        for (way, propensity) in decision.candidates.iter_mut().zip(choice.propensities) {
            (way.prior, way.grounds, way.cost_usd, way.propensity) = (Some(0.6), Grounds::Likened, 0.0, propensity);
        }
        decision.chosen = decision.candidates[choice.chosen].model.clone();
        decision.propensity = Some(decision.candidates[choice.chosen].propensity);
        let good = rng.random::<f64>() < liked(decision.chosen.as_str());
        let mut said = vec![feedback(&decision, "f", FeedbackKind::Correct(good))];
        let store = &worker.shared.store;
        store.append(std::slice::from_ref(&decision), &[outcome(&decision)], &mut said).unwrap();
        worker.take_in(&[decision.id], decision.at_ms).unwrap();
        if number % 20 == 19 {
            worker.watch(now_ms()).unwrap();
        }
    }
}

#[test]
fn a_policy_that_leaves_a_model_when_it_falls_stays_and_one_that_leaves_a_good_one_does_not() {
    let in_force_then = |seed: u64, then: fn(&str) -> f64, is_swapped: bool| {
        let (store, mut worker) = begun();
        let mut rng = SmallRng::seed_from_u64(seed);
        let at_first = |model: &str| if model == "b" { 0.9 } else { 0.6 };
        go_on(&mut worker, 1, 200, &mut rng, at_first);
        assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
        let from = now_ms() + 1;
        if is_swapped {
            // As somebody would who knew it the wrong way round.
            put_in_force(&store, &mut worker, "a", "b");
        } else {
            go_on(&mut worker, from, 60, &mut rng, at_first);
        }
        let version = worker.shared.live.load().policy.version;
        go_on(&mut worker, now_ms() + 60, 300, &mut rng, then);
        worker.shared.live.load().policy.version == version
    };
    let stay = |then, is_swapped| (0..20).filter(|seed| in_force_then(*seed, then, is_swapped)).count();
    // Of a model that was left after a few bad answers it is not known whether it fell.
    let left = stay(|model| if model == "b" { 0.1 } else { 0.6 }, false);
    assert!(left >= 15, "the version before would ask the broken one again: {left} of 20 stay");
    // What soon learns better is not taken back either.
    let swapped = stay(|model| if model == "b" { 0.9 } else { 0.3 }, true);
    assert!(swapped <= 10, "the version before asked the good one: {swapped} of 20 stay");
}

#[test]
fn a_world_that_got_worse_is_no_policys_fault() {
    let (store, mut worker) = in_force();
    // Both models are asked as the version before would ask them.
    happen(&store, now_ms(), 60, |_| Went { failed: true, judged: None });
    happen(&store, now_ms() + 60, 60, |_| judged(false));
    worker.watch(now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().policy.version, 2);
}

#[test]
fn few_judgements_are_looked_for_further_back() {
    let (store, mut worker) = begun();
    let rarely = |number: u64, good: bool| Went { failed: false, judged: (number % 20 < 2).then_some(good) };
    put_in_force(&store, &mut worker, "a", "b");
    happen(&store, 1, 1200, |number| rarely(number, true));
    let live = put_in_force(&store, &mut worker, "b", "a");
    happen_to_b(&store, now_ms() + 1, 1200, |number| rarely(number, false));
    worker.watch(now_ms()).unwrap();
    let record = store.snapshot(live).unwrap().unwrap();
    assert_eq!(record.state, SnapshotState::RolledBack);
    assert!(record.reason.contains("judged"), "{}", record.reason);
}

#[test]
fn calls_that_others_made_are_guarded_and_previews_show_nothing() {
    let (store, mut worker) = begun();
    let asked_only = |decision: &mut DecisionRecord, _| decision.request.dry_run = true;
    happen_by(&store, 1, 60, asked_only, |_| judged(true));
    assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
    let previewed = now_ms() as u64;
    for number in 0..60 {
        let mut preview = decision(previewed + number);
        preview.request.dry_run = true;
        store.append(&[preview], &[] as &[OutcomeRecord], &mut []).unwrap();
    }
    assert!(!worker.is_proven(2, now_ms()).unwrap());
    let by_b = |decision: &mut DecisionRecord, number| {
        asked_only(decision, number);
        surely_b(decision);
    };
    happen_by(&store, now_ms() + 60, 60, by_b, |_| Went { failed: true, judged: None });
    assert!(worker.is_proven(2, now_ms()).unwrap());
    worker.watch(now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().policy.version, 1);
}

#[test]
fn judged_answers_of_others_calls_show_a_version_and_are_guarded() {
    let (store, mut worker) = begun();
    let told = |at_ms: i64, by_b: bool, good: bool| {
        for number in 0..60 {
            let mut asked = decision(at_ms as u64 + number);
            asked.request.dry_run = true;
            if by_b {
                surely_b(&mut asked);
            }
            let mut said = vec![feedback(&asked, "f", FeedbackKind::Correct(good))];
            store.append(&[asked], &[] as &[OutcomeRecord], &mut said).unwrap();
        }
    };
    told(1, false, true);
    assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
    assert!(!worker.is_proven(2, now_ms()).unwrap());
    told(now_ms() + 1, true, false);
    assert!(worker.is_proven(2, now_ms()).unwrap());
    worker.watch(now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().policy.version, 1);
}

/// Puts a version in force that was taught so often that `liked` is always right and `other` never.
fn put_in_force(store: &Store, worker: &mut Worker, liked: &str, other: &str) -> u64 {
    let mut policy = Snapshot::new(Settings::default()).unwrap();
    for (model, reward) in [(liked, 1.0), (other, 0.0)] {
        let model = ModelName::from(model);
        let one = Observation {
            model: &model,
            context: Context::default(),
            prior: 0.5,
            grounds: Grounds::Fitted,
            reward: Reward::new(reward).unwrap(),
            weight: 1.0,
            judged: true,
        };
        policy.learn(std::iter::repeat_n(one, 300));
    }
    policy.version = store.next_version().unwrap();
    let of_before = store.snapshot(1).unwrap().unwrap();
    let record = SnapshotRecord { version: policy.version, state: SnapshotState::Waiting, ..of_before };
    store.put_snapshot(&record, &policy).unwrap();
    worker.execute(Command::Promote(policy.version), "me", now_ms()).unwrap();
    policy.version
}

/// Sixty conversations of five requests each; all but the first stay where they are.
fn conversations(store: &Store, at_ms: i64, on_b: impl Fn(u64) -> bool, went: impl Fn(u64) -> Went) {
    let choose = |decision: &mut DecisionRecord, number: u64| {
        if on_b(number / 5) {
            surely_b(decision);
        }
        if !number.is_multiple_of(5) {
            (decision.mode, decision.explore) = (Mode::Sticky, false);
            let chosen = decision.chosen.clone();
            for way in &mut decision.candidates {
                way.propensity = f64::from(u8::from(way.model == chosen));
                way.switching_usd = if way.model == chosen { 0.0 } else { 0.01 };
            }
        }
    };
    happen_by(store, at_ms, 300, choose, went);
}

#[test]
fn conversations_that_stay_where_a_bad_version_opened_them_do_not_speak_for_it() {
    let (store, mut worker) = begun();
    let good = put_in_force(&store, &mut worker, "a", "b");
    happen_by(&store, 1, 300, |_, _| {}, |_| judged(true));
    put_in_force(&store, &mut worker, "b", "a");
    conversations(&store, now_ms() + 1, |_| true, |_| judged(false));
    worker.watch(now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().policy.version, good);
}

#[test]
fn conversations_that_the_version_before_would_have_opened_there_too_speak_for_it() {
    let (store, mut worker) = begun();
    put_in_force(&store, &mut worker, "b", "a");
    happen_to_b(&store, 1, 300, |_| judged(true));
    let live = put_in_force(&store, &mut worker, "b", "a");
    // Of both some are from before either.
    conversations(&store, now_ms() + 1, |number| number % 10 > 0, |_| judged(false));
    worker.watch(now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().policy.version, live, "the world got worse");
}

#[test]
fn a_conversation_of_before_the_promotion_weighs_no_more_than_itself() {
    let (store, mut worker) = begun();
    let [before, live] = [("a", "b"), ("b", "a")].map(|(liked, other)| {
        let version = put_in_force(&store, &mut worker, liked, other);
        store.policy::<Snapshot>(version).unwrap().unwrap()
    });
    conversations(&store, 1, |_| false, |_| judged(true));
    let weigh = |number: u64| {
        let entry = store.entry(decision(number).id).unwrap().unwrap();
        (entry.decision.mode, entry.decision.chosen.clone(), Counterfactual::of(&entry, &before, &live).weight)
    };
    // Each but the first of five stays, on `a` the even ones.
    let (mode, chosen, weight) = weigh(3);
    assert_eq!((mode, chosen.as_str(), weight), (Mode::Sticky, "a", 1.0));
    let (_, _, drawn) = weigh(11);
    assert!(drawn > 1.0, "an opening there speaks for others like it: {drawn}");
    let entry = store.entry(decision(3).id).unwrap().unwrap();
    let expects = |of, live| Counterfactual::of(&entry, of, live).shares[0].expected.unwrap();
    assert!(expects(&before, &live) > expects(&live, &before) + 0.2, "of `a`, which it likes");
}

#[test]
fn a_policy_that_found_no_room_at_the_start_is_stored_once_there_is_some() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(0));
    let store = on_disk_with(dir.path(), &free);
    let budgets = budgets(&store);
    let mut worker = worker(&store);
    assert!(worker.maintain(&budgets, 1).is_err());
    // Told once, however often it is tried.
    let mut watch_with = |bytes| {
        free.store(bytes, Ordering::Relaxed);
        worker.perform(Job::Watch, &budgets, 1);
        worker.is_told_full
    };
    assert_eq!([0, 0, u64::MAX].map(&mut watch_with), [true, true, false]);
    worker.maintain(&budgets, 2).unwrap();
    assert_eq!(store.live_version().unwrap(), Some(1));
    assert_eq!(store.snapshots().unwrap().len(), 1);
    assert_eq!(store.next_version().unwrap(), 2);
}

#[test]
fn what_nobody_has_judged_is_not_counted() {
    let (store, mut worker) = begun();
    assert!(worker.is_due(), "what was judged before the start is to be taken in");
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    assert_eq!(worker.shared.status().last_retune.new, 0);
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    assert!(!worker.is_due(), "nothing has come since");
}
