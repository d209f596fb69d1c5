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
use super::fit::{Progress, Stage, Stopped, batches, moments, rate_at, share};
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
struct Prompt {
    ids: Vec<u32>,
    pooled: Vec<f32>,
    statistics: Vec<f32>,
    outcomes: Vec<(usize, f32)>,
    weight: f32,
}

impl Prompt {
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
    let (rows, trained) = choose_rows(dataset, settings.prompts, &mut rng);
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
    let mut prompts = encode(dataset, &rows, &tuner, progress)?;
    standardise(&mut prompts, trained, &mut tuner)?;
    let (train, val) = prompts.split_at(trained);
    let mut val: Vec<Example<'_>> = val.iter().map(Prompt::example).collect();
    val.sort_by_key(|example| example.ids.len());

    progress.begin(Stage::Tune, steps(settings, train) as u64);
    warm_up(settings, train, &mut tuner, &mut rng)?;
    let losses = passes(settings, train, &val, &mut tuner, &mut rng, progress)?;
    progress.end();
    let gained = losses[1..].iter().any(|loss| *loss < losses[0]);
    let written = if gained {
        tuner.recall()?;
        Some(write(&tuner, base, out)?)
    } else {
        None
    };
    Ok(Tuned { val: losses, learned: tuner.learned().0, written })
}

/// The training rows in random order, at most `most` of them (0 = all), followed by the rows of val; and the number of
/// training rows.
fn choose_rows(dataset: &Dataset, most: usize, rng: &mut StdRng) -> (Vec<usize>, usize) {
    let of = |split| (0..dataset.records.len()).filter(move |row| dataset.records[*row].split == split);
    let mut rows: Vec<usize> = of(Split::Train).collect();
    rows.shuffle(rng);
    if most > 0 {
        rows.truncate(most);
    }
    let trained = rows.len();
    rows.extend(of(Split::Val));
    (rows, trained)
}

/// Steps of all passes over `train`.
fn steps(settings: &FinetuneSettings, train: &[Prompt]) -> usize {
    settings.epochs * train.len().div_ceil(settings.batch.max(1))
}

/// Passes of the head alone.
fn warm_up(
    settings: &FinetuneSettings,
    train: &[Prompt],
    tuner: &mut Tuner,
    rng: &mut StdRng,
) -> Result<(), FinetuneError> {
    for _ in 0..settings.warm_up {
        // The head alone costs next to nothing, and wants larger batches.
        let order: Vec<usize> = (0..train.len()).collect();
        for batch in batches(&order, 8 * settings.batch.max(1), rng) {
            tuner.warm(&batch.iter().map(|at| train[*at].example()).collect::<Vec<_>>(), 2.0 * settings.head_rate)?;
        }
    }
    Ok(())
}

/// Passes of encoder and head together, until they bring no gain on val; the tuner remembers the best one. Returns the
/// log-loss on val before the first pass and after each.
fn passes(
    settings: &FinetuneSettings,
    train: &[Prompt],
    val: &[Example<'_>],
    tuner: &mut Tuner,
    rng: &mut StdRng,
    progress: &dyn Progress,
) -> Result<Vec<f64>, FinetuneError> {
    let mut losses = vec![tuner.loss(val)?];
    let mut patience = Patience::new(losses[0], settings.patience);
    let steps = steps(settings, train).max(1);
    let mut step = 0;
    for epoch in 0..settings.epochs {
        let mut sum = (0.0, 0);
        for batch in by_length(train, settings.batch.max(1), rng) {
            let share = step as f32 / steps as f32;
            let rate = |peak: f64| f64::from(rate_at(peak as f32, share));
            let examples: Vec<Example<'_>> = batch.iter().map(|at| train[*at].example()).collect();
            sum.0 += tuner.learn(&examples, rate(settings.rate), rate(settings.head_rate))?;
            sum.1 += 1;
            step += 1;
            let note = format!(
                "pass {}, log-loss {:.4}, on val {:.4} before it",
                epoch + 1,
                sum.0 / f64::from(sum.1),
                losses.last().unwrap_or(&f64::NAN)
            );
            progress.at(step as u64, &note)?;
        }
        let loss = tuner.loss(val)?;
        losses.push(loss);
        if patience.gains(loss) {
            tuner.remember()?;
        }
        if patience.is_over() {
            break;
        }
    }
    Ok(losses)
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
fn encode(
    dataset: &Dataset,
    rows: &[usize],
    tuner: &Tuner,
    progress: &dyn Progress,
) -> Result<Vec<Prompt>, FinetuneError> {
    let mut prompts = Vec::with_capacity(rows.len());
    for row in rows {
        let record = &dataset.records[*row];
        prompts.push(Prompt {
            ids: tuner.tokens(&record.prompt)?,
            pooled: Vec::new(),
            statistics: TextStats::of(&record.prompt).values.to_vec(),
            outcomes: record.outcomes.iter().map(|outcome| (outcome.arm as usize, outcome.score)).collect(),
            weight: record.weight * share(record.outcomes.len()),
        });
    }
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|at| prompts[*at].ids.len());
    progress.begin(Stage::Features, prompts.iter().map(|prompt| prompt.ids.len() as u64).sum());
    let mut done = 0;
    for some in order.chunks(64) {
        let ids: Vec<&[u32]> = some.iter().map(|at| prompts[*at].ids.as_slice()).collect();
        let pooled = tuner.pooled(&ids)?;
        done += ids.iter().map(|ids| ids.len() as u64).sum::<u64>();
        for (at, pooled) in some.iter().zip(pooled) {
            prompts[*at].pooled = pooled;
        }
        progress.at(done, "as the encoder is")?;
    }
    progress.end();
    Ok(prompts)
}

/// Standardises statistics in place, and has the tuner standardise states, by the training prompts.
fn standardise(prompts: &mut [Prompt], trained: usize, tuner: &mut Tuner) -> Result<(), LoadError> {
    let (mean, scale) = moments(prompts[..trained].iter().map(|prompt| prompt.pooled.as_slice()), tuner.width());
    tuner.standardise(&mean, &scale)?;
    let (mean, scale) = moments(prompts[..trained].iter().map(|prompt| prompt.statistics.as_slice()), stats::COUNT);
    for prompt in prompts {
        for ((value, mean), scale) in prompt.statistics.iter_mut().zip(&mean).zip(&scale) {
            *value = ((*value - mean) * scale).clamp(-CLIP, CLIP);
        }
    }
    Ok(())
}

/// Batches of prompts of about one length, in random order.
fn by_length(prompts: &[Prompt], size: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.shuffle(rng);
    let mut batches = Vec::new();
    for some in order.chunks_mut(size * SORTED_TOGETHER) {
        some.sort_by_key(|at| prompts[*at].ids.len());
        batches.extend(some.chunks(size).map(<[usize]>::to_vec));
    }
    batches.shuffle(rng);
    batches
}

#[cfg(test)]
#[path = "finetune_tests.rs"]
mod tests;
