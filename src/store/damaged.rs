//! Records that cannot be read: a reader that comes upon one moves it to a tree of its own, under its tree's name, and
//! counts it.

use serde::de::DeserializeOwned;

use super::block::{self, Block};
use super::db::Store;
use super::encoding;
use super::trees::{BLOCKS, Trees};

impl Store {
    /// Decodes a value; an unreadable one is moved to the damaged records and counted.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        trees: &Trees,
        tree: &sled::Tree,
        key: &[u8],
        value: &[u8],
    ) -> Option<T> {
        match encoding::decode(value) {
            Ok(record) => Some(record),
            Err(error) => {
                self.set_aside(trees, tree, key, value, &error);
                None
            }
        }
    }

    /// Unpacks a block; an unreadable one is moved to the damaged records, and all its records are counted.
    pub(super) fn open_block(&self, trees: &Trees, key: &[u8], value: &[u8]) -> Option<Block> {
        match Block::open(value) {
            Ok(block) => Some(block),
            Err(error) => {
                self.set_aside(trees, &trees.blocks, key, value, &error);
                None
            }
        }
    }

    /// Decodes a record of a block; an unreadable one is copied to the damaged records of `tree` and counted, once.
    pub(super) fn read_row<T: DeserializeOwned>(
        &self,
        trees: &Trees,
        tree: &sled::Tree,
        key: &[u8],
        bytes: &[u8],
    ) -> Option<T> {
        match encoding::read(bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                let place = damaged_key(tree, key);
                if matches!(trees.damaged.contains_key(&place), Ok(false)) {
                    self.set_aside(trees, tree, key, &encoding::alone(bytes), &error);
                }
                None
            }
        }
    }

    /// Not while the disk is full: the next reader comes upon it again.
    fn set_aside(&self, trees: &Trees, tree: &sled::Tree, key: &[u8], value: &[u8], error: &encoding::DecodeError) {
        if self.find_room(value.len()).is_err() {
            return;
        }
        let name = tree.name();
        let place = damaged_key(tree, key);
        let records = records_in(&place, value);
        tracing::warn!(tree = %String::from_utf8_lossy(&name), records, %error, "A stored record cannot be read and is set aside");
        // In this order a crash between the two leaves the record in both places, and the next reader moves it again.
        if trees.damaged.insert(place, value).is_ok()
            && let Ok(gone) = tree.remove(key)
        {
            // Nothing is freed for a record of a block: it stays in the block.
            self.note_freed(gone.map_or(0, |gone| gone.len() as u64));
            self.note_damaged(records);
        }
    }
}

fn damaged_key(tree: &sled::Tree, key: &[u8]) -> Vec<u8> {
    [&tree.name()[..], &[0], key].concat()
}

/// Number of records in a value that was set aside.
fn records_in(place: &[u8], value: &[u8]) -> u64 {
    if place.starts_with(BLOCKS.as_bytes()) { block::claimed(value) as u64 } else { 1 }
}

/// Number of records that were set aside.
pub(super) fn count_damaged(trees: &Trees) -> u64 {
    trees.damaged.iter().flatten().map(|(place, value)| records_in(&place, &value)).sum()
}
