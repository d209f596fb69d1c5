//! sled's snapshots, which shorten its next start, and what one that is cut short must not cost: the whole log.
//!
//! sled writes a snapshot (`snap.<number>`, first with `.generating` behind it) when it opens a log that holds something
//! new. A full disk, a kill or a power cut at that moment leaves a part of it. sled then takes this part for the newest
//! snapshot, since it goes by the beginning of the name, and calls the database damaged. The log beside it is whole, and
//! all that a snapshot says is in there.
//!
//! Only snapshots that are themselves unsound are removed. Where the *log* is damaged a sound one is worth keeping:
//! without it sled may take the damage for the log's end, and it overwrites what comes after the end.

use std::fs;
use std::path::Path;

use super::data_dir::lock;
use super::trees::when_free;

/// Removes the snapshots in the database's directory that were not written to their end; whether there were any.
/// Somebody else's open database is left alone.
pub(super) fn drop_torn(database: &Path) -> bool {
    let Ok(Some(_locked)) = when_free(|| lock(database)) else { return false };
    let entries = database.read_dir().into_iter().flatten().flatten();
    let torn = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("snap.")).map(|it| it.path());
    let torn = torn.filter(|path| path.extension().is_some_and(|end| end == "generating") || !is_sound(path));
    let removed = torn.filter(|path| {
        let removed = fs::remove_file(path);
        tracing::warn!(file = %path.display(), ?removed, "A snapshot of the decision log was cut short and is not used; the log itself has all of it");
        removed.is_ok()
    });
    removed.count() > 0
}

/// Whether a snapshot agrees with its checksum. Its end: the body's length in eight bytes, the body's CRC-32 in four.
fn is_sound(path: &Path) -> bool {
    // One that cannot be read now may be sound.
    let Ok(bytes) = fs::read(path) else { return true };
    let Some((rest, sum)) = bytes.split_last_chunk() else { return false };
    let Some((body, _)) = rest.split_last_chunk::<8>() else { return false };
    let mut crc = flate2::Crc::new();
    crc.update(body);
    !body.is_empty() && crc.sum() == u32::from_le_bytes(*sum)
}

#[cfg(test)]
mod tests {
    use super::super::data_dir::log_in;
    use super::super::{OpenState, Store};
    use super::*;
    use crate::config;

    #[test]
    fn a_snapshot_that_was_cut_short_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = log_in(dir.path());
        let open = || {
            let (store, report) = Store::open(dir.path(), &config::Store::default(), 1).unwrap();
            assert_eq!(report, OpenState::Opened);
            store
        };
        let settings = |store: Store| store.trees().unwrap().settings.len();
        let first = open();
        let salt = first.salt().bytes().to_vec();
        let written = settings(first);
        for (name, content) in [
            ("snap.0000000000000001.generating", ""),
            ("snap.FFFFFFFFFFFFFFFF.generating", ""),
            ("snap.FFFFFFFFFFFFFFFF.generating", "cut off somewhere in the middle of it"),
            ("snap.FFFFFFFFFFFFFFFF", ""),
            ("snap.FFFFFFFFFFFFFFFF", "cut off somewhere in the middle of it"),
        ] {
            // Written while the log is closed.
            drop(when_free(|| lock(&log)).unwrap().unwrap());
            fs::write(log.join(name), content).unwrap();
            let store = open();
            assert_eq!(store.salt().bytes(), salt, "{name}: {content:?}");
            assert_eq!(settings(store), written);
        }
        // The newest of sled's own.
        drop(when_free(|| lock(&log)).unwrap().unwrap());
        let names = log.read_dir().unwrap().map(|entry| entry.unwrap().path());
        let newest = names.filter(|path| path.to_string_lossy().contains("snap.")).max().unwrap();
        assert!(is_sound(&newest), "{}", newest.display());
        let mut bytes = fs::read(&newest).unwrap();
        bytes[0] ^= 1;
        fs::write(&newest, bytes).unwrap();
        assert!(!is_sound(&newest));
        assert_eq!(open().salt().bytes(), salt);
    }

    #[test]
    fn an_open_database_keeps_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let _store = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        let torn = log_in(dir.path()).join("snap.FFFFFFFFFFFFFFFF.generating");
        fs::write(&torn, "").unwrap();
        assert!(!drop_torn(&log_in(dir.path())));
        assert!(torn.exists());
    }
}
