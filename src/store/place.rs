//! The data directory: for its owner alone, since the log in it may hold prompts.

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
    }
}
