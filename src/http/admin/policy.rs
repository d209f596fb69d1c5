//! `/api/admin/policy`: the learned policy in force, all its versions with their estimates, and an operator's commands:
//! retune now, promote, pin, unpin, roll back, watch only, or act on a share.
//!
//! Every command is in the audit. The learner carries them out one after another; they are on disk when they are
//! answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::config::LearningMode;
use crate::gateway::{Gateway, now_s};
use crate::http::api::body;
use crate::http::error::Native;
use crate::http::middleware::caller::{Caller, Operator};
use crate::protocol::{ApiError, ErrorKind};
use crate::store::SnapshotRecord;
use crate::tuner::{BudgetStatus, Command, LearnError, LearnerStatus};

/// How long a command may take before it is answered; a retune, which walks the decision log, goes on after that.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// The policy and its versions.
#[derive(Debug, Serialize)]
pub struct View {
    /// What is in force, and how it acts.
    pub status: LearnerStatus,
    /// All versions, newest first.
    pub versions: Vec<SnapshotRecord>,
    /// The budgets, and what they add to the price of a dollar.
    pub budgets: Vec<BudgetStatus>,
}

/// The policy as it is now.
///
/// # Errors
///
/// `Unavailable` while the store is down.
pub async fn view(gateway: &Gateway) -> Result<View, ApiError> {
    let versions = gateway.with_store(|store| store.snapshots()).await?;
    Ok(View { status: gateway.learner.status(), versions, budgets: gateway.budgets.status(now_s()) })
}

/// `GET`: what is in force, and all versions.
pub async fn show(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Result<Json<View>, Native> {
    Ok(Json(view(&gateway).await?))
}

/// Which version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    version: u64,
}

/// How the policy acts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acting {
    mode: LearningMode,
    /// Unchanged if absent.
    rollout: Option<f64>,
}

/// `POST .../retune`: makes a new policy from the decision log now; it takes over if the gate lets it.
pub async fn retune(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Answer {
    execute(&gateway, &caller, Command::Retune).await
}

/// `POST .../promote`: puts a version in force, whatever the gate says; ends a pin and a hold.
pub async fn promote(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator, sent: Body) -> Answer {
    let which: Which = read(&gateway, sent).await?;
    execute(&gateway, &caller, Command::Promote(which.version)).await
}

/// `POST .../pin`: puts a version in force, and lets no other take over until it is unpinned.
pub async fn pin(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator, sent: Body) -> Answer {
    let which: Which = read(&gateway, sent).await?;
    execute(&gateway, &caller, Command::Pin(which.version)).await
}

/// `POST .../unpin`: lets new versions take over again; ends a hold, too.
pub async fn unpin(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Answer {
    execute(&gateway, &caller, Command::Unpin).await
}

/// `POST .../rollback`: puts the version before the live one in force, and lets no new one take over for a while.
pub async fn rollback(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Answer {
    execute(&gateway, &caller, Command::Rollback).await
}

/// `PUT .../mode`: whether the policy acts, and on which share of the conversations. Survives a restart.
pub async fn mode(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator, sent: Body) -> Answer {
    let Acting { mode, rollout } = read(&gateway, sent).await?;
    if rollout.is_some_and(|rollout| !(0.0..=1.0).contains(&rollout)) {
        return Err(ApiError::invalid("a share is from 0 to 1").at("rollout").into());
    }
    execute(&gateway, &caller, Command::Mode(mode, rollout)).await
}

type Answer = Result<Json<LearnerStatus>, Native>;

async fn read<T: serde::de::DeserializeOwned>(gateway: &Gateway, sent: Body) -> Result<T, ApiError> {
    let bytes = body::read(sent, &gateway.live().config.limits).await?;
    body::json(&bytes)
}

async fn execute(gateway: &Gateway, caller: &Caller, command: Command) -> Answer {
    let who = caller.who();
    let done = tokio::time::timeout(COMMAND_TIMEOUT, gateway.learner.order(command, &who)).await;
    match done {
        Ok(Ok(status)) => Ok(Json(status)),
        Ok(Err(error)) => Err(api_error(&error).into()),
        Err(_) => {
            let message = "this takes long and goes on; look at /api/admin/policy later";
            Err(ApiError::new(ErrorKind::Timeout, message).into())
        }
    }
}

fn api_error(error: &LearnError) -> ApiError {
    let kind = match error {
        LearnError::UnknownVersion(_) => ErrorKind::NotFound,
        LearnError::NothingBefore => ErrorKind::InvalidRequest,
        LearnError::Store(_) | LearnError::Busy => ErrorKind::Unavailable,
        LearnError::Settings(_) => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}
