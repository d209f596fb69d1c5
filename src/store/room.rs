//! Room on the disk for the decision log.
//!
//! sled must not meet a full disk: where a write finds no room in its middle, everybody behind it waits for ever, also
//! whoever closes the database. So each write says before how many bytes it has, and is refused where the disk is too
//! full for them ([`StoreError::Full`](super::StoreError)).
//!
//! A write takes a multiple of its bytes. sled keeps up to 16 values in a page, writes the page anew after some changes,
//! one beyond an eighth of a megabyte into a file of its own, and removes the page before only later.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::data_dir::{make_private, private};

/// Room that an open log may need at any time, since sled tidies up unasked.
const LEAST: u64 = 4 << 20;

/// Room for each byte of a write.
const PER_BYTE: u64 = 16;

/// What the system says to be free on the disk with a directory; `None` where it says nothing.
type Free = dyn Fn(&Path) -> Option<u64> + Send + Sync;

/// The room for a decision log.
pub(super) struct Room {
    /// A directory on the disk. A store in memory that is begun anew has another.
    dir: Mutex<PathBuf>,
    free: Box<Free>,
    /// The most room that new records did not find, in bytes, since there was enough last.
    missed: AtomicU64,
}

impl Room {
    /// Of the disk with the directory `dir`.
    pub fn of_disk(dir: &Path) -> Self {
        Self::told_by(dir, free_on_disk)
    }

    /// Without a limit.
    pub fn boundless() -> Self {
        Self::told_by(Path::new(""), |_| None)
    }

    /// As `free` says.
    pub fn told_by(dir: &Path, free: impl Fn(&Path) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { dir: Mutex::new(dir.to_owned()), free: Box::new(free), missed: AtomicU64::new(0) }
    }

    /// The directory.
    #[cfg(test)]
    pub fn dir(&self) -> PathBuf {
        self.dir.lock().clone()
    }

    /// Notes that the log is in the directory `dir` now.
    pub fn move_to(&self, dir: PathBuf) {
        *self.dir.lock() = dir;
    }

    /// Whether there is room to write `bytes`.
    pub fn has(&self, bytes: usize) -> bool {
        self.is_free(needed_for(bytes))
    }

    /// Notes that records of `bytes` could not be written.
    pub fn miss(&self, bytes: usize) {
        self.missed.fetch_max(needed_for(bytes), Ordering::Relaxed);
    }

    /// Whether there is enough again: more than what was missed, or the next records would find too little.
    pub fn is_back(&self) -> bool {
        let is_back = self.is_free(self.missed.load(Ordering::Relaxed).max(LEAST) + LEAST);
        if is_back {
            self.forget_missed();
        }
        is_back
    }

    /// Forgets what was missed.
    pub fn forget_missed(&self) {
        self.missed.store(0, Ordering::Relaxed);
    }

    fn is_free(&self, bytes: u64) -> bool {
        // Not asked under the lock: a disk that hangs does not answer.
        let dir = self.dir.lock().clone();
        (self.free)(&dir).is_none_or(|free| free >= bytes)
    }
}

/// Free room that a write of `bytes` needs.
fn needed_for(bytes: usize) -> u64 {
    LEAST + PER_BYTE * bytes as u64
}

#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "the counts are of different types on different systems")]
fn free_on_disk(dir: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut disk = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the call reads a string that ends in zero and writes to a value that outlives it; all zeros is a value.
    let (is_told, disk) = unsafe { (libc::statvfs(path.as_ptr(), disk.as_mut_ptr()) == 0, disk.assume_init()) };
    // Some file systems of networks tell no size.
    let is_told = is_told && disk.f_blocks > 0;
    is_told.then(|| u64::from(disk.f_bavail).saturating_mul(u64::from(disk.f_frsize)))
}

#[cfg(not(unix))]
fn free_on_disk(_: &Path) -> Option<u64> {
    None
}

/// Whether the data directory `dir` has room for the decision log to be opened or begun, tried with some megabytes: one
/// that is begun takes about one.
///
/// # Errors
///
/// When it has none, or cannot be written.
pub(super) fn find_room(dir: &Path) -> io::Result<()> {
    const ROOM: usize = 4 << 20;
    // In small pieces: the allocator would cut what the room took into the program's own pages, all of them touched.
    // No zeros: some file systems keep those for nothing.
    const PIECE: [u8; 64 << 10] = [0xa5; 64 << 10];
    make_private(dir)?;
    let path = dir.join("log.room");
    // A file of that name is a leftover, or a link that the directory's owner has made.
    let _ = fs::remove_file(&path);
    let tried = private().create_new(true).open(&path).and_then(|mut file| {
        for _ in 0..ROOM / PIECE.len() {
            file.write_all(&PIECE)?;
        }
        file.sync_all()
    });
    let _ = fs::remove_file(&path);
    tried
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
