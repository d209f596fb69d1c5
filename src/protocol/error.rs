//! An error as a client of any dialect can be told it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Dialect;

/// What went wrong, in the categories the dialects share. Each dialect maps a kind to its own status and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is malformed or asks what cannot be done (400).
    InvalidRequest,
    /// The prompt does not fit the model (400).
    ContextOverflow,
    /// No or a wrong credential (401).
    Authentication,
    /// Not allowed (403).
    Permission,
    /// No such model, decision or path (404).
    NotFound,
    /// The body is too large (413).
    TooLarge,
    /// The client took too long to send its body (408).
    SlowBody,
    /// Over a limit (429).
    RateLimited,
    /// The vendor's filter refused the prompt (400).
    ContentFilter,
    /// The account has no money or quota left (402; OpenAI says 429 `insufficient_quota`).
    Quota,
    /// The vendor is overloaded (503, 529).
    Overloaded,
    /// It took too long (504, 408).
    Timeout,
    /// No connection to the upstream, or it was cut (502).
    Connection,
    /// The upstream failed or answered what cannot be read (502, 500).
    Upstream,
    /// No model can serve the request (503).
    Unavailable,
    /// A fault of our own (500).
    Internal,
}

impl ErrorKind {
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

/// An error to be told to a client, or told by an upstream.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The category.
    pub kind: ErrorKind,
    /// A sentence for people. Never holds a key, a token or a prompt.
    pub message: String,
    /// The request field at fault.
    pub param: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// What its vendor said, where a client of the same dialect may hear it.
    pub said: Option<Box<Said>>,
}

/// An error in its vendor's own words. Only of errors that speak of the request: what is held against our key is
/// nobody else's business.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The dialect it is said in.
    pub dialect: Dialect,
    /// The HTTP status it came with.
    pub status: u16,
    /// The fields of its `error` object, but for the message.
    pub fields: Map<String, Value>,
}

impl ApiError {
    /// An error of `kind` with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None, said: None }
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

    /// Says when to come back.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}
