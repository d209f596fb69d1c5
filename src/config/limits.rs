//! How much a client may ask.

use serde::{Deserialize, Serialize};

/// Sizes, times and rates. Live, except for the room for large requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body, MiB.
    pub max_body_mb: u64,
    /// Seconds a client may take to send its body.
    pub body_timeout_s: u64,
    /// Requests answered at once (chat, embeddings, dry runs, counts); more get 429. Feedback and outcomes have
    /// permits of their own.
    pub max_in_flight: usize,
    /// Memory, in MiB, that all requests which take more than 4 MiB share while they are in memory; more get 429. Fixed
    /// at start.
    pub large_requests_mb: u64,
    /// Requests per minute of one API token, unless the token has a limit of its own; 0 = no limit.
    pub requests_per_minute: u32,
    /// Tokens (prompt and answer) per minute of one API token, likewise; 0 = no limit.
    pub tokens_per_minute: u64,
    /// US dollars that one API token may spend per day, likewise; 0 = no limit.
    pub usd_per_day: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_mb: 32,
            body_timeout_s: 30,
            max_in_flight: 1024,
            large_requests_mb: 2048,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            usd_per_day: 0.0,
        }
    }
}
