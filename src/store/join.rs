//! Walking the log: decisions in order of time, each joined with what came of it.
//!
//! All three trees are ordered by decision, so the join is a merge: one pass over each, no look-ups.

use std::ops::Bound;

use super::db::{Store, Trees};
use super::error::StoreError;
use super::record::{DecisionRecord, Entry, FeedbackRecord, OutcomeRecord};
use crate::protocol::DecisionId;

/// Which way to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the oldest on.
    Oldest,
    /// From the newest back.
    Newest,
}

/// Which decisions to walk over, by Unix milliseconds and by id; everything by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before this.
    pub from_ms: Option<i64>,
    /// Before this.
    pub until_ms: Option<i64>,
    /// Only ids up to this one.
    pub until_id: Option<DecisionId>,
    /// Only ids before this one: where a page from the newest goes on.
    pub before: Option<DecisionId>,
    /// Only ids after this one: where a page from the oldest goes on.
    pub after: Option<DecisionId>,
}

/// The smallest key of a moment: the first 48 bits of a UUIDv7 are its Unix milliseconds.
pub(super) fn key_at(ms: i64) -> [u8; 16] {
    let ms = u64::try_from(ms).unwrap_or(0).min((1 << 48) - 1);
    ((u128::from(ms)) << 80).to_be_bytes()
}

impl Span {
    fn bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let from = self.from_ms.map(|ms| Bound::Included(key_at(ms).to_vec()));
        let after = self.after.map(|id| Bound::Excluded(id.0.as_bytes().to_vec()));
        let lower = match (from, after) {
            (Some(Bound::Included(from)), Some(Bound::Excluded(after))) if after < from => Bound::Included(from),
            (_, Some(after)) => after,
            (Some(from), None) => from,
            (None, None) => Bound::Unbounded,
        };
        let until = self.until_ms.map(|ms| key_at(ms).to_vec());
        let before = self.before.map(|id| id.0.as_bytes().to_vec());
        // The least key behind it: outcomes have the same, feedback's are longer.
        let up_to =
            self.until_id.and_then(|id| id.0.as_u128().checked_add(1)).map(|next| next.to_be_bytes().to_vec());
        let before = match (before, up_to) {
            (Some(before), Some(up_to)) => Some(before.min(up_to)),
            (before, up_to) => before.or(up_to),
        };
        let upper = match (until, before) {
            (Some(until), Some(before)) => Bound::Excluded(until.min(before)),
            (Some(key), None) | (None, Some(key)) => Bound::Excluded(key),
            (None, None) => Bound::Unbounded,
        };
        (lower, upper)
    }

    /// Whether the bounds leave anything; sled's ranges must not be upside down.
    fn is_empty(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
        match bounds {
            (Bound::Included(lower), Bound::Excluded(upper)) => lower >= upper,
            (Bound::Excluded(lower), Bound::Excluded(upper)) => lower >= upper,
            _ => false,
        }
    }
}

/// One tree walked in either direction, one step looked ahead.
struct Cursor {
    iter: sled::Iter,
    order: Order,
    ahead: Option<(sled::IVec, sled::IVec)>,
}

impl Cursor {
    fn new(tree: &sled::Tree, bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>), order: Order) -> Result<Self, StoreError> {
        let iter = tree.range::<Vec<u8>, _>((bounds.0.clone(), bounds.1.clone()));
        let mut cursor = Self { iter, order, ahead: None };
        cursor.step()?;
        Ok(cursor)
    }

    fn step(&mut self) -> Result<Option<(sled::IVec, sled::IVec)>, StoreError> {
        let next = match self.order {
            Order::Oldest => self.iter.next(),
            Order::Newest => self.iter.next_back(),
        };
        Ok(std::mem::replace(&mut self.ahead, next.transpose()?))
    }

    /// The next pair whose key begins with `id`, passing over pairs of decisions that are not there.
    fn next_of(&mut self, id: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, StoreError> {
        while let Some((key, _)) = &self.ahead {
            let prefix = &key[..id.len().min(key.len())];
            if prefix == id {
                return self.step();
            }
            let behind = match self.order {
                Order::Oldest => prefix < id,
                Order::Newest => prefix > id,
            };
            if !behind {
                return Ok(None);
            }
            self.step()?;
        }
        Ok(None)
    }
}

impl Store {
    /// Walks over the entries of `span`, calling `visit` with each until it says `false`.
    ///
    /// # Errors
    /// When the database fails. Entries whose decision cannot be read are set aside and passed over.
    pub fn walk(&self, span: &Span, order: Order, mut visit: impl FnMut(Entry) -> bool) -> Result<(), StoreError> {
        let trees = self.trees()?;
        let bounds = span.bounds();
        if Span::is_empty(&bounds) {
            return Ok(());
        }
        // A feedback's key is longer than its decision's, so the decision's excluded lower bound would not exclude it;
        // the merge passes over it.
        let mut decisions = Cursor::new(&trees.decisions, &bounds, order)?;
        let mut outcomes = Cursor::new(&trees.outcomes, &bounds, order)?;
        let mut feedback = Cursor::new(&trees.feedback, &bounds, order)?;
        while let Some((key, value)) = decisions.step()? {
            let Some(decision) = self.read::<DecisionRecord>(&trees, &trees.decisions, &key, &value) else {
                continue;
            };
            let outcome = self.outcome_of(&trees, &mut outcomes, &key)?;
            let feedback = self.feedback_of(&trees, &mut feedback, &key)?;
            if !visit(Entry { decision, outcome, feedback }) {
                break;
            }
        }
        Ok(())
    }

    fn outcome_of(&self, trees: &Trees, cursor: &mut Cursor, id: &[u8]) -> Result<Option<OutcomeRecord>, StoreError> {
        Ok(match cursor.next_of(id)? {
            Some((key, value)) => self.read(trees, &trees.outcomes, &key, &value),
            None => None,
        })
    }

    fn feedback_of(&self, trees: &Trees, cursor: &mut Cursor, id: &[u8]) -> Result<Vec<FeedbackRecord>, StoreError> {
        let mut all = Vec::new();
        while let Some((key, value)) = cursor.next_of(id)? {
            all.extend(self.read::<FeedbackRecord>(trees, &trees.feedback, &key, &value));
        }
        all.sort_by_key(|record| record.seq);
        Ok(all)
    }

    /// Time of the newest decision, in Unix milliseconds as its id tells it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn newest_ms(&self) -> Result<Option<i64>, StoreError> {
        let newest = self.trees()?.decisions.last()?;
        Ok(newest.and_then(|(key, _)| ms_of(&key)))
    }
}

/// The moment in a key, see [`key_at`].
pub(super) fn ms_of(key: &[u8]) -> Option<i64> {
    let first: [u8; 8] = key.get(..8)?.try_into().ok()?;
    Some((u64::from_be_bytes(first) >> 16) as i64)
}
