//! The log against a plain map: whatever comes together or late, twice or out of order, reads give what was written
//! last.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config;
use crate::store::trees::SCHEMA;
use crate::store::{Order, Span};

/// Ids of a few moments, close together and in no order within one.
pub(in crate::store) fn id(number: u16) -> DecisionId {
    let (ms, rest) = (1_000 + u128::from(number / 8), u128::from(number % 8).wrapping_mul(0x9e37_79b9) % 1009);
    DecisionId(uuid::Uuid::from_u128(ms << 80 | rest))
}

pub(in crate::store) fn decision(number: u16, note: u8) -> DecisionRecord {
    serde_json::from_value(json!({
        "id": id(number), "at_ms": 1_000 + number / 8, "chosen": "a", "features": [0.1, f32::from(note)],
        "reason": format!("note {note}"),
    }))
    .unwrap()
}

pub(in crate::store) fn outcome(number: u16, note: u8) -> OutcomeRecord {
    serde_json::from_value(json!({ "id": id(number), "at_ms": 5_000, "status": "ok", "latency_ms": note })).unwrap()
}

fn said(number: u16, note: u8) -> FeedbackRecord {
    let kind = crate::store::FeedbackKind::Score(f64::from(note) / 255.0);
    let (at_ms, comment, source) = (9_000, None, String::new());
    FeedbackRecord { id: format!("f{note}"), decision: id(number), at_ms, seq: 0, kind, comment, source }
}

/// One call.
#[derive(Debug, Clone)]
pub(in crate::store) struct Call {
    pub decisions: Vec<(u16, u8)>,
    pub outcomes: Vec<(u16, u8)>,
    pub feedback: Vec<(u16, u8)>,
}

pub(in crate::store) fn calls() -> impl Strategy<Value = Vec<Call>> {
    // Mostly the way traffic comes: on and on, with its outcomes or some later; and now and then anything.
    let onwards = (0..400_u16, 1..90_u16, any::<u8>(), 1..4_u16).prop_map(|(from, count, note, every)| Call {
        decisions: (from..from + count).map(|number| (number, note)).collect(),
        outcomes: (from.saturating_sub(20)..from + count)
            .filter(|number| number % every == 0)
            .map(|number| (number, note))
            .collect(),
        feedback: vec![(from, note)],
    });
    let pairs = || vec((0..500_u16, any::<u8>()), 0..12);
    let anything = (pairs(), pairs(), pairs()).prop_map(|(decisions, outcomes, feedback)| Call {
        decisions,
        outcomes,
        feedback,
    });
    vec(prop_oneof![3 => onwards, 1 => anything], 1..14)
}

/// What the log must hold.
#[derive(Default)]
pub(in crate::store) struct Truth {
    decisions: BTreeMap<DecisionId, DecisionRecord>,
    outcomes: BTreeMap<DecisionId, OutcomeRecord>,
    feedback: BTreeMap<(DecisionId, String), FeedbackRecord>,
}

impl Truth {
    pub fn take(&mut self, store: &Store, call: &Call) {
        let decisions: Vec<_> = call.decisions.iter().map(|(number, note)| decision(*number, *note)).collect();
        let outcomes: Vec<_> = call.outcomes.iter().map(|(number, note)| outcome(*number, *note)).collect();
        let mut feedback: Vec<_> = call.feedback.iter().map(|(number, note)| said(*number, *note)).collect();
        let stored = store.append(&decisions, &outcomes, &mut feedback).unwrap();
        self.decisions.extend(decisions.into_iter().map(|it| (it.id, it)));
        self.outcomes.extend(outcomes.into_iter().map(|it| (it.id, it)));
        for (record, stored) in feedback.into_iter().zip(stored) {
            let key = (record.decision, record.id.clone());
            let expected = match (self.decisions.contains_key(&record.decision), self.feedback.contains_key(&key)) {
                (false, _) => Stored::UnknownDecision,
                (true, true) => Stored::Duplicate,
                (true, false) => Stored::New,
            };
            assert_eq!(stored, expected);
            if stored == Stored::New {
                self.feedback.insert(key, record);
            }
        }
    }

    pub fn entry(&self, id: DecisionId) -> Option<Entry> {
        let mut feedback: Vec<_> =
            self.feedback.iter().filter(|((of, _), _)| *of == id).map(|(_, it)| it.clone()).collect();
        feedback.sort_by_key(|record| record.seq);
        let decision = self.decisions.get(&id)?.clone();
        Some(Entry { decision, outcome: self.outcomes.get(&id).cloned(), feedback })
    }

    pub fn all(&self) -> Vec<Entry> {
        self.decisions.keys().filter_map(|id| self.entry(*id)).collect()
    }
}

pub(in crate::store) fn walked(store: &Store, span: &Span, order: Order) -> Vec<Entry> {
    let mut found = Vec::new();
    store
        .walk(span, order, |entry| {
            found.push(entry);
            true
        })
        .unwrap();
    found
}

pub(in crate::store) fn blocks(store: &Store) -> usize {
    store.trees().unwrap().blocks.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn reads_give_what_was_written_last(calls in calls(), from in 0..500_u16, until in 0..500_u16) {
        let store = Store::in_memory().unwrap();
        let mut truth = Truth::default();
        for call in &calls {
            truth.take(&store, call);
        }
        for number in 0..510 {
            prop_assert_eq!(store.entry(id(number)).unwrap(), truth.entry(id(number)));
            prop_assert_eq!(store.knows(id(number)).unwrap(), truth.decisions.contains_key(&id(number)));
        }
        let mut all = truth.all();
        prop_assert_eq!(walked(&store, &Span::default(), Order::Oldest), &all[..]);
        let newest = all.last().and_then(|entry| super::super::join::ms_of(entry.decision.id.0.as_bytes()));
        prop_assert_eq!(store.newest_ms().unwrap(), newest);
        let (from, until) = (id(from), id(until));
        let spans = [
            Span { after: Some(from), before: Some(until), ..Span::default() },
            Span { after: Some(from), until_id: Some(until), ..Span::default() },
            Span { from_ms: Some(1_020), until_ms: Some(1_040), ..Span::default() },
        ];
        for span in spans {
            let within = |entry: &&Entry| {
                let (id, ms) = (entry.decision.id, (entry.decision.id.0.as_u128() >> 80) as i64);
                span.after.is_none_or(|after| id > after)
                    && span.before.is_none_or(|before| id < before)
                    && span.until_id.is_none_or(|until| id <= until)
                    && span.from_ms.is_none_or(|from| ms >= from)
                    && span.until_ms.is_none_or(|until| ms < until)
            };
            let mut part: Vec<_> = all.iter().filter(within).cloned().collect();
            prop_assert_eq!(walked(&store, &span, Order::Oldest), &part[..]);
            part.reverse();
            prop_assert_eq!(walked(&store, &span, Order::Newest), part);
        }
        all.reverse();
        prop_assert_eq!(walked(&store, &Span::default(), Order::Newest), all);
        prop_assert_eq!(store.health().damaged, 0);
    }

    #[test]
    fn retention_leaves_what_is_young_and_ends(calls in calls(), cutoff_ms in 990..1_070_i64) {
        let store = Store::in_memory().unwrap();
        let mut truth = Truth::default();
        for call in &calls {
            truth.take(&store, call);
        }
        while store.forget_some(Some(cutoff_ms), 0).unwrap() > 0 {}
        let left = walked(&store, &Span::default(), Order::Oldest);
        let all = truth.all();
        let young: Vec<_> = all.iter().filter(|entry| (entry.decision.id.0.as_u128() >> 80) as i64 >= cutoff_ms).collect();
        prop_assert!(left.len() >= young.len());
        prop_assert_eq!(left[left.len() - young.len()..].iter().collect::<Vec<_>>(), young.clone());
        // A block goes as a whole: one that reaches to the young ones stays, with what stands alone behind its begin.
        if left.len() > young.len() {
            let (first, value) = store.trees().unwrap().blocks.first().unwrap().unwrap();
            prop_assert!(first[..] <= left[0].decision.id.0.as_bytes()[..]);
            prop_assert!(block::last_id(&value).unwrap() >= super::super::join::key_at(cutoff_ms));
        }
        for entry in &left {
            let whole = truth.entry(entry.decision.id);
            prop_assert_eq!(whole.as_ref(), Some(entry), "none is left in part");
        }
        while store.forget_some(None, 1).unwrap() > 0 {}
        prop_assert_eq!(walked(&store, &Span::default(), Order::Oldest), Vec::new());
    }
}

pub(in crate::store) fn call(numbers: std::ops::Range<u16>) -> Call {
    let records: Vec<_> = numbers.map(|number| (number, 7)).collect();
    Call { outcomes: records.clone(), decisions: records, feedback: Vec::new() }
}

#[test]
fn what_comes_together_takes_a_fraction_of_the_room() {
    let (together, apart) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    Truth::default().take(&together, &call(0..300));
    (0..300).for_each(|number| Truth::default().take(&apart, &call(number..number + 1)));
    assert_eq!((blocks(&together), together.trees().unwrap().decisions.len()), (5, 0));
    assert_eq!((blocks(&apart), apart.trees().unwrap().decisions.len()), (0, 300));
    let (small, large) = (together.log_size().bytes, apart.log_size().bytes);
    assert!(small * 2 < large, "{small} of {large}");
}

#[test]
fn a_damaged_block_is_set_aside_and_its_records_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
    let mut truth = Truth::default();
    truth.take(&store, &call(0..64));
    truth.take(&store, &call(64..164));
    let trees = store.trees().unwrap();
    assert_eq!(trees.blocks.len(), 3);
    let (key, value) = trees.blocks.first().unwrap().unwrap();
    trees.blocks.insert(&key, &value[..value.len() - 9]).unwrap();
    drop(trees);
    let left: Vec<_> = truth.all().into_iter().filter(|entry| entry.decision.id >= id(64)).collect();
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), left);
    assert_eq!(store.health().damaged, 64);
    assert_eq!(store.entry(id(3)).unwrap(), None);
    assert_eq!(blocks(&store), 2);
    // The same decisions again, from an import say.
    truth.take(&store, &call(0..64));
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
    store.flush().unwrap();
    drop(store);
    let store = Store::open_existing(dir.path(), &config::Store::default()).unwrap();
    assert_eq!(store.health().damaged, 64, "they are counted after a start too");
}

#[test]
fn one_unreadable_record_in_a_block_costs_no_other() {
    let store = Store::in_memory().unwrap();
    let mut builder = Builder::default();
    let (first, second) = (decision(1, 1), decision(9, 1));
    builder.push(first.id.0.into_bytes(), &first, Some(&outcome(1, 1))).unwrap();
    builder.push(second.id.0.into_bytes(), &"no decision", None::<&OutcomeRecord>).unwrap();
    let (key, value) = builder.finish().unwrap().unwrap();
    store.trees().unwrap().blocks.insert(key, value).unwrap();
    for _ in 0..2 {
        let found = walked(&store, &Span::default(), Order::Newest);
        assert_eq!(found.iter().map(|entry| &entry.decision).collect::<Vec<_>>(), [&first]);
        assert_eq!(store.entry(second.id).unwrap(), None);
        assert_eq!(store.health().damaged, 1);
    }
}

#[test]
fn a_log_of_schema_2_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut truth = Truth::default();
    {
        let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        for number in 0..200 {
            truth.take(&store, &call(number..number + 1));
        }
        let trees = store.trees().unwrap();
        assert!(trees.blocks.is_empty(), "as the program before wrote it");
        trees.settings.insert("schema", &2_u32.to_be_bytes()).unwrap();
        store.flush().unwrap();
    }
    let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
    let schema = store.trees().unwrap().settings.get("schema").unwrap();
    assert_eq!(schema.as_deref(), Some(&SCHEMA.to_be_bytes()[..]));
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
    truth.take(&store, &call(190..400));
    assert!(blocks(&store) > 0);
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
    assert_eq!(store.entry(id(195)).unwrap(), truth.entry(id(195)));
}

#[test]
fn a_file_that_ends_in_the_middle_of_a_block_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut truth = Truth::default();
    {
        let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        for round in 0..20 {
            truth.take(&store, &call(round * 100..round * 100 + 100));
            store.flush().unwrap();
        }
    }
    let files = dir.path().join("log");
    let whole = std::fs::read(files.join("db")).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (1..20).map(|part| end * part / 20) {
        let copy = tempfile::tempdir().unwrap();
        let log = copy.path().join("log");
        std::fs::create_dir_all(log.join("blobs")).unwrap();
        std::fs::copy(files.join("conf"), log.join("conf")).unwrap();
        // What was not written is zeros, as after a crash.
        let mut cut_off = whole.clone();
        cut_off[cut..].fill(0);
        std::fs::write(log.join("db"), &cut_off).unwrap();
        let (store, _) = Store::open(copy.path(), &config::Store::default(), 0).unwrap();
        let found = walked(&store, &Span::default(), Order::Oldest);
        for entry in found.iter().cloned() {
            let whole = truth.entry(entry.decision.id).unwrap();
            // An outcome that stands alone is written behind its decision, and may be what is cut off.
            let outcome = entry.outcome.clone().or_else(|| whole.outcome.clone());
            assert_eq!(Entry { outcome, ..entry }, whole);
        }
        assert_eq!(store.health().damaged, 0);
        seen.insert(found.len());
    }
    assert!(seen.len() > 3, "cut anywhere, the log has always {seen:?} entries");
}

#[test]
fn a_decision_takes_so_many_feedbacks_and_no_more() {
    let store = Store::in_memory().unwrap();
    let none: [OutcomeRecord; 0] = [];
    let mut many: Vec<_> =
        (0..=MOST_FEEDBACK).map(|at| FeedbackRecord { id: format!("n{at}"), ..said(1, 7) }).collect();
    let stored = store.append(&[decision(1, 0), decision(2, 0)], &none, &mut many).unwrap();
    assert_eq!(stored[MOST_FEEDBACK - 1..], [Stored::New, Stored::TooMany]);
    let mut more = [many[0].clone(), said(2, 7)];
    let no_decision: [DecisionRecord; 0] = [];
    assert_eq!(store.append(&no_decision, &none, &mut more).unwrap(), [Stored::Duplicate, Stored::New]);
    assert_eq!(store.entry(id(1)).unwrap().unwrap().feedback.len(), MOST_FEEDBACK);
}
