//! What can be read of a damaged database, taken over into a new one.
//!
//! A database may open although a page in its middle cannot be read: sled reads it when it is needed, and no walk goes
//! past it. So each tree is walked from both ends, and lost is what is on the page, or between several of them.

use std::path::Path;

use super::error::StoreError;
use super::opening::open_mended;
use super::trees::Trees;
use crate::config;

/// What is said of a database of which something cannot be read.
pub(super) const DAMAGED: &str = "a part of it cannot be read; the rest was taken over, as far as there is room";

/// Entries that are written at once.
const BATCH: usize = 500;

/// Copies what can be read of the database in `path` to another, if `room` bytes are enough for it; the number of
/// entries.
///
/// # Errors
///
/// When the other one cannot be written.
pub(super) fn take_over(path: &Path, to: &Trees, room: usize, settings: &config::Store) -> Result<usize, StoreError> {
    let size = path.join("db").metadata().map_or(0, |file| file.len());
    if usize::try_from(size).is_ok_and(|size| size > room) {
        return Ok(0);
    }
    let Ok(from) = open_mended(path, settings) else { return Ok(0) };
    let mut taken = 0;
    for name in from.db.tree_names() {
        let Ok(old) = from.db.open_tree(&name) else { continue };
        taken += copy(&old, &to.db.open_tree(&name)?)?;
    }
    to.flush()?;
    Ok(taken)
}

/// Copies what a walk from the beginning finds, and, where that ends at damage, one from the end.
fn copy(old: &sled::Tree, new: &sled::Tree) -> Result<usize, StoreError> {
    let mut writer = Writer { tree: new, batch: sled::Batch::default(), waiting: 0, written: 0 };
    let mut last = None;
    let mut is_whole = true;
    for entry in old.iter() {
        let Ok((key, value)) = entry else {
            is_whole = false;
            break;
        };
        writer.write(&key, &value)?;
        last = Some(key);
    }
    if !is_whole {
        let behind = old.iter().rev().map_while(Result::ok).take_while(|(key, _)| Some(key) > last.as_ref());
        for (key, value) in behind {
            writer.write(&key, &value)?;
        }
    }
    writer.finish()
}

/// Writes entries in batches.
struct Writer<'a> {
    tree: &'a sled::Tree,
    batch: sled::Batch,
    waiting: usize,
    written: usize,
}

impl Writer<'_> {
    fn write(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.batch.insert(key, value);
        self.waiting += 1;
        if self.waiting == BATCH { self.put() } else { Ok(()) }
    }

    fn put(&mut self) -> Result<(), StoreError> {
        self.tree.apply_batch(std::mem::take(&mut self.batch))?;
        self.written += std::mem::take(&mut self.waiting);
        Ok(())
    }

    fn finish(mut self) -> Result<usize, StoreError> {
        self.put()?;
        Ok(self.written)
    }
}
