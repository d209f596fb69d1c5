//! The offline job: recorded outcomes -> fit -> report -> promote or refuse.

pub mod dataset;
pub mod metrics;
pub mod replay;
