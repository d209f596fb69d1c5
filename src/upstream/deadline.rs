//! Deadlines, and the time that passed while nothing of ours ran.
//!
//! A deadline that is noticed much later passed while the process was stopped, or its machine frozen for a snapshot.
//! What was waited for may lie in the socket, where the task that reads it has not looked since, and gets a moment more:
//! once for each deadline, or an answer that drips would have one after the other.

use std::pin::pin;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// A deadline noticed this much later was not noticed in time, and what it ended has as long again.
const MUCH_LATER: Duration = Duration::from_millis(100);

/// The latest deadline that was not noticed in time, and until when what it ended has time.
#[derive(Debug, Default)]
pub(super) struct Grace(Option<(Instant, Instant)>);

impl Grace {
    /// What `answer` gives by the deadline.
    pub(super) async fn by<T>(&mut self, deadline: Instant, answer: impl Future<Output = T>) -> Result<T, Elapsed> {
        if let Some((late, until)) = self.0
            && deadline <= late
        {
            return timeout_at(until, answer).await;
        }
        let mut answer = pin!(answer);
        match timeout_at(deadline, answer.as_mut()).await {
            Err(_) if deadline.elapsed() > MUCH_LATER => {
                let until = Instant::now() + MUCH_LATER;
                self.0 = Some((deadline, until));
                timeout_at(until, answer).await
            }
            given => given,
        }
    }
}

/// What `answer`, which is all that is waited for, gives by the deadline.
///
/// # Errors
///
/// When the deadline passed before.
pub async fn by<T>(deadline: Instant, answer: impl Future<Output = T>) -> Result<T, Elapsed> {
    Grace::default().by(deadline, answer).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_came_while_the_process_was_stopped_is_read_before_its_deadline_counts() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let reply = async |after: &'static [u8]| {
            let (mut peer, _) = listener.accept().await.unwrap();
            let _ = peer.read(&mut [0; 1 << 10]).await;
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
            peer.write_all(after).await.unwrap();
            // Nothing of this process runs meanwhile.
            std::thread::sleep(5 * MUCH_LATER);
            peer
        };
        let begin = || async { reqwest::Client::new().get(&url).send().await.unwrap() };
        for (rest, all) in [(&b"cd"[..], Ok("abcd")), (b"c", Err(()))] {
            let (mut response, _peer) = tokio::join!(begin(), reply(rest));
            let deadline = Instant::now() - 2 * MUCH_LATER;
            let mut grace = Grace::default();
            let mut read = Vec::new();
            let end = loop {
                match grace.by(deadline, response.chunk()).await {
                    Ok(Ok(Some(piece))) => read.extend(piece),
                    Ok(_) => break Ok(()),
                    Err(_) => break Err(()),
                }
            };
            assert_eq!(end.map(|()| String::from_utf8(read).unwrap()), all.map(str::to_owned));
        }
    }

    #[tokio::test]
    async fn who_drips_has_a_moment_more_and_not_another_with_each_drop() {
        let drop = || tokio::time::sleep(MUCH_LATER / 10);
        let mut grace = Grace::default();
        let passed = Instant::now() - 5 * MUCH_LATER;
        for late in [passed, passed + MUCH_LATER] {
            let mut drops = 0;
            while drops < 100 && grace.by(late, drop()).await.is_ok() {
                drops += 1;
            }
            assert!((1..=11).contains(&drops), "{drops}");
            assert!(grace.by(late, drop()).await.is_err());
        }
        assert!(grace.by(passed, drop()).await.is_err(), "an earlier one");
        let next = Instant::now() + 100 * MUCH_LATER;
        assert!(grace.by(next, drop()).await.is_ok(), "the next piece of a stream has its time");
        let now = Instant::now();
        assert!(Grace::default().by(now, std::future::pending::<()>()).await.is_err());
        assert!(now.elapsed() < 50 * MUCH_LATER, "noticed in time");
    }
}
