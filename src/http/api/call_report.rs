//! A caller's report of a call that it made itself, over HTTP or in the program that embeds the gateway.

use crate::protocol::{FinishReason, Usage};
use crate::store::OutcomeStatus;

/// The outcome of a call that the caller made itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CallReport {
    /// How the call ended.
    pub status: OutcomeStatus,
    /// The model that was called; the chosen one where absent.
    pub model: Option<String>,
    /// From the request to the end, milliseconds.
    pub latency_ms: Option<f64>,
    /// From the request to the first piece of content, milliseconds.
    pub first_token_ms: Option<f64>,
    /// Tokens as the vendor counted them.
    pub usage: Option<Usage>,
    /// The cost in US dollars; by the model's configured price where absent.
    pub cost_usd: Option<f64>,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
}

impl CallReport {
    /// A report of how a call ended, with nothing else known.
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
