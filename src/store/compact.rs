//! Compaction: single records move into blocks once they have settled, and small blocks are merged into full ones.
//!
//! A decision that came alone, and an outcome that came after its decision was written, are single records at first
//! (see `Store::append`), and each costs the database as much as a whole block. Ten seconds after a decision most
//! answers are complete, after two minutes nearly all, after twenty minutes also the slowest agent's: so three
//! [`Pass`]es follow the log at these distances. Each continues where it stopped, in order of ids, one slice at a time:
//!
//! 1. The next **source** is a block with all single records within its range, or the single records of one id between
//!    blocks.
//! 2. The sources' rows fill a **group**; a full group is written as one block, which replaces its sources. A block
//!    that is full enough, without single records within its range, ends the group and stays as it is.
//! 3. The last group is not full yet: its sources stay, and the next slice begins with them.
//! 4. The new blocks are flushed, and only then the single records are deleted.
//!
//! **Crashes** between the two leave a record in both places with the same content; the pass handles it again, since
//! its position is saved last. **Readers** that walk the log would miss records that move meanwhile: while there is
//! one, compaction waits for its next turn ([`Store::try_to_move`]). A look-up of one decision reads single records
//! first and finds it in either place.
//!
//! Outcomes without a decision stay single records, and so do records that cannot be unpacked, until a reader sets them
//! aside.

use std::collections::BTreeMap;
use std::ops::Bound;

use sled::{Batch, IVec};

use super::block::{self, Block, Builder, Key};
use super::db::Store;
use super::encoding;
use super::error::StoreError;
use super::join::{Bounds, Cursor, Order, key_at};
use super::retention::DAY_MS;
use super::trees::Trees;

/// Most rows that one slice unpacks; about ten milliseconds of the writer's time.
const MAX_ROWS: usize = 1024;

/// Most unpacked bytes that one slice packs: a multiple must be free on the disk.
const MAX_BYTES: usize = 1 << 20;

/// Most sources that one slice looks at.
const MAX_SOURCES: usize = 8192;

/// The result of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compacted {
    /// Nothing settled is left to move.
    Done,
    /// There is more to do.
    More,
    /// A reader walks the log: to be tried again.
    Busy,
}

/// Compacts the log as it grows. Only the log's writer may have one.
#[derive(Debug)]
pub struct Compactor {
    passes: [Pass; 3],
}

/// One pass over the log, at a distance from its end.
#[derive(Debug)]
struct Pass {
    /// The setting that holds its position.
    name: &'static str,
    /// Age from which it handles decisions, milliseconds.
    behind_ms: i64,
    /// The first id that it has not handled.
    from: Key,
}

impl Compactor {
    /// Continues where the last process stopped.
    ///
    /// # Errors
    /// When the database fails.
    pub fn resume(store: &Store) -> Result<Self, StoreError> {
        let trees = store.trees()?;
        let pass = |name: &'static str, behind_ms| -> Result<Pass, StoreError> {
            let from = trees.settings.get(name)?.and_then(|key| Key::try_from(&key[..]).ok());
            Ok(Pass { name, behind_ms, from: from.unwrap_or_default() })
        };
        let first = pass("compaction.first", 10_000)?;
        Ok(Self { passes: [first, pass("compaction.second", 120_000)?, pass("compaction.third", 1_200_000)?] })
    }

    /// Takes one slice of each pass.
    ///
    /// # Errors
    /// When the database fails.
    pub fn step(&mut self, store: &Store, now_ms: i64) -> Result<Compacted, StoreError> {
        let mut all = Compacted::Done;
        for pass in &mut self.passes {
            let Some(_moving) = store.try_to_move() else { return Ok(Compacted::Busy) };
            if pass.step(store, now_ms)? {
                all = Compacted::More;
            }
        }
        Ok(all)
    }
}

impl Pass {
    /// Takes one slice; returns whether there is more.
    fn step(&mut self, store: &Store, now_ms: i64) -> Result<bool, StoreError> {
        let trees = store.trees()?;
        if self.from > key_at(now_ms.saturating_add(DAY_MS)) {
            // The clock was ahead for a while; newer decisions must not wait until it has caught up.
            let newest = trees.block_before(&key_at(now_ms))?;
            self.from = newest.and_then(|(key, _)| Key::try_from(&key[..]).ok()).unwrap_or_default();
        }
        // A new block must not overlap one that began before, from an import say.
        if let Some((key, value)) = trees.block_before(&self.from)?
            && block::last_id(&value).is_some_and(|last| last >= self.from)
        {
            self.from = Key::try_from(&key[..]).unwrap_or(self.from);
        }
        let end = key_at(now_ms.saturating_sub(self.behind_ms));
        if self.from >= end {
            return Ok(false);
        }
        let mut sources = Sources::new(store, &trees, self.from, end)?;
        let mut slice = Slice { from: self.from, ..Slice::default() };
        let mut looks = 0;
        let more = loop {
            if slice.rows >= MAX_ROWS || slice.bytes >= MAX_BYTES || looks >= MAX_SOURCES {
                break true;
            }
            let Some(source) = sources.next()? else { break false };
            looks += 1;
            slice.take(source)?;
        };
        slice.end()?;
        let from = slice.from;
        slice.apply(store, &trees)?;
        if from != self.from {
            self.from = from;
            store.trees_to_write(from.len())?.settings.insert(self.name, &from)?;
        }
        Ok(more)
    }
}

/// The single records of one id.
#[derive(Default)]
struct Alone {
    decision: Option<IVec>,
    outcome: Option<IVec>,
}

/// A block with the single records within its range, or the single records of one id.
struct Source {
    first: Key,
    last: Key,
    block: Option<IVec>,
    alone: BTreeMap<Key, Alone>,
}

/// All sources from an id on that end before `end`.
struct Sources<'a> {
    store: &'a Store,
    trees: &'a Trees,
    end: Key,
    blocks: Cursor,
    decisions: Cursor,
    outcomes: Cursor,
}

impl<'a> Sources<'a> {
    fn new(store: &'a Store, trees: &'a Trees, from: Key, end: Key) -> Result<Self, StoreError> {
        let bounds: Bounds = (Bound::Included(from.to_vec()), Bound::Excluded(end.to_vec()));
        let cursor = |tree| Cursor::new(tree, &bounds, Order::Oldest);
        let (blocks, decisions, outcomes) =
            (cursor(&trees.blocks)?, cursor(&trees.decisions)?, cursor(&trees.outcomes)?);
        Ok(Self { store, trees, end, blocks, decisions, outcomes })
    }

    fn next(&mut self) -> Result<Option<Source>, StoreError> {
        let key_of = |cursor: &Cursor| cursor.ahead.as_ref().and_then(|(key, _)| Key::try_from(&key[..]).ok());
        while let Some((key, value)) = &self.blocks.ahead {
            let alone = [&self.decisions, &self.outcomes].into_iter().filter_map(key_of).min();
            if alone.is_some_and(|alone| alone[..] < key[..]) {
                break;
            }
            let (Ok(first), Some(last)) = (Key::try_from(&key[..]), block::last_id(value)) else {
                let _set_aside = self.store.open_block(self.trees, key, value);
                self.blocks.step()?;
                continue;
            };
            if last >= self.end {
                return Ok(None);
            }
            let block = self.blocks.step()?.map(|(_, value)| value);
            return Ok(Some(Source { first, last, block, alone: self.alone_until(last)? }));
        }
        let Some(first) = [&self.decisions, &self.outcomes].into_iter().filter_map(key_of).min() else {
            return Ok(None);
        };
        Ok(Some(Source { first, last: first, block: None, alone: self.alone_until(first)? }))
    }

    fn alone_until(&mut self, last: Key) -> Result<BTreeMap<Key, Alone>, StoreError> {
        let mut alone: BTreeMap<Key, Alone> = BTreeMap::new();
        for (cursor, is_decision) in [(&mut self.decisions, true), (&mut self.outcomes, false)] {
            while cursor.ahead.as_ref().is_some_and(|(key, _)| key[..] <= last[..]) {
                let Some((key, value)) = cursor.step()? else { break };
                let Ok(id) = Key::try_from(&key[..]) else { continue };
                let here = alone.entry(id).or_default();
                *(if is_decision { &mut here.decision } else { &mut here.outcome }) = Some(value);
            }
        }
        Ok(alone)
    }
}

/// The group under construction, and the values that its block will replace, with their lengths.
#[derive(Default)]
struct Group {
    sources: usize,
    /// Whether it begins or ends within a source, whose other rows are in another group.
    cut: bool,
    /// Its first id.
    from: Key,
    blocks: Vec<(Key, usize)>,
    decisions: Vec<(Key, usize)>,
    outcomes: Vec<(Key, usize)>,
}

/// The work of one slice.
#[derive(Default)]
struct Slice {
    /// The first id of the next slice.
    from: Key,
    rows: usize,
    /// Unpacked bytes of the rows.
    bytes: usize,
    builder: Builder,
    group: Group,
    blocks: Batch,
    decisions: Batch,
    outcomes: Batch,
    written: usize,
    freed: usize,
}

impl Slice {
    fn take(&mut self, source: Source) -> Result<(), StoreError> {
        let Source { first, last, block, mut alone } = source;
        let after = (u128::from_be_bytes(last).saturating_add(1)).to_be_bytes();
        let opened = match &block {
            Some(value) if alone.is_empty() && !block::is_roomy(value) => None,
            // A block that cannot be unpacked ends the group too; the next reader sets it aside.
            Some(value) => Block::open(value).ok(),
            // An outcome without a decision.
            None if alone.values().all(|it| it.decision.is_none()) => {
                if self.group.sources == 0 {
                    self.from = after;
                }
                return Ok(());
            }
            None => None,
        };
        if block.is_some() && opened.is_none() {
            self.close()?;
            self.from = after;
            return Ok(());
        }
        self.group.sources += 1;
        if self.group.sources == 1 {
            self.group.from = first;
        }
        self.group.blocks.extend(block.map(|value| (first, value.len())));
        let rows = opened.as_ref().map_or(0, Block::len);
        let mut ids: Vec<Key> = (0..rows).filter_map(|at| opened.as_ref().map(|block| block.row(at).id)).collect();
        ids.extend(alone.keys());
        ids.sort_unstable();
        ids.dedup();
        for (at, &id) in ids.iter().enumerate() {
            let row = opened.as_ref().and_then(|block| block.find(&id));
            let here = alone.remove(&id).unwrap_or_default();
            let [decision, outcome] = [&here.decision, &here.outcome]
                .map(|value| value.as_ref().and_then(|value| encoding::plain(value).ok()));
            if let Some(plain) = decision.as_deref().or(row.map(|row| row.decision)) {
                self.builder.push_plain(id, plain, outcome.as_deref().or(row.and_then(|row| row.outcome)))?;
                self.rows += 1;
                self.bytes += plain.len();
                let moved =
                    |value: &Option<IVec>, is: bool| value.as_ref().filter(|_| is).map(|value| (id, value.len()));
                self.group.decisions.extend(moved(&here.decision, decision.is_some()));
                self.group.outcomes.extend(moved(&here.outcome, outcome.is_some()));
            }
            if self.builder.is_full() {
                let next = ids.get(at + 1).copied();
                self.group.cut |= next.is_some();
                self.close()?;
                self.from = after;
                if let Some(from) = next {
                    self.group = Group { sources: 1, cut: true, from, ..Group::default() };
                }
            }
        }
        if self.builder.len() == 0 {
            self.group = Group::default();
            self.from = after;
        }
        Ok(())
    }

    /// Writes the group as a block, if that changes anything.
    fn close(&mut self) -> Result<(), StoreError> {
        let group = std::mem::take(&mut self.group);
        let changes = group.sources > 1 || group.cut || !(group.decisions.is_empty() && group.outcomes.is_empty());
        if !changes {
            self.builder.clear();
            return Ok(());
        }
        for (key, length) in group.blocks {
            self.blocks.remove(&key);
            self.freed += length;
        }
        for (batch, moved) in [(&mut self.decisions, group.decisions), (&mut self.outcomes, group.outcomes)] {
            for (id, length) in moved {
                batch.remove(&id);
                self.freed += length;
            }
        }
        // After the removals: the first replaced block may have the same key.
        if let Some((key, value)) = self.builder.finish()? {
            self.written += value.len();
            self.blocks.insert(&key, value);
        }
        Ok(())
    }

    /// Leaves the last group to the next slice, unless its first rows are of a source that this slice replaces: then it
    /// is written.
    fn end(&mut self) -> Result<(), StoreError> {
        if self.group.sources > 0 {
            self.from = self.group.from;
        }
        if self.group.cut { self.close() } else { Ok(()) }
    }

    fn apply(self, store: &Store, trees: &Trees) -> Result<(), StoreError> {
        if self.written == 0 {
            return Ok(());
        }
        store.find_room(self.written + self.freed)?;
        trees.blocks.apply_batch(self.blocks)?;
        trees.flush()?;
        trees.decisions.apply_batch(self.decisions)?;
        trees.outcomes.apply_batch(self.outcomes)?;
        store.note_written(self.written as u64);
        store.note_freed(self.freed as u64);
        store.save_log_size()
    }
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
