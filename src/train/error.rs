//! Why a training job ends early.

use std::path::PathBuf;

use super::dataset::{Leak, Split};
use super::features::FeatureError;
use super::finetune::FinetuneError;
use super::fit::{FitError, Stopped};
use crate::classifier::head::HeadError;

/// Fewest different training prompts for a fit.
pub(super) const FEWEST: usize = 10;

/// Why a training job ended early.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The recipe has a number that is out of range.
    #[error("the recipe: {0}")]
    Recipe(&'static str),
    /// The recipe asks for a source that the data does not have.
    #[error("the data has no source `{0}`, but {1}; `--sources` says which are used, and without it the recipe does")]
    Source(String, String),
    /// The data does not have a task family that is to be left out.
    #[error("the data has no task family `{0}`, but {1}")]
    Family(String, String),
    /// A question is in two splits.
    #[error(transparent)]
    Leak(#[from] Leak),
    /// The recipe reads layers that the encoder does not have.
    #[error("the recipe reads layers {0:?}, and the encoder has {1}: `[pooling] layers` of a recipe names others")]
    Layers(Vec<usize>, usize),
    /// There is too little to learn from.
    #[error("train has {0} different prompts with an outcome: too little data, at least {FEWEST} are needed")]
    TooFew(usize),
    /// The split that is to be judged is empty.
    #[error("the data has no prompts in `{0}`")]
    Empty(Split),
    /// No question of train can be spared for val.
    #[error("the data has no val, and train is a single question, of which none can be spared for it")]
    OneQuestion,
    /// Prompts could not be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The encoder could not be tuned.
    #[error(transparent)]
    Finetune(#[from] FinetuneError),
    /// No head could be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The head cannot be written.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The job was asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A result cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
