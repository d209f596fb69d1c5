//! A connection whose client has to take what is written to it.
//!
//! An answer's deadlines are kept where it is made, and nobody asks for more of it while the connection's buffers are full.
//! So a client that stops reading would hold its place and the vendor's call without end: here the write that gets
//! nowhere fails, which drops the answer and with it the call. Whose place is wanted has less time: see
//! [`places`](super::places).

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::places::Guest;

/// A stream whose writes fail once nothing of them was taken for so long.
#[derive(Debug)]
pub(super) struct Patience<S> {
    stream: S,
    longest: Duration,
    guest: Arc<Guest>,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, longest: Duration, guest: Arc<Guest>) -> Self {
        Self { stream, longest, guest, waiting: None }
    }

    /// What a write gives, or the end of the patience with it.
    fn bear<T>(&mut self, written: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if written.is_ready() {
            if self.waiting.take().is_some() {
                self.guest.takes(true);
            }
            return written;
        }
        let longest = self.longest;
        if self.waiting.is_none() {
            self.guest.takes(false);
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(longest)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bear(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bear(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_now_and_then_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut ours = Patience::new(ours, LONGEST, Guest::new(tokio::time::Instant::now(), true));
        let slow = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(LONGEST / 5).await;
                theirs.read_exact(&mut [0; 8]).await.unwrap();
            }
            theirs
        });
        ours.write_all(&[1; 64]).await.unwrap();
        let begun = tokio::time::Instant::now();
        let _silent = slow.await.unwrap();
        ours.write_all(&[1; 8]).await.unwrap();
        let error = ours.write_all(&[1; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() >= LONGEST, "{:?}", begun.elapsed());
    }
}
