//! Fitting a head: outcomes and pooled states in, a [`Head`] out, with the alternatives that were compared.
//!
//! 1. [`table`] standardises the states, projects them onto their [`principal`] directions, and adds the statistics.
//! 2. [`trunk`] fits the item-response trunk with all models at once, and a logistic regression for each model.
//! 3. A memory is filled with the training prompts, in the space that does best on val.
//! 4. [`mod@calibrate`] fits, on val, the weights of the opinions: trunk, memory, and the source's own tasks. The
//!    alternatives (statistics alone, logistic regression, each opinion, two, and all three) are each calibrated on one
//!    half of val and measured on the other, both ways round.
//! 5. [`simple`] fits the small parts: predictions for unfamiliar prompts, task labels, output tokens, the context.
//!
//! All random numbers come from one seed. Not used here: `test`, which only the report looks at.

mod adam;
mod calibrate;
pub mod labels;
mod principal;
mod simple;
mod table;
mod trunk;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::classifier::encoder::Pooling;
use crate::classifier::head::{
    ArmNote, Arms, Description, FORMAT, Familiarity, Head, HeadError, Input, Likeness, Matrix, Memory, Near,
    OPINIONS, Parts, Recall, logit, sigmoid,
};
use crate::classifier::stats::TextStats;
use crate::train::dataset::{Arm, Dataset, Split};
use crate::train::metrics::{concordance, log_loss};
use crate::train::parallel::in_parallel;

pub(in crate::train) use adam::rate_at;
use calibrate::{ALL, Allowed, Case, MEMORY, TASKS, TRUNK, TRUNK_AND_MEMORY, calibrate};
pub use table::Table;
pub(in crate::train) use table::{batches, moments, share};
pub use trunk::{Epoch, TrunkSettings};

/// Quantile of val's similarities below which a prompt is not wholly familiar.
const NEAR_QUANTILE: f32 = 0.10;
/// For a source of two models, the quantiles of val's similarities below which differences between the models are
/// ignored, and below which they shrink.
const TRUST_OF_TWO: (f32, f32) = (0.05, 0.25);
/// The same for a source of more models, whose differences are trusted less: choosing the best of many predictions also
/// chooses the luckiest error. (Measured on task families left out of train and val in turn; see
/// `training/RESULTS.md`.)
const TRUST_OF_MANY: (f32, f32) = (0.10, 0.40);
/// Fewest val prompts of a source for quantiles of their similarities.
const FEW_TO_TRUST: usize = 30;
/// Weight of one of our own labelled prompts, in prompts of a benchmark.
const OWN_LABELS: usize = 5;

/// Hears how a long job goes, and may stop it.
pub trait Progress {
    /// A stage of `total` steps begins.
    fn begin(&self, stage: Stage, total: u64);
    /// `done` steps of the stage are done; `note` has a figure for people.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: the work is to end here.
    fn at(&self, done: u64, note: &str) -> Result<(), Stopped>;
    /// The stage is over.
    fn end(&self);
}

/// Shows nothing and never stops.
impl Progress for () {
    fn begin(&self, _: Stage, _: u64) {}

    fn at(&self, _: u64, _: &str) -> Result<(), Stopped> {
        Ok(())
    }

    fn end(&self) {}
}

/// A stage of a training job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Prompts go through the encoder.
    Features,
    /// The encoder is fine-tuned.
    Tune,
    /// Trunks are fitted.
    Trunk,
    /// Logistic regressions are fitted.
    Logistic,
    /// The memory is tried.
    Memory,
    /// Predictions are measured.
    Measure,
}

impl Stage {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Features => "reading prompts",
            Self::Tune => "fine-tuning the encoder",
            Self::Trunk => "fitting the trunk",
            Self::Logistic => "fitting logistic regressions",
            Self::Memory => "trying the memory",
            Self::Measure => "measuring",
        }
    }
}

/// The work was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// Why no head could be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The split is empty.
    #[error("the data has no prompts in `{0}`")]
    Empty(Split),
    /// The work was asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The fitted parts do not fit together.
    #[error(transparent)]
    Head(#[from] HeadError),
}

/// How a head is fitted: the recipe's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSettings {
    /// Directions kept of the states.
    pub projected: usize,
    /// Length of the bandit's context.
    pub context: usize,
    /// Settings of the trunk and the logistic regressions.
    pub trunk: TrunkSettings,
    /// Leading directions in a memory's key.
    pub key_states: usize,
    /// Neighbours asked, for each source.
    pub neighbours: usize,
    /// Weight of a model's mean against its neighbours' outcomes.
    pub settle: f32,
    /// The seed of everything drawn.
    pub seed: u64,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            projected: 192,
            context: 16,
            trunk: TrunkSettings::default(),
            key_states: 64,
            neighbours: 48,
            settle: 2.0,
            seed: 1,
        }
    }
}

/// Where the states came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The encoder, by a name that changes with its weights.
    pub encoder: String,
    /// The states and how they were pooled.
    pub pooling: Pooling,
    /// Tokens read of a prompt.
    pub max_tokens: usize,
}

/// Prompts with a label and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    /// Prompts and labels.
    pub prompts: Vec<(String, String)>,
    /// Their states.
    pub pooled: Matrix,
}

/// One of the alternatives that were compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What it is.
    pub name: &'static str,
    /// Log-loss on val, each half predicted with the other half's calibration. A prompt with n outcomes has the weight
    /// of the root of n.
    pub log_loss: f64,
    /// Mean AUROC over the models, likewise; `None` where no model has answers of two kinds.
    pub auroc: Option<f64>,
    /// Whether it went into the head.
    pub chosen: bool,
}

/// A head, the alternatives, and how it learned.
#[derive(Debug)]
pub struct Fitted {
    /// The head.
    pub head: Head,
    /// All alternatives that were compared, the chosen one among them.
    pub compared: Vec<Compared>,
    /// How the trunk learned; empty without val.
    pub curve: Vec<Epoch>,
    /// The halves of val, for measuring the head on prompts that it was not calibrated on.
    pub held_out: [HeldOut; 2],
}

/// Half of val, and what the other half says of it.
#[derive(Debug)]
pub struct HeldOut {
    /// Records of this half, by index into [`Dataset::records`].
    pub rows: Vec<usize>,
    /// The calibration of the head's opinions when fitted to the other half alone, one row for each arm.
    pub calibration: Matrix,
}

/// What a head is fitted to.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// Prompts and outcomes.
    pub dataset: &'a Dataset,
    /// The prompts' states, one row for each record.
    pub pooled: &'a Matrix,
    /// Prompts that have a label only.
    pub labelled: &'a Labelled,
    /// Where the states came from.
    pub origin: &'a Origin,
}

/// Fits a head.
///
/// # Errors
///
/// There is no training data, `progress` asked to stop, or the parts do not fit together.
pub fn fit(
    name: &str,
    likeness: Likeness,
    material: &Material<'_>,
    settings: &FitSettings,
    progress: &dyn Progress,
) -> Result<Fitted, FitError> {
    let Material { dataset, pooled, labelled, origin } = *material;
    if !dataset.has(Split::Train) {
        return Err(FitError::Empty(Split::Train));
    }
    let mut input = table::input(dataset, pooled, settings.projected, settings.seed);
    let table = Table::new(dataset, pooled, &input);
    let means = table.means(table.rows(Split::Train), dataset.arms.len());
    let (trunk, mut arms, curve) = trunk::fit(&table, &means, &settings.trunk, settings.seed, progress)?;
    let (logistic_trunk, logistic) = trunk::fit_linear(&table, &means, &settings.trunk, settings.seed, progress)?;
    arms.plain = simple::plain(&table, &means, settings.seed);
    let latents = simple::latents(&table, &trunk);

    let fitting = Fitting { dataset, table: &table, means: &means, settings };
    let (memory, recall) = fitting.best_memory(&mut input, &arms, &latents, progress)?;
    let (counts, kinds) = simple::kinds(&table, dataset, &means, settings.seed);
    let usual: Vec<f32> = means.iter().map(|(mean, _)| logit(*mean)).collect();
    let by_task = |row: &usize| kinds.opinions(&counts, &memory.shelves, table.inputs.row(*row), &usual);
    let by_task: Vec<Vec<f32>> = table.rows(Split::Val).iter().map(by_task).collect();
    let near = fitting.neighbours(&memory, &recall, &input, &latents);
    let by_memory: Vec<Vec<f32>> = near.iter().map(|(_, near)| fitting.opinion(&memory, &recall, near)).collect();
    let by_plain = |row: usize| arms.plain_log_odds(input.statistics(table.inputs.row(row)));
    let by_logistic = |row: usize| logistic.log_odds(&logistic_trunk.latent(table.inputs.row(row)));
    let by_trunk = |row: usize| arms.log_odds(latents.row(row));
    let all = fitting.cases(&by_trunk, Some(&by_memory), Some(&by_task));
    let (compared, allowed) =
        fitting.compare_all(&fitting.cases(&by_plain, None, None), &fitting.cases(&by_logistic, None, None), &all);
    arms.calibration = calibrate(&all, &fitting.sources(), allowed).rows(&usual);
    let held_out = fitting.held_out(&all, allowed, &usual);
    arms.tokens = simple::tokens(&table, &latents, dataset.arms.len());

    let familiarity = familiarity(&near);
    let trust = fitting.trust(&near, familiarity.neighbours);
    let (task_names, tasks) = fitting.tasks(&input, labelled);
    let z = simple::context(&latents, table.rows(Split::Train), settings.context, settings.seed);
    let latents = fitting.some_latents(&latents);
    let parts = Parts { input, trunk, arms, memory, kinds, z, tasks, latents };
    let description = Description {
        format: FORMAT,
        version: String::new(),
        name: name.to_owned(),
        space: space(name, &parts),
        encoder: origin.encoder.clone(),
        pooling: origin.pooling.clone(),
        max_tokens: origin.max_tokens,
        statistics: Description::statistics_of_this_program(),
        pooled: pooled.columns,
        projected: parts.input.states.turn.columns,
        hidden: parts.trunk.bias.len(),
        latent: parts.trunk.second.columns - 1,
        context: settings.context,
        arms: fitting.notes(),
        tasks: task_names,
        shelves: parts.memory.shelves.clone(),
        recall,
        familiarity,
        trust,
        kinds: counts,
        likeness,
        trained_on: dataset.sources.clone(),
        seed: settings.seed,
    };
    Ok(Fitted { head: Head::new(description, parts)?.versioned()?, compared, curve, held_out })
}

/// Name of a space of contexts: the head's name and a hash of the numbers that project into it.
fn space(name: &str, parts: &Parts) -> String {
    let numbers = parts.z.turn.values.iter().chain(&parts.trunk.past.values).chain(&parts.input.states.turn.values);
    let hash = numbers.fold(0xcbf2_9ce4_8422_2325u64, |state, value| {
        (state ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{name}-{:08x}", hash >> 32)
}

/// The familiarity scale, from val's similarities to the training prompts. Without val, everything is familiar.
fn familiarity(near: &[(usize, Vec<Near>)]) -> Familiarity {
    let measure = Familiarity { neighbours: 5, near: 1.0, far: 0.0 };
    let mut usual: Vec<f32> = near.iter().map(|(_, near)| measure.similarity(near)).collect();
    usual.sort_by(f32::total_cmp);
    let quantile = |share: f32| usual.get((usual.len() as f32 * share) as usize).copied();
    let near = quantile(NEAR_QUANTILE).unwrap_or(-0.5);
    let middle = quantile(0.5).unwrap_or(0.0);
    // Twice as far below the tenth percentile as that is below the median: no prompt of val is down there.
    Familiarity { near, far: (near - 2.0 * (middle - near).max(0.05)).max(-1.0), ..measure }
}

/// Half of val.
#[derive(Default)]
struct Half {
    /// Records of its prompts.
    rows: Vec<usize>,
    /// The cases of all of them.
    cases: Vec<Case>,
    /// The weight of each case.
    weights: Vec<f32>,
}

/// What all steps of a fit share.
struct Fitting<'a> {
    dataset: &'a Dataset,
    table: &'a Table,
    means: &'a [(f32, usize)],
    settings: &'a FitSettings,
}

impl Fitting<'_> {
    fn memory(&self, input: &Input, latents: &Matrix) -> Memory {
        let mut memory = Memory::default();
        let width = input.key_width(latents.columns);
        for source in 0..self.dataset.sources.len() as u32 {
            let arms: Vec<usize> = self.dataset.arms_of(source).iter().map(|arm| *arm as usize).collect();
            let of_source = |row: &&usize| self.dataset.records[**row].source == source;
            let rows: Vec<usize> = self.table.rows(Split::Train).iter().filter(of_source).copied().collect();
            let mut keys = Matrix::zeros(rows.len(), width);
            for (at, row) in rows.iter().enumerate() {
                keys.row_mut(at).copy_from_slice(&input.key(self.table.inputs.row(*row), latents.row(*row)));
            }
            memory.add(arms, &keys, |at, arm| {
                self.dataset.records[rows[at]].outcome(arm as u32).map(|outcome| outcome.score)
            });
        }
        memory.width = width;
        memory
    }

    /// The neighbours of every val prompt.
    fn neighbours(
        &self,
        memory: &Memory,
        recall: &Recall,
        input: &Input,
        latents: &Matrix,
    ) -> Vec<(usize, Vec<Near>)> {
        let rows = self.table.rows(Split::Val);
        let find = |row: &usize| {
            let key = input.key(self.table.inputs.row(*row), latents.row(*row));
            (*row, memory.nearest(&key, recall.neighbours, None))
        };
        in_parallel(rows, find)
    }

    /// Log-odds of each model by the memory.
    fn opinion(&self, memory: &Memory, recall: &Recall, near: &[Near]) -> Vec<f32> {
        let opinions = memory.opinions(near, recall.sharpness, self.means.len());
        opinions.iter().zip(self.means).map(|(opinion, (mean, _))| recall.log_odds(*opinion, *mean)).collect()
    }

    /// Tries the memory in several spaces and sharpnesses; returns the one that is best together with the trunk, on
    /// val.
    fn best_memory(
        &self,
        input: &mut Input,
        arms: &Arms,
        latents: &Matrix,
        progress: &dyn Progress,
    ) -> Result<(Memory, Recall), Stopped> {
        const SPACES: [[f32; 3]; 2] = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        const SHARPNESS: [f32; 3] = [4.0, 8.0, 16.0];
        let odds = |row: usize| arms.log_odds(latents.row(row));
        let mut best: Option<(f64, Memory, Recall, [f32; 3])> = None;
        progress.begin(Stage::Memory, SPACES.len() as u64);
        for (at, space) in SPACES.into_iter().enumerate() {
            input.key = space;
            input.key_states = self.settings.key_states.min(input.states.turn.columns);
            let memory = self.memory(input, latents);
            let mut recall = Recall {
                neighbours: self.settings.neighbours,
                sharpness: SHARPNESS[0],
                settle: self.settings.settle,
            };
            let near = self.neighbours(&memory, &recall, input, latents);
            let mut lowest = f64::INFINITY;
            for sharpness in SHARPNESS {
                recall.sharpness = sharpness;
                let opinions: Vec<Vec<f32>> =
                    near.iter().map(|(_, near)| self.opinion(&memory, &recall, near)).collect();
                let loss = self.compare("", &self.cases(&odds, Some(&opinions), None), TRUNK_AND_MEMORY).log_loss;
                lowest = lowest.min(loss);
                if best.as_ref().is_none_or(|best| loss < best.0) {
                    best = Some((loss, memory.clone(), recall, space));
                }
            }
            progress.at(at as u64 + 1, &format!("val log-loss {lowest:.4}"))?;
        }
        progress.end();
        let (_, memory, recall, space) = best.unwrap_or_else(|| {
            let recall =
                Recall { neighbours: self.settings.neighbours, sharpness: 12.0, settle: self.settings.settle };
            (0.0, self.memory(input, latents), recall, input.key)
        });
        input.key = space;
        Ok((memory, recall))
    }

    /// For each source, the similarities at which differences between its models are trusted.
    fn trust(&self, near: &[(usize, Vec<Near>)], neighbours: usize) -> Vec<Familiarity> {
        let everywhere = Familiarity { neighbours, near: -1.0, far: -2.0 };
        let of = |source: usize| {
            let own = |(row, _): &&(usize, Vec<Near>)| self.dataset.records[*row].source as usize == source;
            let similar = near.iter().filter(own).map(|(_, near)| everywhere.similarity(&near[source..=source]));
            let mut similar: Vec<f32> = similar.collect();
            if similar.len() < FEW_TO_TRUST {
                return everywhere;
            }
            similar.sort_by(f32::total_cmp);
            let quantile = |share: f32| similar[(similar.len() as f32 * share) as usize];
            let two = self.dataset.arms_of(source as u32).len() <= 2;
            let (never, wholly) = if two { TRUST_OF_TWO } else { TRUST_OF_MANY };
            let near = quantile(wholly);
            Familiarity { neighbours, near, far: quantile(never).min(near - 0.01) }
        };
        (0..self.dataset.sources.len()).map(of).collect()
    }

    /// The cases of all val prompts, in order of prompts. An opinion that is `None` moves nothing.
    fn cases(
        &self,
        trunk: &dyn Fn(usize) -> Vec<f32>,
        memory: Option<&[Vec<f32>]>,
        tasks: Option<&[Vec<f32>]>,
    ) -> Vec<Case> {
        let mut cases = Vec::new();
        for (at, row) in self.table.rows(Split::Val).iter().enumerate() {
            let trunk = trunk(*row);
            let given = [Some(&trunk), memory.map(|memory| &memory[at]), tasks.map(|tasks| &tasks[at])];
            let usual = |arm: usize| logit(self.means[arm].0);
            let moves = |opinion: usize, arm: usize| given[opinion].map_or(0.0, |given| given[arm] - usual(arm));
            let arms = self.dataset.arms_of(self.dataset.records[*row].source);
            let alike: [f32; OPINIONS] = std::array::from_fn(|opinion| {
                arms.iter().map(|arm| moves(opinion, *arm as usize)).sum::<f32>() / arms.len().max(1) as f32
            });
            for outcome in &self.table.outcomes[*row] {
                let arm = outcome.arm as usize;
                let moved = std::array::from_fn(|at| {
                    let opinion = at % OPINIONS;
                    if at < OPINIONS { alike[opinion] } else { moves(opinion, arm) - alike[opinion] }
                });
                let weight = self.table.record_weight(*row);
                cases.push(Case { arm, usual: usual(arm), moved, score: outcome.score, weight });
            }
        }
        cases
    }

    /// The description of each arm.
    fn notes(&self) -> Vec<ArmNote> {
        let note = |(arm, (mean, prompts)): (&Arm, &(f32, usize))| ArmNote {
            source: self.dataset.sources[arm.source as usize].clone(),
            model: arm.model.clone(),
            mean: *mean,
            prompts: *prompts,
        };
        self.dataset.arms.iter().zip(self.means).map(note).collect()
    }

    /// The source of each arm.
    fn sources(&self) -> Vec<u32> {
        self.dataset.arms.iter().map(|arm| arm.source).collect()
    }

    /// All alternatives, given the cases by statistics alone, by logistic regression, and by all three opinions; and
    /// the opinions that did best among those that a head can hold, which are all but the first two.
    fn compare_all(&self, plain: &[Case], logistic: &[Case], all: &[Case]) -> (Vec<Compared>, Allowed) {
        let writable = [
            ("memory (kNN)", MEMORY),
            ("tasks", TASKS),
            ("item-response trunk", TRUNK),
            ("trunk and memory", TRUNK_AND_MEMORY),
            ("trunk, memory and tasks", ALL),
        ];
        let tried = writable.map(|(name, allowed)| (self.compare(name, all, allowed), allowed));
        let best = tried.iter().min_by(|(a, _), (b, _)| a.log_loss.total_cmp(&b.log_loss));
        // Without val there is no comparison, and the trunk alone is taken.
        let best = best.filter(|_| self.dataset.has(Split::Val)).map_or(TRUNK, |(_, allowed)| *allowed);
        let mut compared =
            vec![self.compare("text statistics", plain, TRUNK), self.compare("logistic regression", logistic, TRUNK)];
        compared.extend(tried.into_iter().map(|(one, allowed)| Compared { chosen: allowed == best, ..one }));
        (compared, best)
    }

    /// Val cut in two at random, prompt by prompt, given the cases of all its prompts.
    fn halves(&self, cases: &[Case]) -> [Half; 2] {
        let val = self.table.rows(Split::Val);
        let mut order: Vec<usize> = (0..val.len()).collect();
        let mut side = vec![0; val.len()];
        order.shuffle(&mut StdRng::seed_from_u64(self.settings.seed));
        order.iter().enumerate().for_each(|(at, prompt)| side[*prompt] = at % 2);
        let mut halves = [Half::default(), Half::default()];
        let mut rest = cases;
        for (row, side) in val.iter().zip(side) {
            let (own, later) = rest.split_at(self.table.outcomes[*row].len());
            let half = &mut halves[side];
            half.rows.push(*row);
            half.cases.extend(own);
            half.weights.extend(own.iter().map(|_| self.table.weight(*row)));
            rest = later;
        }
        halves
    }

    /// Both halves of val, each with the calibration that the other gives.
    fn held_out(&self, cases: &[Case], allowed: Allowed, usual: &[f32]) -> [HeldOut; 2] {
        let [one, other] = self.halves(cases);
        let calibration = |half: &Half| calibrate(&half.cases, &self.sources(), allowed).rows(usual);
        let (by_one, by_other) = (calibration(&one), calibration(&other));
        [HeldOut { rows: one.rows, calibration: by_other }, HeldOut { rows: other.rows, calibration: by_one }]
    }

    /// Calibrates on each half of val and measures on the other.
    fn compare(&self, name: &'static str, cases: &[Case], allowed: Allowed) -> Compared {
        let halves = self.halves(cases);
        let arms = self.means.len();
        let mut by_arm: Vec<Vec<(f32, f32)>> = vec![Vec::new(); arms];
        let (mut loss, mut total) = (0.0, 0.0);
        for (fitted, measured) in [(0, 1), (1, 0)] {
            let calibration = calibrate(&halves[fitted].cases, &self.sources(), allowed);
            for (case, weight) in halves[measured].cases.iter().zip(&halves[measured].weights) {
                let p = sigmoid(calibration.log_odds(case));
                by_arm[case.arm].push((p, case.score));
                loss += f64::from(*weight) * log_loss(&[(p, case.score)]);
                total += f64::from(*weight);
            }
        }
        let areas: Vec<f64> = by_arm.iter().filter_map(|cases| concordance(cases)).collect();
        let auroc = (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64);
        Compared { name, log_loss: loss / f64::max(total, 1e-9), auroc, chosen: false }
    }

    /// Task labels of the data and of labelled prompts.
    fn tasks(&self, input: &Input, labelled: &Labelled) -> (Vec<String>, Matrix) {
        let train = self.table.rows(Split::Train);
        let own = |row: &usize| labels::of_task(&self.dataset.tasks[self.dataset.records[*row].task as usize]);
        let mut names: Vec<&str> = train.iter().filter_map(own).collect();
        names.extend(labelled.prompts.iter().filter_map(|(_, label)| labels::of_task(label)));
        names.sort_unstable();
        names.dedup();
        let extra = labelled.prompts.len();
        let mut inputs = self.table.inputs.clone();
        inputs.rows += extra;
        inputs.values.resize(inputs.rows * inputs.columns, 0.0);
        let number = |label: &str| names.iter().position(|name| *name == label);
        let mut known: Vec<(usize, usize)> =
            train.iter().filter_map(|row| Some((*row, number(own(row)?)?))).collect();
        for (at, (prompt, label)) in labelled.prompts.iter().enumerate() {
            let row = self.table.inputs.rows + at;
            let x = input.of(labelled.pooled.row(at), &TextStats::of(prompt));
            inputs.row_mut(row).copy_from_slice(&x);
            if let Some(label) = labels::of_task(label).and_then(number) {
                known.extend(std::iter::repeat_n((row, label), OWN_LABELS));
            }
        }
        if names.is_empty() {
            return (Vec::new(), Matrix::zeros(inputs.columns + 1, 0));
        }
        let weights = simple::tasks(&inputs, &known, names.len(), self.settings.seed);
        (names.into_iter().map(str::to_owned).collect(), weights)
    }

    /// Latents of at most a few hundred training prompts, evenly spread.
    fn some_latents(&self, latents: &Matrix) -> Matrix {
        let train = self.table.rows(Split::Train);
        let step = train.len().div_ceil(256).max(1);
        let rows: Vec<usize> = train.iter().step_by(step).copied().collect();
        let values = rows.iter().flat_map(|row| latents.row(*row).to_vec()).collect();
        Matrix::of(rows.len(), latents.columns, values)
    }
}

#[cfg(test)]
pub(in crate::train) mod tests;
