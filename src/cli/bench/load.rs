//! A load generator: connections that stay open, each asking again as soon as it was answered, or at a steady rate.
//!
//! It speaks HTTP/1.1 by hand, so that its own share of the measured time is next to nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sandbox::content_length;

/// An exchange that takes longer than this counts as hung.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one exchange took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// To the first byte of the body.
    pub(super) first: Duration,
    /// To the last byte.
    pub(super) whole: Duration,
}

/// A load on a server.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// The server.
    pub(super) address: SocketAddr,
    /// The request, head and body.
    pub(super) request: Vec<u8>,
    /// Connections at once.
    pub(super) connections: usize,
    /// Requests per second over all connections; `None` = as fast as answers come.
    pub(super) rate: Option<f64>,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests over all connections.
    Requests(u64),
}

/// Runs a load, and returns a sample of each exchange.
///
/// # Errors
///
/// When a connection breaks, an answer is not 200, or one hangs.
pub(super) async fn run(load: &Load, until: Until) -> anyhow::Result<Vec<Sample>> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..load.connections {
        let load = load.clone();
        tasks.spawn(async move { one(&load, number, until, started).await });
    }
    let mut samples = Vec::new();
    while let Some(done) = tasks.join_next().await {
        samples.extend(done.context("a connection's task failed")??);
    }
    Ok(samples)
}

async fn one(load: &Load, number: usize, until: Until, started: Instant) -> anyhow::Result<Vec<Sample>> {
    let mut connection = Connection::open(load.address).await?;
    let connections = load.connections as u64;
    // Requests are dealt out evenly, the remainder to the first.
    let most = match until {
        Until::Requests(all) => all / connections + u64::from((number as u64) < all % connections),
        Until::Elapsed(_) => u64::MAX,
    };
    let gap = load.rate.map(|rate| Duration::from_secs_f64(load.connections as f64 / rate));
    let offset = gap.map(|gap| gap.mul_f64(number as f64 / load.connections as f64)).unwrap_or_default();
    let mut samples = Vec::new();
    for turn in 0..most {
        let mut begun = Instant::now();
        if let Some(gap) = gap {
            let due = started + offset + gap.mul_f64(turn as f64);
            if matches!(until, Until::Elapsed(time) if due >= started + time) {
                break;
            }
            if due > begun {
                tokio::time::sleep_until(due.into()).await;
                // The timer's own lateness does not count ...
                begun = Instant::now();
            } else {
                // ... but lateness because of a slow previous answer does.
                begun = due;
            }
        }
        if matches!(until, Until::Elapsed(time) if started.elapsed() >= time) {
            break;
        }
        let exchange = connection.exchange(&load.request, begun);
        samples.push(tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await.context("no answer in time")??);
    }
    Ok(samples)
}

/// One connection that stays open.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            tokio::time::timeout(EXCHANGE_TIMEOUT, TcpStream::connect(address)).await.context("no connection")??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    async fn exchange(&mut self, request: &[u8], begun: Instant) -> anyhow::Result<Sample> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            self.more().await?;
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let (good, length) = read_head(&self.buffer[..head]);
        if self.buffer.len() == head {
            self.more().await?;
        }
        let first = begun.elapsed();
        match length {
            Some(length) => {
                while self.buffer.len() < head + length {
                    self.more().await?;
                }
            }
            // The last chunk is empty.
            None => {
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.more().await?;
                }
            }
        }
        ensure!(good, "the answer is not 200: {}", String::from_utf8_lossy(&self.buffer));
        Ok(Sample { first, whole: begun.elapsed() })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection was closed");
        Ok(())
    }
}

/// Whether the status is 200, and the body's length unless it is chunked.
fn read_head(head: &[u8]) -> (bool, Option<usize>) {
    (head.starts_with(b"HTTP/1.1 200"), content_length(head))
}
