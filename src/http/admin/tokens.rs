//! `/api/admin/tokens`: lists, makes and revokes API tokens.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::parameters::Named;
use crate::gateway::Gateway;
use crate::http::api::body;
use crate::http::error::Native;
use crate::http::middleware::caller::Operator;
use crate::http::to_the_end;
use crate::protocol::{ApiError, ErrorKind};
use crate::store::{NewToken, Scope, Token, TokenError};

/// A token, without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made, in Unix milliseconds.
    pub created_ms: i64,
    /// Only these models; absent = all.
    pub models: Option<Vec<String>>,
    /// Requests per minute; absent = as configured, 0 = no limit.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute; absent = as configured, 0 = no limit.
    pub tokens_per_minute: Option<u64>,
    /// US dollars per day; absent = as configured, 0 = no limit.
    pub usd_per_day: Option<f64>,
}

impl From<&Token> for Shown {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            created_ms: token.created_ms,
            models: token.models.clone(),
            requests_per_minute: token.requests_per_minute,
            tokens_per_minute: token.tokens_per_minute,
            usd_per_day: token.usd_per_day,
        }
    }
}

/// All tokens.
#[derive(Debug, Serialize)]
pub struct List {
    /// In the order they were made.
    pub tokens: Vec<Shown>,
}

/// A new token.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The token as it is stored, without its secret.
    token: Shown,
    /// The token itself: shown only this once, stored nowhere.
    text: String,
}

/// All tokens.
pub fn all(gateway: &Gateway) -> List {
    List { tokens: gateway.tokens().all().iter().map(|token| Shown::from(&**token)).collect() }
}

/// `GET`: all tokens.
pub async fn list(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<List> {
    Json(all(&gateway))
}

/// `POST`: makes a token.
pub async fn make(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    body: Body,
) -> Result<(StatusCode, Json<Made>), Native> {
    let bytes = body::read(body, &gateway.live().config.limits).await?;
    let new: NewToken = body::json(&bytes)?;
    let made = to_the_end(async move {
        let made = on_blocking_thread(&gateway, |gateway| add(gateway, new)).await??;
        let Shown { name, scopes, models, requests_per_minute, tokens_per_minute, usd_per_day, .. } = &made.token;
        let detail = json!({
            "name": name,
            "scopes": scopes,
            "models": models,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "usd_per_day": usd_per_day,
        });
        gateway.note(caller.act("token.make", made.token.id.clone(), detail)).await;
        Ok(made)
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Changes tokens off the async threads: another process may hold the file's lock for a while.
async fn on_blocking_thread<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    change: impl FnOnce(&Gateway) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let gateway = Arc::clone(gateway);
    let changed = tokio::task::spawn_blocking(move || change(&gateway)).await;
    changed.map_err(|_| ApiError::new(ErrorKind::Internal, "changing the tokens broke off"))
}

fn add(gateway: &Gateway, new: NewToken) -> Result<Made, ApiError> {
    let live = gateway.live();
    for name in new.models.iter().flatten() {
        if live.catalog.names().leaves_choice(name) {
            return Err(api_error(TokenError::chooses(name)));
        }
        if live.catalog.find(name).is_none() {
            return Err(ApiError::invalid(format!("there is no model `{name}`")).at("models"));
        }
    }
    let (token, text) = gateway
        .change_tokens(|tokens| tokens.add(new, rand::random(), Timestamp::now().as_millisecond()))
        .map_err(api_error)?;
    Ok(Made { token: Shown::from(&*token), text })
}

/// `DELETE`: revokes a token.
pub async fn revoke(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Named(id): Named,
) -> Result<Json<Shown>, Native> {
    let revoked = to_the_end(async move {
        let revoke = move |gateway: &Gateway| gateway.change_tokens(|tokens| tokens.revoke(&id)).map_err(api_error);
        let token = on_blocking_thread(&gateway, revoke).await??;
        gateway.note(caller.act("token.revoke", token.id.clone(), json!({ "name": token.name }))).await;
        Ok(Shown::from(&*token))
    });
    Ok(Json(revoked.await?))
}

fn api_error(error: TokenError) -> ApiError {
    let kind = match &error {
        TokenError::Wrong { field, .. } => return ApiError::invalid(error.to_string()).at(*field),
        TokenError::Unknown(_) => ErrorKind::NotFound,
        TokenError::Taken(_) => ErrorKind::InvalidRequest,
        TokenError::Io { .. } | TokenError::Damaged { .. } | TokenError::Gone(_) | TokenError::Lost { .. } => {
            ErrorKind::Unavailable
        }
    };
    ApiError::new(kind, error.to_string())
}
