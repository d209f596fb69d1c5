//! Models, their deployments and health, and the calls to them (the only home of reqwest).
//!
//! **Names.** The [`Catalog`] knows models by name; a [`Model`] has one or more [`Deployment`]s; a deployment is an
//! id at a [`Provider`]. Health belongs to the deployment: a [`Breaker`] that stops calls to one that keeps failing,
//! a load estimate ([`Load`]) for balancing, and the pause that its vendor asked for.
//!
//! **A call** ([`Client`]) sends bytes and gives back a status and pieces of bytes; every wait has a deadline. What the
//! bytes mean is `codec`'s business.
//!
//! A new configuration makes a new catalog; health is carried over for every deployment that is still there.

mod backoff;
mod breaker;
mod catalog;
mod client;
mod deadline;
mod deployment;
mod discovery;
mod load;
mod provider;
mod resolver;
mod retry_budget;
mod room;
mod selection;
mod suspects;
mod window;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerState};
pub use catalog::{Catalog, Model};
pub use client::{Answer, Call, CallError, Client, use_pool};
pub use deadline::by;
pub use deployment::{CallVerdict, Deployment, Lack, Permit, Refused, Status};
#[cfg(test)]
pub use discovery::ListedModel;
pub use discovery::{DISCOVER_EVERY, Discovered, Listing, discover};
pub use load::Load;
pub use provider::{Endpoint, Provider};
pub use retry_budget::RetryBudget;
pub use selection::Selection;
