//! A cache of readings, bounded by bytes; the least recently used is evicted first.
//!
//! Each entry has the tick of its last use; a map from tick to key gives the oldest in logarithmic time, without a
//! linked list through a hash map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Reading;

/// Hash of a prompt.
pub(super) type Key = [u8; 32];

/// Bytes of an entry besides its reading: the key, twice, and the maps' slots.
const OVERHEAD: usize = 160;

/// Readings by prompt hash.
#[derive(Debug, Default)]
pub(super) struct Cache {
    limit: usize,
    bytes: usize,
    tick: u64,
    entries: HashMap<Key, Entry>,
    by_use: BTreeMap<u64, Key>,
}

#[derive(Debug)]
struct Entry {
    reading: Arc<Reading>,
    used: u64,
}

impl Cache {
    /// An empty cache of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The reading of a prompt seen before.
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Reading>> {
        let entry = self.entries.get_mut(key)?;
        self.tick += 1;
        self.by_use.remove(&entry.used);
        self.by_use.insert(self.tick, *key);
        entry.used = self.tick;
        Some(Arc::clone(&entry.reading))
    }

    /// Stores a reading, and evicts the least recently used ones for it.
    pub(super) fn put(&mut self, key: Key, reading: Arc<Reading>) {
        let size = reading.size() + OVERHEAD;
        if size > self.limit {
            return;
        }
        self.remove(&key);
        self.tick += 1;
        self.bytes += size;
        self.by_use.insert(self.tick, key);
        self.entries.insert(key, Entry { reading, used: self.tick });
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.reading.size() + OVERHEAD;
            }
        }
    }

    /// Empties the cache, as when its readings no longer hold.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Number of readings.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.reading.size() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(features: usize) -> Arc<Reading> {
        Arc::new(Reading {
            features: vec![0.0; features].into(),
            space: "test".into(),
            task: None,
            familiarity: 1.0,
            tokens: 1,
            truncated: false,
            cached: false,
            shortened: false,
            took: Duration::ZERO,
            estimates: Arc::default(),
        })
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let one = reading(16).size() + OVERHEAD;
        let mut cache = Cache::new(3 * one);
        for key in 0..3 {
            cache.put([key; 32], reading(16));
        }
        assert!(cache.get(&[0; 32]).is_some());
        cache.put([3; 32], reading(16));
        assert!(cache.get(&[1; 32]).is_none(), "used longest ago");
        assert!(cache.get(&[0; 32]).is_some() && cache.get(&[2; 32]).is_some() && cache.get(&[3; 32]).is_some());
        assert_eq!((cache.len(), cache.bytes), (3, 3 * one));
    }

    #[test]
    fn bytes_are_the_bound_whatever_the_entries_weigh() {
        let mut cache = Cache::new(20_000);
        for key in 0..200 {
            cache.put([key; 32], reading(usize::from(key) * 7));
            assert!(cache.bytes <= 20_000);
        }
        cache.put([201; 32], reading(100_000));
        assert!(cache.get(&[201; 32]).is_none(), "larger than all of it");
        cache.put([199; 32], reading(1));
        cache.clear();
        assert_eq!((cache.len(), cache.bytes), (0, 0));
    }

    #[test]
    fn a_cache_of_no_size_keeps_nothing() {
        let mut cache = Cache::new(0);
        cache.put([1; 32], reading(1));
        assert_eq!(cache.get(&[1; 32]), None);
    }
}
