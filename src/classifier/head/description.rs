//! The description of a head: the data and the inputs that it was fitted to, and the settings that go with its numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::encoder::Pooling;
use super::super::stats;
use super::neighbours::{Near, Shelf};
use super::{Evidence, HeadError, logit};

/// The version of the file's layout that this program reads and writes.
pub const FORMAT: u32 = 2;
/// The oldest version that it reads: without [`Description::kinds`], and with one weight for each opinion.
pub(super) const OLDEST: u32 = 1;

/// The source whose outcomes are a gateway's own traffic.
pub const OWN_TRAFFIC: &str = "log";

/// Most tasks of one source.
pub const MOST_KINDS: usize = 256;

/// Longest context for the bandit.
pub const MOST_CONTEXT: usize = 32;

/// The description of a head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Version of the layout.
    pub format: u32,
    /// A name for people.
    pub name: String,
    /// The beginning of a hash of everything else in the file (see [`Head::versioned`](super::Head::versioned)): the
    /// same data, recipe and seed give the same version. Empty in older heads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Names encoder and projection: contexts of two spaces are never comparable.
    pub space: String,
    /// The encoder whose states it reads.
    pub encoder: String,
    /// Which of its states, and how they are pooled.
    pub pooling: Pooling,
    /// Tokens read of a prompt.
    pub max_tokens: usize,
    /// Names of the text statistics, in order.
    pub statistics: Vec<String>,
    /// Length of the pooled vector.
    pub pooled: usize,
    /// Length of its projection.
    pub projected: usize,
    /// Width of the trunk's hidden layer.
    pub hidden: usize,
    /// Length of `a(x)`; `d(x)` is one more.
    pub latent: usize,
    /// Length of the bandit's context.
    pub context: usize,
    /// The models it was fitted to.
    pub arms: Vec<ArmNote>,
    /// Task labels.
    pub tasks: Vec<String>,
    /// The memory's sources.
    pub shelves: Vec<Shelf>,
    /// How the memory is asked.
    pub recall: Recall,
    /// The familiarity scale over all sources.
    pub familiarity: Familiarity,
    /// For each of [`Self::shelves`]: how near a prompt must be to *that source's* prompts for the differences between
    /// its models to be trusted. An older head has none, and trusts them everywhere.
    #[serde(default)]
    pub trust: Vec<Familiarity>,
    /// For each of [`Self::shelves`]: the number of its tasks. An older head has none.
    #[serde(default)]
    pub kinds: Vec<usize>,
    /// Which measured models stand in for those that nobody measured.
    #[serde(default)]
    pub likeness: Likeness,
    /// Sources it was trained on.
    pub trained_on: Vec<String>,
    /// The seed of everything drawn.
    pub seed: u64,
}

/// A model of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmNote {
    /// The collection.
    pub source: String,
    /// The model, as its source writes it.
    pub model: String,
    /// Mean score on the training prompts.
    pub mean: f32,
    /// Number of these prompts.
    pub prompts: usize,
}

/// How the memory is asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Neighbours taken from each source.
    pub neighbours: usize,
    /// How fast a neighbour's weight falls with distance.
    pub sharpness: f32,
    /// Weight of the model's mean against its neighbours' outcomes.
    pub settle: f32,
}

impl Recall {
    /// Log-odds of the neighbours' mean score, smoothed towards the model's mean.
    pub fn log_odds(&self, (mean, weight): (f32, f32), prior: f32) -> f32 {
        logit((mean * weight + prior * self.settle) / (weight + self.settle).max(1e-6))
    }
}

/// A familiarity scale: from the similarity of the nearest training prompts to 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Familiarity {
    /// Neighbours whose mean similarity counts.
    pub neighbours: usize,
    /// At this similarity and above, familiarity is 1.
    pub near: f32,
    /// At this similarity and below, it is 0.
    pub far: f32,
}

impl Familiarity {
    /// The mean similarity of the nearest prompts, over all sources.
    pub fn similarity(&self, near: &[Near]) -> f32 {
        let mut all: Vec<f32> =
            near.iter().flat_map(|near| near.found.iter().take(self.neighbours)).map(|found| found.0).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all.truncate(self.neighbours);
        if all.is_empty() { -1.0 } else { all.iter().sum::<f32>() / all.len() as f32 }
    }

    /// Familiarity of a prompt with these neighbours.
    pub fn of(&self, near: &[Near]) -> f32 {
        ((self.similarity(near) - self.far) / (self.near - self.far).max(1e-6)).clamp(0.0, 1.0)
    }
}

impl Description {
    /// Shrinks differences between the models of each source whose prompts are unlike this one, given its neighbours,
    /// to the differences of the models' means; what the models share stays. How hard a prompt is can be told from
    /// other sources' prompts; which model is better on it cannot, because a source's models have outcomes on its own
    /// prompts alone. So an unfamiliar prompt goes to the model that is best overall.
    pub(super) fn shrink(&self, near: &[Near], log_odds: &mut [f32]) {
        for ((shelf, near), trust) in self.shelves.iter().zip(near).zip(&self.trust) {
            let believed = trust.of(std::slice::from_ref(near));
            if believed >= 1.0 || shelf.arms.is_empty() {
                continue;
            }
            let usual = |arm: usize| logit(self.arms[arm].mean);
            let moved = shelf.arms.iter().map(|arm| log_odds[*arm] - usual(*arm));
            let shared = moved.sum::<f32>() / shelf.arms.len() as f32;
            for arm in &shelf.arms {
                log_odds[*arm] = believed * log_odds[*arm] + (1.0 - believed) * (usual(*arm) + shared);
            }
        }
    }
}

/// For a model's name, or a prefix of names that ends in `*`: the measured models that stand in for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Likeness(pub BTreeMap<String, Vec<Evidence>>);

impl Likeness {
    /// The stand-ins for a model: of its own entry, or of the longest prefix that fits.
    pub fn of(&self, model: &str) -> Option<&[Evidence]> {
        let fits = |pattern: &&String| pattern.strip_suffix('*').is_some_and(|start| model.starts_with(start));
        let key = self.0.get_key_value(model).map(|(key, _)| key);
        let key = key.or_else(|| self.0.keys().filter(fits).max_by_key(|pattern| pattern.len()))?;
        self.0.get(key).map(Vec::as_slice)
    }
}

impl Description {
    /// The names of this program's statistics.
    pub fn statistics_of_this_program() -> Vec<String> {
        stats::NAMES.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The arm of that source and model, or of that model alone where one source has it.
    pub fn arm(&self, name: &str) -> Option<usize> {
        let full = |arm: &ArmNote| {
            name.strip_prefix(&arm.source).and_then(|rest| rest.strip_prefix('/')) == Some(&arm.model)
        };
        self.arms.iter().position(full).or_else(|| self.arms.iter().position(|arm| arm.model == name))
    }

    pub(super) fn check(&self) -> Result<(), HeadError> {
        if !(OLDEST..=FORMAT).contains(&self.format) {
            let read = format!("this program reads {OLDEST} to {FORMAT}");
            return Err(HeadError::Unfit(format!("it has format {}, and {read}", self.format)));
        }
        // An older head uses the first statistics, which are those that it knows.
        if !Self::statistics_of_this_program().starts_with(&self.statistics) {
            return Err(HeadError::Unfit("it was fitted to other text statistics; train it again".into()));
        }
        let sizes = [self.pooled, self.projected, self.hidden, self.latent, self.context];
        if sizes.iter().any(|size| *size > 1 << 16) || self.context > MOST_CONTEXT {
            return Err(HeadError::Malformed(format!("it cannot have these dimensions: {sizes:?}")));
        }
        if !self.trust.is_empty() && self.trust.len() != self.shelves.len() {
            return Err(HeadError::Malformed("it has no familiarity scale for some source".into()));
        }
        if !self.kinds.is_empty() && self.kinds.len() != self.shelves.len() {
            return Err(HeadError::Malformed("it has no number of tasks for some source".into()));
        }
        if self.kinds.iter().any(|count| *count > MOST_KINDS) {
            return Err(HeadError::Malformed("a source of it has more tasks than are supported".into()));
        }
        let measures = || self.trust.iter().chain([&self.familiarity]);
        let recall = &self.recall;
        if !(recall.sharpness.is_finite() && recall.settle.is_finite() && recall.settle >= 0.0)
            || measures().any(|measure| !measure.near.is_finite() || !measure.far.is_finite())
        {
            return Err(HeadError::Malformed("its settings of memory and familiarity are not finite".into()));
        }
        if self.arms.is_empty() {
            return Err(HeadError::Malformed("it has no models".into()));
        }
        Ok(())
    }
}
