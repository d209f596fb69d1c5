//! Retention as a background task: keeps the decision log within its age, its size and the room on its disk, one slice at
//! a time, and the audit within the log's age.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::store::{Clock, Store, StoreError};

/// Most megabytes of records of a log in memory: nobody can keep it, and the container's limit counts it.
const MEMORY_MB: u64 = 64;

/// How often it is looked whether the log has nearly filled its disk: with prompts it was seen to grow by 12 MB a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Deletes what is too old or too much, every `store.retention_interval_s` seconds, and what has no room, every second,
/// until `stop` is cancelled; then saves the clock and the log's size.
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
    let mut due = begun + every;
    let mut counted = false;
    let mut without_room = 0;
    loop {
        let last = tokio::select! {
            () = sleep_until(due.min(Instant::now() + LOOK_EVERY)) => false,
            () = stop.cancelled() => true,
        };
        let is_due = Instant::now() >= due;
        let (store, stop) = (store.clone(), stop.clone());
        // A slice takes milliseconds; all of them together may take longer than an async thread may be held.
        let done = tokio::task::spawn_blocking(move || match last {
            true => save(&store, clock, begun.elapsed()).map(|()| 0),
            false if !is_due => make_room(&store, || stop.is_cancelled()),
            false => {
                if !counted {
                    store.recount_log()?;
                }
                let old = tidy(&store, clock, begun.elapsed(), || stop.is_cancelled())?;
                make_room(&store, || stop.is_cancelled()).map(|more| old + more)
            }
        });
        let done = done.await;
        if !(last || is_due) {
            // Told when all else is due, and tried again until then.
            without_room += done.ok().and_then(Result::ok).unwrap_or(0);
            continue;
        }
        due = Instant::now() + every;
        counted |= matches!(done, Ok(Ok(_)));
        match done {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(decisions = count, "Deleted the decision log's oldest entries"),
            Ok(Err(error)) => tracing::warn!(%error, "Old entries of the decision log could not be deleted"),
            Err(error) => tracing::error!(%error, "Deleting old entries of the decision log ended in a panic"),
        }
        if without_room > 0 {
            tracing::warn!(
                decisions = without_room,
                "The decision log fills its disk: its oldest entries were deleted before their time"
            );
            without_room = 0;
        }
        if last {
            return;
        }
    }
}

/// Deletes the oldest entries of a log that has nearly filled its disk itself, until it has room there or in its files;
/// the number of decisions deleted.
fn make_room(store: &Store, stopped: impl Fn() -> bool) -> Result<usize, StoreError> {
    let mut all = 0;
    // What is deleted is written, too, and may leave less room on the disk than there was.
    while let Some(most) = store.look_for_room() {
        let count = forget(store, None, most, &stopped)?;
        if count == 0 {
            break;
        }
        all += count;
    }
    Ok(all)
}

/// Deletes the oldest entries, those before `cutoff_ms` and those beyond `max_bytes`; the number of decisions. `stopped`
/// is asked between slices, so that a stop waits for one slice only.
fn forget(
    store: &Store,
    cutoff_ms: Option<i64>,
    max_bytes: u64,
    stopped: impl Fn() -> bool,
) -> Result<usize, StoreError> {
    let mut all = 0;
    while !stopped() {
        let count = store.forget_some(cutoff_ms, max_bytes)?;
        if count == 0 {
            break;
        }
        all += count;
    }
    Ok(all)
}

/// Deletes what is due; the number of decisions deleted.
fn tidy(store: &Store, clock: Clock, running: Duration, stopped: impl Fn() -> bool) -> Result<usize, StoreError> {
    let settings = store.settings();
    let cutoff_ms = clock.cutoff_ms(settings.max_age_days, running);
    if let Some(cutoff_ms) = cutoff_ms {
        store.forget_acts(cutoff_ms)?;
    }
    let max_mb = max_mb(settings.max_mb, store.is_durable());
    let all = forget(store, cutoff_ms, max_mb << 20, stopped)?;
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::{DecisionRecord, OutcomeRecord, on_disk_with};

    #[test]
    fn what_a_log_has_no_room_for_on_its_disk_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let store = on_disk_with(dir.path(), &free);
        for number in 0..400_u64 {
            let digits = |at: u64| (number * 400 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string();
            let prompt: String = (0..400).map(digits).collect();
            let id = uuid::Uuid::now_v7();
            let record = serde_json::json!({ "id": id, "at_ms": 1, "chosen": "a", "prompt": prompt });
            let record: DecisionRecord = serde_json::from_value(record).unwrap();
            store.append(&[record], &[] as &[OutcomeRecord], &mut []).unwrap();
        }
        let written = store.log_size();
        assert_eq!((make_room(&store, || false).unwrap(), store.log_size()), (0, written));
        free.store(12 << 20, Ordering::Relaxed);
        assert_eq!(make_room(&store, || true).unwrap(), 0, "it is to stop");
        assert!((1..400).contains(&make_room(&store, || false).unwrap()));
        assert!(store.log_size().bytes < written.bytes);
    }

    #[test]
    fn a_log_in_memory_is_bounded_whatever_is_configured() {
        let both = |wanted| (max_mb(wanted, true), max_mb(wanted, false));
        assert_eq!([4096, 2, 0].map(both), [(4096, MEMORY_MB), (2, 2), (0, MEMORY_MB)]);
    }
}
