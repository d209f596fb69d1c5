//! Detects changes of files.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file's metadata; `None` = there is no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<Look>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    written: SystemTime,
    length: u64,
    /// Device, inode and time of the last change of status: reproducible builds give all their files one modification
    /// time.
    identity: [i64; 4],
}

impl Stamp {
    /// The file as it is now. To be taken before the file is read, so that a change while it is read is noticed
    /// later.
    pub fn of(file: &Path) -> Self {
        let meta = std::fs::metadata(file).ok();
        Self(meta.and_then(|meta| {
            Some(Look { written: meta.modified().ok()?, length: meta.len(), identity: identity(&meta) })
        }))
    }

    /// Whether the file is empty now and was not before.
    pub fn lost_all_since(&self, before: &Self) -> bool {
        let length = |stamp: &Self| stamp.0.map(|look| look.length);
        length(self) == Some(0) && length(before).is_some_and(|length| length > 0)
    }
}

#[cfg(unix)]
fn identity(meta: &Metadata) -> [i64; 4] {
    use std::os::unix::fs::MetadataExt;
    [meta.dev() as i64, meta.ino() as i64, meta.ctime(), meta.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i64; 4] {
    [0; 4]
}

/// A file, and its stamp from before it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The file's path.
    pub path: PathBuf,
    /// The stamp.
    pub stamp: Stamp,
}

impl Stamped {
    /// A file about to be read.
    pub fn new(path: PathBuf) -> Self {
        let stamp = Stamp::of(&path);
        Self { path, stamp }
    }

    /// The same file as it is now.
    pub fn again(&self) -> Self {
        Self::new(self.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_made_or_deleted_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Stamped::new(dir.path().join("file"));
        assert_eq!(missing.again(), missing);
        std::fs::write(&missing.path, "a").unwrap();
        let written = missing.again();
        assert_ne!(written, missing);
        std::fs::write(&missing.path, "ab").unwrap();
        assert_ne!(written.again(), written);
        std::fs::remove_file(&missing.path).unwrap();
        assert_eq!(written.again(), missing);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_in_the_place_of_another_is_told_from_it_whatever_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let [file, next] = ["file", "next"].map(|name| dir.path().join(name));
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        write(&file, "1");
        let before = Stamped::new(file.clone());
        write(&next, "2");
        std::fs::rename(&next, &file).unwrap();
        assert_ne!(before.again(), before);
        assert!(!before.again().stamp.lost_all_since(&before.stamp));
        write(&file, "");
        assert!(before.again().stamp.lost_all_since(&before.stamp));
    }
}
