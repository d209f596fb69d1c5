//! The store's use of the sums: it keeps them in agreement with the log, and makes summaries from them.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};

use super::cell::sum_up;
use super::fact::Fact;
use super::{Glance, RECENT, Rollup, Summary, Walk, Window};
use crate::protocol::DecisionId;
use crate::store::db::Store;
use crate::store::error::StoreError;
use crate::store::join::{Order, Span, ms_of};
use crate::store::log::Stored;
use crate::store::record::{AHEAD_MS, DecisionRecord, FeedbackRecord, OutcomeRecord, OutcomeStatus};

/// Entries of an existing log that are added up under one lock, while the writer waits.
const BATCH: usize = 128;

/// Most entries of an existing log that are added up.
const MAX_WALK: usize = 2_000_000;

/// Entries as they were before a change.
pub(in crate::store) struct Before(HashMap<DecisionId, Fact>);

impl Store {
    /// The present contributions of entries that are about to change and are not among the recent facts. Entries of
    /// `decisions` are new and have none.
    pub(in crate::store) fn facts_before(
        &self,
        rollup: &mut Rollup,
        decisions: &[impl Borrow<DecisionRecord>],
        outcomes: &[impl Borrow<OutcomeRecord>],
        feedback: &[FeedbackRecord],
    ) -> Result<Before, StoreError> {
        let horizon = rollup.horizon_ms();
        let new: HashSet<DecisionId> = decisions.iter().map(|decision| decision.borrow().id).collect();
        let mut found = HashMap::new();
        let ids =
            outcomes.iter().map(|outcome| outcome.borrow().id).chain(feedback.iter().map(|record| record.decision));
        for id in ids {
            let old = ms_of(id.0.as_bytes()).is_none_or(|at_ms| at_ms < horizon);
            let known = new.contains(&id) || rollup.recent.contains_key(&id) || found.contains_key(&id);
            if old || known || rollup.is_ahead(id) {
                continue;
            }
            if let Some(entry) = self.entry(id)? {
                found.insert(id, Fact::of(&entry, &mut rollup.names));
            }
        }
        Ok(Before(found))
    }

    /// Adds what has just been written; `before` is from [`Store::facts_before`].
    pub(in crate::store) fn roll_up(
        &self,
        rollup: &mut Rollup,
        Before(mut before): Before,
        decisions: &[impl Borrow<DecisionRecord>],
        outcomes: &[impl Borrow<OutcomeRecord>],
        feedback: &[(&FeedbackRecord, Stored)],
    ) -> Result<(), StoreError> {
        let ends: HashMap<DecisionId, &OutcomeRecord> =
            outcomes.iter().map(Borrow::borrow).map(|outcome| (outcome.id, outcome)).collect();
        let mut ended = HashSet::new();
        for decision in decisions.iter().map(Borrow::borrow) {
            // Its id lies before entries of a clock that was ahead: the walk will find it in the log.
            if rollup.is_ahead(decision.id) {
                continue;
            }
            let mut fact = Fact::of_decision(decision, &mut rollup.names);
            // Most requests end in the same round, and are added only once.
            if let Some(outcome) = ends.get(&decision.id) {
                fact.ends(outcome, &mut rollup.names);
                ended.insert(decision.id);
            }
            // A decision that is written again replaces the old one.
            if let Some(known) = rollup.recent.remove(&decision.id) {
                rollup.note(&known, false);
            }
            rollup.note(&fact, true);
            rollup.keep(decision.id, fact.clone());
            if !rollup.recent.contains_key(&decision.id) {
                before.insert(decision.id, fact);
            }
        }
        for outcome in outcomes.iter().map(Borrow::borrow) {
            if ended.contains(&outcome.id) || rollup.is_ahead(outcome.id) {
                continue;
            }
            let known = before.get(&outcome.id).cloned();
            rollup.change(outcome.id, known, |fact, names| fact.ends(outcome, names));
            if let Some(fact) = before.get_mut(&outcome.id) {
                fact.ends(outcome, &mut rollup.names);
            }
        }
        for (record, stored) in feedback {
            let id = record.decision;
            if *stored != Stored::New || rollup.is_ahead(id) {
                continue;
            }
            let known = before.get(&id).cloned();
            let is_judged = rollup.recent.get(&id).or(known.as_ref()).is_some_and(|fact| fact.verdict.is_some());
            // The verdict of several feedbacks takes the whole entry.
            let verdict =
                if is_judged { self.entry(id)?.and_then(|entry| entry.verdict()) } else { Some(record.kind.value()) };
            rollup.change(id, known, |fact, _| fact.verdict = verdict);
            if let Some(fact) = before.get_mut(&id) {
                fact.verdict = verdict;
            }
        }
        Ok(())
    }

    /// Adds up the existing log, newest first, until the longest window is full; `stop` is asked between batches, and
    /// given how many entries have been added. Returns how many that were in all.
    ///
    /// # Errors
    /// When the database fails; what was added so far stays.
    pub fn catch_up(&self, mut stop: impl FnMut(usize) -> bool) -> Result<usize, StoreError> {
        let mut walked = 0;
        while walked < MAX_WALK && !stop(walked) {
            let mut rollup = self.rollup();
            let before = match rollup.walk {
                Walk::Done => break,
                Walk::Before(newest) => Span { until_id: Some(newest), ..Span::default() },
                Walk::At(at, _) => Span { before: Some(at), ..Span::default() },
            };
            let mut left = BATCH;
            let mut last = None;
            let mut old = false;
            self.walk(&before, Order::Newest, |entry| {
                let rollup = &mut *rollup;
                let fact = Fact::of(&entry, &mut rollup.names);
                last = Some((entry.decision.id, fact.at_ms));
                old = fact.at_ms < rollup.horizon_ms() && rollup.recent.len() >= RECENT;
                rollup.note(&fact, true);
                rollup.keep(entry.decision.id, fact);
                left -= 1;
                left > 0 && !old
            })?;
            walked += BATCH - left;
            rollup.walk = match last {
                Some((id, at_ms)) if !old && left == 0 => Walk::At(id, at_ms),
                _ => Walk::Done,
            };
            self.note_complete_since(rollup.complete_since_ms());
            drop(rollup);
            // A waiting writer goes first.
            std::thread::yield_now();
        }
        Ok(walked)
    }

    /// The summary of the window that ends at `until_ms`.
    pub fn summary(&self, window: Window, until_ms: i64) -> Summary {
        let from_ms = window.from_ms(until_ms);
        let rollup = self.rollup();
        let cells = rollup.levels.iter().zip(Window::ALL).find(|(_, other)| *other == window);
        let mut summary = cells.map_or_else(Summary::default, |(cells, _)| {
            sum_up(cells.range(from_ms..until_ms.max(from_ms)), &rollup.names)
        });
        summary.complete_since_ms = rollup.complete_since_ms().filter(|since_ms| *since_ms > from_ms);
        summary
    }

    /// Visits the newest entries up to now, newest first, at most [`RECENT`].
    pub fn glance(&self, mut visit: impl FnMut(Glance<'_>)) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let rollup = self.rollup();
        let names = &rollup.names;
        for fact in rollup.recent.values().rev().filter(|fact| fact.at_ms <= now_ms + AHEAD_MS).take(RECENT) {
            let answered = fact.end.filter(|end| end.status == OutcomeStatus::Ok && end.answered);
            visit(Glance {
                at_ms: fact.at_ms,
                task: fact.task.map(|task| names.name(task)),
                answered: answered.map(|_| names.name(fact.model)),
                verdict: fact.verdict,
                policy_version: fact.policy_version,
                fact,
                names,
            });
        }
    }
}
