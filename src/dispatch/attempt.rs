//! One upstream call, from sending the request to a whole answer, or to the first piece of a streamed one.
//!
//! **Who lives.** A model that thinks says nothing for minutes. Some vendors send signs of life meanwhile
//! (`message_start`, pings, comments), some the head of the answer only, some not even that. So a stream that said
//! anything is given the time between two pieces again and again, one of a model that can reason its own patience
//! before that; and a stream that lives without content is handed over after [`Deadlines::sign_of_life`], so that the
//! client is not left without headers.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::blame::attributed_to;
use super::job::Job;
use super::outcome::Report;
use crate::codec::{self, Encoded, ForcedCall, StreamDecoder, Target};
use crate::config::{self, Capability, Refusal};
use crate::protocol::{
    ApiError, ChatRequest, ChatResponse, Dialect, Effort, ErrorKind, Part, Price, StreamEvent, ToolCallDelta, Usage,
};
use crate::upstream::{Answer, Call, CallError, Client, Deployment, Endpoint, Model};

/// An error message from an upstream is read up to here.
const ERROR_LIMIT: usize = 256 << 10;

/// And waited for so long.
const SAYING_WHY: Duration = Duration::from_secs(10);

/// Pieces of a stream that are held back before the first content come to no more than this.
const HELD_LIMIT: usize = 4 << 20;

/// A call that failed.
pub(super) struct Failed {
    /// Why, with the deployment named.
    pub(super) error: ApiError,
    /// Whether time ran out on work that the vendor had begun: the same place would take as long again, and be paid
    /// again.
    pub(super) too_slow: bool,
    /// Whether the model answered, but not by the call that it had to make: its place is well, and would be told the
    /// same again.
    pub(super) no_call: bool,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, too_slow: false, no_call: false }
    }
}

/// What a good call gives.
pub(super) enum Attempted {
    /// A whole answer.
    Whole(Box<Whole>),
    /// A stream that has begun.
    Stream(Box<Opened>),
}

impl Attempted {
    /// Whether the answer is here, or has begun; else it only lives.
    pub(super) fn speaks(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Stream(opened) => opened.due.is_none(),
        }
    }
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

/// A stream whose first piece of content (or whose end) is here, or that has shown for a while that it lives.
pub(super) struct Opened {
    /// The rest, where there is one.
    pub(super) answer: Option<Answer>,
    /// Reads it.
    pub(super) decoder: StreamDecoder,
    /// When its next piece must be here, where it has no content yet.
    pub(super) due: Option<Instant>,
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
    /// The whole answer must be here, or of a stream that has no content yet the next piece, if that is longer than
    /// between two others.
    pub(super) first: Instant,
    /// The key of the configuration that sets it.
    set_by: &'static str,
    /// Whether a vendor that works on it may say nothing before that.
    pub(super) silent: bool,
    /// Between two pieces.
    pub(super) idle: Duration,
    /// The client hears something at least so often, once there is anything to hear.
    pub(super) sign_of_life: Duration,
    /// Everything must be here.
    pub(super) total: Instant,
    /// Largest answer, bytes: a whole one, or what has to be kept of a stream.
    pub(super) limit: usize,
}

impl Deadlines {
    /// Of a call that begins now, of a walk that has until `total`; `stream` = its answer comes in pieces, `thinks` =
    /// its model may think before it says anything.
    pub(super) fn new(settings: &config::Dispatch, stream: bool, thinks: bool, total: Instant) -> Self {
        let first_byte = (settings.first_byte_timeout_ms, "dispatch.first_byte_timeout_ms");
        let (patience, set_by) = match (stream, thinks) {
            (true, false) => first_byte,
            (true, true) => first_byte.max((settings.thinking_timeout_ms, "dispatch.thinking_timeout_ms")),
            (false, _) => (settings.whole_answer_timeout_ms, "dispatch.whole_answer_timeout_ms"),
        };
        let first = Instant::now() + Duration::from_millis(patience);
        Self {
            first: first.min(total),
            set_by: if first < total { set_by } else { "dispatch.total_timeout_ms" },
            silent: !stream || thinks,
            idle: Duration::from_millis(settings.idle_timeout_ms),
            sign_of_life: Duration::from_millis(settings.sign_of_life_ms),
            total,
            limit: config::mebibytes(settings.max_answer_mb),
        }
    }

    /// Of a stream that is handed over now: the walk is over, it has its own time. `due` = it has no content yet, and
    /// its next piece has until then.
    pub(super) fn of_stream(settings: &config::Dispatch, due: Option<Instant>) -> Self {
        let now = Instant::now();
        let total = now + Duration::from_millis(settings.stream_timeout_ms);
        Self { first: due.unwrap_or(now), ..Self::new(settings, true, false, total) }
    }

    /// What went wrong before the vendor said anything; of too long a wait with the key that says how long it may be.
    fn told(&self, error: CallError) -> ApiError {
        let late = matches!(error, CallError::Timeout);
        let mut error = ApiError::from(error);
        if late {
            error.message = format!("{} ({})", error.message, self.set_by);
        }
        error
    }

    /// Content is here: from now on only the time between two pieces counts.
    pub(super) fn begun(&mut self) {
        self.first = Instant::now();
    }

    /// When the next piece of a stream that lives must be here.
    pub(super) fn next(&self) -> Instant {
        self.first.max((Instant::now() + self.idle).min(self.total))
    }

    /// When a stream that lives from now on is handed over, content or not.
    fn hand_over(&self) -> Instant {
        (Instant::now() + self.sign_of_life).min(self.total)
    }
}

/// Makes one call. What its vendor will charge for, come what may, is at risk in the report meanwhile.
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
    report: &mut Report,
) -> Result<Attempted, Failed> {
    let dialect = place.provider.dialect;
    let target = Target {
        dialect,
        quirks: &place.provider.quirks,
        model: &place.upstream,
        max_output_tokens: model.settings.max_output,
        reasoning: reasons(model),
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
    let forced = ForcedCall::of(dialect, &job.request);
    let headers = if passes { job.headers.clone() } else { HeaderMap::new() };
    let call = Call { endpoint: Endpoint::Chat, body: Some(body), headers };
    let price = &model.settings.price;
    let prompt = Usage { input_tokens: u64::from(job.prompt_tokens), ..Usage::default() };
    if deadlines.silent {
        report.risk(prompt, price);
    }
    let answer = match client.send(&place.provider, call, deadlines.first).await {
        Ok(answer) => answer,
        Err(error) => {
            let too_slow = deadlines.silent && matches!(error, CallError::Timeout);
            if !too_slow {
                report.spare();
            }
            let error = deadlines.told(error);
            let message = format!("{}: {}", place.name, error.message);
            return Err(Failed { too_slow, ..ApiError { message, ..error }.into() });
        }
    };
    if !answer.is_success() {
        report.spare();
        return Err(refusal(answer, dialect, place, deadlines).await.into());
    }
    report.risk(prompt, price);
    // From here on the vendor is at work.
    let failed = |error: ApiError| {
        let too_slow = error.kind == ErrorKind::Timeout;
        Failed { too_slow, ..attributed_to(error, &place.name, place.provider.secrets()).into() }
    };
    if let Some(coding) = answer.header("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        let message = format!("its answer is coded ({coding}), although none was asked for");
        return Err(failed(ApiError::new(ErrorKind::Upstream, message)));
    }
    // Some servers answer a stream request with a whole answer.
    let streams = job.request.stream && answer.media_type() != "application/json";
    if streams {
        let decoder = StreamDecoder::new(dialect).asked_at(job.at_ms).forced(forced);
        let decoder = if passes { decoder.beside() } else { decoder };
        let opened = open(answer, decoder, passes, deadlines, price, report).await;
        let opened = opened.map_err(|(error, no_call)| Failed { no_call, ..failed(error) })?;
        return Ok(Attempted::Stream(Box::new(Opened { dropped, ..opened })));
    }
    let deadline = if job.request.stream { deadlines.next() } else { deadlines.first };
    let raw = answer.whole(deadlines.limit, deadline).await;
    let raw = raw.map_err(|error| failed(if job.request.stream { error.into() } else { deadlines.told(error) }))?;
    let read = codec::decode_response(dialect, &raw).or_else(|error| {
        // Where it passes through the client may know better.
        let known = if passes && !job.request.stream { codec::unread(dialect, &raw) } else { None };
        known.ok_or(error)
    });
    let mut response = read.map_err(|error| {
        // A refusal told with status 200 has begun nothing.
        let said = serde_json::from_slice::<serde_json::Value>(&raw);
        if said.is_ok_and(|said| said.get("error").is_some_and(|error| !error.is_null())) {
            report.spare();
        }
        failed(error)
    })?;
    if let Some(call) = forced {
        call.read(&mut response).map_err(|error| Failed { no_call: true, ..failed(error) })?;
    }
    codec::name_calls(&mut response, job.at_ms);
    if job.request.stream {
        let opened = Opened {
            answer: None,
            decoder: StreamDecoder::new(dialect),
            due: None,
            events: played(response),
            raw: None,
            dropped,
        };
        return Ok(Attempted::Stream(Box::new(opened)));
    }
    let raw = passes.then(|| place.provider.secrets().hide_in_answer(raw));
    Ok(Attempted::Whole(Box::new(Whole { response, raw, dropped })))
}

/// Whether a model can think before it says anything.
fn reasons(model: &Model) -> bool {
    model.settings.can.contains(&Capability::Reasoning)
}

/// Whether it may do so over this request: who cannot be told not to does so all the same.
pub(super) fn may_think(model: &Model, request: &ChatRequest) -> bool {
    let told_not_to = request
        .reasoning
        .as_ref()
        .is_some_and(|reasoning| reasoning.enabled == Some(false) || reasoning.effort == Some(Effort::None));
    reasons(model) && (!told_not_to || model.settings.refuses.contains(&Refusal::NoThinking))
}

/// Reads a stream up to its first piece of content, its end, or until it has lived for long enough.
///
/// # Errors
///
/// Why it did not begin, and whether because it is not the call that it had to be.
async fn open(
    mut answer: Answer,
    mut decoder: StreamDecoder,
    passes: bool,
    deadlines: Deadlines,
    price: &Price,
    report: &mut Report,
) -> Result<Opened, (ApiError, bool)> {
    let mut events = Vec::new();
    let mut raw = Vec::new();
    let mut held = 0;
    let mut said = None;
    let mut due = deadlines.first;
    // Where a vendor may say nothing while its model thinks, the head is a sign of life.
    let mut hand_over = deadlines.silent.then(|| deadlines.hand_over());
    loop {
        let wait = hand_over.map_or(due, |at| at.min(due));
        let chunk = match answer.chunk(wait).await {
            Ok(chunk) => chunk,
            Err(CallError::Timeout) if wait < due => {
                let (answer, raw) = (Some(answer), passes.then_some(raw));
                return Ok(Opened { answer, decoder, due: Some(due), events, raw, dropped: Vec::new() });
            }
            Err(error) => return Err((error.into(), false)),
        };
        let ended = chunk.is_none();
        let new = events.len();
        match chunk {
            Some(chunk) => {
                held += chunk.len();
                decoder.push(&chunk, &mut events);
                raw.push(chunk);
            }
            None => decoder.finish(&mut events),
        }
        for event in &events[new..] {
            if let StreamEvent::Usage(usage) = event {
                let said = said.get_or_insert_with(Usage::default);
                said.absorb(usage);
                report.risk(*said, price);
            }
        }
        let new = &events[new..];
        if let Some(StreamEvent::Error(error)) = new.iter().find(|event| matches!(event, StreamEvent::Error(_))) {
            if said.is_none() && decoder.saw_error() {
                // It refused to work after all.
                report.spare();
            }
            // Content and a failure in one piece: nothing was shown yet, so it may as well fail here.
            return Err((error.clone(), decoder.is_no_call()));
        }
        let begun = new.iter().any(|event| event.is_content() || matches!(event, StreamEvent::Finish { .. }));
        if begun {
            let answer = (!ended).then_some(answer);
            let raw = passes.then_some(raw);
            return Ok(Opened { answer, decoder, due: None, events, raw, dropped: Vec::new() });
        }
        if ended || held > HELD_LIMIT {
            return Err((ApiError::new(ErrorKind::Upstream, "its stream says nothing"), false));
        }
        // Past the walk's deadline it is handed over, not cut.
        due = deadlines.first.max(Instant::now() + deadlines.idle);
        hand_over.get_or_insert_with(|| deadlines.hand_over());
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
    let now = Instant::now();
    let deadline = (now + SAYING_WHY).min(deadlines.first.max(now + Duration::from_secs(1)));
    let body = answer.whole(ERROR_LIMIT, deadline).await.unwrap_or_default();
    let error = codec::decode_error(dialect, status, &body, retry_after);
    attributed_to(error, &place.name, place.provider.secrets())
}
