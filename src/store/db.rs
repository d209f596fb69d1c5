//! Opening the database, and living with one that breaks.
//!
//! A [`Store`] is a handle that outlives its database: when sled reports a failure (such as a device error) it
//! refuses all further work until it is opened anew. So the trees live behind a lock that [`Store::revive`] empties,
//! waits on, and fills again. Readers take the trees for one call and see [`StoreError::Down`] in between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

use super::closer::Closer;
use super::damaged::count_damaged;
use super::data_dir::{DIRECTORY, has_broken, log_in, make_private};
use super::error::{OpenError, StoreError};
use super::fingerprint::Salt;
use super::migrate::{is_bare, migrate};
use super::rollup::Rollup;
use super::room::{Room, find_room};
use super::torn::drop_torn;
use super::transient;
use super::trees::{FLUSH_HANGS, Failure, Trees, note_pool, try_threads, when_free};
use crate::config;
use crate::protocol::DecisionId;

/// What is said of a database's file in which nothing is.
const BARE: &str = "its file is empty or was cut short (a first start that was cut off leaves such a one, too)";

/// In what state the database was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenState {
    /// The existing database, or a new one in a new directory.
    Opened,
    /// The existing one could not be read: it was set aside and a new one begun.
    Replaced {
        /// Where the broken one is now.
        kept: PathBuf,
        /// The error.
        reason: String,
    },
    /// The directory cannot be written: records live in memory and die with the process; no feedback is acknowledged.
    Memory {
        /// Why.
        reason: String,
    },
}

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
    /// Whether what is acknowledged survives the process.
    pub durable: bool,
    /// Since when the sums for the overview are complete (Unix milliseconds), while a log that was found is added up.
    pub complete_since_ms: Option<i64>,
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

    /// Notes that the database failed and closes it, so that it can be reopened. One without room stays open: it is
    /// sound as long as nothing is written to it, and closing would write.
    pub fn note_failure(&self, error: &StoreError) {
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
        if let Some(state) = set_aside {
            *self.shared.opened.lock() = state;
            self.begin_anew();
        }
        let revived = opened.and_then(|trees| {
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

/// Opens the database in a directory.
type Opener<'a> = dyn Fn(&Path) -> Result<Trees, Failure> + 'a;

/// Opens the database in the data directory `dir`; a broken one is set aside and a new one begun. `set_aside` tells so
/// even where the new one cannot be opened.
fn open_or_replace(
    dir: &Path,
    now_ms: i64,
    set_aside: &mut Option<OpenState>,
    open: &Opener,
) -> Result<Trees, Failure> {
    let path = log_in(dir);
    let is_there = path.join("db").exists();
    make_private(dir)
        .and_then(|()| make_private(&path))
        // One that is there can be read without room, and waits for it; one that is begun would be written at once.
        .and_then(|()| if is_there { Ok(()) } else { find_room(dir) })
        .map_err(|error| Failure::Unwritable(error.to_string()))?;
    let reason = match open(&path) {
        Err(Failure::Broken(reason)) => reason,
        done => return done,
    };
    let kept = dir.join(format!("{DIRECTORY}.broken-{now_ms}"));
    // Not where no new one could be begun: a later start would find an empty directory, and tell nobody of the old one.
    find_room(dir)
        .and_then(|()| std::fs::rename(&path, &kept))
        .map_err(|error| Failure::Unwritable(format!("{reason}; {error}")))?;
    tracing::error!(kept = %kept.display(), reason, "The decision log is damaged and was set aside; a fresh one begins");
    *set_aside = Some(OpenState::Replaced { kept, reason });
    open(&path)
}

/// Opens the database in `path`, if need be without what sled left half-written there.
fn open_mended(path: &Path, settings: &config::Store) -> Result<Trees, Failure> {
    match open_at(path, settings) {
        Err(Failure::Broken(_)) if drop_torn(path) => open_at(path, settings),
        done => done,
    }
}

fn open_at(path: &Path, settings: &config::Store) -> Result<Trees, Failure> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(settings.cache_mb.max(1) << 20)
        .flush_every_ms(Some(500))
        .mode(sled::Mode::HighThroughput);
    start(&config, path.join("db").exists())
}

/// A temporary database, and its directory.
fn in_memory(settings: &config::Store) -> Result<(Trees, PathBuf), OpenError> {
    let dir = transient::directory().map_err(|error| OpenError::Hopeless(error.to_string()))?;
    let config = sled::Config::new().path(&dir).temporary(true).cache_capacity(settings.cache_mb.max(1) << 20);
    let trees = start(&config, false).map_err(|failure| OpenError::Hopeless(failure.to_string()))?;
    Ok((trees, dir))
}

/// Starts sled, and migrates what it finds; `was_there`: there is a database's file.
fn start(config: &sled::Config, was_there: bool) -> Result<Trees, Failure> {
    try_threads()?;
    let started = catch_unwind(AssertUnwindSafe(|| -> Result<_, Failure> {
        let trees = Trees::open(config.open()?)?;
        note_pool();
        // sled begins anew in a file of which it can read nothing.
        if was_there && is_bare(&trees)? {
            return Err(Failure::Broken(BARE.to_owned()));
        }
        migrate(&trees)?;
        Ok(trees)
    }));
    started.unwrap_or_else(|panic| Err(Failure::of_panic(&*panic)))
}

/// The database's salt: the stored one, else `known`, else a new one.
fn salt_of(trees: &Trees, known: Option<Salt>) -> Result<Salt, StoreError> {
    const KEY: &str = "salt";
    if let Some(bytes) = trees.settings.get(KEY)?
        && let Ok(bytes) = <[u8; 16]>::try_from(&bytes[..])
    {
        return Ok(Salt::new(bytes));
    }
    let salt = known.unwrap_or_else(|| Salt::new(rand::random()));
    trees.settings.insert(KEY, salt.bytes())?;
    trees.db.flush()?;
    Ok(salt)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::sync_channel;

    use super::super::room::Disk;
    use super::*;

    /// A store in `dir`, on a disk of its own that says to have `free` bytes left.
    pub(crate) fn on_disk_with(dir: &Path, free: &Arc<AtomicU64>) -> Store {
        on_disk(dir, free, &Arc::default())
    }

    /// A store in `dir`, on a disk that says to have `free` bytes left and to hold `used`.
    pub(crate) fn on_disk(dir: &Path, free: &Arc<AtomicU64>, used: &Arc<AtomicU64>) -> Store {
        let (mut store, _) = Store::open(dir, &config::Store::default(), 0).unwrap();
        let (free, used) = (Arc::clone(free), Arc::clone(used));
        let disk = move |_: &Path| {
            let [free, used] = [&free, &used].map(|bytes| bytes.load(Ordering::Relaxed));
            Some(Disk { free, used })
        };
        Arc::get_mut(&mut store.shared).unwrap().room = Room::told_by(dir, disk);
        store
    }

    #[test]
    #[ignore = "the hung database stops all others of the process; run it alone"]
    fn a_database_that_hangs_while_it_is_closed_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        let error = break_it(&store, dir.path());
        let (told, health) = sync_channel(1);
        let revived = store.clone();
        std::thread::spawn(move || {
            store.note_failure(&error);
            let _late = told.send(store.health());
        });
        let health = health.recv_timeout(Duration::from_secs(10)).expect("closing hangs");
        assert!(health.failing.is_some());
        assert!(!revived.revive(0), "another database would hang, too");
    }

    /// Breaks the database so that a flush never ends: large values are files of their own, and sled gives up writing
    /// when it comes upon one that is missing. Returns the error.
    fn break_it(store: &Store, dir: &Path) -> StoreError {
        let trees = store.trees().unwrap();
        let write = |round: u8| {
            (0..20_000_u32).try_for_each(|key| trees.audit.insert(key.to_be_bytes(), vec![round; 100]).map(drop))
        };
        (0..20_u8).for_each(|key| drop(trees.audit.insert([key], vec![key; 300_000]).unwrap()));
        write(0).unwrap();
        trees.flush().unwrap();
        std::fs::remove_dir_all(log_in(dir).join("blobs")).unwrap();
        let mut rounds = (1..200_u8).map(write);
        rounds.find_map(Result::err).expect("sled misses no file").into()
    }

    /// Writes a store with some records in `dir`; their number.
    fn written(dir: &Path) -> usize {
        let (store, _) = Store::open(dir, &config::Store::default(), 0).unwrap();
        let audit = |at: u32| store.trees().unwrap().audit.insert(at.to_be_bytes(), vec![7; 900]).map(drop);
        (0..3000).try_for_each(audit).unwrap();
        store.flush().unwrap();
        store.trees().unwrap().audit.len()
    }

    #[test]
    fn a_file_that_was_emptied_or_cut_to_its_beginning_is_set_aside_and_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        for (at, bytes) in [0, 100].into_iter().enumerate() {
            assert_eq!(written(dir.path()), 3000);
            let file = std::fs::File::options().write(true).open(log_in(dir.path()).join("db")).unwrap();
            file.set_len(bytes).unwrap();
            let (store, report) = Store::open(dir.path(), &config::Store::default(), at as i64).unwrap();
            let OpenState::Replaced { kept, .. } = report else { panic!("{bytes}: {report:?}") };
            assert!(kept.join("db").exists() && store.trees().unwrap().audit.is_empty());
            drop(store);
            let (_, report) = Store::open(dir.path(), &config::Store::default(), 9).unwrap();
            assert_eq!(report, OpenState::Opened, "the fresh one has its schema version");
        }
    }

    #[test]
    fn what_was_set_aside_is_told_though_its_successor_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        store.set_log_bytes(7);
        store.note_failure(&StoreError::Down("no space".into()));
        let tries = std::cell::Cell::new(0);
        let open = |_: &Path| {
            tries.set(tries.get() + 1);
            Err(if tries.get() == 1 {
                Failure::Broken("torn".into())
            } else {
                Failure::Unwritable("no space".into())
            })
        };
        assert!(!store.revive_by(5, &open));
        assert!(store.revive(6));
        let kept = dir.path().join("log.broken-5");
        assert!(kept.join("db").exists());
        assert_eq!(store.health().opened, OpenState::Replaced { kept, reason: "torn".into() });
        assert_eq!(store.log_bytes(), 0);
        let left: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the old and the new database: {left:?}");
    }

    #[test]
    fn without_room_nothing_is_opened_anew_or_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let settings = config::Store::default();
        let (store, _) = Store::open(dir.path(), &settings, 0).unwrap();
        // Where a folder stands no file can be written, as on a full disk.
        let room = dir.path().join("log.room");
        std::fs::create_dir(&room).unwrap();
        store.note_failure(&StoreError::Down("no space".into()));
        assert!(!store.revive_by(1, &|_| panic!("it was opened")));
        std::fs::remove_dir(&room).unwrap();
        assert!(store.revive(2));
        assert_eq!(store.health().opened, OpenState::Opened);
        drop(store);

        std::fs::create_dir(&room).unwrap();
        std::fs::write(log_in(dir.path()).join("conf"), "no configuration").unwrap();
        let (_, report) = Store::open(dir.path(), &settings, 3).unwrap();
        assert!(matches!(report, OpenState::Memory { .. }), "{report:?}");
        std::fs::remove_dir(&room).unwrap();
        let (_, report) = Store::open(dir.path(), &settings, 4).unwrap();
        assert!(matches!(report, OpenState::Replaced { .. }), "{report:?}");
    }

    #[test]
    fn without_room_no_log_is_begun_and_one_that_is_there_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let state = || Store::open(dir.path(), &config::Store::default(), 0).unwrap().1;
        let room = dir.path().join("log.room");
        std::fs::create_dir(&room).unwrap();
        assert!(matches!(state(), OpenState::Memory { .. }));
        assert!(!log_in(dir.path()).join("db").exists());
        std::fs::remove_dir(&room).unwrap();
        assert_eq!(state(), OpenState::Opened);
        std::fs::create_dir(&room).unwrap();
        assert_eq!(state(), OpenState::Opened);
    }

    #[test]
    fn a_store_in_memory_goes_by_the_room_of_its_own_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        std::fs::write(&path, "a file in its place").unwrap();
        let (store, report) = Store::open(&path, &config::Store::default(), 0).unwrap();
        assert!(matches!(report, OpenState::Memory { .. }));
        let first = store.place();
        assert!(first.join("db").exists());
        store.note_failure(&StoreError::Down("no space".into()));
        assert!(store.revive(1));
        let second = store.place();
        assert!(second != first && second.join("db").exists());
    }
}
