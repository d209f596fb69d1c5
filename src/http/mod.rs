//! HTTP in, HTTP out (the only home of axum).
//!
//! [`routes`] is the API as one table, [`error`] every failure in the dialect of the client that gets it. Before a
//! handler runs, `middleware` gives the request an id, identifies the caller, and refuses those that may not call; each
//! handler in `api` serves one endpoint, and all chat endpoints share one road ([`api::chat`]). `admin` is the API for
//! operators, and [`dashboard`] its pages. [`server`] accepts connections and drains them, each on one of the
//! [`lanes`]. What handlers reach is the [`Gateway`](crate::gateway::Gateway).

pub mod admin;
pub mod api;
pub mod dashboard;
pub mod error;
pub mod lanes;
pub mod middleware;
pub mod routes;
pub mod server;
mod slots;
mod write_timeout;

pub use lanes::{Lanes, keep_blocking};
pub use server::{Drain, listen, serve};

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
