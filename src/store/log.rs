//! Writing the decision log, and reading one entry of it.
//!
//! **What goes into blocks.** The decisions of one call, in order, as many to a [`block`] as fit, each with its outcome
//! if that is of the same call. Blocks must not overlap, and a single record must be newer than what a block has under
//! the same id. So a decision becomes a single record if its id lies before the end of an earlier block (ids of one
//! millisecond are in no order), and so do all decisions of a block if single records of one of them exist.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use sled::Batch;

use super::block::{self, Block, Builder};
use super::db::Store;
use super::encoding::encode;
use super::error::StoreError;
use super::record::{DecisionRecord, Entry, FeedbackRecord, OutcomeRecord};
use super::trees::Trees;
use crate::protocol::DecisionId;

/// The result of storing a feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was stored.
    New,
    /// The log already had a feedback of this decision and id, which stays.
    Duplicate,
    /// There is no such decision.
    UnknownDecision,
    /// The decision has [`MOST_FEEDBACK`] already.
    TooMany,
}

/// Most feedback of one decision: each further one reads all those before.
pub const MOST_FEEDBACK: usize = 200;

impl Store {
    /// Appends to the log, decisions first, so that a feedback may be about a decision of the same call. Returns the
    /// result for each feedback, in order. Nothing is surely on disk before the next [`Store::flush`].
    ///
    /// An outcome that is reported again replaces the one before; a feedback does not.
    ///
    /// # Errors
    /// When the database fails; part of the records may have been written. [`StoreError::Full`]: none was.
    pub fn append(
        &self,
        decisions: &[impl Borrow<DecisionRecord>],
        outcomes: &[impl Borrow<OutcomeRecord>],
        feedback: &mut [FeedbackRecord],
    ) -> Result<Vec<Stored>, StoreError> {
        let bytes = decisions.iter().map(|it| it.borrow().bytes()).sum::<usize>()
            + outcomes.iter().map(|it| it.borrow().bytes()).sum::<usize>()
            + feedback.iter().map(FeedbackRecord::bytes).sum::<usize>();
        let trees = self.trees()?;
        self.find_room_for_records(bytes)?;
        let mut rollup = self.rollup();
        let before = self.facts_before(&mut rollup, decisions, outcomes, feedback)?;
        let mut written = self.put(&trees, decisions, outcomes)?;
        let mut stored = Vec::with_capacity(feedback.len());
        for record in feedback.iter_mut() {
            stored.push(self.put_feedback(&trees, record, &mut written)?);
        }
        self.note_written(written as u64);
        self.room().note_records(written as u64);
        let told: Vec<_> = feedback.iter().zip(stored.iter().copied()).collect();
        self.roll_up(&mut rollup, before, decisions, outcomes, &told)?;
        Ok(stored)
    }

    /// Writes decisions and outcomes; the number of bytes.
    fn put(
        &self,
        trees: &Trees,
        decisions: &[impl Borrow<DecisionRecord>],
        outcomes: &[impl Borrow<OutcomeRecord>],
    ) -> Result<usize, StoreError> {
        // In order of ids; of two with the same id the later counts.
        let rows: BTreeMap<block::Key, &DecisionRecord> =
            decisions.iter().map(Borrow::borrow).map(|it| (it.id.0.into_bytes(), it)).collect();
        let ends: BTreeMap<block::Key, &OutcomeRecord> =
            outcomes.iter().map(Borrow::borrow).map(|it| (it.id.0.into_bytes(), it)).collect();
        let end_of_blocks = match rows.last_key_value() {
            Some((newest, _)) => self.end_of_blocks(trees, newest)?,
            None => None,
        };
        let mut round = Round { ends, ..Round::default() };
        for (id, decision) in rows {
            if end_of_blocks.is_some_and(|end| id <= end) {
                round.alone(trees, id, decision)?;
                continue;
            }
            round.builder.push(id, decision, round.ends.get(&id).copied())?;
            round.members.push((id, decision));
            if round.builder.is_full() {
                round.close_block(trees)?;
            }
        }
        round.close_block(trees)?;
        for (id, outcome) in std::mem::take(&mut round.ends) {
            let value = encode(outcome)?;
            round.bytes += value.len();
            round.replaced += length_of(&trees.outcomes, &id)?;
            round.outcomes.insert(&id, value);
        }
        self.note_freed(round.replaced as u64);
        trees.blocks.apply_batch(round.blocks)?;
        trees.decisions.apply_batch(round.decisions)?;
        trees.outcomes.apply_batch(round.outcomes)?;
        Ok(round.bytes)
    }

    /// The last id of the last block that does not begin after `id`.
    fn end_of_blocks(&self, trees: &Trees, id: &block::Key) -> Result<Option<block::Key>, StoreError> {
        let Some((key, value)) = trees.block_before(id)? else { return Ok(None) };
        Ok(block::last_id(&value).or_else(|| {
            let _set_aside = self.open_block(trees, &key, &value);
            block::Key::try_from(&key[..]).ok()
        }))
    }

    /// The block that has this decision.
    fn block_with(&self, trees: &Trees, id: &[u8]) -> Result<Option<Block>, StoreError> {
        let Some((key, value)) = trees.block_before(id)? else { return Ok(None) };
        if block::last_id(&value).is_some_and(|last| last[..] < *id) {
            return Ok(None);
        }
        Ok(self.open_block(trees, &key, &value).filter(|block| block.find(id).is_some()))
    }

    /// Whether there is such a decision.
    ///
    /// # Errors
    /// When the database fails.
    pub fn knows(&self, id: DecisionId) -> Result<bool, StoreError> {
        self.has(&*self.trees()?, id.0.as_bytes())
    }

    /// Whether a decision has any feedback; `false` where the database fails.
    pub fn is_judged(&self, id: DecisionId) -> bool {
        self.trees().is_ok_and(|trees| matches!(trees.feedback.scan_prefix(id.0.as_bytes()).next(), Some(Ok(_))))
    }

    fn has(&self, trees: &Trees, id: &[u8]) -> Result<bool, StoreError> {
        Ok(trees.decisions.contains_key(id)? || self.block_with(trees, id)?.is_some())
    }

    /// A decision with its outcome and feedback.
    ///
    /// # Errors
    /// When the database fails.
    pub fn entry(&self, id: DecisionId) -> Result<Option<Entry>, StoreError> {
        let trees = self.trees()?;
        let key = id.0.as_bytes();
        let alone = trees.decisions.get(key)?;
        let end = trees.outcomes.get(key)?;
        let block = match (&alone, &end) {
            (Some(_), Some(_)) => None,
            _ => self.block_with(&trees, key)?,
        };
        let row = block.as_ref().and_then(|block| block.find(key));
        let Some(decision) = self.decision_in(&trees, key, alone.as_deref(), row) else { return Ok(None) };
        let outcome = self.outcome_in(&trees, key, end.as_deref(), row);
        let mut feedback: Vec<FeedbackRecord> = Vec::new();
        for pair in trees.feedback.scan_prefix(key) {
            let (key, value) = pair?;
            feedback.extend(self.read::<FeedbackRecord>(&trees, &trees.feedback, &key, &value));
        }
        feedback.sort_by_key(|record| record.seq);
        Ok(Some(Entry { decision, outcome, feedback }))
    }

    fn put_feedback(
        &self,
        trees: &Trees,
        record: &mut FeedbackRecord,
        written: &mut usize,
    ) -> Result<Stored, StoreError> {
        let decision = record.decision.0.as_bytes();
        if !self.has(trees, decision)? {
            return Ok(Stored::UnknownDecision);
        }
        let key = [&decision[..], record.id.as_bytes()].concat();
        if trees.feedback.contains_key(&key)? {
            return Ok(Stored::Duplicate);
        }
        if trees.feedback.scan_prefix(decision).keys().take(MOST_FEEDBACK).count() == MOST_FEEDBACK {
            return Ok(Stored::TooMany);
        }
        // sled's generated ids always grow, also over restarts and whatever the clock does.
        record.seq = trees.db.generate_id()?;
        let value = encode(record)?;
        *written += value.len();
        trees.feedback.insert(key, value)?;
        Ok(Stored::New)
    }
}

/// What one call of [`Store::append`] writes.
#[derive(Default)]
struct Round<'a> {
    /// Outcomes that are not in a block yet.
    ends: BTreeMap<block::Key, &'a OutcomeRecord>,
    builder: Builder,
    /// The decisions in the builder.
    members: Vec<(block::Key, &'a DecisionRecord)>,
    blocks: Batch,
    decisions: Batch,
    outcomes: Batch,
    bytes: usize,
    /// Bytes of the values that are replaced.
    replaced: usize,
}

impl<'a> Round<'a> {
    fn alone(&mut self, trees: &Trees, id: block::Key, record: &'a DecisionRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        self.bytes += value.len();
        self.replaced += length_of(&trees.decisions, &id)?;
        self.decisions.insert(&id, value);
        Ok(())
    }

    /// Writes the builder's decisions as a block; as single records where there is only one, or where older single
    /// records would hide the block's rows.
    fn close_block(&mut self, trees: &Trees) -> Result<(), StoreError> {
        let members = std::mem::take(&mut self.members);
        if members.len() < 2 || are_known(trees, &members)? {
            self.builder.clear();
            return members.into_iter().try_for_each(|(id, decision)| self.alone(trees, id, decision));
        }
        if let Some((key, value)) = self.builder.finish()? {
            self.bytes += value.len();
            self.blocks.insert(&key, value);
        }
        for (id, _) in members {
            self.ends.remove(&id);
        }
        Ok(())
    }
}

/// Bytes of the single record of this id.
fn length_of(tree: &sled::Tree, id: &block::Key) -> Result<usize, StoreError> {
    Ok(tree.get(id)?.map_or(0, |value| value.len()))
}

/// Whether there is a single record of one of these ids, which are in order.
fn are_known(trees: &Trees, members: &[(block::Key, &DecisionRecord)]) -> Result<bool, StoreError> {
    let (Some((first, _)), Some((last, _))) = (members.first(), members.last()) else { return Ok(false) };
    for tree in [&trees.decisions, &trees.outcomes] {
        for key in tree.range(&first[..]..=&last[..]).keys() {
            let key = key?;
            if members.binary_search_by(|(id, _)| id[..].cmp(&key)).is_ok() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "log_tests.rs"]
pub(super) mod tests;
