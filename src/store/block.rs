//! Many decisions as one value: the database's overhead for each value is larger than a packed decision.
//!
//! A **block** has decisions in order of their ids, each with its outcome where that is known: those of one round of
//! the writer, or what [`compact`](super::compact) put together later. Its key is the id of its first decision. Blocks
//! never overlap, so the only block that can have a decision is the last one that does not begin after it.
//!
//! ```text
//! version (1 byte: 3)  decisions (u16)  id of the last (16 bytes)  zstd frame, with the dictionary, of:
//!     per decision: the decision, its outcome (may be absent)          as `encoding` writes them, unpacked
//!     per decision: id (16 bytes)  length of the decision (u32)  length of the outcome (u32; 0 = absent)
//! ```
//!
//! All numbers are big-endian. The head before the frame is enough to find and to delete blocks.

use std::ops::Range;

use serde::Serialize;

use super::encoding::{self, DecodeError, EncodeError};

/// The version byte of a block; single records have lower ones, see [`encoding`].
const VERSION: u8 = 3;

/// Most decisions in a block. Reading one of them unpacks them all, and more would not pack better.
pub(super) const MAX_DECISIONS: usize = 64;

/// Unpacked bytes of records from which a block is full. sled writes a page of up to 16 values at once and keeps pages
/// beyond an eighth of a megabyte in files of their own.
const FULL_BYTES: usize = 24 << 10;

/// Bytes before the frame.
const HEAD: usize = 1 + 2 + ID;

const ID: usize = 16;

/// Bytes of a decision's entry in the table.
const PLACE: usize = ID + 4 + 4;

/// An id as it stands in keys.
pub(super) type Key = [u8; ID];

/// A block under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    records: Vec<u8>,
    table: Vec<u8>,
}

impl Builder {
    /// Decisions in it.
    pub fn len(&self) -> usize {
        self.table.len() / PLACE
    }

    /// Whether the next decision must go into another block.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_DECISIONS || self.records.len() >= FULL_BYTES
    }

    /// Appends a decision and its outcome. Ids must rise.
    pub fn push<D: Serialize, O: Serialize>(
        &mut self,
        id: Key,
        decision: &D,
        outcome: Option<&O>,
    ) -> Result<(), EncodeError> {
        let began = self.records.len();
        encoding::append(&mut self.records, decision)?;
        let middle = self.records.len();
        if let Some(outcome) = outcome {
            encoding::append(&mut self.records, outcome)?;
        }
        self.note(id, began, middle)
    }

    /// Appends a decision and its outcome, both encoded by [`encoding::append`]. Ids must rise.
    pub fn push_plain(&mut self, id: Key, decision: &[u8], outcome: Option<&[u8]>) -> Result<(), EncodeError> {
        let began = self.records.len();
        self.records.extend_from_slice(decision);
        let middle = self.records.len();
        self.records.extend_from_slice(outcome.unwrap_or_default());
        self.note(id, began, middle)
    }

    /// Adds the table's entry for what was just appended to the records.
    fn note(&mut self, id: Key, began: usize, middle: usize) -> Result<(), EncodeError> {
        self.table.extend(id);
        for length in [middle - began, self.records.len() - middle] {
            self.table.extend(u32::try_from(length).map_err(|_| EncodeError::TooLarge)?.to_be_bytes());
        }
        Ok(())
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.records.clear();
        self.table.clear();
    }

    /// The block's key and value, and the builder empty again; `None` where nothing was appended.
    pub fn finish(&mut self) -> Result<Option<(Key, Vec<u8>)>, EncodeError> {
        let count = u16::try_from(self.len()).map_err(|_| EncodeError::TooLarge)?;
        let Some((first, last)) = self.table.first_chunk::<ID>().copied().zip(self.table.last_chunk::<PLACE>())
        else {
            return Ok(None);
        };
        let mut value = vec![VERSION];
        value.extend(count.to_be_bytes());
        value.extend(&last[..ID]);
        self.records.append(&mut self.table);
        encoding::pack(&self.records, &mut value)?;
        self.clear();
        Ok(Some((first, value)))
    }
}

/// The id of the last decision in a block, read from its head.
pub(super) fn last_id(value: &[u8]) -> Option<Key> {
    head(value).ok().map(|(_, last)| last)
}

/// The number of decisions that a block's head claims, whether the block can be read or not; at least 1.
pub(super) fn claimed(value: &[u8]) -> usize {
    head(value).map_or(1, |(count, _)| count.clamp(1, MAX_DECISIONS))
}

/// Whether a block is so small that it should be merged with others.
pub(super) fn is_roomy(value: &[u8]) -> bool {
    let bytes = value.get(HEAD..).and_then(encoding::plain_size);
    claimed(value) < MAX_DECISIONS / 2 && bytes.is_some_and(|bytes| bytes < FULL_BYTES / 2)
}

fn head(value: &[u8]) -> Result<(usize, Key), DecodeError> {
    let version = *value.first().ok_or(DecodeError::Empty)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let count = value.get(1..3).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    let last = value.get(3..HEAD).and_then(|bytes| bytes.try_into().ok());
    count.map(usize::from).zip(last).ok_or(DecodeError::Block("its head is cut off"))
}

/// Where a decision and its outcome are in a block's records.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    id: Key,
    decision: Range<usize>,
    outcome: Range<usize>,
}

/// A decision in a block, encoded for [`encoding::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// The decision's id.
    pub id: Key,
    /// The decision.
    pub decision: &'a [u8],
    /// Its outcome, where known.
    pub outcome: Option<&'a [u8]>,
}

/// A block, unpacked.
#[derive(Debug)]
pub(super) struct Block {
    records: Vec<u8>,
    places: Vec<Place>,
}

impl Block {
    /// Unpacks a block's value.
    ///
    /// # Errors
    /// When it is not a block, or its parts do not fit each other.
    pub fn open(value: &[u8]) -> Result<Self, DecodeError> {
        let (count, last) = head(value)?;
        let records = encoding::unpack(&value[HEAD..])?;
        let end = records.len().checked_sub(count * PLACE).ok_or(DecodeError::Block("its table is cut off"))?;
        let mut places: Vec<Place> = Vec::with_capacity(count);
        let mut at = 0;
        for bytes in records[end..].chunks_exact(PLACE) {
            let (id, lengths) = bytes.split_at(ID);
            let id: Key = id.try_into().unwrap_or_default();
            let (decision, outcome) = lengths.split_at(4);
            let mut next = |length: &[u8]| {
                let began = at;
                at += u32::from_be_bytes(length.try_into().unwrap_or_default()) as usize;
                began..at
            };
            let (decision, outcome) = (next(decision), next(outcome));
            if places.last().is_some_and(|before| before.id >= id) {
                return Err(DecodeError::Block("its ids are out of order"));
            }
            places.push(Place { id, decision, outcome });
        }
        if at != end || places.last().is_none_or(|place| place.id != last) {
            return Err(DecodeError::Block("its table does not fit"));
        }
        Ok(Self { records, places })
    }

    /// Decisions in it.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The decision at index `at`, which must be below [`Block::len`].
    pub fn row(&self, at: usize) -> Row<'_> {
        let Place { id, decision, outcome } = self.places[at].clone();
        let outcome = (!outcome.is_empty()).then(|| &self.records[outcome]);
        Row { id, decision: &self.records[decision], outcome }
    }

    /// A decision by its id.
    pub fn find(&self, id: &[u8]) -> Option<Row<'_>> {
        self.places.binary_search_by(|place| place.id[..].cmp(id)).ok().map(|at| self.row(at))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    type Records = BTreeMap<Key, (String, Option<Vec<u8>>)>;

    fn block(records: &Records) -> (Key, Vec<u8>) {
        let mut builder = Builder::default();
        for (id, (decision, outcome)) in records {
            builder.push(*id, decision, outcome.as_ref()).unwrap();
        }
        let made = builder.finish().unwrap().unwrap();
        assert!(builder.finish().unwrap().is_none(), "it is empty again");
        made
    }

    fn records() -> impl Strategy<Value = Records> {
        btree_map(any::<Key>(), (any::<String>(), proptest::option::of(vec(any::<u8>(), 0..200))), 1..MAX_DECISIONS)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_went_in_comes_out(records in records(), other in any::<Key>()) {
            let (key, value) = block(&records);
            prop_assert_eq!(Some(&key), records.keys().next());
            prop_assert_eq!(last_id(&value), records.keys().next_back().copied());
            prop_assert_eq!(claimed(&value), records.len());
            let opened = Block::open(&value).unwrap();
            prop_assert_eq!(opened.len(), records.len());
            for (at, (id, (decision, outcome))) in records.iter().enumerate() {
                let row = opened.find(id).unwrap();
                prop_assert_eq!(row, opened.row(at));
                prop_assert_eq!(&encoding::read::<String>(row.decision).unwrap(), decision);
                let found = row.outcome.map(|bytes| encoding::read::<Vec<u8>>(bytes).unwrap());
                prop_assert_eq!(&found, outcome);
            }
            prop_assert_eq!(opened.find(&other).is_some(), records.contains_key(&other));
        }

        #[test]
        fn damage_is_an_error_or_a_block_that_holds_together(
            records in records(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX, cut in any::<prop::sample::Index>()
        ) {
            let (_, good) = block(&records);
            let mut bad = good.clone();
            bad[at.index(good.len())] ^= flip;
            if let Ok(opened) = Block::open(&bad) {
                let _all_there = (0..opened.len()).map(|at| opened.row(at).decision.len()).sum::<usize>();
            }
            prop_assert!((1..=MAX_DECISIONS).contains(&claimed(&bad)));
            prop_assert!(Block::open(&good[..cut.index(good.len())]).is_err());
        }
    }
}
