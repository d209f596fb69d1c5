//! Log lines on their way to standard error, off the threads that answer requests.
//!
//! A line costs its request no system call, and as JSON not even its form: a thread of its own writes what has come
//! together since the last time in one go. The queue is bounded. When standard error cannot keep up (a full disk, a stopped terminal),
//! lines are dropped and counted rather than requests held up, and the count is written once there is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::line::Line;

/// Lines that may wait.
const QUEUE: usize = 8192;

/// How long lines gather before they are written: waking the thread for every one would cost more than writing it.
const NAP: Duration = Duration::from_millis(8);

/// Bytes that are written at once, and what the last line adds.
const BATCH: usize = 64 << 10;

/// What goes to the thread.
#[derive(Debug)]
enum Message {
    /// To be written as it is.
    Text(Box<[u8]>),
    /// To be written as JSON.
    Json(Arc<Line>),
    /// Write what is there, and end.
    End,
}

/// Gives out writers of lines; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// The thread that writes. Dropping it writes what waits, and ends it.
#[derive(Debug)]
pub(super) struct WriterThread {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a thread that writes lines to `out`.
///
/// # Errors
///
/// When no thread can be had.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(LineWriter, WriterThread)> {
    let (queue, waiting) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || write(out, &waiting, &counter))?;
    Ok((LineWriter { queue: queue.clone(), dropped }, WriterThread { queue, thread: Some(thread) }))
}

/// Nobody is told of a failure to write: there is nowhere left to tell it.
fn write(mut out: impl Write, waiting: &Receiver<Message>, dropped: &AtomicU64) {
    let mut batch = Vec::with_capacity(16 << 10);
    while let Ok(mut message) = waiting.recv() {
        if !matches!(message, Message::End) {
            std::thread::sleep(NAP);
        }
        let ended = loop {
            match message {
                Message::Text(line) => batch.extend_from_slice(&line),
                Message::Json(line) => line.write_json(&mut batch),
                Message::End => break true,
            }
            if batch.len() >= BATCH {
                break false;
            }
            match waiting.try_recv() {
                Ok(next) => message = next,
                Err(_) => break false,
            }
        };
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.extend_from_slice(format!("pointsman: {lost} log lines were dropped\n").as_bytes());
        }
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        if ended {
            return;
        }
    }
}

impl LineWriter {
    /// Hands over a line that is to be written as JSON.
    pub(super) fn line(&self, line: Arc<Line>) {
        self.offer(Message::Json(line));
    }

    fn offer(&self, message: Message) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(message) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The formatter writes each line at once.
impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.offer(Message::Text(line.into()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        // Fails only where the thread is gone, with nothing left to wait for.
        if self.queue.send(Message::End).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells what is written, once it is allowed to.
    struct Gate {
        open: Receiver<()>,
        told: SyncSender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.open.recv();
            let _ = self.told.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_before_the_end() {
        let (_, open) = sync_channel(1 << 16);
        let (told, heard) = sync_channel(1 << 16);
        let (mut writer, thread) = start(Gate { open, told }).unwrap();
        for number in 0..1000 {
            writeln!(writer, "{number}").unwrap();
        }
        drop((thread, writer));
        let written: String = heard.iter().collect();
        assert_eq!(written.lines().count(), 1000);
        assert!(written.ends_with("999\n"));
    }

    #[test]
    fn a_full_queue_drops_and_counts_instead_of_waiting() {
        let (allow, open) = sync_channel(1 << 16);
        let (told, heard) = sync_channel(1 << 16);
        let (mut writer, thread) = start(Gate { open, told }).unwrap();
        // The gate is shut: at most one batch is with it, the queue fills, and the rest is dropped.
        for _ in 0..3 * QUEUE {
            writer.write_all(b"line\n").unwrap();
        }
        drop(allow);
        drop((thread, writer));
        let written: String = heard.iter().collect();
        let lines = written.lines().filter(|line| *line == "line").count();
        let lost: usize = written
            .lines()
            .filter_map(|line| line.strip_prefix("pointsman: ")?.split(' ').next()?.parse::<usize>().ok())
            .sum();
        assert!(lost > 0);
        assert_eq!(lines + lost, 3 * QUEUE);
    }
}
