//! The admin listener's endpoints, one a file.

pub mod audit;
pub mod config;
pub mod decisions;
pub mod export;
pub mod learning;
pub mod live;
pub mod logs;
pub mod metrics;
pub mod models;
pub mod openapi;
pub mod overview;
pub mod parameters;
pub mod playground;
pub mod policy;
pub mod requests;
pub mod tokens;
