//! How long answers turn out, kept over a restart: who begins anew takes each for the usual one, and routes by that.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::state::Gateway;
use crate::route::Lengths;
use crate::store::Store;

/// Name of what is kept.
const KEPT: &str = "route.lengths";

/// How often it is, if there was an answer.
const EVERY: Duration = Duration::from_secs(60);

/// The lengths as they were kept last.
pub(super) fn lengths(store: &Store) -> Lengths {
    let kept = store.setting(KEPT).unwrap_or_else(|error| {
        tracing::warn!(%error, "How long answers were is not known; each is taken for the usual one");
        None
    });
    kept.map(Lengths::of).unwrap_or_default()
}

/// Keeps them until `stopped`, and then once more.
pub async fn keep_lengths(gateway: Arc<Gateway>, stopped: impl Future<Output = ()>) {
    let mut stopped = pin!(stopped);
    let mut kept = gateway.lengths.kept();
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            () = &mut stopped => true,
        };
        let now = gateway.lengths.kept();
        if now != kept {
            let (store, sums) = (gateway.store.clone(), now.clone());
            match tokio::task::spawn_blocking(move || store.set_setting(KEPT, &sums)).await {
                Ok(Ok(())) => kept = now,
                Ok(Err(error)) => tracing::warn!(%error, "How long answers were could not be kept"),
                Err(error) => tracing::error!(%error, "Keeping how long answers were ended in a panic"),
            }
        }
        if is_last {
            return;
        }
    }
}
