//! Why there is no plan, and what a client is told of it.

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
    /// The request excludes a model that there is not. Who excludes something means it, so a slip must not let it in.
    #[error("the request excludes `{0}`, and there is no such model")]
    UnknownExclusion(String),
    /// The token may not use it.
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
    /// The prompt is too long for every model that could serve it else.
    #[error("the prompt is too long: {tokens} tokens > {most} maximum: {text}")]
    TooLong {
        /// About how many tokens it has. Claude Code reads by these two how much to leave out.
        tokens: u32,
        /// What the largest of them takes.
        most: u32,
        /// Which models, and why.
        text: String,
    },
    /// Able models exist, and none can be called now.
    #[error("no model is available: {text}")]
    Unavailable {
        /// Which, and why.
        text: String,
        /// When the first of them can be called again, and what is in its way, where that is a matter of time.
        back: Option<(Duration, Refused)>,
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
            // As the request was told that brought the rest about.
            PlanError::Unavailable { back: Some((_, Refused::Resting)), .. } => ErrorKind::RateLimited,
            PlanError::Unavailable { .. } => ErrorKind::Unavailable,
        };
        let api_error = ApiError::new(kind, error.to_string());
        match error {
            PlanError::Unavailable { back: Some((wait, _)), .. } => api_error.after(wait),
            PlanError::Unavailable { back: None, .. } => api_error,
            PlanError::Uncarried { field, .. } => api_error.at(field),
            PlanError::UnknownExclusion(_) => api_error.at("routing.exclude"),
            PlanError::TooLong { .. } => api_error.at("messages"),
            _ => api_error.at("model"),
        }
    }
}
