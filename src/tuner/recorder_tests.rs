//! Tests of the recorder: what is acknowledged is there, what is dropped is counted.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::config;
use crate::protocol::ModelName;
use crate::store::{FeedbackKind, OutcomeStatus, on_disk_with};

fn id(number: u64) -> DecisionId {
    DecisionId(Uuid::from_u64_pair(number, 7))
}

fn decision(number: u64) -> DecisionRecord {
    serde_json::from_value(json!({
        "id": id(number), "at_ms": number, "features": [0.5, 0.5, 0.5, 0.5], "feature_space": "test", "chosen": "a",
        "propensity": 0.5, "prompt": "secret",
    }))
    .unwrap()
}

fn outcome(number: u64) -> OutcomeRecord {
    OutcomeRecord {
        model: Some(ModelName::from("a")),
        attempts: 1,
        cost_usd: Some(0.001),
        latency_ms: Some(12.5),
        ..OutcomeRecord::ended(id(number), number as i64 + 1, OutcomeStatus::Ok)
    }
}

fn feedback(number: u64, name: &str, kind: FeedbackKind) -> FeedbackRecord {
    FeedbackRecord::of(id(number), name, kind, 5)
}

fn store_in(dir: &std::path::Path) -> Store {
    Store::open(dir, &config::Store::default(), 0).unwrap().0
}

#[tokio::test]
async fn feedback_right_behind_its_decision_and_before_its_outcome_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path());
    let (recorder, writer, _news) = Recorder::start(store.clone()).unwrap();
    recorder.decision(decision(1));
    assert_eq!(recorder.feedback(feedback(1, "x", FeedbackKind::Rating(4))).await, Ok(Ack::Stored));
    recorder.outcome(outcome(1));
    recorder.flush().await.unwrap();
    let entry = store.entry(id(1)).unwrap().unwrap();
    assert_eq!(entry.verdict(), Some(0.75));
    assert!(entry.outcome.is_some());
    assert_eq!(entry.decision.prompt, None, "prompts are not kept unless asked");
    writer.close();
}

#[test]
fn prompts_that_wait_for_the_disk_have_a_bound_and_decisions_go_on_without_theirs() {
    const PROMPT: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let settings = config::Store { prompts: true, ..config::Store::default() };
    let (store, _) = Store::open(dir.path(), &settings, 0).unwrap();
    let (recorder, writer, _news) = Recorder::start(store.clone()).unwrap();
    // One whose writer does not come.
    let (queue, commands) = sync_channel(600);
    let stuck = Recorder { queue, figures: Arc::default(), ..recorder.clone() };
    let asked = |number| DecisionRecord { prompt: Some("x".repeat(PROMPT)), ..decision(number) };
    (0..700).for_each(|number| stuck.decision(asked(number)));
    let kept = commands.try_iter().filter(|command| matches!(command, Command::Decision(it) if it.prompt.is_some()));
    assert_eq!(kept.count(), MAX_PROMPT_BYTES / PROMPT);
    assert_eq!(stuck.figures.prompt_bytes.load(Ordering::Relaxed), MAX_PROMPT_BYTES);
    assert_eq!(stuck.figures.dropped.load(Ordering::Relaxed), 100);
    // What is written makes room.
    recorder.decision(asked(1));
    writer.close();
    assert_eq!(recorder.figures.prompt_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(store.entry(id(1)).unwrap().unwrap().decision.prompt.map(|prompt| prompt.len()), Some(PROMPT));
}

#[tokio::test]
async fn a_repetition_is_acknowledged_once_more_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path());
    let (recorder, writer, _news) = Recorder::start(store.clone()).unwrap();
    recorder.decision(decision(1));
    assert_eq!(recorder.feedback(feedback(1, "x", FeedbackKind::Score(1.0))).await, Ok(Ack::Stored));
    assert_eq!(recorder.feedback(feedback(1, "x", FeedbackKind::Score(0.0))).await, Ok(Ack::Duplicate));
    assert_eq!(store.entry(id(1)).unwrap().unwrap().verdict(), Some(1.0));
    writer.close();
}

#[tokio::test]
async fn feedback_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, writer, _news) = Recorder::start(store_in(dir.path())).unwrap();
    assert_eq!(recorder.feedback(feedback(9, "x", FeedbackKind::Correct(true))).await, Err(FeedbackError::Unknown));
    for kind in [FeedbackKind::Score(f64::NAN), FeedbackKind::Score(1.5), FeedbackKind::Rating(0)] {
        let answer = recorder.feedback(feedback(9, "x", kind)).await;
        assert!(matches!(answer, Err(FeedbackError::Invalid(_))), "{kind:?}");
    }
    writer.close();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (recorder, writer, _news) = Recorder::start(store_in(dir.path())).unwrap();
        recorder.decision(decision(1));
        recorder.feedback(feedback(1, "x", FeedbackKind::Score(0.25))).await.unwrap();
        writer.close();
        recorder.outcome(outcome(1));
        assert_eq!(recorder.status().dropped, 1, "after the end records are dropped and counted");
    }
    let entry = store_in(dir.path()).entry(id(1)).unwrap().unwrap();
    assert_eq!(entry.verdict(), Some(0.25));
    assert_eq!(entry.outcome, None);
}

#[tokio::test]
async fn while_the_database_is_down_records_are_counted_and_feedback_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path());
    let (recorder, writer, _news) = Recorder::start(store.clone()).unwrap();
    store.note_failure(&StoreError::Down("no space".into()));
    recorder.decision(decision(1));
    let answer = recorder.feedback(feedback(1, "x", FeedbackKind::Score(0.25))).await;
    assert!(matches!(answer, Err(FeedbackError::Unavailable(_))), "{answer:?}");
    assert_eq!(recorder.status().lost, 1);
    assert!(store.health().failing.is_some());
    assert!(store.revive(0));
    assert_eq!(store.health().failing, None);
    recorder.decision(decision(1));
    assert_eq!(recorder.feedback(feedback(1, "x", FeedbackKind::Score(0.25))).await, Ok(Ack::Stored));
    writer.close();
}

#[tokio::test]
async fn a_store_in_memory_acknowledges_nothing() {
    let (recorder, writer, _news) = Recorder::start(Store::in_memory().unwrap()).unwrap();
    recorder.decision(decision(1));
    let answer = recorder.feedback(feedback(1, "x", FeedbackKind::Score(0.25))).await;
    assert!(matches!(answer, Err(FeedbackError::Unavailable(_))));
    writer.close();
}

#[tokio::test]
async fn the_end_of_what_was_judged_early_is_news() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, writer, mut changed) = Recorder::start(store_in(dir.path())).unwrap();
    recorder.decision(decision(1));
    recorder.decision(decision(2));
    recorder.feedback(feedback(1, "x", FeedbackKind::Rating(4))).await.unwrap();
    assert_eq!(changed.try_recv(), Ok(id(1)));
    recorder.outcome(outcome(1));
    recorder.outcome(outcome(2));
    recorder.flush().await.unwrap();
    assert_eq!(changed.try_recv(), Ok(id(1)));
    assert!(changed.try_recv().is_err(), "of an answer that nobody judged there is none");
    writer.close();
}

#[tokio::test]
async fn without_room_for_prompts_decisions_and_feedback_are_kept_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(13 << 20));
    let store = on_disk_with(dir.path(), &free);
    let (recorder, writer, _news) = Recorder::start(store.clone()).unwrap();
    let recorder = Recorder { keep_prompts: true, ..recorder };
    let asked = |number| DecisionRecord { prompt: Some("x".repeat(64 << 10)), ..decision(number) };
    (1..20).for_each(|number| recorder.decision(asked(number)));
    assert_eq!(recorder.feedback(feedback(1, "x", FeedbackKind::Rating(4))).await, Ok(Ack::Stored));
    assert_eq!((recorder.status().lost, store.health().failing), (0, None));
    free.store(u64::MAX, Ordering::Relaxed);
    recorder.decision(asked(20));
    recorder.flush().await.unwrap();
    let prompt = |number| store.entry(id(number)).unwrap().unwrap().decision.prompt;
    assert_eq!((1..=20).filter_map(prompt).count(), 1);
    assert!(prompt(20).is_some());
    writer.close();
}

#[tokio::test]
async fn many_records_at_once_are_kept_where_there_is_room_for_few() {
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk_with(dir.path(), &Arc::new(AtomicU64::new((12 << 20) + 16 * 4096)));
    let (recorder, writer, _news) = Recorder::start(store.clone()).unwrap();
    (1..300).for_each(|number| recorder.decision(decision(number)));
    (1..300).for_each(|number| recorder.outcome(outcome(number)));
    assert_eq!(recorder.feedback(feedback(1, "x", FeedbackKind::Rating(4))).await, Ok(Ack::Stored));
    let status = recorder.status();
    assert_eq!((status.decisions, status.outcomes, status.lost, status.queued), (299, 299, 0, 0));
    assert_eq!(store.health().failing, None);
    writer.close();
}

#[test]
fn a_store_without_room_for_much_is_back_once_little_has_found_room_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(13 << 20));
    let store = on_disk_with(dir.path(), &free);
    let (changed, _changes) = mpsc::channel(9);
    let mut writer = Loop::new(store.clone(), Arc::default(), changed, Instant::now());
    let set_back = |writer: &mut Loop, by| writer.refused_at = writer.refused_at.and_then(|at| at.checked_sub(by));
    let write = |number: u64, tag: usize, writer: &mut Loop| {
        let mut record = decision(number);
        record.prompt = None;
        record.request.tags.insert("note".into(), "x".repeat(tag));
        let mut round = Round::default();
        round.take(Command::Decision(Box::new(record)));
        writer.write(round);
        (store.knows(id(number)).unwrap(), store.health().failing.is_some())
    };
    assert_eq!(write(1, 90_000, &mut writer), (false, true));
    assert_eq!(write(2, 9, &mut writer), (true, true), "the next may be large again");
    writer.compact_if_due();
    assert!(writer.compactor.is_some(), "what makes the log smaller goes on");
    set_back(&mut writer, REVIVE_EVERY);
    assert_eq!(write(3, 9, &mut writer), (true, false));
    writer.tell_if_back();
    assert!(writer.is_told, "it may not last");
    assert_eq!(write(4, 90_000, &mut writer), (false, true));
    assert_eq!(writer.figures.lost.load(Ordering::Relaxed), 2);
    set_back(&mut writer, STEADY);
    assert_eq!(write(5, 9, &mut writer), (true, false));
    writer.tell_if_back();
    assert!(!writer.is_told);
}

#[test]
fn a_writer_that_hangs_is_not_waited_for() {
    let (queue, _commands) = sync_channel(1);
    let thread = std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
    let writer = Writer { queue: queue.clone(), thread };
    assert!(queue.try_send(Command::Close).is_ok(), "the queue is full, too");
    let began = Instant::now();
    writer.close_within(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_round_is_bounded_by_its_bytes() {
    let (queue, commands) = sync_channel(MAX_BATCH);
    for number in 0..100 {
        let record = DecisionRecord { prompt: Some("x".repeat(60_000)), ..decision(number) };
        queue.send(Command::Decision(Box::new(record))).unwrap();
    }
    let mut round = Round::default();
    round.take(commands.recv().unwrap());
    let next = gather(&mut round, &commands, MAX_BYTES);
    let each = decision(0).bytes() + 60_000 - "secret".len();
    assert_eq!((round.decisions.len(), round.bytes), (MAX_BYTES / each, MAX_BYTES / each * each));
    // Prompts that find no room are left out, and count for nothing there.
    let (mut round, bare) = (Round::default(), each - 60_000);
    round.take(next.unwrap());
    let next = gather(&mut round, &commands, 3 * bare);
    assert_eq!((round.decisions.len(), next.is_some()), (3, true));
    let mut round = Round::default();
    round.take(next.unwrap());
    assert!(gather(&mut round, &commands, 1).is_some());
    assert_eq!(round.decisions.len(), 1, "one alone is tried");
}
