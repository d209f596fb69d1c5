//! The gateway as its users meet it: the real server on a free port, real HTTP, stand-ins for the paid vendors that can
//! be told to misbehave.

#![allow(clippy::unwrap_used)] // a panic here is the failure report

mod access;
mod admin;
mod asked_in_responses;
mod broken_off;
mod cli;
mod compaction;
mod conversations;
mod crash;
mod crowd;
mod dashboard;
mod discovery;
mod embeddings;
mod failover;
mod feedback;
mod full_disk;
mod learning;
mod matrix;
mod otlp;
mod packaging;
mod passing_responses;
mod patience;
mod refusals;
mod reload;
mod routing;
mod secrets;
mod shutdown;
mod streaming;
mod support;
mod training;
