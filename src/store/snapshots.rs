//! Policy snapshots, and which of them is in force.
//!
//! A snapshot is two values under its version: a small [`SnapshotRecord`] (when, why, what was estimated) and the
//! policy itself, in the learner's own form. Publishing has two steps, each flushed: first both values are written,
//! then the `live` pointer is set. A crash between them leaves the old policy in force and an unused snapshot; a crash
//! within the first step leaves nothing that is ever read.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::db::Store;
use super::encoding::encode;
use super::error::StoreError;

/// The state of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// It was never in force: it waits for more data, or was refused. Its report's `ruling` says which.
    Waiting,
    /// It was put in force at some time (the live version is [`Store::live_version`]).
    Promoted,
    /// It was in force, and was rolled back by a guard rail or an operator.
    RolledBack,
}

/// A snapshot's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its version, counted from 1.
    pub version: u64,
    /// When it was made, or for a retune, when the log was read; Unix milliseconds.
    pub made_at_ms: i64,
    /// When it last came into force, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_at_ms: Option<i64>,
    /// The version that was live when it was made; 0 = none.
    #[serde(default)]
    pub parent: u64,
    /// The version that was live when it last came into force; 0 = none.
    #[serde(default)]
    pub replaced: u64,
    /// How it came about: `start` (the first of all), `retune`, or `kept` (carried over to a new database).
    pub origin: String,
    /// Its state.
    pub state: SnapshotState,
    /// Why, in one sentence.
    #[serde(default)]
    pub reason: String,
    /// Number of lessons it has learned from.
    #[serde(default)]
    pub learned_from: u64,
    /// The tuner's report on it: its estimated gain and the gate's ruling.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub report: Value,
}

impl SnapshotRecord {
    /// The record of a version that was just made and is not in force yet, of no parent and without a report.
    pub fn waiting(version: u64, origin: &str, reason: &str, made_at_ms: i64) -> Self {
        Self {
            version,
            made_at_ms,
            promoted_at_ms: None,
            parent: 0,
            replaced: 0,
            origin: origin.to_owned(),
            state: SnapshotState::Waiting,
            reason: reason.to_owned(),
            learned_from: 0,
            report: Value::Null,
        }
    }
}

const LIVE: &str = "policy.live";
const LAST_VERSION: &str = "policy.last_version";

impl Store {
    /// The next snapshot's version. Versions are never given twice, not even after a deletion, or when the database is
    /// replaced while the process runs. On a full disk the next process does not know that this one was given.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next_version(&self) -> Result<u64, StoreError> {
        let next = self.note_version(self.last_version()?) + 1;
        match self.set_setting(LAST_VERSION, &next) {
            Ok(()) | Err(StoreError::Full) => Ok(self.note_version(next)),
            Err(error) => Err(error),
        }
    }

    /// The highest version in this database.
    pub(super) fn last_version(&self) -> Result<u64, StoreError> {
        let given: u64 = self.setting(LAST_VERSION)?.unwrap_or(0);
        let newest = self.trees()?.snapshots.last()?.map_or(0, |(key, _)| version_of(&key));
        Ok(given.max(newest))
    }

    /// Writes a snapshot without putting it in force; on disk when it returns.
    ///
    /// # Errors
    /// When the database fails, or the policy cannot be encoded.
    pub fn put_snapshot<P: Serialize>(&self, record: &SnapshotRecord, policy: &P) -> Result<(), StoreError> {
        let (policy, value) = (encode(policy)?, encode(record)?);
        let trees = self.trees_to_write(policy.len() + value.len())?;
        let key = record.version.to_be_bytes();
        trees.policies.insert(key, policy)?;
        trees.snapshots.insert(key, value)?;
        self.flush()
    }

    /// Rewrites a snapshot's record; on disk when it returns.
    ///
    /// # Errors
    /// When the database fails.
    pub fn update_snapshot(&self, record: &SnapshotRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        self.trees_to_write(value.len())?.snapshots.insert(record.version.to_be_bytes(), value)?;
        self.flush()
    }

    /// Puts `version` in force; on disk when it returns. The caller must have made sure that it is stored
    /// ([`Store::policy`]).
    ///
    /// # Errors
    /// When the database fails; then the version before stays in force.
    pub fn set_live(&self, version: u64) -> Result<(), StoreError> {
        self.set_setting(LIVE, &version)
    }

    /// The version in force, if any was ever promoted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn live_version(&self) -> Result<Option<u64>, StoreError> {
        self.setting(LIVE)
    }

    /// A snapshot's record.
    ///
    /// # Errors
    /// When the database fails.
    pub fn snapshot(&self, version: u64) -> Result<Option<SnapshotRecord>, StoreError> {
        let trees = self.trees()?;
        let key = version.to_be_bytes();
        let value = trees.snapshots.get(key)?;
        Ok(value.and_then(|value| self.read(&trees, &trees.snapshots, &key, &value)))
    }

    /// A snapshot's policy; `None` where it is missing or cannot be read.
    ///
    /// # Errors
    /// When the database fails.
    pub fn policy<P: DeserializeOwned>(&self, version: u64) -> Result<Option<P>, StoreError> {
        let trees = self.trees()?;
        let key = version.to_be_bytes();
        let value = trees.policies.get(key)?;
        Ok(value.and_then(|value| self.read(&trees, &trees.policies, &key, &value)))
    }

    /// All snapshots, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRecord>, StoreError> {
        let trees = self.trees()?;
        let mut all = Vec::new();
        for pair in trees.snapshots.iter().rev() {
            let (key, value) = pair?;
            all.extend(self.read::<SnapshotRecord>(&trees, &trees.snapshots, &key, &value));
        }
        Ok(all)
    }

    /// Deletes all snapshots but the newest `keep` and those in `spare`; the number deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune_snapshots(&self, keep: usize, spare: &[u64]) -> Result<usize, StoreError> {
        let trees = self.trees_to_write(0)?;
        let mut deleted = 0;
        for (place, pair) in trees.snapshots.iter().keys().rev().enumerate() {
            let key = pair?;
            if place >= keep && !spare.contains(&version_of(&key)) {
                trees.snapshots.remove(&key)?;
                trees.policies.remove(&key)?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

fn version_of(key: &[u8]) -> u64 {
    <[u8; 8]>::try_from(key).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u64) -> SnapshotRecord {
        SnapshotRecord { parent: version - 1, ..SnapshotRecord::waiting(version, "retune", "", version as i64) }
    }

    #[test]
    fn a_snapshot_comes_back_bit_for_bit_and_versions_are_never_given_twice() {
        let store = Store::in_memory().unwrap();
        let policy = vec![0.1_f64, f64::MIN_POSITIVE, 1.0 / 3.0];
        assert_eq!(store.next_version().unwrap(), 1);
        store.put_snapshot(&record(1), &policy).unwrap();
        assert_eq!(store.policy::<Vec<f64>>(1).unwrap(), Some(policy));
        assert_eq!(store.live_version().unwrap(), None);
        store.set_live(1).unwrap();
        assert_eq!(store.live_version().unwrap(), Some(1));
        assert_eq!(store.next_version().unwrap(), 2);
        assert_eq!(store.next_version().unwrap(), 3);
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_spared() {
        let store = Store::in_memory().unwrap();
        for version in 1..=6 {
            store.put_snapshot(&record(version), &version).unwrap();
        }
        assert_eq!(store.prune_snapshots(2, &[3]).unwrap(), 3);
        let left: Vec<u64> = store.snapshots().unwrap().iter().map(|it| it.version).collect();
        assert_eq!(left, [6, 5, 3]);
        assert_eq!(store.policy::<u64>(1).unwrap(), None);
    }
}
