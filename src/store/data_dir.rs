//! The data directory: for its owner alone, since the log in it may hold prompts.
//!
//! Operators run `token`, `import`, `export` and others as root beside a service that runs as somebody else. What
//! root makes in the service's directory is given to whom the directory belongs, or the service could not read it any
//! more. They stay root meanwhile: the files that they are to read or write elsewhere may be root's alone.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::trees::{Failure, when_free};

/// The directory of the database inside the data directory.
pub(super) const DIRECTORY: &str = "log";

/// Makes `dir`, and what lacks above it, readable by nobody else. One that is there stays as its owner made it.
///
/// # Errors
///
/// When it cannot be made.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// To open a file to be written that only its owner can read, and no other that a link leads to: root comes here,
/// too.
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

/// Writes a file of the data directory `dir` that only its owner can read, in place of one of that name; its path.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_private(dir: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    make_private(dir)?;
    let path = dir.join(name);
    // Anew: one that is there might be anybody's to read.
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    private().create_new(true).open(&path)?.write_all(text.as_bytes())?;
    give_to_owner_of(dir, &path);
    Ok(path)
}

/// Where the log in `dir` is.
pub(super) fn log_in(dir: &Path) -> PathBuf {
    dir.join(DIRECTORY)
}

/// Waits until nobody has the log in `dir` open, for about a second.
fn await_closed(dir: &Path) {
    let path = log_in(dir);
    let is_free = || {
        let locked = std::fs::File::open(path.join("db")).map(|file| file.try_lock());
        if matches!(locked, Ok(Err(std::fs::TryLockError::WouldBlock))) { Err(Failure::Locked) } else { Ok(()) }
    };
    // sled writes a last file when its last thread ends. Who still has it after that is the service, and owns it.
    let _ = when_free(is_free);
}

/// Gives `path`, and what is in it if it is a directory, to whom `dir` belongs. Only root can, and only root has to;
/// a failure leaves it as it is, and whoever then cannot read it says so.
///
/// The owner may be an enemy by now, who changes names while root goes by them. So what is given away is what was
/// opened and looked at, and never what a link leads to.
#[cfg(unix)]
pub(super) fn give_to_owner_of(dir: &Path, path: &Path) {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let (Ok(owner), Ok(file)) = (dir.metadata(), options.open(path)) else { return };
    let Ok(found) = file.metadata() else { return };
    // A second name may be that of anything.
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

/// Gives the log in a data directory to whom the directory belongs once it is dropped, on whatever way out: for who
/// opens the log as root. To be made before the store, so that it is dropped after it.
#[derive(Debug)]
pub struct HandOver(PathBuf);

impl HandOver {
    /// Of the log in `dir`.
    pub fn of(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Gives away what is there by now: who is stopped by a signal comes to no other end.
    pub fn so_far(&self) {
        give_to_owner_of(&self.0, &log_in(&self.0));
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        await_closed(&self.0);
        self.so_far();
    }
}

#[cfg(all(test, unix))]
#[path = "place_tests.rs"]
mod tests;
