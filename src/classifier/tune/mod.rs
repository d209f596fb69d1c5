//! Fine-tuning: the encoder's last layers learn from outcomes, together with a head that is thrown away afterwards.
//!
//! 1. [`llama`] is a differentiable Llama. Layers below the tuned ones are frozen and keep nothing for the backward
//!    pass; a tuned product is `W + B A`, with `W` frozen and `A`, `B` of low rank (Hu and others, "LoRA", ICLR 2022),
//!    because all of a layer's weights would overfit to a few thousand prompts.
//! 2. [`judge`] is the head's trunk again, as tensors: demands, difficulty, abilities. It first learns alone, on the
//!    states as they are, so that its large first errors do not change the encoder, and then both learn together.
//! 3. A step's gradient is summed over small lots of prompts, so memory does not grow with the batch.
//! 4. [`write()`] puts `B A` into the weights and writes a GGUF file of the layers that are read, which serving loads
//!    like any other; then a head of the usual kind is fitted to its states.
//!
//! Embeddings and norms stay as they are. All random numbers come from one seed.

mod judge;
mod llama;
mod write;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::encoder::{EncoderError, device};
use super::model::{LoadError, open};
use super::prompt::Prompt;
use super::source::Files;
use super::tokenizer::Tokenizer;
use crate::config;

use judge::Judge;
use llama::Reader;
pub use write::{Written, write};

/// Largest norm of a step's gradient with respect to the encoder; a longer gradient is scaled down to it.
const LONGEST_GRADIENT: f64 = 1.0;

/// What is tuned, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The layer whose states are read: layers behind it are left out.
    pub read: usize,
    /// How many layers up to it are tuned.
    pub tuned: usize,
    /// Rank of the change of each product.
    pub rank: usize,
    /// Most tokens read of a prompt.
    pub tokens: usize,
    /// Most tokens of a lot.
    pub lot: usize,
    /// Statistics beside the states.
    pub statistics: usize,
    /// Width of the head's hidden layer.
    pub hidden: usize,
    /// Demands.
    pub latent: usize,
    /// Share of the head's inputs that are left out at random.
    pub dropout: f32,
    /// Weight decay of the head.
    pub decay: f64,
    /// Initial log-odds of each model.
    pub levels: Vec<f32>,
    /// The seed.
    pub seed: u64,
}

/// A prompt with its outcomes.
#[derive(Debug, Clone)]
pub struct Example<'a> {
    /// Its tokens, as [`Tuner::tokens`] gives them.
    pub ids: &'a [u32],
    /// Its states as they were before tuning.
    pub pooled: &'a [f32],
    /// Its standardised statistics.
    pub statistics: &'a [f32],
    /// Model and score.
    pub outcomes: &'a [(usize, f32)],
    /// Weight of each outcome.
    pub weight: f32,
}

/// An encoder and a head that are being tuned.
pub struct Tuner {
    reader: Reader,
    judge: Judge,
    tokenizer: Tokenizer,
    plan: Plan,
    device: Device,
    by_encoder: AdamW,
    by_judge: AdamW,
    rng: StdRng,
    best: Vec<Tensor>,
}

impl std::fmt::Debug for Tuner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tuner").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Tuner {
    /// Loads an encoder to be tuned.
    ///
    /// # Errors
    ///
    /// It is not in a GGUF file, cannot be loaded, has fewer layers than are to be read, or the device is not there.
    pub fn open(files: &Files, on: config::Device, plan: Plan) -> Result<Self, LoadError> {
        // Checked before hours of learning, not after them.
        if let Files::Folder(folder) = files {
            return Err(write::not_gguf(folder));
        }
        let device = device(on)?;
        let (mut weights, tokenizer) = open(files)?;
        let layers = weights.hyper().layers;
        if plan.read == 0 || plan.read > layers || plan.tuned == 0 || plan.tuned > plan.read || plan.rank == 0 {
            let what = format!(
                "{} layers up to layer {} cannot be tuned at rank {}: the encoder has {layers}. The recipe's `[pooling] layers` \
                 says which one is read, its `[finetune]` (or --finetune) how many up to it are tuned",
                plan.tuned, plan.read, plan.rank
            );
            return Err(EncoderError::Malformed(what).into());
        }
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let reader = Reader::load(&mut weights, &plan, &device, &mut rng)?;
        let width = weights.hyper().hidden;
        let judge = Judge::new(width, &plan, &device, &mut rng).map_err(EncoderError::from)?;
        let adam = |variables: Vec<Var>, weight_decay: f64| {
            AdamW::new(variables, ParamsAdamW { weight_decay, ..ParamsAdamW::default() })
        };
        let by_encoder = adam(reader.variables(), 0.0).map_err(EncoderError::from)?;
        let by_judge = adam(judge.variables(), plan.decay).map_err(EncoderError::from)?;
        Ok(Self { reader, judge, tokenizer, plan, device, by_encoder, by_judge, rng, best: Vec::new() })
    }

    /// Width of the states.
    pub fn width(&self) -> usize {
        self.reader.hyper.hidden
    }

    /// Numbers that are learned: of the encoder and of the head.
    pub fn learned(&self) -> (usize, usize) {
        let count = |variables: Vec<Var>| variables.iter().map(|variable| variable.elem_count()).sum();
        (count(self.reader.variables()), count(self.judge.variables()))
    }

    /// The tokens that are read of a prompt.
    ///
    /// # Errors
    ///
    /// The tokenizer's own.
    pub fn tokens(&self, prompt: &str) -> Result<Vec<u32>, LoadError> {
        Ok(self.tokenizer.encode(&Prompt::of_text(prompt), self.plan.tokens)?.ids)
    }

    /// Pooled states of some prompts, as the encoder is now.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn pooled(&self, prompts: &[&[u32]]) -> Result<Vec<Vec<f32>>, LoadError> {
        let mut all = Vec::with_capacity(prompts.len());
        for lot in self.lots(prompts.iter().map(|ids| ids.len())) {
            let states = self.reader.pooled(&prompts[lot]).map_err(EncoderError::from)?.detach();
            all.extend(states.to_vec2::<f32>().map_err(EncoderError::from)?);
        }
        Ok(all)
    }

    /// Sets the standardisation of states before the head.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn standardise(&mut self, mean: &[f32], scale: &[f32]) -> Result<(), LoadError> {
        Ok(self.judge.standardise(mean, scale).map_err(EncoderError::from)?)
    }

    /// One step of the head alone, on the examples' own states.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn warm(&mut self, batch: &[Example<'_>], rate: f64) -> Result<f64, LoadError> {
        let mut step = || -> Result<f64, candle_core::Error> {
            let pooled: Vec<f32> = batch.iter().flat_map(|example| example.pooled).copied().collect();
            let states = Tensor::from_vec(pooled, (batch.len(), self.reader.hyper.hidden), &self.device)?;
            let loss = self.judge.loss(&states, batch, Some(&mut self.rng))?;
            let scale = 1.0 / weight_of(batch);
            self.by_judge.set_learning_rate(rate);
            self.by_judge.step(&(&loss * scale)?.backward()?)?;
            Ok(f64::from(loss.to_scalar::<f32>()?) * scale)
        };
        Ok(step().map_err(EncoderError::from)?)
    }

    /// One step of both; returns the batch's mean log-loss before it.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn learn(&mut self, batch: &[Example<'_>], rate: f64, head_rate: f64) -> Result<f64, LoadError> {
        let (loss, mut gradient) = self.gradient(batch).map_err(EncoderError::from)?;
        let mut step = || -> Result<(), candle_core::Error> {
            shorten(&mut gradient, &self.reader.variables())?;
            self.by_encoder.set_learning_rate(rate);
            self.by_judge.set_learning_rate(head_rate);
            self.by_encoder.step(&gradient)?;
            self.by_judge.step(&gradient)
        };
        step().map_err(EncoderError::from)?;
        Ok(loss)
    }

    /// Mean log-loss over a batch and its gradient, lot by lot.
    fn gradient(&mut self, batch: &[Example<'_>]) -> Result<(f64, GradStore), candle_core::Error> {
        let scale = 1.0 / weight_of(batch);
        let variables: Vec<Var> = [self.reader.variables(), self.judge.variables()].concat();
        let (mut total, mut sum) = (0.0, None::<GradStore>);
        for lot in self.lots(batch.iter().map(|example| example.ids.len())) {
            let lot = &batch[lot];
            let ids: Vec<&[u32]> = lot.iter().map(|example| example.ids).collect();
            let states = self.reader.pooled(&ids)?;
            let loss = (self.judge.loss(&states, lot, Some(&mut self.rng))? * scale)?;
            total += f64::from(loss.to_scalar::<f32>()?);
            let mut own = loss.backward()?;
            match &mut sum {
                None => sum = Some(own),
                Some(sum) => {
                    for variable in &variables {
                        if let Some(added) = own.remove(variable) {
                            let before = sum.remove(variable);
                            let both = before.map_or_else(|| Ok(added.clone()), |before| before + &added)?;
                            sum.insert(variable, both);
                        }
                    }
                }
            }
        }
        let sum = sum.ok_or_else(|| candle_core::Error::Msg("an empty batch has no gradient".into()))?;
        Ok((total, sum))
    }

    /// Mean log-loss over some examples, with the encoder as it is now.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn loss(&self, examples: &[Example<'_>]) -> Result<f64, LoadError> {
        let mut total = 0.0;
        for lot in self.lots(examples.iter().map(|example| example.ids.len())) {
            let lot = &examples[lot];
            let ids: Vec<&[u32]> = lot.iter().map(|example| example.ids).collect();
            let mut add = || -> Result<(), candle_core::Error> {
                let states = self.reader.pooled(&ids)?.detach();
                total += f64::from(self.judge.loss(&states, lot, None)?.to_scalar::<f32>()?);
                Ok(())
            };
            add().map_err(EncoderError::from)?;
        }
        Ok(total / weight_of(examples))
    }

    /// Remembers the encoder as it is now.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn remember(&mut self) -> Result<(), LoadError> {
        let copies = self.reader.variables().iter().map(|variable| variable.as_tensor().copy()).collect();
        self.best = Result::<Vec<Tensor>, candle_core::Error>::map_err(copies, EncoderError::from)?;
        Ok(())
    }

    /// Goes back to what was remembered, if anything was.
    ///
    /// # Errors
    ///
    /// The device fails.
    pub fn recall(&mut self) -> Result<(), LoadError> {
        for (variable, best) in self.reader.variables().iter().zip(&self.best) {
            variable.set(best).map_err(EncoderError::from)?;
        }
        Ok(())
    }

    /// Groups neighbouring prompts into lots; the prompts of a lot are padded to its longest.
    fn lots(&self, lengths: impl Iterator<Item = usize>) -> Vec<std::ops::Range<usize>> {
        let mut lots: Vec<std::ops::Range<usize>> = Vec::new();
        let mut longest = 0;
        for (at, length) in lengths.enumerate() {
            match lots.last_mut() {
                Some(lot) if (lot.len() + 1) * length.max(longest) <= self.plan.lot => {
                    lot.end += 1;
                    longest = longest.max(length);
                }
                _ => {
                    lots.push(at..at + 1);
                    longest = length;
                }
            }
        }
        lots
    }
}

/// Outcomes by their weights.
fn weight_of(examples: &[Example<'_>]) -> f64 {
    let weight = |example: &Example<'_>| f64::from(example.weight) * example.outcomes.len() as f64;
    examples.iter().map(weight).sum::<f64>().max(1e-9)
}

/// Scales a gradient that is too long down to [`LONGEST_GRADIENT`].
fn shorten(gradient: &mut GradStore, variables: &[Var]) -> Result<(), candle_core::Error> {
    let mut square = 0.0;
    for variable in variables {
        if let Some(part) = gradient.get(variable) {
            square += f64::from(part.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let scale = LONGEST_GRADIENT / square.sqrt();
    if scale < 1.0 {
        for variable in variables {
            if let Some(part) = gradient.remove(variable) {
                gradient.insert(variable, (part * scale)?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
