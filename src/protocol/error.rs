//! The canonical error: a kind, a message, and what the dialects can add to it.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Dialect;

/// What went wrong, in the categories that the dialects share. Each dialect maps a kind to its own status and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is malformed or asks for what cannot be done (400).
    InvalidRequest,
    /// The prompt does not fit the model (400).
    ContextOverflow,
    /// No or a wrong credential (401).
    Authentication,
    /// The credential does not allow it (403).
    Permission,
    /// No such model, decision or path (404).
    NotFound,
    /// The body is too large (413).
    TooLarge,
    /// The client took too long to send its body (408).
    SlowBody,
    /// A rate limit is exceeded (429).
    RateLimited,
    /// The vendor's filter refused the prompt (400).
    ContentFilter,
    /// The account has no money or quota left (402; OpenAI says 429 `insufficient_quota`).
    Quota,
    /// The vendor is overloaded (503, 529).
    Overloaded,
    /// A deadline passed (504, 408).
    Timeout,
    /// No connection to the upstream, or it was cut (502).
    Connection,
    /// The upstream failed, or its answer cannot be read (502, 500).
    Upstream,
    /// No model can serve the request (503).
    Unavailable,
    /// The gateway itself failed (500).
    Internal,
}

impl ErrorKind {
    /// Whether the request itself is at fault, so that neither another model nor another try is worthwhile, unless the
    /// error is [`ApiError::by_model`].
    pub fn is_requests_fault(self) -> bool {
        matches!(self, Self::InvalidRequest | Self::ContentFilter)
    }

    /// The kind that a client gets for an upstream's error. Trouble with our key, our account or our names of models
    /// becomes a fault of the upstream: the client's own credential has no part in it.
    pub fn for_client(self) -> Self {
        match self {
            Self::Authentication | Self::Permission | Self::NotFound | Self::Quota => Self::Upstream,
            kind => kind,
        }
    }

    /// The kind's stable code, for logs, metrics and error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::ContextOverflow => "context_overflow",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::RateLimited => "rate_limited",
            Self::ContentFilter => "content_filter",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Upstream => "upstream",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// An error for a client, or from an upstream.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The category.
    pub kind: ErrorKind,
    /// A sentence for people. Never holds a key, a token or a prompt.
    pub message: String,
    /// The request field at fault.
    pub param: Option<String>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
    /// The vendor's own error, where a client of the same dialect may see it.
    pub vendor: Option<Box<VendorError>>,
    /// Whether the model itself is at fault, which wrote a call or JSON that is none, or does not take a field that others
    /// take, or may be: neither its vendor nor the request is, for certain. So is an account that has not what a request
    /// names, or cannot open what it holds: another may.
    pub by_model: bool,
}

/// An error in its vendor's own words. Kept only where the request is at fault: clients must not learn what a vendor
/// says of the gateway's key.
#[derive(Debug, Clone, PartialEq)]
pub struct VendorError {
    /// The vendor's dialect.
    pub dialect: Dialect,
    /// The HTTP status that it came with.
    pub status: u16,
    /// The fields of the vendor's `error` object except the message.
    pub fields: Map<String, Value>,
}

impl ApiError {
    /// An error of `kind` with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None, vendor: None, by_model: false }
    }

    /// A malformed request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// Names the field at fault.
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says whose error it is; `who` is a deployment's name, or a model's.
    pub fn told_by(mut self, who: impl Display) -> Self {
        self.message = format!("{who}: {}", self.message);
        self
    }

    /// Says how long to wait before trying again.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}
