//! The result of a training job, which the report shows.

use std::path::PathBuf;

use super::evaluate::Evaluation;
use super::fit::{Compared, Epoch};
use super::in_force::AgainstInForce;
use crate::classifier::head::Head;

/// The result of a training job.
#[derive(Debug)]
pub struct Trained {
    /// The head.
    pub head: Head,
    /// Notes on what was left out or assumed while reading the data.
    pub notes: Vec<String>,
    /// The alternatives that were compared.
    pub compared: Vec<Compared>,
    /// How the trunk learned.
    pub curve: Vec<Epoch>,
    /// The head beside the one in force.
    pub in_force: AgainstInForce,
    /// On val, where choices were made.
    pub val: Option<Evaluation>,
    /// On test, which nothing was chosen by.
    pub test: Option<Evaluation>,
    /// Path of the head.
    pub file: PathBuf,
    /// Path of the report's page.
    pub report: PathBuf,
}
