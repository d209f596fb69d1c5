//! Closing a database that failed.
//!
//! sled flushes while it is dropped. Where a write found no room, or a file is gone, that never ends: sled waits for a
//! write that it has given up. Meanwhile it keeps its file locked, and a lock of the whole process, so that no other
//! database can be opened. So after a while its file is taken away from it: the next write fails, and a failed write
//! ends all of sled's waits.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::trees::Trees;

/// How long closing may take before the file is taken away.
const PATIENCE: Duration = Duration::from_secs(10);

/// A database that is being closed on a thread of its own.
pub(super) struct Closer {
    thread: JoinHandle<()>,
    began: Instant,
    /// A tree to write to; the thread drops it last.
    tree: Arc<Mutex<Option<sled::Tree>>>,
    is_taken: bool,
}

impl Closer {
    /// Begins to close the trees, which ends once no reader has them. `None` where no thread can be started.
    pub fn start(trees: Arc<Trees>) -> Option<Self> {
        let tree = Arc::new(Mutex::new(Some(trees.settings.clone())));
        let last = Arc::clone(&tree);
        let close = move || {
            while Arc::strong_count(&trees) > 1 {
                sleep(Duration::from_millis(20));
            }
            drop(trees);
            // Not within the statement: dropping may take long, and the lock would be held.
            let last = last.lock().take();
            drop(last);
        };
        let started = Builder::new().name("store-closer".to_owned()).spawn(close);
        let thread = started
            .inspect_err(|error| tracing::error!(%error, "No thread could be started to close the database"))
            .ok()?;
        Some(Self { thread, began: Instant::now(), tree, is_taken: false })
    }

    /// Whether the database, in the directory `path`, is closed.
    pub fn is_done(&mut self, path: &Path) -> bool {
        let is_done = self.thread.is_finished();
        if !is_done && !self.is_taken && self.began.elapsed() >= PATIENCE {
            self.is_taken = true;
            let taken = take_file(path);
            tracing::error!(?taken, "The failed database does not close; its file is taken away from it");
            // On a thread of its own, since it may hang like the rest.
            if let Some(tree) = self.tree.lock().clone() {
                let write = move || drop(tree.insert("closing", b"").and_then(|_| tree.flush()));
                let _none_left = Builder::new().name("store-closer".to_owned()).spawn(write);
            }
        }
        is_done
    }
}

/// Puts a descriptor that can only read in the place of all that this process has of the database's file; the file's
/// lock goes with the last. Returns how many there were.
#[cfg(target_os = "linux")]
fn take_file(path: &Path) -> io::Result<usize> {
    use std::fs::{File, metadata, read_dir};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    let file = File::open(path.join("db"))?;
    let place = |file: std::fs::Metadata| (file.dev(), file.ino());
    let wanted = place(file.metadata()?);
    let mut taken = 0;
    for entry in read_dir("/proc/self/fd")?.flatten() {
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let is_it = metadata(entry.path()).is_ok_and(|found| place(found) == wanted);
        // SAFETY: both descriptors are open files of this process. The one that is replaced is sled's, which goes on
        // to use it as what it was opened for, and is told of each write that fails.
        if is_it && fd != file.as_raw_fd() && unsafe { libc::dup3(file.as_raw_fd(), fd, libc::O_CLOEXEC) } == fd {
            taken += 1;
        }
    }
    Ok(taken)
}

/// Not known how.
#[cfg(not(target_os = "linux"))]
fn take_file(_: &Path) -> io::Result<usize> {
    Ok(0)
}
