//! The head: from the encoder's states of a prompt to the probability that each model answers it well.
//!
//! 1. **Input.** Pooled states, standardised and projected, beside the cheap text statistics.
//! 2. **Trunk.** One hidden layer with a linear skip connection computes the prompt's demands `a(x)` and its difficulty
//!    `d(x)`. A model is an ability vector `theta_m` and a level `b_m`, and `P(good | x, m) = sigmoid(a(x) . theta_m -
//!    d(x) + b_m)`: item response theory with many dimensions (Reckase, "Multidimensional item response theory", 2009).
//!    All models of all sources share the trunk, so one source's outcomes teach what is hard for the others.
//! 3. **Memory.** The nearest training prompts' outcomes are a second opinion ([`neighbours`]), and how well each model
//!    does at the tasks that the prompt is like is a third ([`kinds`]). Their weights (one for what a source's models
//!    have in common, one for what tells them apart) and the calibration of their sum were fitted on validation data.
//! 4. **Familiarity.** A prompt far from all training prompts is judged by text statistics alone: there the trunk and
//!    the memory would be confidently wrong, while length and digits still work. Differences between the models of a
//!    source are trusted only near that source's prompts ([`Description::trust`]).
//! 5. **Tools.** How hard a question is says little of how hard it is to call the right tool for it. So where there are
//!    tools it counts half for a head that was fitted to prompts without any, and what tools themselves are known to make
//!    harder counts against all models alike ([`TextStats::burden_of_tools`]).
//! 6. **Attribution.** What moved a model's log-odds away from its usual ones, as an exact sum ([`attribution`]).
//! 7. **By-products.** A whitened, bounded `z` for the bandit, a task label, expected output tokens.
//!
//! A model that was never measured gets an [`Ability`] from models that it is said to be like, from a score, or from
//! both; the estimate says which ([`ability`]). A head is one safetensors file ([`artefact`]). It names the encoder,
//! the pooling and the statistics that it was fitted to, and does not work with others.

mod ability;
mod artefact;
mod attribution;
mod description;
mod kinds;
mod matrix;
mod neighbours;
mod parts;

use std::path::Path;

use sha2::{Digest, Sha256};

pub use ability::{Ability, Contender, Evidence};
pub use attribution::Traces;
pub use description::{
    ArmNote, Description, FORMAT, Familiarity, Likeness, MOST_CONTEXT, MOST_KINDS, OWN_TRAFFIC, Recall,
};
pub use kinds::{Kinds, softmax};
pub use matrix::{Matrix, add_scaled, dot, from_bf16, logit, sigmoid, to_bf16};
pub use neighbours::{Memory, Near, Shelf};
pub use parts::{Arms, CALIBRATION, Input, OPINIONS, Parts, Projection, Trunk};

use super::stats::TextStats;
use crate::bandit::Odds;
use attribution::Opinions;

/// Largest value of a feature in `z`, in standard deviations.
pub const BOUND: f32 = 3.0;

/// Why a head cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a head, or contradicts itself.
    #[error("the head cannot be used: {0}")]
    Malformed(String),
    /// It was fitted to other inputs than this program makes.
    #[error("the head does not fit: {0}")]
    Unfit(String),
}

/// A fitted head.
#[derive(Debug, Clone)]
pub struct Head {
    description: Description,
    parts: Parts,
    /// Latents of some training prompts, for averages over prompts.
    reference: Matrix,
}

/// A head's reading of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadReading {
    /// Context for the bandit: whitened, within +-[`BOUND`].
    pub z: Vec<f32>,
    /// 1 = like the training data, 0 = nothing like it.
    pub familiarity: f32,
    /// The prompt's task: an index into [`Description::tasks`].
    pub task: Option<usize>,
    /// Calibrated log-odds of a good answer for each arm.
    pub log_odds: Vec<f32>,
    /// Natural logarithm of expected output tokens for each arm; NaN where no outcome had any.
    pub log_tokens: Vec<f32>,
    /// The contributions to the log-odds.
    pub traces: Traces,
}

/// A head's estimate for one model on one prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadEstimate {
    /// Probability of a good answer.
    pub quality: f64,
    /// Expected output tokens, where the evidence has any.
    pub output_tokens: Option<f64>,
    /// The log-odds as a sum of contributions.
    pub odds: Odds,
}

impl Head {
    /// Makes a head of fitted parts.
    ///
    /// # Errors
    ///
    /// The parts do not fit together, or do not fit this program.
    pub fn new(description: Description, parts: Parts) -> Result<Self, HeadError> {
        description.check()?;
        parts.check(&description)?;
        let reference = parts.reference();
        Ok(Self { description, parts, reference })
    }

    /// This head with a version made from its content: the first twelve hexadecimal digits of the SHA-256 of its bytes
    /// without a version.
    ///
    /// # Errors
    ///
    /// As for [`Self::to_bytes`].
    pub fn versioned(mut self) -> Result<Self, HeadError> {
        self.description.version.clear();
        self.description.version = format!("{:x}", Sha256::digest(self.to_bytes()?))[..12].to_owned();
        Ok(self)
    }

    /// Reads a head's file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not a head for this program.
    pub fn load(path: &Path) -> Result<Self, HeadError> {
        let bytes =
            std::fs::read(path).map_err(|source| HeadError::File { path: path.display().to_string(), source })?;
        Self::from_bytes(&bytes)
    }

    /// Reads a head.
    ///
    /// # Errors
    ///
    /// The bytes are not a head for this program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeadError> {
        let artefact = artefact::Artefact::read(bytes)?;
        let description: Description = serde_json::from_str(&artefact.description)
            .map_err(|error| HeadError::Malformed(format!("its description: {error}")))?;
        description.check()?;
        let parts = Parts::take(&artefact, &description)?;
        Self::new(description, parts)
    }

    /// The file's bytes; the same head gives the same bytes.
    ///
    /// # Errors
    ///
    /// The description cannot be written as JSON, as with numbers that are not finite.
    pub fn to_bytes(&self) -> Result<Vec<u8>, HeadError> {
        let description = serde_json::to_string(&self.description)
            .map_err(|error| HeadError::Malformed(format!("its description: {error}")))?;
        let mut artefact = artefact::Artefact::described(description);
        self.parts.put(&mut artefact);
        Ok(artefact.write())
    }

    /// The head's description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The head's numbers.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Reads a prompt. `pooled` are the encoder's states of it, pooled as this head wants.
    pub fn read(&self, pooled: &[f32], stats: &TextStats) -> HeadReading {
        let parts = &self.parts;
        let x = parts.input.of(pooled, stats);
        let latent = parts.trunk.latent(&x);
        let key = parts.input.key(&x, &latent);
        let recall = &self.description.recall;
        let near = parts.memory.nearest(&key, recall.neighbours, None);
        let familiarity = self.description.familiarity.of(&near);
        let opinions = parts.memory.opinions(&near, recall.sharpness, self.description.arms.len());
        let trunk = parts.arms.log_odds(&latent);
        let plain = parts.arms.plain_log_odds(parts.input.statistics(&x));
        let arms = &self.description.arms;
        let recalled: Vec<f32> =
            opinions.iter().zip(arms).map(|(opinion, arm)| recall.log_odds(*opinion, arm.mean)).collect();
        let usual: Vec<f32> = arms.iter().map(|arm| logit(arm.mean)).collect();
        let tasks = parts.kinds.opinions(&self.description.kinds, &parts.memory.shelves, &x, &usual);
        let known = parts.arms.calibrated(&parts.memory.shelves, [&trunk, &recalled, &tasks]);
        let mixed: Vec<f32> =
            known.iter().zip(plain).map(|(known, plain)| familiarity * known + (1.0 - familiarity) * plain).collect();
        let mut log_odds = mixed.clone();
        self.description.shrink(&near, &mut log_odds);
        let untaught = stats.offers_tools() && !parts.input.knows_tools();
        if untaught {
            parts.even_out(&usual, &mut log_odds);
        }
        let shrunk = log_odds.iter().zip(mixed).map(|(after, before)| after - before).collect();
        let burden = if untaught { stats.burden_of_tools() } else { 0.0 };
        log_odds.iter_mut().for_each(|odds| *odds -= burden);
        let task = parts.task(&x);
        HeadReading {
            z: parts.z.of(&latent),
            familiarity,
            task,
            log_odds,
            log_tokens: parts.arms.log_tokens(&latent),
            traces: Traces::of(parts, task, &x, &latent, Opinions { recalled, tasks, shrunk, burden }),
        }
    }

    /// The estimate for a model with this ability, from a reading.
    pub fn estimate(&self, reading: &HeadReading, ability: &Ability) -> HeadEstimate {
        let (mut tokens, mut known) = (0.0, 0.0);
        for (arm, weight) in &ability.parts {
            if reading.log_tokens[*arm].is_finite() {
                tokens += weight * reading.log_tokens[*arm];
                known += weight;
            }
        }
        HeadEstimate {
            quality: f64::from(sigmoid(ability.log_odds(&reading.log_odds))),
            output_tokens: (known > 0.0).then(|| f64::from((tokens / known).exp())),
            odds: reading.traces.odds(&self.parts, &self.description, reading, ability),
        }
    }

    /// The name of the reading's task.
    pub fn task_name(&self, reading: &HeadReading) -> Option<&str> {
        reading.task.and_then(|task| self.description.tasks.get(task)).map(String::as_str)
    }
}

#[cfg(test)]
pub(crate) mod tests;
