//! Compaction against a plain map: nothing is lost, nothing changes, and little stands alone in the end.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::log::tests::{Call, Truth, blocks, call, calls, id, walked};
use super::*;
use crate::config;
use crate::store::{DecisionRecord, Order, OutcomeRecord, Span};

/// Far behind everything.
const LATER: i64 = 10_000_000;

fn alone(store: &Store) -> (usize, usize) {
    let trees = store.trees().unwrap();
    (trees.decisions.len(), trees.outcomes.len())
}

/// Compacts until there is no more to do at `now_ms`.
fn compact(compactor: &mut Compactor, store: &Store, now_ms: i64) {
    while compactor.step(store, now_ms).unwrap() != Compacted::Done {}
}

fn blocks_are_apart(store: &Store) {
    let mut end = None;
    for pair in &store.trees().unwrap().blocks {
        let (key, value) = pair.unwrap();
        assert!(end.is_none_or(|end: Key| end[..] < key[..]), "blocks overlap");
        end = block::last_id(&value);
    }
}

fn counted(store: &Store) -> u64 {
    let trees = store.trees().unwrap();
    let trees = [&trees.blocks, &trees.decisions, &trees.outcomes, &trees.feedback];
    trees.iter().flat_map(|tree| tree.iter()).map(|pair| pair.unwrap().1.len() as u64).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn reads_do_not_notice(calls in calls(), rounds in vec((0..100_i64, any::<bool>()), 14)) {
        let store = Store::in_memory().unwrap();
        let mut truth = Truth::default();
        let mut compactor = Compactor::resume(&store).unwrap();
        for (call, (reached, restart)) in calls.iter().zip(&rounds) {
            truth.take(&store, call);
            // The ids are of the moments 1000 to 1062.
            for behind in [10_000, 120_000, 1_200_000] {
                compact(&mut compactor, &store, 980 + reached + behind);
                blocks_are_apart(&store);
            }
            if *restart {
                compactor = Compactor::resume(&store).unwrap();
            }
            prop_assert_eq!(store.log_size().bytes, counted(&store));
            let mut all = truth.all();
            prop_assert_eq!(walked(&store, &Span::default(), Order::Oldest), &all[..]);
            all.reverse();
            prop_assert_eq!(walked(&store, &Span::default(), Order::Newest), all);
        }
        for number in 0..510 {
            prop_assert_eq!(store.entry(id(number)).unwrap(), truth.entry(id(number)));
            prop_assert_eq!(store.knows(id(number)).unwrap(), truth.entry(id(number)).is_some());
        }
        prop_assert_eq!(store.health().damaged, 0);
    }

    #[test]
    fn a_crash_before_what_stood_alone_is_deleted_changes_nothing(calls in calls()) {
        let store = Store::in_memory().unwrap();
        let mut truth = Truth::default();
        for call in &calls {
            truth.take(&store, call);
        }
        let trees = store.trees().unwrap();
        let before = [&trees.decisions, &trees.outcomes].map(|tree| tree.iter().map(Result::unwrap).collect::<Vec<_>>());
        compact(&mut Compactor::resume(&store).unwrap(), &store, LATER);
        // As if the process had died before the deletion, and before it noted how far it came.
        for (tree, pairs) in [&trees.decisions, &trees.outcomes].into_iter().zip(&before) {
            pairs.iter().for_each(|(key, value)| drop(tree.insert(key, value).unwrap()));
        }
        for name in ["compaction.first", "compaction.second", "compaction.third"] {
            trees.settings.remove(name).unwrap();
        }
        prop_assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
        compact(&mut Compactor::resume(&store).unwrap(), &store, LATER);
        blocks_are_apart(&store);
        prop_assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
    }
}

/// Traffic whose answers come rounds later, in another order.
fn late(rounds: u16, a_round: u16, behind: u16) -> Vec<Call> {
    let decisions =
        |round: u16| (round * a_round..(round + 1) * a_round).map(|number| (number, 1)).collect::<Vec<_>>();
    let one = |round: u16| Call {
        decisions: if round < rounds { decisions(round) } else { Vec::new() },
        outcomes: (0..a_round)
            .filter_map(|at| {
                let from = round.checked_sub(1 + (at * 7) % behind)?;
                (from < rounds).then_some((from * a_round + at, 2))
            })
            .collect(),
        feedback: Vec::new(),
    };
    (0..rounds + behind + 1).map(one).collect()
}

#[test]
fn late_outcomes_and_lone_decisions_end_in_full_blocks() {
    for (rounds, a_round, behind) in [(10, 50, 6), (150, 3, 20), (400, 1, 90)] {
        let store = Store::in_memory().unwrap();
        let mut truth = Truth::default();
        late(rounds, a_round, behind).iter().for_each(|call| truth.take(&store, call));
        assert!(truth.all().iter().all(|entry| entry.outcome.is_some()));
        let (large, count) = (store.log_size().bytes, usize::from(rounds * a_round));
        assert!(alone(&store).1 >= count, "all outcomes come late");
        let mut compactor = Compactor::resume(&store).unwrap();
        compact(&mut compactor, &store, LATER);
        let (decisions, outcomes) = alone(&store);
        assert!(decisions.max(outcomes) < block::MAX_DECISIONS, "{decisions} and {outcomes} left");
        assert!(blocks(&store) <= count / block::MAX_DECISIONS + 1);
        assert!(store.log_size().bytes * 2 < large);
        assert_eq!(store.log_size().bytes, counted(&store));
        assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
        // With nothing new there is nothing to do.
        let keys = || store.trees().unwrap().blocks.iter().map(Result::unwrap).collect::<Vec<_>>();
        let before = keys();
        compact(&mut compactor, &store, LATER);
        assert_eq!(keys(), before);
    }
}

#[test]
fn full_blocks_are_left_alone_and_what_is_too_young_too() {
    let store = Store::in_memory().unwrap();
    let mut truth = Truth::default();
    truth.take(&store, &call(0..128));
    (128..328).for_each(|number| truth.take(&store, &call(number..number + 1)));
    let trees = store.trees().unwrap();
    let first = trees.blocks.first().unwrap();
    let mut compactor = Compactor::resume(&store).unwrap();
    compact(&mut compactor, &store, 1_030 + 10_000);
    assert_eq!(trees.blocks.first().unwrap(), first);
    let young = trees.decisions.iter().keys().filter(|key| key.as_ref().unwrap()[..] >= key_at(1_030)[..]).count();
    assert_eq!(young, 328 - 240, "decisions of the moments up to 1030 have settled");
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
}

#[test]
fn an_answer_that_took_minutes_is_moved_by_the_second_pass() {
    let store = Store::in_memory().unwrap();
    let mut truth = Truth::default();
    let decisions: Vec<_> = (0..128).map(|number| (number, 1)).collect();
    truth.take(&store, &Call { decisions, outcomes: Vec::new(), feedback: Vec::new() });
    let mut compactor = Compactor::resume(&store).unwrap();
    compact(&mut compactor, &store, 60_000);
    let outcomes: Vec<_> = (0..128).map(|number| (number, 2)).collect();
    truth.take(&store, &Call { decisions: Vec::new(), outcomes, feedback: Vec::new() });
    compact(&mut compactor, &store, 120_000);
    assert_eq!(alone(&store), (0, 128));
    compact(&mut compactor, &store, 1_000_000);
    assert_eq!(alone(&store), (0, 0));
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
}

#[test]
fn it_waits_while_somebody_reads() {
    let store = Store::in_memory().unwrap();
    let mut truth = Truth::default();
    (0..200).for_each(|number| truth.take(&store, &call(number..number + 1)));
    let mut compactor = Compactor::resume(&store).unwrap();
    let mut seen = 0;
    store
        .walk(&Span::default(), Order::Newest, |_| {
            seen += 1;
            assert_eq!(compactor.step(&store, LATER).unwrap(), Compacted::Busy);
            true
        })
        .unwrap();
    assert_eq!((seen, alone(&store).0), (200, 200));
    compact(&mut compactor, &store, LATER);
    assert!(alone(&store).0 < block::MAX_DECISIONS);
}

#[test]
fn what_cannot_be_read_is_left_for_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
    let mut truth = Truth::default();
    truth.take(&store, &call(0..64));
    (64..200).for_each(|number| truth.take(&store, &call(number..number + 1)));
    let trees = store.trees().unwrap();
    let (key, value) = trees.blocks.first().unwrap().unwrap();
    trees.blocks.insert(&key, &value[..value.len() - 9]).unwrap();
    trees.decisions.insert(id(70).0.as_bytes(), &[9, 9, 9]).unwrap();
    compact(&mut Compactor::resume(&store).unwrap(), &store, LATER);
    let left: Vec<_> =
        truth.all().into_iter().filter(|entry| entry.decision.id >= id(64) && entry.decision.id != id(70)).collect();
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), left);
    assert_eq!(store.health().damaged, 65);
}

#[test]
fn a_clock_that_was_ahead_for_a_while_does_not_stop_it() {
    let store = Store::in_memory().unwrap();
    let far = key_at(LATER + 100 * DAY_MS);
    store.trees().unwrap().settings.insert("compaction.first", &far).unwrap();
    let mut truth = Truth::default();
    (0..200).for_each(|number| truth.take(&store, &call(number..number + 1)));
    let mut compactor = Compactor::resume(&store).unwrap();
    compactor.passes[1].behind_ms = i64::MAX;
    compactor.passes[2].behind_ms = i64::MAX;
    compact(&mut compactor, &store, LATER);
    assert!(alone(&store).0 < block::MAX_DECISIONS);
    assert_eq!(walked(&store, &Span::default(), Order::Oldest), truth.all());
}

#[test]
fn a_slice_moves_few_bytes_however_large_the_records_are() {
    let store = Store::in_memory().unwrap();
    for number in 0..80 {
        let prompt = Some("x".repeat(60_000));
        let record = DecisionRecord { prompt, ..super::super::log::tests::decision(number, 0) };
        store.append(&[record], &[] as &[OutcomeRecord], &mut []).unwrap();
    }
    let mut compactor = Compactor::resume(&store).unwrap();
    let at_most = compactor.passes.len() * MAX_BYTES.div_ceil(60_000);
    assert_eq!(compactor.step(&store, LATER).unwrap(), Compacted::More);
    assert!((80 - at_most..80).contains(&alone(&store).0), "{:?}", alone(&store));
    compact(&mut compactor, &store, LATER);
    assert_eq!(alone(&store).0, 0);
}
