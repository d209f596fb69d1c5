//! `GET /api/admin/logs`, `/api/admin/logs/stream`: the last log lines, and every further one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::live::{self, Events};
use super::parameters::Parameters;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::protocol::ApiError;
use crate::telemetry::{LEVELS, Line, tail};

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// At least as bad as this.
    level: Option<String>,
    /// Text that message, module or a field holds, in any case.
    text: String,
    /// Most lines of those that are there.
    limit: Option<usize>,
}

/// Most lines where nothing is said.
const USUAL: usize = 200;

impl Wish {
    fn checked(self) -> Result<Self, Rejection> {
        let level = self.level.filter(|level| !level.is_empty());
        match level.as_deref() {
            Some(wrong) if !LEVELS.contains(&wrong) => {
                let error = ApiError::invalid(format!("level must be one of {}", LEVELS.join(", "))).at("level");
                Err(Rejection::native(error))
            }
            _ => Ok(Self { level, text: self.text.to_lowercase(), ..self }),
        }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL)
    }
}

/// Some lines.
#[derive(Debug, Serialize)]
pub struct Lines {
    /// Oldest first.
    lines: Vec<Arc<Line>>,
}

/// The last lines, oldest first.
pub async fn list(Operator(_): Operator, Parameters(wish): Parameters<Wish>) -> Result<Json<Lines>, Rejection> {
    let wish = wish.checked()?;
    Ok(Json(Lines { lines: tail().recent(wish.level.as_deref(), &wish.text, wish.limit()) }))
}

/// The last lines, then every further one, as server-sent events.
pub async fn stream(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Parameters(wish): Parameters<Wish>,
) -> Result<Events, Rejection> {
    let wish = wish.checked()?;
    let (first, live) = tail().watch(wish.level.as_deref(), &wish.text, wish.limit());
    let Wish { level, text, .. } = wish;
    Ok(live::events(&gateway, caller, first, live, move |line: &Line| line.passes(level.as_deref(), &text)))
}
