//! Streams an answer to the client while measuring it.
//!
//! Where client and upstream speak the same dialect the bytes pass through unchanged and are decoded on the side;
//! else each event is encoded anew. Either way the stream ends in one of four ways: the upstream says that it is
//! complete (or breaks off, or falls silent, once it has said all of the answer); it breaks off before that,
//! or the gateway shuts down, and the client gets an error event in its dialect; or the client goes away, which drops
//! the [`Tee`] and with it the call, unless all of the answer is here: then its usage is waited for, for a second, and
//! it counts as complete. The answer as far as it came is priced in all four. Where the answer has to be kept (the last
//! event of OpenAI's Responses repeats all of it), it breaks off when it grows larger than a whole answer may be; and
//! where it passes through, when one of its events does.
//!
//! During a long silence (the model thinks) the client gets a sign of life in its dialect: else a proxy on the way,
//! or the client itself, would take the connection for dead.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Deadlines, LAST_BYTES_TIMEOUT, Opened};
use super::outcome::{Report, Setback};
use super::reply::Answering;
use super::usage::estimated;
use crate::codec::{self, AnswerMeta, Begun, StreamDecoder, StreamEncoder, WholeEvents};
use crate::protocol::{ApiError, Dialect, ErrorKind, MAX_PLAUSIBLE_TOKENS, OutcomeStatus, StreamEvent};
use crate::upstream::{Answer, CallError, CallVerdict, Model, Permit};

/// Text of an answer that had to be JSON is kept up to this length, to see whether it is JSON.
const MAX_JSON_TEXT_BYTES: usize = 1 << 20;

/// How the client gets the answer.
enum Output {
    /// The upstream's bytes, in whole events.
    Passthrough(WholeEvents),
    /// Each event encoded in the client's dialect.
    Encoded(Box<StreamEncoder>),
}

/// A stream on its way to the client.
pub(super) struct Tee {
    model: Arc<Model>,
    permit: Permit,
    answer: Option<Answer>,
    decoder: StreamDecoder,
    output: Output,
    dialect: Dialect,
    deadlines: Deadlines,
    /// When the upstream's next piece must be here; `None` = to be set when the client asks for more.
    due: Option<Instant>,
    /// When the client must get a sign of life; `None` = to be set when the client asks for more.
    sign_due: Option<Instant>,
    at_ms: i64,
    routing: serde_json::Value,
    /// Pieces read before the stream was handed over: events, and the bytes they came in.
    held: Option<(Vec<StreamEvent>, Vec<Bytes>)>,
    /// Bytes of the answer since the vendor last counted its tokens.
    uncounted_bytes: u64,
    /// Whether the vendor runs a tool of its own, as far as is known.
    works: bool,
    /// Cancelled when the gateway shuts down.
    closing: CancellationToken,
    /// Taken when the end is reported.
    report: Option<Report>,
}

/// What comes next from the upstream.
enum Input {
    /// Pieces of the answer: events, and the bytes they came in where they pass through.
    Pieces(Vec<StreamEvent>, Vec<Bytes>),
    /// Nothing, for so long that the client needs a sign of life.
    Silence,
    /// The gateway shuts down.
    Closing,
}

impl Tee {
    pub(super) fn new(
        answering: Answering<'_>,
        permit: Permit,
        opened: Opened,
        meta: AnswerMeta,
        mut report: Report,
    ) -> Self {
        let Answering { model, job, settings, closing } = answering;
        report.outcome_mut().streamed = true;
        report.outcome_mut().must_be_json = job.request.response_format.is_some().then(String::new);
        let output = if opened.raw.is_some() {
            let asked_by_us = job.dialect == Dialect::OpenAi && !job.request.stream_usage;
            Output::Passthrough(WholeEvents::new(asked_by_us))
        } else {
            let usage = job.request.stream_usage;
            let provider = &permit.deployment().provider;
            let begun = Begun::of(job.dialect, provider.dialect, &provider.quirks, &job.request);
            Output::Encoded(Box::new(StreamEncoder::new(job.dialect, meta, usage).after(begun)))
        };
        let routing = job.routing(&report.outcome_mut().decision, &model.name, &permit.deployment().name);
        Self {
            model: Arc::clone(model),
            permit,
            answer: opened.answer,
            decoder: opened.decoder,
            output,
            dialect: job.dialect,
            deadlines: Deadlines::of_stream(settings, opened.due),
            due: None,
            sign_due: None,
            at_ms: job.at_ms,
            routing,
            held: Some((opened.events, opened.raw.unwrap_or_default())),
            uncounted_bytes: 0,
            works: false,
            closing,
            report: Some(report),
        }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Result<Bytes, Infallible>> {
        stream::unfold(Handed(Some(self)), |mut handed| async move {
            let bytes = handed.0.as_mut()?.next().await?;
            Some((Ok(bytes), handed))
        })
        .boxed()
    }

    /// Reads on for the usage of an answer whose client has gone with all of it, and reports a complete answer, or one
    /// that its vendor broke off.
    async fn read_usage(mut self) {
        let deadline = Instant::now() + LAST_BYTES_TIMEOUT;
        let mut events = Vec::new();
        while let Some(answer) = &mut self.answer
            && let Ok(Some(chunk)) = answer.chunk(deadline).await
        {
            self.decoder.push(&chunk, &mut events);
            events.drain(..).for_each(|event| self.count(&event));
        }
        if let Some(error) = self.decoder.broken_off().cloned() {
            return self.break_off(&error, &mut BytesMut::new());
        }
        self.settle();
        self.permit.settle_good(std::time::Instant::now(), self.at_ms);
        if let Some(report) = self.report.take() {
            report.end(OutcomeStatus::Ok);
        }
    }

    /// The next bytes for the client; `None` at the end. Never an empty piece, which would end a chunked body.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.report.as_ref()?;
            let bytes = match self.read().await {
                Input::Pieces(events, raw) => self.forward(&events, raw),
                Input::Silence => codec::sign_of_life(self.dialect),
                Input::Closing => self.close(),
            };
            if !bytes.is_empty() {
                self.sign_due = None;
                return Some(bytes);
            }
        }
    }

    /// Waits for the upstream's next piece, a silence, or the shutdown.
    async fn read(&mut self) -> Input {
        if let Some((events, raw)) = self.held.take() {
            return Input::Pieces(events, raw);
        }
        let mut events = Vec::new();
        let Some(answer) = &mut self.answer else {
            self.decoder.finish(&mut events);
            return Input::Pieces(events, Vec::new());
        };
        let has_begun = self.report.as_mut().is_some_and(|report| report.outcome_mut().first_token.is_some());
        let is_counted = has_begun && self.uncounted_bytes == 0 && self.decoder.is_at_end();
        let is_broken_off = self.decoder.broken_off().is_some();
        // Set only when the client asks for more: a slow client is not the vendor's silence.
        let due = *self.due.get_or_insert_with(|| match is_counted || is_broken_off {
            // Nothing but the stream's own end is to come, or a count, and some servers leave that out.
            true => self.deadlines.next_piece().min(Instant::now() + LAST_BYTES_TIMEOUT),
            false => self.deadlines.next_piece(),
        });
        let sign = *self.sign_due.get_or_insert_with(|| Instant::now() + self.deadlines.sign_of_life);
        let chunk = tokio::select! {
            biased;
            chunk = answer.chunk(due.min(sign)) => chunk,
            () = self.closing.cancelled() => return Input::Closing,
        };
        match chunk {
            Ok(Some(chunk)) => {
                // What was broken off gets no more time.
                self.due = self.due.filter(|_| is_broken_off);
                self.decoder.push(&chunk, &mut events);
                return Input::Pieces(events, vec![chunk]);
            }
            Ok(None) => self.decoder.finish(&mut events),
            Err(CallError::Timeout) if sign < due => return Input::Silence,
            Err(_) if self.decoder.is_at_end() || is_broken_off => self.decoder.finish(&mut events),
            Err(error) => {
                let error = ApiError::from(error).told_by(&self.permit.deployment().name);
                events.push(StreamEvent::Error(error));
            }
        }
        self.answer = None;
        Input::Pieces(events, Vec::new())
    }

    fn forward(&mut self, events: &[StreamEvent], raw: Vec<Bytes>) -> Bytes {
        let mut pieces = raw;
        if let Output::Passthrough(whole) = &mut self.output {
            let is_broken_off = self.decoder.broken_off().is_some();
            if is_broken_off {
                // An error event of the gateway's own is to follow.
                whole.leave_out_end();
            }
            pieces.iter_mut().for_each(|piece| *piece = whole.push(std::mem::take(piece)));
            // The decoder sees only errors of the usual form; it ignores a proxy's plain text, for instance.
            let secrets = self.permit.deployment().provider.secrets();
            let tells_error = self.decoder.saw_error() || is_broken_off;
            let searched = |piece: &Bytes| tells_error || secrets.stand_in(piece);
            for piece in pieces.iter_mut().filter(|piece| searched(piece)) {
                *piece = secrets.hide_in_events(std::mem::take(piece));
            }
        } else {
            pieces.clear();
        }
        let mut encoded = BytesMut::new();
        for event in events {
            self.on_event(event, &mut encoded);
        }
        if !encoded.is_empty() {
            pieces.push(encoded.freeze());
        }
        // The usual case: one piece in, the same piece out, no copy.
        if pieces.len() == 1 { pieces.remove(0) } else { Bytes::from(pieces.concat()) }
    }

    /// Takes one event into account, and encodes it where bytes do not pass through.
    fn on_event(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        if self.report.is_none() {
            return;
        }
        self.count(event);
        if let StreamEvent::Error(error) = event {
            let mut error = error.clone();
            self.permit.deployment().provider.secrets().hide_in_error(&mut error);
            return self.break_off(&error, out);
        }
        let finished = matches!(event, StreamEvent::Finish { .. });
        if finished {
            // Some servers never count tokens, or not to the end.
            self.settle();
            self.permit.settle_good(std::time::Instant::now(), self.at_ms);
            if let Some(answer) = self.answer.take() {
                read_to_end(answer);
            }
        }
        match &mut self.output {
            Output::Encoded(encoder) => {
                let settled = self.report.as_mut().and_then(|report| report.outcome_mut().usage);
                if let (true, Some(usage)) = (finished, settled) {
                    // The client is told what is charged, estimates of what the vendor did not count included.
                    encoder.encode(&StreamEvent::Usage(usage), out);
                }
                encoder.encode(event, out);
            }
            Output::Passthrough(whole) if finished => {
                let rest = whole.finish();
                // Half an event is none.
                if !self.decoder.is_torn() {
                    let secrets = self.permit.deployment().provider.secrets();
                    out.extend_from_slice(&secrets.hide_in_events(rest));
                }
                if self.decoder.is_unmarked() {
                    out.extend_from_slice(codec::end_of_stream(self.dialect));
                }
            }
            Output::Passthrough(_) => {}
        }
        if finished && let Some(report) = self.report.take() {
            report.end(OutcomeStatus::Ok);
        }
        if self.keeps_too_much() {
            let error = ApiError::from(CallError::TooLarge(self.deadlines.limit));
            let error = error.told_by(&self.permit.deployment().name);
            self.break_off(&error, out);
        }
    }

    /// Whether more is kept of an unfinished answer than a whole answer may have.
    fn keeps_too_much(&self) -> bool {
        let kept = match &self.output {
            Output::Encoded(encoder) => encoder.kept(),
            Output::Passthrough(_) => 0,
        };
        kept > self.deadlines.limit && self.report.is_some()
    }

    /// Adds one event to the outcome.
    fn count(&mut self, event: &StreamEvent) {
        let Some(report) = &mut self.report else { return };
        if event.is_content() {
            let is_first = report.outcome_mut().first_token.is_none();
            if is_first {
                self.permit.settle_good(std::time::Instant::now(), self.at_ms);
            }
            let works = matches!(event, StreamEvent::Foreign(_));
            if works {
                self.deadlines.work_began();
            } else if is_first || self.works {
                self.deadlines.content_began();
            }
            self.works = works;
            report.first_content();
            report.outcome_mut().empty &= !event.says_something();
            self.uncounted_bytes += event.answer_bytes() as u64;
        }
        let outcome = report.outcome_mut();
        match (event, &mut outcome.must_be_json) {
            (StreamEvent::Text(text), Some(kept)) if kept.len() + text.len() <= MAX_JSON_TEXT_BYTES => {
                kept.push_str(text)
            }
            (StreamEvent::Text(_) | StreamEvent::ToolCall(_), kept) => *kept = None,
            _ => {}
        }
        match event {
            StreamEvent::Usage(usage) => {
                let counted = outcome.usage.get_or_insert_default();
                // A count of the prompt alone, one that is behind, or one that cannot be true counts nothing more of
                // the answer. One that repeats what is known does: some servers tell the whole count in each piece.
                let least = counted.output_tokens.max(1);
                if (least..=MAX_PLAUSIBLE_TOKENS).contains(&usage.output_tokens) {
                    self.uncounted_bytes = 0;
                }
                counted.absorb(usage);
            }
            StreamEvent::Start { id, .. } if !id.is_empty() => outcome.answer_id = Some(id.clone()),
            StreamEvent::Finish { reason, .. } => outcome.finish = Some(*reason),
            _ => {}
        }
    }

    /// Prices the answer as far as it came; tokens that the vendor has not counted are estimated.
    fn settle(&mut self) {
        let Some(report) = &mut self.report else { return };
        let outcome = report.outcome_mut();
        let counted = outcome.usage.unwrap_or_default();
        let uncounted = std::mem::take(&mut self.uncounted_bytes) + self.decoder.held_bytes();
        let usage = estimated(counted, outcome.decision.prompt_tokens, uncounted);
        report.settle(usage, &self.model.settings.price);
        if let Output::Encoded(encoder) = &mut self.output {
            encoder.settle(report.native_meta(self.routing.take()));
        }
    }

    /// Ends an answer that broke off: an error event, and a failure of the deployment, unless the model alone is at fault.
    fn break_off(&mut self, error: &ApiError, out: &mut BytesMut) {
        let now = std::time::Instant::now();
        if error.by_model {
            self.permit.settle(&CallVerdict::Unrelated, now, self.at_ms);
        } else {
            self.permit.broke_off(error, now, self.at_ms);
        }
        if let Some(report) = &mut self.report {
            let model = self.model.name.clone();
            report.outcome_mut().causes.push(Setback { model, kind: error.kind, called: true });
        }
        self.end_early(error, OutcomeStatus::Failed(error.kind), out);
    }

    /// Ends the answer because the gateway shuts down: an error event, and no failure of the deployment.
    fn close(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        self.end_early(&shutting_down(), OutcomeStatus::Cancelled, &mut out);
        out.freeze()
    }

    fn end_early(&mut self, error: &ApiError, status: OutcomeStatus, out: &mut BytesMut) {
        self.settle();
        let body_ended = self.answer.take().is_none();
        let told = ApiError { kind: error.kind.for_client(), ..error.clone() };
        match &mut self.output {
            // The upstream's own error event has passed through, unless the body ended before the event did. Half an event
            // behind it is none.
            Output::Passthrough(whole) if self.decoder.saw_error() => {
                if body_ended {
                    let secrets = self.permit.deployment().provider.secrets();
                    out.extend_from_slice(&secrets.hide_in_events(whole.finish()));
                }
            }
            Output::Passthrough(_) => out.extend_from_slice(&codec::encode_stream_error(self.dialect, &told)),
            Output::Encoded(encoder) => encoder.encode(&StreamEvent::Error(told), out),
        }
        if let Some(report) = self.report.take() {
            report.end(status);
        }
    }
}

/// A stream in its client's hands.
struct Handed(Option<Tee>);

/// The client went away, or has read the stream to its end.
impl Drop for Handed {
    fn drop(&mut self) {
        let Some(tee) = self.0.take() else { return };
        // What is held was never handed over.
        if tee.report.is_some()
            && tee.held.is_none()
            && tee.decoder.is_over()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tee.read_usage());
        }
    }
}

/// The error that ends unfinished answers at shutdown.
pub(super) fn shutting_down() -> ApiError {
    let error = ApiError::new(ErrorKind::Unavailable, "the gateway shuts down: ask again in a moment");
    error.after(Duration::from_secs(1))
}

/// Reads the rest of a body after its last event, mostly just its end, which may come a moment later. A connection
/// whose answer was not read to its end cannot be used again.
fn read_to_end(mut answer: Answer) {
    let rest = async move {
        let deadline = Instant::now() + LAST_BYTES_TIMEOUT;
        while let Ok(Some(_)) = answer.chunk(deadline).await {}
    };
    let mut rest = Box::pin(rest);
    if rest.as_mut().now_or_never().is_none() {
        tokio::spawn(rest);
    }
}

/// The client went away: the answer as far as it came is paid for.
impl Drop for Tee {
    fn drop(&mut self) {
        for event in self.held.take().into_iter().flat_map(|(events, _)| events) {
            self.count(&event);
        }
        self.settle();
    }
}
