//! Writing the log and reading one entry of it.

use std::borrow::Borrow;

use sled::Batch;

use super::db::{Store, Trees};
use super::encoding::encode;
use super::error::StoreError;
use super::record::{DecisionRecord, Entry, FeedbackRecord, OutcomeRecord};
use crate::protocol::DecisionId;

/// What became of a feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is in the log.
    New,
    /// The log had one of this decision and id already, and keeps that one.
    Duplicate,
    /// There is no such decision.
    UnknownDecision,
}

/// Most bytes of a feedback's own id.
pub const FEEDBACK_ID_BYTES: usize = 200;

impl Store {
    /// Appends to the log, decisions first, so that a feedback may be about a decision of the same call. What happened
    /// to each feedback comes back in order. Nothing is on disk before the next [`Store::flush`].
    ///
    /// An outcome that is reported again replaces the one before; a feedback does not.
    ///
    /// # Errors
    /// When the database fails; then part of it may be there.
    pub fn append(
        &self,
        decisions: &[impl Borrow<DecisionRecord>],
        outcomes: &[impl Borrow<OutcomeRecord>],
        feedback: &mut [FeedbackRecord],
    ) -> Result<Vec<Stored>, StoreError> {
        let trees = self.trees()?;
        let mut rollup = self.rollup();
        let before = self.facts_before(&mut rollup, outcomes, feedback)?;
        let mut written = 0;
        let mut batch = Batch::default();
        for decision in decisions.iter().map(Borrow::borrow) {
            let value = encode(decision)?;
            written += value.len();
            batch.insert(decision.id.0.as_bytes(), value);
        }
        trees.decisions.apply_batch(batch)?;
        let mut batch = Batch::default();
        for outcome in outcomes.iter().map(Borrow::borrow) {
            let value = encode(outcome)?;
            written += value.len();
            batch.insert(outcome.id.0.as_bytes(), value);
        }
        trees.outcomes.apply_batch(batch)?;
        let mut stored = Vec::with_capacity(feedback.len());
        for record in feedback.iter_mut() {
            stored.push(put_feedback(&trees, record, &mut written)?);
        }
        self.note_written(written as u64);
        let told: Vec<_> = feedback.iter().zip(stored.iter().copied()).collect();
        self.roll_up(&mut rollup, before, decisions, outcomes, &told)?;
        Ok(stored)
    }

    /// Whether there is such a decision.
    ///
    /// # Errors
    /// When the database fails.
    pub fn knows(&self, id: DecisionId) -> Result<bool, StoreError> {
        Ok(self.trees()?.decisions.contains_key(id.0.as_bytes())?)
    }

    /// A decision with all that came of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn entry(&self, id: DecisionId) -> Result<Option<Entry>, StoreError> {
        let trees = self.trees()?;
        let key = id.0.as_bytes();
        let Some(value) = trees.decisions.get(key)? else { return Ok(None) };
        let Some(decision) = self.read(&trees, &trees.decisions, key, &value) else { return Ok(None) };
        let outcome = match trees.outcomes.get(key)? {
            Some(value) => self.read(&trees, &trees.outcomes, key, &value),
            None => None,
        };
        let mut feedback: Vec<FeedbackRecord> = Vec::new();
        for pair in trees.feedback.scan_prefix(key) {
            let (key, value) = pair?;
            feedback.extend(self.read::<FeedbackRecord>(&trees, &trees.feedback, &key, &value));
        }
        feedback.sort_by_key(|record| record.seq);
        Ok(Some(Entry { decision, outcome, feedback }))
    }
}

fn put_feedback(trees: &Trees, record: &mut FeedbackRecord, written: &mut usize) -> Result<Stored, StoreError> {
    let decision = record.decision.0.as_bytes();
    if !trees.decisions.contains_key(decision)? {
        return Ok(Stored::UnknownDecision);
    }
    let key = [&decision[..], record.id.as_bytes()].concat();
    if trees.feedback.contains_key(&key)? {
        return Ok(Stored::Duplicate);
    }
    // sled's ids only ever grow, over restarts too, whatever the clock does.
    record.seq = trees.db.generate_id()?;
    let value = encode(record)?;
    *written += value.len();
    trees.feedback.insert(key, value)?;
    Ok(Stored::New)
}
