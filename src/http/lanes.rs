//! Threads that each serve connections of their own, from the first byte to the last.
//!
//! tokio's shared runtime moves a task to whichever thread is free. For a proxy that is mostly a loss: a request is a few
//! microseconds of work between waits, and waking another core for each of them costs more than the work. On a lane, a
//! client's connection, its requests and the calls made for them to vendors wake one another on one thread. Lanes do not
//! share work, so a new connection goes where the fewest are open.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

/// Threads a lane may take for work that blocks (reading the store).
const BLOCKING: usize = 16;

/// How often a lane wakes up by itself.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    open: Arc<AtomicUsize>,
    // Dropped, it ends the lane's thread.
    _running: oneshot::Sender<()>,
    _thread: JoinHandle<()>,
}

/// The lanes of a server. Dropping them ends their threads, and whatever still runs there.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
}

impl Lanes {
    /// Starts `count` lanes; each thread first calls `begin` with its number.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub fn start(count: usize, begin: impl Fn(usize) + Clone + Send + 'static) -> io::Result<Self> {
        let lanes = (0..count.max(1)).map(|number| {
            let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build()?;
            let (running, ended) = oneshot::channel();
            let begin = begin.clone();
            let handle = runtime.handle().clone();
            let thread = std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
                begin(number);
                runtime.block_on(async {
                    tokio::select! {
                        // An error is the sender's end, which is what is waited for.
                        _ = ended => {}
                        () = ticking() => {}
                    }
                });
                runtime.shutdown_background();
            })?;
            Ok(Lane { runtime: handle, open: Arc::default(), _running: running, _thread: thread })
        });
        Ok(Self { lanes: lanes.collect::<io::Result<_>>()? })
    }

    /// Runs `task` on the lane with the least to do, and lets `tasks` wait for it.
    pub fn run(&self, tasks: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed)) else { return };
        let place = Place::take(&lane.open);
        let task = async move {
            let _place = place;
            task.await;
        };
        tasks.spawn_on(task, &lane.runtime);
    }
}

/// Wakes a lane once a second, so that it never sleeps longer than to the deadline of a request.
///
/// A timer that is due before the runtime would wake up by itself costs a system call, to make it look again, and a turn
/// of its loop for nothing. Nearly all deadlines are farther away than a second.
async fn ticking() {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
    }
}

/// One of a lane's open connections.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn connections_are_spread_and_stay_on_their_thread() {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let lanes = Lanes::start(2, {
            let begun = Arc::clone(&begun);
            move |number| begun.lock().push(number)
        })
        .unwrap();
        let tasks = TaskTracker::new();
        let threads = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        for _ in 0..4 {
            let (threads, gate) = (Arc::clone(&threads), Arc::clone(&gate));
            lanes.run(&tasks, async move {
                let before = std::thread::current().id();
                let _pass = gate.acquire().await;
                assert_eq!(before, std::thread::current().id());
                threads.lock().push(before);
            });
        }
        gate.add_permits(4);
        tasks.close();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(tasks.wait());
        let mut threads = threads.lock().clone();
        threads.sort_by_key(|id| format!("{id:?}"));
        assert_eq!(threads.len(), 4);
        assert!(threads[0] == threads[1] && threads[2] == threads[3] && threads[1] != threads[2], "two on each");
        let mut begun = begun.lock().clone();
        begun.sort_unstable();
        assert_eq!(begun, [0, 1]);
    }
}
