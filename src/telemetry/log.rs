//! Sets up logging, and tracing by OTLP where an endpoint is configured.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter, ParseError};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::exporter::SpanQueue;
use super::tail::IntoTail;
use super::writer::{self, WriterThread};
use crate::config::{LogFormat, Telemetry, without_credentials};

/// Spans of this target go to OTLP, and not into log lines.
pub const SPAN_TARGET: &str = "pointsman::gen_ai";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("telemetry.log: {0}")]
    Filter(#[from] ParseError),
    /// OTLP cannot be set up.
    #[error("telemetry.otlp_endpoint: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The filter would hide every line.
    #[error("telemetry.log: {0}")]
    Mistaken(String),
    /// Spans are sent by a task, and there is no tokio runtime for it.
    #[error("telemetry.otlp_endpoint: {0}")]
    NoRuntime(#[from] tokio::runtime::TryCurrentError),
    /// The writer's thread cannot be started.
    #[error("the thread that writes log lines cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// Keeps logging going; when it is dropped it sends the last spans and writes the last lines.
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
            tracing::warn!(error = %error, "The last spans were not sent");
        }
    }
}

/// Sets up logging to standard error, and spans by OTLP over HTTP where an endpoint is configured.
///
/// # Errors
///
/// When the filter or the endpoint is wrong, or logging is set up already.
pub fn init(settings: &Telemetry) -> Result<Guard, TelemetryError> {
    check_filter(&settings.log).map_err(TelemetryError::Mistaken)?;
    let (writer, thread) = writer::start(std::io::stderr(), settings.log_format == LogFormat::Json)?;
    let (text, json) = match settings.log_format {
        LogFormat::Text => (Some(writer), None),
        LogFormat::Json => (None, Some(writer)),
    };
    // Pushed only if present: an absent (`None`) layer would enable everything, all libraries' spans and trace lines
    // too.
    let mut layers = Vec::new();
    if let Some(writer) = text {
        let plain = std::env::var_os("NO_COLOR").is_some() || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        let ansi = std::io::stderr().is_terminal() && !plain;
        let text = fmt::layer().with_ansi(ansi).with_target(false).with_writer(writer);
        layers.push(text.with_filter(lines(settings)?).boxed());
    }
    layers.push(IntoTail { json }.with_filter(lines(settings)?).boxed());
    let provider = settings
        .otlp_endpoint
        .as_deref()
        .filter(|url| !url.is_empty())
        .map(|url| provider(url, &settings.service_name))
        .transpose()?;
    if let Some(provider) = &provider {
        let only = FilterFn::new(|meta| meta.is_span() && meta.target() == SPAN_TARGET);
        // Source locations and threads are no part of OpenTelemetry's conventions for these spans.
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("pointsman"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        layers.push(spans.with_filter(only.with_max_level_hint(LevelFilter::INFO)).boxed());
    }
    tracing_subscriber::registry().with(layers).try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(Guard { provider, _writer: thread })
}

/// The filter of log lines by `telemetry.log`.
///
/// It has a maximum level as a hint. Without that every library's lines would be built and then refused: sled has
/// dozens for a record, and refusing one costs some hundred instructions.
fn lines<S: Subscriber>(settings: &Telemetry) -> Result<impl Filter<S> + use<S>, ParseError> {
    let events = FilterFn::new(is_no_span as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::TRACE);
    let loud = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(&settings.log)?;
    Ok(events.and(loud))
}

/// Spans are for OTLP alone: in the filter of log lines each would cost its request a microsecond for nothing.
fn is_no_span(meta: &Metadata<'_>) -> bool {
    meta.is_event() || meta.target() != SPAN_TARGET
}

/// Checks a filter for likely mistakes: a bare word that is no level would be taken for the name of a module, and no
/// line would ever match it.
///
/// # Errors
///
/// What is wrong with the filter.
pub fn check_filter(text: &str) -> Result<(), String> {
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    match text
        .split(',')
        .map(str::trim)
        .find(|part| !part.is_empty() && !part.contains(['=', ':', '[']) && !is_level(part) || part.contains(' '))
    {
        Some(word) => Err(format!(
            "`{word}` is no level (off, error, warn, info, debug, trace) and no target=level; several are joined by commas"
        )),
        None => Ok(()),
    }
}

/// Sets up logging for the dashboard alone: nothing is written to standard error.
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
    // The exporter uses the same TLS library as the rest of the gateway.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = traces_url(endpoint);
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(&url).build()?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let queue = SpanQueue::start(exporter, &resource, &runtime, without_credentials(&url));
    Ok(SdkTracerProvider::builder().with_span_processor(queue).with_resource(resource).build())
}

/// The URL that spans are posted to; `endpoint` is the collector's address, with or without `/v1/traces`, perhaps with
/// a query that holds a key.
fn traces_url(endpoint: &str) -> String {
    let (address, query) = endpoint.split_at(endpoint.find('?').unwrap_or(endpoint.len()));
    let address = address.trim_end_matches('/');
    format!("{}/v1/traces{query}", address.strip_suffix("/v1/traces").unwrap_or(address))
}

#[cfg(test)]
mod tests {
    use super::check_filter;

    #[test]
    fn an_endpoint_may_be_the_collector_s_or_that_of_traces() {
        for endpoint in ["http://h:4318", "http://h:4318/", "http://h:4318/v1/traces", "http://h:4318/v1/traces/"] {
            assert_eq!(traces_url(endpoint), "http://h:4318/v1/traces", "{endpoint}");
        }
        assert_eq!(traces_url("https://h/otlp"), "https://h/otlp/v1/traces");
        for endpoint in ["https://h?key=a/b", "https://h/?key=a/b", "https://h/v1/traces?key=a/b"] {
            assert_eq!(traces_url(endpoint), "https://h/v1/traces?key=a/b", "{endpoint}");
        }
    }

    #[test]
    fn a_misspelt_level_is_told() {
        for good in ["info", "WARN", "off", "info,pointsman::dispatch=debug", "pointsman=trace,hyper=off"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["infoo", "warning", "no/such=level=x", "warn,verbose", "info pointsman=debug", "zzz=qq"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }

    use tracing_subscriber::registry::Registry;

    use super::*;

    #[test]
    fn no_library_is_asked_for_lines_that_nobody_wants() {
        let loudest = |log: &str| {
            let settings = Telemetry { log: log.to_owned(), ..Telemetry::default() };
            let layers = vec![IntoTail::default().with_filter(lines::<Registry>(&settings).unwrap()).boxed()];
            tracing_subscriber::registry().with(layers).max_level_hint()
        };
        assert_eq!(loudest("info"), Some(LevelFilter::INFO));
        assert_eq!(loudest("warn,pointsman=debug"), Some(LevelFilter::DEBUG));
    }
}
