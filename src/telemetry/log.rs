//! Sets up logging, and tracing by OTLP where it is asked for.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::spans::SpanQueue;
use super::tail::IntoTail;
use super::writer::{self, WriterThread};
use crate::config::{LogFormat, Telemetry};

/// Spans of this target go to OTLP, and not into log lines.
pub const SPAN_TARGET: &str = "pointsman::gen_ai";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("telemetry.log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// OTLP cannot be set up.
    #[error("telemetry.otlp_endpoint: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Spans are sent by a task, and there is no runtime for it.
    #[error("telemetry.otlp_endpoint: {0}")]
    NoRuntime(#[from] tokio::runtime::TryCurrentError),
    /// The log has no thread.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// It was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// Sends the last spans on their way and writes the last lines when it is dropped.
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    _writer: WriterThread,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown()
        {
            eprintln!("pointsman: the last spans were not sent: {error}");
        }
    }
}

/// Sets up logging to standard error, and spans by OTLP over HTTP where an endpoint is configured.
///
/// # Errors
///
/// When the filter or the endpoint is wrong, or logging is set up already.
pub fn init(settings: &Telemetry) -> Result<Guard, TelemetryError> {
    let (writer, thread) = writer::start(std::io::stderr())?;
    let filter = || EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(&settings.log);
    let (text, json) = match settings.log_format {
        LogFormat::Text => (Some(writer), None),
        LogFormat::Json => (None, Some(writer)),
    };
    let text = text.map(|writer| {
        let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        fmt::layer().with_ansi(ansi).with_target(false).with_writer(writer)
    });
    let events = || FilterFn::new(is_no_span as fn(&Metadata<'_>) -> bool);
    let provider = settings.otlp_endpoint.as_deref().map(|url| provider(url, &settings.service_name)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let only = FilterFn::new(|meta| meta.is_span() && meta.target() == SPAN_TARGET);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("pointsman")).with_filter(only)
    });
    tracing_subscriber::registry()
        .with(text.with_filter(events().and(filter()?)))
        .with(IntoTail { json }.with_filter(events().and(filter()?)))
        .with(spans)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(Guard { provider, _writer: thread })
}

/// Spans are for OTLP alone: kept for the log too, each would cost its request a microsecond, and say nothing.
fn is_no_span(meta: &Metadata<'_>) -> bool {
    meta.is_event() || meta.target() != SPAN_TARGET
}

/// Sets up logging for the dashboard's eyes alone: nothing is written anywhere.
///
/// # Errors
///
/// When the filter is wrong, or logging is set up already.
pub fn init_unseen(settings: &Telemetry) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(&settings.log)?;
    let lines = IntoTail::default().with_filter(filter);
    tracing_subscriber::registry().with(lines).try_init().map_err(|_| TelemetryError::Twice)
}

fn provider(endpoint: &str, service: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let runtime = tokio::runtime::Handle::try_current()?;
    // The exporter speaks TLS through the same library as all else.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let queue = SpanQueue::start(exporter, &resource, &runtime);
    Ok(SdkTracerProvider::builder().with_span_processor(queue).with_resource(resource).build())
}
