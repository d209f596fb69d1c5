//! The offline jobs: recorded outcomes -> fit -> report, and policies replayed over recorded outcomes.
//!
//! A training [`job`] writes a head and its report, which says how the head does beside baselines and beside the head
//! in force ([`in_force`]). It takes nothing into use: an operator does, with `classifier.head`.

pub mod dataset;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod finetune;
pub mod fit;
pub mod in_force;
pub mod job;
mod known;
pub mod metrics;
mod notes;
mod parallel;
mod patience;
pub mod recipe;
pub mod replay;
pub mod report;
pub mod results;
mod trained;
pub mod validate;
