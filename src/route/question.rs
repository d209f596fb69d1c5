//! What a plan answers.

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
    /// The dialect it came in: a backend that speaks it gets the body as it is.
    pub client: Dialect,
    /// The body, where a backend may get it so.
    pub body: Option<&'a [u8]>,
    /// The id the decision gets.
    pub id: DecisionId,
    /// Name of the API token that asks.
    pub token: Option<&'a str>,
    /// Models that token may use; `None` = all.
    pub allowed: Option<&'a [String]>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The moment, for breakers and rests.
    pub now: Instant,
    /// A vendor that asked for a rest is waited for so long, where nobody else can answer.
    pub patience: Duration,
    /// Draws from [0, 1).
    pub chance: &'a mut dyn FnMut() -> f64,
    /// Where the conversation is, if it is under way.
    pub stay: Option<Stay>,
    /// What the learned policy goes by; `None` = the weights choose.
    pub learned: Option<Learned<'a>>,
}

/// What the client asked for in `model`.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Any model, under an objective where one is named (`auto:cost`).
    Auto(Option<NamedObjective>),
    /// This one.
    Model(String),
}

impl Asked {
    /// Reads `model`; nothing is `auto`.
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

    /// The objective it names.
    pub(super) fn objective(&self) -> Option<Objective> {
        match self {
            Self::Auto(objective) => objective.map(Objective::Named),
            Self::Model(_) => None,
        }
    }
}
