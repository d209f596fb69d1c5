//! The open database: its trees, and why it could not be opened.
//!
//! Below [`Store`](super::Store), which holds the trees while they work; also for code that handles the files without a
//! store.

use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use parking_lot::Mutex;

use super::block;
use super::error::OpenError;

/// The tree of blocks.
pub(super) const BLOCKS: &str = "blocks";

/// The schema this program reads and writes.
pub(super) const SCHEMA: u32 = 3;

/// How long a flush may take before it counts as a failure.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// What is said of one that takes longer.
pub(super) const FLUSH_HANGS: &str =
    "the database has not brought its records to disk for 30 seconds; if that goes on, restart the gateway";

/// The open database: one tree per kind of record.
#[derive(Debug)]
pub(super) struct Trees {
    pub db: sled::Db,
    /// Decisions and outcomes that came together, see [`block`].
    pub blocks: sled::Tree,
    pub decisions: sled::Tree,
    pub outcomes: sled::Tree,
    pub feedback: sled::Tree,
    pub snapshots: sled::Tree,
    pub policies: sled::Tree,
    pub settings: sled::Tree,
    pub audit: sled::Tree,
    /// Records that could not be read, under the name of their tree.
    pub damaged: sled::Tree,
    /// When the flush under way began; dangling where there is none.
    pub flushing: Mutex<Weak<Instant>>,
}

impl Trees {
    /// The trees of `db`; missing ones are created.
    pub fn open(db: sled::Db) -> Result<Self, Failure> {
        Ok(Self {
            blocks: db.open_tree(BLOCKS)?,
            decisions: db.open_tree("decisions")?,
            outcomes: db.open_tree("outcomes")?,
            feedback: db.open_tree("feedback")?,
            snapshots: db.open_tree("snapshots")?,
            policies: db.open_tree("policies")?,
            settings: db.open_tree("settings")?,
            audit: db.open_tree("audit")?,
            damaged: db.open_tree("damaged")?,
            db,
            flushing: Mutex::default(),
        })
    }

    /// Waits until everything written so far is on disk.
    pub fn flush(&self) -> Result<(), sled::Error> {
        let began = Arc::new(Instant::now());
        {
            let mut flushing = self.flushing.lock();
            // Of several at once the first is timed: sled ends them together.
            if flushing.strong_count() == 0 {
                *flushing = Arc::downgrade(&began);
            }
        }
        self.db.flush().map(drop)
    }

    /// Whether a flush takes so long that it may never end: sled waits without a limit where its files are gone.
    pub fn flush_hangs(&self) -> bool {
        self.flushing.lock().upgrade().is_some_and(|began| began.elapsed() > FLUSH_LIMIT)
    }

    /// The key of the newest decision.
    pub fn newest(&self) -> Result<Option<block::Key>, sled::Error> {
        let alone = self.decisions.last()?.and_then(|(key, _)| block::Key::try_from(&key[..]).ok());
        let in_block = self.blocks.last()?.and_then(|(_, value)| block::last_id(&value));
        Ok(alone.max(in_block))
    }

    /// The only block that can have this decision: the last one that does not begin after it.
    pub fn block_before(&self, id: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, sled::Error> {
        self.blocks.range(..=id).next_back().transpose()
    }
}

/// Why one attempt to open failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("another process has it open")]
    Locked,
    #[error("a later program wrote it (schema {0})")]
    Newer(u32),
    #[error("its threads cannot be started: {0}")]
    Threads(String),
    #[error("{0}")]
    Unwritable(String),
    #[error("{0}")]
    Broken(String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match &error {
            // sled has no error kind for this.
            sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => Self::Locked,
            sled::Error::Io(io) => match io.kind() {
                // A file that ends too early or is invalid is damage to the database; other errors come from the
                // system.
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => {
                    Self::Broken(error.to_string())
                }
                _ => Self::Unwritable(error.to_string()),
            },
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl Failure {
    /// What a panic of sled means: it asserts on some damaged files instead of returning an error. But a thread that it
    /// cannot start says nothing against the files.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Self {
        match panic.downcast_ref::<String>().filter(|said| said.contains("kind: WouldBlock")) {
            Some(said) => Self::Threads(said.clone()),
            None => Self::Broken("the database's files are damaged".to_owned()),
        }
    }

    /// The failure as an error that ends opening the database in `dir`.
    pub fn of(self, dir: &Path) -> OpenError {
        let path = dir.to_owned();
        match self {
            Self::Locked => OpenError::Locked { path },
            Self::Newer(found) => OpenError::Newer { path, found, known: SCHEMA },
            Self::Threads(reason) => OpenError::Threads { reason },
            Self::Unwritable(reason) | Self::Broken(reason) => OpenError::Unreadable { path, reason },
        }
    }
}

/// Whether sled's pool of threads, which all databases of the process share, is there.
static POOL_RUNS: AtomicBool = AtomicBool::new(false);

/// Notes that sled has opened a database, and with it started its pool.
pub(super) fn note_pool() {
    POOL_RUNS.store(true, Ordering::Relaxed);
}

/// Tries whether the threads that sled needs can be started, as many at once: it panics where it cannot start the one
/// of a database, and waits for ever on a pool that has none.
pub(super) fn try_threads() -> Result<(), Failure> {
    const OF_A_DATABASE: usize = 1;
    const OF_THE_POOL: usize = 7;
    let needed = if POOL_RUNS.load(Ordering::Relaxed) { OF_A_DATABASE } else { OF_A_DATABASE + OF_THE_POOL };
    let gate = Mutex::new(());
    let started = thread::scope(|scope| {
        let _all_are_there = gate.lock();
        let start = |_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop);
        (0..needed).try_for_each(start)
    });
    started.map_err(|error: io::Error| Failure::Threads(error.to_string()))
}

/// Calls `open`, and again for a second while another process has the files locked: sled's threads hold the lock a
/// moment longer than the last handle, and a restarted gateway may still be closing.
pub(super) fn when_free<T>(mut open: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match open() {
            Err(Failure::Locked) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    open()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::catch_unwind;

    use super::super::db::Store;
    use super::*;

    /// A flush that hangs, until it is dropped.
    pub(crate) fn hung(store: &Store) -> Arc<Instant> {
        let began = Arc::new(Instant::now().checked_sub(Duration::from_secs(31)).unwrap());
        *store.trees().unwrap().flushing.lock() = Arc::downgrade(&began);
        began
    }

    #[test]
    fn a_panic_for_want_of_a_thread_is_no_damage() {
        let meant = |panics: fn()| Failure::of_panic(&*catch_unwind(panics).unwrap_err());
        fn failed() -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        }
        let no_thread = || failed().unwrap();
        assert!(matches!(meant(no_thread), Failure::Threads(_)));
        assert!(matches!(meant(|| assert_eq!(1, 2, "a checksum")), Failure::Broken(_)));
        assert!(matches!(meant(|| panic!("a page is missing")), Failure::Broken(_)));
    }

    #[test]
    fn a_flush_that_does_not_end_is_told() {
        let store = Store::in_memory().unwrap();
        store.flush().unwrap();
        assert_eq!(store.health().failing, None);
        let flush = hung(&store);
        assert_eq!(store.health().failing.as_deref(), Some(FLUSH_HANGS));
        drop(flush);
        assert_eq!(store.health().failing, None);
    }
}
