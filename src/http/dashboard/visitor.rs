//! The visitor of a page: signed in, or redirected to the login page.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::theme::{Theme, theme};
use super::{document, html};
use crate::gateway::Gateway;
use crate::gateway::sign_in::Session;
use crate::http::admin::parameters::query_error;
use crate::http::middleware::caller;
use crate::protocol::{ApiError, ErrorKind};

/// A signed-in visitor.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// The session.
    pub(super) session: Session,
    /// The colours the visitor chose.
    pub(super) theme: Theme,
}

impl FromRequestParts<Arc<Gateway>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Response> {
        let theme = theme(&parts.headers);
        admissible(parts, gateway).map_err(|error| refused(theme, &error))?;
        if let Some(session) = caller::signed_in(&parts.headers, gateway) {
            return Ok(Self { session, theme });
        }
        let wanted = parts.uri.path_and_query().map_or("/dashboard", |path| path.as_str());
        // A cookie without an open session is of one that has ended.
        let ended = caller::sent_session(&parts.headers).is_some();
        let query = url_query(&[("next", wanted), ("ended", if ended { "1" } else { "" })]);
        Err(Redirect::to(&format!("/dashboard/login{query}")).into_response())
    }
}

/// The request's address, if the dashboard may be shown there.
///
/// # Errors
///
/// `Permission`, with what to do about it.
pub(super) fn admissible(parts: &Parts, gateway: &Gateway) -> Result<std::net::IpAddr, ApiError> {
    let source = caller::source(parts, &gateway.live().config.access)?;
    if gateway.sign_in.has_password() {
        return Ok(source.address);
    }
    caller::own_name(&parts.headers)?;
    if !source.is_own_machine(&parts.headers) {
        let message = "without a password the dashboard is open to its own machine only, and not through a proxy: set \
                       POINTSMAN_ADMIN_PASSWORD, or admin.password_file";
        return Err(ApiError::new(ErrorKind::Permission, message));
    }
    Ok(source.address)
}

/// The page for a refused request.
pub(super) fn refused(theme: Theme, error: &ApiError) -> Response {
    let (code, title) = match error.kind {
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Too much"),
        ErrorKind::SlowBody => (StatusCode::REQUEST_TIMEOUT, "Too slow"),
        _ => (StatusCode::FORBIDDEN, "Not from here"),
    };
    (code, html(document::notice(theme, title, &error.message))).into_response()
}

/// A page's parsed query string; where it is wrong the answer is a page that says why.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageQuery<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Gateway>> for PageQuery<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Gateway>) -> Result<Self, Response> {
        Query::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(|error| {
            let error = query_error(&error.body_text());
            let text = match &error.param {
                Some(name) => format!("In the address: {name}: {}.", error.message),
                None => format!("In the address: {}.", error.message),
            };
            let page = document::notice(theme(&parts.headers), "There is no such page", &text);
            (StatusCode::BAD_REQUEST, html(page)).into_response()
        })
    }
}

/// A query string of the pairs that have a value, with its `?`; empty if none has.
pub(super) fn url_query(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(&format!("{}={}", percent_encoded(name), percent_encoded(value)));
    }
    query
}

/// Percent-encodes all bytes but RFC 3986's unreserved characters and the slash.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_any_text() {
        assert_eq!(url_query(&[("a", "x&y=z"), ("b", ""), ("c", "é/1")]), "?a=x%26y%3Dz&c=%C3%A9/1");
        assert_eq!(url_query(&[("a", "")]), "");
    }
}
