//! Errors as HTTP answers, in the dialect of the endpoint that was called.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::codec;
use crate::protocol::{ApiError, Dialect, ErrorKind};

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// The dialect it is written in.
    pub dialect: Dialect,
    /// The error.
    pub error: ApiError,
    /// Whether trying again at once would end the same way.
    pub lasting: bool,
}

/// The SDKs of OpenAI and Anthropic, and assistants built on them, obey this header; without it they repeat a 502, and
/// Claude Code a 401, up to ten times.
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

impl Rejection {
    /// The gateway's own error for a client of `dialect`.
    pub fn new(dialect: Dialect, error: ApiError) -> Self {
        let lasting = is_final(dialect, error.kind);
        Self { dialect, error, lasting }
    }

    /// The same, with `lasting` set.
    pub fn lasting(self, lasting: bool) -> Self {
        Self { lasting, ..self }
    }
}

/// An error of an endpoint under `/api/`, in the gateway's own dialect. There is no such way from an [`ApiError`] to a
/// [`Rejection`]: an endpoint that speaks other dialects, too, has to name one.
#[derive(Debug)]
pub struct Native(ApiError);

impl From<ApiError> for Native {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Native {
    fn into_response(self) -> Response {
        Rejection::new(Dialect::Native, self.0).into_response()
    }
}

/// Whether a refusal of our own stays until the client changes something. A decision, which only our own dialect asks
/// for, may be recorded a moment later.
fn is_final(dialect: Dialect, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::InvalidRequest
        | ErrorKind::ContextOverflow
        | ErrorKind::Authentication
        | ErrorKind::Permission
        | ErrorKind::TooLarge => true,
        ErrorKind::NotFound => dialect != Dialect::Native,
        _ => false,
    }
}

/// The dialect of an endpoint, by its path.
pub fn dialect_of(path: &str) -> Dialect {
    match path {
        _ if path.starts_with("/v1/messages") => Dialect::Anthropic,
        _ if path.starts_with("/v1/responses") => Dialect::Responses,
        _ if path.starts_with("/v1/") => Dialect::OpenAi,
        _ => Dialect::Native,
    }
}

/// Whether a client of Anthropic's sent these headers, whatever it calls.
pub fn is_anthropics(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// The dialect of an endpoint that clients of both vendors call (lists of models, paths that do not exist), by the
/// headers of Anthropic's.
pub fn dialect_of_asker(path: &str, headers: &HeaderMap) -> Dialect {
    match dialect_of(path) {
        Dialect::OpenAi if is_anthropics(headers) => Dialect::Anthropic,
        dialect => dialect,
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let encoded = codec::encode_error(self.dialect, &self.error);
        let status = StatusCode::from_u16(encoded.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, encoded.body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.error.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
        }
        if self.lasting {
            headers.insert(SHOULD_RETRY.clone(), HeaderValue::from_static("false"));
        }
        response.extensions_mut().insert(Refused(self.error.kind));
        response
    }
}

/// Left on a response, so that log lines and metrics can name the error's kind.
#[derive(Debug, Clone, Copy)]
pub struct Refused(pub ErrorKind);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Every kind, its status for a client of OpenAI's dialect, and for one of Anthropic's.
    const TABLE: [(ErrorKind, u16, u16); 16] = [
        (ErrorKind::InvalidRequest, 400, 400),
        (ErrorKind::ContextOverflow, 400, 400),
        (ErrorKind::Authentication, 401, 401),
        (ErrorKind::Permission, 403, 403),
        (ErrorKind::NotFound, 404, 404),
        (ErrorKind::TooLarge, 413, 413),
        (ErrorKind::SlowBody, 408, 408),
        (ErrorKind::RateLimited, 429, 429),
        (ErrorKind::ContentFilter, 400, 400),
        (ErrorKind::Quota, 429, 402),
        (ErrorKind::Overloaded, 503, 529),
        (ErrorKind::Timeout, 504, 504),
        (ErrorKind::Connection, 502, 502),
        (ErrorKind::Upstream, 502, 502),
        (ErrorKind::Unavailable, 503, 503),
        (ErrorKind::Internal, 500, 500),
    ];

    #[test]
    fn each_kind_has_its_status_in_each_dialect() {
        for (kind, openai, anthropic) in TABLE {
            let status =
                |dialect| Rejection::new(dialect, ApiError::new(kind, "x")).into_response().status().as_u16();
            assert_eq!(status(Dialect::OpenAi), openai, "{kind:?}");
            assert_eq!(status(Dialect::Responses), openai, "{kind:?}");
            assert_eq!(status(Dialect::Anthropic), anthropic, "{kind:?}");
        }
    }

    #[test]
    fn only_what_the_client_must_change_is_not_asked_again() {
        let told = |rejection: Rejection| rejection.into_response().headers().get(&SHOULD_RETRY).cloned();
        for (kind, status, _) in TABLE {
            let own = told(Rejection::new(Dialect::Anthropic, ApiError::new(kind, "x")));
            let is_vendors = matches!(kind, ErrorKind::ContentFilter);
            let lasts = matches!(status, 400 | 401 | 403 | 404 | 413) && !is_vendors;
            assert_eq!(own.is_some_and(|told| told == "false"), lasts, "{kind:?}");
        }
        let missing = ApiError::new(ErrorKind::NotFound, "x");
        assert_eq!(told(Rejection::new(Dialect::Native, missing)), None, "a decision may be recorded a moment later");
        let vendors = ApiError::new(ErrorKind::InvalidRequest, "x");
        assert_eq!(told(Rejection::new(Dialect::OpenAi, vendors).lasting(false)), None);
    }

    #[test]
    fn retry_after_is_told_in_whole_seconds() {
        let error = ApiError::new(ErrorKind::RateLimited, "x").after(Duration::from_millis(1200));
        let response = Rejection::new(Dialect::OpenAi, error).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }

    #[test]
    fn endpoints_speak_their_dialect() {
        assert_eq!(dialect_of("/v1/messages/count_tokens"), Dialect::Anthropic);
        assert_eq!(dialect_of("/v1/responses"), Dialect::Responses);
        assert_eq!(dialect_of("/v1/models"), Dialect::OpenAi);
        assert_eq!(dialect_of("/api/chat"), Dialect::Native);
        let claudes = HeaderMap::from_iter([(
            http::HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("1"),
        )]);
        assert_eq!(dialect_of_asker("/v1/files", &claudes), Dialect::Anthropic);
        assert_eq!(dialect_of_asker("/v1/files", &HeaderMap::new()), Dialect::OpenAi);
    }
}
