//! The directory of a temporary database, which is to be deleted with its process.
//!
//! sled's "temporary" databases are files too, which any user of the machine may read and which a killed process leaves
//! behind. This directory is readable by its owner alone, and the next temporary database deletes leftovers.

use std::fs::{self, DirBuilder, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::room::find_room;

/// Prefix of the directories' names.
const PREFIX: &str = "pointsman-";

/// Age from which an unlocked directory counts as a leftover; a younger one may belong to a database that is being
/// opened.
const MIN_AGE: Duration = Duration::from_secs(60);

/// Makes a new directory: in memory (`/dev/shm`) where the system has that and room there, else among the temporary
/// files.
///
/// # Errors
///
/// When it cannot be made.
pub(super) fn directory() -> io::Result<PathBuf> {
    let parents = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    parents.iter().find(|parent| parent.is_dir()).inspect(|parent| clear_away(parent));
    make_in(&parents, |dir| find_room(dir).is_ok())
}

/// Makes a directory in the first of `parents` that has room, or can be written at all.
fn make_in(parents: &[PathBuf; 2], has_room: impl Fn(&Path) -> bool) -> io::Result<PathBuf> {
    let is_roomy = |made: &io::Result<PathBuf>| made.as_ref().is_ok_and(|path| has_room(path));
    let first = make(&parents[0]);
    if is_roomy(&first) {
        return first;
    }
    let second = make(&parents[1]);
    let (taken, left) = if first.is_err() || is_roomy(&second) { (second, first) } else { (first, second) };
    let _ = left.map(fs::remove_dir);
    taken
}

/// Makes a new directory among the temporary files, for one run of a command. Its name cannot be foretold, so nobody
/// else has put something there before; and [`clear_away`] leaves it alone.
///
/// # Errors
///
/// When it cannot be made.
pub fn private_directory(purpose: &str) -> io::Result<PathBuf> {
    private_in(&std::env::temp_dir(), purpose)
}

fn private_in(parent: &Path, purpose: &str) -> io::Result<PathBuf> {
    make_at(parent.join(format!("{PREFIX}{purpose}-{}", Uuid::now_v7())))
}

fn make(parent: &Path) -> io::Result<PathBuf> {
    make_at(parent.join(format!("{PREFIX}{}", Uuid::now_v7())))
}

/// Makes a directory that is its owner's alone; an error where something is.
fn make_at(path: PathBuf) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&path)?;
    Ok(path)
}

/// Deletes directories that no process has open any more. Those of other users cannot be deleted, and stay.
fn clear_away(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours =
            entry.file_name().to_string_lossy().strip_prefix(PREFIX).is_some_and(|id| id.parse::<Uuid>().is_ok());
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_ours && age().is_some_and(|age| age > MIN_AGE) && is_leftover(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether no process has the database in it open: sled locks its file. Opening it does not block, should another user
/// have put a FIFO there.
fn is_leftover(dir: &Path) -> bool {
    let mut options = fs::File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOFOLLOW);
    match options.read(true).open(dir.join("db")) {
        Ok(file) => !matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_owners_alone_and_ends_with_the_database() {
        use std::os::unix::fs::PermissionsExt;
        let dir = directory().unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        let db = sled::Config::new().path(&dir).temporary(true).open().unwrap();
        assert!(!is_leftover(&dir), "it is open");
        drop(db);
        // sled's last thread may hold it for a moment.
        let gone = || {
            (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                !dir.exists()
            })
        };
        assert!(gone());
    }

    #[test]
    fn a_run_s_directory_is_new_its_owners_alone_and_no_leftover_of_a_database() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| private_in(parent.path(), "demo").unwrap());
        assert_ne!(one, other);
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(make_at(one.clone()).is_err(), "what is there is not taken");
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(&one).unwrap().set_modified(hour_ago).unwrap();
        clear_away(parent.path());
        assert!(one.exists());
    }

    #[test]
    fn it_is_made_where_there_is_room() {
        let parents = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths = [parents[0].path().to_owned(), parents[1].path().to_owned()];
        assert!(make_in(&paths, |_| true).unwrap().starts_with(&paths[0]));
        assert!(make_in(&paths, |dir| dir.starts_with(&paths[1])).unwrap().starts_with(&paths[1]));
        assert!(make_in(&paths, |_| false).unwrap().starts_with(&paths[0]));
        assert!(make_in(&[paths[0].join("none"), paths[1].clone()], |_| false).unwrap().starts_with(&paths[1]));
        assert_eq!(paths.map(|path| path.read_dir().unwrap().count()), [2, 2], "what is not taken is removed");
    }

    #[test]
    fn a_fifo_in_place_of_a_database_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.path().join("db")).status().unwrap();
        assert!(made.success());
        let (send, told) = std::sync::mpsc::sync_channel(1);
        let path = dir.path().to_owned();
        std::thread::spawn(move || send.send(is_leftover(&path)));
        assert!(told.recv_timeout(Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn what_a_killed_process_left_is_cleared_away() {
        let parent = tempfile::tempdir().unwrap();
        let made = |is_old: bool, file: Option<&str>| {
            let dir = make(parent.path()).unwrap();
            file.inspect(|name| fs::write(dir.join(name), "").unwrap());
            if is_old {
                let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
                fs::File::open(&dir).unwrap().set_modified(hour_ago).unwrap();
            }
            dir
        };
        let (young, left) = (made(false, None), made(true, Some("db")));
        let held = made(true, Some("db"));
        let lock = fs::File::open(held.join("db")).unwrap();
        lock.lock().unwrap();
        let foreign = parent.path().join("pointsman-of-somebody");
        fs::create_dir(&foreign).unwrap();
        clear_away(parent.path());
        assert_eq!([&young, &left, &held, &foreign].map(|dir| dir.exists()), [true, false, true, true]);
    }
}
