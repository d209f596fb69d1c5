//! Retention: the decision log is limited in age and in bytes; the oldest entries are deleted first.
//!
//! [`Store::forget_some`] deletes one slice, so that the writer can go on between slices. A slice ends at a decision
//! and deletes everything up to that decision's key: outcomes and feedback, orphans too. A block is deleted as a whole,
//! once all its decisions may be, and last: where the disk fills up meanwhile, the next slice begins with what is left
//! of it.
//!
//! **A wrong clock must not empty the log.** Age is measured by [`Clock`], which starts at the wall clock and then
//! counts the process's running time, so a jump while the process runs changes nothing. Its time is saved for the next
//! start, as the newest record may have been written by a clock that had jumped. A start more than half the maximal age
//! after the saved time is doubted: until processes have run for a day with it, nothing is deleted for its age and no
//! time is saved, so that the clock can be corrected.

use std::iter::Peekable;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::block;
use super::db::Store;
use super::error::StoreError;
use super::join::key_at;
use super::trees::Trees;

/// Decisions from which a slice is complete.
const SLICE: usize = 256;

/// Most bytes of all that goes in a slice, where that is more than one block or decision; less where the disk has no
/// room for that much. Also how much is deleted at once: a multiple must be free on the disk for it, and the feedback on
/// the decisions of one block may have a hundred megabytes.
const SLICE_BYTES: usize = 64 << 10;

/// Running time, summed over processes, after which a doubted clock is believed.
const GRACE: Duration = Duration::from_secs(24 * 3600);

pub(super) const DAY_MS: i64 = 86_400_000;

/// The setting that holds the clock's time.
const CLOCK: &str = "retention.clock_ms";

/// The setting that holds how long the time has been doubted.
const DOUBTED: &str = "retention.doubted_ms";

/// The setting that holds the log's size.
const LOG_BYTES: &str = "retention.bytes";

/// The time for retention: the wall clock at the start plus the running time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start_ms: i64,
    last_ms: Option<i64>,
    /// How long earlier processes had run with the time in doubt.
    doubted: Duration,
}

impl Clock {
    /// A clock that read `start_ms` (Unix) when the process began; `last_ms` = the time that the process before saved,
    /// or of the newest record where there is none.
    pub fn new(start_ms: i64, last_ms: Option<i64>) -> Self {
        Self { start_ms, last_ms, doubted: Duration::ZERO }
    }

    /// The time when the process has run for `running`; `None` while it is doubted.
    pub fn now_ms(&self, max_age_days: u32, running: Duration) -> Option<i64> {
        let half_ms = i64::from(max_age_days) * DAY_MS / 2;
        let gap = self.start_ms - self.last_ms.unwrap_or(self.start_ms);
        let is_doubted = half_ms > 0 && gap > half_ms && self.doubted + running < GRACE;
        (!is_doubted).then(|| self.start_ms + running.as_millis() as i64)
    }

    /// Decisions before this moment (Unix milliseconds) are older than `max_age_days` when the process has run for
    /// `running`; `None` while none may be deleted for its age.
    pub fn cutoff_ms(&self, max_age_days: u32, running: Duration) -> Option<i64> {
        let max_age = i64::from(max_age_days) * DAY_MS;
        self.now_ms(max_age_days, running).filter(|_| max_age > 0).map(|now_ms| now_ms - max_age)
    }
}

/// The size of the decision log, roughly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSize {
    /// Bytes of its packed records; the files take two to four times as much.
    pub bytes: u64,
}

impl Store {
    /// Deletes the oldest slice if it is before `cutoff_ms` or the log is larger than `max_bytes` (0 = no limit); the
    /// number of decisions deleted, 0 = nothing is due.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_some(&self, cutoff_ms: Option<i64>, max_bytes: u64) -> Result<usize, StoreError> {
        let trees = self.trees()?;
        let _still = self.hold_still();
        let too_large = max_bytes > 0 && self.log_bytes() > max_bytes;
        let old = cutoff_ms.map(key_at);
        let may_go = |key: &[u8]| too_large || old.is_some_and(|old| key < &old[..]);
        let mut alone = trees.decisions.iter();
        let mut blocks = trees.blocks.iter();
        let mut next = (alone.next().transpose()?, blocks.next().transpose()?);
        let mut last: Option<sled::IVec> = None;
        let mut count = 0;
        let mut blocks_gone = Gone::default();
        let mut bytes = 0;
        // Half of the room: what goes first must not take it from what goes last. A block or decision that is larger needs
        // room for itself, and stays where it finds none.
        let most = SLICE_BYTES.min(self.room_to_delete().unwrap_or(0) / 2).max(1);
        let mut beside = [&trees.feedback, &trees.outcomes].map(|tree| tree.iter().peekable());
        while count < SLICE && bytes < most {
            match &next {
                (alone, Some((key, value))) if alone.as_ref().is_none_or(|(alone, _)| key <= alone) => {
                    // A block with a broken head does not say where it ends; it is deleted by its key.
                    let end = block::last_id(value).map_or_else(|| key.clone(), |end| sled::IVec::from(&end));
                    if !may_go(&end) {
                        break;
                    }
                    if bytes > 0 && bytes + value.len() > most {
                        break;
                    }
                    count += block::claimed(value);
                    bytes += value.len() + beside.iter_mut().map(|it| bytes_until(it, &end_of(&end))).sum::<usize>();
                    blocks_gone.add(key, value);
                    last = last.max(Some(end));
                    next.1 = blocks.next().transpose()?;
                }
                (Some((key, value)), _) => {
                    if !may_go(key) {
                        break;
                    }
                    count += 1;
                    bytes += value.len() + beside.iter_mut().map(|it| bytes_until(it, &end_of(key))).sum::<usize>();
                    last = last.max(Some(key.clone()));
                    next.0 = alone.next().transpose()?;
                }
                (None, _) => break,
            }
        }
        let Some(last) = last else {
            if next == (None, None) {
                // The log is empty. A wrong count must not survive that: it would delete all new entries.
                self.set_log_bytes(count_bytes(&trees)?);
            }
            return Ok(0);
        };
        let end = end_of(&last);
        for tree in [&trees.feedback, &trees.outcomes, &trees.decisions] {
            let mut gone = Gone::default();
            for pair in tree.range::<&[u8], _>(..=&end[..]) {
                let (key, value) = pair?;
                if gone.bytes > 0 && gone.bytes + value.len() > most {
                    self.delete(tree, std::mem::take(&mut gone))?;
                }
                gone.add(&key, &value);
            }
            self.delete(tree, gone)?;
        }
        self.delete(&trees.blocks, blocks_gone)?;
        // Saved at once: a process that dies between two slices must not restart with the old size, and delete too
        // much.
        self.save_log_size()?;
        Ok(count)
    }

    /// Deletes what is in `gone` of `tree`, if there is room for that.
    fn delete(&self, tree: &sled::Tree, gone: Gone) -> Result<(), StoreError> {
        if gone.bytes > 0 {
            self.find_room_to_delete(gone.bytes)?;
            tree.apply_batch(gone.batch)?;
            self.note_freed(gone.bytes as u64);
        }
        Ok(())
    }

    /// The clock of a process that began at `start_ms`, with the times that the process before saved.
    ///
    /// # Errors
    /// When the database fails.
    pub fn clock(&self, start_ms: i64) -> Result<Clock, StoreError> {
        let last_ms = match self.setting(CLOCK)? {
            Some(kept_ms) => Some(kept_ms),
            None => self.newest_ms()?,
        };
        let doubted = Duration::from_millis(self.setting(DOUBTED)?.unwrap_or(0));
        Ok(Clock { doubted, ..Clock::new(start_ms, last_ms) })
    }

    /// Saves the clock's time for the next start; where it is doubted, for how long.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_clock(&self, clock: &Clock, max_age_days: u32, running: Duration) -> Result<(), StoreError> {
        let now_ms = clock.now_ms(max_age_days, running);
        let doubted = if now_ms.is_some() { Duration::ZERO } else { clock.doubted + running };
        if let Some(now_ms) = now_ms {
            self.save(CLOCK, &now_ms)?;
        }
        let doubted_ms = doubted.as_millis() as u64;
        match self.setting::<u64>(DOUBTED)?.unwrap_or(0) == doubted_ms {
            true => Ok(()),
            false => self.save(DOUBTED, &doubted_ms),
        }
    }

    /// Sets a setting also where there is only room to delete.
    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let value = super::encoding::encode(value)?;
        self.find_room_to_delete(value.len())?;
        self.trees()?.settings.insert(name, value)?;
        self.flush()
    }

    /// The size of the decision log, roughly.
    pub fn log_size(&self) -> LogSize {
        LogSize { bytes: self.log_bytes() }
    }

    /// Saves the size for the next start; retention and compaction call it. What a killed process wrote since is
    /// missing until the next one counts ([`Store::count_log`]).
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_log_size(&self) -> Result<(), StoreError> {
        let bytes = super::encoding::encode(&self.log_size())?;
        self.find_room_to_delete(bytes.len())?;
        self.trees()?.settings.insert(LOG_BYTES, bytes)?;
        Ok(())
    }

    /// Counts the size, once: a process that was killed, or stopped in an import, has saved an older one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count_log(&self) -> Result<(), StoreError> {
        if !self.is_counted() {
            let _still = self.hold_still();
            self.set_log_bytes(count_bytes(&*self.trees()?)?);
            self.note_counted();
        }
        Ok(())
    }

    /// Loads the size that the last process saved; counts where there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn load_log_size(&self) -> Result<(), StoreError> {
        let known: Option<LogSize> = self.setting(LOG_BYTES)?;
        let bytes = match known {
            Some(size) => size.bytes,
            None => count_bytes(&*self.trees()?)?,
        };
        self.set_log_bytes(bytes);
        Ok(())
    }
}

/// Records to be deleted, and their bytes.
#[derive(Default)]
struct Gone {
    batch: sled::Batch,
    bytes: usize,
}

impl Gone {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.batch.remove(key);
        self.bytes += value.len();
    }
}

/// The last key of what belongs to the decision of this key: a feedback's begins with its decision's.
fn end_of(decision: &[u8]) -> Vec<u8> {
    [decision, &[0xff; super::FEEDBACK_ID_BYTES + 1]].concat()
}

/// Steps over the records up to the key `end`, and returns their bytes. At one that cannot be read it stays.
fn bytes_until(records: &mut Peekable<sled::Iter>, end: &[u8]) -> usize {
    let mut bytes = 0;
    while let Some(Ok((_, value))) = records.next_if(|next| next.as_ref().is_ok_and(|(key, _)| key[..] <= *end)) {
        bytes += value.len();
    }
    bytes
}

/// Bytes of all records of the log.
fn count_bytes(trees: &Trees) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for tree in [&trees.blocks, &trees.decisions, &trees.outcomes, &trees.feedback] {
        for pair in tree {
            bytes += pair?.1.len() as u64;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::decision;
    use super::super::record::OutcomeRecord;
    use super::*;
    use crate::config;

    const DAY: i64 = DAY_MS;

    /// `count` decisions, each on its own.
    fn append(store: &Store, count: u16) {
        for number in 0..count {
            store.append(&[decision(number, 1)], &[] as &[OutcomeRecord], &mut []).unwrap();
        }
    }

    #[test]
    fn who_dies_between_two_slices_comes_back_with_the_size_that_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), &config::Store::default(), 0).unwrap().0;
        let store = open();
        append(&store, 1500);
        store.save_log_size().unwrap();
        let max = store.log_size().bytes / 3;
        for _ in 0..3 {
            assert_eq!(store.forget_some(None, max).unwrap(), SLICE);
        }
        store.flush().unwrap();
        drop(store);
        let again = open();
        assert_eq!(again.log_size().bytes, count_bytes(&again.trees().unwrap()).unwrap());
        while again.forget_some(None, max).unwrap() > 0 {}
        assert!(again.log_size().bytes > max / 2, "{} of {max}", again.log_size().bytes);
    }

    #[test]
    fn what_was_written_after_the_size_was_kept_counts_once_it_is_counted_anew() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), &config::Store::default(), 0).unwrap().0;
        let store = open();
        append(&store, 100);
        store.save_log_size().unwrap();
        append(&store, 1000);
        store.flush().unwrap();
        let written = store.log_size();
        drop(store);
        let again = open();
        assert!(again.log_size().bytes < written.bytes / 5);
        again.count_log().unwrap();
        assert_eq!(again.log_size(), written);
    }

    #[test]
    fn a_wrong_size_does_not_outlive_the_log() {
        let store = Store::in_memory().unwrap();
        append(&store, 300);
        store.note_written(1 << 30);
        while store.forget_some(None, 1 << 20).unwrap() > 0 {}
        append(&store, 300);
        assert_eq!(store.forget_some(None, 1 << 20).unwrap(), 0);
        assert_eq!(store.log_size().bytes, count_bytes(&store.trees().unwrap()).unwrap());
    }

    #[test]
    fn age_counts_from_the_start_and_ignores_jumps_of_the_wall_clock() {
        let clock = Clock::new(100 * DAY, Some(99 * DAY));
        assert_eq!(clock.cutoff_ms(90, Duration::ZERO), Some(10 * DAY));
        assert_eq!(clock.cutoff_ms(90, Duration::from_secs(48 * 3600)), Some(12 * DAY));
        assert_eq!(clock.cutoff_ms(0, Duration::ZERO), None);
    }

    #[test]
    fn a_start_far_behind_the_newest_record_is_given_a_day() {
        let clock = Clock::new(1000 * DAY, Some(100 * DAY));
        assert_eq!(clock.cutoff_ms(90, Duration::from_secs(23 * 3600)), None);
        assert_eq!(clock.cutoff_ms(90, Duration::from_secs(24 * 3600)), Some(911 * DAY));
    }

    #[test]
    fn a_clock_that_jumps_while_the_process_runs_is_found_out_at_the_next_start() {
        let store = Store::in_memory().unwrap();
        let hour = Duration::from_secs(3600);
        let first = store.clock(1000 * DAY).unwrap();
        store.save_clock(&first, 30, hour).unwrap();
        // Records were written by a clock that had jumped by forty days, and so does the next start.
        let second = store.clock(1040 * DAY).unwrap();
        assert_eq!((second.cutoff_ms(30, hour), second.now_ms(30, hour)), (None, None));
        assert_eq!(store.clock(1001 * DAY).unwrap().cutoff_ms(30, Duration::ZERO), Some(971 * DAY));
        assert_eq!(second.now_ms(0, hour), Some(1040 * DAY + 3_600_000), "nothing is deleted for its age");
    }

    #[test]
    fn a_machine_that_is_off_at_night_is_believed_after_a_day_in_all() {
        let store = Store::in_memory().unwrap();
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let run = |day: i64, for_hours: u64| {
            let clock = store.clock(day * DAY).unwrap();
            store.save_clock(&clock, 90, hours(for_hours)).unwrap();
            clock.cutoff_ms(90, hours(for_hours))
        };
        assert_eq!(run(100, 10), Some(10 * DAY + 36_000_000));
        assert_eq!((run(200, 10), run(201, 10)), (None, None));
        assert_eq!(run(202, 10), Some(112 * DAY + 36_000_000));
        assert_eq!(run(203, 1), Some(113 * DAY + 3_600_000), "from there on its time is kept");
        assert_eq!((run(400, 23), run(401, 0)), (None, None), "and another jump is given a day of its own");
    }

    #[test]
    fn an_empty_log_is_not_suspicious() {
        assert_eq!(Clock::new(1000 * DAY, None).cutoff_ms(90, Duration::ZERO), Some(910 * DAY));
    }
}
