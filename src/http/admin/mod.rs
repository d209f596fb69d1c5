//! The admin listener's endpoints, one a file.

pub mod config;
pub mod metrics;
pub mod models;
pub mod openapi;
