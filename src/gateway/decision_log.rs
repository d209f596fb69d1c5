//! The decision log for handlers, without holding up the threads that serve connections.

use std::fmt::Display;
use std::time::Duration;

use super::Gateway;
use crate::protocol::{ApiError, ErrorKind};
use crate::store::{Store, StoreError};

/// How long the recorder may take to write what waits in its queue.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

impl Gateway {
    /// Works with the store, off the threads that serve connections.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down.
    pub async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(unreadable)?.map_err(unreadable)
    }

    /// Waits until the records in the recorder's queue are written: a client may ask for a decision whose id it has
    /// just been told.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down or too slow.
    pub async fn flush_log(&self) -> Result<(), ApiError> {
        let failed = match tokio::time::timeout(FLUSH_TIMEOUT, self.recorder.flush()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => unreadable(error),
            Err(_) => unreadable("it takes too long"),
        };
        Err(failed.after(Duration::from_secs(2)))
    }
}

fn unreadable(why: impl Display) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"))
}
