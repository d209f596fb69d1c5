//! Chat, in every dialect: read, decode, limit, plan, dispatch, answer.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::witness::{Asker, Witness};
use super::{body, dropped, wishes};
use crate::codec;
use crate::dispatch::{Job, Reply, ReplyBody, Report};
use crate::http::error::Rejection;
use crate::http::ledger::Asking;
use crate::http::middleware::caller::{Caller, Chatter};
use crate::http::middleware::limit::Amount;
use crate::http::middleware::request_id::ToldLater;
use crate::http::monitor::Arrival;
use crate::http::state::{Gateway, PlanRequest};
use crate::protocol::{ApiError, ChatRequest, Dialect};
use crate::route::{Considered, Decision, estimate_tokens};

// What answers say of themselves. As statics: making a name of a text takes longer than setting the header.
static DECISION: HeaderName = HeaderName::from_static("x-pointsman-decision");
static MODEL: HeaderName = HeaderName::from_static("x-pointsman-model");
static BACKEND: HeaderName = HeaderName::from_static("x-pointsman-backend");
static POLICY: HeaderName = HeaderName::from_static("x-pointsman-policy");
static REASON: HeaderName = HeaderName::from_static("x-pointsman-reason");
static FEATURES: HeaderName = HeaderName::from_static("x-pointsman-features");
static DROPPED: HeaderName = HeaderName::from_static("x-pointsman-dropped");

/// Tells a reverse proxy to pass on each piece as it comes; nginx gathers them otherwise ("X-Accel-Buffering",
/// nginx.org, ngx_http_proxy_module, proxy_buffering).
static UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Client headers that a vendor of the same dialect should see. None that says whose account is meant: the key is ours, and
/// another's organization beside it would be refused as a bad key.
const PASSED_ON: [&str; 2] = ["anthropic-beta", "anthropic-version"];

/// `POST /api/chat`.
pub async fn native(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Response {
    chat(gateway, Dialect::Native, caller, headers, body).await
}

/// `POST /v1/chat/completions`.
pub async fn openai(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Response {
    chat(gateway, Dialect::OpenAi, caller, headers, body).await
}

/// `POST /v1/responses`.
pub async fn responses(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Response {
    chat(gateway, Dialect::Responses, caller, headers, body).await
}

/// `POST /v1/messages`.
pub async fn anthropic(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Response {
    chat(gateway, Dialect::Anthropic, caller, headers, body).await
}

async fn chat(gateway: Arc<Gateway>, dialect: Dialect, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    let answered = answer(gateway, dialect, caller, headers, body, Instant::now()).await;
    answered.unwrap_or_else(|error| Rejection::new(dialect, error).into_response())
}

async fn answer(
    gateway: Arc<Gateway>,
    dialect: Dialect,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
    started: Instant,
) -> Result<Response, ApiError> {
    let permit = gateway.admit()?;
    let live = gateway.live();
    let token = caller.token.as_deref();
    // Before the body: whoever is over their limit must not hold a permit while they send it.
    gateway.limiter.enter(token, &live.config.limits, started)?;
    let bytes = body::read(body, &live.config.limits).await?;
    let request = read_request(dialect, &bytes, &headers)?;
    let estimated = estimate_tokens(&request);
    let mut taken = gateway.limiter.take(token, &live.config.limits, estimated, started)?;
    let arrival = Arrival {
        dialect,
        requested: &request.model,
        token: token.map(|token| token.name.as_str()),
        stream: request.stream,
    };
    let ticket = gateway.monitor.arrive(&arrival);
    let conversation = gateway.conversation(&request, token);
    let passes = matches!(dialect, Dialect::OpenAi | Dialect::Anthropic);
    let body = passes.then_some(&*bytes);
    let asked = PlanRequest { request: &request, dialect, body, headers: &headers, token, conversation };
    let plan = gateway.plan(&live, asked).await.inspect_err(|error| {
        ticket.refused(error);
        gateway.refusals.note(&request.model, error, Timestamp::now().as_millisecond());
    })?;
    let decision = Arc::clone(&plan.decision);
    taken
        .expect(token, &live.config.limits, expected(&decision), started)
        .inspect_err(|error| ticket.refused(error))?;
    gateway.record(&decision, Asking { request: &request, dialect, token, conversation, dry_run: false });
    ticket.routed(&decision);
    let asker =
        Asker { request_id: caller.request_id.clone(), token, dialect, conversation, taken, headers: &headers };
    let witness = Witness::new(Arc::clone(&gateway), asker, permit);
    let steps = ticket.clone();
    let report = Report::new(Arc::clone(&decision), started, move |outcome| {
        ticket.ended(outcome);
        witness.hear(outcome);
    })
    .watched(move |step| steps.step(&step));
    let job = Job {
        routing: told(dialect, &decision),
        prompt_tokens: estimated,
        request,
        body: bytes,
        dialect,
        headers: passed_on(&headers),
        at_ms: Timestamp::now().as_millisecond(),
    };
    let reply = gateway.dispatcher.run(&plan, &job, &live.config.dispatch, report).await;
    let mut response = match reply {
        Ok(reply) => respond(dialect, &job.request, &decision, reply),
        Err(failure) => {
            let mut response = Rejection::new(dialect, failure.error).lasting(failure.lasting).into_response();
            say(response.headers_mut(), &DECISION, decision.id.to_string());
            response
        }
    };
    response.extensions_mut().insert(ToldLater);
    Ok(response)
}

/// What the answer of the chosen model will take.
fn expected(decision: &Decision) -> Amount {
    let chosen = decision.candidates.iter().find(|candidate| candidate.model == decision.chosen);
    let of = |chosen: &Considered| Amount { tokens: chosen.answer_tokens, cost_usd: chosen.cost_usd };
    chosen.map(of).unwrap_or_default()
}

/// Decodes a request, with the wishes its headers carry.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn read_request(dialect: Dialect, bytes: &[u8], headers: &HeaderMap) -> Result<ChatRequest, ApiError> {
    let mut request = codec::decode_request(dialect, bytes).map_err(|error| packed(headers).unwrap_or(error))?;
    wishes::merge(headers, &mut request.routing)?;
    wishes::check(&request.routing)?;
    // They read a plain answer of ours, and nothing else of it.
    if dialect == Dialect::Native && (request.stream || !request.tools.is_empty()) && is_ollamas(headers) {
        return Err(ApiError::invalid(codec::NO_OLLAMA));
    }
    // What leads to no model is compared with all that there are.
    if request.model.len() > wishes::NAME {
        return Err(ApiError::invalid(format!("a model's name has at most {} bytes", wishes::NAME)).at("model"));
    }
    Ok(request)
}

/// Whether one of Ollama's own client libraries asks (`ollama-python/0.6.3`, `ollama-js/0.6.0`).
fn is_ollamas(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"ollama"))
}

/// What to say of a body that cannot be read because it was compressed. Bodies are taken as they are: unpacking them would
/// let a small one become a very large one.
fn packed(headers: &HeaderMap) -> Option<ApiError> {
    let coding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
    let plain = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    (!plain).then(|| ApiError::invalid("the body is compressed (content-encoding): send it plain"))
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let known = headers.iter().filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What `/api/chat` says of the routing, but for who answers.
fn told(dialect: Dialect, decision: &Decision) -> serde_json::Value {
    if dialect != Dialect::Native {
        return serde_json::Value::Null;
    }
    serde_json::json!({
        "decision_id": decision.id,
        "requested": decision.requested,
        "chosen": decision.chosen,
        "mode": decision.mode,
        "propensity": decision.propensity,
        "policy_version": decision.policy_version,
        "explored": decision.explored,
        "task": decision.task,
        "features": decision.features,
        "objective": decision.objective,
        "rules": decision.rules,
    })
}

fn respond(dialect: Dialect, request: &ChatRequest, decision: &Decision, reply: Reply) -> Response {
    let (media_type, body) = match reply.body {
        ReplyBody::Whole(bytes) => ("application/json", Body::from(bytes)),
        ReplyBody::Stream(stream) => (codec::stream_content_type(dialect), Body::from_stream(stream)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if request.stream {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(&UNBUFFERED, HeaderValue::from_static("no"));
    }
    say(headers, &DECISION, decision.id.to_string());
    say(headers, &MODEL, reply.model.as_str());
    say(headers, &BACKEND, reply.deployment);
    headers.insert(&POLICY, HeaderValue::from(decision.policy_version));
    say(headers, &REASON, &*decision.reason_for(&reply.model));
    if let Some(missed) = decision.features.as_ref().and_then(|features| features.missed) {
        say(headers, &FEATURES, format!("missed:{missed}"));
    }
    if !reply.dropped.is_empty() {
        say(headers, &DROPPED, dropped::told(dialect, &reply.dropped));
    }
    response
}

/// Says something in a header; left out where its bytes may not stand in one.
fn say(headers: &mut HeaderMap, name: &'static HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}
