//! The offline job: recorded outcomes -> fit -> report -> promote or refuse.

pub mod dataset;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod finetune;
pub mod fit;
pub mod job;
mod known;
pub mod metrics;
mod notes;
mod parallel;
mod patience;
pub mod recipe;
pub mod replay;
pub mod report;
mod trained;
pub mod validate;
