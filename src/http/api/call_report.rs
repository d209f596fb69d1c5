//! What a caller tells of a call that it made itself, over HTTP or from the program that the gateway is embedded in.

use crate::protocol::{FinishReason, Usage};
use crate::store::OutcomeStatus;

/// What came of a call that the caller made itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CallReport {
    /// How it ended.
    pub status: OutcomeStatus,
    /// The model that was called, where it was not the chosen one.
    pub model: Option<String>,
    /// From the request to the end, milliseconds.
    pub latency_ms: Option<f64>,
    /// From the request to the first piece of content, milliseconds.
    pub first_token_ms: Option<f64>,
    /// Tokens as the vendor counted them.
    pub usage: Option<Usage>,
    /// What it cost, US dollars; by the configured price of the model where absent.
    pub cost_usd: Option<f64>,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
}

impl CallReport {
    /// A report of a call that ended so, and nothing else known of it.
    pub fn new(status: OutcomeStatus) -> Self {
        Self {
            status,
            model: None,
            latency_ms: None,
            first_token_ms: None,
            usage: None,
            cost_usd: None,
            finish_reason: None,
        }
    }
}
