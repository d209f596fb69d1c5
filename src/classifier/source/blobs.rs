//! Downloading a file into the hub's cache: `blobs/<hash>` holds its bytes, `snapshots/<commit>/<name>` links to them.
//!
//! 1. A download holds `<hash>.lock`; others, in this program or another, wait as long as the file grows, and then find
//!    it.
//! 2. The file grows as `<hash>.part`, and a later try continues where an earlier one stopped.
//! 3. Length and SHA-256 are checked before it gets its name, so the cache never has a damaged file.
//!
//! Names and locks are those of the hub's own client, which shares the cache.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::client::{Client, Described};
use super::{DownloadProgress, SourceError};

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// Interval of checking whether another download has finished.
const LOOK: Duration = Duration::from_millis(200);

/// A file of a repository on its way into the cache.
#[derive(Debug)]
pub(super) struct Blob<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) commit: &'a str,
    pub(super) name: &'a str,
    pub(super) described: &'a Described,
    /// The folder `blobs`.
    pub(super) folder: PathBuf,
    /// Longest time that another may hold the lock without the file growing.
    pub(super) silence: Duration,
}

impl Blob<'_> {
    /// Downloads the file, or waits for another download of it.
    pub(super) fn bring(&self, progress: &mut dyn DownloadProgress) -> Result<(), SourceError> {
        std::fs::create_dir_all(&self.folder).map_err(|error| disk(&self.folder, &error))?;
        let (blob, part) = (self.path(""), self.path(".part"));
        let _lock = self.lock(&part)?;
        progress.begin(self.name, self.described.bytes);
        if blob.is_file() {
            if self.fault(&blob)?.is_none() {
                progress.advance(self.described.bytes);
                progress.end();
                return Ok(());
            }
            std::fs::remove_file(&blob).map_err(|error| disk(&blob, &error))?;
        }
        self.grow(&part, progress)?;
        if let Some(what) = self.fault(&part)? {
            let _ = std::fs::remove_file(&part);
            return Err(SourceError::Corrupt { file: self.name.to_owned(), what });
        }
        std::fs::rename(&part, &blob).map_err(|error| disk(&blob, &error))?;
        progress.end();
        Ok(())
    }

    /// Makes `link`, one folder deeper than `blobs`, a link to the file.
    pub(super) fn link(&self, link: &Path) -> Result<(), SourceError> {
        if let Some(folder) = link.parent() {
            std::fs::create_dir_all(folder).map_err(|error| disk(folder, &error))?;
        }
        // A link whose target is gone.
        if link.is_symlink() && !link.is_file() {
            std::fs::remove_file(link).map_err(|error| disk(link, &error))?;
        }
        let target = Path::new("../../blobs").join(&self.described.etag);
        match symlink(&target, link) {
            Err(_) if link.is_file() => Ok(()),
            // Where the system has no links, the file itself is moved there.
            Err(_) => std::fs::rename(self.path(""), link).map_err(|error| disk(link, &error)),
            Ok(()) => Ok(()),
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.described.etag))
    }

    /// Waits until no other download of the file runs.
    fn lock(&self, part: &Path) -> Result<File, SourceError> {
        let path = self.path(".lock");
        let file = File::create(&path).map_err(|error| disk(&path, &error))?;
        let grown = || part.metadata().map_or(0, |data| data.len());
        let (mut seen, mut since) = (grown(), Instant::now());
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                // A file system without locks: if two write at once, the hash will not match.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(disk(&path, &error)),
                Err(TryLockError::WouldBlock) => {}
            }
            let now = grown();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() >= self.silence {
                return Err(SourceError::Held { lock: path, seconds: self.silence.as_secs() });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Adds what is missing to `part`.
    fn grow(&self, part: &Path, progress: &mut dyn DownloadProgress) -> Result<(), SourceError> {
        let told = |error: Error| disk(part, &error);
        let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(told)?;
        let mut have = file.metadata().map_err(told)?.len();
        if have < self.described.bytes {
            let (begins, mut reader) = self.client.bytes(self.commit, self.name, have)?;
            if begins != have {
                file.set_len(begins).map_err(told)?;
                have = begins;
            }
            progress.advance(have);
            let mut piece = vec![0; PIECE];
            while have <= self.described.bytes {
                let read = match reader.read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(self.client.cut(error)),
                };
                file.write_all(&piece[..read]).map_err(told)?;
                have += read as u64;
                progress.advance(read as u64);
            }
        } else {
            progress.advance(have.min(self.described.bytes));
        }
        if have < self.described.bytes {
            return Err(SourceError::Cut(format!("{have} of {} bytes came", self.described.bytes)));
        }
        file.sync_all().map_err(told)
    }

    /// What is wrong with the bytes at `path`, if anything. A large file is named by its SHA-256; of a small one only
    /// the length is known.
    fn fault(&self, path: &Path) -> Result<Option<String>, SourceError> {
        let told = |error: Error| disk(path, &error);
        let mut file = File::open(path).map_err(told)?;
        let (bytes, etag) = (file.metadata().map_err(told)?.len(), &self.described.etag);
        if bytes != self.described.bytes {
            return Ok(Some(format!("it has {bytes} bytes, not {}", self.described.bytes)));
        }
        if etag.len() != 64 || !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(told)?;
        let found = super::hex(&hash.finalize());
        Ok((!found.eq_ignore_ascii_case(etag)).then(|| format!("its SHA-256 is {found}, not {etag}")))
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// The cache cannot be written.
pub(super) fn disk(path: &Path, error: &Error) -> SourceError {
    SourceError::Disk { path: path.to_owned(), why: error.to_string() }
}
