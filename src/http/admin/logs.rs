//! `GET /api/admin/logs`, `/api/admin/logs/stream`: the last log lines, and every new one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::live::{self, Events};
use super::parameters::Parameters;
use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Operator;
use crate::protocol::ApiError;
use crate::telemetry::{LEVELS, Line, tail};

/// The query: which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// At least as severe as this.
    level: Option<String>,
    /// Text in the message, the module or a field, in any case.
    text: String,
    /// Most lines of those already there.
    limit: Option<usize>,
}

/// Most lines where the query sets no limit.
const DEFAULT_LIMIT: usize = 200;

impl Query {
    fn checked(self) -> Result<Self, ApiError> {
        let level = self.level.filter(|level| !level.is_empty());
        match level.as_deref() {
            Some(wrong) if !LEVELS.contains(&wrong) => {
                Err(ApiError::invalid(format!("level must be one of {}", LEVELS.join(", "))).at("level"))
            }
            _ => Ok(Self { level, text: self.text.to_lowercase(), ..self }),
        }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Lines {
    /// Oldest first.
    lines: Vec<Arc<Line>>,
}

/// The last lines, oldest first.
pub async fn list(Operator(_): Operator, Parameters(query): Parameters<Query>) -> Result<Json<Lines>, Native> {
    let query = query.checked()?;
    Ok(Json(Lines { lines: tail().recent(query.level.as_deref(), &query.text, query.limit()) }))
}

/// The last lines, then every new one, as server-sent events.
pub async fn stream(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Parameters(query): Parameters<Query>,
) -> Result<Events, Native> {
    let query = query.checked()?;
    let (first, live) = tail().watch(query.level.as_deref(), &query.text, query.limit());
    let Query { level, text, .. } = query;
    Ok(live::events(&gateway, caller, first, live, move |line: &Line| line.passes(level.as_deref(), &text)))
}
