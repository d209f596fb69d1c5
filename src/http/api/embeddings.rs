//! `POST /v1/embeddings`: passes the request through to a provider ([`super::embedders`]), with only `model` changed,
//! and encodes the answer in base64 where that was asked for, even if the server does not know it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::embedders::{Answered, Embedders};
use super::{body, routing_headers};
use crate::codec;
use crate::dispatch;
use crate::gateway::limiter::{Amount, Taken};
use crate::gateway::{Gateway, now_s};
use crate::http::error::Rejection;
use crate::http::middleware::caller::Chatter;
use crate::http::middleware::request_id::LoggedByEndpoint;
use crate::http::to_the_end;
use crate::protocol::{ApiError, Dialect, ErrorKind, RequestId, Usage, Usd};
use crate::telemetry::Ended;

/// Passes embeddings through. The model is one of the catalog, or `provider/model-id` for any other.
pub async fn embed(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejection> {
    let live = gateway.live();
    let run = async {
        let token = caller.token.as_deref();
        let (permit, bytes) = body::admit(&gateway, &live, token, body, Instant::now()).await?;
        let estimated = u32::try_from(bytes.len() / 4).unwrap_or(u32::MAX);
        let mut taken = gateway.limiter.take(token, &live.config.limits, estimated, Instant::now())?;
        let read =
            |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|_| ApiError::invalid("the body is no valid JSON"));
        let (value, bytes): (Value, _) = body::understood(bytes, read)?;
        let model = value["model"].as_str().ok_or_else(|| ApiError::invalid("model is missing").at("model"))?;
        routing_headers::check_name(model)?;
        let mut embedders = Embedders::of(&live, model, live.allowed(token, model)?)?;
        embedders.keep_to_rules(&live, &value, &bytes, token, &headers)?;
        let prompt = Usage { input_tokens: u64::from(estimated), ..Usage::default() };
        let expected = Amount { tokens: 0, cost_usd: embedders.price().of(&prompt).0 };
        taken.expect(token, &live.config.limits, expected, Instant::now())?;
        let wants_base64 = value["encoding_format"] == "base64";
        // The vendor charges for the call even if the client hangs up, which drops the guard.
        let gone = CancellationToken::new();
        let _connected = gone.clone().drop_guard();
        let asker = (caller.request_id.clone(), token.map_or_else(|| "-".to_owned(), |token| token.name.clone()));
        let answer = to_the_end(async move {
            gateway.metrics.began();
            let began = Instant::now();
            let answered = embedders.ask(&gateway, &live, &bytes, &gone).await;
            let spent = settle(&gateway, &mut taken, estimated, &embedders, &answered);
            record(&gateway, &embedders, &asker, began.elapsed(), &answered, spent);
            drop(permit);
            let lasting = is_lasting(&embedders, &answered.causes);
            // Log lines and metrics have the cause; the client gets an error that does not blame it.
            let for_client = |error: ApiError| ApiError { kind: error.kind.for_client(), ..error };
            Ok(answered.answer.map_err(|error| Rejection::new(Dialect::OpenAi, for_client(error)).lasting(lasting)))
        });
        let mut response = match answer.await {
            Ok(Ok(bytes)) => {
                let bytes = if wants_base64 { codec::embeddings_in_base64(bytes) } else { bytes };
                let mut response = bytes.into_response();
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Ok(Err(rejection)) => rejection.into_response(),
            Err(error) => Rejection::new(Dialect::OpenAi, error).into_response(),
        };
        response.extensions_mut().insert(LoggedByEndpoint);
        Ok(response)
    };
    run.await.map_err(|error: ApiError| Rejection::new(Dialect::OpenAi, error))
}

/// Whether trying again at once would end the same way: all failures are lasting ones, and no deployment is about to be
/// back.
fn is_lasting(embedders: &Embedders, causes: &[ErrorKind]) -> bool {
    let now = Instant::now();
    let is_away = match embedders {
        Embedders::Listed { deployments, .. } => {
            deployments.iter().any(|deployment| deployment.available_in(now).is_some())
        }
        Embedders::Unlisted { .. } => false,
    };
    !is_away && !causes.is_empty() && causes.iter().all(|kind| dispatch::is_lasting(*kind))
}

/// Settles the token's limits and the budget by what vendors charge for. For servers that never count tokens, or count
/// what cannot be true, and for calls whose answer was lost, the estimate is taken.
fn settle(
    gateway: &Gateway,
    taken: &mut Taken,
    estimated: u32,
    embedders: &Embedders,
    answered: &Answered,
) -> (Usage, Usd) {
    let counted = answered
        .answer
        .as_ref()
        .map_or(0, |answer| codec::embedded_tokens(answer).unwrap_or_else(|| u64::from(estimated)));
    let input_tokens = counted.saturating_add(u64::from(answered.lost) * u64::from(estimated));
    let usage = Usage { input_tokens, ..Usage::default() };
    let cost = embedders.price().of(&usage);
    taken.settle(Amount { tokens: input_tokens, cost_usd: cost.0 });
    gateway.budgets.spent(cost.0, now_s());
    (usage, cost)
}

/// Writes the metrics and the log line of a request.
fn record(
    gateway: &Gateway,
    embedders: &Embedders,
    (request_id, token): &(RequestId, String),
    latency: Duration,
    answered: &Answered,
    (usage, cost): (Usage, Usd),
) {
    let status = answered.answer.as_ref().map_or_else(|error| error.kind.as_str(), |_| "ok");
    let model = embedders.name();
    gateway.metrics.ended(&Ended {
        dialect: "embeddings",
        model,
        status,
        mode: "named",
        latency,
        first_token: None,
        usage: (usage.input_tokens > 0).then_some(usage),
        cost,
        lost: Vec::new(),
        calls: answered.calls,
        failovers: 0,
        causes: answered.causes.iter().map(|kind| (model, kind.as_str())).collect(),
    });
    tracing::info!(
        request.id = %request_id,
        token.name = token,
        dialect = "embeddings",
        model,
        provider = answered.provider,
        status,
        attempts = answered.calls,
        tokens.input = usage.input_tokens,
        cost_usd = cost.0,
        latency_ms = latency.as_secs_f64() * 1e3,
        "{}",
        if status == "ok" { "Embedded a text" } else { "Failed to embed a text" }
    );
}
