//! Counts the answers under way, and those that were not sent to the end.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of chat answers.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Being sent.
    pub(super) open: AtomicUsize,
    /// Ended before the answer was complete.
    pub(super) hung_up: AtomicUsize,
}

/// Lives as long as an answer; if it is dropped before [`Self::complete`], the client hung up.
#[derive(Debug)]
pub(super) struct Watch {
    traffic: Arc<Traffic>,
    /// Whether the request is a chat; others are not counted.
    counts: bool,
    complete: Cell<bool>,
}

impl Watch {
    /// Starts with an answer.
    pub(super) fn new(traffic: Arc<Traffic>, counts: bool) -> Self {
        traffic.open.fetch_add(usize::from(counts), Ordering::Relaxed);
        Self { traffic, counts, complete: Cell::new(false) }
    }

    /// Marks the answer as sent to the end.
    pub(super) fn complete(&self) {
        self.complete.set(true);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.traffic.open.fetch_sub(usize::from(self.counts), Ordering::Relaxed);
        if self.counts && !self.complete.get() {
            self.traffic.hung_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}
