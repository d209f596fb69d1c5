//! Logs, metrics and traces: their set-up, and their names in one place.
//!
//! **Logs** are sentences with fields, one line per request, text for people or JSON for machines. **Metrics** have
//! labels from bounded sets only: models and providers as configured, statuses, dialects; never a token, a user or an
//! id. **Spans** follow OpenTelemetry's conventions for generative AI (`gen_ai.*`) and leave by OTLP where configured.
//! No prompt, answer or key is in any of the three.

mod exporter;
mod line;
mod log;
mod metrics;
mod tail;
mod trace_context;
mod writer;

pub use line::Line;
pub use log::{Guard, SPAN_TARGET, TelemetryError, check_filter, init, init_unseen};
pub use metrics::{ClassifierFigures, DeploymentFigures, Ended, LogFigures, Metrics, Rejected};
#[cfg(test)]
pub(crate) use tail::heard;
pub use tail::{LEVELS, Tail, tail};
pub use trace_context::{join_trace, record_words};
