//! Reads the decision log for handlers, without holding up the threads that serve connections.

use std::time::Duration;

use super::Gateway;
use crate::protocol::{ApiError, ErrorKind};
use crate::store::{Store, StoreError};

/// How long the recorder may take to write what waits in its queue.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

impl Gateway {
    /// Reads the decision log, off the threads that serve connections.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down.
    pub async fn read_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || read(&store)).await;
        let failed = |why: String| ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"));
        done.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// Waits until the records in the recorder's queue are written: a client may ask for a decision whose id it has
    /// just been told.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down or too slow.
    pub async fn flush_log(&self) -> Result<(), ApiError> {
        let down = |why: String| {
            ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"))
                .after(Duration::from_secs(2))
        };
        match tokio::time::timeout(FLUSH_TIMEOUT, self.recorder.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(down(error.to_string())),
            Err(_) => Err(down("it takes too long".into())),
        }
    }
}
