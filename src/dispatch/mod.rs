//! Plan -> answer stream: walks the candidates until a model answers.
//!
//! [`Dispatcher::run`] tries the plan's models in order, and of each model the healthy deployments ([`mod@pick`]).
//! One upstream call is an [`attempt`]. A failed one is repeated at another deployment, or at the same one after a
//! pause and within the retry budget ([`failover`] states the worst case). A streamed answer is held back until its
//! first piece of content (a silent one for [`attempt::Deadlines::sign_of_life`]), so that earlier failures are
//! invisible to the client; after it there is no failover, and [`tee`] ends a broken stream with an error event in
//! the client's dialect.
//!
//! The [`Outcome`] is reported once, when the answer has really ended.

mod attempt;
mod failover;
mod job;
mod outcome;
mod pick;
mod reply;
mod tee;
mod usage;
mod vendor_error;

pub use failover::Dispatcher;
pub use job::{Failure, Job, Reply, ReplyBody};
pub use outcome::{Loss, Outcome, Report, Setback, Step};
pub use pick::pick;
pub use vendor_error::{attributed_to, is_lasting};
