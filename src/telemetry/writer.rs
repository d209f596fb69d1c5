//! Writes log lines to standard error, off the threads that answer requests.
//!
//! A line costs its request no system call, and with JSON not even the formatting: a thread of its own writes the lines
//! gathered since the last time at once. The queue is bounded. When standard error cannot keep up (a full disk, a
//! stopped terminal), lines are dropped and counted rather than requests held up, and the count is written once there
//! is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::line::Line;

/// Most lines that wait to be written.
const QUEUE_LINES: usize = 8192;

/// How long lines gather before they are written: waking the thread for every one would cost more than writing it.
const GATHER: Duration = Duration::from_millis(8);

/// A write takes no further line once it has this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// How long the last lines may take at the end: the reader of standard error may stand still.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(3);

/// A message to the thread.
#[derive(Debug)]
enum Message {
    /// A formatted line.
    Text(Box<[u8]>),
    /// A line to write as JSON.
    Json(Arc<Line>),
    /// Write all lines before this, then end.
    End,
}

/// Queues lines for the thread; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// The thread that writes. Dropping this writes the waiting lines, within [`LAST_LINES_TIMEOUT`], and ends the thread.
#[derive(Debug)]
pub(super) struct WriterThread {
    queue: SyncSender<Message>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
}

/// Starts a thread that writes lines to `out`; `json` = its own line about dropped ones is JSON, too.
///
/// # Errors
///
/// When the thread cannot be started.
pub(super) fn start(out: impl Write + Send + 'static, json: bool) -> io::Result<(LineWriter, WriterThread)> {
    let (queue, waiting) = sync_channel(QUEUE_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    let (end, ended) = sync_channel(0);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        write(out, json, &waiting, &counter);
        drop(end);
    })?;
    Ok((LineWriter { queue: queue.clone(), dropped }, WriterThread { queue, ended }))
}

/// The thread's loop. A failure to write is ignored: there is nowhere left to report it.
fn write(mut out: impl Write, json: bool, waiting: &Receiver<Message>, dropped: &AtomicU64) {
    let mut batch = Vec::with_capacity(16 << 10);
    while let Ok(mut message) = waiting.recv() {
        if !matches!(message, Message::End) {
            std::thread::sleep(GATHER);
        }
        let ended = loop {
            match message {
                Message::Text(line) => batch.extend_from_slice(&line),
                Message::Json(line) => line.write_json(&mut batch),
                Message::End => break true,
            }
            if batch.len() >= BATCH_BYTES {
                break false;
            }
            match waiting.try_recv() {
                Ok(next) => message = next,
                Err(_) => break false,
            }
        };
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.extend_from_slice(dropped_line(lost, json).as_bytes());
        }
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        if ended {
            return;
        }
    }
}

/// The line that reports dropped lines.
fn dropped_line(lost: u64, json: bool) -> String {
    if !json {
        return format!("pointsman: {lost} log lines were dropped\n");
    }
    let now = jiff::Timestamp::now();
    format!(
        "{{\"timestamp\":\"{now:.6}\",\"level\":\"WARN\",\"message\":\"Log lines were dropped\",\"lines\":{lost}}}\n"
    )
}

impl LineWriter {
    /// Queues a line to be written as JSON.
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

/// The formatter writes each line by one call.
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
        let deadline = Instant::now() + LAST_LINES_TIMEOUT;
        let left = || deadline.saturating_duration_since(Instant::now());
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::End) {
            if left().is_zero() {
                return;
            }
            std::thread::sleep(GATHER);
        }
        let _ = self.ended.recv_timeout(left());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that blocks until it is allowed to write, and reports what was written.
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
        let (mut writer, thread) = start(Gate { open, told }, false).unwrap();
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
        let (mut writer, thread) = start(Gate { open, told }, false).unwrap();
        // The gate is shut: at most one batch is with it, the queue fills, and the rest is dropped.
        for _ in 0..3 * QUEUE_LINES {
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
        assert_eq!(lines + lost, 3 * QUEUE_LINES);
    }

    #[test]
    fn the_end_does_not_wait_for_who_reads_nothing() {
        for lines in [1, 3 * QUEUE_LINES] {
            let (shut, open) = sync_channel(0);
            let (told, _heard) = sync_channel(0);
            let (mut writer, thread) = start(Gate { open, told }, false).unwrap();
            for _ in 0..lines {
                writer.write_all(b"line\n").unwrap();
            }
            // With the gate shut for good it would never come back.
            drop((thread, writer));
            drop(shut);
        }
    }

    #[test]
    fn as_json_every_line_is_an_object() {
        let line: serde_json::Value = serde_json::from_str(&dropped_line(7, true)).unwrap();
        assert_eq!((&line["level"], &line["lines"]), (&"WARN".into(), &7.into()));
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
}
