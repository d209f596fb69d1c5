//! `pointsman train --finetune N`: the encoder's last layers learn from the training prompts before a head is fitted.
//!
//! 1. All prompts of train and val are tokenised and encoded as the encoder is now; states are standardised by these.
//! 2. A head alone learns on these states, so that its first, large errors do not change the encoder.
//! 3. Both learn together ([`crate::classifier::tune`]), the rate up over a tenth of the way and then down a cosine.
//!    The loss on val is measured after each pass; the best pass is kept, and tuning stops after some passes without
//!    gain.
//! 4. Where no pass was better than the encoder as it was, nothing is written.

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Split};
use super::fit::{Progress, Stage, Stopped, moments, rate_at, share};
use super::patience::Patience;
use crate::classifier::LoadError;
use crate::classifier::head::logit;
use crate::classifier::source::Files;
use crate::classifier::stats::{self, TextStats};
use crate::classifier::tune::{Example, Plan, Tuner, Written, write};
use crate::config;

/// Largest standardised statistic.
const CLIP: f32 = 4.0;
/// Batches whose prompts are sorted by length together, so that little is padding.
const SORTED_TOGETHER: usize = 16;

/// How an encoder is tuned: the recipe's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneSettings {
    /// Layers tuned, counted back from the one that is read; 0 = no fine-tuning.
    pub layers: usize,
    /// Rank of the change of each product.
    pub rank: usize,
    /// Largest learning rate of the encoder.
    pub rate: f64,
    /// Largest learning rate of the head.
    pub head_rate: f64,
    /// Weight decay of the head.
    pub decay: f64,
    /// Share of the head's inputs and hidden values that are left out at random.
    pub dropout: f32,
    /// Tokens read of a prompt, half of them from each end of a longer one. Serving may read more.
    pub tokens: usize,
    /// Prompts in a step.
    pub batch: usize,
    /// Tokens in a lot, which bounds memory: about 100 kB for each token and layer.
    pub lot: usize,
    /// Passes of the head alone.
    pub warm_up: usize,
    /// Passes of both.
    pub epochs: usize,
    /// Passes without gain on val before tuning stops.
    pub patience: usize,
    /// Width of the head's hidden layer.
    pub hidden: usize,
    /// Demands (latent dimensions) of the head.
    pub latent: usize,
    /// Most training prompts; 0 = all.
    pub prompts: usize,
    /// The seed of everything drawn.
    pub seed: u64,
}

impl Default for FinetuneSettings {
    fn default() -> Self {
        Self {
            layers: 0,
            rank: 16,
            rate: 3e-4,
            head_rate: 1e-3,
            decay: 5e-2,
            dropout: 0.3,
            tokens: 96,
            batch: 32,
            lot: 1024,
            warm_up: 5,
            epochs: 2,
            patience: 1,
            hidden: 128,
            latent: 24,
            prompts: 0,
            seed: 1,
        }
    }
}

/// Why an encoder was not tuned.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// It cannot be loaded, or a computation failed.
    #[error(transparent)]
    Encoder(#[from] LoadError),
    /// Train or val is empty.
    #[error("the data has no prompts in `{0}`, which fine-tuning needs")]
    Empty(Split),
    /// The recipe reads something other than the mean of one layer.
    #[error("fine-tuning wants a recipe that reads the mean of one layer (pooling: one layer, mean, not last)")]
    Pooling,
    /// The work was asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The result of fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuned {
    /// Log-loss on val after each pass; the first is the head's on the encoder as it was.
    pub val: Vec<f64>,
    /// Numbers that were learned in the encoder.
    pub learned: usize,
    /// The written encoder, where a pass was better than none.
    pub written: Option<Written>,
}

/// One prompt as the tuner takes it.
struct Line {
    ids: Vec<u32>,
    pooled: Vec<f32>,
    statistics: Vec<f32>,
    outcomes: Vec<(usize, f32)>,
    weight: f32,
}

impl Line {
    fn example(&self) -> Example<'_> {
        let Self { ids, pooled, statistics, outcomes, weight } = self;
        Example { ids, pooled, statistics, outcomes, weight: *weight }
    }
}

/// Tunes the encoder in `base` for reading layer `read`, and writes it to `out` where the loss on val fell.
///
/// # Errors
///
/// See [`FinetuneError`].
pub fn finetune(
    settings: &FinetuneSettings,
    read: usize,
    dataset: &Dataset,
    base: &Files,
    device: config::Device,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Tuned, FinetuneError> {
    for split in [Split::Train, Split::Val] {
        if !dataset.has(split) {
            return Err(FinetuneError::Empty(split));
        }
    }
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let mut rows: Vec<usize> = (0..dataset.records.len()).collect();
    rows.retain(|row| dataset.records[*row].split == Split::Train);
    rows.shuffle(&mut rng);
    if settings.prompts > 0 {
        rows.truncate(settings.prompts);
    }
    let trained = rows.len();
    rows.extend((0..dataset.records.len()).filter(|row| dataset.records[*row].split == Split::Val));

    let plan = Plan {
        read,
        tuned: settings.layers,
        rank: settings.rank,
        tokens: settings.tokens.max(2),
        lot: settings.lot,
        statistics: stats::COUNT,
        hidden: settings.hidden,
        latent: settings.latent,
        dropout: settings.dropout,
        decay: settings.decay,
        levels: levels(dataset, &rows[..trained]),
        seed: settings.seed,
    };
    let mut tuner = Tuner::open(base, device, plan)?;
    let mut lines = lines(dataset, &rows, &tuner, progress)?;
    standardise(&mut lines, trained, &mut tuner)?;
    let (train, val) = lines.split_at(trained);
    let mut val: Vec<Example<'_>> = val.iter().map(Line::example).collect();
    val.sort_by_key(|example| example.ids.len());

    let steps_of = |epochs: usize| epochs * train.len().div_ceil(settings.batch.max(1));
    progress.begin(Stage::Tune, (steps_of(settings.epochs)) as u64);
    for _ in 0..settings.warm_up {
        // The head alone costs next to nothing, and wants larger batches.
        let order: Vec<usize> = (0..train.len()).collect();
        for batch in super::fit::batches(&order, 8 * settings.batch.max(1), &mut rng) {
            tuner.warm(&batch.iter().map(|at| train[*at].example()).collect::<Vec<_>>(), 2.0 * settings.head_rate)?;
        }
    }
    let mut told = vec![tuner.loss(&val)?];
    let mut patience = Patience::new(told[0], settings.patience);
    let mut step = 0;
    for epoch in 0..settings.epochs {
        let mut sum = (0.0, 0);
        for batch in by_length(train, settings.batch.max(1), &mut rng) {
            let share = step as f32 / steps_of(settings.epochs).max(1) as f32;
            let rate = |peak: f64| f64::from(rate_at(peak as f32, share));
            let examples: Vec<Example<'_>> = batch.iter().map(|at| train[*at].example()).collect();
            sum.0 += tuner.learn(&examples, rate(settings.rate), rate(settings.head_rate))?;
            sum.1 += 1;
            step += 1;
            let note = format!(
                "pass {}, log-loss {:.4}, on val {:.4} before it",
                epoch + 1,
                sum.0 / f64::from(sum.1),
                told.last().unwrap_or(&f64::NAN)
            );
            progress.at(step as u64, &note)?;
        }
        let loss = tuner.loss(&val)?;
        told.push(loss);
        if patience.gains(loss) {
            tuner.remember()?;
        }
        if patience.is_over() {
            break;
        }
    }
    progress.end();
    let written = if patience.best() < told[0] {
        tuner.recall()?;
        Some(write(&tuner, base, out)?)
    } else {
        None
    };
    Ok(Tuned { val: told, learned: tuner.learned().0, written })
}

/// Log-odds of each model's mean score over the training prompts, weighted by record.
fn levels(dataset: &Dataset, rows: &[usize]) -> Vec<f32> {
    let mut sums = vec![(0.5f64, 1.0f64); dataset.arms.len()];
    for record in rows.iter().map(|row| &dataset.records[*row]) {
        let said = f64::from(record.weight);
        for outcome in &record.outcomes {
            let sum = &mut sums[outcome.arm as usize];
            *sum = (sum.0 + said * f64::from(outcome.score), sum.1 + said);
        }
    }
    sums.into_iter().map(|(sum, count)| logit((sum / count) as f32)).collect()
}

/// All prompts, encoded as the encoder is now.
fn lines(
    dataset: &Dataset,
    rows: &[usize],
    tuner: &Tuner,
    progress: &dyn Progress,
) -> Result<Vec<Line>, FinetuneError> {
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let record = &dataset.records[*row];
        lines.push(Line {
            ids: tuner.tokens(&record.prompt)?,
            pooled: Vec::new(),
            statistics: TextStats::of(&record.prompt).values.to_vec(),
            outcomes: record.outcomes.iter().map(|outcome| (outcome.arm as usize, outcome.score)).collect(),
            weight: record.weight * share(record.outcomes.len()),
        });
    }
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|at| lines[*at].ids.len());
    progress.begin(Stage::Features, lines.iter().map(|line| line.ids.len() as u64).sum());
    let mut done = 0;
    for some in order.chunks(64) {
        let ids: Vec<&[u32]> = some.iter().map(|at| lines[*at].ids.as_slice()).collect();
        let pooled = tuner.pooled(&ids)?;
        done += ids.iter().map(|ids| ids.len() as u64).sum::<u64>();
        for (at, pooled) in some.iter().zip(pooled) {
            lines[*at].pooled = pooled;
        }
        progress.at(done, "as the encoder is")?;
    }
    progress.end();
    Ok(lines)
}

/// Standardises statistics in place, and has the tuner standardise states, by the training prompts.
fn standardise(lines: &mut [Line], trained: usize, tuner: &mut Tuner) -> Result<(), LoadError> {
    let (mean, scale) = moments(lines[..trained].iter().map(|line| line.pooled.as_slice()), tuner.width());
    tuner.standardise(&mean, &scale)?;
    let (mean, scale) = moments(lines[..trained].iter().map(|line| line.statistics.as_slice()), stats::COUNT);
    for line in lines {
        for ((value, mean), scale) in line.statistics.iter_mut().zip(&mean).zip(&scale) {
            *value = ((*value - mean) * scale).clamp(-CLIP, CLIP);
        }
    }
    Ok(())
}

/// Batches of prompts of about one length, in random order.
fn by_length(lines: &[Line], size: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.shuffle(rng);
    let mut batches = Vec::new();
    for some in order.chunks_mut(size * SORTED_TOGETHER) {
        some.sort_by_key(|at| lines[*at].ids.len());
        batches.extend(some.chunks(size).map(<[usize]>::to_vec));
    }
    batches.shuffle(rng);
    batches
}

#[cfg(test)]
#[path = "finetune_tests.rs"]
mod tests;
