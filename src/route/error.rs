//! Why there is no plan, and what the client is told.

use std::time::Duration;

use crate::protocol::{ApiError, ErrorKind};
use crate::upstream::Refused;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No such objective.
    #[error("there is no objective `{0}`; use auto:quality, auto:balanced, auto:cost or auto:speed")]
    UnknownObjective(String),
    /// No such model.
    #[error("there is no model `{name}`{hint}")]
    UnknownModel {
        /// The name as written.
        name: String,
        /// `; did you mean ...?`, or nothing.
        hint: String,
    },
    /// The request excludes a model that does not exist. An error, since a typing slip must not let the model in.
    #[error("the request excludes `{0}`, and there is no such model")]
    UnknownExclusion(String),
    /// The API token may not use it.
    #[error("this API token may not use the model `{0}`")]
    Forbidden(String),
    /// No model is able to serve the request.
    #[error("no model can serve this request: {0}")]
    Unable(String),
    /// No backend can carry a field of the request, or no model does what it says.
    #[error("no model can serve this request: {text}")]
    Uncarried {
        /// The field.
        field: String,
        /// Which models, and why.
        text: String,
    },
    /// The prompt is too long for every model that could serve it otherwise.
    #[error("the prompt is too long: {tokens} tokens > {most} maximum: {text}")]
    TooLong {
        /// Estimated tokens of the prompt. Claude Code reads from `tokens` and `most` how much to leave out.
        tokens: u32,
        /// The largest context among these models, in tokens.
        most: u32,
        /// Which models, and why.
        text: String,
    },
    /// Able models exist, and none can be called now.
    #[error("no model is available: {text}")]
    Unavailable {
        /// Which, and why.
        text: String,
        /// When the first of them can be called again, and what is in the way until then, if waiting helps.
        available_in: Option<(Duration, Refused)>,
    },
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let kind = match &error {
            PlanError::UnknownObjective(_) | PlanError::UnknownModel { .. } => ErrorKind::NotFound,
            PlanError::Forbidden(_) => ErrorKind::Permission,
            PlanError::UnknownExclusion(_) | PlanError::Unable(_) | PlanError::Uncarried { .. } => {
                ErrorKind::InvalidRequest
            }
            PlanError::TooLong { .. } => ErrorKind::ContextOverflow,
            PlanError::Unavailable { available_in, .. } => {
                available_in.map_or(ErrorKind::Unavailable, |(_, refused)| refused.kind())
            }
        };
        let api_error = ApiError::new(kind, error.to_string());
        match error {
            PlanError::Unavailable { available_in: Some((wait, _)), .. } => api_error.after(wait),
            PlanError::Unavailable { available_in: None, .. } => api_error,
            PlanError::Uncarried { field, .. } => api_error.at(field),
            PlanError::UnknownExclusion(_) => api_error.at("routing.exclude"),
            PlanError::TooLong { .. } => api_error.at("messages"),
            _ => api_error.at("model"),
        }
    }
}
