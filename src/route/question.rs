//! What [`plan()`](super::plan()) is asked.

use std::time::{Duration, Instant};

use http::HeaderMap;

use super::error::PlanError;
use super::learned::Learned;
use super::sticky::Stay;
use crate::protocol::{ChatRequest, DecisionId, Dialect, NamedObjective, Objective};

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

/// The request's `model` field, read.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestedModel {
    /// Any model, under this objective if one is named (`auto:cost`).
    Auto(Option<NamedObjective>),
    /// The model of this name.
    Model(String),
}

impl RequestedModel {
    /// Reads the field; empty means `auto`.
    ///
    /// # Errors
    ///
    /// `auto:` with an objective that does not exist.
    pub fn parse(model: &str) -> Result<Self, PlanError> {
        let Some(rest) = model.strip_prefix("auto") else {
            return Ok(if model.is_empty() { Self::Auto(None) } else { Self::Model(model.to_owned()) });
        };
        match rest {
            "" => Ok(Self::Auto(None)),
            ":quality" => Ok(Self::Auto(Some(NamedObjective::Quality))),
            ":balanced" => Ok(Self::Auto(Some(NamedObjective::Balanced))),
            ":cost" => Ok(Self::Auto(Some(NamedObjective::Cost))),
            ":speed" => Ok(Self::Auto(Some(NamedObjective::Speed))),
            _ if rest.starts_with(':') => Err(PlanError::UnknownObjective(rest[1..].to_owned())),
            _ => Ok(Self::Model(model.to_owned())),
        }
    }

    /// The objective named.
    pub(super) fn objective(&self) -> Option<Objective> {
        match self {
            Self::Auto(objective) => objective.map(Objective::Named),
            Self::Model(_) => None,
        }
    }
}
