//! Accepts connections, serves them, and ends in order.
//!
//! A connection beyond `server.max_connections` gets the slot of an idle one, or waits for it (see
//! [`slots`](super::slots)). On drain no further connection is accepted, idle ones are closed, and open answers get
//! until the deadline; those still open then may say why they end, and are cut.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::error::Refused;
use super::lanes::Lanes;
use super::slots::{Busy, Slot, Slots, WatchedBody};
use super::write_timeout::WriteTimeout;
use crate::config;
use crate::protocol::ErrorKind;

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Every answer was completed.
    Complete,
    /// The deadline passed with this many connections open.
    Cut(usize),
}

/// How long the error events that end cut answers may take to go out.
const LAST_EVENTS: Duration = Duration::from_millis(500);

/// How long the next piece of a refused request's body may take, and all of it.
const NEXT_PIECE: Duration = Duration::from_secs(2);
const WHOLE_BODY: Duration = Duration::from_secs(30);

/// How often to check whether somebody needs the connection of such a body.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Most bytes that are read of a refused request's body.
const MOST_READ_AWAY: usize = 64 << 20;

/// Long enough for a lane to learn from the operating system what has come on its connections.
const CATCH_UP: Duration = Duration::from_millis(1);

/// Pause between two warnings that connections cannot be accepted.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The kernel's buffer for what a client has not taken yet; Linux doubles it. By itself it grows to megabytes, and as
/// there is room only once a third of it is free, a steady reader seems to take nothing for long: one of 100 kB/s for
/// 15 s, one of 20 kB/s for over a minute. With this size it is 2 and 10 s, and still several MB/s pass over long
/// distances.
const SEND_BUFFER_BYTES: u32 = 256 << 10;

/// A listener on `address`.
///
/// # Errors
///
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Else a restart would have to wait for the connections of the process before it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Its connections inherit it.
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves on `lanes` until `shutdown`, then drains; `may_enter` says which networks are allowed, `close` ends the
/// answers that are not complete by the deadline.
pub async fn serve(
    listener: TcpListener,
    lanes: &Lanes,
    router: Router,
    settings: config::Server,
    may_enter: impl Fn(IpAddr) -> bool,
    shutdown: impl Future<Output = ()>,
    close: impl FnOnce(),
) -> Drain {
    let slots = Slots::new(settings.max_connections);
    let tasks = TaskTracker::new();
    let draining = CancellationToken::new();
    let drain = draining.clone().drop_guard();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut told: Option<Instant> = None;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        slots.make_room();
                    }
                    if told.is_none_or(|at: Instant| at.elapsed() >= TELL_AGAIN) {
                        tracing::warn!(error = %error, "Connections cannot be accepted; idle ones make room");
                        told = Some(Instant::now());
                    }
                    // Time for one to be closed.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let slot = tokio::select! {
            slot = slots.take(may_enter(peer.ip())) => slot,
            () = &mut shutdown => break,
        };
        let Some(slot) = slot else { break };
        // Small answers and stream pieces must not wait for more.
        let _ = stream.set_nodelay(true);
        // Out of this runtime, to be taken up by the lane's.
        let Ok(stream) = stream.into_std() else { continue };
        let connection = connection(stream, peer, slot, router.clone(), Timeouts::of(&settings), draining.clone());
        lanes.run(&tasks, connection);
    }
    drop(listener);
    drop(drain);
    tasks.close();
    if tokio::time::timeout(Duration::from_secs(settings.drain_s), tasks.wait()).await.is_ok() {
        return Drain::Complete;
    }
    let cut = tasks.len();
    close();
    let _ = tokio::time::timeout(LAST_EVENTS, tasks.wait()).await;
    Drain::Cut(cut)
}

/// A request's body, of which the handler has one handle and the connection another.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<AskedFor>>);

struct AskedFor {
    body: Incoming,
    /// A client that waits for leave to send it has got that.
    is_asked_for: bool,
}

impl SharedBody {
    fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(AskedFor { body, is_asked_for: false })))
    }

    fn is_asked_for(&self) -> bool {
        self.0.lock().is_asked_for
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut shared = self.0.lock();
        shared.is_asked_for = true;
        Pin::new(&mut shared.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}

/// Whether an answer may have come before its request's body was read. A body that came too slowly is not waited for
/// again.
fn is_refusal(status: StatusCode) -> bool {
    !status.is_success() && status != StatusCode::REQUEST_TIMEOUT
}

/// Reads the rest of a refused request's body: on a connection that is closed before, the kernel throws away the answer
/// with it, and a client that is still sending never reads why it was refused. But nobody waits for that: it ends as
/// soon as `is_wanted` says that the connection is needed.
async fn read_away(mut body: impl HttpBody<Data = Bytes> + Unpin, most: usize, is_wanted: impl Fn() -> bool) {
    let mut left = most;
    let all = async {
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(NEXT_PIECE, body.frame()).await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let wanted = async {
        while !is_wanted() {
            tokio::time::sleep(LOOK_UP).await;
        }
    };
    tokio::select! {
        biased;
        _ = tokio::time::timeout(WHOLE_BODY, all) => {}
        () = wanted => {}
    }
}

/// How long a client may take.
#[derive(Clone, Copy)]
struct Timeouts {
    /// To send its first request's head.
    head: Duration,
    /// To send the next request's head, from the end of the answer before.
    idle: Duration,
    /// To read anything of its answer.
    write: Duration,
}

impl Timeouts {
    fn of(settings: &config::Server) -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: seconds(settings.header_timeout_s),
            idle: seconds(settings.keep_alive_s),
            write: seconds(settings.write_timeout_s),
        }
    }
}

async fn connection(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    slot: Slot,
    router: Router,
    timeouts: Timeouts,
    draining: CancellationToken,
) {
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(error = %error, "A connection could not be taken up");
            return;
        }
    };
    // The slot is freed when this function ends, in whichever way.
    let activity = Arc::clone(&slot.activity);
    let (slots, stop) = (Arc::clone(&slot.slots), draining.clone());
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let activity = Arc::clone(&activity);
        let mut router = router.clone();
        let waits = request.headers().contains_key(EXPECT);
        let (head, body) = request.into_parts();
        let body = SharedBody::new(body);
        let mut request = Request::from_parts(head, Body::new(WatchedBody::new(body.clone(), &activity)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let (slots, draining) = (Arc::clone(&slots), stop.clone());
        async move {
            // In here, not above: a pipelined request begins once the answer before it is on its way.
            let busy = activity.begin_request();
            let response = router.call(request).await.unwrap_or_else(|never| match never {});
            // Who waits for leave to send its body does not send it before it has that.
            let sends = !waits || body.is_asked_for();
            if sends && is_refusal(response.status()) {
                let is_wanted = || slots.has_waiters() || draining.is_cancelled();
                read_away(WatchedBody::new(body, &activity), MOST_READ_AWAY, is_wanted).await;
            }
            let response = close_if_refused(response, slots.has_waiters());
            Ok::<_, Infallible>(response.map(|body| Answer { body, _busy: busy }))
        }
    });
    let activity = &slot.activity;
    let mut builder = hyper::server::conn::http1::Builder::new();
    // hyper's timer runs while a connection is idle, too: a proxy in front that keeps one for longer than that would
    // send a request into a closed connection.
    builder.timer(TokioTimer::new()).header_read_timeout(timeouts.idle.max(timeouts.head));
    // A client of a refused network has nothing more to ask.
    builder.keep_alive(activity.is_allowed());
    let stream = TokioIo::new(WriteTimeout::new(stream, timeouts.write, Arc::clone(activity)));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let mut is_closing = false;
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
                if !activity.has_sent_request() {
                    tracing::debug!("A client took too long to send its first request");
                    return;
                }
            }
            () = draining.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.evicted() => {
                // What came while this lane or the machine stood still is read first: the connection may not be idle.
                let progress = activity.progress();
                if tokio::time::timeout(CATCH_UP, &mut connection).await.is_ok() {
                    return;
                }
                // A body that stopped coming is refused first. Its connection is closed if that does not end the
                // request.
                let is_lost = activity.progress() == progress && activity.may_close_at_once();
                if is_lost && !activity.refuse_body() {
                    tracing::debug!("A connection without a complete request, or whose client reads no answer, made room for another");
                    return;
                }
                // A request that has come by now is still answered.
                activity.resume();
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Adds `connection: close` where the credential or the network was refused, so that such clients hold no slot, and to
/// every answer while newcomers wait for one.
fn close_if_refused(mut response: Response, others_wait: bool) -> Response {
    let refused = response.extensions().get::<Refused>().map(|refused| refused.0);
    if others_wait || matches!(refused, Some(ErrorKind::Authentication | ErrorKind::Permission)) {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The body of an answer: its connection is busy until the last byte is on its way.
struct Answer {
    body: Body,
    _busy: Busy,
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

    /// Serves the router, on one lane.
    async fn serve_here(router: Router, settings: config::Server) -> (SocketAddr, tokio::task::JoinHandle<Drain>) {
        let lanes = Lanes::start(1, |_| {}).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            serve(listener, &lanes, router, settings, |_| true, std::future::pending(), || {}).await
        });
        (address, server)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_was_told_to_send_its_body_reads_why_it_is_refused_after_all() {
        let refuse = |mut body: Body| async move {
            let _first = body.frame().await;
            StatusCode::TOO_MANY_REQUESTS
        };
        let unasked = || async { StatusCode::PAYLOAD_TOO_LARGE };
        let router = Router::new().route("/", post(refuse)).route("/unasked", post(unasked));
        let (address, server) = serve_here(router, config::Server::default()).await;
        let length = 32 << 20;
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n");
            let head = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut told = [0; 12];
            stream.read_exact(&mut told).await.unwrap();
            (stream, String::from_utf8(told.to_vec()).unwrap())
        };
        let (mut stream, told) = ask("/").await;
        assert_eq!(told, "HTTP/1.1 100");
        stream.write_all(&vec![b' '; length]).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert!(told.contains("HTTP/1.1 429"), "{told}");
        let (_, told) = ask("/unasked").await;
        assert_eq!(told, "HTTP/1.1 413", "who has not been told to send is not waited for");
        server.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whose_body_came_while_its_lane_stood_still_is_answered() {
        let stand_still = || async { std::thread::sleep(Duration::from_millis(2500)) };
        let repeat = |body: String| async { body };
        let router = Router::new().route("/", post(repeat)).route("/still", get(stand_still));
        let settings = config::Server { max_connections: 3, ..config::Server::default() };
        let (address, server) = serve_here(router, settings).await;
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
