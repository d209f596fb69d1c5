//! The data directory: for its owner alone, since the log in it may hold prompts.
//!
//! Operators run `token`, `import` and `export` as root beside a service that runs as somebody else. What root makes in the
//! service's directory is given to whom the directory belongs, or the service could not read it any more.

use std::fs::DirBuilder;
use std::io;
use std::path::Path;

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

/// Gives the file or directory at `path` to whom `dir` belongs. Only root can, and only root has to; a failure leaves it as it
/// is, and whoever then cannot read it says so.
#[cfg(unix)]
pub(super) fn give_to_owner_of(dir: &Path, path: &Path) {
    use std::os::unix::fs::{MetadataExt, lchown};
    let (Ok(owner), Ok(found)) = (dir.metadata(), path.symlink_metadata()) else { return };
    // A link may lead anywhere, and a second name may be that of anything.
    let is_plain = found.is_dir() || (found.is_file() && found.nlink() == 1);
    if is_plain && (found.uid(), found.gid()) != (owner.uid(), owner.gid()) {
        let _ = lchown(path, Some(owner.uid()), Some(owner.gid()));
    }
}

#[cfg(not(unix))]
pub(super) fn give_to_owner_of(_: &Path, _: &Path) {}

/// Gives `path` and everything in it to whom `dir` belongs.
pub(super) fn give_all_to_owner_of(dir: &Path, path: &Path) {
    give_to_owner_of(dir, path);
    let is_dir = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    if let Some(entries) = is_dir.then(|| path.read_dir().ok()).flatten() {
        entries.flatten().for_each(|entry| give_all_to_owner_of(dir, &entry.path()));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::config;
    use crate::store::{Store, Tokens};

    #[test]
    fn whoever_makes_it_first_makes_it_private_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let place = |name: &str| dir.path().join(name);
        let (by_log, by_tokens, by_change, old) = (place("a/b"), place("c"), place("d"), place("old"));
        drop(Store::open(&by_log, &config::Store::default(), 0).unwrap());
        Tokens::default().save(&by_tokens).unwrap();
        Tokens::change(&by_change, |_| Ok(())).unwrap();
        assert_eq!([mode(&by_log), mode(&by_tokens), mode(&by_change)], [0o700; 3]);
        std::fs::create_dir(&old).unwrap();
        std::fs::set_permissions(&old, PermissionsExt::from_mode(0o750)).unwrap();
        Tokens::default().save(&old).unwrap();
        assert_eq!(mode(&old), 0o750);
        assert_eq!(
            mode(&by_log.join("log")),
            0o700,
            "a directory that others may list holds a log that they may not"
        );
    }

    #[test]
    fn what_root_makes_belongs_to_the_directorys_owner() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().metadata().unwrap();
        if own.uid() != 0 {
            // Nobody else can give files away, nor makes any that need it.
            return;
        }
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
        Tokens::change(dir.path(), |_| Ok(())).unwrap();
        drop(Store::open(dir.path(), &config::Store::default(), 0).unwrap());
        crate::store::hand_over(dir.path());
        fn owners(dir: &Path, into: &mut Vec<u32>) {
            for entry in dir.read_dir().unwrap().flatten() {
                into.push(entry.metadata().unwrap().uid());
                if entry.path().is_dir() {
                    owners(&entry.path(), into);
                }
            }
        }
        let mut all = Vec::new();
        owners(dir.path(), &mut all);
        assert!(all.len() > 3 && all.iter().all(|uid| *uid == 65534), "{all:?}");
    }
}
