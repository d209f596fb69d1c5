//! How a file is seen to have changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// When a file was written, and how long it is, bytes; `None` = it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<(SystemTime, u64)>);

impl Stamp {
    /// A file as it is now. To be taken before the file is read: what is written while it is read is then seen later.
    pub fn of(file: &Path) -> Self {
        let meta = std::fs::metadata(file).ok();
        Self(meta.and_then(|meta| Some((meta.modified().ok()?, meta.len()))))
    }
}

/// A file, and how it was before it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The file.
    pub path: PathBuf,
    /// How it was.
    pub stamp: Stamp,
}

impl Stamped {
    /// A file that is read next.
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
}
