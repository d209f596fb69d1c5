//! Sends spans to a collector.
//!
//! The exporter's HTTP client needs tokio, but the SDK's own batching runs the exporter on a thread without a runtime.
//! So spans wait here in a bounded queue, and a task sends them in batches. A collector that is slow or gone costs
//! spans, which are counted, and never a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{sleep, timeout};

/// Most spans that wait to be sent.
const QUEUE_SPANS: usize = 4096;

/// Most spans sent at once.
const BATCH_SPANS: usize = 512;

/// The longest time that a batch is gathered.
const BATCH_EVERY: Duration = Duration::from_secs(2);

/// The pause before another try to put a message into a full queue.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How long a collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

enum Message {
    Span(Box<SpanData>),
    /// Send all spans before this, then confirm.
    Flush(SyncSender<()>),
}

/// Queues spans as they end.
#[derive(Debug)]
pub(super) struct SpanQueue {
    queue: mpsc::Sender<Message>,
    dropped: AtomicU64,
}

impl SpanQueue {
    /// A queue whose task runs on `runtime` until the queue is dropped. `collector` is the name in warnings.
    pub(super) fn start(
        mut exporter: impl SpanExporter + 'static,
        resource: &Resource,
        runtime: &Handle,
        collector: String,
    ) -> Self {
        exporter.set_resource(resource);
        let (queue, waiting) = mpsc::channel(QUEUE_SPANS);
        runtime.spawn(send(exporter, waiting, collector));
        Self { queue, dropped: AtomicU64::new(0) }
    }
}

async fn send(exporter: impl SpanExporter, mut waiting: mpsc::Receiver<Message>, collector: String) {
    let mut ended = false;
    while !ended {
        let (mut batch, mut flush) = (Vec::new(), None);
        let mut deadline = std::pin::pin!(sleep(BATCH_EVERY));
        while batch.len() < BATCH_SPANS {
            tokio::select! {
                message = waiting.recv() => match message {
                    Some(Message::Span(span)) => batch.push(*span),
                    Some(Message::Flush(told)) => {
                        flush = Some(told);
                        break;
                    }
                    None => {
                        ended = true;
                        break;
                    }
                },
                () = &mut deadline => break,
            }
        }
        if !batch.is_empty() {
            let spans = batch.len();
            match timeout(SEND_TIMEOUT, exporter.export(batch)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(spans, collector, error = %error, "Spans could not be sent"),
                Err(_) => tracing::warn!(spans, collector, "Spans could not be sent: the collector does not answer"),
            }
        }
        if let Some(told) = flush {
            // An error means that the flush is no longer waited for.
            let _ = told.try_send(());
        }
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.try_send(Message::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.shutdown_with_timeout(SEND_TIMEOUT)
    }

    /// Waits until all queued spans are sent. The runtime must have another thread for that.
    fn shutdown_with_timeout(&self, patience: Duration) -> OTelSdkResult {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "Spans were dropped: the collector could not keep up");
        }
        let deadline = Instant::now() + patience;
        let (told, heard) = sync_channel(1);
        let mut flush = Message::Flush(told);
        // A full queue has room again once a batch is sent.
        while let Err(refused) = self.queue.try_send(flush) {
            if Instant::now() >= deadline || matches!(refused, TrySendError::Closed(_)) {
                return Err(OTelSdkError::Timeout(patience));
            }
            std::thread::sleep(RETRY_PAUSE);
            flush = refused.into_inner();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        heard.recv_timeout(left).map_err(|_| OTelSdkError::Timeout(patience))
    }
}
