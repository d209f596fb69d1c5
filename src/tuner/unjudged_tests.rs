//! Choices that nobody judged: how they are counted, over restarts too, and what that makes of try-outs.

use super::tests::{Went, answer_unjudged, begun, budgets, happen, in_force, judged, worker, worker_with};
use super::*;
use crate::config::Learning;
use crate::store::{DecisionRecord, FeedbackKind, OutcomeRecord};
use crate::tuner::lesson::tests::{decision, feedback, outcome};

const SILENT: Went = Went { failed: false, judged: None };

/// The choices that nobody judged, and what share of the next ones may be try-outs.
fn unjudged(worker: &Worker) -> (u64, f64) {
    let status = worker.shared.status();
    (status.unjudged, status.curiosity)
}

/// Counts choices whose records the log has not, or not any more.
fn choose(worker: &Worker, count: u64) {
    (0..count).for_each(|_| worker.shared.unjudged.add());
}

fn deaf() -> Learning {
    Learning { enabled: false, ..Learning::default() }
}

#[test]
fn they_are_counted_until_somebody_judges_and_those_before_a_count_are_found_in_the_log() {
    let (store, mut worker) = begun();
    happen(&store, 1, 1_000, |_| SILENT);
    assert_eq!(unjudged(&worker), (0, 1.0));
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    assert_eq!(unjudged(&worker), (1_000, 0.5), "a start has read the log");
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    worker.take_in(&[decision(7).id], now_ms()).unwrap();
    assert_eq!(unjudged(&worker), (1_000, 0.5), "nobody has judged it");
    let mut said = [feedback(&decision(7), "f", FeedbackKind::Correct(true))];
    store.append(&[] as &[DecisionRecord], &[] as &[OutcomeRecord], &mut said).unwrap();
    worker.shared.settings.store(Arc::new(deaf()));
    worker.take_in(&[decision(7).id], now_ms()).unwrap();
    assert_eq!(unjudged(&worker), (0, 1.0), "also where judgements are kept for later");
    assert_eq!((worker.shared.status().learned_from, worker.new), (0, 0));
}

#[test]
fn a_restart_brings_no_try_outs_back_however_few_of_them_the_log_has() {
    let (store, mut worker) = in_force();
    choose(&worker, 52_000);
    let before = unjudged(&worker);
    assert_eq!(before, (52_000, 0.125));
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    happen(&store, 100, 30, |_| SILENT);
    // The log is kept for so long only.
    while store.forget_some(Some(100), u64::MAX).unwrap() > 0 {}
    // After a crash, and without learning.
    for settings in [Learning::default(), deaf()] {
        assert_eq!(unjudged(&worker_with(&store, &settings)), before);
    }
    let mut worker = self::worker(&store);
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    assert_eq!(unjudged(&worker), before, "also once the log is read");
    choose(&worker, 12_000);
    worker.perform(Job::Stop, &budgets(&store), now_ms());
    assert_eq!(unjudged(&self::worker(&store)).0, 64_000);
}

#[test]
fn what_was_judged_unseen_ends_a_run_at_the_next_retune() {
    let (store, mut worker) = in_force();
    choose(&worker, 52_000);
    worker.perform(Job::Stop, &budgets(&store), now_ms());
    // Imported while nothing ran.
    happen(&store, 1_000, 40, |number| if number < 10 { judged(true) } else { SILENT });
    let mut worker = self::worker(&store);
    assert_eq!(unjudged(&worker).0, 52_000);
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    assert_eq!(unjudged(&worker), (30, 1.0));
}

#[test]
fn judgements_lengthen_the_patience_and_signals_do_not() {
    let (store, mut worker) = begun();
    happen(&store, 1, 60, |_| judged(true));
    answer_unjudged(&store);
    let made = worker.retune(now_ms()).unwrap().policy;
    assert_eq!((made.learned_from(), made.curiosity(13_000)), (100, 0.5), "500, and 100 for each of sixty");
}

#[test]
fn with_another_head_all_is_tried_out_again() {
    let (store, mut worker) = in_force();
    happen(&store, 100, 3_000, |_| SILENT);
    choose(&worker, 3_000);
    let mut other = decision(now_ms() as u64);
    (other.feature_space, other.features) = ("newer".into(), vec![0.5; 3]);
    store.append(&[other.clone()], &[outcome(&other)], &mut []).unwrap();
    worker.perform(Job::Watch, &budgets(&store), now_ms());
    assert_eq!((worker.shared.live.load().policy.space(), unjudged(&worker)), ("newer", (0, 1.0)));
    choose(&worker, 40);
    worker.perform(Job::Retune, &budgets(&store), now_ms());
    assert_eq!(unjudged(&worker), (40, 1.0), "the log's choices are the old head's");
}
