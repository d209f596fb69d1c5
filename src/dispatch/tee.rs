//! Streams an answer to the client while measuring it.
//!
//! Where client and upstream speak the same dialect the bytes pass through as they came and are decoded on the side;
//! else each event is encoded anew. Either way the stream ends in one of three ways: the upstream said that it is
//! complete; it broke off, and the client gets an error event in its dialect; or the client went away, which drops this
//! and with it the call. What was said until then is priced in all three.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::attempt::{Deadlines, Opened};
use super::failover::Job;
use super::outcome::{Report, Status};
use crate::codec::{self, AnswerMeta, NativeMeta, StreamDecoder, StreamEncoder, WholeEvents};
use crate::protocol::{ApiError, Dialect, StreamEvent};
use crate::upstream::{Answer, Model, Permit};

/// Text of an answer that had to be JSON is kept up to here, to see whether it is.
const KEPT_TEXT: usize = 1 << 20;

/// Bytes of an answer that make a token, about.
const BYTES_PER_TOKEN: u64 = 4;

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
    at_ms: i64,
    routing: serde_json::Value,
    /// Read before the stream was handed over: events, and the bytes they came in.
    held: Option<(Vec<StreamEvent>, Vec<Bytes>)>,
    /// Bytes of the answer since the vendor last counted its tokens.
    uncounted: u64,
    /// Present until the end was told.
    report: Option<Report>,
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
        report.so_far().streamed = true;
        report.so_far().must_be_json = job.request.response_format.is_some().then(String::new);
        let mouth = if opened.raw.is_some() {
            let asked_by_us = job.dialect == Dialect::OpenAi && !job.request.stream_usage;
            Mouth::Passing(WholeEvents::new(asked_by_us))
        } else {
            let usage = job.request.stream_usage;
            Mouth::Encoding(Box::new(StreamEncoder::new(job.dialect, meta, usage)))
        };
        Self {
            model,
            permit,
            answer: opened.answer,
            decoder: opened.decoder,
            mouth,
            dialect: job.dialect,
            deadlines,
            at_ms: job.at_ms,
            routing: job.routing.clone(),
            held: Some((opened.events, opened.raw.unwrap_or_default())),
            uncounted: 0,
            report: Some(report),
        }
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
            let (events, raw) = self.read().await;
            let bytes = self.speak(&events, raw);
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
    }

    /// What comes next from the upstream.
    async fn read(&mut self) -> (Vec<StreamEvent>, Vec<Bytes>) {
        if let Some(held) = self.held.take() {
            return held;
        }
        let mut events = Vec::new();
        let Some(answer) = &mut self.answer else {
            self.decoder.finish(&mut events);
            return (events, Vec::new());
        };
        match answer.chunk(self.deadlines.next()).await {
            Ok(Some(chunk)) => {
                self.decoder.push(&chunk, &mut events);
                return (events, vec![chunk]);
            }
            Ok(None) => self.decoder.finish(&mut events),
            Err(error) => {
                let error = error.told(&self.permit.deployment().name);
                events.push(StreamEvent::Error(error));
            }
        }
        self.answer = None;
        (events, Vec::new())
    }

    fn speak(&mut self, events: &[StreamEvent], raw: Vec<Bytes>) -> Bytes {
        let mut pieces = raw;
        if let Mouth::Passing(whole) = &mut self.mouth {
            pieces.iter_mut().for_each(|piece| *piece = whole.push(std::mem::take(piece)));
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
            return self.break_off(error, out);
        }
        let finished = matches!(event, StreamEvent::Finish { .. });
        if finished {
            self.settle();
        }
        match &mut self.mouth {
            Mouth::Encoding(encoder) => encoder.encode(event, out),
            Mouth::Passing(whole) if finished => out.extend_from_slice(&whole.finish()),
            Mouth::Passing(_) => {}
        }
        if finished && let Some(report) = self.report.take() {
            report.end(Status::Ok);
        }
    }

    /// Takes one event into account.
    fn count(&mut self, event: &StreamEvent) {
        let Some(report) = &mut self.report else { return };
        if event.is_content() {
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
            StreamEvent::Finish { reason, .. } => so_far.finish = Some(*reason),
            _ => {}
        }
    }

    /// Puts a price on an answer that ends early: what the vendor has not counted of it is estimated.
    fn settle_early(&mut self) {
        let Some(report) = &mut self.report else { return };
        let so_far = report.so_far();
        let usage = so_far.usage.get_or_insert_default();
        if usage.prompt_tokens() == 0 {
            usage.input_tokens = u64::from(so_far.decision.prompt_tokens);
        }
        usage.output_tokens += std::mem::take(&mut self.uncounted).div_ceil(BYTES_PER_TOKEN);
        self.settle();
    }

    /// Puts a price on the answer before it ends.
    fn settle(&mut self) {
        let Some(report) = &mut self.report else { return };
        let latency = report.elapsed();
        let so_far = report.so_far();
        let cost = so_far.usage.map(|usage| self.model.settings.price.of(&usage));
        so_far.cost = cost.unwrap_or_default();
        if let Mouth::Encoding(encoder) = &mut self.mouth {
            encoder.settle(NativeMeta {
                cost_usd: cost.map(|cost| cost.0),
                latency_ms: Some(latency.as_millis() as u64),
                routing: self.routing.take(),
            });
        }
    }

    /// The answer broke off: an error event, and the deployment is told on.
    fn break_off(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.permit.broke_off(error.kind, std::time::Instant::now(), self.at_ms);
        self.settle_early();
        self.answer = None;
        match &mut self.mouth {
            // The upstream's own error event has passed through, as far as it had an end.
            Mouth::Passing(whole) if self.decoder.saw_error() => out.extend_from_slice(&whole.finish()),
            Mouth::Passing(_) => out.extend_from_slice(&codec::encode_stream_error(self.dialect, error)),
            Mouth::Encoding(encoder) => encoder.encode(&StreamEvent::Error(error.clone()), out),
        }
        if let Some(report) = self.report.take() {
            report.end(Status::Failed(error.kind));
        }
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
