//! Keeps the learned lengths of answers over a restart: without them, each answer is taken to be of the usual length,
//! and routing goes by that.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::route::Lengths;
use crate::store::Store;

/// The store's key of the lengths.
const LENGTHS: &str = "route.lengths_by_head";

/// How often changed lengths are saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The lengths as they were saved last.
pub(super) fn read(store: &Store) -> Lengths {
    let kept = store.setting(LENGTHS).unwrap_or_else(|error| {
        tracing::warn!(%error, "The lengths of earlier answers cannot be read; each model's is taken to be the usual one");
        None
    });
    kept.map(Lengths::of).unwrap_or_default()
}

/// Saves the lengths now and then until `stop`, and then once more.
pub async fn keep(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut kept = gateway.lengths.kept();
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => false,
            () = stop.cancelled() => true,
        };
        let now = gateway.lengths.kept();
        if now != kept {
            let (store, sums) = (gateway.store.clone(), now.clone());
            match tokio::task::spawn_blocking(move || store.set_setting(LENGTHS, &sums)).await {
                Ok(Ok(())) => kept = now,
                Ok(Err(error)) => tracing::warn!(%error, "The lengths of answers could not be saved"),
                Err(error) => tracing::error!(%error, "Saving the lengths of answers ended in a panic"),
            }
        }
        if is_last {
            return;
        }
    }
}
