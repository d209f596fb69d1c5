//! The data directory: private to its owner, since the decision log in it may hold prompts.
//!
//! Operators run `token`, `import`, `export` and others as root beside a service that runs as another user. Files that
//! root makes in the service's directory are given to the directory's owner, or the service could not read them any
//! more. The commands stay root meanwhile: files that they read or write elsewhere may be root's alone.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::trees::{Failure, when_free};

/// The directory of the database inside the data directory.
pub(super) const DIRECTORY: &str = "log";

/// Creates `dir` and missing parents with access for the owner alone. An existing directory is left unchanged.
///
/// # Errors
///
/// When it cannot be created.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Options to open a file for writing that only its owner can read. They follow no link, since root uses them, too.
pub(super) fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options
}

/// Opens a new file at `path` that only its owner can read. What is there is removed, not opened: it may be a leftover
/// that others can read, or a link that somebody has laid there.
///
/// # Errors
///
/// When what is there cannot be removed, or no file created.
pub(super) fn private_anew(path: &Path) -> io::Result<fs::File> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    private().create_new(true).open(path)
}

/// Writes a file in the data directory `dir` that only its owner can read, replacing one of that name; returns its
/// path.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_private(dir: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    make_private(dir)?;
    let path = dir.join(name);
    private_anew(&path)?.write_all(text.as_bytes())?;
    give_to_owner_of(dir, &path);
    Ok(path)
}

/// Whether a database that was set aside is in the data directory `dir`.
pub(super) fn has_broken(dir: &Path) -> bool {
    let prefix = format!("{DIRECTORY}.broken-");
    let mut entries = dir.read_dir().into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
}

/// The decision log's directory in `dir`.
pub(super) fn log_in(dir: &Path) -> PathBuf {
    dir.join(DIRECTORY)
}

/// Waits until no process has the decision log in `dir` open, for about a second.
///
/// # Errors
///
/// When one still has it open.
pub fn await_free(dir: &Path) -> Result<(), OpenError> {
    when_free(|| lock(&log_in(dir)).map(drop)).map_err(|failure| failure.of(dir))
}

/// Locks the decision log in `path` as sled does, until the file is dropped; `None` where there is none.
///
/// # Errors
///
/// [`Failure::Locked`] where somebody has it open.
pub(super) fn lock(path: &Path) -> Result<Option<fs::File>, Failure> {
    let Ok(file) = fs::File::open(path.join("db")) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(Failure::Locked),
        // A file system without locks.
        Err(fs::TryLockError::Error(_)) => Ok(None),
    }
}

/// Gives `path`, and its contents if it is a directory, to the owner of `dir`. Only root can and needs to; a failure
/// changes nothing, and a process that then cannot read the file reports that.
///
/// The owner may be hostile and rename files meanwhile. So ownership changes by the opened descriptor, after it was
/// checked, and never through a link.
#[cfg(unix)]
pub(super) fn give_to_owner_of(dir: &Path, path: &Path) {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let (Ok(owner), Ok(file)) = (dir.metadata(), options.open(path)) else { return };
    let Ok(found) = file.metadata() else { return };
    // A file with a second name (hard link) may be any file of the system.
    let is_plain = found.is_dir() || (found.is_file() && found.nlink() == 1);
    if is_plain && (found.uid(), found.gid()) != (owner.uid(), owner.gid()) {
        let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
    if found.is_dir() {
        let within = format!("/proc/self/fd/{}", file.as_raw_fd());
        let within = if cfg!(target_os = "linux") { Path::new(&within) } else { path };
        let entries = within.read_dir().into_iter().flatten().flatten();
        entries.for_each(|entry| give_to_owner_of(dir, &entry.path()));
    }
}

#[cfg(not(unix))]
pub(super) fn give_to_owner_of(_: &Path, _: &Path) {}

/// On drop, gives the decision log in a data directory to the directory's owner: for commands that may open it as root.
/// It must be made before the store, so that it is dropped after it.
#[derive(Debug)]
pub struct HandOver(PathBuf);

impl HandOver {
    /// For the decision log in `dir`.
    pub fn of(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Gives away the files so far: a process that is stopped by a signal never drops it.
    pub fn so_far(&self) {
        give_to_owner_of(&self.0, &log_in(&self.0));
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        // sled's last thread writes a last file. A process that has the log open after that is the service, which owns
        // it.
        let _ = await_free(&self.0);
        self.so_far();
    }
}

#[cfg(all(test, unix))]
#[path = "data_dir_tests.rs"]
mod tests;
