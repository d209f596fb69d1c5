//! Plan -> answer stream: walks the candidates until a model answers.
//!
//! [`Dispatcher::run`] tries the plan's models in order, and of each model the deployments that are healthy
//! ([`mod@pick`]). One upstream call is an [`attempt`]. A failed one is tried again elsewhere, or after a pause within
//! the retry budget ([`failover`] states the worst case). A streamed answer is held back until its first piece of
//! content, or for a while where it lives and says nothing yet, so that what fails before is invisible to the client;
//! after it there is no way back, and [`tee`] ends a broken stream with an error event in the client's dialect.
//!
//! What happened is told once, when the answer really ended ([`Outcome`]).

mod attempt;
mod blame;
mod failover;
mod job;
mod outcome;
mod pick;
mod reply;
mod tee;
mod usage;

pub use blame::{attributed_to, client_kind, is_lasting};
pub use failover::Dispatcher;
pub use job::{Cause, Failure, Job, Reply, ReplyBody};
pub use outcome::{Outcome, Report, Step};
pub use pick::pick;
