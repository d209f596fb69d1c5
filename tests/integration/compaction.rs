//! `kill -9` in the middle of compaction: what was acknowledged is there, and the log reads as it did before.
//!
//! A gateway compacts ten milliseconds in every hundred, and only what has settled, so killing one rarely meets it
//! (`crash` does that). Here a process of its own does nothing else: this test, started again with a folder. It says
//! each step before it takes it and when it is over, so the parent knows that its kill came in between.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pointsman::config;
use pointsman::protocol::DecisionId;
use pointsman::store::{
    Compacted, Compactor, DecisionRecord, Entry, FeedbackKind, FeedbackRecord, Order, OutcomeRecord, Span, Store,
};
use serde_json::json;

/// Where the process that is to be killed finds the log.
const FOLDER: &str = "POINTSMAN_TEST_COMPACT";
const NAME: &str = "compaction::a_kill_in_the_middle_of_compaction_changes_nothing";

/// Times the process is killed.
const KILLS: u32 = 8;
/// Decisions that come before each kill: more than one step moves.
const DECISIONS: u64 = 1200;
/// Everything has settled by then, in Unix milliseconds.
const LATER: i64 = 100_000_000;

fn id(number: u64) -> DecisionId {
    DecisionId(uuid::Uuid::from_u128(u128::from(1_000 + number / 8) << 80 | u128::from(number % 8)))
}

fn decision(number: u64) -> DecisionRecord {
    let reason = format!("note {number}");
    serde_json::from_value(json!({ "id": id(number), "at_ms": 1_000 + number / 8, "chosen": "a", "reason": reason }))
        .unwrap()
}

fn outcome(number: u64) -> OutcomeRecord {
    serde_json::from_value(json!({ "id": id(number), "at_ms": 9_000, "status": "ok", "latency_ms": number })).unwrap()
}

fn open(dir: &Path) -> Store {
    Store::open(dir, &config::Store::default(), 0).unwrap().0
}

/// One more piece of log in which everything stands alone or in small blocks, and outcomes come late.
fn grow(store: &Store, piece: u32) {
    let (mut number, end) = (u64::from(piece) * DECISIONS, u64::from(piece + 1) * DECISIONS);
    let outcomes: Vec<_> = (number..end).filter(|number| number % 7 != 0).map(outcome).collect();
    while number < end {
        let until = (number + 1 + number % 4).min(end);
        let decisions: Vec<_> = (number..until).map(decision).collect();
        store.append(&decisions, &[] as &[OutcomeRecord], &mut []).unwrap();
        number = until;
    }
    store.append(&[] as &[DecisionRecord], &outcomes, &mut []).unwrap();
    store.flush().unwrap();
}

/// The process that is to be killed: takes a feedback in, and compacts until there is no more to do.
fn compact(dir: &Path) {
    // After a line feed, because the test harness has begun a line of its own.
    let say = |what: &str| {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n{what}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let store = open(dir);
    let mut compactor = Compactor::resume(&store).unwrap();
    let about = id(u64::from(std::process::id()) * 31 % DECISIONS);
    let feedback = FeedbackRecord::of(about, uuid::Uuid::now_v7().to_string(), FeedbackKind::Score(0.5), 9_000);
    let told = format!("told {} {}", feedback.decision, feedback.id);
    store.append(&[] as &[DecisionRecord], &[] as &[OutcomeRecord], &mut [feedback]).unwrap();
    store.flush().unwrap();
    say(&told);
    loop {
        say("step");
        if compactor.step(&store, LATER).unwrap() == Compacted::Done {
            break;
        }
    }
    say("done");
}

/// Starts the process and kills it `delay` after the beginning of its first step. Decision and id of the feedback that
/// it acknowledged, and whether the kill came before compaction was over.
fn killed(dir: &Path, delay: Duration) -> (Option<(String, String)>, bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(FOLDER, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut told, mut within, mut steps) = (None, false, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("told"), Some(decision), Some(id)) => told = Some((decision.to_owned(), id.to_owned())),
            (Some("step"), ..) => {
                within = true;
                steps += 1;
                if steps == 1 {
                    std::thread::sleep(delay);
                    child.kill().unwrap();
                }
            }
            (Some("done"), ..) => within = false,
            _ => {}
        }
    }
    child.wait().unwrap();
    assert!(steps > 0, "the process did not come to its first step");
    (told, within)
}

/// The whole log by decision; each is found by its id too.
fn walked(store: &Store) -> BTreeMap<DecisionId, Entry> {
    let mut all = BTreeMap::new();
    let mut last = None;
    let visit = |entry: Entry| {
        let id = entry.decision.id;
        assert!(last.is_none_or(|last| last < id), "{id} comes twice, or out of order");
        last = Some(id);
        all.insert(id, entry);
        true
    };
    store.walk(&Span::default(), Order::Oldest, visit).unwrap();
    for (id, entry) in all.iter().step_by(97) {
        assert_eq!(store.entry(*id).unwrap().as_ref(), Some(entry));
    }
    all
}

#[test]
fn a_kill_in_the_middle_of_compaction_changes_nothing() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return compact(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    grow(&store, 0);
    let start = Instant::now();
    assert_eq!(Compactor::resume(&store).unwrap().step(&store, LATER).unwrap(), Compacted::More);
    let step = start.elapsed();
    drop(store);
    let mut told = Vec::new();
    let mut met = 0;
    for kill in 0..KILLS {
        let store = open(dir.path());
        grow(&store, kill + 1);
        let before = walked(&store);
        assert_eq!(before.len() as u64, u64::from(kill + 2) * DECISIONS);
        drop(store);
        // Another moment of a step each time: from where it reads to where blocks are on disk and what stood alone
        // goes.
        let (said, within) = killed(dir.path(), step * (kill * 3 % KILLS) / KILLS);
        told.extend(said);
        met += u32::from(within);
        let store = open(dir.path());
        check(&before, &walked(&store), &told);
        assert_eq!(store.health().damaged, 0, "a record cannot be read");
    }
    assert!(met * 2 > KILLS, "only {met} of {KILLS} kills came in the middle of compaction");
    assert_eq!(told.len() as u32, KILLS);
    // And what they left is compacted to the end.
    let store = open(dir.path());
    let before = walked(&store);
    let mut compactor = Compactor::resume(&store).unwrap();
    while compactor.step(&store, LATER).unwrap() != Compacted::Done {}
    check(&before, &walked(&store), &told);
}

/// Whether the log is what it was, but for feedback, and has all feedback that was acknowledged. Some may be there that
/// was not: its acknowledgement was on the way.
fn check(before: &BTreeMap<DecisionId, Entry>, now: &BTreeMap<DecisionId, Entry>, told: &[(String, String)]) {
    for (decision, id) in told {
        let entry = &now[&decision.parse::<DecisionId>().unwrap()];
        assert!(entry.feedback.iter().any(|it| it.id == *id), "feedback {id} was acknowledged and is gone");
    }
    let line = |entry: &Entry| {
        let bare = Entry { feedback: Vec::new(), ..entry.clone() };
        pointsman::store::line(&bare).unwrap()
    };
    assert!(before.values().map(line).eq(now.values().map(line)), "the export is another one");
}
