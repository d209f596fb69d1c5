//! Sampled choices in a row that nobody judged: by them the bandit's patience goes.
//!
//! Counted as they are made, dry runs too, and kept over a restart: the log may have lost older ones by then, and is not
//! read where learning is off. It only corrects the count: what was judged unseen (by an import, before a crash, beyond
//! a full queue) is found in it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lesson::Run;
use crate::store::{Store, StoreError};

/// The setting that holds the count.
const UNJUDGED: &str = "learning.unjudged";

/// The count.
#[derive(Debug)]
pub(super) struct Unjudged(AtomicU64);

impl Unjudged {
    /// The saved count.
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        Ok(Self(AtomicU64::new(store.setting(UNJUDGED)?.unwrap_or(0))))
    }

    /// Saves it, if the store has another.
    pub(super) fn save(&self, store: &Store) -> Result<(), StoreError> {
        let count = Some(self.count());
        if store.setting(UNJUDGED)? == count { Ok(()) } else { store.set_setting(UNJUDGED, &count) }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more was made.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody judged, or nothing of what was tried out counts any more.
    pub(super) fn begin_anew(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Corrects it by the log, `is_first` for the first time in this process. Where none is saved, a program that did
    /// not save it may have made some of the log's.
    pub(super) fn correct(&self, run: Run, store: &Store, is_first: bool) -> Result<(), StoreError> {
        if is_first && store.setting::<u64>(UNJUDGED)?.is_none() {
            self.0.fetch_max(run.choices, Ordering::Relaxed);
        }
        if run.is_whole {
            self.0.fetch_min(run.choices, Ordering::Relaxed);
        }
        Ok(())
    }
}
