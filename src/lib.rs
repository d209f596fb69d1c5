//! Pointsman is a self-hosted LLM gateway that learns where each prompt should go.
//!
//! **The request road.** [`http`] reads a request and authenticates it, [`codec`] decodes the client's dialect into the
//! canonical form of [`protocol`], the [`gateway`] lets it in, [`route`] asks the [`classifier`] for features and a
//! [`bandit`] for a choice and makes a plan, [`dispatch`] walks the plan through [`upstream`] until a model answers,
//! [`codec`] encodes what it says, and what happened goes by a bounded queue to the [`tuner`] and from there to the
//! [`store`].
//!
//! **The feedback road.** [`http`] validates a rating, the [`tuner`] stores it (acknowledged once it is on disk), joins
//! it with its decision, and every so often folds the decision log into a new policy snapshot that [`ope`] compares
//! with the live one before it takes over. [`train`] does the same offline, with data sets.
//!
//! Another program can have all of it without HTTP: see [`embed`].
//!
//! Modules below are grouped by the part of the road that they belong to. An arrow never points back:
//! `tests/layering.rs` checks it.

// The front: commands, the gateway with listeners and without, HTTP.
pub mod app;
pub mod cli;
pub mod embed;
pub mod http;

// Where the roads meet: all that a request or a report needs.
pub mod gateway;

// The road of a request: a plan, then an answer.
pub mod dispatch;
pub mod route;

// The road of feedback: while it runs, and offline.
pub mod train;
pub mod tuner;

// What both roads use: the embedded model, the database, the vendors.
pub mod classifier;
pub mod store;
pub mod upstream;

// Pure: no clock, no randomness, no files, no runtime.
pub mod bandit;
pub mod codec;
pub mod ope;
pub mod protocol;

// At the bottom, open to all but the pure modules.
pub mod chart;
pub mod config;
pub mod telemetry;

// A small world to try the gateway in: vendors and users.
pub mod sandbox;

pub use embed::Pointsman;
pub use gateway::call_report::CallReport;
