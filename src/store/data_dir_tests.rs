//! Permissions of the data directory, and the owner of files that root makes in it.

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
    assert_eq!(mode(&by_log.join("log")), 0o700, "a directory that others may list holds a log that they may not");
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
    drop(HandOver::of(dir.path()));
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
