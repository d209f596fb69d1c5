//! Streams an answer to the client while measuring it.
//!
//! Where client and upstream speak the same dialect the bytes pass through as they came and are decoded on the side;
//! else each event is encoded anew. Either way the stream ends in one of four ways: the upstream said that it is
//! complete; it broke off, or the gateway closes, and the client gets an error event in its dialect; or the client
//! went away, which drops this and with it the call. What was said until then is priced in all four. Where an answer
//! has to be kept to be told (the last event of OpenAI's Responses repeats all of it) it breaks off when it is larger
//! than a whole one may be.
//!
//! A client that hears nothing for long (the model thinks) gets a sign of life in its dialect: else a proxy on the
//! way, or the client itself, would take the connection for dead.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Deadlines, Opened};
use super::job::Job;
use super::outcome::Report;
use super::usage::estimated;
use crate::codec::{self, AnswerMeta, NativeMeta, StreamDecoder, StreamEncoder, WholeEvents};
use crate::protocol::{ApiError, Dialect, ErrorKind, OutcomeStatus, StreamEvent};
use crate::upstream::{Answer, CallError, Model, Permit, Verdict};

/// Text of an answer that had to be JSON is kept up to here, to see whether it is.
const KEPT_TEXT: usize = 1 << 20;

/// The end of a body is waited for so long after the end of what it says, so that its connection may serve again.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How the client gets its bytes.
enum Mouth {
    /// As they came.
    Passing(WholeEvents),
    /// Encoded anew.
    Encoding(Box<StreamEncoder>),
}

/// A stream on its way.
pub(super) struct Tee {
    model: Arc<Model>,
    permit: Permit,
    answer: Option<Answer>,
    decoder: StreamDecoder,
    mouth: Mouth,
    dialect: Dialect,
    deadlines: Deadlines,
    /// When the next piece must be here; absent = one just came.
    due: Option<Instant>,
    /// When the client must hear something again; absent = it just did.
    sign: Option<Instant>,
    at_ms: i64,
    routing: serde_json::Value,
    /// Read before the stream was handed over: events, and the bytes they came in.
    held: Option<(Vec<StreamEvent>, Vec<Bytes>)>,
    /// Bytes of the answer since the vendor last counted its tokens.
    uncounted: u64,
    /// The gateway closes when this is over.
    closing: CancellationToken,
    /// Present until the end was told.
    report: Option<Report>,
}

/// What a stream hears next.
enum Heard {
    /// Pieces of the answer: events, and the bytes they came in where they pass through.
    Pieces(Vec<StreamEvent>, Vec<Bytes>),
    /// Nothing for long.
    Silence,
    /// The gateway closes.
    Closing,
}

impl Tee {
    pub(super) fn new(
        model: Arc<Model>,
        permit: Permit,
        opened: Opened,
        job: &Job,
        deadlines: Deadlines,
        meta: AnswerMeta,
        mut report: Report,
    ) -> Self {
        // That of calls before this one; it is in what was lost.
        report.so_far().usage = None;
        report.so_far().streamed = true;
        report.so_far().must_be_json = job.request.response_format.is_some().then(String::new);
        let mouth = if opened.raw.is_some() {
            let asked_by_us = job.dialect == Dialect::OpenAi && !job.request.stream_usage;
            Mouth::Passing(WholeEvents::new(asked_by_us))
        } else {
            let usage = job.request.stream_usage;
            Mouth::Encoding(Box::new(StreamEncoder::new(job.dialect, meta, usage)))
        };
        let routing = job.routing(&report.so_far().decision, &model.name, &permit.deployment().name);
        Self {
            model,
            permit,
            answer: opened.answer,
            decoder: opened.decoder,
            mouth,
            dialect: job.dialect,
            deadlines,
            due: None,
            sign: None,
            at_ms: job.at_ms,
            routing,
            held: Some((opened.events, opened.raw.unwrap_or_default())),
            uncounted: 0,
            closing: CancellationToken::new(),
            report: Some(report),
        }
    }

    /// With an end, should `closing` be over before the answer is.
    pub(super) fn until(mut self, closing: CancellationToken) -> Self {
        self.closing = closing;
        self
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Result<Bytes, Infallible>> {
        stream::unfold(self, |mut tee| async move {
            let bytes = tee.next().await?;
            Some((Ok(bytes), tee))
        })
        .boxed()
    }

    /// The next bytes for the client; `None` at the end. Never an empty piece, which would end a chunked body.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.report.as_ref()?;
            let bytes = match self.read().await {
                Heard::Pieces(events, raw) => self.speak(&events, raw),
                Heard::Silence => codec::sign_of_life(self.dialect),
                Heard::Closing => self.close(),
            };
            if !bytes.is_empty() {
                self.sign = None;
                return Some(bytes);
            }
        }
    }

    /// What comes next.
    async fn read(&mut self) -> Heard {
        if let Some((events, raw)) = self.held.take() {
            return Heard::Pieces(events, raw);
        }
        let mut events = Vec::new();
        let Some(answer) = &mut self.answer else {
            self.decoder.finish(&mut events);
            return Heard::Pieces(events, Vec::new());
        };
        // Counted from when somebody waits for it: a client that takes its time is not the vendor's silence.
        let due = *self.due.get_or_insert_with(|| self.deadlines.next());
        let sign = *self.sign.get_or_insert_with(|| Instant::now() + self.deadlines.sign_of_life);
        let chunk = tokio::select! {
            biased;
            chunk = answer.chunk(due.min(sign)) => chunk,
            () = self.closing.cancelled() => return Heard::Closing,
        };
        match chunk {
            Ok(Some(chunk)) => {
                self.due = None;
                self.decoder.push(&chunk, &mut events);
                return Heard::Pieces(events, vec![chunk]);
            }
            Ok(None) => self.decoder.finish(&mut events),
            Err(CallError::Timeout) if sign < due => return Heard::Silence,
            Err(error) => {
                let error = error.told(&self.permit.deployment().name);
                events.push(StreamEvent::Error(error));
            }
        }
        self.answer = None;
        Heard::Pieces(events, Vec::new())
    }

    fn speak(&mut self, events: &[StreamEvent], raw: Vec<Bytes>) -> Bytes {
        let mut pieces = raw;
        if let Mouth::Passing(whole) = &mut self.mouth {
            pieces.iter_mut().for_each(|piece| *piece = whole.push(std::mem::take(piece)));
            // The decoder knows errors of the usual form alone; a proxy's plain words, for instance, it passes over.
            let secrets = self.permit.deployment().provider.secrets();
            let searched = |piece: &Bytes| self.decoder.saw_error() || secrets.stand_in(piece);
            for piece in pieces.iter_mut().filter(|piece| searched(piece)) {
                *piece = secrets.hide_in_events(std::mem::take(piece));
            }
        } else {
            pieces.clear();
        }
        let mut said = BytesMut::new();
        for event in events {
            self.hear(event, &mut said);
        }
        if !said.is_empty() {
            pieces.push(said.freeze());
        }
        // The usual case: one piece in, the same piece out, no copy.
        if pieces.len() == 1 { pieces.remove(0) } else { Bytes::from(pieces.concat()) }
    }

    /// Takes one event into account, and encodes it where bytes do not pass through.
    fn hear(&mut self, event: &StreamEvent, out: &mut BytesMut) {
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
            // Some servers never count, or not to the end.
            self.settle_early();
            went_well(&mut self.permit, self.at_ms);
            if let Some(answer) = self.answer.take() {
                read_out(answer);
            }
        }
        match &mut self.mouth {
            Mouth::Encoding(encoder) => encoder.encode(event, out),
            Mouth::Passing(whole) if finished => {
                let secrets = self.permit.deployment().provider.secrets();
                out.extend_from_slice(&secrets.hide_in_events(whole.finish()));
            }
            Mouth::Passing(_) => {}
        }
        if finished && let Some(report) = self.report.take() {
            report.end(OutcomeStatus::Ok);
        }
        if self.keeps_too_much() {
            let error = CallError::TooLarge(self.deadlines.limit).told(&self.permit.deployment().name);
            self.break_off(&error, out);
        }
    }

    /// Whether an answer under way, of which something has to be kept, is larger than a whole one may be.
    fn keeps_too_much(&self) -> bool {
        let kept = match &self.mouth {
            Mouth::Encoding(encoder) => encoder.kept(),
            Mouth::Passing(_) => 0,
        };
        kept > self.deadlines.limit && self.report.is_some()
    }

    /// Takes one event into account.
    fn count(&mut self, event: &StreamEvent) {
        let Some(report) = &mut self.report else { return };
        if event.is_content() {
            if report.so_far().first_token.is_none() {
                went_well(&mut self.permit, self.at_ms);
                self.deadlines.begun();
            }
            report.first_content();
            let thinking = matches!(
                event,
                StreamEvent::Thinking(_) | StreamEvent::ThinkingSignature(_) | StreamEvent::RedactedThinking(_)
            );
            report.so_far().empty &= thinking;
            self.uncounted += event.answer_bytes() as u64;
        }
        let so_far = report.so_far();
        match (event, &mut so_far.must_be_json) {
            (StreamEvent::Text(text), Some(kept)) if kept.len() + text.len() <= KEPT_TEXT => kept.push_str(text),
            (StreamEvent::Text(_) | StreamEvent::ToolCall(_), kept) => *kept = None,
            _ => {}
        }
        match event {
            StreamEvent::Usage(usage) => {
                so_far.usage.get_or_insert_default().absorb(usage);
                self.uncounted = 0;
            }
            StreamEvent::Start { id, .. } if !id.is_empty() => so_far.answer_id = Some(id.clone()),
            StreamEvent::Finish { reason, .. } => so_far.finish = Some(*reason),
            _ => {}
        }
    }

    /// Puts a price on the answer as far as it came: what the vendor has not counted of it is estimated.
    fn settle_early(&mut self) {
        let Some(report) = &mut self.report else { return };
        let so_far = report.so_far();
        let said = so_far.usage.unwrap_or_default();
        so_far.usage = Some(estimated(said, so_far.decision.prompt_tokens, std::mem::take(&mut self.uncounted)));
        self.settle();
    }

    /// Puts a price on the answer before it ends.
    fn settle(&mut self) {
        let Some(report) = &mut self.report else { return };
        let usage = report.so_far().usage.unwrap_or_default();
        report.settle(usage, &self.model.settings.price);
        if let Mouth::Encoding(encoder) = &mut self.mouth {
            encoder.settle(NativeMeta {
                cost_usd: Some(report.so_far().cost.0),
                latency_ms: Some(report.elapsed().as_millis() as u64),
                routing: self.routing.take(),
            });
        }
    }

    /// The answer broke off: an error event, and the deployment is told on; not where it is merely no call.
    fn break_off(&mut self, error: &ApiError, out: &mut BytesMut) {
        let now = std::time::Instant::now();
        if self.decoder.is_no_call() {
            self.permit.settle(&Verdict::Unrelated, now, self.at_ms);
        } else {
            self.permit.broke_off(error, now, self.at_ms);
        }
        self.end_early(error, OutcomeStatus::Failed(error.kind), out);
    }

    /// The gateway closes: an error event, and nobody is to blame.
    fn close(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        self.end_early(&closed(), OutcomeStatus::Cancelled, &mut out);
        out.freeze()
    }

    fn end_early(&mut self, error: &ApiError, status: OutcomeStatus, out: &mut BytesMut) {
        self.settle_early();
        self.answer = None;
        match &mut self.mouth {
            // The upstream's own error event has passed through, as far as it had an end.
            Mouth::Passing(whole) if self.decoder.saw_error() => {
                let secrets = self.permit.deployment().provider.secrets();
                out.extend_from_slice(&secrets.hide_in_events(whole.finish()));
            }
            Mouth::Passing(_) => out.extend_from_slice(&codec::encode_stream_error(self.dialect, error)),
            Mouth::Encoding(encoder) => encoder.encode(&StreamEvent::Error(error.clone()), out),
        }
        if let Some(report) = self.report.take() {
            report.end(status);
        }
    }
}

/// What ends an answer that is not over when the gateway closes.
pub(super) fn closed() -> ApiError {
    let error = ApiError::new(ErrorKind::Unavailable, "the gateway shuts down: ask again in a moment");
    error.after(Duration::from_secs(1))
}

/// Says of a call that was handed over before its first piece that this is here now; of others it was said already.
fn went_well(permit: &mut Permit, at_ms: i64) {
    let now = std::time::Instant::now();
    let good = Verdict::Good(permit.age(now));
    permit.settle(&good, now, at_ms);
}

/// Reads what is left of a body that has said all it had to say: mostly its end, which may come a moment later. A
/// connection whose answer was not read to its end cannot be used again.
fn read_out(mut answer: Answer) {
    let rest = async move {
        let deadline = Instant::now() + LAST_BYTES;
        while let Ok(Some(_)) = answer.chunk(deadline).await {}
    };
    let mut rest = Box::pin(rest);
    if rest.as_mut().now_or_never().is_none() {
        tokio::spawn(rest);
    }
}

/// The client went away, or nobody asked for the rest: what was said is paid for.
impl Drop for Tee {
    fn drop(&mut self) {
        for event in self.held.take().into_iter().flat_map(|(events, _)| events) {
            self.count(&event);
        }
        self.settle_early();
    }
}
