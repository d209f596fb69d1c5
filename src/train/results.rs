//! Files of results: each is written beside its place and moved there when it is whole, so that a full disk, or a
//! reader in the meantime, finds what was there before.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where a result is written first.
fn beside(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Whether a file can be moved to `path`: not to a link or a device (`/dev/stdout`), whose target is written directly.
fn is_replaced(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(true, |there| there.is_file())
}

/// Whether an error says that nothing can be moved to `path`, where there is a file all the same: it is a mount by itself,
/// as containers have them, or its folder takes no other. It is written directly then.
fn stays(path: &Path, error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy) && path.exists()
}

/// Writes a file.
///
/// # Errors
///
/// When it cannot be written; then an older one is as it was, if another could be moved to its place.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !is_replaced(path) {
        return fs::write(path, bytes);
    }
    let part = beside(path);
    let moved =
        fs::write(&part, bytes).and_then(|()| keep_permissions(path, &part)).and_then(|()| fs::rename(&part, path));
    moved.or_else(|error| {
        drop(fs::remove_file(&part));
        if stays(path, &error) { fs::write(path, bytes) } else { Err(error) }
    })
}

fn keep_permissions(of: &Path, to: &Path) -> io::Result<()> {
    fs::metadata(of).map_or(Ok(()), |there| fs::set_permissions(to, there.permissions()))
}

/// Tries whether a file could be written, before the work whose result it is to hold.
///
/// # Errors
///
/// When it could not.
pub fn try_place(path: &Path) -> io::Result<()> {
    let open = || fs::OpenOptions::new().append(true).create(true).open(path).map(drop);
    if !is_replaced(path) {
        // The reader of a pipe would take this for its end.
        let is_pipe = fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo());
        return if is_pipe { Ok(()) } else { open() };
    }
    let part = beside(path);
    let tried = fs::write(&part, "").and_then(|()| fs::remove_file(&part));
    tried.or_else(|error| if stays(path, &error) { open() } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_what_was_there_and_nothing_beside_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        put(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        put(&path, b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // Nothing can be moved onto a folder that holds something, and nothing written where a folder is.
        fs::create_dir_all(beside(&path)).unwrap();
        assert!(try_place(&path).is_err() && put(&path, b"newer").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_dir(beside(&path)).unwrap();
        assert!(try_place(&path).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        try_place(&pipe).unwrap();
        put(&pipe, b"new").unwrap();
        assert_eq!(reader.join().unwrap(), b"new");
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(try_place(&link).is_ok());
        put(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
