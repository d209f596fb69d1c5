//! Gives every request an id, and writes its log line unless the endpoint does.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gateway::Gateway;
use crate::gateway::fresh_id;
use crate::http::error::{Refused, is_anthropics};
use crate::protocol::RequestId;
use crate::telemetry::Rejected;

/// The header of the id, in requests and in answers.
pub static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The header in which Anthropic's clients look for the id.
static ANTHROPIC_HEADER: HeaderName = HeaderName::from_static("request-id");

/// A client's id of more bytes than this is replaced.
const MAX_ID_BYTES: usize = 128;

/// Left on a response whose endpoint writes the log line itself: of a stream, when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct LoggedByEndpoint;

/// The middleware's state.
#[derive(Debug, Clone)]
pub struct Watch {
    /// For the metrics, where refusals are counted.
    pub gateway: Arc<Gateway>,
    /// All endpoints: the labels of a metric must be bounded.
    pub endpoints: &'static [&'static str],
}

/// The middleware.
pub async fn layer(State(watch): State<Watch>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = id(request.headers());
    request.extensions_mut().insert(id.clone());
    let for_anthropics = is_anthropics(request.headers());
    let method = request.method().clone();
    // The route's pattern: a client's own path is unbounded, and may hold anything.
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("(unknown)", MatchedPath::as_str);
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        if for_anthropics {
            response.headers_mut().insert(&ANTHROPIC_HEADER, value.clone());
        }
        response.headers_mut().insert(&HEADER, value);
    }
    if response.extensions().get::<LoggedByEndpoint>().is_none() {
        let refused = response.extensions().get::<Refused>().map(|refused| refused.0.as_str());
        if let Some(kind) = refused {
            watch.gateway.metrics.rejected(Rejected { endpoint: watch.known(path), kind });
        }
        let latency_ms = started.elapsed().as_secs_f64() * 1e3;
        let status = response.status().as_u16();
        match refused {
            // Mostly probes and lists.
            None => tracing::debug!(
                request.id = %id, http.method = %method, http.path = path, http.status = status, latency_ms, "Answered"
            ),
            Some(kind) => tracing::info!(
                request.id = %id, http.method = %method, http.path = path, http.status = status, error.kind = kind,
                latency_ms, "Refused a request"
            ),
        }
    }
    response
}

impl Watch {
    /// The endpoint at `path`. The star that lets a name hold slashes is the router's alone.
    fn known(&self, path: &str) -> &'static str {
        let is_at = |known: &&&'static str| known.chars().eq(path.chars().filter(|c| *c != '*'));
        self.endpoints.iter().find(is_at).copied().unwrap_or("(unknown)")
    }
}

/// The client's id if it is short and plain, else a new one.
fn id(headers: &HeaderMap) -> RequestId {
    let sent = headers.get(&HEADER).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= MAX_ID_BYTES
            && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/'))
    };
    let id = sent.filter(plain).map(str::to_owned);
    RequestId(id.unwrap_or_else(|| fresh_id().as_simple().to_string()).into())
}
