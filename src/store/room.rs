//! Room on the disk for the decision log.
//!
//! sled must not meet a full disk: where a write finds no room in its middle, everybody behind it waits for ever, also
//! whoever closes the database. So each write says before how many bytes it has, and is refused where the disk is too
//! full for them ([`StoreError::Full`](super::StoreError)).
//!
//! A write takes a multiple of its bytes. sled keeps up to 16 values in a page, writes the page anew after some changes,
//! one beyond an eighth of a megabyte into a file of its own, and removes the page before only later.
//!
//! Also what is deleted is written: so everything else leaves some room to deletions.
//!
//! **A log that fills its disk itself** goes on there, without its oldest entries. sled's file hardly ever shrinks, but
//! what is deleted leaves room in it: the less is free on the disk, the smaller a part of the files the records may be
//! ([`Store::look_for_room`], which retention asks). Where that part is small enough sled finds room inside, and records
//! are written also where the disk has none but for deletions.
//!
//! Who has filled a disk cannot be told for certain, and what others put there may be gone in a moment. So only as much is
//! deleted as new records need, once they need it: of a log that rests nothing is, and on a disk that others have filled
//! for the most part nothing at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::data_dir::{make_private, private};
use super::db::Store;
use super::error::StoreError;
use super::trees::Trees;

/// Room that an open log may need at any time, since sled tidies up unasked.
const LEAST: u64 = 4 << 20;

/// Room from which on new records are written. What is below is for a restart (7 MB were seen) and for deletions: the
/// largest block, of texts that do not pack, needs 1.4 MB, the older half of a log of 26 MB took 5 before sled used again
/// what they left.
const TO_WRITE: u64 = LEAST + (8 << 20);

/// Room from which on the log may grow as it likes, also where it has filled the disk itself. Where half of the files is
/// records, as is usual, 28 MB are left: enough for whole rounds with prompts. Where all of the log is replaced within
/// half a minute 10 to 24 were seen.
const AMPLE: u64 = LEAST + (48 << 20);

/// Bytes of the files for each byte of the records: 2 in a log that grows, up to 4 where all of it is replaced within a
/// minute.
const FILES_PER_BYTE: u64 = 4;

/// Least room that is made at once where records found none: a log that others' files have left without any is to go on
/// in some seconds, and a moment's want must not empty it.
const STEP: u64 = 4 << 20;

/// Bytes of records from which deleting some is worthwhile: a slice has about as many.
const WORTHWHILE: u64 = 64 << 10;

/// Room for each byte of a write.
const PER_BYTE: u64 = 16;

/// What the system says of a disk, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub free: u64,
    /// What is on it, of whomever.
    pub used: u64,
}

/// What the system says of the disk with a directory; `None` where it says nothing.
type Asked = dyn Fn(&Path) -> Option<Disk> + Send + Sync;

/// The room for a decision log.
pub(super) struct Room {
    /// A directory on the disk. A store in memory that is begun anew has another.
    dir: Mutex<PathBuf>,
    disk: Box<Asked>,
    /// What sled has inside its files, where the log has nearly filled the disk itself.
    inside: AtomicU64,
    /// Room that new records took or did not find since retention looked.
    needed: AtomicU64,
}

impl Room {
    /// Of the disk with the directory `dir`.
    pub fn of_disk(dir: &Path) -> Self {
        Self::told_by(dir, ask)
    }

    /// Without a limit.
    pub fn boundless() -> Self {
        Self::told_by(Path::new(""), |_| None)
    }

    /// As `disk` says.
    pub fn told_by(dir: &Path, disk: impl Fn(&Path) -> Option<Disk> + Send + Sync + 'static) -> Self {
        let [inside, needed] = [0, 0].map(AtomicU64::new);
        Self { dir: Mutex::new(dir.to_owned()), disk: Box::new(disk), inside, needed }
    }

    /// The directory.
    pub fn dir(&self) -> PathBuf {
        self.dir.lock().clone()
    }

    /// Notes that the log is in the directory `dir` now.
    pub fn move_to(&self, dir: PathBuf) {
        *self.dir.lock() = dir;
        self.inside.store(0, Ordering::Relaxed);
    }

    /// Most bytes of a write that leaves `least` free.
    fn beyond(&self, least: u64) -> Option<usize> {
        let Some(free) = self.free() else { return Some(usize::MAX) };
        free.checked_sub(least).map(most)
    }

    /// Most bytes of a write that finds room inside the files, and some on the disk should it not.
    fn inside(&self) -> Option<usize> {
        let inside = Some(self.inside.load(Ordering::Relaxed)).filter(|inside| *inside > 0)?;
        self.beyond(LEAST).map(|most_free| most_free.min(most(inside)))
    }

    /// Notes that `bytes` of records were written.
    pub fn note_written(&self, bytes: u64) {
        let less = |inside: u64| Some(inside.saturating_sub(FILES_PER_BYTE * bytes));
        let _always = self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Notes that new records of so many `bytes` were written.
    pub fn note_records(&self, bytes: u64) {
        self.needed.fetch_add(FILES_PER_BYTE * bytes, Ordering::Relaxed);
    }

    /// Notes that new records of so many `bytes` found no room.
    fn note_refused(&self, bytes: u64) {
        self.note_records(bytes);
        self.needed.fetch_max(STEP, Ordering::Relaxed);
    }

    /// Whether there is enough again for a log that found none: some more than it needs, or it would find too little
    /// soon.
    pub fn is_back(&self) -> bool {
        self.free().is_none_or(|free| free >= TO_WRITE + LEAST)
    }

    fn free(&self) -> Option<u64> {
        self.disk().map(|disk| disk.free)
    }

    fn disk(&self) -> Option<Disk> {
        // Not asked under the lock: a disk that hangs does not answer.
        let dir = self.dir();
        (self.disk)(&dir)
    }
}

/// Most bytes of a write for which there is `room`.
fn most(room: u64) -> usize {
    usize::try_from(room / PER_BYTE).unwrap_or(usize::MAX)
}

impl Store {
    /// The directory on whose disk the log needs room: the data directory, or one of a store in memory.
    pub fn place(&self) -> PathBuf {
        self.room().dir()
    }

    /// The open database, for `bytes` to be written to it.
    ///
    /// # Errors
    /// As [`trees`](Self::trees) and [`find_room`](Self::find_room).
    pub(super) fn trees_to_write(&self, bytes: usize) -> Result<Arc<Trees>, StoreError> {
        let trees = self.trees()?;
        self.find_room(bytes).map(|()| trees)
    }

    /// To be asked before anything is written, see [`room`](super::room).
    ///
    /// # Errors
    /// Where the disk is too full for `bytes` more.
    pub(super) fn find_room(&self, bytes: usize) -> Result<(), StoreError> {
        if self.room_for() >= Some(bytes) { Ok(()) } else { Err(StoreError::Full) }
    }

    /// As [`find_room`](Self::find_room), for new records of `bytes`: where they find none retention makes some.
    ///
    /// # Errors
    /// Where the disk is too full for them.
    pub fn find_room_for_records(&self, bytes: usize) -> Result<(), StoreError> {
        self.find_room(bytes).inspect_err(|_| self.room().note_refused(bytes as u64))
    }

    /// To be asked before anything is deleted, and before it is noted what was.
    ///
    /// # Errors
    /// Where the disk is too full for that.
    pub(super) fn find_room_to_delete(&self, bytes: usize) -> Result<(), StoreError> {
        if self.room_to_delete() >= Some(bytes) { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Most bytes that there is room to delete; `None` where there is none at all.
    pub(super) fn room_to_delete(&self) -> Option<usize> {
        self.room().beyond(LEAST)
    }

    /// Most bytes of records that there is room to write; `None` where there is none at all.
    pub fn room_for(&self) -> Option<usize> {
        self.room().beyond(TO_WRITE).max(self.room().inside())
    }

    /// Whether there is room in the files, for a log that found none on the disk.
    pub(super) fn has_room_inside(&self) -> bool {
        self.room().inside() >= Some(most(1 << 20))
    }

    /// Most bytes of records that the log may keep for now where it has nearly filled its disk itself and new records need
    /// room, `None` elsewhere. Notes how much room sled has in its files.
    ///
    /// # Errors
    /// When the database fails.
    pub fn look_for_room(&self) -> Result<Option<u64>, StoreError> {
        let needed = self.room().needed.swap(0, Ordering::Relaxed);
        if !self.is_counted() && self.cramped().is_some() {
            self.count_log()?;
        }
        let most = self.note_room_inside();
        let bytes = self.log_bytes();
        Ok(match most.filter(|most| *most < bytes) {
            None => None,
            Some(_) if needed < WORTHWHILE => {
                self.room().needed.fetch_add(needed, Ordering::Relaxed);
                None
            }
            Some(most) => Some(most.max(bytes.saturating_sub(needed))),
        })
    }

    /// Notes how much room sled has in its files; most bytes of records in the end, of a log that has nearly filled its
    /// disk itself.
    pub(super) fn note_room_inside(&self) -> Option<u64> {
        let cramped = self.cramped();
        let inside = cramped.map_or(0, |(files, _)| files.saturating_sub(FILES_PER_BYTE * self.log_bytes()));
        self.room().inside.store(inside, Ordering::Relaxed);
        cramped.map(|(_, most)| most)
    }

    /// Bytes of the files, and most bytes of records in the end, of a log that has nearly filled its disk itself.
    fn cramped(&self) -> Option<(u64, u64)> {
        let Disk { free, used } = self.room().disk().filter(|disk| disk.free < AMPLE)?;
        let files = self.trees().ok()?.db.size_on_disk().ok()?;
        if files < used / 2 {
            return None;
        }
        // From all of the files to an eighth of them. Not to nothing: what is deleted takes room on the disk at first.
        let most = files / 64 * (free.saturating_sub(LEAST) * 64 / (AMPLE - LEAST)).max(8);
        Some((files, most.max(1)))
    }
}

#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "the counts are of different types on different systems")]
fn ask(dir: &Path) -> Option<Disk> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut disk = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the call reads a string that ends in zero and writes to a value that outlives it; all zeros is a value.
    let (is_told, disk) = unsafe { (libc::statvfs(path.as_ptr(), disk.as_mut_ptr()) == 0, disk.assume_init()) };
    // Some file systems of networks tell no size.
    let is_told = is_told && disk.f_blocks > 0;
    let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(disk.f_frsize));
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    is_told.then(|| Disk { free: bytes(disk.f_bavail), used: bytes(used) })
}

#[cfg(not(unix))]
fn ask(_: &Path) -> Option<Disk> {
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
    static PIECE: [u8; 64 << 10] = [0xa5; 64 << 10];
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
