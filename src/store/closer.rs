//! Closing a database that failed, on a thread of its own: sled flushes while it is dropped, and where a write found no
//! room, or a file is gone, that may never end. Meanwhile it holds a lock of the whole process, so that no other
//! database can be opened; only a restart helps then.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

use super::trees::Trees;

/// A database that is being closed.
pub(super) struct Closer(JoinHandle<()>);

impl Closer {
    /// Begins to close the trees, once no reader has them. `None` where no thread can be started.
    pub fn start(trees: Arc<Trees>) -> Option<Self> {
        let close = move || {
            while Arc::strong_count(&trees) > 1 {
                sleep(Duration::from_millis(20));
            }
        };
        let started = Builder::new().name("store-closer".to_owned()).spawn(close);
        started
            .inspect_err(|error| tracing::error!(%error, "No thread could be started to close the database"))
            .ok()
            .map(Self)
    }

    /// Whether the database is closed.
    pub fn is_done(&self) -> bool {
        self.0.is_finished()
    }
}
