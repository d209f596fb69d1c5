//! Deadlines, retries, breakers: how hard the gateway tries.

use serde::{Deserialize, Serialize};

/// How a plan is carried out. Live, except for connecting, the proxy and the room for large answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispatch {
    /// Most upstream calls for one request, over all models and retries.
    pub max_attempts: u32,
    /// Most calls to one model before the next candidate is tried.
    pub attempts_per_model: u32,
    /// Milliseconds to connect. Fixed at start.
    pub connect_timeout_ms: u64,
    /// The HTTP proxy through which vendors are called (`http://[user:password@]host:port`); none if absent or empty.
    /// Fixed at start.
    pub proxy: Option<String>,
    /// Hosts, domains and networks that are called without the proxy, as this machine always is. Fixed at start.
    pub no_proxy: Vec<String>,
    /// Milliseconds from sending the request to the first piece of a streamed answer.
    pub first_byte_timeout_ms: u64,
    /// The same for a model that can reason: many vendors send nothing, not even headers, while it thinks.
    pub thinking_timeout_ms: u64,
    /// Milliseconds from sending the request to the end of a whole answer: vendors send nothing before it is
    /// complete.
    pub whole_answer_timeout_ms: u64,
    /// Milliseconds between two pieces of a streamed answer, signs of life included.
    pub idle_timeout_ms: u64,
    /// Milliseconds after which a stream without content is handed to the client (from then on without failover), and
    /// after which a client that receives nothing gets a sign of life.
    pub sign_of_life_ms: u64,
    /// Milliseconds to a whole answer, or to the beginning of a stream, retries and failover included.
    pub total_timeout_ms: u64,
    /// Milliseconds from a stream's beginning to its end.
    pub stream_timeout_ms: u64,
    /// First pause before a retry, milliseconds; doubles, with full jitter.
    pub backoff_ms: u64,
    /// Longest pause before a retry, milliseconds.
    pub backoff_max_ms: u64,
    /// Longest `Retry-After` that is waited for, milliseconds; with a longer one the next candidate is tried.
    pub max_retry_after_ms: u64,
    /// Largest buffered answer, MiB: a whole one, or what has to be kept of a stream, measured as JSON. Of a stream that
    /// passes through that is one event, but for a short one.
    pub max_answer_mb: u64,
    /// Room, in MiB, that all whole answers larger than one MiB share while they are read and held. Fixed at start.
    pub large_answers_mb: u64,
    /// Keeps retries to a share of the traffic.
    pub retry_budget: RetryBudget,
    /// When a failing deployment is left alone.
    pub breaker: Breaker,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            attempts_per_model: 2,
            connect_timeout_ms: 5_000,
            proxy: None,
            no_proxy: Vec::new(),
            first_byte_timeout_ms: 60_000,
            thinking_timeout_ms: 300_000,
            whole_answer_timeout_ms: 600_000,
            idle_timeout_ms: 120_000,
            sign_of_life_ms: 10_000,
            total_timeout_ms: 900_000,
            stream_timeout_ms: 3_600_000,
            backoff_ms: 100,
            backoff_max_ms: 2_000,
            max_retry_after_ms: 2_000,
            max_answer_mb: 64,
            large_answers_mb: 512,
            retry_budget: RetryBudget::default(),
            breaker: Breaker::default(),
        }
    }
}

/// Keeps retries to a share of the traffic, so that they do not make an outage worse.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Retries allowed per first attempt, over the last ten seconds.
    pub ratio: f64,
    /// Retries per second allowed in any case.
    pub min_per_s: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_s: 5.0 }
    }
}

/// When a deployment counts as broken, and when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open the breaker.
    pub consecutive_failures: u32,
    /// Share of failures among the last `window` calls that opens the breaker.
    pub failure_share: f64,
    /// Calls in the window; the share counts only once the window is full.
    pub window: u32,
    /// Milliseconds the breaker stays open before one probe; doubles with every failed probe.
    pub open_ms: u64,
    /// Longest time the breaker stays open, milliseconds.
    pub max_open_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { consecutive_failures: 5, failure_share: 0.5, window: 20, open_ms: 5_000, max_open_ms: 120_000 }
    }
}
