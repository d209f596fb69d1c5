//! The store: a database that is open, and how the gateway lives with one that breaks.
//!
//! A [`Store`] is a handle that outlives its database: when sled reports a failure (such as a device error) it
//! refuses all further work until it is opened anew. So the trees live behind a lock that [`Store::revive`] empties,
//! waits on, and fills again. Readers take the trees for one call and see [`StoreError::Down`] in between.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

use super::closer::Closer;
use super::damaged::count_damaged;
use super::data_dir::{has_broken, log_in};
use super::error::{OpenError, StoreError};
use super::fingerprint::Salt;
use super::opening::{OpenState, Opener, in_memory, open_mended, open_or_replace, salt_of};
use super::rescue::{DAMAGED, take_over};
use super::rollup::Rollup;
use super::room::{Room, find_room};
use super::trees::{FLUSH_HANGS, Failure, Trees, when_free};
use crate::config;
use crate::protocol::DecisionId;

/// The store's health, for `/health` and the dashboard.
#[derive(Debug, Clone)]
pub struct Health {
    /// In what state it was opened last.
    pub opened: OpenState,
    /// The current failure, if any.
    pub failing: Option<String>,
    /// Number of times it was reopened after a failure.
    pub revivals: u64,
    /// Number of unreadable records set aside since the database was made.
    pub damaged: u64,
    /// Whether a damaged database of an earlier run was found in the data directory, where it is set aside.
    pub left_broken: bool,
    /// Whether what is acknowledged survives the process, unless it is failing.
    pub durable: bool,
    /// Since when the sums for the overview are complete (Unix milliseconds), while a log that was found is added up.
    pub complete_since_ms: Option<i64>,
}

impl Health {
    /// Whether what is acknowledged now survives the process.
    pub fn is_durable(&self) -> bool {
        self.durable && self.failing.is_none()
    }
}

struct Shared {
    dir: PathBuf,
    settings: config::Store,
    durable: bool,
    room: Room,
    left_broken: bool,
    opened: Mutex<OpenState>,
    salt: Salt,
    trees: RwLock<Option<Arc<Trees>>>,
    /// Closes the last database that failed.
    closer: Mutex<Option<Closer>>,
    failing: Mutex<Option<String>>,
    /// Whether a part of the database that failed cannot be read.
    is_damaged: AtomicBool,
    revivals: AtomicU64,
    damaged: AtomicU64,
    /// Bytes of records in the log, as retention counts them.
    log_bytes: AtomicU64,
    /// Whether they were counted in this process: a saved size may be too small.
    is_counted: AtomicBool,
    /// The highest version given to a snapshot. In memory, since a database that is replaced while running forgets it.
    version: AtomicU64,
    rollup: Mutex<Rollup>,
    /// [`Rollup::complete_since_ms`], 0 for `None`: the lock beside it is held while the log is written, which may
    /// hang.
    complete_since_ms: AtomicI64,
    /// Held for reading during walks over the trees, for writing by [`compact`](super::compact), which moves records
    /// between them.
    still: RwLock<()>,
}

/// The store; a cheap handle.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in the directory `dir`, and creates it where there is none. A broken database is renamed with
    /// `now_ms`.
    ///
    /// # Errors
    /// When another process has it open for longer than a second, a later program wrote it, or no more threads can be
    /// started: all are for the operator to settle. Damage and a directory that cannot be written are no errors, see
    /// [`OpenState`].
    pub fn open(dir: &Path, settings: &config::Store, now_ms: i64) -> Result<(Self, OpenState), OpenError> {
        let mut set_aside = None;
        let open = |path: &Path| open_mended(path, settings);
        let (trees, opened, room) = match when_free(|| open_or_replace(dir, now_ms, &mut set_aside, &open)) {
            Ok(trees) => (trees, set_aside.unwrap_or(OpenState::Opened), Room::of_disk(dir)),
            Err(failure @ (Failure::Locked | Failure::Newer(_) | Failure::Threads(_))) => return Err(failure.of(dir)),
            Err(Failure::Unwritable(reason) | Failure::Broken(reason)) => {
                let (trees, dir) = in_memory(settings)?;
                (trees, OpenState::Memory { reason }, Room::of_disk(&dir))
            }
        };
        Ok((Self::with(dir, settings, trees, opened.clone(), room)?, opened))
    }

    /// Opens the store in `dir` only if there is one, for commands that read. A store that cannot be read is left
    /// unchanged.
    ///
    /// # Errors
    /// When there is none, another process has it open, a later program wrote it, or it cannot be read.
    pub fn open_existing(dir: &Path, settings: &config::Store) -> Result<Self, OpenError> {
        let path = log_in(dir);
        if !path.join("db").exists() {
            return Err(OpenError::Missing { path: dir.to_owned() });
        }
        let trees = when_free(|| open_mended(&path, settings)).map_err(|failure| failure.of(dir))?;
        Self::with(dir, settings, trees, OpenState::Opened, Room::of_disk(dir))
    }

    /// A temporary store that is deleted with its last handle: for tests, and for `route` where there is no log.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn in_memory() -> Result<Self, OpenError> {
        let settings = config::Store::default();
        let (trees, _) = in_memory(&settings)?;
        let opened = OpenState::Memory { reason: "asked for".to_owned() };
        Self::with(Path::new(""), &settings, trees, opened, Room::boundless())
    }

    fn with(
        dir: &Path,
        settings: &config::Store,
        trees: Trees,
        opened: OpenState,
        room: Room,
    ) -> Result<Self, OpenError> {
        let salt = salt_of(&trees, None).map_err(|error| OpenError::Hopeless(error.to_string()))?;
        let newest = trees.newest().ok().flatten().map(|key| DecisionId(Uuid::from_bytes(key)));
        let rollup = Rollup::new(newest);
        let durable = !matches!(opened, OpenState::Memory { .. });
        let shared = Shared {
            dir: dir.to_owned(),
            settings: settings.clone(),
            durable,
            room,
            left_broken: opened == OpenState::Opened && has_broken(dir),
            opened: Mutex::new(opened),
            salt,
            damaged: AtomicU64::new(count_damaged(&trees)),
            complete_since_ms: AtomicI64::new(rollup.complete_since_ms().unwrap_or(0)),
            rollup: Mutex::new(rollup),
            log_bytes: AtomicU64::new(0),
            is_counted: AtomicBool::new(false),
            version: AtomicU64::new(0),
            trees: RwLock::new(Some(Arc::new(trees))),
            closer: Mutex::new(None),
            failing: Mutex::new(None),
            is_damaged: AtomicBool::new(false),
            revivals: AtomicU64::new(0),
            still: RwLock::new(()),
        };
        let store = Self { shared: Arc::new(shared) };
        let loaded = store.load_log_size().and_then(|()| store.last_version());
        store.note_version(loaded.map_err(|error| OpenError::Hopeless(error.to_string()))?);
        // For what is written before retention looks.
        store.note_room_inside();
        Ok(store)
    }

    /// The secret behind this store's fingerprints.
    pub fn salt(&self) -> Salt {
        self.shared.salt
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The configuration it was opened with.
    pub fn settings(&self) -> &config::Store {
        &self.shared.settings
    }

    /// Whether acknowledged records survive the process: not those of a store in memory.
    pub fn is_durable(&self) -> bool {
        self.shared.durable
    }

    /// The store's health. It reads nothing on disk: probes ask for it on the threads that serve connections.
    pub fn health(&self) -> Health {
        // One lock at a time: guards taken inside the literal would live to its end.
        let opened = self.shared.opened.lock().clone();
        let failing = self.shared.failing.lock().clone();
        Health {
            opened,
            failing: failing.or_else(|| self.hangs().map(str::to_owned)),
            revivals: self.shared.revivals.load(Ordering::Relaxed),
            damaged: self.shared.damaged.load(Ordering::Relaxed),
            left_broken: self.shared.left_broken,
            durable: self.is_durable(),
            complete_since_ms: self.complete_since_ms(),
        }
    }

    /// What is wrong where a flush may never end, and so nothing else that waits for it. Asking waits for nothing.
    pub fn hangs(&self) -> Option<&'static str> {
        self.trees().is_ok_and(|trees| trees.flush_hangs()).then_some(FLUSH_HANGS)
    }

    /// Since when the sums for the overview are complete, Unix milliseconds; `None` once all is added up.
    pub fn complete_since_ms(&self) -> Option<i64> {
        Some(self.shared.complete_since_ms.load(Ordering::Relaxed)).filter(|since_ms| *since_ms != 0)
    }

    pub(super) fn note_complete_since(&self, since_ms: Option<i64>) {
        self.shared.complete_since_ms.store(since_ms.unwrap_or(0), Ordering::Relaxed);
    }

    /// The trees, to be held for one call only.
    pub(super) fn trees(&self) -> Result<Arc<Trees>, StoreError> {
        let trees = self.shared.trees.read().as_ref().map(Arc::clone);
        trees.ok_or_else(|| StoreError::Down(self.shared.failing.lock().clone().unwrap_or_default()))
    }

    /// The room for the log.
    pub(super) fn room(&self) -> &Room {
        &self.shared.room
    }

    /// Notes that records find room again.
    pub fn note_room(&self) {
        if self.shared.failing.lock().take().is_some() {
            self.shared.revivals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything written so far is on disk.
    ///
    /// # Errors
    /// When the database fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        Ok(self.trees()?.flush()?)
    }

    /// The sums over time. Locked while the log is written, so that they agree with it.
    pub(super) fn rollup(&self) -> MutexGuard<'_, Rollup> {
        self.shared.rollup.lock()
    }

    /// While the guard is held, no record moves between trees. Several guards can be held at once, also by one thread.
    pub(super) fn hold_still(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.still.read()
    }

    /// The permission to move records, if no walk is under way. It never waits: a waiting writer would block new
    /// readers.
    pub(super) fn try_to_move(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.shared.still.try_write()
    }

    pub(super) fn note_written(&self, bytes: u64) {
        self.shared.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.room.note_written(bytes);
    }

    pub(super) fn note_freed(&self, bytes: u64) {
        let less = |now: u64| Some(now.saturating_sub(bytes));
        let _always = self.shared.log_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn set_log_bytes(&self, bytes: u64) {
        self.shared.log_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.shared.log_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn note_counted(&self) {
        self.shared.is_counted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_counted(&self) -> bool {
        self.shared.is_counted.load(Ordering::Relaxed)
    }

    pub(super) fn note_damaged(&self, records: u64) {
        self.shared.damaged.fetch_add(records, Ordering::Relaxed);
    }

    /// Notes that a snapshot was given this version; the highest version so far.
    pub(super) fn note_version(&self, version: u64) -> u64 {
        self.shared.version.fetch_max(version, Ordering::Relaxed).max(version)
    }

    /// Resets size, count of damaged records and sums for a new, empty database.
    fn begin_anew(&self) {
        self.set_log_bytes(0);
        self.shared.damaged.store(0, Ordering::Relaxed);
        *self.shared.rollup.lock() = Rollup::new(None);
        self.note_complete_since(None);
    }

    /// Notes that the database failed and closes it, so that it can be reopened, or set aside where a part of it cannot be
    /// read. One without room stays open: it is sound as long as nothing is written to it, and closing would write.
    pub fn note_failure(&self, error: &StoreError) {
        self.shared.is_damaged.fetch_or(error.is_damage(), Ordering::Relaxed);
        let mut failing = self.shared.failing.lock();
        if failing.is_none() {
            *failing = Some(error.to_string());
        }
        drop(failing);
        let closes = !matches!(error, StoreError::Full);
        // The guard must be gone before the trees are: all readers wait for it.
        let closed = closes.then(|| self.shared.trees.write().take()).flatten();
        if let Some(trees) = closed {
            *self.shared.closer.lock() = Closer::start(trees);
        }
    }

    /// Notes a failure that a reader came upon, if it is one that lasts.
    pub fn note_if_damaged(&self, error: &StoreError) {
        if error.is_damage() {
            self.note_failure(error);
        }
    }

    /// Reopens a closed database. `false` while it cannot be opened (or a reader still holds the old one). Only the
    /// writer calls it; readers meanwhile get [`StoreError::Down`].
    pub fn revive(&self, now_ms: i64) -> bool {
        self.revive_by(now_ms, &|path| open_mended(path, &self.shared.settings))
    }

    fn revive_by(&self, now_ms: i64, open: &Opener) -> bool {
        if self.shared.trees.read().is_some() {
            let has_room = self.shared.room.is_back() || self.has_room_inside();
            if has_room {
                self.note_room();
            }
            return has_room;
        }
        // sled holds a lock of the whole process while it flushes: beside a database that never closes, another one
        // hangs.
        let closing = || self.shared.closer.lock().as_ref().is_some_and(|closer| !closer.is_done());
        for _ in 0..50 {
            if closing() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if closing() {
            return false;
        }
        let mut set_aside = None;
        let sets_aside = Cell::new(self.shared.is_damaged.swap(false, Ordering::Relaxed));
        let open = &|path: &Path| match sets_aside.take() {
            true => Err(Failure::Broken(DAMAGED.to_owned())),
            false => open(path),
        };
        let opened = match self.is_durable() {
            // sled writes before it has read all: on a disk without room it would only leave more behind.
            true if !self.shared.room.is_back() => Err(Failure::Unwritable(StoreError::Full.to_string())),
            true => find_room(&self.shared.dir)
                .map_err(|error| Failure::Unwritable(error.to_string()))
                .and_then(|()| when_free(|| open_or_replace(&self.shared.dir, now_ms, &mut set_aside, open))),
            false => in_memory(&self.shared.settings).map_err(|error| Failure::Unwritable(error.to_string())).map(
                |(trees, dir)| {
                    self.shared.room.move_to(dir);
                    trees
                },
            ),
        };
        // Also where the new database cannot be opened yet: the next attempt knows nothing of the old one.
        let damaged = set_aside.as_ref().and_then(|state| match state {
            OpenState::Replaced { kept, reason } if reason == DAMAGED => Some(kept.clone()),
            _ => None,
        });
        if let Some(state) = set_aside {
            *self.shared.opened.lock() = state;
            self.begin_anew();
        }
        let revived = opened.and_then(|trees| {
            if let Some(kept) = &damaged {
                match take_over(kept, &trees, self.room_for().unwrap_or(0), &self.shared.settings) {
                    Ok(entries) => tracing::warn!(entries, "What can be read of the damaged log was taken over"),
                    Err(error) => tracing::error!(%error, "Not all of the damaged log was taken over"),
                }
            }
            // Fingerprints must stay comparable within a run, so a new database takes over the secret.
            salt_of(&trees, Some(self.shared.salt)).map_err(|error| Failure::Unwritable(error.to_string()))?;
            Ok(trees)
        });
        match revived {
            Ok(trees) => {
                if !self.is_durable() {
                    self.begin_anew();
                }
                *self.shared.trees.write() = Some(Arc::new(trees));
                if damaged.is_some()
                    && let Err(error) = self.load_log_size()
                {
                    tracing::warn!(%error, "The size of the decision log is not known until it is counted");
                }
                *self.shared.failing.lock() = None;
                self.shared.revivals.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(failure) => {
                *self.shared.failing.lock() = Some(failure.to_string());
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "db_tests.rs"]
pub(crate) mod tests;
