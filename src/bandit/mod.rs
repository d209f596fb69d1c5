//! Contextual bandits with exact propensities; pure.
//!
//! **What it decides.** For each request there is a [`Context`] (features of the prompt) and a changing set of
//! [`Candidate`]s (models that could answer). A [`Snapshot`] believes, for every model, how far its answers turn out
//! better or worse than the classifier's prior ([`posterior`]), computes each candidate's expected quality
//! ([`predictive`]) and utility ([`Tradeoff`]), and chooses with known probabilities ([`Choice`]). The caller logs
//! them: off-policy evaluation of another policy needs them ([`crate::ope`]).
//!
//! **How it learns.** [`Snapshot::learn`] folds [`Observation`]s into sums per model; the posterior follows from the
//! sums alone, so learning in pieces and learning at once give the same policy. Old observations fade
//! ([`Settings::half_life`]), and a sudden change of a model is detected and acted on ([`drift`]).
//!
//! **How it explores.** One of the [`PolicyKind`]s, all under one contract (`tests/policy_contract.rs`): propensities
//! sum to one, each eligible model keeps its floor, and with exploration off the best model by utility is chosen with
//! certainty. Where nobody judges, fewer choices are drawn (`patience`).
//!
//! **How it explains.** An [`Attribution`] says how many points each factor moved a predicted quality.
//!
//! What it leaves out: clock, randomness and files. A draw from [0, 1) comes in as an argument; [`Pacer`], which keeps
//! spending within a budget, is given the time.

mod attribution;
mod context;
mod drift;
mod matrix;
mod normal;
mod pacer;
mod patience;
mod policy;
mod posterior;
mod predictive;
mod reward;
mod settings;
mod shape;
mod snapshot;
mod utility;

pub use attribution::{Attribution, Corrections, Factor, Odds};
pub use context::{Candidate, Choice, Context, Grounds, Observation};
pub use pacer::{Pacer, PacerSettings};
pub use policy::PolicyKind;
pub use reward::{Reward, RewardError};
pub use settings::{DriftSettings, Settings, SettingsError};
pub use snapshot::{ArmSummary, MAX_FEATURES, MAX_KINDS, Snapshot, SnapshotError};
pub use utility::Tradeoff;

#[cfg(test)]
mod worlds_tests;
