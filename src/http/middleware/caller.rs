//! Identifies the caller: by its address, and by its API token or its dashboard session where one is required.
//!
//! **Forged requests.** Any web page can make a browser send requests, which carry the session's cookie and reach
//! loopback addresses that nobody else can. So a change by cookie must carry the session's own token in
//! [`CSRF_HEADER`]. A request from a browser must come from the dashboard itself, as its `Origin` says, and must name
//! this listener's own host: a foreign host name that resolves to loopback is refused (DNS rebinding). The same holds
//! for the proxy listener while the address alone lets a caller in: else any page could spend the operator's keys. A
//! GET of a page's own origin, as the browser sees it, has no `Origin`; there a browser is recognised by other headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::Value;

use super::ip::{self, Source};
use crate::config::{Access, Auth, Config};
use crate::gateway::Gateway;
use crate::gateway::sign_in::Session;
use crate::http::error::{Rejection, dialect_of, dialect_of_asker};
use crate::protocol::{ApiError, ErrorKind, RequestId};
use crate::store::{AuditRecord, Scope, Token, Tokens};

/// A caller that is allowed to call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its API token; `None` where none is required.
    pub token: Option<Arc<Token>>,
    /// Its session, where the call comes from the dashboard.
    pub session: Option<Session>,
    /// Its address.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: RequestId,
}

impl Caller {
    /// The caller's name in the audit: a token's id, a user of the dashboard, or `local` for a program of this machine.
    pub fn who(&self) -> String {
        match (&self.token, &self.session) {
            (Some(token), _) => format!("token {}", token.id),
            (None, Some(session)) => format!("dashboard {}", session.user),
            (None, None) => "local".to_owned(),
        }
    }

    /// What it did, for the audit.
    pub fn act(&self, action: &'static str, subject: impl Into<String>, detail: Value) -> AuditRecord {
        AuditRecord::of(&self.who(), action, subject, detail, Timestamp::now().as_millisecond())
    }
}

/// The name of the session cookie. Browsers keep cookies by host, whatever the port, so the listener's port is in the
/// name: else two gateways on one machine would sign each other's operators out.
pub fn session_cookie(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => format!("pointsman_session_{port}"),
        _ => "pointsman_session".to_owned(),
    }
}

/// The header that carries the session's CSRF token in a change by cookie.
pub const CSRF_HEADER: &str = "x-pointsman-csrf";

/// A caller with the scope for chat.
#[derive(Debug, Clone)]
pub struct Chatter(pub Caller);

/// A caller with the scope for feedback.
#[derive(Debug, Clone)]
pub struct Rater(pub Caller);

/// A caller with the scope for administration.
#[derive(Debug, Clone)]
pub struct Operator(pub Caller);

impl FromRequestParts<Arc<Gateway>> for Chatter {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Rejection> {
        enter(parts, gateway, Scope::Chat).map(Self)
    }
}

impl FromRequestParts<Arc<Gateway>> for Rater {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Rejection> {
        enter(parts, gateway, Scope::Feedback).map(Self)
    }
}

impl FromRequestParts<Arc<Gateway>> for Operator {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Rejection> {
        let dialect = dialect_of(parts.uri.path());
        operator(parts, gateway).map(Self).map_err(|error| Rejection::new(dialect, error))
    }
}

/// Any caller from an allowed network, with or without a token.
#[derive(Debug, Clone, Copy)]
pub struct Passer;

impl FromRequestParts<Arc<Gateway>> for Passer {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Rejection> {
        let pass = || {
            source(parts, &gateway.live().config.access)?;
            if is_browser(&parts.headers) && !is_closed(gateway) { own_name(&parts.headers) } else { Ok(()) }
        };
        pass().map(|()| Self).map_err(|error| Rejection::new(dialect_of(parts.uri.path()), error))
    }
}

/// The operator that calls: the holder of an API token, a user of the dashboard, or, where neither tokens nor a
/// password are required, a program of this machine.
fn operator(parts: &Parts, gateway: &Gateway) -> Result<Caller, ApiError> {
    let source = source(parts, &gateway.live().config.access)?;
    let caller = |token, session| Caller { token, session, address: source.address, request_id: request_id(parts) };
    if sent_token(&parts.headers).is_none() {
        own_page(&parts.headers, &parts.method)?;
        if let Some(session) = signed_in(&parts.headers, gateway) {
            let sent = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
            if is_change(&parts.method) && sent != Some(session.csrf.as_str()) {
                let message = format!("a change from the dashboard must carry its session's token in {CSRF_HEADER}");
                return Err(ApiError::new(ErrorKind::Permission, message));
            }
            return Ok(caller(None, Some(session)));
        }
    }
    match valid_token(&parts.headers, Scope::Admin, &gateway.tokens()) {
        Ok(token) => Ok(caller(Some(token), None)),
        Err(_) if gateway.sign_in.has_password() && sent_token(&parts.headers).is_none() => {
            let message = "sign in at /dashboard, or send an API token with the scope `admin`";
            Err(ApiError::new(ErrorKind::Authentication, message))
        }
        Err(error) if is_closed(gateway) => Err(error),
        Err(_) => from_own_machine(parts, source).map(|()| caller(None, None)),
    }
}

/// Whether operators need a credential: a password is set, or API tokens are required. `access.auth = "off"` is for
/// chat, and does not open the dashboard.
fn is_closed(gateway: &Gateway) -> bool {
    let by_token = match gateway.live().config.access.auth {
        Auth::Off => false,
        Auth::Auto => !gateway.tokens().is_empty(),
        Auth::Required => true,
    };
    by_token || gateway.sign_in.has_password()
}

/// Lets programs and browsers of this machine in, where no credential is required.
fn from_own_machine(parts: &Parts, source: Source) -> Result<(), ApiError> {
    own_page(&parts.headers, &parts.method)?;
    own_name(&parts.headers)?;
    if source.is_own_machine(&parts.headers) { Ok(()) } else { Err(elsewhere(source, &parts.headers)) }
}

/// Whether an operator that was let in still would be: its token exists, its session is open, its network is allowed.
pub fn may_stay(caller: &Caller, gateway: &Gateway) -> bool {
    let stands = match (&caller.token, &caller.session) {
        (Some(token), _) => gateway.tokens().all().iter().any(|known| known == token),
        (None, Some(session)) => gateway.sign_in.is_open(session, Instant::now()),
        (None, None) => !is_closed(gateway),
    };
    stands && ip::may_enter(caller.address, &gateway.live().config.access)
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The session of the request's cookie.
pub fn signed_in(headers: &HeaderMap, gateway: &Gateway) -> Option<Session> {
    gateway.sign_in.session(sent_session(headers)?, Instant::now())
}

/// The value of the request's session cookie.
pub fn sent_session(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, &session_cookie(headers))
}

/// The value of a cookie.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Whether a browser says that another site's page made it send a change. Other requests pass: not all browsers name
/// their origin, and a foreign page cannot read the answer.
fn is_from_elsewhere(headers: &HeaderMap, method: &Method) -> bool {
    is_change(method) && headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Refuses a request that another site's page made a browser send.
///
/// # Errors
///
/// `Permission` where the browser names another origin.
pub fn own_page(headers: &HeaderMap, method: &Method) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let by_site = is_from_elsewhere(headers, method);
    let host = text(HOST.as_str());
    let by_origin =
        text(ORIGIN.as_str()).is_some_and(|origin| origin.split_once("://").map(|(_, name)| name) != host);
    if by_site || by_origin {
        let from = text(ORIGIN.as_str()).unwrap_or("another page");
        let message = format!(
            "this request comes from {from} and was sent to {}: a proxy in front must pass the Host header on",
            host.unwrap_or("nobody")
        );
        return Err(ApiError::new(ErrorKind::Permission, message));
    }
    Ok(())
}

/// Refuses foreign host names, for where the address alone lets a caller in: a foreign page could have its own name
/// resolve to this machine.
///
/// # Errors
///
/// `Permission` where the `Host` is neither an address nor this machine's own name.
pub fn own_name(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get_all(HOST).iter().all(|host| host.to_str().is_ok_and(is_this_machine)) {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorKind::Permission,
        "where neither a password nor an API token is required, browsers reach this listener by an address or as localhost only",
    ))
}

/// Whether a host, with or without a port, is an address or this machine's own name. A name that cannot be parsed is
/// neither: browsers look up and send names like `a{b.example`.
fn is_this_machine(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_own = name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok();
    is_own && is_port(port)
}

fn request_id(parts: &Parts) -> RequestId {
    parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId("".into()))
}

/// Where the request comes from, if that network is allowed.
///
/// # Errors
///
/// `Permission` where it is not, or where the client's address that a trusted proxy wrote cannot be read.
pub fn source(parts: &Parts, access: &Access) -> Result<Source, ApiError> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = peer.ok_or_else(|| ApiError::new(ErrorKind::Internal, "the connection has no address"))?;
    let source = ip::client(peer, &parts.headers, access).map_err(|ip::Garbled| {
        let message = "a proxy of access.trusted_proxies wrote something into x-forwarded-for that is no address";
        ApiError::new(ErrorKind::Permission, message)
    })?;
    if !ip::may_enter(source.address, access) {
        return Err(ApiError::new(ErrorKind::Permission, "your address may not use this gateway"));
    }
    Ok(source)
}

fn enter(parts: &Parts, gateway: &Gateway, scope: Scope) -> Result<Caller, Rejection> {
    let path = parts.uri.path();
    let dialect =
        if path.starts_with("/v1/models") { dialect_of_asker(path, &parts.headers) } else { dialect_of(path) };
    let checked = check(parts, gateway, scope).map_err(|error| Rejection::new(dialect, error));
    checked.map(|(token, address)| Caller { token, session: None, address, request_id: request_id(parts) })
}

fn check(parts: &Parts, gateway: &Gateway, scope: Scope) -> Result<(Option<Arc<Token>>, IpAddr), ApiError> {
    let live = gateway.live();
    let Config { access, server, .. } = &live.config;
    let source = source(parts, access)?;
    let tokens = gateway.tokens();
    let token = match access.auth {
        Auth::Off => {
            // Any program may call, but no page that its users happen to look at: it would spend the operator's keys.
            let is_named = parts.headers.get(ORIGIN).is_some_and(|origin| names(&server.cors_origins, origin));
            // Over TLS and to loopback browsers send `sec-fetch-site`, else `Origin` alone. That may be a name which
            // resolves to this machine, and its page can add a proxy's headers.
            let is_foreign = if parts.headers.contains_key("sec-fetch-site") {
                is_from_elsewhere(&parts.headers, &parts.method)
            } else {
                let leads_here = source.address.is_loopback() && !source.named && is_by_page(&parts.headers);
                own_page(&parts.headers, &parts.method).is_err() || leads_here && own_name(&parts.headers).is_err()
            };
            if is_foreign && !is_named {
                let message = "another site's page made a browser send this; list pages that may in \
                     server.cors_origins, a proxy of this machine in access.trusted_proxies";
                return Err(ApiError::new(ErrorKind::Permission, message));
            }
            None
        }
        Auth::Auto if tokens.is_empty() => {
            own_machine(parts, source, &server.cors_origins)?;
            None
        }
        Auth::Auto | Auth::Required => Some(valid_token(&parts.headers, scope, &tokens)?),
    };
    Ok((token, source.address))
}

/// Lets this machine's own programs in, and pages of `server.cors_origins`, where there is no token to require.
///
/// Without tokens the listener was bound to loopback; or there were tokens and they are gone, which must not open it to
/// other machines.
fn own_machine(parts: &Parts, source: Source, cors_origins: &[String]) -> Result<(), ApiError> {
    if !source.is_own_machine(&parts.headers) {
        return Err(elsewhere(source, &parts.headers));
    }
    let origin = parts.headers.get(ORIGIN);
    if origin.is_some_and(|origin| names(cors_origins, origin)) {
        return Ok(());
    }
    own_page(&parts.headers, &parts.method).map_err(|error| ApiError {
        message: format!("{}; other pages are named in server.cors_origins", error.message),
        ..error
    })?;
    if is_by_page(&parts.headers) { own_name(&parts.headers) } else { Ok(()) }
}

/// Whether a page may have made a browser send this. Programs may use any host name for this machine.
fn is_by_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || is_browser(headers)
}

/// Whether `server.cors_origins` lists the page's origin, or all.
fn names(cors_origins: &[String], origin: &HeaderValue) -> bool {
    cors_origins.iter().any(|known| known == "*" || origin == known)
}

/// Whether the client is a browser, also where it sends no `Origin` (a GET of a page's own origin).
fn is_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    headers.contains_key("sec-fetch-site") || agent.is_some_and(|agent| agent.starts_with("Mozilla/"))
}

/// The error for a caller that is not on this machine, or not surely, where only that would let it in.
fn elsewhere(source: Source, headers: &HeaderMap) -> ApiError {
    let passed_on = "without an API token only programs of this machine may call, and a proxy passed this request on: \
                     make a token with `pointsman token new NAME`, or list the proxy in access.trusted_proxies, if it \
                     names its client in x-forwarded-for";
    let far = "without an API token only programs of this machine may call: make one with `pointsman token new NAME`";
    // A proxy that named its client is a trusted one already.
    let by_stranger = !source.named && ip::is_passed_on(headers);
    ApiError::new(ErrorKind::Authentication, if by_stranger { passed_on } else { far })
}

/// The API token of the request, if it is known and has the scope.
fn valid_token(headers: &HeaderMap, scope: Scope, tokens: &Tokens) -> Result<Arc<Token>, ApiError> {
    let sent = sent_token(headers).ok_or_else(|| {
        ApiError::new(ErrorKind::Authentication, "an API token is needed: Authorization: Bearer pm_...")
    })?;
    let token = tokens
        .find(sent)
        .ok_or_else(|| ApiError::new(ErrorKind::Authentication, "this API token is not known here"))?;
    if !token.scopes.contains(&scope) {
        let message = format!("this API token lacks the scope `{}`", scope.as_str());
        return Err(ApiError::new(ErrorKind::Permission, message));
    }
    Ok(Arc::clone(token))
}

/// The token's text, in the header of OpenAI's clients or that of Anthropic's.
fn sent_token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    // A scheme's name has no case (RFC 9110, section 11.1).
    let bearer =
        bearer.and_then(|value| value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")));
    let bearer = bearer.map(|(_, token)| token);
    let key = || headers.get("x-api-key").and_then(|value| value.to_str().ok());
    bearer.or_else(key).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let headers = headers(&[("cookie", "a=1; pointsman_theme=dark; b=2")]);
        assert_eq!(cookie(&headers, "pointsman_theme"), Some("dark"));
        assert_eq!(cookie(&headers, "theme"), None);
    }

    #[test]
    fn gateways_on_one_host_have_sessions_of_their_own() {
        let both = "pointsman_session_3201=one; pointsman_session_4201=other; pointsman_session=by name";
        let shown = |host| sent_session(&headers(&[("host", host), ("cookie", both)])).map(str::to_owned);
        assert_eq!(shown("127.0.0.1:3201").as_deref(), Some("one"));
        assert_eq!(shown("[::1]:4201").as_deref(), Some("other"));
        assert_eq!(shown("gateway.example").as_deref(), Some("by name"));
        assert_eq!(shown("[::1]").as_deref(), Some("by name"));
        assert_eq!(shown("127.0.0.1:5201"), None);
    }

    #[test]
    fn other_pages_are_told_by_their_origin() {
        let own = |pairs| own_page(&headers(pairs), &Method::POST).is_ok();
        assert!(own(&[("host", "127.0.0.1:3200")]), "no browser");
        assert!(own(&[("host", "127.0.0.1:3200"), ("origin", "http://127.0.0.1:3200")]));
        assert!(!own(&[("host", "127.0.0.1:3200"), ("origin", "http://127.0.0.1:8080")]));
        assert!(!own(&[("host", "127.0.0.1:3200"), ("origin", "null")]));
        assert!(!own(&[("host", "127.0.0.1:3200"), ("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("host", "127.0.0.1:3200"), ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn only_own_names_lead_to_an_open_door() {
        let own = |host| own_name(&headers(&[("host", host)])).is_ok();
        for host in ["127.0.0.1:3200", "localhost:3200", "LocalHost", "[::1]:3200", "[::1]", "10.1.2.3", ""] {
            assert!(own(host), "{host}");
        }
        let foreign =
            ["attacker.example:3200", "a{b.attacker.example", "a\"b.attacker.example:3200", "x:1:", "[::1]x"];
        for host in foreign.into_iter().chain(["localhost.attacker.example", "me@localhost", "[x]", "127.0.0.1.x"]) {
            assert!(!own(host), "{host}");
        }
        assert!(own_name(&headers(&[])).is_ok(), "no browser");
        let mut both = headers(&[("host", "localhost")]);
        both.append(HOST, http::HeaderValue::from_bytes(b"\xe4.attacker.example").unwrap());
        assert!(own_name(&both).is_err());
    }
}
