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

/// Deletes what is too old or too much, every `store.retention_interval_s` seconds, and what is in the way of new records
/// on a full disk, every second, until `stop` is cancelled; then saves the clock and the log's size.
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
    let mut for_room = 0;
    loop {
        let last = tokio::select! {
            () = sleep_until(due.min(Instant::now() + LOOK_EVERY)) => false,
            () = stop.cancelled() => true,
        };
        let is_due = Instant::now() >= due;
        let (store, stop) = (store.clone(), stop.clone());
        // A slice takes milliseconds; all of them together may take longer than an async thread may be held.
        let done = tokio::task::spawn_blocking(move || {
            let mut deleted = Deleted::default();
            let stopped = || stop.is_cancelled();
            let done = match last {
                true => save(&store, clock, begun.elapsed()),
                false if !is_due => make_room(&store, stopped, &mut deleted.for_room),
                false => store
                    .count_log()
                    .and_then(|()| tidy(&store, clock, begun.elapsed(), stopped, &mut deleted.due))
                    .and_then(|()| make_room(&store, stopped, &mut deleted.for_room)),
            };
            (deleted, done)
        });
        let done = done.await;
        for_room += done.as_ref().map_or(0, |(deleted, _)| deleted.for_room);
        if !(last || is_due) {
            // Told when all else is due, and tried again until then.
            continue;
        }
        due = Instant::now() + every;
        match done {
            Ok((deleted, done)) => {
                if deleted.due > 0 {
                    tracing::info!(decisions = deleted.due, "Deleted the decision log's oldest entries");
                }
                if let Err(error) = done {
                    tracing::warn!(%error, "Old entries of the decision log could not be deleted");
                }
            }
            Err(error) => tracing::error!(%error, "Deleting old entries of the decision log ended in a panic"),
        }
        if for_room > 0 {
            tracing::warn!(
                decisions = for_room,
                "The decision log fills its disk: its oldest entries were deleted before their time"
            );
            for_room = 0;
        }
        if last {
            return;
        }
    }
}

/// Numbers of decisions deleted, also where an error came after them.
#[derive(Default)]
struct Deleted {
    /// For their age, or for the log's size.
    due: usize,
    for_room: usize,
}

/// Deletes as many of the oldest entries of a log that has nearly filled its disk itself as new ones need room; adds the
/// number of decisions to `deleted`.
fn make_room(store: &Store, stopped: impl Fn() -> bool, deleted: &mut usize) -> Result<(), StoreError> {
    // Looked again after it: there is more inside the files, and new records may have come.
    while let Some(most) = store.look_for_room()? {
        let before = *deleted;
        forget(store, None, most, &stopped, deleted)?;
        if *deleted == before {
            break;
        }
    }
    Ok(())
}

/// Deletes the oldest entries, those before `cutoff_ms` and those beyond `max_bytes`; adds the number of decisions to
/// `deleted`. `stopped` is asked between slices, so that a stop waits for one slice only.
fn forget(
    store: &Store,
    cutoff_ms: Option<i64>,
    max_bytes: u64,
    stopped: impl Fn() -> bool,
    deleted: &mut usize,
) -> Result<(), StoreError> {
    while !stopped() {
        let count = store.forget_some(cutoff_ms, max_bytes)?;
        if count == 0 {
            break;
        }
        *deleted += count;
    }
    Ok(())
}

/// Deletes what is due; adds the number of decisions to `deleted`.
fn tidy(
    store: &Store,
    clock: Clock,
    running: Duration,
    stopped: impl Fn() -> bool,
    deleted: &mut usize,
) -> Result<(), StoreError> {
    let settings = store.settings();
    let cutoff_ms = clock.cutoff_ms(settings.max_age_days, running);
    if let Some(cutoff_ms) = cutoff_ms {
        store.forget_acts(cutoff_ms)?;
    }
    let max_mb = max_mb(settings.max_mb, store.is_durable());
    forget(store, cutoff_ms, max_mb << 20, stopped, deleted)?;
    save(store, clock, running)
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

    /// Appends a decision with a prompt of some kilobytes.
    fn append(store: &Store, number: u64) -> Result<(), StoreError> {
        let digits = |at: u64| (number * 400 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string();
        let prompt: String = (0..400).map(digits).collect();
        let id = uuid::Uuid::now_v7();
        let record = serde_json::json!({ "id": id, "at_ms": 1, "chosen": "a", "prompt": prompt });
        let record: DecisionRecord = serde_json::from_value(record).unwrap();
        store.append(&[record], &[] as &[OutcomeRecord], &mut []).map(drop)
    }

    /// How many decisions [`make_room`] deletes.
    fn made(store: &Store, stopped: impl Fn() -> bool) -> (usize, Result<(), StoreError>) {
        let mut deleted = 0;
        let done = make_room(store, stopped, &mut deleted);
        (deleted, done)
    }

    #[test]
    fn the_oldest_entries_go_where_new_ones_find_no_room_on_a_disk_that_the_log_has_filled() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let store = on_disk_with(dir.path(), &free);
        (0..400).for_each(|number| append(&store, number).unwrap());
        let written = store.log_size();
        assert!(matches!(made(&store, || false), (0, Ok(()))));
        // Another program's file, say, that may be gone soon.
        free.store(12 << 20, Ordering::Relaxed);
        assert!(matches!(made(&store, || false), (0, Ok(()))), "nobody needs room");
        assert_eq!(store.log_size(), written);
        assert!(matches!(append(&store, 400), Err(StoreError::Full)));
        assert!(matches!(made(&store, || true), (0, Ok(()))), "it is to stop");
        // On a busy machine sled tells of what it has inside a moment later.
        let finds_some = (0..20).any(|_| {
            assert!(matches!(append(&store, 401), Err(StoreError::Full)));
            let found = matches!(made(&store, || false), (1..400, Ok(())));
            if !found {
                std::thread::sleep(Duration::from_millis(50));
            }
            found
        });
        assert!(finds_some);
        assert!(store.log_size().bytes < written.bytes);
        // On a busy machine sled finds what was deleted a moment later.
        let goes_on = (402..440).any(|number| {
            let found_room = append(&store, number).is_ok();
            if !found_room {
                std::thread::sleep(Duration::from_millis(50));
                made(&store, || false).1.unwrap();
            }
            found_room
        });
        assert!(goes_on);
    }

    #[test]
    fn what_was_deleted_before_the_disk_was_full_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let store = on_disk_with(dir.path(), &free);
        (0..400).for_each(|number| append(&store, number).unwrap());
        free.store(12 << 20, Ordering::Relaxed);
        let slices = AtomicU64::new(0);
        let filled = || {
            if slices.fetch_add(1, Ordering::Relaxed) == 2 {
                free.store(0, Ordering::Relaxed);
            }
            false
        };
        assert!(matches!(made(&store, filled), (1..400, Err(StoreError::Full))));
    }

    #[test]
    fn a_log_in_memory_is_bounded_whatever_is_configured() {
        let both = |wanted| (max_mb(wanted, true), max_mb(wanted, false));
        assert_eq!([4096, 2, 0].map(both), [(4096, MEMORY_MB), (2, 2), (0, MEMORY_MB)]);
    }
}
