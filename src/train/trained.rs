//! What a training job gives: its figures, and where it wrote them. The job makes it, the report tells of it.

use std::path::PathBuf;

use super::evaluate::Evaluation;
use super::fit::{Compared, Epoch};
use super::in_force::AgainstInForce;
use crate::classifier::head::Head;

/// What a job gives.
#[derive(Debug)]
pub struct Trained {
    /// The head.
    pub head: Head,
    /// What was left out or supposed in reading the data.
    pub notes: Vec<String>,
    /// All that was tried.
    pub compared: Vec<Compared>,
    /// How the trunk learned.
    pub curve: Vec<Epoch>,
    /// The head beside the one in force.
    pub in_force: AgainstInForce,
    /// On val, where choices were made.
    pub val: Option<Evaluation>,
    /// On test, which nothing was chosen by.
    pub test: Option<Evaluation>,
    /// The artefact, and the report beside it.
    pub file: PathBuf,
    /// The report.
    pub report: PathBuf,
}
