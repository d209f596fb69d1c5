//! What is to be answered, and what came of it.

use bytes::Bytes;
use futures::stream::BoxStream;
use http::HeaderMap;
use serde_json::Value;

use crate::protocol::{ApiError, ChatRequest, Dialect, ModelName};
use crate::route::Decision;

/// What is to be answered.
#[derive(Debug)]
pub struct Job {
    /// The request.
    pub request: ChatRequest,
    /// About how many tokens its prompt has.
    pub prompt_tokens: u32,
    /// The request as the client sent it.
    pub body: Bytes,
    /// The client's dialect.
    pub dialect: Dialect,
    /// Client headers that a vendor of the same dialect should see (`anthropic-beta`).
    pub headers: HeaderMap,
    /// Now, in Unix milliseconds.
    pub at_ms: i64,
    /// What `/api/chat` says of the routing, but for who answers.
    pub routing: Value,
}

impl Job {
    /// What `/api/chat` says of the routing where `model` answers, at the deployment `backend`: as the headers do.
    pub(super) fn routing(&self, decision: &Decision, model: &ModelName, backend: &str) -> Value {
        let mut told = self.routing.clone();
        if let Some(fields) = told.as_object_mut() {
            fields.insert("model".into(), model.as_str().into());
            fields.insert("backend".into(), backend.into());
            fields.insert("reason".into(), decision.reason_for(model).into());
        }
        told
    }
}

/// An answer on its way to the client.
pub struct Reply {
    /// The model that answers.
    pub model: ModelName,
    /// The deployment that answers.
    pub deployment: String,
    /// Request fields that could not be carried over.
    pub dropped: Vec<String>,
    /// The answer in the client's dialect.
    pub body: ReplyBody,
}

/// A body, whole or as it comes.
pub enum ReplyBody {
    /// Whole.
    Whole(Bytes),
    /// As it comes. Dropping it ends the call at the vendor.
    Stream(BoxStream<'static, Result<Bytes, std::convert::Infallible>>),
}

/// One thing that failed.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The model.
    pub model: ModelName,
    /// What went wrong, the deployment named.
    pub error: ApiError,
}

/// No model answered.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What the client is told.
    pub error: ApiError,
    /// What failed, in order.
    pub causes: Vec<Cause>,
    /// Whether asking again at once would end the same way.
    pub lasting: bool,
}
