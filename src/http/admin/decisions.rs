//! `GET /api/admin/decisions`, `/api/admin/decisions/{id}`: decisions with their outcomes and feedback.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parameters::{Named, Parameters};
use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Operator;
use crate::protocol::{ApiError, DecisionId, ErrorKind};
use crate::store::{Entry, Filter, Fingerprint, Mode, OutcomeStatus, Page, Span, Store};

/// Most decisions of a page.
const MAX_PAGE: usize = 200;

/// The query: which decisions; an empty value selects all.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Not before this, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this; a minute from now if absent, since entries of a clock that was ahead would else stay the newest
    /// until that time has come.
    pub until_ms: Option<i64>,
    /// This model was chosen or answered.
    pub model: String,
    /// `ok`, `cancelled`, an error's code, `error` for any error, `open` for those under way.
    pub status: String,
    /// `named`, `weighted`, `learned`, `sticky`, `imported`.
    pub mode: String,
    /// The version of the policy that chose.
    pub policy_version: String,
    /// `true`, `false`.
    pub explored: String,
    /// The task that the classifier read.
    pub task: String,
    /// The id of the API token.
    pub token: String,
    /// The conversation's fingerprint.
    pub conversation: String,
    /// `true`, `false`.
    pub rated: String,
    /// Text in id, reason, task, rules, tags or comments.
    pub text: String,
    /// The id of a decision: the page begins after it, with older ones.
    pub before: String,
    /// Most decisions; 50 if absent.
    pub limit: Option<usize>,
}

impl Query {
    /// Every filter with its value, which is empty where it selects all. Not where a page begins, and how long it is.
    pub fn filters(&self) -> [(&'static str, String); 12] {
        // All fields are named, so that a new filter cannot be forgotten here.
        let Self {
            from_ms,
            until_ms,
            model,
            status,
            mode,
            policy_version,
            explored,
            task,
            token,
            conversation,
            rated,
            text,
            before: _,
            limit: _,
        } = self;
        let number = |number: &Option<i64>| number.map_or(String::new(), |number| number.to_string());
        [
            ("from_ms", number(from_ms)),
            ("until_ms", number(until_ms)),
            ("text", text.clone()),
            ("model", model.clone()),
            ("status", status.clone()),
            ("mode", mode.clone()),
            ("task", task.clone()),
            ("token", token.clone()),
            ("conversation", conversation.clone()),
            ("policy_version", policy_version.clone()),
            ("explored", explored.clone()),
            ("rated", rated.clone()),
        ]
    }

    /// The query as the store's filter.
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
        let is_status = |name: &str| ["error", "open"].contains(&name) || OutcomeStatus::named(name).is_some();
        if text(&self.status).is_some_and(|status| !is_status(&status)) {
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
pub async fn find(gateway: &Gateway, query: &Query) -> Result<Page, ApiError> {
    let mut filter = query.filter()?;
    filter.until_ms = filter.until_ms.or(Span::up_to(Timestamp::now().as_millisecond()).until_ms);
    let before = match query.before.as_str() {
        "" => None,
        id => {
            Some(id.parse::<DecisionId>().map_err(|_| ApiError::invalid("it is no id of a decision").at("before"))?)
        }
    };
    let limit = query.limit.unwrap_or(50).min(MAX_PAGE);
    gateway.with_store(move |store| store.decisions(&filter, before, limit)).await
}

/// The time of the newest decision (Unix milliseconds), if a clock that was ahead wrote it.
pub async fn ahead_ms(gateway: &Gateway) -> Option<i64> {
    let newest_ms = gateway.with_store(Store::newest_ms).await.ok().flatten();
    newest_ms.filter(|at_ms| Span::up_to(Timestamp::now().as_millisecond()).until_ms <= Some(*at_ms))
}

/// One decision with its outcome and feedback, and the signal that its question was asked again.
///
/// # Errors
///
/// When there is no such decision, or the store is down.
pub async fn one(gateway: &Gateway, id: &str) -> Result<Entry, ApiError> {
    let id: DecisionId = id.parse().map_err(|_| ApiError::invalid("it is no id of a decision").at("id"))?;
    let read = || gateway.with_store(move |store| store.entry_with_sequel(id));
    let mut entry = read().await?;
    if entry.is_none() {
        // The decision may be a moment old and still wait to be written. Where the recorder is down, the second read
        // finds the same as the first.
        let _written_or_not = gateway.flush_log().await;
        entry = read().await?;
    }
    entry.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such decision").at("id"))
}

/// `GET /api/admin/decisions`.
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Page>, Native> {
    Ok(Json(find(&gateway, &query).await?))
}

/// A decision with its outcome and feedback.
#[derive(Debug, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    entry: Entry,
    /// All feedback in one value, in [0, 1]; `null` = nobody rated.
    verdict: Option<f64>,
}

/// `GET /api/admin/decisions/{id}`.
pub async fn explain(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Named(id): Named,
) -> Result<Json<Explained>, Native> {
    let entry = one(&gateway, &id).await?;
    Ok(Json(Explained { verdict: entry.verdict(), entry }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_wish_is_named() {
        let query = |field: &str, value: &str| {
            serde_json::from_value::<Query>(serde_json::json!({ field: value })).unwrap().filter()
        };
        for (field, value) in [
            ("status", "nope"),
            ("mode", "x"),
            ("explored", "maybe"),
            ("policy_version", "-1"),
            ("conversation", "zz"),
        ] {
            assert_eq!(query(field, value).unwrap_err().param.as_deref(), Some(field));
        }
        assert_eq!(query("mode", "").unwrap(), Filter::default());
        for status in ["ok", "cancelled", "open", "error", "timeout", "context_overflow"] {
            assert_eq!(query("status", status).unwrap().status.as_deref(), Some(status));
        }
        assert_eq!(query("rated", "true").unwrap().rated, Some(true));
    }
}
