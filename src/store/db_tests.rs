//! Stores that open, break, run out of room and come back.

use std::sync::mpsc::sync_channel;

use super::super::room::Disk;
use super::*;

/// A store in `dir`, on a disk of its own that says to have `free` bytes left.
pub(crate) fn on_disk_with(dir: &Path, free: &Arc<AtomicU64>) -> Store {
    on_disk(dir, free, &Arc::default())
}

/// A store in `dir`, on a disk that says to have `free` bytes left and to hold `used`.
pub(crate) fn on_disk(dir: &Path, free: &Arc<AtomicU64>, used: &Arc<AtomicU64>) -> Store {
    let (mut store, _) = Store::open(dir, &config::Store::default(), 0).unwrap();
    let (free, used) = (Arc::clone(free), Arc::clone(used));
    let disk = move |_: &Path| {
        let [free, used] = [&free, &used].map(|bytes| bytes.load(Ordering::Relaxed));
        Some(Disk { free, used })
    };
    Arc::get_mut(&mut store.shared).unwrap().room = Room::told_by(dir, disk);
    store
}

#[test]
#[ignore = "the hung database stops all others of the process; run it alone"]
fn a_database_that_hangs_while_it_is_closed_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
    let error = break_it(&store, dir.path());
    let (told, health) = sync_channel(1);
    let revived = store.clone();
    std::thread::spawn(move || {
        store.note_failure(&error);
        let _late = told.send(store.health());
    });
    let health = health.recv_timeout(Duration::from_secs(10)).expect("closing hangs");
    assert!(health.failing.is_some());
    assert!(!revived.revive(0), "another database would hang, too");
}

/// Breaks the database so that a flush never ends: large values are files of their own, and sled gives up writing
/// when it comes upon one that is missing. Returns the error.
fn break_it(store: &Store, dir: &Path) -> StoreError {
    let trees = store.trees().unwrap();
    let write = |round: u8| {
        (0..20_000_u32).try_for_each(|key| trees.audit.insert(key.to_be_bytes(), vec![round; 100]).map(drop))
    };
    (0..20_u8).for_each(|key| drop(trees.audit.insert([key], vec![key; 300_000]).unwrap()));
    write(0).unwrap();
    trees.flush().unwrap();
    std::fs::remove_dir_all(log_in(dir).join("blobs")).unwrap();
    let mut rounds = (1..200_u8).map(write);
    rounds.find_map(Result::err).expect("sled misses no file").into()
}

/// Writes a store with some records in `dir`; their number.
fn written(dir: &Path) -> usize {
    let (store, _) = Store::open(dir, &config::Store::default(), 0).unwrap();
    let audit = |at: u32| store.trees().unwrap().audit.insert(at.to_be_bytes(), vec![7; 900]).map(drop);
    (0..3000).try_for_each(audit).unwrap();
    store.flush().unwrap();
    store.trees().unwrap().audit.len()
}

#[test]
fn a_file_that_was_emptied_or_cut_to_its_beginning_is_set_aside_and_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    for (at, bytes) in [0, 100].into_iter().enumerate() {
        assert_eq!(written(dir.path()), 3000);
        let file = std::fs::File::options().write(true).open(log_in(dir.path()).join("db")).unwrap();
        file.set_len(bytes).unwrap();
        let (store, report) = Store::open(dir.path(), &config::Store::default(), at as i64).unwrap();
        let OpenState::Replaced { kept, .. } = report else { panic!("{bytes}: {report:?}") };
        assert!(kept.join("db").exists() && store.trees().unwrap().audit.is_empty());
        drop(store);
        let (_, report) = Store::open(dir.path(), &config::Store::default(), 9).unwrap();
        assert_eq!(report, OpenState::Opened, "the fresh one has its schema version");
    }
}

/// A data directory with the files of the log in `path`, one byte of the database changed.
fn damaged_copy(path: &Path, at: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let copy = log_in(dir.path());
    std::fs::create_dir(&copy).unwrap();
    for file in path.read_dir().unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let mut bytes = std::fs::read(copy.join("db")).unwrap();
    bytes[at] ^= 1;
    std::fs::write(copy.join("db"), bytes).unwrap();
    dir
}

#[test]
fn of_a_log_with_a_damaged_page_the_rest_is_taken_over() {
    let sound = tempfile::tempdir().unwrap();
    assert_eq!(written(sound.path()), 3000);
    // A start notes where the pages are, and the next one reads what came after that alone.
    drop(Store::open(sound.path(), &config::Store::default(), 0).unwrap());
    let size = log_in(sound.path()).join("db").metadata().unwrap().len() as usize;
    let walk = |store: &Store| store.trees().unwrap().audit.iter().collect::<Result<Vec<_>, _>>();
    // Most bytes are of pages as they were before, which nobody reads any more.
    for at in (1..200).map(|part| size / 200 * part) {
        let dir = damaged_copy(&log_in(sound.path()), at);
        let (store, opened) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        let Err(error) = walk(&store) else { continue };
        let error = StoreError::from(error);
        assert!(opened == OpenState::Opened && error.is_damage(), "{error}");
        let audit = store.trees().unwrap().audit.clone();
        let ends = [audit.iter().map_while(Result::ok).count(), audit.iter().rev().map_while(Result::ok).count()];
        drop(audit);
        let salt = store.salt().bytes().to_vec();
        store.note_if_damaged(&error);
        assert!(store.revive(7));
        let kept = dir.path().join("log.broken-7");
        assert_eq!(store.health().opened, OpenState::Replaced { kept: kept.clone(), reason: DAMAGED.to_owned() });
        assert!(kept.join("db").exists());
        let left = walk(&store).unwrap();
        assert_eq!(left.len(), ends[0] + ends[1]);
        drop(store);
        let (store, opened) = Store::open(dir.path(), &config::Store::default(), 9).unwrap();
        let again = (opened, store.salt().bytes().to_vec(), walk(&store).unwrap().len());
        assert_eq!(again, (OpenState::Opened, salt, left.len()));
        // Another page, where this one had all the rest below it.
        if left.len() > 2000 {
            return;
        }
    }
    panic!("no page was damaged");
}

#[test]
fn what_was_set_aside_is_told_though_its_successor_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
    store.set_log_bytes(7);
    store.note_failure(&StoreError::Down("no space".into()));
    let tries = std::cell::Cell::new(0);
    let open = |_: &Path| {
        tries.set(tries.get() + 1);
        Err(if tries.get() == 1 { Failure::Broken("torn".into()) } else { Failure::Unwritable("no space".into()) })
    };
    assert!(!store.revive_by(5, &open));
    assert!(store.revive(6));
    let kept = dir.path().join("log.broken-5");
    assert!(kept.join("db").exists());
    assert_eq!(store.health().opened, OpenState::Replaced { kept, reason: "torn".into() });
    assert_eq!(store.log_bytes(), 0);
    let left: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the old and the new database: {left:?}");
}

#[test]
fn without_room_nothing_is_opened_anew_or_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let settings = config::Store::default();
    let (store, _) = Store::open(dir.path(), &settings, 0).unwrap();
    // Where a folder stands no file can be written, as on a full disk.
    let room = dir.path().join("log.room");
    std::fs::create_dir(&room).unwrap();
    store.note_failure(&StoreError::Down("no space".into()));
    assert!(!store.revive_by(1, &|_| panic!("it was opened")));
    std::fs::remove_dir(&room).unwrap();
    assert!(store.revive(2));
    assert_eq!(store.health().opened, OpenState::Opened);
    drop(store);

    std::fs::create_dir(&room).unwrap();
    std::fs::write(log_in(dir.path()).join("conf"), "no configuration").unwrap();
    let (_, report) = Store::open(dir.path(), &settings, 3).unwrap();
    assert!(matches!(report, OpenState::Memory { .. }), "{report:?}");
    std::fs::remove_dir(&room).unwrap();
    let (_, report) = Store::open(dir.path(), &settings, 4).unwrap();
    assert!(matches!(report, OpenState::Replaced { .. }), "{report:?}");
}

#[test]
fn without_room_no_log_is_begun_and_one_that_is_there_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let state = || Store::open(dir.path(), &config::Store::default(), 0).unwrap().1;
    let room = dir.path().join("log.room");
    std::fs::create_dir(&room).unwrap();
    assert!(matches!(state(), OpenState::Memory { .. }));
    assert!(!log_in(dir.path()).join("db").exists());
    std::fs::remove_dir(&room).unwrap();
    assert_eq!(state(), OpenState::Opened);
    std::fs::create_dir(&room).unwrap();
    assert_eq!(state(), OpenState::Opened);
}

#[test]
fn a_store_in_memory_goes_by_the_room_of_its_own_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    std::fs::write(&path, "a file in its place").unwrap();
    let (store, report) = Store::open(&path, &config::Store::default(), 0).unwrap();
    assert!(matches!(report, OpenState::Memory { .. }));
    let first = store.place();
    assert!(first.join("db").exists());
    store.note_failure(&StoreError::Down("no space".into()));
    assert!(store.revive(1));
    let second = store.place();
    assert!(second != first && second.join("db").exists());
}
