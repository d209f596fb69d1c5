//! Chat, in every dialect: read, decode, limit, plan, dispatch, answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::left_early::LeftEarly;
use super::record::{Asker, Recording};
use super::{body, dropped, routing_headers};
use crate::codec;
use crate::dispatch::{Job, Reply, ReplyBody, Report};
use crate::gateway::limiter::Amount;
use crate::gateway::monitor::Arrival;
use crate::gateway::{Gateway, PlanRequest};
use crate::http::error::Rejection;
use crate::http::middleware::caller::{Caller, Chatter};
use crate::http::middleware::request_id::LoggedByEndpoint;
use crate::protocol::{ApiError, ChatRequest, Dialect};
use crate::route::{Considered, Decision, estimate_tokens};

// Headers of answers. As statics: parsing a header's name takes longer than setting the header.
static DECISION: HeaderName = HeaderName::from_static("x-pointsman-decision");
static MODEL: HeaderName = HeaderName::from_static("x-pointsman-model");
static BACKEND: HeaderName = HeaderName::from_static("x-pointsman-backend");
static POLICY: HeaderName = HeaderName::from_static("x-pointsman-policy");
static REASON: HeaderName = HeaderName::from_static("x-pointsman-reason");
static FEATURES: HeaderName = HeaderName::from_static("x-pointsman-features");
static DROPPED: HeaderName = HeaderName::from_static("x-pointsman-dropped");

/// Tells a reverse proxy to pass on each piece as it comes; nginx buffers them otherwise ("X-Accel-Buffering",
/// nginx.org, ngx_http_proxy_module, proxy_buffering).
static UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Client headers that a vendor of the same dialect gets. None that names an account: the key is the operator's, and
/// the client's organization beside it would be refused as a bad key.
const PASSED_ON: [&str; 2] = ["anthropic-beta", "anthropic-version"];

/// The endpoint that chats in a dialect.
pub fn endpoint(dialect: Dialect) -> MethodRouter<Arc<Gateway>> {
    post(move |State(gateway): State<Arc<Gateway>>, Chatter(caller): Chatter, headers: HeaderMap, body: Body| {
        chat(gateway, dialect, caller, headers, body)
    })
}

/// Answers a chat.
pub async fn chat(
    gateway: Arc<Gateway>,
    dialect: Dialect,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut early = LeftEarly::new(&caller, dialect);
    let answered = answer(gateway, dialect, caller, headers, body, &mut early).await;
    early.over();
    answered.unwrap_or_else(|error| Rejection::new(dialect, error).into_response())
}

async fn answer(
    gateway: Arc<Gateway>,
    dialect: Dialect,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
    early: &mut LeftEarly,
) -> Result<Response, ApiError> {
    let started = early.started;
    let live = gateway.live();
    let token = caller.token.as_deref();
    let (mut permit, bytes) = body::admit(&gateway, &live, token, body, started).await?;
    // Given back when this function ends, as the request is: that is with the beginning of a stream.
    let _room = permit.take_room(|| body::kept_by_its_answer(dialect, &bytes));
    let (request, bytes) = body::understood(bytes, |bytes| read_request(dialect, bytes, &headers))?;
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
    let passes = matches!(dialect, Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic);
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
    gateway.record(&decision, asked, false);
    ticket.routed(&decision);
    let asker =
        Asker { request_id: caller.request_id.clone(), token, dialect, conversation, taken, headers: &headers };
    let recording = Recording::new(Arc::clone(&gateway), asker, permit);
    early.over();
    let steps = ticket.clone();
    let report = Report::new(Arc::clone(&decision), started, move |outcome| {
        ticket.ended(outcome);
        recording.finish(outcome);
    })
    .watched(move |step| steps.step(&step));
    let job = Job {
        routing: routing_block(dialect, &decision),
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
            set_header(response.headers_mut(), &DECISION, decision.id.to_string());
            response
        }
    };
    response.extensions_mut().insert(LoggedByEndpoint);
    Ok(response)
}

/// The expected use of the chosen model's answer.
fn expected(decision: &Decision) -> Amount {
    let chosen = decision.candidates.iter().find(|candidate| candidate.model == decision.chosen);
    let of = |chosen: &Considered| Amount { tokens: chosen.answer_tokens, cost_usd: chosen.cost_usd };
    chosen.map(of).unwrap_or_default()
}

/// Decodes a request, with the routing options of its headers.
///
/// # Errors
///
/// What is wrong with the request.
pub(super) fn read_request(dialect: Dialect, bytes: &[u8], headers: &HeaderMap) -> Result<ChatRequest, ApiError> {
    let mut request = codec::decode_request(dialect, bytes).map_err(|error| compressed(headers).unwrap_or(error))?;
    routing_headers::merge(headers, &mut request.routing)?;
    routing_headers::check(&request.routing)?;
    // Ollama's clients can read our plain answers, but neither our streams nor our tool calls.
    if dialect == Dialect::Native && (request.stream || !request.tools.is_empty()) && is_ollamas(headers) {
        return Err(ApiError::invalid(codec::NO_OLLAMA));
    }
    routing_headers::check_name(&request.model)?;
    Ok(request)
}

/// Whether the client is one of Ollama's own libraries (`ollama-python/0.6.3`, `ollama-js/0.6.0`).
fn is_ollamas(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"ollama"))
}

/// The error for a body that cannot be read because it is compressed. Bodies are never unpacked: a small one could
/// become very large.
fn compressed(headers: &HeaderMap) -> Option<ApiError> {
    let coding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
    let plain = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    (!plain).then(|| ApiError::invalid("the body is compressed (content-encoding): send it plain"))
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let known = headers.iter().filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The `routing` block of a `/api/chat` answer, without the model that answers.
fn routing_block(dialect: Dialect, decision: &Decision) -> serde_json::Value {
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
    set_header(headers, &DECISION, decision.id.to_string());
    set_header(headers, &MODEL, reply.model.as_str());
    set_header(headers, &BACKEND, &*reply.deployment);
    headers.insert(&POLICY, HeaderValue::from(decision.policy_version));
    set_header(headers, &REASON, &*decision.reason_for(&reply.model));
    if let Some(missed) = decision.features.as_ref().and_then(|features| features.missed) {
        set_header(headers, &FEATURES, format!("missed:{missed}"));
    }
    if !reply.dropped.is_empty() {
        set_header(headers, &DROPPED, dropped::header_value(dialect, &reply.dropped));
    }
    response
}

/// Sets a header, unless the value holds bytes that a header may not.
fn set_header(headers: &mut HeaderMap, name: &'static HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}
