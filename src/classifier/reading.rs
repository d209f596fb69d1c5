//! The classifier's reading of a prompt: features for the bandit, and for each model the probability of a good answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::bandit::{Grounds, Odds};

/// The classifier's reading of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The bandit's context: at most 32 numbers, whitened, bounded.
    pub features: Arc<[f32]>,
    /// Names the encoder and the projection that made the features. Features of two spaces are never comparable.
    pub space: Arc<str>,
    /// Label of the prompt's task (`code`, `math`, `chat`...).
    pub task: Option<Arc<str>>,
    /// 1 = like the training data, 0 = nothing like it.
    pub familiarity: f32,
    /// Tokens of the prompt that were read.
    pub tokens: u32,
    /// Whether the prompt was longer.
    pub truncated: bool,
    /// Whether less than usual was read of it, so that it was read in time.
    pub shortened: bool,
    /// Whether the reading came from the cache.
    pub cached: bool,
    /// Time from request to reading, waiting included.
    pub took: Duration,
    pub(super) estimates: Arc<Estimates>,
}

impl Reading {
    /// The estimate for `model` (its name in the configuration); the default for a model that is not configured.
    pub fn estimate(&self, model: &str) -> Estimate {
        self.estimates.get(model)
    }

    /// Bytes in memory, shared parts counted in full.
    pub(super) fn size(&self) -> usize {
        let estimates: usize = self.estimates.0.keys().map(|name| name.len() + ESTIMATE_SIZE).sum();
        size_of::<Self>() + size_of_val(&*self.features) + estimates
    }
}

/// Rough bytes of an entry of the map, allocations included.
const ESTIMATE_SIZE: usize = size_of::<Estimate>() + size_of::<String>() + 32;

/// An estimate for each configured model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Estimates(pub(super) BTreeMap<String, Estimate>);

impl Estimates {
    pub(super) fn get(&self, model: &str) -> Estimate {
        self.0.get(model).cloned().unwrap_or_default()
    }
}

/// An estimate of how well a model would do on a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Probability of a good answer, calibrated where it is learned.
    pub quality: f64,
    /// Tokens it would generate, where known.
    pub output_tokens: Option<f64>,
    /// What it rests on.
    pub source: EstimateSource,
    /// The log-odds of the quality as a sum of contributions, where a prompt was read.
    #[serde(skip)]
    pub odds: Option<Odds>,
}

impl Default for Estimate {
    fn default() -> Self {
        Self { quality: 0.5, output_tokens: None, source: EstimateSource::Default, odds: None }
    }
}

/// What an estimate rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateSource {
    /// Measured outcomes of this very model.
    Learned,
    /// The record of a model that is said to be like it.
    Like(String),
    /// The configured score.
    Score,
    /// Nothing: the same for any model.
    Default,
}

impl EstimateSource {
    /// The bandit's term for it, which decides how firm a prior is.
    pub fn grounds(&self) -> Grounds {
        match self {
            Self::Learned => Grounds::Fitted,
            Self::Like(_) | Self::Score => Grounds::Likened,
            Self::Default => Grounds::Nothing,
        }
    }
}

/// Why routing goes on without a reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// The classifier is switched off.
    #[error("the classifier is switched off")]
    Disabled,
    /// The model is still being loaded.
    #[error("the classifier is still loading its model")]
    Loading,
    /// The queue is full.
    #[error("the classifier's queue is full")]
    Busy,
    /// The budget was spent.
    #[error("the classifier did not answer within its budget")]
    TooSlow,
    /// The model is loaded, but there is no head for it.
    #[error("the classifier has no head")]
    NoHead,
    /// The request has no text, as with an image alone.
    #[error("the request has no text to read")]
    NoWords,
    /// Reading failed; the text says why and quotes nothing of a prompt.
    #[error("the classifier does not work: {0}")]
    Failed(String),
}

impl Missed {
    /// The names of those that are counted: all but that nothing was to be read.
    pub(super) const COUNTED: [&'static str; 6] = ["loading", "busy", "too_slow", "no_head", "no_words", "failed"];

    /// Its name in metrics and headers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::TooSlow => "too_slow",
            Self::NoHead => "no_head",
            Self::NoWords => "no_words",
            Self::Failed(_) => "failed",
        }
    }
}
