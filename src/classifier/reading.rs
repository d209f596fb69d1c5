//! What the classifier made of one prompt: features for the bandit, and for each model how likely it does well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::bandit::{Grounds, Odds};

/// What the classifier made of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The bandit's context: at most 32 numbers, whitened, bounded.
    pub features: Arc<[f32]>,
    /// Names the encoder and the projection that made the features. Features of two spaces are never comparable.
    pub space: Arc<str>,
    /// What kind of work the prompt asks for (`code`, `math`, `chat`...).
    pub task: Option<Arc<str>>,
    /// 1 = like the training data, 0 = nothing like it.
    pub familiarity: f32,
    /// Tokens of the prompt that were read.
    pub tokens: u32,
    /// Whether the prompt was longer.
    pub truncated: bool,
    /// Whether the reading was kept from an earlier request.
    pub cached: bool,
    /// From the question to the answer, waiting included.
    pub took: Duration,
    pub(super) estimates: Arc<Estimates>,
}

impl Reading {
    /// How `model` (its name in the configuration) would do; a model nobody configured gets the default.
    pub fn estimate(&self, model: &str) -> Estimate {
        self.estimates.get(model)
    }

    /// Bytes it keeps in memory, shared parts counted in full.
    pub(super) fn size(&self) -> usize {
        let estimates: usize = self.estimates.0.keys().map(|name| name.len() + ESTIMATE_SIZE).sum();
        size_of::<Self>() + size_of_val(&*self.features) + estimates
    }
}

/// An entry of the map with its allocations, roughly.
const ESTIMATE_SIZE: usize = size_of::<Estimate>() + size_of::<String>() + 32;

/// An estimate for each configured model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Estimates(pub(super) BTreeMap<String, Estimate>);

impl Estimates {
    pub(super) fn get(&self, model: &str) -> Estimate {
        self.0.get(model).cloned().unwrap_or_default()
    }
}

/// How a model would do on a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Probability of a good answer, calibrated where it is learned.
    pub quality: f64,
    /// Tokens it would generate, where known.
    pub output_tokens: Option<f64>,
    /// What it rests on.
    pub source: EstimateSource,
    /// The log-odds of that quality as a sum, where a prompt was read.
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
    /// Nothing: any model.
    Default,
}

impl EstimateSource {
    /// How firm a prior is that rests on it.
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
    /// It is switched off.
    #[error("the classifier is switched off")]
    Disabled,
    /// The model is not there yet.
    #[error("the classifier is still loading its model")]
    Loading,
    /// Too many prompts wait.
    #[error("too many prompts wait for the classifier")]
    Busy,
    /// The budget was spent.
    #[error("the classifier did not answer within its budget")]
    TooSlow,
    /// The model is there, and no head that would say what its states mean.
    #[error("the classifier has no head to read prompts by")]
    NoHead,
    /// Nobody said a word: a picture alone, say.
    #[error("there are no words to read")]
    NoWords,
    /// It does not work; the text says why and holds nothing of a prompt.
    #[error("the classifier does not work: {0}")]
    Failed(String),
}

impl Missed {
    /// A word for metrics and headers.
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
