//! `POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`: the vendor counts where the model is one of
//! Anthropic's or OpenAI's, as the endpoint is, and no rule keeps the prompt from it, else the count is an estimate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{body, chat};
use crate::codec::{self, Target};
use crate::config::Capability;
use crate::dispatch::pick;
use crate::gateway::{Gateway, LiveConfig};
use crate::http::error::Rejection;
use crate::http::middleware::caller::{Caller, Chatter};
use crate::protocol::{ApiError, ChatRequest, Dialect};
use crate::route::estimate_tokens;
use crate::store::Token;
use crate::upstream::{Call, Deployment, Endpoint, Lack, Model};

/// Most bytes of a vendor's answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What OpenAI's count takes of a request
/// ([reference](https://developers.openai.com/api/reference/resources/responses/subresources/input_tokens)).
const COUNTED_BY_OPENAI: [&str; 9] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "truncation",
];

/// The endpoint that counts in a dialect, `Anthropic` or `Responses`.
pub fn endpoint(dialect: Dialect) -> MethodRouter<Arc<Gateway>> {
    post(move |State(gateway): State<Arc<Gateway>>, Chatter(caller): Chatter, headers: HeaderMap, body: Body| {
        count(gateway, dialect, caller, headers, body)
    })
}

/// Counts a prompt's tokens. The header `x-pointsman-counted` says by whom: `vendor` or `estimate`.
async fn count(
    gateway: Arc<Gateway>,
    dialect: Dialect,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejection> {
    let live = gateway.live();
    let run = async {
        let token = caller.token.as_deref();
        let (_permit, bytes) = body::admit(&gateway, &live, token, body, Instant::now()).await?;
        let read = |bytes: &[u8]| match dialect {
            Dialect::Anthropic => chat::read_request(dialect, &with_max_tokens(bytes)?, &headers),
            _ => chat::read_request(dialect, bytes, &headers),
        };
        let (request, bytes) = body::understood(bytes, read)?;
        let known = live.catalog.find(&request.model).is_some();
        let model = if known { live.allowed(token, &request.model)? } else { None };
        if let Some(model) = model
            && let Some(deployment) = vendor(dialect, &model, &live, &request, &bytes, token, &headers)
            && let Some(call) = call(dialect, &model, &deployment, &request, &bytes, &headers)
            && let Some(answer) = ask(&gateway, &live, &deployment, call).await
        {
            return Ok(reply(answer, "vendor"));
        }
        Ok(reply(codec::encode_token_count(dialect, estimate_tokens(&request)), "estimate"))
    };
    run.await.map_err(|error: ApiError| Rejection::new(dialect, error))
}

/// The body with a `max_tokens`, which a chat requires and a count does not have.
fn with_max_tokens(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut value: Value =
        serde_json::from_slice(bytes).map_err(|_| ApiError::invalid("the body is no valid JSON"))?;
    let fields = value.as_object_mut().ok_or_else(|| ApiError::invalid("the body must be an object"))?;
    fields.insert("max_tokens".into(), 1.into());
    Ok(value.to_string().into_bytes())
}

/// A healthy deployment of the model that can count, unless a rule keeps the prompt from the model.
fn vendor(
    dialect: Dialect,
    model: &Model,
    live: &LiveConfig,
    request: &ChatRequest,
    body: &[u8],
    token: Option<&Token>,
    headers: &HeaderMap,
) -> Option<Arc<Deployment>> {
    let name = model.name.as_str();
    let verdict = live.verdict(request, body, token, headers);
    let pinned_elsewhere = verdict.pin.is_some_and(|pin| live.catalog.canonical(&pin) != name);
    if pinned_elsewhere || verdict.forbid.contains_key(name) {
        return None;
    }
    let now = Instant::now();
    let counts = |deployment: &Deployment| {
        let provider = &deployment.provider;
        match dialect {
            Dialect::Responses => {
                let has_responses = provider.quirks.responses && !deployment.lacks(Lack::Responses, now);
                provider.dialect == Dialect::OpenAi && has_responses
            }
            _ => provider.dialect == dialect,
        }
    };
    pick(model, None, &[], &counts, now, &mut rand::random::<f64>)
}

/// What a chat of this prompt would send, without its limit: what the vendor refuses there it refuses here.
fn call(
    dialect: Dialect,
    model: &Model,
    deployment: &Deployment,
    request: &ChatRequest,
    bytes: &[u8],
    headers: &HeaderMap,
) -> Option<Call> {
    let target = Target {
        refuses: &model.settings.refuses,
        // Of a Claude that was found on a list nobody told whether it thinks.
        reasoning: model.settings.can_is_guessed || model.settings.can.contains(&Capability::Reasoning),
        ..Target::new(dialect, &deployment.provider.quirks, &deployment.upstream)
    };
    let chat = codec::pass_request(&target, request, bytes).ok()?.body;
    let body = if dialect == Dialect::Responses { counted_by_openai(&chat)? } else { chat };
    let beta = HeaderName::from_static("anthropic-beta");
    let headers = headers.get_all(&beta).iter().map(|value| (beta.clone(), value.clone())).collect();
    Some(Call { endpoint: Endpoint::CountTokens, body: Some(body), headers })
}

/// The fields of a request that OpenAI's count knows: it refuses others.
fn counted_by_openai(chat: &[u8]) -> Option<Bytes> {
    let mut fields: Map<String, Value> = serde_json::from_slice(chat).ok()?;
    fields.retain(|key, _| COUNTED_BY_OPENAI.contains(&key.as_str()));
    serde_json::to_vec(&fields).ok().map(Bytes::from)
}

async fn ask(gateway: &Gateway, live: &LiveConfig, deployment: &Deployment, call: Call) -> Option<Bytes> {
    let patience = Duration::from_millis(live.config.dispatch.first_byte_timeout_ms.min(10_000));
    let deadline = tokio::time::Instant::now() + patience;
    let answer = gateway.dispatcher.client().send(&deployment.provider, call, deadline).await.ok()?;
    if !answer.is_success() {
        return None;
    }
    let counted = answer.whole(MAX_ANSWER_BYTES, deadline).await.ok()?;
    let value: Value = serde_json::from_slice(&counted).ok()?;
    value["input_tokens"].as_u64().map(|_| counted)
}

fn reply(body: Bytes, by: &'static str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-pointsman-counted", HeaderValue::from_static(by));
    response
}
