//! The `model` field of a request, read.

use super::{NamedObjective, Objective};

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
    /// The word after `auto:`, where no objective is called so.
    pub fn parse(model: &str) -> Result<Self, &str> {
        if model.is_empty() || model == "auto" {
            return Ok(Self::Auto(None));
        }
        match model.strip_prefix("auto:") {
            Some(word) => NamedObjective::named(word).map(|named| Self::Auto(Some(named))).ok_or(word),
            None => Ok(Self::Model(model.to_owned())),
        }
    }

    /// The objective named.
    pub fn objective(&self) -> Option<Objective> {
        match self {
            Self::Auto(objective) => objective.map(Objective::Named),
            Self::Model(_) => None,
        }
    }
}
