//! What [`plan()`](super::plan()) is asked.

use std::time::{Duration, Instant};

use http::HeaderMap;

use super::learned::Learned;
use super::sticky::Stay;
use crate::protocol::{ChatRequest, DecisionId, Dialect};

/// Everything a plan depends on besides configuration.
pub struct Question<'a> {
    /// The request.
    pub request: &'a ChatRequest,
    /// The client's dialect: a backend that speaks it, or has it beside its own, gets the body as it is.
    pub client: Dialect,
    /// The request's body, where a backend may get it as it is.
    pub body: Option<&'a [u8]>,
    /// The id the decision will have.
    pub id: DecisionId,
    /// Name of the API token that asks.
    pub token: Option<&'a str>,
    /// Models that token may use; `None` = all.
    pub allowed: Option<&'a [String]>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The present time, for breakers and pauses.
    pub now: Instant,
    /// The longest pause of a vendor that is waited for, where no other model can answer.
    pub patience: Duration,
    /// Draws from [0, 1).
    pub chance: &'a mut dyn FnMut() -> f64,
    /// The conversation's model, if it is under way.
    pub stay: Option<Stay>,
    /// What the learned policy is based on; `None` = the weights choose.
    pub learned: Option<Learned<'a>>,
}
