//! The embedded Llama model (the only home of candle): prompt to features, features to predictions.
//!
//! [`Classifier`] is the handle that the gateway holds: a request asks it for a [`Reading`] and gets one within a
//! budget, or the reason why not ([`Missed`]). Behind it one thread holds a [`Model`]: tokenizer, [`encoder`] and head.
//! Models come from a [`source`].
//!
//! It does not choose. A reading says how well each model would do; `route` and `bandit` decide.

mod cache;
mod counters;
pub mod cut;
pub mod encoder;
pub mod head;
mod model;
mod pace;
mod priors;
pub mod prompt;
mod reading;
mod service;
pub mod source;
pub mod stats;
mod timely;
pub mod tokenizer;
pub mod tune;
mod turns;

pub use counters::Counts;
pub use model::{LoadError, Model, ModelInfo, open};
pub use reading::{Estimate, EstimateSource, Missed, Reading};
pub use service::{Classifier, ClassifierStatus};
pub use source::Source;
