//! Accepts connections, serves them, and ends in order.
//!
//! Connections beyond the most allowed wait to be accepted. On drain no further connection is accepted, idle ones are
//! closed, and open answers get until the deadline; what is left then may say why it ends, and is cut.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::lanes::Lanes;
use super::patience::Patience;
use crate::config;

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Every answer was completed.
    Complete,
    /// The deadline passed with so many connections open.
    Cut(usize),
}

/// How long the last words of cut answers may take to go out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Serves on `lanes` until `shutdown`, then drains; `close` ends the answers that are not complete by the deadline.
pub async fn serve(
    listener: TcpListener,
    lanes: &Lanes,
    router: Router,
    settings: config::Server,
    shutdown: impl Future<Output = ()>,
    close: impl FnOnce(),
) -> Drain {
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let tasks = TaskTracker::new();
    let (drain, draining) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = &mut shutdown => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: a pause lets some be closed.
                    tracing::warn!(error = %error, "A connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        // Small answers and stream pieces must not wait for more.
        let _ = stream.set_nodelay(true);
        // Out of this runtime, to be taken up by the lane's.
        let Ok(stream) = stream.into_std() else { continue };
        let connection = connection(stream, peer, router.clone(), Timeouts::of(&settings), draining.clone());
        lanes.run(&tasks, async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = drain.send(true);
    tasks.close();
    if tokio::time::timeout(Duration::from_secs(settings.drain_s), tasks.wait()).await.is_ok() {
        return Drain::Complete;
    }
    let cut = tasks.len();
    close();
    let _ = tokio::time::timeout(LAST_WORDS, tasks.wait()).await;
    Drain::Cut(cut)
}

/// How long a client is waited for.
#[derive(Clone, Copy)]
struct Timeouts {
    /// To send its first request's head.
    head: Duration,
    /// To send another one's, from the end of the answer before.
    idle: Duration,
    /// To take something of its answer.
    writes: Duration,
}

impl Timeouts {
    fn of(settings: &config::Server) -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: seconds(settings.header_timeout_s),
            idle: seconds(settings.keep_alive_s),
            writes: seconds(settings.write_timeout_s),
        }
    }
}

async fn connection(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    router: Router,
    timeouts: Timeouts,
    mut draining: watch::Receiver<bool>,
) {
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(error = %error, "A connection could not be taken up");
            return;
        }
    };
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&has_asked);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // It runs while a connection is idle, too: a proxy in front that keeps one for longer would meet its end with a request.
    builder.timer(TokioTimer::new()).header_read_timeout(timeouts.idle.max(timeouts.head));
    let connection = builder.serve_connection(TokioIo::new(Patience::new(stream, timeouts.writes)), service);
    let mut connection = std::pin::pin!(connection);
    let mut told = false;
    let mut first_request_due = true;
    let mut head_deadline = std::pin::pin!(tokio::time::sleep(timeouts.head));
    loop {
        tokio::select! {
            // An error here is a client that went away or spoke no HTTP: nothing to answer, nothing to log loudly.
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(error = %error, "A connection ended badly");
                }
                return;
            }
            () = &mut head_deadline, if first_request_due => {
                first_request_due = false;
                if !has_asked.load(Ordering::Relaxed) {
                    tracing::debug!("A client took too long to say what it wants");
                    return;
                }
            }
            _ = draining.changed(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
