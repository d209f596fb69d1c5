//! Walking the decision log: decisions in order of time, each joined with its outcome and feedback.
//!
//! All trees are ordered by decision id, so it is a merge join: one pass over each, no look-ups.

use std::cmp::Ordering;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use super::block::{self, Block, Row};
use super::db::Store;
use super::error::StoreError;
use super::record::{AHEAD_MS, DecisionRecord, Entry, FeedbackRecord, OutcomeRecord};
use super::trees::Trees;
use crate::protocol::DecisionId;

/// The direction of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Oldest,
    /// Newest first.
    Newest,
}

/// A range of decisions, by Unix milliseconds and by id; all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before this.
    pub from_ms: Option<i64>,
    /// Before this.
    pub until_ms: Option<i64>,
    /// Only ids up to this one.
    pub until_id: Option<DecisionId>,
    /// Only ids before this one: for the next page, newest first.
    pub before: Option<DecisionId>,
    /// Only ids after this one: for the next page, oldest first.
    pub after: Option<DecisionId>,
}

/// The smallest key at a time: the first 48 bits of a UUIDv7 are its Unix milliseconds.
pub(super) fn key_at(ms: i64) -> [u8; 16] {
    let ms = u64::try_from(ms).unwrap_or(0).min((1 << 48) - 1);
    ((u128::from(ms)) << 80).to_be_bytes()
}

impl Span {
    /// Everything up to `now_ms`. Entries that a wrong clock dated further ahead are left out, or they would stay the
    /// newest until the clock has caught up.
    pub fn up_to(now_ms: i64) -> Self {
        Self { until_ms: Some(now_ms + AHEAD_MS), ..Self::default() }
    }

    fn bounds(&self) -> Bounds {
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
        // The smallest key after all that belong to the id: an outcome's key equals the decision's, a feedback's is
        // longer.
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

    /// Whether the bounds exclude everything; sled must not be given a reversed range.
    fn is_empty(bounds: &Bounds) -> bool {
        match bounds {
            (Bound::Included(lower), Bound::Excluded(upper)) => lower >= upper,
            (Bound::Excluded(lower), Bound::Excluded(upper)) => lower >= upper,
            _ => false,
        }
    }
}

/// A range of keys.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A walk over one tree in either direction, with the next pair read ahead.
pub(super) struct Cursor {
    iter: sled::Iter,
    order: Order,
    pub(super) ahead: Option<(sled::IVec, sled::IVec)>,
}

impl Cursor {
    pub(super) fn new(tree: &sled::Tree, bounds: &Bounds, order: Order) -> Result<Self, StoreError> {
        let iter = tree.range::<Vec<u8>, _>((bounds.0.clone(), bounds.1.clone()));
        let mut cursor = Self { iter, order, ahead: None };
        cursor.step()?;
        Ok(cursor)
    }

    pub(super) fn step(&mut self) -> Result<Option<(sled::IVec, sled::IVec)>, StoreError> {
        let next = match self.order {
            Order::Oldest => self.iter.next(),
            Order::Newest => self.iter.next_back(),
        };
        Ok(std::mem::replace(&mut self.ahead, next.transpose()?))
    }

    /// The next pair whose key begins with `id`; skips pairs of decisions that do not exist.
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

/// All decisions in order, merged from single records and blocks.
struct Decisions<'a> {
    store: &'a Store,
    trees: &'a Trees,
    bounds: &'a Bounds,
    alone: Cursor,
    blocks: Cursor,
    /// The current block, and its remaining rows.
    open: Option<(Arc<Block>, Range<usize>)>,
}

/// A decision's single record, or its row in a block. It has both where it was written again; then the single record
/// counts.
struct Found {
    id: block::Key,
    alone: Option<sled::IVec>,
    row: Option<(Arc<Block>, usize)>,
}

impl Found {
    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(block, at)| block.row(*at))
    }
}

impl<'a> Decisions<'a> {
    fn new(store: &'a Store, trees: &'a Trees, bounds: &'a Bounds, order: Order) -> Result<Self, StoreError> {
        let alone = Cursor::new(&trees.decisions, bounds, order)?;
        // A block that begins before the bounds may reach into them.
        let lower = match &bounds.0 {
            Bound::Included(key) | Bound::Excluded(key) => match trees.block_before(key)? {
                Some((before, _)) => Bound::Included(before.to_vec()),
                None => bounds.0.clone(),
            },
            Bound::Unbounded => Bound::Unbounded,
        };
        let blocks = Cursor::new(&trees.blocks, &(lower, bounds.1.clone()), order)?;
        Ok(Self { store, trees, bounds, alone, blocks, open: None })
    }

    /// The next row, which stays the next until [`Decisions::pass`]; opens the next block at the end of one.
    fn next_row(&mut self) -> Result<Option<(Arc<Block>, usize)>, StoreError> {
        let bounds = (self.bounds.0.as_ref().map(|it| &it[..]), self.bounds.1.as_ref().map(|it| &it[..]));
        loop {
            while let Some((block, rows)) = &mut self.open {
                let next = match self.blocks.order {
                    Order::Oldest => rows.clone().next(),
                    Order::Newest => rows.clone().next_back(),
                };
                match next {
                    Some(at) if RangeBounds::<[u8]>::contains(&bounds, &block.row(at).id[..]) => {
                        return Ok(Some((Arc::clone(block), at)));
                    }
                    Some(_) => self.pass(),
                    None => self.open = None,
                }
            }
            let Some((key, value)) = self.blocks.step()? else { return Ok(None) };
            let block = self.store.open_block(self.trees, &key, &value);
            self.open = block.map(|block| {
                let rows = 0..block.len();
                (Arc::new(block), rows)
            });
        }
    }

    /// Skips the row that [`Decisions::next_row`] returned.
    fn pass(&mut self) {
        if let Some((_, rows)) = &mut self.open {
            let _passed = match self.blocks.order {
                Order::Oldest => rows.next(),
                Order::Newest => rows.next_back(),
            };
        }
    }

    fn next(&mut self) -> Result<Option<Found>, StoreError> {
        let row = self.next_row()?;
        let in_block = row.as_ref().map(|(block, at)| block.row(*at).id);
        let alone = self.alone.ahead.as_ref().map(|(key, _)| &key[..]);
        let order = match (alone, in_block.as_ref()) {
            (None, None) => return Ok(None),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(alone), Some(in_block)) if self.alone.order == Order::Oldest => alone.cmp(&in_block[..]),
            (Some(alone), Some(in_block)) => in_block[..].cmp(alone),
        };
        let row = row.filter(|_| order != Ordering::Less);
        if row.is_some() {
            self.pass();
        }
        let alone = if order == Ordering::Greater { None } else { self.alone.step()? };
        let id = alone.as_ref().map(|(key, _)| key[..].try_into().unwrap_or_default()).or(in_block);
        Ok(id.map(|id| Found { id, alone: alone.map(|(_, value)| value), row }))
    }
}

impl Store {
    /// Walks over the entries of `span`, calling `visit` with each until it returns `false`. Entries whose decision
    /// cannot be read are set aside and skipped.
    ///
    /// # Errors
    /// When the database fails.
    pub fn walk(&self, span: &Span, order: Order, mut visit: impl FnMut(Entry) -> bool) -> Result<(), StoreError> {
        let trees = self.trees()?;
        let _still = self.hold_still();
        let bounds = span.bounds();
        if Span::is_empty(&bounds) {
            return Ok(());
        }
        // A feedback's key is longer than its decision's, so an excluded lower bound does not exclude it; the merge
        // skips it.
        let mut decisions = Decisions::new(self, &trees, &bounds, order)?;
        let mut outcomes = Cursor::new(&trees.outcomes, &bounds, order)?;
        let mut feedback = Cursor::new(&trees.feedback, &bounds, order)?;
        while let Some(found) = decisions.next()? {
            let (key, row) = (&found.id, found.row());
            let Some(decision) = self.decision_in(&trees, key, found.alone.as_deref(), row) else { continue };
            let end = outcomes.next_of(key)?.map(|(_, value)| value);
            let outcome = self.outcome_in(&trees, key, end.as_deref(), row);
            let feedback = self.feedback_of(&trees, &mut feedback, key)?;
            if !visit(Entry { decision, outcome, feedback }) {
                break;
            }
        }
        Ok(())
    }

    /// A decision: its single record counts, else its row in a block.
    pub(super) fn decision_in(
        &self,
        trees: &Trees,
        key: &[u8],
        alone: Option<&[u8]>,
        row: Option<Row<'_>>,
    ) -> Option<DecisionRecord> {
        match (alone, row) {
            (Some(value), _) => self.read(trees, &trees.decisions, key, value),
            (None, Some(row)) => self.read_row(trees, &trees.decisions, key, row.decision),
            (None, None) => None,
        }
    }

    /// An outcome: its single record counts, else that of its decision's row in a block.
    pub(super) fn outcome_in(
        &self,
        trees: &Trees,
        key: &[u8],
        alone: Option<&[u8]>,
        row: Option<Row<'_>>,
    ) -> Option<OutcomeRecord> {
        match (alone, row.and_then(|row| row.outcome)) {
            (Some(value), _) => self.read(trees, &trees.outcomes, key, value),
            (None, Some(bytes)) => self.read_row(trees, &trees.outcomes, key, bytes),
            (None, None) => None,
        }
    }

    fn feedback_of(&self, trees: &Trees, cursor: &mut Cursor, id: &[u8]) -> Result<Vec<FeedbackRecord>, StoreError> {
        let mut all = Vec::new();
        while let Some((key, value)) = cursor.next_of(id)? {
            all.extend(self.read::<FeedbackRecord>(trees, &trees.feedback, &key, &value));
        }
        all.sort_by_key(|record| record.seq);
        Ok(all)
    }

    /// Walks over the entries before `before` that have feedback, newest first, calling `visit` with each until it
    /// returns `false`. Where few are judged this is far quicker than a walk over all.
    ///
    /// # Errors
    /// When the database fails.
    pub fn walk_judged(&self, before: DecisionId, mut visit: impl FnMut(Entry) -> bool) -> Result<(), StoreError> {
        let trees = self.trees()?;
        let mut last: Option<Vec<u8>> = None;
        for key in trees.feedback.range(..before.0.into_bytes()).keys().rev() {
            let key = key?;
            let Some(id) = key.get(..16).filter(|id| last.as_deref() != Some(id)) else { continue };
            last = Some(id.to_vec());
            let found = uuid::Uuid::from_slice(id).ok().map(DecisionId);
            let entry = found.map(|id| self.entry(id)).transpose()?.flatten();
            if entry.is_some_and(|entry| !visit(entry)) {
                break;
            }
        }
        Ok(())
    }

    /// Time of the newest decision, in Unix milliseconds as its id tells it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn newest_ms(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.trees()?.newest()?.and_then(|key| ms_of(&key)))
    }
}

/// The time in a key, Unix milliseconds; see [`key_at`].
pub(super) fn ms_of(key: &[u8]) -> Option<i64> {
    let first: [u8; 8] = key.get(..8)?.try_into().ok()?;
    Some((u64::from_be_bytes(first) >> 16) as i64)
}
