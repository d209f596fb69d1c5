//! Who calls: the address, and the API token where one is asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::ip;
use crate::config::{Access, Auth};
use crate::http::error::{Rejection, dialect_of};
use crate::http::state::Gateway;
use crate::protocol::{ApiError, ErrorKind, RequestId};
use crate::store::{Scope, Token, Tokens};

/// A caller that may come in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token it showed; `None` where none is asked for.
    pub token: Option<Token>,
    /// Where it is.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: RequestId,
}

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
        enter(parts, gateway, Scope::Admin).map(Self)
    }
}

fn enter(parts: &Parts, gateway: &Gateway, scope: Scope) -> Result<Caller, Rejection> {
    let dialect = dialect_of(parts.uri.path());
    let live = gateway.live();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId("".into()));
    let checked = check(peer, &parts.headers, scope, &live.config.access, &gateway.tokens());
    let (token, address) = checked.map_err(|error| Rejection::new(dialect, error))?;
    Ok(Caller { token, address, request_id })
}

fn check(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    scope: Scope,
    access: &Access,
    tokens: &Tokens,
) -> Result<(Option<Token>, IpAddr), ApiError> {
    let peer = peer.ok_or_else(|| ApiError::new(ErrorKind::Internal, "the connection has no address"))?;
    let address = ip::client_ip(peer, headers, access);
    if !ip::may_enter(address, access) {
        return Err(ApiError::new(ErrorKind::Permission, "your address may not use this gateway"));
    }
    let asked = match access.auth {
        Auth::Off => false,
        Auth::Required => true,
        Auth::Auto => !tokens.is_empty(),
    };
    if !asked {
        return Ok((None, address));
    }
    let shown = shown(headers).ok_or_else(|| {
        ApiError::new(ErrorKind::Authentication, "an API token is needed: Authorization: Bearer pm_...")
    })?;
    let token = tokens
        .find(shown)
        .ok_or_else(|| ApiError::new(ErrorKind::Authentication, "this API token is not known here"))?;
    if !token.scopes.contains(&scope) {
        let message = format!("this API token lacks the scope `{}`", scope.as_str());
        return Err(ApiError::new(ErrorKind::Permission, message));
    }
    Ok((Some(token.clone()), address))
}

/// The token as OpenAI's clients send it, or as Anthropic's do.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    let key = || headers.get("x-api-key").and_then(|value| value.to_str().ok());
    bearer.or_else(key).map(str::trim)
}
