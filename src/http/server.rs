//! Accepts connections, serves them, and ends in order.
//!
//! Connections beyond the most allowed get the place of one that is idle (see [`places`](super::places)), or wait for
//! one. On drain no further connection is accepted, idle ones are closed, and open answers get until the deadline; what
//! is left then may say why it ends, and is cut.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::error::Refused;
use super::lanes::Lanes;
use super::patience::Patience;
use super::places::{Coming, Place, Places, Turn};
use crate::config;
use crate::protocol::ErrorKind;

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

/// Long enough for a lane to hear from the system what has come on its connections.
const CATCH_UP: Duration = Duration::from_millis(1);

/// Serves on `lanes` until `shutdown`, then drains; `may_enter` tells whose network may come in, `close` ends the answers
/// that are not complete by the deadline.
pub async fn serve(
    listener: TcpListener,
    lanes: &Lanes,
    router: Router,
    settings: config::Server,
    may_enter: impl Fn(IpAddr) -> bool,
    shutdown: impl Future<Output = ()>,
    close: impl FnOnce(),
) -> Drain {
    let places = Places::new(settings.max_connections);
    let tasks = TaskTracker::new();
    let (drain, draining) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
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
        let place = tokio::select! {
            place = places.take(may_enter(peer.ip())) => place,
            () = &mut shutdown => break,
        };
        let Some(place) = place else { break };
        // Small answers and stream pieces must not wait for more.
        let _ = stream.set_nodelay(true);
        // Out of this runtime, to be taken up by the lane's.
        let Ok(stream) = stream.into_std() else { continue };
        let connection = connection(stream, peer, place, router.clone(), Timeouts::of(&settings), draining.clone());
        lanes.run(&tasks, connection);
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
    place: Place,
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
    // The place is given back when the connection is over, by whichever way.
    let guest = &place.guest;
    let asking = Arc::clone(guest);
    let places = Arc::clone(&place.places);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let asking = Arc::clone(&asking);
        let mut router = router.clone();
        let mut request = request.map(|body| Body::new(Coming::new(body, &asking)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let places = Arc::clone(&places);
        async move {
            // Not before: of those that are sent in a row, one is begun once the answer before is on its way.
            let turn = asking.ask();
            let response = router.call(request).await.unwrap_or_else(|never| match never {});
            let response = shown_out(response, places.is_wanted());
            Ok::<_, Infallible>(response.map(|body| Answer { body, _turn: turn }))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // It runs while a connection is idle, too: a proxy in front that keeps one for longer would meet its end with a request.
    builder.timer(TokioTimer::new()).header_read_timeout(timeouts.idle.max(timeouts.head));
    // Whose network may not come in has nothing more to ask.
    builder.keep_alive(guest.is_welcome());
    let connection =
        builder.serve_connection(TokioIo::new(Patience::new(stream, timeouts.writes, Arc::clone(guest))), service);
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
                if !guest.has_asked() {
                    tracing::debug!("A client took too long to say what it wants");
                    return;
                }
            }
            _ = draining.changed(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = guest.told_to_go() => {
                // What has come while this lane or the machine stood still is read first: only then is it known who is idle.
                let pace = guest.pace();
                if tokio::time::timeout(CATCH_UP, &mut connection).await.is_ok() {
                    return;
                }
                if guest.pace() == pace && guest.can_go_at_once() {
                    tracing::debug!("A client that said nothing in full, or takes no answer, made room for another");
                    return;
                }
                // What it may have begun to ask by now is answered.
                guest.wait_on();
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Whoever was refused at the door keeps no place there: it asks again with another credential, if it has one. Nor does
/// anybody while others wait.
fn shown_out(mut response: Response, others_wait: bool) -> Response {
    let refused = response.extensions().get::<Refused>().map(|refused| refused.0);
    if others_wait || matches!(refused, Some(ErrorKind::Authentication | ErrorKind::Permission)) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer whose client is busy with it until its last byte is on its way.
struct Answer {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whose_body_came_while_its_lane_stood_still_is_answered() {
        let lanes = Lanes::start(1, |_| {}).unwrap();
        let stand_still = || async { std::thread::sleep(Duration::from_millis(2500)) };
        let repeat = |body: String| async { body };
        let router = Router::new().route("/", post(repeat)).route("/still", get(stand_still));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = config::Server { max_connections: 3, ..config::Server::default() };
        let server = tokio::spawn(async move {
            serve(listener, &lanes, router, settings, |_| true, std::future::pending(), || {}).await
        });
        let connect = async |said: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            stream
        };
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        let mut waited = [connect(head).await, connect("").await];
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let still = connect(&ask("/still")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        waited[0].write_all(b"hello").await.unwrap();
        waited[1].write_all(format!("{head}hello").as_bytes()).await.unwrap();
        let newcomers = [connect(&ask("/none")).await, connect(&ask("/none")).await];
        for mut stream in waited {
            let mut told = String::new();
            stream.read_to_string(&mut told).await.unwrap();
            assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("hello"), "{told}");
        }
        for mut stream in newcomers {
            let mut told = String::new();
            stream.read_to_string(&mut told).await.unwrap();
            assert!(told.starts_with("HTTP/1.1 404"), "{told}");
        }
        drop(still);
        server.abort();
    }
}
