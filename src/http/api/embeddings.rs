//! `POST /v1/embeddings`: passes through to who has them ([`super::embedders`]), with only `model` changed, and base64
//! where it was asked for, whatever the server knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::embedders::{Answered, Embedders};
use super::{body, wishes};
use crate::codec;
use crate::dispatch;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Chatter;
use crate::http::middleware::limit::{Amount, Taken};
use crate::http::middleware::request_id::ToldLater;
use crate::http::state::Gateway;
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
        let permit = gateway.admit()?;
        let token = caller.token.as_deref();
        gateway.limiter.enter(token, &live.config.limits, Instant::now())?;
        let bytes = body::read(body, &live.config.limits).await?;
        let estimated = u32::try_from(bytes.len() / 4).unwrap_or(u32::MAX);
        let mut taken = gateway.limiter.take(token, &live.config.limits, estimated, Instant::now())?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|_| ApiError::invalid("the body is no valid JSON"))?;
        let model = value["model"].as_str().ok_or_else(|| ApiError::invalid("model is missing").at("model"))?;
        // What leads to no model is told back.
        if model.len() > wishes::NAME {
            return Err(ApiError::invalid(format!("a model's name has at most {} bytes", wishes::NAME)).at("model"));
        }
        live.allow(token, model)?;
        let mut embedders = Embedders::of(&live, model)?;
        embedders.keep_to_rules(&live, &value, &bytes, token, &headers)?;
        let prompt = Usage { input_tokens: u64::from(estimated), ..Usage::default() };
        let expected = Amount { tokens: 0, cost_usd: embedders.price().of(&prompt).0 };
        taken.expect(token, &live.config.limits, expected, Instant::now())?;
        let wants_base64 = value["encoding_format"] == "base64";
        // The vendor charges for it, whoever hangs up meanwhile; that is said by a drop.
        let gone = CancellationToken::new();
        let _waits = gone.clone().drop_guard();
        let asker = (caller.request_id.clone(), token.map_or_else(|| "-".to_owned(), |token| token.name.clone()));
        let answer = to_the_end(async move {
            gateway.metrics.began();
            let began = Instant::now();
            let answered = embedders.ask(&gateway, &live, &bytes, &gone).await;
            let spent = settle(&gateway, &mut taken, estimated, &embedders, &answered);
            tell(&gateway, &embedders, &asker, began.elapsed(), &answered, spent);
            drop(permit);
            let lasting = is_lasting(&embedders, &answered.causes);
            // Whose fault it is the log and the metrics know; the client's it is not.
            let told = |error: ApiError| ApiError { kind: dispatch::client_kind(error.kind), ..error };
            Ok(answered.answer.map_err(|error| Rejection::new(Dialect::OpenAi, told(error)).lasting(lasting)))
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
        response.extensions_mut().insert(ToldLater);
        Ok(response)
    };
    run.await.map_err(|error: ApiError| Rejection::new(Dialect::OpenAi, error))
}

/// Whether asking again at once would end the same way: each holds against us what time does not mend, and none is
/// about to be back.
fn is_lasting(embedders: &Embedders, causes: &[ErrorKind]) -> bool {
    let now = Instant::now();
    let is_away = match embedders {
        Embedders::Listed { places, .. } => places.iter().any(|place| place.available_in(now).is_some()),
        Embedders::Unlisted { .. } => false,
    };
    !is_away && !causes.is_empty() && causes.iter().all(|kind| dispatch::is_lasting(*kind))
}

/// Puts accounts right by what vendors charge for: tokens, and their price. Some servers never count, and of a call
/// that was lost nobody told: then it is as many as was thought.
fn settle(
    gateway: &Gateway,
    taken: &mut Taken,
    estimated: u32,
    embedders: &Embedders,
    answered: &Answered,
) -> (Usage, Usd) {
    let counted = answered.answer.as_ref().map_or(0, |answer| {
        let counted = serde_json::from_slice(answer).map(|Counted { usage }| usage.prompt_tokens).ok();
        counted.filter(|tokens| *tokens > 0).unwrap_or_else(|| u64::from(estimated))
    });
    let input_tokens = counted.saturating_add(u64::from(answered.lost) * u64::from(estimated));
    let usage = Usage { input_tokens, ..Usage::default() };
    let cost = embedders.price().of(&usage);
    taken.settle(Amount { tokens: input_tokens, cost_usd: cost.0 });
    gateway.budgets.spent(cost.0, Timestamp::now().as_millisecond() as f64 / 1e3);
    (usage, cost)
}

/// Tells log and metrics of what was asked.
fn tell(
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

/// As much of an answer as is counted.
#[derive(Deserialize)]
struct Counted {
    usage: CountedTokens,
}

#[derive(Deserialize)]
struct CountedTokens {
    prompt_tokens: u64,
}
