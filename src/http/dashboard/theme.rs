//! Light or dark colours: a cookie remembers the choice, so that a page comes in the right ones at once.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use crate::gateway::Gateway;
use crate::http::middleware::caller;

/// How pages look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Theme {
    /// As the system is set.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    /// The value of `data-theme`, where one was chosen.
    pub(super) fn chosen(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }
}

/// The theme of the browser's cookie.
pub(super) fn theme(headers: &HeaderMap) -> Theme {
    match caller::cookie(headers, "pointsman_theme") {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::System,
    }
}

impl FromRequestParts<Arc<Gateway>> for Theme {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Gateway>) -> Result<Self, Infallible> {
        Ok(theme(&parts.headers))
    }
}
