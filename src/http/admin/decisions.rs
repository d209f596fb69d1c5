//! `GET /api/admin/decisions`, `/api/admin/decisions/{id}`: choices, and all that came of each.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parameters::{Named, Parameters};
use crate::http::error::Rejection;
use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::protocol::{ApiError, DecisionId, ErrorKind};
use crate::store::{Entry, Filter, Fingerprint, Mode, Page, Span, Store};

/// Most decisions of a page.
const MOST: usize = 200;

/// Which decisions, as the query says it; an empty value lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Not before this, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this; a minute from now where absent, as entries of a clock that was ahead would be the newest for as long.
    pub until_ms: Option<i64>,
    /// Chosen or answered by this model.
    pub model: String,
    /// `ok`, `cancelled`, an error's code, `error` for any error, `open` for those under way.
    pub status: String,
    /// `named`, `weighted`, `learned`, `sticky`, `imported`.
    pub mode: String,
    /// By this policy.
    pub policy_version: String,
    /// `true`, `false`.
    pub explored: String,
    /// Of this task.
    pub task: String,
    /// Of this API token (its id).
    pub token: String,
    /// Of this conversation.
    pub conversation: String,
    /// `true`, `false`.
    pub rated: String,
    /// Text in id, reason, task, rules, tags or comments.
    pub text: String,
    /// Where the page goes on.
    pub before: String,
    /// Most decisions; 50 where absent.
    pub limit: Option<usize>,
}

impl Wish {
    /// As the store reads it.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, naming the parameter at fault.
    pub fn filter(&self) -> Result<Filter, ApiError> {
        let text = |value: &str| Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        let flag = |name: &str, value: &str| match value {
            "" => Ok(None),
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(ApiError::invalid("must be true or false").at(name)),
        };
        let mode = match self.mode.as_str() {
            "" => None,
            name => {
                let words = "must be named, weighted, learned, sticky or imported";
                Some(Mode::from_name(name).ok_or_else(|| ApiError::invalid(words).at("mode"))?)
            }
        };
        if let Some(status) =
            text(&self.status).filter(|status| !["ok", "cancelled", "error", "open"].contains(&&**status))
            && serde_json::from_value::<ErrorKind>(status.into()).is_err()
        {
            let words = "must be ok, cancelled, open, error (any), or an error's code (timeout, overloaded, ...)";
            return Err(ApiError::invalid(words).at("status"));
        }
        let version = text(&self.policy_version).map(|version| version.parse()).transpose();
        let conversation = text(&self.conversation).map(|print| print.parse::<Fingerprint>()).transpose();
        Ok(Filter {
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            model: text(&self.model),
            status: text(&self.status),
            mode,
            policy_version: version.map_err(|_| ApiError::invalid("must be a number").at("policy_version"))?,
            explored: flag("explored", &self.explored)?,
            task: text(&self.task),
            token: text(&self.token),
            conversation: conversation
                .map_err(|_| ApiError::invalid("must be 16 hexadecimal digits").at("conversation"))?,
            rated: flag("rated", &self.rated)?,
            text: text(&self.text),
        })
    }
}

/// A page of decisions, newest first.
///
/// # Errors
///
/// When a parameter is wrong, or the store is down.
pub async fn find(gateway: &Gateway, wish: &Wish) -> Result<Page, ApiError> {
    let mut filter = wish.filter()?;
    filter.until_ms = filter.until_ms.or(Span::up_to(Timestamp::now().as_millisecond()).until_ms);
    let before = match wish.before.as_str() {
        "" => None,
        id => {
            Some(id.parse::<DecisionId>().map_err(|_| ApiError::invalid("it is no id of a decision").at("before"))?)
        }
    };
    let limit = wish.limit.unwrap_or(50).min(MOST);
    gateway.read_store(move |store| store.decisions(&filter, before, limit)).await
}

/// The moment of the newest decision, where a clock wrote it that was ahead.
pub async fn ahead_ms(gateway: &Gateway) -> Option<i64> {
    let newest_ms = gateway.read_store(Store::newest_ms).await.ok().flatten();
    newest_ms.filter(|at_ms| Span::up_to(Timestamp::now().as_millisecond()).until_ms <= Some(*at_ms))
}

/// One decision with all that came of it.
///
/// # Errors
///
/// When there is none, or the store is down.
pub async fn one(gateway: &Gateway, id: &str) -> Result<Entry, ApiError> {
    let id: DecisionId = id.parse().map_err(|_| ApiError::invalid("it is no id of a decision").at("id"))?;
    let look = || gateway.read_store(move |store| store.entry(id));
    let mut entry = look().await?;
    if entry.is_none() {
        // It may be a moment old and still wait to be written; where the writer is down, what is there is looked at.
        let _written_or_not = gateway.log_is_written().await;
        entry = look().await?;
    }
    entry.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such decision").at("id"))
}

/// `GET /api/admin/decisions`.
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(wish): Parameters<Wish>,
) -> Result<Json<Page>, Rejection> {
    find(&gateway, &wish).await.map(Json).map_err(Rejection::native)
}

/// A decision with all that came of it.
#[derive(Debug, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    entry: Entry,
    /// What its feedback says together, in [0, 1]; `null` = nobody rated.
    verdict: Option<f64>,
}

/// `GET /api/admin/decisions/{id}`.
pub async fn explain(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Named(id): Named,
) -> Result<Json<Explained>, Rejection> {
    let entry = one(&gateway, &id).await.map_err(Rejection::native)?;
    Ok(Json(Explained { verdict: entry.verdict(), entry }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_wish_is_named() {
        let wish = |field: &str, value: &str| {
            serde_json::from_value::<Wish>(serde_json::json!({ field: value })).unwrap().filter()
        };
        for (field, value) in [
            ("status", "nope"),
            ("mode", "x"),
            ("explored", "maybe"),
            ("policy_version", "-1"),
            ("conversation", "zz"),
        ] {
            assert_eq!(wish(field, value).unwrap_err().param.as_deref(), Some(field));
        }
        assert_eq!(wish("mode", "").unwrap(), Filter::default());
        for status in ["ok", "cancelled", "open", "error", "timeout", "context_overflow"] {
            assert_eq!(wish("status", status).unwrap().status.as_deref(), Some(status));
        }
        assert_eq!(wish("rated", "true").unwrap().rated, Some(true));
    }
}
