//! `POST /v1/embeddings`: passes through to a provider that has them, with only `model` changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::body;
use crate::codec::{self, Target};
use crate::config;
use crate::dispatch;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Chatter;
use crate::http::state::{Gateway, Live};
use crate::protocol::{ApiError, Dialect, ErrorKind, Price, Usage};
use crate::store::Token;
use crate::upstream::{Call, Endpoint, Provider};

/// Passes embeddings through. The model is one of the catalog, or `provider/model-id` for any other.
pub async fn embed(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    body: Body,
) -> Result<Response, Rejection> {
    let live = gateway.live();
    let run = async {
        let _permit = gateway.admit()?;
        let token = caller.token.as_deref();
        gateway.limiter.enter(token, &live.config.limits, Instant::now())?;
        let bytes = body::read(body, &live.config.limits).await?;
        let estimated = (bytes.len() / 4) as u32;
        gateway.limiter.take(token, &live.config.limits, estimated, Instant::now())?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|_| ApiError::invalid("the body is no valid JSON"))?;
        let model = value["model"].as_str().ok_or_else(|| ApiError::invalid("model is missing").at("model"))?;
        live.allow(token, model)?;
        let (provider, upstream) = place(&live, model)?;
        let target = Target::new(Dialect::OpenAi, &provider.quirks, &upstream);
        let body = codec::passthrough_request(&target, &bytes, false)?;
        let answer = call(&gateway, &live, &provider, body).await?;
        let price = live.catalog.find(model).map(|known| known.settings.price).unwrap_or_default();
        settle(&gateway, token, estimated, price, &answer);
        let mut response = answer.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    };
    run.await.map_err(|error: ApiError| Rejection::new(Dialect::OpenAi, error))
}

/// Who serves the model, and its id there.
fn place(live: &Live, model: &str) -> Result<(Arc<Provider>, String), ApiError> {
    if let Some(known) = live.catalog.find(model) {
        let now = Instant::now();
        let place = known.ready(now).find(|place| place.provider.url(Endpoint::Embeddings).is_some());
        let place = place.ok_or_else(|| {
            ApiError::new(ErrorKind::Unavailable, format!("no provider of `{model}` gives embeddings now"))
        })?;
        return Ok((Arc::clone(&place.provider), place.upstream.clone()));
    }
    let named = model.split_once('/').and_then(|(provider, id)| Some((live.catalog.provider(provider)?, id)));
    let (provider, id) = named.ok_or_else(|| {
        let message = format!("there is no model `{model}`; write provider/model-id for one that is not configured");
        ApiError::new(ErrorKind::NotFound, message).at("model")
    })?;
    match &provider.unusable {
        Some(reason) => Err(ApiError::new(ErrorKind::Unavailable, format!("{}: {reason}", provider.name))),
        None => Ok((Arc::clone(provider), id.to_owned())),
    }
}

/// Puts accounts right by what the vendor counted. What no model of the catalog stands for has no price.
fn settle(gateway: &Gateway, token: Option<&Token>, estimated: u32, price: Price, answer: &[u8]) {
    // Some servers never count.
    let counted = serde_json::from_slice(answer).map(|Counted { usage }| usage.prompt_tokens).ok();
    let tokens = counted.filter(|tokens| *tokens > 0).unwrap_or_else(|| u64::from(estimated));
    let cost = price.of(&Usage { input_tokens: tokens, ..Usage::default() });
    let id = token.map(|token| token.id.as_str());
    gateway.limiter.correct(id, u64::from(estimated), tokens);
    gateway.limiter.spend(id, 0.0, cost.0);
    gateway.budgets.spent(cost.0, Timestamp::now().as_millisecond() as f64 / 1e3);
}

/// As much of an answer as is counted.
#[derive(Deserialize)]
struct Counted {
    usage: CountedTokens,
}

#[derive(Deserialize)]
struct CountedTokens {
    prompt_tokens: u64,
}

async fn call(gateway: &Gateway, live: &Live, provider: &Provider, body: Bytes) -> Result<Bytes, ApiError> {
    let settings = &live.config.dispatch;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(settings.first_byte_timeout_ms);
    let limit = config::mebibytes(settings.max_answer_mb);
    let call = Call { endpoint: Endpoint::Embeddings, body: Some(body), headers: HeaderMap::new() };
    let told = |error: crate::upstream::CallError| error.told(&provider.name);
    let answer = gateway.dispatcher.client().send(provider, call, deadline).await.map_err(told)?;
    let (status, good, wait) = (answer.status(), answer.is_success(), answer.retry_after());
    let bytes = answer.whole(limit, deadline).await.map_err(told)?;
    if !good {
        let mut error = dispatch::named(codec::decode_error(Dialect::OpenAi, status, &bytes, wait), &provider.name);
        error.kind = dispatch::told(error.kind);
        return Err(error);
    }
    Ok(bytes)
}
