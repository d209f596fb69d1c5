//! Logs and traces.

use serde::{Deserialize, Serialize};

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text, for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Logs and traces. Fixed at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The format of log lines.
    pub log_format: LogFormat,
    /// What is logged: a level, or `target=level` pairs (`info,pointsman::dispatch=debug`).
    pub log: String,
    /// Where spans are sent by OTLP over HTTP (`http://localhost:4318`, with or without `/v1/traces`); absent =
    /// nowhere.
    pub otlp_endpoint: Option<String>,
    /// The service's name in traces.
    pub service_name: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::default(),
            log: "info".into(),
            otlp_endpoint: None,
            service_name: "pointsman".into(),
        }
    }
}
