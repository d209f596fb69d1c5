//! Opening the database: a new one, one that is there, one that is damaged and set aside, or one in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::data_dir::{DIRECTORY, log_in, make_private};
use super::error::{OpenError, StoreError};
use super::fingerprint::Salt;
use super::migrate::{is_bare, migrate};
use super::room::find_room;
use super::torn::drop_torn;
use super::transient;
use super::trees::{Failure, Trees, note_pool, try_threads};
use crate::config;

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

/// Opens the database in a directory.
pub(super) type Opener<'a> = dyn Fn(&Path) -> Result<Trees, Failure> + 'a;

/// Opens the database in the data directory `dir`; a broken one is set aside and a new one begun. `set_aside` tells so
/// even where the new one cannot be opened.
pub(super) fn open_or_replace(
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
pub(super) fn open_mended(path: &Path, settings: &config::Store) -> Result<Trees, Failure> {
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
pub(super) fn in_memory(settings: &config::Store) -> Result<(Trees, PathBuf), OpenError> {
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
pub(super) fn salt_of(trees: &Trees, known: Option<Salt>) -> Result<Salt, StoreError> {
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
