//! Without room nothing is written, whatever asks for it; and how much room is enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::super::StoreError;
use super::super::audit::AuditRecord;
use super::super::compact::{Compacted, Compactor};
use super::super::db::Store;
use super::super::db::tests::{on_disk, on_disk_with};
use super::super::log::tests::{decision, id, outcome};
use super::super::record::{DecisionRecord, FeedbackKind, FeedbackRecord, OutcomeRecord};
use super::super::snapshots::SnapshotRecord;
use super::*;

/// Behind all ids of the tests.
const LATER: i64 = 10_000_000;

/// A store that has something of each kind, and what its disk says to be free.
fn filled(dir: &Path) -> (Store, Arc<AtomicU64>) {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let store = on_disk_with(dir, &free);
    for number in [0, 1] {
        store.append(&[decision(number, 0)], &[] as &[OutcomeRecord], &mut []).unwrap();
    }
    for version in 1..=3 {
        store.put_snapshot(&snapshot(version), &version).unwrap();
    }
    store.set_setting("known", &1).unwrap();
    store.audit(&act()).unwrap();
    (store, free)
}

fn snapshot(version: u64) -> SnapshotRecord {
    SnapshotRecord::waiting(version, "retune", "", 0)
}

fn act() -> AuditRecord {
    AuditRecord {
        at_ms: 1,
        who: "cli".into(),
        action: "policy.pin".into(),
        subject: "3".into(),
        detail: serde_json::Value::Null,
    }
}

#[test]
fn without_room_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, free) = filled(dir.path());
    let trees = store.trees().unwrap();
    trees.outcomes.insert(id(0).0.as_bytes(), b"damaged").unwrap();
    let content = || trees.db.checksum().unwrap();
    let before = content();
    free.store(LEAST - 1, Ordering::Relaxed);
    let none: [OutcomeRecord; 0] = [];
    let refused: [(&str, Result<(), StoreError>); 12] = [
        ("append", store.append(&[decision(9, 0)], &none, &mut []).map(drop)),
        ("set_setting", store.set_setting("known", &2)),
        ("forget_setting", store.forget_setting("known")),
        ("audit", store.audit(&act())),
        ("forget_acts", store.forget_acts(LATER).map(drop)),
        ("put_snapshot", store.put_snapshot(&snapshot(4), &4)),
        ("update_snapshot", store.update_snapshot(&SnapshotRecord { learned_from: 7, ..snapshot(3) })),
        ("set_live", store.set_live(3)),
        ("prune_snapshots", store.prune_snapshots(1, &[]).map(drop)),
        ("forget_some", store.forget_some(Some(LATER), 0).map(drop)),
        ("save_log_size", store.save_log_size()),
        ("compact", Compactor::resume(&store).unwrap().step(&store, LATER).map(drop)),
    ];
    for (what, refused) in refused {
        assert!(matches!(refused, Err(StoreError::Full)), "{what}: {refused:?}");
    }
    let read = store.entry(id(0)).unwrap().unwrap();
    assert!(read.outcome.is_none() && store.health().damaged == 0, "the damaged record stays where it is");
    assert_eq!(content(), before);

    free.store(u64::MAX, Ordering::Relaxed);
    store.entry(id(0)).unwrap();
    assert_eq!(store.health().damaged, 1);
    assert_eq!(Compactor::resume(&store).unwrap().step(&store, LATER).unwrap(), Compacted::Done);
    assert_eq!(store.forget_some(Some(LATER), 0).unwrap(), 2);
    assert_ne!(content(), before);
}

#[test]
fn the_room_asked_for_grows_with_what_is_to_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, free) = filled(dir.path());
    let with_prompt = DecisionRecord { prompt: Some("x".repeat(60_000)), ..decision(9, 0) };
    let many: Vec<DecisionRecord> = (10..200).map(|number| decision(number, 0)).collect();
    free.store(TO_WRITE + PER_BYTE * 30_000, Ordering::Relaxed);
    let write = |decisions: &[DecisionRecord]| store.append(decisions, &[outcome(9, 0)], &mut []).map(drop);
    assert!(matches!(write(&[with_prompt]), Err(StoreError::Full)));
    assert!(matches!(write(&many), Err(StoreError::Full)));
    write(&[decision(9, 0)]).unwrap();
}

#[test]
fn records_take_what_room_is_asked_for() {
    let mut noise = noise();
    let candidate = json!({
        "model": "a-model-of-some-name", "prior": 0.9626266956329346, "quality": 0.9526266956329346,
        "quality_source": "like zeroeval/claude-3-5-sonnet-20241022", "cost_usd": 0.003468, "latency_s": 0.0914,
        "utility": 0.9348826956329346, "propensity": 0.17052498658007748,
        "account": [{ "factor": "base", "by": 0.9554 }, { "factor": "reading", "by": -0.007 }],
    });
    let with = |decision: DecisionRecord, key: &str, part: serde_json::Value| {
        let mut whole = serde_json::to_value(decision).unwrap();
        whole[key] = part;
        serde_json::from_value::<DecisionRecord>(whole).unwrap()
    };
    let mut tagged = decision(0, 0);
    tagged.request.tags = (0..32).map(|_| (noise(16), noise(250))).collect();
    let mut candidates = vec![candidate; 18];
    for (at, candidate) in candidates.iter_mut().enumerate() {
        candidate["utility"] = json!(1.0 / (at as f64 + 3.0));
        candidate["propensity"] = json!(1.0 / (at as f64 + 7.0));
    }
    let excluded: Vec<_> = (0..400).map(|_| json!({ "model": noise(12), "reason": "its weight is 0" })).collect();
    let features: Vec<f32> = (1..400_u16).map(|at| 1.0 / f32::from(at)).collect();
    for (number, record) in [
        tagged,
        with(decision(1, 0), "candidates", json!(candidates)),
        with(decision(2, 0), "excluded", json!(excluded)),
        with(decision(3, 0), "features", json!(features)),
        decision(4, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let store = Store::in_memory().unwrap();
        let asked = record.bytes() as u64;
        store.append(&[record], &[] as &[OutcomeRecord], &mut []).unwrap();
        let taken = store.log_size().bytes;
        assert!(taken <= asked && asked < 4 * taken, "{number}: {taken} of {asked}");
    }
}

#[test]
fn a_slice_to_delete_has_few_bytes_however_large_the_records_are() {
    let dir = tempfile::tempdir().unwrap();
    let (store, free) = filled(dir.path());
    let mut noise = noise();
    for number in 2..42 {
        let prompt = Some(noise(60_000));
        let record = DecisionRecord { prompt, ..decision(number, 0) };
        store.append(&[record], &[] as &[OutcomeRecord], &mut []).unwrap();
    }
    free.store(LEAST + PER_BYTE * 400_000, Ordering::Relaxed);
    assert_eq!(forget_all(&store, 0), 42);
}

#[test]
fn feedback_is_weighed_with_what_goes_and_is_deleted_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let (store, free) = filled(dir.path());
    let mut noise = noise();
    // Blocks of a dozen decisions, with 1.4 MB of comments each.
    for round in 1..5_u16 {
        let decisions: Vec<_> = (round * 100..round * 100 + 12).map(|number| decision(number, 0)).collect();
        let mut said: Vec<_> = (0..96)
            .map(|at| FeedbackRecord {
                comment: Some(noise(16_000)),
                ..FeedbackRecord::of(decisions[at % 12].id, format!("f{at}"), FeedbackKind::Correct(true), 2)
            })
            .collect();
        store.append(&decisions, &[] as &[OutcomeRecord], &mut said).unwrap();
    }
    assert!(store.trees().unwrap().blocks.len() >= 4);
    free.store(LEAST + PER_BYTE * 400_000, Ordering::Relaxed);
    let all = store.log_size().bytes;
    assert_eq!(forget_all(&store, all - 1), 2 + 12, "the oldest block alone is too much");
    assert!(store.log_size().bytes > all * 2 / 3);
    assert_eq!(forget_all(&store, 1), 36);
    assert_eq!(store.log_size().bytes, 0);
}

#[test]
fn a_log_that_leaves_no_room_to_write_leaves_some_to_delete() {
    let dir = tempfile::tempdir().unwrap();
    let (store, free) = filled(dir.path());
    let mut noise = noise();
    // Blocks as large as they get.
    for number in (16..176).step_by(16) {
        let decisions = [(number, 24_000), (number + 8, 64 << 10)]
            .map(|(number, bytes)| DecisionRecord { prompt: Some(noise(bytes)), ..decision(number, 0) });
        store.append(&decisions, &[] as &[OutcomeRecord], &mut []).unwrap();
    }
    let largest = store.trees().unwrap().blocks.iter().values().map(|value| value.unwrap().len()).max().unwrap();
    assert!((70_000..100_000).contains(&largest), "{largest}");
    free.store(TO_WRITE - 1, Ordering::Relaxed);
    assert!(matches!(store.set_setting("known", &2), Err(StoreError::Full)));
    assert_eq!(forget_all(&store, 0), 22);
    store.save_clock(&store.clock(0).unwrap(), 90, std::time::Duration::ZERO).unwrap();
}

/// Fills a log with 40 KB a round, in blocks.
fn fill(store: &Store, rounds: u16) {
    let mut noise = noise();
    for round in 0..rounds {
        let with_prompt = |number| DecisionRecord { prompt: Some(noise(6000)), ..decision(number, 0) };
        let decisions: Vec<_> = (round * 8..round * 8 + 8).map(with_prompt).collect();
        store.append(&decisions, &[] as &[OutcomeRecord], &mut []).unwrap();
    }
    store.flush().unwrap();
}

#[test]
fn a_log_that_has_filled_its_disk_itself_loses_its_oldest_entries_and_goes_on_inside_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let store = on_disk_with(dir.path(), &free);
    fill(&store, 100);
    let write = || store.append(&[decision(900, 0)], &[] as &[OutcomeRecord], &mut []).map(drop);
    free.store(TO_WRITE - 1, Ordering::Relaxed);
    let most = looked(&store).unwrap();
    assert!(store.log_size().bytes > most);
    let full = write().unwrap_err();
    assert!(matches!(full, StoreError::Full), "half of the files are records, sled may find nothing inside");
    store.note_failure(&full);
    assert!(!store.revive(0));

    assert!((200..800).contains(&forget_all(&store, most)));
    looked(&store);
    assert!(store.revive(0), "there is room inside");
    write().unwrap();
    assert!(store.entry(id(900)).unwrap().is_some() && store.entry(id(0)).unwrap().is_none());

    // Until it is looked again no more is written than there was.
    let before = store.room_for();
    write().unwrap();
    assert!(store.room_for() < before);
    // Should it find none inside all the same, there must be some on the disk.
    free.store(LEAST + PER_BYTE * 100, Ordering::Relaxed);
    assert_eq!(store.room_for(), Some(100));
    free.store(LEAST - 1, Ordering::Relaxed);
    assert!(matches!(write(), Err(StoreError::Full)));
}

#[test]
fn the_less_is_free_the_smaller_a_part_of_the_files_the_records_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (free, used) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
    let store = on_disk(dir.path(), &free, &used);
    fill(&store, 100);
    let files = store.trees().unwrap().db.size_on_disk().unwrap();
    let part = |bytes| {
        free.store(bytes, Ordering::Relaxed);
        store.cramped().map(|(_, most)| (most * 100).div_ceil(files))
    };
    let parts = [u64::MAX, AMPLE, LEAST + (24 << 20), LEAST + (16 << 20), TO_WRITE, LEAST, 0].map(part);
    assert_eq!(parts, [None, None, Some(50), Some(33), Some(16), Some(13), Some(13)]);
    // Others' disk is not for it to empty.
    used.store(2 * files + 2, Ordering::Relaxed);
    assert_eq!(part(TO_WRITE), None);
    used.store(2 * files, Ordering::Relaxed);
    assert_eq!(part(TO_WRITE), Some(16));
}

#[test]
fn only_as_much_of_a_log_goes_as_new_records_need() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let store = on_disk_with(dir.path(), &free);
    fill(&store, 300);
    assert_eq!(looked(&store), None);
    let gone = |most: Option<u64>| most.map(|most| store.log_bytes() - most);
    let write = |number, bytes| {
        let record = DecisionRecord { prompt: Some(noise()(bytes)), ..decision(number, 0) };
        let before = store.log_bytes();
        store.append(&[record], &[] as &[OutcomeRecord], &mut []).map(|_| store.log_bytes() - before)
    };
    free.store(TO_WRITE + (2 << 20), Ordering::Relaxed);
    assert_eq!(looked(&store), None, "nobody needs room");
    let little = write(2400, 9_000).unwrap();
    assert_eq!(looked(&store), None, "so little can wait");
    let more = write(2401, 60_000).unwrap();
    assert_eq!(gone(looked(&store)), Some(FILES_PER_BYTE * (little + more)));
    assert_eq!(looked(&store), None, "it was made");
    assert!(matches!(write(2402, 200_000), Err(StoreError::Full)));
    assert_eq!(gone(looked(&store)), Some(STEP));
    // What is written while there is ample room is none that is needed later.
    free.store(u64::MAX, Ordering::Relaxed);
    write(2403, 60_000).unwrap();
    assert_eq!(looked(&store), None);
    free.store(TO_WRITE, Ordering::Relaxed);
    assert_eq!(looked(&store), None);
    // No others' records but new ones count.
    assert!(matches!(store.set_setting("known", &vec![1; 99]), Err(StoreError::Full)));
    assert_eq!(looked(&store), None);
}

#[test]
fn a_saved_size_that_is_too_small_makes_no_room_inside_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let store = on_disk_with(dir.path(), &free);
    store.save_log_size().unwrap();
    // Of an import, say, that was killed.
    fill(&store, 100);
    let written = store.log_size();
    drop(store);
    let store = on_disk_with(dir.path(), &free);
    assert!(store.log_size().bytes < written.bytes / 5);
    free.store(TO_WRITE - 1, Ordering::Relaxed);
    assert_eq!(looked(&store), None);
    assert_eq!((store.log_size(), store.room_for()), (written, None), "half of the files are records");
}

/// The most bytes of records that [`Store::look_for_room`] says.
fn looked(store: &Store) -> Option<u64> {
    store.look_for_room().unwrap()
}

/// Deletes what is beyond `max_bytes`, or all where that is 0; the number of decisions.
fn forget_all(store: &Store, max_bytes: u64) -> usize {
    let cutoff_ms = (max_bytes == 0).then_some(LATER);
    std::iter::from_fn(|| Some(store.forget_some(cutoff_ms, max_bytes).unwrap())).take_while(|count| *count > 0).sum()
}

/// Makes texts that do not pack well.
fn noise() -> impl FnMut(usize) -> String {
    let mut at = 1_u64;
    move |length| {
        let letter = |_| {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (at >> 57) as u8 % 90)
        };
        (0..length).map(letter).collect()
    }
}

#[test]
fn a_store_is_back_once_there_is_some_room_more_than_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, free) = filled(dir.path());
    free.store(LEAST, Ordering::Relaxed);
    let with_prompt = DecisionRecord { prompt: Some("x".repeat(60_000)), ..decision(9, 0) };
    let enough = TO_WRITE + LEAST;
    let full = store.append(&[with_prompt], &[] as &[OutcomeRecord], &mut []).unwrap_err();
    store.note_failure(&full);
    for (bytes, is_back) in [(LEAST, false), (enough - 1, false), (enough, true)] {
        free.store(bytes, Ordering::Relaxed);
        assert_eq!((store.revive(0), store.health().failing.is_none()), (is_back, is_back), "{bytes}");
    }
    // Also one that sled has given up.
    store.note_failure(&StoreError::Down("no space".into()));
    free.store(LEAST, Ordering::Relaxed);
    assert!(!store.revive(0));
    free.store(enough, Ordering::Relaxed);
    assert!(store.revive(0));
}
