//! `/api/admin/policy`: which learned policy is in force, its versions with what was estimated of them, and what an operator
//! may do: retune now, promote, pin, unpin, roll back, watch only, or act on a share.
//!
//! Every act is in the audit. Acts are carried out one after another by the learner, and are on disk when they are answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::config::LearningMode;
use crate::http::api::body;
use crate::http::error::Rejection;
use crate::http::middleware::caller::{Caller, Operator};
use crate::http::state::{Gateway, now_s};
use crate::protocol::{ApiError, ErrorKind};
use crate::store::SnapshotRecord;
use crate::tuner::{BudgetStatus, Command, LearnError, LearnerStatus};

/// A retune walks the log; it goes on when nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(120);

/// The policy, for people and programs.
#[derive(Debug, Serialize)]
pub struct View {
    /// What is in force.
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
    let versions = gateway.read_store(|store| store.snapshots()).await?;
    Ok(View { status: gateway.learner.status(), versions, budgets: gateway.budgets.status(now_s()) })
}

/// `GET`: what is in force, and all versions.
pub async fn show(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Result<Json<View>, Rejection> {
    view(&gateway).await.map(Json).map_err(Rejection::native)
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
    /// As it is, where absent.
    rollout: Option<f64>,
}

/// `POST .../retune`: a new policy from the log, now; in force if the gate says so.
pub async fn retune(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Answer {
    carry(&gateway, &caller, Ok(Command::Retune)).await
}

/// `POST .../promote`: a version in force, whatever the gate says; ends a pin and a hold.
pub async fn promote(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator, sent: Body) -> Answer {
    let which = read::<Which>(&gateway, sent).await;
    carry(&gateway, &caller, which.map(|which| Command::Promote(which.version))).await
}

/// `POST .../pin`: a version in force, and no other until it is unpinned.
pub async fn pin(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator, sent: Body) -> Answer {
    let which = read::<Which>(&gateway, sent).await;
    carry(&gateway, &caller, which.map(|which| Command::Pin(which.version))).await
}

/// `POST .../unpin`: new versions may take over again; ends a hold, too.
pub async fn unpin(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Answer {
    carry(&gateway, &caller, Ok(Command::Unpin)).await
}

/// `POST .../rollback`: the version before the live one in force, and nothing new for a while.
pub async fn rollback(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Answer {
    carry(&gateway, &caller, Ok(Command::Rollback)).await
}

/// `PUT .../mode`: whether the policy acts, and on which share of the conversations. Survives a restart.
pub async fn mode(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator, sent: Body) -> Answer {
    let command = read::<Acting>(&gateway, sent).await.and_then(|acting| {
        if acting.rollout.is_some_and(|rollout| !(0.0..=1.0).contains(&rollout)) {
            return Err(ApiError::invalid("a share is from 0 to 1").at("rollout"));
        }
        Ok(Command::Mode(acting.mode, acting.rollout))
    });
    carry(&gateway, &caller, command).await
}

type Answer = Result<Json<LearnerStatus>, Rejection>;

async fn read<T: serde::de::DeserializeOwned>(gateway: &Gateway, sent: Body) -> Result<T, ApiError> {
    let bytes = body::read(sent, &gateway.live().config.limits).await?;
    body::json(&bytes)
}

async fn carry(gateway: &Gateway, caller: &Caller, command: Result<Command, ApiError>) -> Answer {
    let command = command.map_err(Rejection::native)?;
    let who = caller.who();
    let done = tokio::time::timeout(PATIENCE, gateway.learner.order(command, &who)).await;
    match done {
        Ok(Ok(status)) => Ok(Json(status)),
        Ok(Err(error)) => Err(Rejection::native(told(&error))),
        Err(_) => Err(Rejection::native(ApiError::new(
            ErrorKind::Timeout,
            "it takes long and goes on; look at /api/admin/policy later",
        ))),
    }
}

fn told(error: &LearnError) -> ApiError {
    let kind = match error {
        LearnError::UnknownVersion(_) => ErrorKind::NotFound,
        LearnError::NothingBefore => ErrorKind::InvalidRequest,
        LearnError::Store(_) | LearnError::Busy => ErrorKind::Unavailable,
        LearnError::Settings(_) => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}
