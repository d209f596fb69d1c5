//! HTTP in, HTTP out (the only home of axum).
//!
//! [`routes`] is the API as one table, [`state`] what handlers can reach, [`error`] every failure in the dialect of the
//! client that gets it. Before a handler runs, `middleware` gives the request an id, identifies the caller, and refuses
//! those that may not call; each handler in `api` serves one endpoint, and all chat endpoints share one road
//! ([`api::chat`]). [`ledger`] turns decisions and outcomes into records.
//! `admin` is the API for operators, and [`dashboard`] its pages, behind the sign-in of [`session`];
//! [`monitor`] shows requests as they pass, [`refusals`] counts those that found no model. [`server`] accepts connections
//! and drains them, each on one of the [`lanes`].

pub mod admin;
pub mod api;
pub mod dashboard;
pub mod error;
pub mod lanes;
pub mod ledger;
pub mod middleware;
pub mod monitor;
pub mod operator_acts;
pub mod refusals;
pub mod remember;
pub mod routes;
pub mod server;
pub mod session;
mod slots;
pub mod state;
mod write_timeout;

pub use lanes::Lanes;
pub use server::{Drain, listen, serve};
pub use state::{Gateway, LiveConfig, Parts, PlanRequest};

use crate::protocol::{ApiError, ErrorKind};

/// Runs `work` to its end even if the caller is dropped: a connection that closes drops its handler, at whatever it was
/// waiting for.
///
/// # Errors
///
/// Those of `work`; `Internal` where it panicked.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| Err(ApiError::new(ErrorKind::Internal, "it broke off")))
}

/// A new id: a UUID of version 7 whose random part comes from the thread's own generator, where `Uuid::now_v7` would ask
/// the kernel for every one.
pub(crate) fn fresh_id() -> uuid::Uuid {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(now_ms, &rand::random()).into_uuid()
}
