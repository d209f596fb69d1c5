//! One upstream call, from sending the request to a whole answer, or to the first piece of a streamed one.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::failover::Job;
use crate::codec::{self, Encoded, StreamDecoder, Target};
use crate::config::{self, Capability};
use crate::protocol::{ApiError, ChatResponse, Dialect, ErrorKind, Part, StreamEvent, ToolCallDelta};
use crate::upstream::{Answer, Call, Client, Deployment, Endpoint, Model};

/// An error message from an upstream is read up to here.
const ERROR_LIMIT: usize = 256 << 10;

/// Pieces of a stream that are held back before the first content come to no more than this.
const HELD_LIMIT: usize = 4 << 20;

/// What a good call gives.
pub(super) enum Attempted {
    /// A whole answer.
    Whole(Box<Whole>),
    /// A stream that has begun.
    Stream(Box<Opened>),
}

/// A whole answer.
pub(super) struct Whole {
    /// What it says.
    pub(super) response: ChatResponse,
    /// Its bytes, where client and upstream speak the same dialect.
    pub(super) raw: Option<Bytes>,
    /// Request fields that could not be carried over.
    pub(super) dropped: Vec<String>,
}

/// A stream whose first piece of content (or whose end) is here.
pub(super) struct Opened {
    /// The rest, where there is one.
    pub(super) answer: Option<Answer>,
    /// Reads it.
    pub(super) decoder: StreamDecoder,
    /// What was read.
    pub(super) events: Vec<StreamEvent>,
    /// The same as bytes, where they pass through.
    pub(super) raw: Option<Vec<Bytes>>,
    /// Request fields that could not be carried over.
    pub(super) dropped: Vec<String>,
}

/// Deadlines of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// The first piece must be here.
    pub(super) first: Instant,
    /// Between two pieces.
    pub(super) idle: Duration,
    /// Everything must be here.
    pub(super) total: Instant,
    /// Largest whole answer, bytes.
    pub(super) limit: usize,
}

impl Deadlines {
    /// Of a call that begins now; `stream` = its answer comes in pieces.
    pub(super) fn new(settings: &config::Dispatch, stream: bool, total: Instant) -> Self {
        let patience = if stream { settings.first_byte_timeout_ms } else { settings.whole_answer_timeout_ms };
        let first = Instant::now() + Duration::from_millis(patience);
        Self {
            first: first.min(total),
            idle: Duration::from_millis(settings.idle_timeout_ms),
            total,
            limit: usize::try_from(settings.max_answer_mb << 20).unwrap_or(usize::MAX),
        }
    }

    /// When the next piece must be here.
    pub(super) fn next(&self) -> Instant {
        (Instant::now() + self.idle).min(self.total)
    }
}

/// Makes one call.
///
/// # Errors
///
/// Whatever went wrong before the first piece of content, with the deployment named.
pub(super) async fn attempt(
    client: &Client,
    model: &Model,
    place: &Deployment,
    job: &Job,
    deadlines: Deadlines,
) -> Result<Attempted, ApiError> {
    let dialect = place.provider.dialect;
    let target = Target {
        dialect,
        quirks: &place.provider.quirks,
        model: &place.upstream,
        max_output_tokens: Some(model.settings.max_output),
        reasoning: model.settings.can.contains(&Capability::Reasoning),
        context: Some(model.settings.context),
        prompt_tokens: job.prompt_tokens,
        refuses: &model.settings.refuses,
    };
    let passes = dialect == job.dialect;
    let Encoded { body, dropped } = if passes {
        codec::pass_request(&target, &job.request, &job.body)?
    } else {
        codec::encode_request(&target, &job.request)?
    };
    let headers = if passes { job.headers.clone() } else { HeaderMap::new() };
    let call = Call { endpoint: Endpoint::Chat, body: Some(body), headers };
    let answer =
        client.send(&place.provider, call, deadlines.first).await.map_err(|error| error.told(&place.name))?;
    if !answer.is_success() {
        return Err(refusal(answer, dialect, place, deadlines).await);
    }
    // Some servers answer a stream request with a whole answer.
    let streams = job.request.stream && answer.media_type() != "application/json";
    if streams {
        let opened = open(answer, dialect, passes, dropped, deadlines, job.at_ms).await;
        return Ok(Attempted::Stream(Box::new(opened.map_err(|error| named(error, place))?)));
    }
    let deadline = if job.request.stream { deadlines.next() } else { deadlines.first };
    let raw = answer.whole(deadlines.limit, deadline).await.map_err(|error| error.told(&place.name))?;
    let mut response = codec::decode_response(dialect, &raw).map_err(|error| named(error, place))?;
    codec::name_calls(&mut response, job.at_ms);
    if job.request.stream {
        let opened = Opened {
            answer: None,
            decoder: StreamDecoder::new(dialect),
            events: played(response),
            raw: None,
            dropped,
        };
        return Ok(Attempted::Stream(Box::new(opened)));
    }
    Ok(Attempted::Whole(Box::new(Whole { response, raw: passes.then_some(raw), dropped })))
}

/// Reads a stream up to its first piece of content, or its end.
async fn open(
    mut answer: Answer,
    dialect: Dialect,
    passes: bool,
    dropped: Vec<String>,
    deadlines: Deadlines,
    at_ms: i64,
) -> Result<Opened, ApiError> {
    let decoder = StreamDecoder::new(dialect).asked_at(at_ms);
    let mut decoder = if passes { decoder.beside() } else { decoder };
    let mut events = Vec::new();
    let mut raw = Vec::new();
    let mut held = 0;
    loop {
        let chunk = answer.chunk(deadlines.first).await.map_err(|error| error.told("the stream"))?;
        let ended = chunk.is_none();
        match chunk {
            Some(chunk) => {
                held += chunk.len();
                decoder.push(&chunk, &mut events);
                raw.push(chunk);
            }
            None => decoder.finish(&mut events),
        }
        if let Some(StreamEvent::Error(error)) = events.iter().find(|event| matches!(event, StreamEvent::Error(_))) {
            // Content and a failure in one piece: nothing was shown yet, so it may as well fail here.
            return Err(error.clone());
        }
        let begun = events.iter().any(|event| event.is_content() || matches!(event, StreamEvent::Finish { .. }));
        if begun {
            let answer = (!ended).then_some(answer);
            return Ok(Opened { answer, decoder, events, raw: passes.then_some(raw), dropped });
        }
        if ended || held > HELD_LIMIT {
            return Err(ApiError::new(ErrorKind::Upstream, "its stream says nothing"));
        }
    }
}

/// A whole answer as the stream it should have been.
fn played(response: ChatResponse) -> Vec<StreamEvent> {
    let mut events = vec![StreamEvent::Start { id: response.id, model: response.model }];
    let mut calls = 0;
    for part in response.parts {
        match part {
            Part::Text { text, .. } => events.push(StreamEvent::Text(text)),
            Part::Thinking { text, signature } => {
                events.push(StreamEvent::Thinking(text));
                events.extend(signature.map(StreamEvent::ThinkingSignature));
            }
            Part::RedactedThinking { data } => events.push(StreamEvent::RedactedThinking(data)),
            Part::Refusal { text } => events.push(StreamEvent::Refusal(text)),
            Part::ToolCall { id, name, arguments } => {
                events.push(StreamEvent::ToolCall(ToolCallDelta {
                    index: calls,
                    start: Some((id, name)),
                    arguments,
                }));
                calls += 1;
            }
            Part::Image { .. } | Part::ToolResult { .. } | Part::Foreign { .. } => {}
        }
    }
    events.extend(response.usage.map(StreamEvent::Usage));
    events.push(StreamEvent::Finish { reason: response.finish_reason, stop_sequence: response.stop_sequence });
    events
}

/// An answer with a bad status as an error.
async fn refusal(answer: Answer, dialect: Dialect, place: &Deployment, deadlines: Deadlines) -> ApiError {
    let (status, retry_after) = (answer.status(), answer.retry_after());
    let deadline = deadlines.next().min(deadlines.first.max(Instant::now() + Duration::from_secs(1)));
    let body = answer.whole(ERROR_LIMIT, deadline).await.unwrap_or_default();
    named(codec::decode_error(dialect, status, &body, retry_after), place)
}

/// Puts the deployment's name before an error's message. What a vendor says of our key is no client's business: some
/// quote a part of it.
fn named(mut error: ApiError, place: &Deployment) -> ApiError {
    if matches!(error.kind, ErrorKind::Authentication | ErrorKind::Permission) {
        error.message = "it refuses our key".into();
    }
    error.message = format!("{}: {}", place.name, error.message);
    error
}
