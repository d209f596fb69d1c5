//! Sends bytes to a provider and reads what comes back, each wait with a deadline.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method};
use hyper_util::client::proxy::matcher::Matcher;
use jiff::{SignedDuration, Timestamp};
use reqwest::NoProxy;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use super::deadline::{Grace, by};
use super::resolver::Resolver;
use super::room::{Room, SMALL_BYTES};
use super::{Endpoint, Provider};
use crate::config::{self, Roots};
use crate::protocol::{ApiError, ErrorKind};

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The endpoint called.
    pub endpoint: Endpoint,
    /// The body; `None` makes it a GET.
    pub body: Option<Bytes>,
    /// Headers besides the provider's own, which win over these.
    pub headers: HeaderMap,
}

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The provider has no such endpoint.
    #[error("it has no such endpoint")]
    NoEndpoint,
    /// No connection to the provider.
    #[error("no connection{}", connect_hint(.0))]
    Connect(#[source] reqwest::Error),
    /// No connection, for a reason of the proxy between the provider and us.
    #[error("not reached: {} (dispatch.proxy)", proxy_fault(.0).unwrap_or_default())]
    Proxy(#[source] reqwest::Error),
    /// No connection, for a reason on this machine.
    #[error("this gateway has no file descriptor left to connect with (ulimit -n)")]
    NoDescriptor(#[source] reqwest::Error),
    /// The connection broke. Told in words by which programs know that another try may help (pi).
    #[error("connection lost")]
    Cut(#[source] reqwest::Error),
    /// A deadline passed.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than allowed.
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is a large one, and stopped coming.
    #[error("its large answer stopped coming")]
    Stalled,
    /// Other large answers took all the room there is for them until the deadline.
    #[error("there was no room for its large answer beside those of others (dispatch.large_answers_mb)")]
    NoRoom,
}

/// An error and what caused it, down to the first cause.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

/// Whether this process or this machine has run out of file descriptors. A resolver that fails for want of one does not
/// say so: `open_some` tries whether there are any.
fn is_out_of_descriptors(error: &(dyn Error + 'static), open_some: impl Fn() -> io::Result<()>) -> bool {
    let is_short = |io: &io::Error| matches!(io.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(is_short)
            || is_unresolved(cause) && open_some().is_err_and(|io| is_short(&io))
    })
}

/// Opens as many descriptors as a resolver may need at once (its files, its sockets).
fn open_some() -> io::Result<()> {
    let files: io::Result<Vec<_>> = (0..4).map(|_| std::fs::File::open("/dev/null")).collect();
    files.map(drop)
}

/// Whether this cause is that the server's name could not be resolved.
fn is_unresolved(cause: &dyn Error) -> bool {
    cause.to_string().starts_with("dns error")
}

/// Whether this cause is that nothing listens at the server's address.
fn is_refused(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused)
}

/// Why there is no connection, as a suffix of the message: as much as an operator needs and a client may know.
fn connect_hint(error: &reqwest::Error) -> &'static str {
    for cause in causes(error) {
        if is_refused(cause) {
            return ": nothing listens at its address";
        }
        if is_unresolved(cause) {
            return ": its name is not known";
        }
        if cause.to_string().contains("certificate") {
            return ": its certificate is not trusted";
        }
    }
    ""
}

/// What the proxy has to do with the failure of a call through it. `None` = nothing: it led to the provider,
/// which then broke off, or shows a certificate that is not trusted.
fn proxy_fault(error: &reqwest::Error) -> Option<&'static str> {
    if error.is_timeout() {
        return Some("no connection through the proxy in time");
    }
    let mut fault = None;
    for cause in causes(error) {
        if is_refused(cause) {
            return Some("nothing listens at the proxy's address");
        }
        // Only the proxy's name is looked up here.
        if is_unresolved(cause) {
            return Some("the proxy's name is not known");
        }
        let said = cause.to_string();
        if said.starts_with("tunnel error: proxy authorization required") {
            return Some("the proxy asks for a user and a password, or for others");
        }
        if said.starts_with("tunnel error: unsuccessful") {
            return Some("the proxy does not connect to it");
        }
        if said.starts_with("tunnel error") || said.starts_with("tcp connect error") {
            fault = Some("no connection to the proxy");
        }
    }
    fault
}

impl From<Elapsed> for CallError {
    fn from(_: Elapsed) -> Self {
        Self::Timeout
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        let kind = match error {
            CallError::NoEndpoint => ErrorKind::InvalidRequest,
            CallError::Connect(_) | CallError::Proxy(_) | CallError::Cut(_) => ErrorKind::Connection,
            CallError::Timeout | CallError::Stalled => ErrorKind::Timeout,
            CallError::TooLarge(_) => ErrorKind::Upstream,
            CallError::NoDescriptor(_) | CallError::NoRoom => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl CallError {
    /// Whether the reason lies with this gateway, and the provider is not to blame.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::NoDescriptor(_) | Self::NoRoom)
    }

    /// The error of a call through the proxy.
    fn through_proxy(self) -> Self {
        match self {
            Self::Connect(error) if proxy_fault(&error).is_some() => Self::Proxy(error),
            error => error,
        }
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        // The URL may hold an internal address, which clients must not see.
        let error = error.without_url();
        // Tested before the timeout: time may also run out while connecting, and then nothing was sent.
        if is_out_of_descriptors(&error, open_some) {
            Self::NoDescriptor(error)
        } else if error.is_connect() {
            Self::Connect(error)
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Cut(error)
        }
    }
}

/// Longest wait that is passed on. Some servers put a point in time (seconds since 1970) where seconds are expected, and
/// a client told to wait for decades would. A limit by the week is worth asking about once a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The wait that a vendor asks for, [`MAX_RETRY_AFTER`] at most; `None` = it names none.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    stated_wait(headers, now).map(|wait| wait.min(MAX_RETRY_AFTER))
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), or OpenAI's `retry-after-ms`. A date is compared
/// with the answer's own `Date`, as clocks differ, else with `now`.
fn stated_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let seconds = |name: HeaderName| text(name)?.parse::<f64>().ok();
    let date = |name: HeaderName| jiff::fmt::rfc2822::parse(text(name)?).ok().map(|at| at.timestamp());
    let ms = seconds(HeaderName::from_static("retry-after-ms"));
    if let Some(wait) = ms.map(|ms| ms / 1e3).or_else(|| seconds(RETRY_AFTER)) {
        return Duration::try_from_secs_f64(wait).ok();
    }
    let wait = date(RETRY_AFTER)?.duration_since(date(DATE).unwrap_or(now));
    Some(wait.max(SignedDuration::ZERO).unsigned_abs())
}

/// Hosts always called without the proxy, which could not reach this machine's loopback.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.0/8", "::1"];

thread_local! {
    /// Number of the connection pool that this thread uses.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread use connection pool `number` (modulo the pools [`Client::new`] made). A connection is served by
/// the runtime that opened it: with a shared pool, a thread with its own runtime would have to wake another's for
/// every call.
pub fn use_pool(number: usize) {
    POOL.set(number);
}

/// Connections to all providers, kept open between calls.
#[derive(Debug, Clone)]
pub struct Client {
    pools: Arc<[Pool]>,
    /// Tells which calls go through the proxy, by the rules that reqwest has for it and does not tell.
    proxied: Option<Arc<Matcher>>,
    room: Room,
}

/// One pool for each [`Roots`]: certificates built into the binary, and the system's.
#[derive(Debug)]
struct Pool {
    bundled: reqwest::Client,
    system: reqwest::Client,
}

impl Client {
    /// A client with `pools` connection pools (see [`use_pool`]). Of the settings it takes the connect timeout, the
    /// proxy and the room for large answers, which are read at start only.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up, or the proxy's address is invalid.
    pub fn new(settings: &config::Dispatch, pools: usize) -> Result<Self, reqwest::Error> {
        // Fails only where another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let without: Vec<&str> = LOOPBACK.into_iter().chain(settings.no_proxy.iter().map(String::as_str)).collect();
        let without = without.join(",");
        let proxy = settings.proxy.as_deref().filter(|address| !address.is_empty());
        let proxied =
            proxy.map(|address| Arc::new(Matcher::builder().all(address.to_owned()).no(without.clone()).build()));
        let without = NoProxy::from_string(&without);
        let proxy =
            proxy.map(|address| reqwest::Proxy::all(address).map(|proxy| proxy.no_proxy(without))).transpose()?;
        let to_connect = Duration::from_millis(settings.connect_timeout_ms);
        let resolver = Arc::new(Resolver::of_the_system(to_connect));
        let common = || {
            let builder = reqwest::Client::builder()
                .connect_timeout(to_connect)
                .pool_idle_timeout(Duration::from_secs(90))
                .tcp_nodelay(true)
                .dns_resolver(Arc::clone(&resolver))
                .redirect(reqwest::redirect::Policy::none())
                // The environment's proxies are ignored: only the configured one counts.
                .no_proxy()
                .user_agent(concat!("pointsman/", env!("CARGO_PKG_VERSION")));
            proxy.iter().cloned().fold(builder, reqwest::ClientBuilder::proxy)
        };
        let roots: Vec<reqwest::Certificate> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .filter_map(|der| reqwest::Certificate::from_der(der).ok())
            .collect();
        let pool = |_| {
            let bundled = common().tls_certs_only(roots.iter().cloned()).build()?;
            Ok(Pool { bundled, system: common().build()? })
        };
        let pools = (0..pools.max(1)).map(pool).collect::<Result<_, reqwest::Error>>()?;
        Ok(Self { pools, proxied, room: Room::new(settings.large_answers_mb) })
    }

    /// Whether calls of this address go through the proxy.
    fn is_proxied(&self, url: &reqwest::Url) -> bool {
        let intercepts = |proxied: &Arc<Matcher>| Some(proxied.intercept(&url.as_str().parse().ok()?).is_some());
        self.proxied.as_ref().and_then(intercepts).unwrap_or(false)
    }

    /// This thread's pool.
    fn pool(&self) -> &Pool {
        &self.pools[POOL.get() % self.pools.len()]
    }

    /// Makes a call and waits until `deadline` for the answer's status and headers.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; a bad status is not an error here.
    pub async fn send(&self, provider: &Provider, call: Call, deadline: Instant) -> Result<Answer, CallError> {
        let url = provider.parsed_url(call.endpoint).ok_or(CallError::NoEndpoint)?;
        let client = match provider.roots {
            Roots::Bundled => &self.pool().bundled,
            Roots::System => &self.pool().system,
        };
        let method = if call.body.is_some() { Method::POST } else { Method::GET };
        let mut request = reqwest::Request::new(method, url.clone());
        *request.headers_mut() = headers(provider, call.headers);
        *request.body_mut() = call.body.map(reqwest::Body::from);
        let response = by(deadline, client.execute(request)).await?;
        let response = response.map_err(CallError::from_reqwest).map_err(|error| match self.is_proxied(url) {
            true => error.through_proxy(),
            false => error,
        })?;
        Ok(Answer { response, room: self.room.clone(), grace: Grace::default() })
    }
}

/// The headers of a call: `more`, overridden by the provider's own.
fn headers(provider: &Provider, more: HeaderMap) -> HeaderMap {
    if more.is_empty() {
        return provider.headers().clone();
    }
    let mut headers = more;
    for (name, value) in provider.headers() {
        match name.as_str() {
            // The client's version is more exact than ours.
            "anthropic-version" if headers.contains_key(name) => {}
            // A list: the client's betas and ours add up.
            "anthropic-beta" => {
                headers.append(name, value.clone());
            }
            _ => {
                headers.insert(name, value.clone());
            }
        }
    }
    headers
}

/// An answer whose body is still to be read. Dropping it ends the call at the vendor.
#[derive(Debug)]
pub struct Answer {
    response: reqwest::Response,
    room: Room,
    grace: Grace,
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// The media type, without parameters.
    pub fn media_type(&self) -> &str {
        let value = self.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// How long the vendor wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.response.headers(), Timestamp::now())
    }

    /// The next piece of the body, or `None` at its end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or nothing comes until `deadline`.
    pub async fn chunk(&mut self, deadline: Instant) -> Result<Option<Bytes>, CallError> {
        self.grace.by(deadline, self.response.chunk()).await?.map_err(CallError::from_reqwest)
    }

    /// The next piece of a body that has a place in the room.
    async fn chunk_of_large(&mut self, deadline: Instant) -> Result<Option<Bytes>, CallError> {
        let soon = Instant::now() + self.room.longest_pause;
        match self.chunk(deadline.min(soon)).await {
            Err(CallError::Timeout) if soon < deadline => Err(CallError::Stalled),
            next => next,
        }
    }

    /// The whole body. A large one waits for its place among other large ones, and keeps it until its bytes are
    /// dropped.
    ///
    /// # Errors
    ///
    /// As [`Answer::chunk`], when it is larger than `limit` bytes, when there is no place for it until `deadline`, and
    /// when it has one and stops coming.
    pub async fn whole(mut self, limit: usize, deadline: Instant) -> Result<Bytes, CallError> {
        let stated = self.response.content_length().and_then(|bytes| usize::try_from(bytes).ok());
        let Some(first) = self.chunk(deadline).await? else { return Ok(Bytes::new()) };
        let mut gathered: Option<BytesMut> = None;
        let mut length = first.len();
        let mut place = None;
        loop {
            let next = match &place {
                None => self.chunk(deadline).await?,
                Some(_) => self.chunk_of_large(deadline).await?,
            };
            let Some(next) = next else { break };
            length += next.len();
            if length > limit {
                return Err(CallError::TooLarge(limit));
            }
            if length > SMALL_BYTES && place.is_none() {
                let longest = stated.unwrap_or(limit).min(limit);
                place = Some(self.room.take(longest, deadline).await.ok_or(CallError::NoRoom)?);
            }
            gathered.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&next);
        }
        if length > limit {
            return Err(CallError::TooLarge(limit));
        }
        Ok(match (gathered, place) {
            // Most answers come in one piece: no copy.
            (None, _) => first,
            (Some(whole), None) => whole.freeze(),
            (Some(whole), Some(place)) => place.hold(whole),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_vendors_wish_to_be_left_alone_is_read_in_all_its_forms() {
        let now: Timestamp = "2026-11-29T08:00:00Z".parse().unwrap();
        let wait = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            retry_after(&pairs.iter().copied().map(pair).collect(), now)
        };
        let seconds = |count| Some(Duration::from_secs(count));
        let at_ten = ("retry-after", "Sun, 29 Nov 2026 08:00:10 GMT");
        assert_eq!(wait(&[("retry-after", " 7 ")]), seconds(7));
        assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(wait(&[at_ten]), seconds(10));
        assert_eq!(wait(&[at_ten, ("date", "Sun, 29 Nov 2026 07:59:00 GMT")]), seconds(70), "by the vendor's clock");
        assert_eq!(wait(&[at_ten, ("date", "Sun, 29 Nov 2026 08:01:00 GMT")]), seconds(0));
        for nonsense in ["soon", "-3", "NaN", "inf", "1e99", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(wait(&[]), None);
        for long in ["200000", "1795945133"] {
            assert_eq!(wait(&[("retry-after", long)]), seconds(86_400), "{long}");
        }
    }

    #[test]
    fn that_no_file_may_be_opened_is_no_fault_of_the_provider() {
        let error = io::Error::from_raw_os_error;
        let is_short = |error: io::Error| is_out_of_descriptors(&error, open_some);
        assert!(is_short(error(libc::EMFILE)) && is_short(error(libc::ENFILE)));
        assert!(!is_short(error(libc::ECONNREFUSED)) && !is_short(io::Error::other("dns error: no such name")));
        let unresolved = io::Error::other("dns error: Temporary failure in name resolution");
        assert!(is_out_of_descriptors(&unresolved, || Err(error(libc::EMFILE))));
        assert!(!is_out_of_descriptors(&error(libc::ECONNREFUSED), || Err(error(libc::EMFILE))));
    }

    #[tokio::test]
    async fn that_the_proxy_leads_nowhere_is_told_of_the_proxy() {
        /// The error of a call through the proxy.
        async fn told(proxy: SocketAddr, base_url: &str) -> String {
            let dispatch = config::Dispatch { proxy: Some(format!("http://u:hush@{proxy}")), ..Default::default() };
            let settings = config::Provider { base_url: base_url.into(), ..Default::default() };
            let call = Call { endpoint: Endpoint::Chat, body: Some("{}".into()), headers: HeaderMap::new() };
            let (client, provider) = (Client::new(&dispatch, 1).unwrap(), Provider::new("far", &settings));
            let sent = client.send(&provider, call, Instant::now() + Duration::from_secs(20)).await;
            sent.unwrap_err().to_string()
        }
        let answering = |head: &'static str| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let answer = async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            };
            tokio::spawn(answer);
            address
        };
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let nobody = "not reached: nothing listens at the proxy's address (dispatch.proxy)";
        assert_eq!(told(closed, "https://vendor.invalid/v1").await, nobody);
        assert_eq!(told(closed, "http://vendor.invalid/v1").await, nobody);
        let own = "no connection: nothing listens at its address";
        assert_eq!(told(closed, &format!("http://{closed}/v1")).await, own, "which is called without the proxy");
        for (head, why) in [
            ("HTTP/1.1 407 No\r\n\r\n", "the proxy asks for a user and a password, or for others"),
            ("HTTP/1.1 502 No\r\n\r\n", "the proxy does not connect to it"),
            ("", "no connection to the proxy"),
        ] {
            let proxy = answering(head).await;
            let wanted = format!("not reached: {why} (dispatch.proxy)");
            assert_eq!(told(proxy, "https://vendor.invalid/v1").await, wanted);
        }
        let through = answering("HTTP/1.1 200 OK\r\n\r\n").await;
        let vendors = told(through, "https://vendor.invalid/v1").await;
        assert!(!vendors.contains("proxy"), "{vendors}");
    }

    #[tokio::test]
    async fn a_large_answer_that_stops_coming_gives_its_place_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                stream.write_all(&vec![b' '; 2 << 20]).await.unwrap();
                // It says no more, and waits for the other side to close.
                tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
            }
        });
        let mut client = Client::new(&config::Dispatch::default(), 1).unwrap();
        client.room = Room::new(8);
        client.room.longest_pause = Duration::from_millis(50);
        let provider = Provider::new("p", &config::Provider { base_url, ..Default::default() });
        for _ in 0..2 {
            let deadline = Instant::now() + Duration::from_secs(20);
            let call = Call { endpoint: Endpoint::Chat, body: Some("{}".into()), headers: HeaderMap::new() };
            let answer = client.send(&provider, call, deadline).await.unwrap();
            let stalled = answer.whole(8 << 20, deadline).await;
            assert!(matches!(stalled, Err(CallError::Stalled)), "{stalled:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_connection_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::new()).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
        });
        let client = Client::new(&config::Dispatch::default(), 1).unwrap();
        let provider = Provider::new("p", &config::Provider { base_url, ..Default::default() });
        let deadline = Instant::now() + Duration::from_secs(20);
        let call = Call { endpoint: Endpoint::Chat, body: Some("{}".into()), headers: HeaderMap::new() };
        let answer = client.send(&provider, call, deadline).await.unwrap();
        let lost = answer.whole(1 << 20, deadline).await.unwrap_err();
        assert_eq!(lost.to_string(), "connection lost");
    }

    #[test]
    fn a_providers_beta_stands_beside_the_clients() {
        let settings = crate::config::Provider {
            base_url: "http://127.0.0.1:9".into(),
            headers: [("anthropic-beta".into(), "ours".into()), ("x-team".into(), "ours".into())].into(),
            ..crate::config::Provider::default()
        };
        let theirs = [("anthropic-beta", "theirs"), ("x-team", "theirs")];
        let more = theirs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let sent = headers(&Provider::new("x", &settings), more.into_iter().collect());
        let all = |name: &str| sent.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            (all("anthropic-beta"), all("x-team")),
            (["theirs", "ours"].map(HeaderValue::from_static).to_vec(), vec![HeaderValue::from_static("ours")])
        );
    }
}
