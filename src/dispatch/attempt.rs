//! One upstream call, from sending the request to a whole answer, or to the first piece of a streamed one.
//!
//! **Signs of life.** A model that thinks may send no content for minutes. Some vendors send something meanwhile
//! (`message_start`, pings, comments), some only the answer's headers, some not even these. So a stream that has sent
//! anything gets [`Deadlines::idle`] for each further piece; before that a model that can reason gets a time of its
//! own; and a stream without content is handed over after [`Deadlines::sign_of_life`], so that the client is not left
//! without headers.
//!
//! **The wire format** is the provider's, but for OpenAI's Responses: what a client sends in that format passes through to
//! it ([`codec::passes_to_responses`]), and OpenAI's newest models are asked there where they would not think in Chat
//! Completions ([`codec::is_for_responses`]). What Responses refuses is asked there once more without a wish to be told
//! thoughts, if that is what it refuses; once more without the thoughts that the client sent back, if there are any, as
//! another organisation may have sealed them; and then in Chat Completions, as it would have been without Responses, unless
//! only Responses can say it or the fault is surely the client's. These calls, at most four, count as one, since no work
//! comes of those that are refused. That a deployment tells no thoughts, or has no Responses for our key or at all, is
//! remembered for a while ([`Lack`]); that it has not what one request names is not. A translated request that Claude
//! refuses for the sake of its earlier thoughts is likewise asked once more without them.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::job::Job;
use super::outcome::Report;
use super::usage;
use super::vendor_error::attributed_to;
use crate::codec::{self, Encoded, ForcedCall, StreamDecoder, Target, ToolNames};
use crate::config::{self, Capability, Refusal};
use crate::protocol::{
    ApiError, ChatRequest, ChatResponse, Dialect, ErrorKind, Part, Reasoning, StreamEvent, ToolCallDelta, Usage,
};
use crate::upstream::{Answer, Call, CallError, Client, Deployment, Endpoint, Lack, Model};

/// Longest error body read from an upstream.
const MAX_ERROR_BYTES: usize = 256 << 10;

/// How long to wait for an error's body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to read on after the answer's last event for its count, and for the end of the body, so that the connection
/// can be used again.
pub(super) const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes of a stream held back before its first content.
const MAX_HELD_BYTES: usize = 4 << 20;

/// A call that failed.
pub(super) struct Failed {
    /// Why, with the deployment named.
    pub(super) error: ApiError,
    /// Whether time ran out on work that the vendor had begun: the same deployment would take as long again, and charge
    /// for it again.
    pub(super) too_slow: bool,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, too_slow: false }
    }
}

/// The result of a good call.
pub(super) enum Attempted {
    /// A whole answer.
    Whole(Box<Whole>),
    /// A stream that has begun, or shows signs of life.
    Stream(Box<Opened>),
}

impl Attempted {
    /// Whether there is an answer, or the beginning of one; else the stream has only shown signs of life.
    pub(super) fn has_begun(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Stream(opened) => opened.due.is_none(),
        }
    }
}

/// A whole answer.
pub(super) struct Whole {
    /// The answer.
    pub(super) response: ChatResponse,
    /// Its bytes, where client and upstream speak the same dialect.
    pub(super) raw: Option<Bytes>,
    /// Request fields that could not be carried over.
    pub(super) dropped: Vec<String>,
}

/// A stream whose first piece of content (or whose end) is here, or that has shown signs of life for a while.
pub(super) struct Opened {
    /// The rest of the answer; `None` = it is all here.
    pub(super) answer: Option<Answer>,
    /// Decodes the rest.
    pub(super) decoder: StreamDecoder,
    /// When the next piece must be here, if there is no content yet.
    pub(super) due: Option<Instant>,
    /// What was read so far.
    pub(super) events: Vec<StreamEvent>,
    /// The same as bytes, where bytes pass through.
    pub(super) raw: Option<Vec<Bytes>>,
    /// Request fields that could not be carried over.
    pub(super) dropped: Vec<String>,
}

/// Deadlines of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// When a whole answer must be here; of a stream without content yet, the earliest time at which a missing piece
    /// ends it.
    pub(super) first: Instant,
    /// The key of the configuration that sets `first`.
    set_by: &'static str,
    /// Whether a vendor at work may send nothing before `first`.
    pub(super) may_be_silent: bool,
    /// Longest time between two pieces.
    pub(super) idle: Duration,
    /// Longest silence of a vendor that works by itself, for a tool of its own.
    work: Duration,
    /// Longest silence towards the client, once its answer is handed over.
    pub(super) sign_of_life: Duration,
    /// When everything must be here.
    pub(super) total: Instant,
    /// Largest answer, bytes: a whole one, or what has to be kept of a stream, such as an event that passes through.
    pub(super) limit: usize,
}

impl Deadlines {
    /// Deadlines of a call that begins now, for a request that has until `total`; `stream` = its answer comes in
    /// pieces, `thinks` = its model may think before it sends anything.
    pub(super) fn new(settings: &config::Dispatch, stream: bool, thinks: bool, total: Instant) -> Self {
        let first_byte = (settings.first_byte_timeout_ms, "dispatch.first_byte_timeout_ms");
        let (timeout_ms, set_by) = match (stream, thinks) {
            (true, false) => first_byte,
            (true, true) => first_byte.max((settings.thinking_timeout_ms, "dispatch.thinking_timeout_ms")),
            (false, _) => (settings.whole_answer_timeout_ms, "dispatch.whole_answer_timeout_ms"),
        };
        let first = Instant::now() + Duration::from_millis(timeout_ms);
        Self {
            first: first.min(total),
            set_by: if first < total { set_by } else { "dispatch.total_timeout_ms" },
            may_be_silent: !stream || thinks,
            idle: Duration::from_millis(settings.idle_timeout_ms),
            work: Duration::from_millis(settings.thinking_timeout_ms),
            sign_of_life: Duration::from_millis(settings.sign_of_life_ms),
            total,
            limit: config::mebibytes(settings.max_answer_mb),
        }
    }

    /// Deadlines of a stream that is handed over now: failover is over, and the stream has its own time. `due` = it has
    /// no content yet, and its next piece has until then.
    pub(super) fn of_stream(settings: &config::Dispatch, due: Option<Instant>) -> Self {
        let now = Instant::now();
        let total = now + Duration::from_millis(settings.stream_timeout_ms);
        Self { first: due.unwrap_or(now), ..Self::new(settings, true, false, total) }
    }

    /// An error from before the vendor sent anything; a timeout names the key of the configuration that sets it.
    fn describe(&self, error: CallError) -> ApiError {
        let late = matches!(error, CallError::Timeout);
        let mut error = ApiError::from(error);
        if late {
            error.message = format!("{} ({})", error.message, self.set_by);
        }
        error
    }

    /// Content is here: from now on only the time between two pieces counts.
    pub(super) fn content_began(&mut self) {
        self.first = Instant::now();
    }

    /// The vendor runs a tool of its own, over whose results its model thinks again.
    pub(super) fn work_began(&mut self) {
        self.first = (Instant::now() + self.work).min(self.total);
    }

    /// When the next piece of a stream must be here.
    pub(super) fn next_piece(&self) -> Instant {
        self.first.max((Instant::now() + self.idle).min(self.total))
    }

    /// When a stream whose first sign of life comes now is handed over, content or not.
    fn hand_over(&self) -> Instant {
        (Instant::now() + self.sign_of_life).min(self.total)
    }
}

/// One call of a deployment.
pub(super) struct Attempt<'a> {
    model: &'a Model,
    deployment: &'a Deployment,
    job: &'a Job,
    deadlines: Deadlines,
    /// The wire format of the call.
    dialect: Dialect,
    /// Whether bytes pass through: the client's own body goes out, and the vendor's own answer comes back.
    passes: bool,
    /// Whether it asks to be told what the model thinks (Responses).
    tell_thoughts: bool,
    /// How many of the conversation's first thoughts it does not bring back.
    refused_thoughts: usize,
    /// Whether Responses has refused it for the sake of our key, which may be good for Chat Completions.
    is_forbidden: bool,
}

impl<'a> Attempt<'a> {
    /// A call, in the wire format that suits the request.
    pub(super) fn new(model: &'a Model, deployment: &'a Deployment, job: &'a Job, deadlines: Deadlines) -> Self {
        let now = Instant::now().into_std();
        let attempt = Self {
            model,
            deployment,
            job,
            deadlines,
            dialect: deployment.provider.dialect,
            passes: deployment.provider.dialect == job.dialect,
            tell_thoughts: !deployment.lacks(Lack::Thoughts, now),
            refused_thoughts: 0,
            is_forbidden: false,
        };
        if deployment.lacks(Lack::Responses, now) {
            attempt
        } else if codec::passes_to_responses(job.dialect, &attempt.target(), &job.request) {
            Self { dialect: Dialect::Responses, passes: true, ..attempt }
        } else if codec::is_for_responses(job.dialect, &attempt.target(), &job.request) {
            Self { dialect: Dialect::Responses, passes: false, ..attempt }
        } else {
            attempt
        }
    }

    /// The call without the first `refused` thoughts of the conversation, which the deployment has refused before.
    pub(super) fn without_thoughts(self, refused: usize) -> Self {
        Self { refused_thoughts: codec::still_refused(self.dialect, &self.job.request, refused), ..self }
    }

    /// Makes the call, and others that ask for less where Responses refuses it.
    ///
    /// # Errors
    ///
    /// Whatever went wrong before the first piece of content, with the deployment named.
    pub(super) async fn run(mut self, client: &Client, report: &mut Report) -> Result<Attempted, Failed> {
        loop {
            let made = self.make(client, report).await;
            let Err(Failed { error, .. }) = &made else {
                if self.is_forbidden {
                    self.deployment.note_lack(Lack::Responses, Instant::now().into_std());
                }
                report.outcome_mut().refused_thoughts = self.refused_thoughts;
                return made;
            };
            if !self.may_be_taken_otherwise(error) {
                let asked = self.dialect == Dialect::Responses && self.is_only_for_responses();
                if asked && codec::lacks_responses(error) {
                    self.deployment.note_lack(Lack::Responses, Instant::now().into_std());
                }
                return made;
            }
            report.write_off();
            self.ask_for_less(error);
        }
    }

    fn is_only_for_responses(&self) -> bool {
        codec::is_only_for_responses(self.job.dialect, &self.job.request)
    }

    /// Whether what is refused with this error may be taken with less in it, or where it is said otherwise.
    fn may_be_taken_otherwise(&self, error: &ApiError) -> bool {
        match self.dialect {
            Dialect::Responses => {}
            Dialect::Anthropic => return !self.passes && self.refuses_thoughts(error),
            _ => return false,
        }
        if self.is_only_for_responses() {
            self.tell_thoughts && codec::hides_thoughts(error) || self.refuses_thoughts(error)
        } else if self.passes {
            codec::may_be_translated(error, &self.job.request)
        } else {
            codec::may_be_taken_in_chat(error)
        }
    }

    /// Whether the call brings back thoughts that this error may be about.
    fn refuses_thoughts(&self, error: &ApiError) -> bool {
        codec::may_refuse_thoughts(self.dialect, error)
            && self.refused_thoughts < codec::thoughts(self.dialect, &self.job.request)
    }

    /// Has the next call ask for less than the one that was refused.
    fn ask_for_less(&mut self, error: &ApiError) {
        let now = Instant::now().into_std();
        if self.tell_thoughts && codec::hides_thoughts(error) {
            if codec::is_for_the_verified(error) {
                self.deployment.note_lack(Lack::Thoughts, now);
            }
            self.tell_thoughts = false;
        } else if self.refuses_thoughts(error) {
            self.refused_thoughts = codec::thoughts(self.dialect, &self.job.request);
        } else {
            self.ask_in_own_format();
            if codec::lacks_responses(error) {
                self.deployment.note_lack(Lack::Responses, now);
            }
            self.is_forbidden = codec::may_forbid_responses(error);
            tracing::info!(
                deployment = &*self.deployment.name,
                error.kind = error.kind.as_str(),
                error.param = error.param.as_deref(),
                "Responses refused a request, which goes to Chat Completions"
            );
        }
    }

    /// Has the next call speak the provider's own format.
    fn ask_in_own_format(&mut self) {
        self.dialect = self.deployment.provider.dialect;
        self.passes = self.dialect == self.job.dialect;
        self.refused_thoughts = 0;
    }

    /// Makes the call. Meanwhile the report knows what its vendor charges for even if it fails.
    ///
    /// # Errors
    ///
    /// Whatever went wrong before the first piece of content, with the deployment named.
    async fn make(&self, client: &Client, report: &mut Report) -> Result<Attempted, Failed> {
        let (call, dropped) = self.encode()?;
        let answer = self.send(client, call, report).await?;
        let stream = self.job.request.stream;
        // Some servers answer a stream request with a whole answer.
        if stream && answer.media_type() != "application/json" {
            let opened = self.open(answer, report).await?;
            return Ok(Attempted::Stream(Box::new(Opened { dropped, ..opened })));
        }
        let (response, raw) = self.read_whole(answer, report).await?;
        if stream {
            let opened = Opened {
                answer: None,
                decoder: StreamDecoder::new(self.dialect),
                due: None,
                events: as_events(response),
                raw: None,
                dropped,
            };
            return Ok(Attempted::Stream(Box::new(opened)));
        }
        let raw = self.passes.then(|| self.deployment.provider.secrets().hide_in_answer(raw));
        Ok(Attempted::Whole(Box::new(Whole { response, raw, dropped })))
    }

    /// What the request is encoded for.
    fn target(&self) -> Target<'a> {
        let settings = &self.model.settings;
        // Of a model that was found on a list nobody told whether it thinks: what its own client asks for goes to it.
        let unknown = settings.can_is_guessed && self.passes;
        Target {
            dialect: self.dialect,
            quirks: &self.deployment.provider.quirks,
            model: &self.deployment.upstream,
            max_output_tokens: settings.max_output,
            reasoning: can_reason(self.model) || unknown,
            window: None,
            refuses: &settings.refuses,
            tell_thoughts: self.tell_thoughts,
            refused_thoughts: self.refused_thoughts,
        }
    }

    /// The demanded call that the answer stands for, where none could be forced.
    fn forced(&self) -> Option<ForcedCall> {
        if self.passes { None } else { ForcedCall::of(&self.target(), &self.job.request) }
    }

    /// The client's names of the tools that the answer calls by others.
    fn names(&self) -> Option<ToolNames> {
        if self.passes { None } else { ToolNames::of(self.dialect, &self.job.request) }
    }

    /// An error from when the vendor was at work.
    fn failed(&self, error: ApiError) -> Failed {
        let too_slow = error.kind == ErrorKind::Timeout;
        let provider = &self.deployment.provider;
        Failed { too_slow, ..attributed_to(error, &self.deployment.name, provider.secrets()).into() }
    }

    /// The call, and request fields that could not be carried over.
    fn encode(&self) -> Result<(Call, Vec<String>), Failed> {
        let window = (self.dialect == Dialect::Ollama).then(|| {
            let needed = codec::needed_window(self.job.prompt_tokens, self.job.request.max_tokens);
            self.deployment.window(needed, self.model.settings.context, Instant::now().into_std())
        });
        let target = Target { window, ..self.target() };
        let Encoded { body, dropped } = if self.passes {
            codec::pass_request(&target, &self.job.request, &self.job.body)?
        } else {
            codec::encode_request(&target, &self.job.request)?
        };
        let headers = if self.passes { self.job.headers.clone() } else { HeaderMap::new() };
        let endpoint = if self.dialect == Dialect::Responses { Endpoint::Responses } else { Endpoint::Chat };
        Ok((Call { endpoint, body: Some(body), headers }, dropped))
    }

    /// Sends the call; gives an answer with a good status, which the vendor charges for.
    async fn send(&self, client: &Client, call: Call, report: &mut Report) -> Result<Answer, Failed> {
        let Self { model, deployment, deadlines, .. } = self;
        let price = &model.settings.price;
        let prompt = Usage { input_tokens: u64::from(self.job.prompt_tokens), ..Usage::default() };
        if deadlines.may_be_silent {
            report.charge_if_lost(prompt, price);
        }
        let answer = match client.send(&deployment.provider, call, deadlines.first).await {
            Ok(answer) => answer,
            Err(error) => {
                let too_slow = deadlines.may_be_silent && matches!(error, CallError::Timeout);
                if !too_slow {
                    report.clear_charge();
                }
                let error = deadlines.describe(error).told_by(&deployment.name);
                return Err(Failed { too_slow, ..error.into() });
            }
        };
        if !answer.is_success() {
            report.clear_charge();
            return Err(self.read_error(answer).await.into());
        }
        report.charge_if_lost(prompt, price);
        let coding = answer.header("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"));
        if let Some(coding) = coding {
            let message = format!("its answer is coded ({coding}), although none was asked for");
            return Err(self.failed(ApiError::new(ErrorKind::Upstream, message)));
        }
        Ok(answer)
    }

    /// The error that an answer with a bad status holds.
    async fn read_error(&self, answer: Answer) -> ApiError {
        let (status, retry_after) = (answer.status(), answer.retry_after());
        let now = Instant::now();
        let deadline = (now + ERROR_BODY_TIMEOUT).min(self.deadlines.first.max(now + Duration::from_secs(1)));
        let body = answer.whole(MAX_ERROR_BYTES, deadline).await.unwrap_or_default();
        let error = codec::decode_error(self.dialect, status, &body, retry_after);
        let error = match self.dialect == Dialect::Responses && self.is_only_for_responses() {
            true => codec::blame_what_is_named(error, status, &body),
            false => error,
        };
        attributed_to(error, &self.deployment.name, self.deployment.provider.secrets())
    }

    /// Reads a whole answer, and keeps its bytes.
    async fn read_whole(&self, answer: Answer, report: &mut Report) -> Result<(ChatResponse, Bytes), Failed> {
        let (dialect, deadlines, stream) = (self.dialect, &self.deadlines, self.job.request.stream);
        let deadline = if stream { deadlines.next_piece() } else { deadlines.first };
        let raw = answer.whole(deadlines.limit, deadline).await;
        let raw = raw.map_err(|error| self.failed(if stream { error.into() } else { deadlines.describe(error) }))?;
        let read = codec::decode_response(dialect, &raw).or_else(|error| {
            // Where bytes pass through, the client may understand what we do not.
            let known = if self.passes && !stream { codec::opaque_response(dialect, &raw) } else { None };
            known.ok_or(error)
        });
        let mut response = read.map_err(|error| {
            let counted = codec::counted(dialect, &raw);
            match counted.and_then(|counted| usage::of_lost(&counted, self.job.prompt_tokens, 0)) {
                Some(usage) => report.charge_if_lost(usage, &self.model.settings.price),
                // An error with status 200: the vendor has not begun to work.
                None if codec::reports_error(&raw) => report.clear_charge(),
                None => {}
            }
            self.failed(error)
        })?;
        if let Some(call) = self.forced() {
            // It is charged for, whether or not it is the call.
            let usage = usage::of_whole(&response, self.job.prompt_tokens);
            report.charge_if_lost(usage, &self.model.settings.price);
            call.apply(&mut response).map_err(|error| self.failed(error))?;
        }
        self.names().iter().for_each(|names| names.restore_all(&mut response));
        codec::name_calls(&mut response, self.job.at_ms);
        Ok((response, raw))
    }

    /// Reads a stream up to its first piece of content, its end, or until it has shown signs of life for long enough.
    async fn open(&self, mut answer: Answer, report: &mut Report) -> Result<Opened, Failed> {
        let (passes, deadlines) = (self.passes, &self.deadlines);
        let decoder =
            StreamDecoder::new(self.dialect).asked_at(self.job.at_ms).forced(self.forced()).naming(self.names());
        let mut decoder = match passes {
            true => decoder.lenient().asked_for(self.job.request.choices()).up_to(deadlines.limit),
            false => decoder,
        };
        let mut events = Vec::new();
        let mut raw = Vec::new();
        let mut held_bytes = 0;
        // Responses repeats the request's tools in each of the two events that it begins with.
        let most_held = MAX_HELD_BYTES + 2 * self.job.body.len();
        let mut counted = Usage::default();
        let mut due = deadlines.first;
        // Where a vendor may send nothing while its model thinks, the answer's headers are a sign of life.
        let mut hand_over = deadlines.may_be_silent.then(|| deadlines.hand_over());
        // When the count of an answer that the vendor broke off must be here.
        let mut count_due = None;
        loop {
            let wait = count_due.unwrap_or_else(|| hand_over.map_or(due, |at| at.min(due)));
            let chunk = match answer.chunk(wait).await {
                Ok(chunk) => chunk,
                Err(_) if count_due.is_some() => None,
                Err(CallError::Timeout) if wait < due => {
                    let (answer, raw) = (Some(answer), passes.then_some(raw));
                    return Ok(Opened { answer, decoder, due: Some(due), events, raw, dropped: Vec::new() });
                }
                Err(error) => return Err(self.failed(error.into())),
            };
            let ended = chunk.is_none();
            let new = events.len();
            match chunk {
                Some(chunk) => {
                    held_bytes += chunk.len();
                    decoder.push(&chunk, &mut events);
                    if passes {
                        raw.push(chunk);
                    }
                }
                None => decoder.finish(&mut events),
            }
            let new = &events[new..];
            for event in new {
                if let StreamEvent::Usage(usage) = event {
                    counted.absorb(usage);
                }
            }
            let lost = usage::of_lost(&counted, self.job.prompt_tokens, decoder.held_bytes());
            if let Some(usage) = lost {
                report.charge_if_lost(usage, &self.model.settings.price);
            }
            if let Some(StreamEvent::Error(error)) = new.iter().find(|event| matches!(event, StreamEvent::Error(_))) {
                if lost.is_none() && decoder.saw_error() && decoder.broken_off().is_none() {
                    // The vendor refused after all, before any work.
                    report.clear_charge();
                }
                // Even where content came in the same piece: the client has seen nothing yet, so failover is possible.
                return Err(self.failed(error.clone()));
            }
            let begun = new.iter().any(|event| event.is_content() || matches!(event, StreamEvent::Finish { .. }));
            let is_broken_off = decoder.broken_off().is_some();
            if begun && !is_broken_off {
                let answer = (!ended).then_some(answer);
                let raw = passes.then_some(raw);
                return Ok(Opened { answer, decoder, due: None, events, raw, dropped: Vec::new() });
            }
            if ended || held_bytes > most_held && decoder.held_bytes() == 0 {
                return Err(self.failed(ApiError::new(ErrorKind::Upstream, "its stream holds no content")));
            }
            if is_broken_off {
                count_due.get_or_insert_with(|| Instant::now() + LAST_BYTES_TIMEOUT);
            }
            // Beyond `total` the stream is handed over, not ended.
            due = deadlines.first.max(Instant::now() + deadlines.idle);
            hand_over.get_or_insert_with(|| deadlines.hand_over());
        }
    }
}

/// Whether a model can think before it answers.
fn can_reason(model: &Model) -> bool {
    model.settings.can.contains(&Capability::Reasoning)
}

/// Whether the model may think over this request; one that cannot be told not to may do so in any case.
pub(super) fn may_think(model: &Model, request: &ChatRequest) -> bool {
    let told_not_to = request.reasoning.as_ref().is_some_and(Reasoning::is_off);
    can_reason(model) && (!told_not_to || model.settings.refuses.contains(&Refusal::NoThinking))
}

/// A whole answer as the events of the stream it should have been.
fn as_events(response: ChatResponse) -> Vec<StreamEvent> {
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
