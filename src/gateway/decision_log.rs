//! The decision log for handlers, without holding up the threads that serve connections.

use std::fmt::Display;
use std::time::Duration;

use super::Gateway;
use crate::protocol::{ApiError, ErrorKind};
use crate::store::{Store, StoreError};

/// How long the recorder may take to write what waits in its queue.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether the store hangs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Gateway {
    /// Works with the store, off the threads that serve connections.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down, or hangs: `work` may then be done all the same.
    pub async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        with(self.store.clone(), work).await
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

async fn with<T: Send + 'static>(
    store: Store,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let watched = store.clone();
    // Begun once it is awaited: where the store hangs already, no further thread is to wait for it.
    let working = async {
        tokio::task::spawn_blocking(move || work(&store).inspect_err(|error| store.note_if_damaged(error))).await
    };
    tokio::select! {
        biased;
        why = hanging(&watched) => Err(unreadable(why)),
        done = working => done.map_err(unreadable)?.map_err(unreadable),
    }
}

/// Waits until the store hangs. Not for a time: to look through a long log may take longer.
async fn hanging(store: &Store) -> &'static str {
    loop {
        match store.hangs() {
            Some(why) => return why,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn unreadable(why: impl Display) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::store::hung;

    #[tokio::test]
    async fn nobody_waits_for_ever_on_a_store_that_hangs() {
        let store = Store::in_memory().unwrap();
        assert_eq!(with(store.clone(), |_| Ok(7)).await.unwrap(), 7);
        let (release, held) = sync_channel::<()>(1);
        let (begun, beginning) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(with(store.clone(), move |_| {
            begun.send(()).unwrap();
            let _released = held.recv();
            Ok(())
        }));
        beginning.await.unwrap();
        let flush = hung(&store);
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("restart the gateway"), "{}", error.message);
        drop(release);
        let later = with(store.clone(), |_| -> Result<(), _> { panic!("another thread is to wait") }).await;
        assert!(later.unwrap_err().message.contains("restart the gateway"));
        drop(flush);
        assert_eq!(with(store, |_| Ok(7)).await.unwrap(), 7);
    }
}
