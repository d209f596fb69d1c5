//! Adds to spans what `tracing` cannot: list attributes, and the client's trace as parent.

use std::collections::HashMap;

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Array, StringValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Sets a list of words as an attribute of a span.
pub fn record_words(span: &Span, key: &'static str, words: &[&'static str]) {
    let words = words.iter().map(|word| StringValue::from(*word)).collect();
    span.set_attribute(key, Value::Array(Array::String(words)));
}

/// Makes a span part of the client's trace, if the request's headers name one (W3C "Trace Context"). To be called
/// before the span is entered.
pub fn join_trace(span: &Span, headers: &HeaderMap) {
    let sent = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    let sent: HashMap<String, String> = ["traceparent", "tracestate"].into_iter().filter_map(sent).collect();
    let context = TraceContextPropagator::new().extract(&sent);
    if context.span().span_context().is_valid() && span.set_parent(context).is_err() {
        tracing::debug!("A span could not join its client's trace: it had begun before");
    }
}
