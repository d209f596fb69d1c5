//! Watches each answer go out, and counts those that the other side did not wait for.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chats under way and lost.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Being answered.
    pub(super) open: AtomicUsize,
    /// Ended before the answer did.
    pub(super) hung_up: AtomicUsize,
}

/// Notices when a client hangs up before an answer is complete.
#[derive(Debug)]
pub(super) struct Watch {
    traffic: Arc<Traffic>,
    /// Whether it is a chat: lists and probes come and go as they like.
    counts: bool,
    complete: Cell<bool>,
}

impl Watch {
    /// An answer begins.
    pub(super) fn new(traffic: Arc<Traffic>, counts: bool) -> Self {
        traffic.open.fetch_add(usize::from(counts), Ordering::Relaxed);
        Self { traffic, counts, complete: Cell::new(false) }
    }

    /// The answer was sent whole.
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
