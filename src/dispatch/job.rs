//! What dispatch is given ([`Job`]) and what it gives back ([`Reply`] or [`Failure`]).

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::HeaderMap;
use serde_json::Value;

use crate::protocol::{ApiError, ChatRequest, Dialect, ModelName};
use crate::route::Decision;

/// A request to be answered.
#[derive(Debug)]
pub struct Job {
    /// The request.
    pub request: ChatRequest,
    /// Estimated tokens of its prompt.
    pub prompt_tokens: u32,
    /// The request as the client sent it.
    pub body: Bytes,
    /// The client's dialect.
    pub dialect: Dialect,
    /// Client headers that a vendor of the same dialect should see (`anthropic-beta`).
    pub headers: HeaderMap,
    /// The present time, in Unix milliseconds.
    pub at_ms: i64,
    /// The `routing` object of `/api/chat`'s answers, without the fields that depend on who answers.
    pub routing: Value,
}

impl Job {
    /// The `routing` object of an answer by `model` at the deployment `backend`; it says the same as the headers.
    pub(super) fn routing(&self, decision: &Decision, model: &ModelName, backend: &str) -> Value {
        let mut routing = self.routing.clone();
        if let Some(fields) = routing.as_object_mut() {
            fields.insert("model".into(), model.as_str().into());
            fields.insert("backend".into(), backend.into());
            fields.insert("reason".into(), decision.reason_for(model).into());
        }
        routing
    }
}

/// An answer on its way to the client.
pub struct Reply {
    /// The model that answers.
    pub model: ModelName,
    /// The deployment that answers.
    pub deployment: Arc<str>,
    /// Request fields that could not be carried over.
    pub dropped: Vec<String>,
    /// The answer in the client's dialect.
    pub body: ReplyBody,
}

/// An answer's body.
pub enum ReplyBody {
    /// The whole answer.
    Whole(Bytes),
    /// The answer in pieces. Dropping the stream ends the call at the vendor.
    Stream(BoxStream<'static, Result<Bytes, std::convert::Infallible>>),
}

/// A failed call, or a model that could not be called.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    /// The model.
    pub(super) model: ModelName,
    /// What went wrong, with the deployment named.
    pub(super) error: ApiError,
}

/// Why no model answered.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The error that the client gets.
    pub error: ApiError,
    /// Whether the same request would fail in the same way if sent again at once.
    pub lasting: bool,
}
