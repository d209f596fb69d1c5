//! Threads that each serve connections of their own, from the first byte to the last.
//!
//! tokio's shared runtime moves a task to whichever thread is free. For a proxy that is mostly a loss: a request is a
//! few microseconds of work between waits, and waking another core for each of them costs more than the work. On a
//! lane, a client's connection, its requests and the calls made for them to vendors all run on one thread. Lanes do not
//! share work, so a new connection goes to the lane with the fewest open ones.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

/// Most threads of a lane for work that blocks (reading the store). They stay, see [`keep_blocking`].
const MAX_BLOCKING_THREADS: usize = 4;

/// Longer than any process runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How often a lane wakes up by itself; see [`ticking`].
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    open: Arc<AtomicUsize>,
    /// Ends the lane's thread when it is dropped.
    _running: oneshot::Sender<()>,
    _thread: JoinHandle<()>,
}

/// The lanes of a server. Dropping them ends their threads and all tasks that still run there.
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
            let (running, ended) = oneshot::channel();
            let (tell, told) = sync_channel(1);
            let begin = begin.clone();
            // The runtime is made in its own thread: where that cannot be started, no runtime may be dropped in here,
            // within another one.
            let thread = std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
                let made = keep_blocking(&mut Builder::new_current_thread(), MAX_BLOCKING_THREADS);
                let _ = tell.send(made.as_ref().map(|runtime| runtime.handle().clone()).map_err(ToString::to_string));
                let Ok(runtime) = made else { return };
                begin(number);
                runtime.block_on(async {
                    tokio::select! {
                        // Ends with an error when the sender is dropped, which is what is waited for.
                        _ = ended => {}
                        () = ticking() => {}
                    }
                });
                runtime.shutdown_background();
            })?;
            let runtime = told.recv().map_err(io::Error::other)?.map_err(io::Error::other)?;
            Ok(Lane { runtime, open: Arc::default(), _running: running, _thread: thread })
        });
        Ok(Self { lanes: lanes.collect::<io::Result<_>>()? })
    }

    /// Runs `task` on the lane with the fewest open connections, tracked by `tasks`.
    pub fn run(&self, tasks: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed)) else { return };
        let counted = OpenConnection::count(&lane.open);
        let task = async move {
            let _counted = counted;
            task.await;
        };
        tasks.spawn_on(task, &lane.runtime);
    }
}

/// A runtime whose threads for work that blocks stay once they are there, and whose first one is. Where the system
/// gives no further thread such work then waits for one of them; with none at all tokio panics.
///
/// # Errors
///
/// When the operating system gives no thread.
pub fn keep_blocking(builder: &mut Builder, most: usize) -> io::Result<Runtime> {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let runtime = builder.enable_all().max_blocking_threads(most).thread_keep_alive(FOR_EVER).build()?;
        drop(runtime.spawn_blocking(|| {}));
        Ok(runtime)
    }));
    made.unwrap_or_else(|_| Err(io::Error::other("the system gives this process no more threads")))
}

/// Wakes a lane once a second, so that setting a request's deadline never has to wake it.
///
/// A timer set for a time before the runtime's next wake-up costs a system call and an idle turn of its loop. Nearly
/// all deadlines are farther away than a second, so with this tick that is never needed for them.
async fn ticking() {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
    }
}

/// Counts as one of a lane's open connections until it is dropped.
struct OpenConnection(Arc<AtomicUsize>);

impl OpenConnection {
    fn count(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenConnection {
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
