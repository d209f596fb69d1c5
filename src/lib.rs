//! Pointsman is a self-hosted LLM gateway that learns where each prompt should go.
//!
//! **The request road.** [`http`] reads and authenticates, [`codec`] decodes the client's dialect into the canonical
//! form of [`protocol`], [`route`] asks the [`classifier`] for features and a [`bandit`] for a choice and makes a plan,
//! [`dispatch`] walks the plan through [`upstream`] until a model answers, [`codec`] encodes what it says, and what
//! happened goes by a bounded queue to the [`tuner`] and from there to the [`store`].
//!
//! **The feedback road.** [`http`] validates a rating, the [`tuner`] stores it (acknowledged once it is on disk), joins
//! it with its decision, and every so often folds the log into a new policy snapshot that [`ope`] compares with the live
//! one before it takes over. [`train`] does the same offline, with data sets.
//!
//! Another program can have all of it without HTTP: see [`embed`].
//!
//! Modules below stand in the order of the road. An arrow never points back: `tests/layering.rs` checks it.

pub mod app;
pub mod bandit;
pub mod chart;
pub mod classifier;
pub mod cli;
pub mod codec;
pub mod config;
pub mod dispatch;
pub mod embed;
pub mod http;
pub mod ope;
pub mod protocol;
pub mod route;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod train;
pub mod tuner;
pub mod upstream;

pub use embed::Pointsman;
pub use http::api::outcomes::CallReport;
