//! Retention as a background task: keeps the decision log within its age and size, one slice at a time, and the audit
//! within the log's age.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::store::{Clock, Store, StoreError};

/// Most megabytes of records of a log in memory: nobody can keep it, and the container's limit counts it.
const MEMORY_MB: u64 = 64;

/// Deletes what is too old or too much, every `store.retention_interval_s` seconds, until `stop` is cancelled; then
/// saves the clock and the log's size.
pub async fn keep_house(store: Store, stop: CancellationToken) {
    let start_ms = jiff::Timestamp::now().as_millisecond();
    let clock = store.clock(start_ms).unwrap_or_else(|_| Clock::new(start_ms, None));
    if clock.now_ms(store.settings().max_age_days, Duration::ZERO).is_none() {
        tracing::warn!(
            "The clock stands more than half of store.max_age_days after the last run's; nothing is deleted for its age until the gateway has run for a day with it"
        );
    }
    let begun = Instant::now();
    let every = Duration::from_secs(store.settings().retention_interval_s.max(1));
    let mut counted = false;
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = stop.cancelled() => true,
        };
        let (store, stop) = (store.clone(), stop.clone());
        // A slice takes milliseconds; all of them together may take longer than an async thread may be held.
        let done = tokio::task::spawn_blocking(move || match last {
            true => save(&store, clock, begun.elapsed()).map(|()| 0),
            false => {
                if !counted {
                    store.recount_log()?;
                }
                tidy(&store, clock, begun.elapsed(), || stop.is_cancelled())
            }
        });
        let done = done.await;
        counted |= matches!(done, Ok(Ok(_)));
        match done {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(decisions = count, "Deleted the decision log's oldest entries"),
            Ok(Err(error)) => tracing::warn!(%error, "Old entries of the decision log could not be deleted"),
            Err(error) => tracing::error!(%error, "Deleting old entries of the decision log ended in a panic"),
        }
        if last {
            return;
        }
    }
}

/// Deletes what is due; the number of decisions deleted. `stopped` is asked between slices, so that a stop waits for
/// one slice only.
fn tidy(store: &Store, clock: Clock, running: Duration, stopped: impl Fn() -> bool) -> Result<usize, StoreError> {
    let settings = store.settings();
    let cutoff_ms = clock.cutoff_ms(settings.max_age_days, running);
    if let Some(cutoff_ms) = cutoff_ms {
        store.forget_acts(cutoff_ms)?;
    }
    let max_mb = max_mb(settings.max_mb, store.is_durable());
    let mut all = 0;
    while !stopped() {
        let count = store.forget_some(cutoff_ms, max_mb << 20)?;
        if count == 0 {
            break;
        }
        all += count;
    }
    save(store, clock, running).map(|()| all)
}

/// Most megabytes of records, 0 = no limit; `wanted` as configured.
fn max_mb(wanted: u64, is_durable: bool) -> u64 {
    match wanted {
        _ if is_durable => wanted,
        0 => MEMORY_MB,
        _ => wanted.min(MEMORY_MB),
    }
}

/// Saves the clock and the log's size for the next start.
fn save(store: &Store, clock: Clock, running: Duration) -> Result<(), StoreError> {
    store.save_clock(&clock, store.settings().max_age_days, running)?;
    store.save_log_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_memory_is_bounded_whatever_is_configured() {
        let both = |wanted| (max_mb(wanted, true), max_mb(wanted, false));
        assert_eq!([4096, 2, 0].map(both), [(4096, MEMORY_MB), (2, 2), (0, MEMORY_MB)]);
    }
}
