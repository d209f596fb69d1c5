//! The learner's task: what it learns, what takes over and when, and what is taken back.

use super::*;
use crate::config::{self, Gate, Guard, Learning};
use crate::protocol::{ErrorKind, ModelName};
use crate::store::{DecisionRecord, FeedbackKind, OutcomeRecord, OutcomeStatus, Signal, Store};
use crate::tuner::Learner;
use crate::tuner::lesson::Evidence;
use crate::tuner::lesson::tests::{decision, feedback, outcome};

pub(super) fn worker_with(store: &Store, settings: &Learning) -> Worker {
    let (_learner, work) = Learner::open(store.clone(), settings, 0).unwrap();
    work.worker.unwrap()
}

pub(super) fn worker(store: &Store) -> Worker {
    worker_with(store, &Learning::default())
}

/// An empty store, and who learns from it.
pub(super) fn begun() -> (Store, Worker) {
    let store = Store::in_memory().unwrap();
    let worker = worker(&store);
    (store, worker)
}

/// The same with a version in force that learned from sixty judgements.
pub(super) fn in_force() -> (Store, Worker) {
    let (store, mut worker) = begun();
    happen(&store, 1, 60, |_| judged(true));
    worker.retune(now_ms()).unwrap();
    (store, worker)
}

/// No guard rails.
fn unguarded() -> Learning {
    Learning { guard: Guard { enabled: false, ..Guard::default() }, ..Learning::default() }
}

/// A gate that lets everything pass that the log speaks of.
fn lenient() -> Gate {
    Gate { tolerance: 1.0, ..Gate::default() }
}

pub(super) fn budgets(store: &Store) -> Budgets {
    let settings = config::Budget { usd_per_hour: 1.0, ..config::Budget::default() };
    Budgets::open(store, &settings, 0.0)
}

/// How one request went.
#[derive(Clone, Copy)]
pub(super) struct Went {
    pub(super) failed: bool,
    pub(super) judged: Option<bool>,
}

/// `count` requests from `at_ms` on, a millisecond apart, answered by `a` and `b` in turn.
pub(super) fn happen(store: &Store, at_ms: i64, count: u64, went: impl Fn(u64) -> Went) {
    let in_turn = |decision: &mut DecisionRecord, number: u64| {
        decision.chosen = ModelName::from(if number.is_multiple_of(2) { "a" } else { "b" });
    };
    happen_by(store, at_ms, count, in_turn, went);
}

/// The same, all answered by `b`, as a policy would have it that knows no doubt.
pub(super) fn happen_to_b(store: &Store, at_ms: i64, count: u64, went: impl Fn(u64) -> Went) {
    happen_by(store, at_ms, count, |decision, _| surely_b(decision), went);
}

pub(super) fn surely_b(decision: &mut DecisionRecord) {
    decision.chosen = ModelName::from("b");
    (decision.candidates[0].propensity, decision.candidates[1].propensity) = (0.0, 1.0);
    decision.propensity = Some(1.0);
}

pub(super) fn happen_by(
    store: &Store,
    at_ms: i64,
    count: u64,
    choose: impl Fn(&mut DecisionRecord, u64),
    went: impl Fn(u64) -> Went,
) {
    for number in 0..count {
        let mut decision = decision(at_ms as u64 + number);
        choose(&mut decision, number);
        let went = went(number);
        let mut outcome = outcome(&decision);
        if went.failed {
            outcome.status = OutcomeStatus::Failed(ErrorKind::Upstream);
        }
        let said = went.judged.map(|good| feedback(&decision, "f", FeedbackKind::Correct(good)));
        store.append(&[decision], &[outcome], &mut Vec::from_iter(said)).unwrap();
    }
}

pub(super) fn judged(good: bool) -> Went {
    Went { failed: false, judged: Some(good) }
}

#[test]
fn a_version_shows_itself_before_another_takes_over() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &Learning { gate: lenient(), ..Learning::default() });
    happen(&store, 1, 60, |_| judged(true));
    assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote, "nothing was in force before");
    assert!(store.audits(9).unwrap().is_empty(), "that is routine, and in the snapshot's record");
    happen(&store, now_ms(), 40, |_| judged(true));
    let early = worker.retune(now_ms()).unwrap();
    assert_eq!(early.ruling, Ruling::Wait);
    assert!(early.reason.contains("too few requests yet"), "{}", early.reason);
    happen(&store, now_ms() + 40, 20, |_| judged(true));
    let then = worker.retune(now_ms()).unwrap();
    assert_eq!(then.ruling, Ruling::Promote, "{}", then.reason);

    let mut worker = worker_with(&store, &Learning { gate: lenient(), ..unguarded() });
    let unguarded = worker.retune(now_ms()).unwrap();
    assert_eq!(unguarded.ruling, Ruling::Promote, "nobody watches, but: {}", unguarded.reason);
}

#[test]
fn the_version_to_go_back_to_is_never_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let settings = config::Store { keep_snapshots: 2, ..config::Store::default() };
    let store = Store::open(dir.path(), &settings, 0).unwrap().0;
    let mut worker = worker(&store);
    happen(&store, 1, 60, |_| judged(true));
    assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
    for number in 0..5 {
        happen(&store, now_ms() + number, 1, |_| judged(true));
        assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Wait);
    }
    assert_eq!((worker.shared.predecessor_of(2).unwrap(), store.snapshot(3).unwrap()), (Some(1), None));
}

#[test]
fn nothing_new_makes_no_new_version() {
    let store = Store::in_memory().unwrap();
    happen(&store, 1, 60, |_| judged(true));
    for _ in 0..3 {
        // As after so many starts.
        let proposal = worker(&store).retune(now_ms()).unwrap();
        assert_eq!((proposal.policy.version, store.snapshots().unwrap().len()), (2, 2), "{}", proposal.reason);
    }
    happen(&store, now_ms(), 1, |_| judged(true));
    assert_eq!(worker(&store).retune(now_ms()).unwrap().policy.version, 3);
}

/// Stores eighty answers that nobody judged: forty empty ones of `a`, forty good ones of `b`.
pub(super) fn answer_unjudged(store: &Store) {
    for number in 100..180 {
        let mut unjudged = decision(number);
        unjudged.chosen = ModelName::from(if number < 140 { "a" } else { "b" });
        let signals = if number < 140 { vec![Signal::Empty] } else { Vec::new() };
        store.append(&[unjudged.clone()], &[OutcomeRecord { signals, ..outcome(&unjudged) }], &mut []).unwrap();
    }
}

#[test]
fn what_was_imported_after_a_version_was_made_it_does_not_know() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &Learning { gate: lenient(), ..Learning::default() });
    happen(&store, 1, 60, |_| judged(true));
    // Signals teach as well, and are no judgements.
    answer_unjudged(&store);
    let made = worker.retune(now_ms()).unwrap();
    assert_eq!((made.ruling, made.policy.learned_from()), (Ruling::Promote, 100));
    let unseen = |worker: &Worker, rests_on| {
        let settings = worker.shared.settings.load();
        let collected = lesson::collect(&store, &Span::default(), 20_000, &settings.reward).unwrap();
        let lessons = match rests_on {
            Evidence::Judgements => collected.learned.iter().filter(|lesson| lesson.signal.is_none()).collect(),
            Evidence::Signals => Vec::from_iter(&collected.unjudged),
        };
        worker.knowledge_of(&worker.shared.live.load(), now_ms()).unwrap().unseen(rests_on, &lessons).len()
    };
    let (judgements, signals) = (Evidence::Judgements, Evidence::Signals);
    assert_eq!((unseen(&worker, judgements), unseen(&worker, signals)), (0, 0));
    happen(&store, 1_000, 40, |_| judged(true));
    happen(&store, 2_000, 30, |_| Went { failed: false, judged: None });
    let from_ms = now_ms();
    happen(&store, from_ms, 7, |_| judged(true));
    assert_eq!((unseen(&worker, judgements), unseen(&worker, signals)), (47, 30));
    worker.take_in(&(0..7).map(|number| decision(from_ms as u64 + number).id).collect::<Vec<_>>(), from_ms).unwrap();
    assert_eq!((worker.shared.live.load().revision, unseen(&worker, judgements)), (7, 40));
    // After a restart, too; of a version that an earlier build made it is not known.
    let worker = self::worker(&store);
    assert_eq!(worker.knowledge_of(&worker.shared.live.load(), now_ms()).unwrap().trained_on, Some(made.trained_on));
    store.forget_setting("policy.made_of.2").unwrap();
    assert_eq!(worker.knowledge_of(&worker.shared.live.load(), now_ms()).unwrap().trained_on, None);
}

#[test]
fn the_budget_is_kept_whatever_becomes_of_the_watch() {
    let (store, mut worker) = in_force();
    let mut first = store.snapshot(1).unwrap().unwrap();
    first.state = SnapshotState::RolledBack;
    store.update_snapshot(&first).unwrap();
    happen(&store, now_ms(), 60, |_| Went { failed: true, judged: None });
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    assert_eq!(worker.shared.live.load().policy.version, 2, "there is nothing to go back to");
    assert!(store.setting::<serde_json::Value>("budget.pacers").unwrap().is_some());
}

#[test]
fn what_was_judged_early_is_learned_once_its_end_is_known() {
    let (store, mut worker) = begun();
    let decision = decision(1);
    let mut said = vec![feedback(&decision, "f", FeedbackKind::Correct(false))];
    store.append(std::slice::from_ref(&decision), &[] as &[OutcomeRecord], &mut said).unwrap();
    worker.take_in(&[decision.id], now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().revision, 0, "nobody knows yet whose answer it was");
    let outcome = OutcomeRecord { model: Some(ModelName::from("b")), ..outcome(&decision) };
    store.append(&[] as &[DecisionRecord], &[outcome], &mut []).unwrap();
    worker.take_in(&[decision.id], now_ms()).unwrap();
    let live = worker.shared.live.load_full();
    assert_eq!((live.revision, Vec::from_iter(&live.known)), (1, vec![&ModelName::from("b")]));
}

#[test]
fn what_was_on_its_way_to_the_log_while_a_retune_read_it_is_learned_after_it() {
    let (store, mut worker) = begun();
    happen(&store, 1, 60, |_| judged(true));
    let rated = decision(100);
    store.append(std::slice::from_ref(&rated), &[outcome(&rated)], &mut []).unwrap();
    let mut said = feedback(&rated, "f", FeedbackKind::Correct(true));
    said.at_ms = now_ms();
    assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
    store.append(&[] as &[DecisionRecord], &[] as &[OutcomeRecord], &mut [said]).unwrap();
    for _ in 0..2 {
        worker.take_in(&[rated.id, decision(5).id], now_ms()).unwrap();
        assert_eq!(worker.shared.live.load().revision, 1, "once, and of what the version has nothing");
    }
}

#[test]
fn a_judgement_behind_a_signal_is_new() {
    let (store, mut worker) = begun();
    let decision = decision(1);
    let outcome = OutcomeRecord { signals: vec![Signal::Empty], ..outcome(&decision) };
    store.append(std::slice::from_ref(&decision), &[outcome], &mut []).unwrap();
    worker.due = false;
    worker.take_in(&[decision.id], now_ms()).unwrap();
    assert_eq!((worker.new, worker.due), (0, true), "a signal makes a retune due, and is no judgement");
    let mut said = vec![feedback(&decision, "f", FeedbackKind::Correct(true))];
    store.append(&[] as &[DecisionRecord], &[] as &[OutcomeRecord], &mut said).unwrap();
    worker.take_in(&[decision.id], now_ms()).unwrap();
    assert_eq!(worker.new, 1);
}

#[test]
fn a_pin_keeps_what_was_learned_and_so_does_a_restart() {
    let (store, mut worker) = begun();
    happen(&store, 1, 60, |number| judged(number % 3 > 0));
    let ids: Vec<DecisionId> = (1..=60).map(|number| decision(number).id).collect();
    worker.take_in(&ids, now_ms()).unwrap();
    let quality = |worker: &Worker| worker.shared.live.load().policy.arms().map(|arm| arm.level).collect::<Vec<_>>();
    let learned = quality(&worker);
    let status = worker.execute(Command::Pin(1), "me", now_ms()).unwrap();
    assert_eq!((status.learned_from, status.revision, status.pinned), (60, 60, Some(1)));
    let mut again = self::worker(&store);
    assert_eq!((again.shared.status().learned_from, quality(&again)), (60, learned));
    // The restart's first retune finds nothing that is not in it already.
    again.execute(Command::Unpin, "me", now_ms()).unwrap();
    again.retune(now_ms()).unwrap();
    again.take_in(&ids, now_ms()).unwrap();
    assert_eq!(again.shared.status().learned_from, 60);
}

#[test]
fn what_was_judged_late_is_learned_once_after_a_restart() {
    let (store, _) = in_force();
    // An answer of before, judged after the version was made.
    let late = decision(9_000);
    let mut word = feedback(&late, "f", FeedbackKind::Correct(true));
    word.at_ms = now_ms() + 10;
    store.append(std::slice::from_ref(&late), &[outcome(&late)], &mut [word]).unwrap();
    let mut again = self::worker(&store);
    assert_eq!(again.shared.status().learned_from, 60);
    again.shared.settings.store(Arc::new(strict()));
    again.retune(now_ms()).unwrap();
    assert_eq!(again.shared.status().learned_from, 61);
    again.take_in(&[late.id, decision(5).id], now_ms()).unwrap();
    assert_eq!(again.shared.status().learned_from, 61, "each once");
}

#[test]
fn other_settings_hold_for_the_live_policy_and_for_one_put_in_force() {
    use crate::config::PolicyName;
    let (store, mut worker) = in_force();
    let bandit = Bandit { policy: Some(PolicyName::Greedy), floor: Some(0.0), ..Bandit::default() };
    worker.shared.settings.store(Arc::new(Learning { bandit, ..Learning::default() }));
    assert!(worker.has_other_settings());
    worker.perform(Job::ApplySettings, &budgets(&store), now_ms());
    assert!(!worker.has_other_settings());
    let settings = |worker: &Worker| *worker.shared.live.load().policy.settings();
    assert_eq!(settings(&worker), bandit_settings(&bandit));
    assert_eq!(worker.shared.status().learned_from, 60);
    let status = worker.execute(Command::Pin(1), "me", now_ms()).unwrap();
    assert_eq!((status.live, settings(&worker)), (1, bandit_settings(&bandit)));
}

#[test]
fn a_database_that_is_begun_anew_is_told_what_is_in_force() {
    let (store, mut worker) = in_force();
    worker.execute(Command::Pin(2), "me", now_ms()).unwrap();
    store.note_failure(&StoreError::Down("test".into()));
    assert!(store.revive(now_ms()));
    assert_eq!(store.live_version().unwrap(), None);
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    let again = self::worker(&store).shared.status();
    assert_eq!((again.live, again.learned_from, again.pinned), (2, 60, Some(2)));
}

#[test]
fn a_roll_back_goes_to_the_version_that_was_replaced() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &unguarded());
    happen(&store, 1, 60, |_| judged(true));
    for version in 2..=4 {
        happen(&store, now_ms() + version as i64, 1, |_| judged(true));
        assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
        assert_eq!(worker.shared.live.load().policy.version, version);
    }
    worker.execute(Command::Promote(1), "me", now_ms()).unwrap();
    let status = worker.execute(Command::Rollback, "me", now_ms()).unwrap();
    assert_eq!(status.live, 4, "not the parent of the one that was promoted by mistake, which has none");
    assert_eq!(worker.execute(Command::Rollback, "me", now_ms()).unwrap().live, 3);
}

#[test]
fn going_back_twice_comes_to_what_each_version_knew_and_so_does_a_promotion() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &unguarded());
    let mut at_ms = 1;
    for version in 1..=3 {
        assert_eq!(worker.shared.live.load().policy.version, version);
        // Each learns 60 beside what it was made of.
        happen(&store, at_ms, 60, |_| judged(true));
        let ids: Vec<DecisionId> = (0..60).map(|number| decision(at_ms as u64 + number).id).collect();
        worker.take_in(&ids, now_ms()).unwrap();
        at_ms = now_ms() + 1_000 * version as i64;
        if version < 3 {
            assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
        }
    }
    let told = |worker: &Worker| {
        let status = worker.shared.status();
        (status.live, status.learned_from, status.revision)
    };
    let (v1, v2, v3) = ((1, 60, 60), (2, 120, 60), (3, 180, 60));
    assert_eq!(told(&worker), v3);
    for before in [v2, v1] {
        worker.execute(Command::Rollback, "me", now_ms()).unwrap();
        assert_eq!(told(&worker), before);
    }
    for (order, then) in [(Command::Promote(2), v2), (Command::Pin(3), v3)] {
        worker.execute(order, "me", now_ms()).unwrap();
        assert_eq!(told(&worker), then);
    }
    assert_eq!(told(&self::worker(&store)), v3, "after a restart, too");
}

#[test]
fn what_a_version_knew_is_forgotten_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = config::Store { keep_snapshots: 2, ..config::Store::default() };
    let store = Store::open(dir.path(), &settings, 0).unwrap().0;
    let mut worker = worker_with(&store, &unguarded());
    happen(&store, 1, 60, |_| judged(true));
    for number in 0..4 {
        happen(&store, now_ms() + number, 1, |_| judged(true));
        assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
    }
    let stored: Vec<u64> = store.snapshots().unwrap().iter().map(|record| record.version).collect();
    assert_eq!(stored, [5, 4]);
    assert_eq!(store.settings_under("policy.replaced_state.").unwrap(), ["4"]);
    assert_eq!(store.settings_under("policy.made_of.").unwrap(), ["4", "5"]);
}

/// A gate that keeps the version in force, so that what it takes in is seen.
fn strict() -> Learning {
    Learning { gate: Gate { min_choices: 1000, ..Gate::default() }, ..Learning::default() }
}

/// What a later process has learned once its first retune is through.
fn learned_after_a_restart(store: &Store) -> u64 {
    let mut again = worker_with(store, &strict());
    again.retune(now_ms()).unwrap();
    again.shared.status().learned_from
}

#[test]
fn what_waited_at_a_stop_is_learned_after_it() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &strict());
    happen(&store, 1, 61, |_| judged(true));
    worker.take_in(&[decision(61).id], now_ms()).unwrap();
    worker.perform(Job::Stop, &budgets(&store), now_ms());
    assert_eq!(learned_after_a_restart(&store), 61);
    // The second restart finds nothing new, and neither does a changed word.
    let mut again = worker_with(&store, &strict());
    again.retune(now_ms()).unwrap();
    again.perform(Job::Stop, &budgets(&store), now_ms());
    let mut once_more = worker_with(&store, &strict());
    once_more.take_in(&[decision(7).id], now_ms()).unwrap();
    assert_eq!((once_more.shared.status().learned_from, learned_after_a_restart(&store)), (61, 61));
}

#[test]
fn an_outcome_that_comes_after_the_judgement_teaches_nothing_anew() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &strict());
    let mut asked = decision(10);
    asked.request.dry_run = true;
    let mut said = vec![feedback(&asked, "f", FeedbackKind::Correct(true))];
    store.append(std::slice::from_ref(&asked), &[] as &[OutcomeRecord], &mut said).unwrap();
    worker.take_in(&[asked.id], now_ms()).unwrap();
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    let told = OutcomeRecord { at_ms: now_ms() + 1000, ..outcome(&asked) };
    store.append(&[] as &[DecisionRecord], &[told], &mut []).unwrap();
    worker.take_in(&[asked.id], now_ms()).unwrap();
    worker.perform(Job::Stop, &budgets(&store), now_ms());
    assert_eq!(learned_after_a_restart(&store), 1);
}

#[test]
fn a_retune_that_fails_leaves_what_was_missed_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &config::Store::default(), 0).unwrap().0;
    happen(&store, 1, 60, |_| judged(true));
    store.flush().unwrap();
    let mut worker = worker_with(&store, &strict());
    store.note_failure(&StoreError::Down("test".into()));
    assert!(worker.retune(now_ms()).is_err());
    assert!(store.revive(now_ms()));
    worker.retune(now_ms()).unwrap();
    assert_eq!(worker.shared.status().learned_from, 60);
    worker.take_in(&[decision(5).id], now_ms()).unwrap();
    assert_eq!(worker.shared.status().learned_from, 60, "each once");
}

#[test]
fn a_rating_of_an_answer_that_had_a_signal_is_learned_at_once() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &Learning { gate: lenient(), ..unguarded() });
    happen(&store, 1, 60, |_| judged(true));
    answer_unjudged(&store);
    let proposal = worker.retune(now_ms()).unwrap();
    assert_eq!((proposal.ruling, proposal.policy.learned_from()), (Ruling::Promote, 100), "{}", proposal.reason);
    let rated = decision(120);
    let mut said = feedback(&rated, "f", FeedbackKind::Correct(false));
    said.at_ms = now_ms() + 1;
    store.append(&[] as &[DecisionRecord], &[] as &[OutcomeRecord], &mut [said]).unwrap();
    for _ in 0..2 {
        worker.take_in(&[rated.id], now_ms()).unwrap();
        assert_eq!(worker.shared.live.load().revision, 1);
    }
}

#[test]
fn what_a_clock_that_was_ahead_left_behind_stops_nothing() {
    let (store, mut worker) = in_force();
    let far = now_ms() + 40 * 86_400_000;
    let mut record = store.snapshot(2).unwrap().unwrap();
    record.promoted_at_ms = Some(far);
    store.update_snapshot(&record).unwrap();
    worker.taken_in.until_ms = far;
    worker.shared.switch(|switches| Switches { hold_until_ms: Some(far), ..switches }).unwrap();
    worker.clock_settles_at = Instant::now();
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    let hold = worker.shared.switches.load().hold_until_ms.unwrap();
    assert!(hold <= now_ms() + 60 * 60_000, "{hold}");
    let from = now_ms() + 1;
    happen(&store, from, 60, |_| judged(true));
    assert!(worker.is_proven(2, now_ms()).unwrap());
    worker.take_in(&[decision(from as u64).id], now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().revision, 1, "what is judged from now on is news");
}

const YEAR_MS: i64 = 365 * 86_400_000;

/// The version in force, what it has learned from, and in how many minutes from now the hold is told to end.
fn told(worker: &Worker) -> (u64, u64, Option<i64>) {
    let status = worker.shared.status();
    let minutes = |until_ms: i64| (until_ms - now_ms() + 59_999) / 60_000;
    (status.live, status.learned_from, status.hold_until_ms.map(minutes))
}

#[test]
fn a_start_before_the_clock_is_set_ends_no_hold_and_teaches_nothing_twice() {
    for is_set_late in [false, true] {
        let (store, mut worker) = begun();
        happen(&store, now_ms() - 60_000, 60, |_| judged(true));
        assert_eq!(worker.retune(now_ms()).unwrap().ruling, Ruling::Promote);
        happen(&store, now_ms() - 30_000, 7, |_| judged(true));
        worker.execute(Command::Rollback, "me", now_ms()).unwrap();
        assert_eq!(told(&worker), (1, 60, Some(60)));
        let mut worker = self::worker(&store);
        if is_set_late {
            worker.clock_settles_at = Instant::now();
        }
        for job in [Job::Watch, Job::Retune] {
            worker.perform(job, &budgets(&store), now_ms() - YEAR_MS);
        }
        worker.perform(Job::Retune, &budgets(&store), now_ms());
        assert_eq!(told(&worker), (1, 60, Some(60)), "late: {is_set_late}");
    }
}

#[test]
fn a_clock_that_is_set_after_a_rollback_does_not_undo_it() {
    let (store, mut worker) = begun();
    let behind_ms = now_ms() - YEAR_MS;
    happen(&store, behind_ms - 60_000, 60, |_| judged(true));
    assert_eq!(worker.retune(behind_ms).unwrap().ruling, Ruling::Promote);
    happen(&store, behind_ms - 30_000, 7, |_| judged(true));
    worker.perform(Job::Watch, &budgets(&store), behind_ms);
    worker.execute(Command::Rollback, "me", behind_ms).unwrap();
    happen(&store, behind_ms + 1_000, 5, |_| judged(true));
    for _ in 0..2 {
        worker.perform(Job::Retune, &budgets(&store), now_ms());
        assert_eq!(told(&worker), (1, 60, Some(60)));
    }
    assert_eq!(told(&self::worker(&store)).2, Some(60), "the next start knows");
}

#[test]
fn what_a_version_of_a_clock_that_was_ahead_takes_in_is_no_news_to_it() {
    let (store, mut worker) = begun();
    happen(&store, 1, 60, |_| judged(true));
    assert_eq!(worker.retune(now_ms() + 86_400_000).unwrap().ruling, Ruling::Promote);
    worker.clock_settles_at = Instant::now();
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    let from_ms = now_ms() + 1;
    happen(&store, from_ms, 7, |_| judged(true));
    worker.take_in(&(0..5).map(|number| decision(from_ms as u64 + number).id).collect::<Vec<_>>(), from_ms).unwrap();
    assert_eq!(worker.shared.live.load().revision, 5);
    let knowledge = worker.knowledge_of(&worker.shared.live.load(), from_ms).unwrap();
    let collected = lesson::collect(&store, &Span::default(), 20_000, &worker.shared.settings.load().reward).unwrap();
    let lessons: Vec<&Lesson> = collected.learned.iter().collect();
    let news = knowledge.unseen(Evidence::Judgements, &lessons);
    assert_eq!(news, (5..7).map(|number| decision(from_ms as u64 + number).id).collect());
}

#[test]
fn what_a_clock_set_back_does_not_reach_yet_is_told() {
    let (store, mut worker) = begun();
    let told = |worker: &mut Worker, at_ms| {
        worker.retune(at_ms).unwrap();
        worker.shared.last.lock().result.contains("was the clock set back?")
    };
    assert!(!told(&mut worker, now_ms()), "nothing is there");
    happen(&store, now_ms(), 60, |_| judged(true));
    assert!(told(&mut worker, now_ms() - 7_200_000));
    assert!(!told(&mut worker, now_ms()));
}

#[test]
fn a_head_is_followed_past_what_a_clock_that_was_ahead_wrote() {
    let (store, mut worker) = in_force();
    assert_eq!(worker.shared.live.load().policy.space(), "test");
    happen(&store, now_ms() + 86_400_000, 120, |_| judged(true));
    let mut other = decision(now_ms() as u64);
    (other.feature_space, other.features) = ("newer".into(), vec![0.5; 3]);
    let mut said = vec![feedback(&other, "f", FeedbackKind::Correct(true))];
    store.append(&[other.clone()], &[outcome(&other)], &mut said).unwrap();
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    assert_eq!(worker.shared.live.load().policy.space(), "newer");
    let next = worker.retune(now_ms()).unwrap();
    assert_eq!((next.policy.space(), next.policy.learned_from()), ("newer", 1));
}

#[test]
fn a_changed_word_on_an_answer_of_before_waits_for_the_next_retune_after_a_roll_back_too() {
    let (store, mut worker) = in_force();
    worker.execute(Command::Rollback, "me", now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().revision, 60, "as it was when it was replaced");
    let known = decision(5);
    let mut changed = feedback(&known, "g", FeedbackKind::Correct(false));
    changed.at_ms = now_ms() + 1;
    store.append(&[] as &[DecisionRecord], &[] as &[OutcomeRecord], &mut [changed]).unwrap();
    worker.take_in(&[known.id], now_ms()).unwrap();
    assert_eq!(worker.shared.live.load().revision, 60);
    // Killed here, the next process does not learn it either.
    let mut again = worker_with(&store, &strict());
    again.retune(now_ms()).unwrap();
    assert_eq!(again.shared.status().learned_from, 60);
}

/// An answer whose question another head read: the version in force once it is followed, its features, and what it has
/// learned from.
fn read_by(worker: &mut Worker, at_ms: i64, space: &str, features: usize) -> (u64, String, u64) {
    let mut one = decision(at_ms as u64);
    (one.feature_space, one.features) = (space.into(), vec![0.5; features]);
    worker.shared.store.append(&[one.clone()], &[outcome(&one)], &mut []).unwrap();
    worker.follow_head(at_ms).unwrap();
    let live = worker.shared.live.load_full();
    (live.policy.version, live.policy.space().to_owned(), live.policy.learned_from())
}

#[test]
fn a_head_that_comes_back_finds_what_was_learned_beside_it() {
    let (store, mut worker) = in_force();
    worker.shared.settings.store(Arc::new(strict()));
    let from = now_ms() + 10;
    happen(&store, from, 10, |_| judged(true));
    worker.take_in(&(0..10).map(|number| decision(from as u64 + number).id).collect::<Vec<_>>(), now_ms()).unwrap();
    assert_eq!(worker.shared.status().learned_from, 70);
    assert_eq!(read_by(&mut worker, from + 101, "newer", 3), (2, "newer".into(), 0));
    assert_eq!(read_by(&mut worker, from + 102, "test", 2), (2, "test".into(), 60));
    assert!(worker.is_due(), "and what came after that version was made with a retune, at once");
    worker.retune(now_ms()).unwrap();
    assert_eq!(worker.shared.status().learned_from, 70);
    assert!(!worker.is_due());
}

#[test]
fn a_head_that_comes_back_brings_no_version_that_an_operator_put_out_of_force() {
    let store = Store::in_memory().unwrap();
    let mut worker = worker_with(&store, &Learning { gate: lenient(), ..unguarded() });
    for (from, number, learned) in [(1, 60, 60), (1_001, 40, 100)] {
        happen(&store, from, number, |_| judged(true));
        let at_ms = now_ms() + 1_000;
        let proposal = worker.retune(at_ms).unwrap();
        assert_eq!((proposal.ruling, proposal.policy.learned_from()), (Ruling::Promote, learned));
    }
    worker.execute(Command::Promote(2), "me", now_ms() + 1_000).unwrap();
    let from = now_ms() + 2_000;
    assert_eq!(read_by(&mut worker, from + 1, "newer", 3), (2, "newer".into(), 0));
    assert_eq!(read_by(&mut worker, from + 2, "test", 2), (2, "test".into(), 60));
}

#[test]
fn an_operators_promotion_ends_pin_and_hold_once_it_is_done() {
    let (_, mut worker) = in_force();
    worker.execute(Command::Rollback, "me", now_ms()).unwrap();
    assert!(worker.execute(Command::Promote(99), "me", now_ms()).is_err());
    assert!(worker.shared.switches.load().hold_until_ms.is_some(), "what failed changes nothing");
    worker.execute(Command::Pin(1), "me", now_ms()).unwrap();
    let status = worker.execute(Command::Promote(2), "me", now_ms()).unwrap();
    assert_eq!((status.live, status.pinned, status.hold_until_ms), (2, None, None));
}

#[test]
fn beside_another_head_the_live_policy_begins_anew() {
    let (store, mut worker) = in_force();
    assert_eq!(worker.shared.live.load().policy.space(), "test");
    let mut other = decision(now_ms() as u64);
    (other.feature_space, other.features) = ("newer".into(), vec![0.5; 3]);
    let mut said = vec![feedback(&other, "f", FeedbackKind::Correct(true))];
    store.append(&[other.clone()], &[outcome(&other)], &mut said).unwrap();
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    let live = worker.shared.live.load_full();
    assert_eq!((live.policy.version, live.policy.space(), live.policy.learned_from()), (2, "newer", 0));
    worker.take_in(&[other.id, decision(3).id], now_ms()).unwrap();
    assert_eq!(
        worker.shared.live.load().revision,
        1,
        "late words on the old head's choices say nothing beside the new one"
    );
}
