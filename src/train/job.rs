//! The training job from end to end: data, features, fit, measurement, artefact and report.
//!
//! It is resumable where it takes long: features lie on disk, and a second run finds them. Everything else is minutes, and
//! comes out the same again, because all that is drawn is drawn from the recipe's seed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Leak, Split};
use super::evaluate::{Evaluation, Judged, Router, baselines, judge, neighbours};
use super::features::{FeatureError, states};
use super::finetune::{FinetuneError, FinetuneSettings, Tuned, finetune};
use super::fit::{
    Compared, FitError, FitSettings, Labelled, Material, Origin, Progress, Stage, Stopped, fit, in_parallel,
};
use super::known::{Known, anyone};
use super::report;
use crate::classifier::Model;
use crate::classifier::encoder::Pooling;
use crate::classifier::head::{Description, Head, HeadError, Likeness, MOST_CONTEXT, Matrix};
use crate::classifier::source::Files;
use crate::classifier::stats::TextStats;
use crate::config;

/// Fewest training prompts that anything is fitted to.
const FEWEST: usize = 10;

/// What is to be trained: a file under `training/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadRecipe {
    /// Name and version of the head.
    pub name: String,
    /// The licence that the head is given in the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The data's sources that are used; empty = all.
    pub sources: Vec<String>,
    /// Task families (the part of a task's name before the slash) that are left out of train and val, and are then all
    /// that is tested: how does a head do on work it has not seen?
    pub without: Vec<String>,
    /// Which of the encoder's states are looked at.
    pub pooling: Pooling,
    /// Whether the encoder's last layers learn too, and how.
    pub finetune: FinetuneSettings,
    /// The fit's numbers.
    pub fit: FitSettings,
    /// Which measured models stand in for models that nobody measured.
    pub likeness: Likeness,
}

impl Default for HeadRecipe {
    fn default() -> Self {
        Self {
            name: "head".into(),
            license: None,
            sources: Vec::new(),
            without: Vec::new(),
            pooling: Pooling { layers: vec![4], mean: true, last: true },
            finetune: FinetuneSettings::default(),
            fit: FitSettings::default(),
            likeness: Likeness::default(),
        }
    }
}

/// Why a job ended early.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The recipe has a number that nothing can be fitted by.
    #[error("the recipe: {0}")]
    Recipe(&'static str),
    /// The recipe asks for a source that the data does not have.
    #[error("the data has no source `{0}`, which the recipe names, but {1}; `--sources` names others")]
    Source(String, String),
    /// A task family that is to be left out is not there.
    #[error("the data has no task family `{0}`, but {1}")]
    Family(String, String),
    /// The same question is learned and tested.
    #[error(transparent)]
    Leak(#[from] Leak),
    /// The recipe reads layers that the encoder does not have.
    #[error("the recipe reads layers {0:?}, and the encoder has {1}: `[pooling] layers` of a recipe names others")]
    Layers(Vec<usize>, usize),
    /// There is too little to learn from.
    #[error("train has {0} prompts with an outcome: too little data, at least {FEWEST} are needed")]
    TooFew(usize),
    /// There is nothing to judge.
    #[error("the data has no prompts in `{0}`")]
    Empty(Split),
    /// There is nothing to choose by.
    #[error("the data has no val, and train is a single question, of which none can be spared for it")]
    OneQuestion,
    /// Prompts could not be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The encoder could not be tuned.
    #[error(transparent)]
    Finetune(#[from] FinetuneError),
    /// No head came out.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The head cannot be written.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Asked to stop.
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

/// What a job gives.
#[derive(Debug)]
pub struct Trained {
    /// The head.
    pub head: Head,
    /// What was left out or supposed in reading the data.
    pub notes: Vec<String>,
    /// All that was tried.
    pub compared: Vec<Compared>,
    /// On val, where choices were made.
    pub val: Option<Evaluation>,
    /// On test, which nothing was chosen by.
    pub test: Option<Evaluation>,
    /// The artefact, and the report beside it.
    pub file: PathBuf,
    /// The report.
    pub report: PathBuf,
}

impl HeadRecipe {
    /// A number that nothing can be fitted by, if there is one: found before prompts are read for hours.
    fn impossible(&self) -> Option<&'static str> {
        let (fit, trunk, tuned, layers) = (&self.fit, &self.fit.trunk, &self.finetune, &self.pooling.layers);
        let mut stand_ins = self.likeness.0.values().flatten();
        let is_share = |share: f32| (0.0..1.0).contains(&share);
        let is_rate = |rate: f64| rate > 0.0 && rate <= 1.0;
        let is_weight = |weight: f64| weight.is_finite() && weight >= 0.0;
        let wrong = [
            (!is_share(trunk.dropout) || !is_share(tuned.dropout), "dropout is a share, at least 0 and below 1"),
            (
                !is_rate(f64::from(trunk.rate)) || !is_rate(tuned.rate) || !is_rate(tuned.head_rate),
                "a learning rate is more than 0 and at most 1",
            ),
            (!is_weight(f64::from(trunk.decay)) || !is_weight(tuned.decay), "decay is at least 0"),
            (!is_weight(f64::from(fit.settle)), "fit.settle is at least 0"),
            (trunk.batch == 0 || tuned.batch == 0, "a batch has at least 1 prompt"),
            (trunk.members == 0 || trunk.latent == 0, "there is at least 1 trunk, with at least 1 demand"),
            (fit.projected == 0, "fit.projected is at least 1"),
            (fit.neighbours == 0, "fit.neighbours is at least 1"),
            (fit.context > MOST_CONTEXT, "fit.context is at most 32"),
            (trunk.epochs == 0 || tuned.epochs == 0, "there is at least 1 pass (epochs)"),
            (tuned.tokens < 2, "finetune.tokens is at least 2"),
            (
                tuned.rank == 0 || tuned.hidden == 0 || tuned.latent == 0,
                "finetune.rank, hidden and latent are at least 1",
            ),
            (
                layers.is_empty() || !layers.is_sorted_by(|one, next| one < next),
                "pooling.layers names one layer or more, ascending",
            ),
            (!self.pooling.mean && !self.pooling.last, "pooling takes the mean, the last token, or both"),
            (!stand_ins.all(|one| is_weight(f64::from(one.weight))), "a weight of [likeness] is at least 0"),
        ];
        wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what)
    }

    /// What of a data set the recipe means, with a part of train as val where it has none.
    fn narrowed(&self, mut dataset: Dataset) -> Result<Dataset, JobError> {
        if let Some(what) = self.impossible() {
            return Err(JobError::Recipe(what));
        }
        if let Some(missing) = self.sources.iter().find(|source| !dataset.sources.contains(source)) {
            return Err(JobError::Source(missing.clone(), dataset.sources.join(", ")));
        }
        if !self.sources.is_empty() {
            dataset = dataset.only(&self.sources);
        }
        if let Some(leak) = dataset.leak.take() {
            return Err(leak.into());
        }
        let families = dataset.families();
        if let Some(missing) = self.without.iter().find(|family| !families.contains(family.as_str())) {
            let there = families.iter().copied().collect::<Vec<_>>().join(", ");
            return Err(JobError::Family(missing.clone(), there));
        }
        dataset.leave_out(&self.without);
        match dataset.of(Split::Train).count() {
            0 => return Err(FitError::Empty(Split::Train).into()),
            few @ 1..FEWEST => return Err(JobError::TooFew(few)),
            _ => {}
        }
        let cut = dataset.cut_val();
        if cut > 0 {
            dataset
                .notes
                .push(format!("The data has no val: {cut} prompts of train, about a tenth, were taken for it."));
        }
        if !dataset.has(Split::Val) {
            return Err(JobError::OneQuestion);
        }
        Ok(dataset)
    }

    /// Whether anything can be fitted by it, and an encoder of so many layers read.
    ///
    /// # Errors
    ///
    /// A number is impossible, or layers are not there.
    pub fn check(&self, layers: usize) -> Result<(), JobError> {
        if let Some(what) = self.impossible() {
            return Err(JobError::Recipe(what));
        }
        if self.pooling.layers.iter().any(|layer| *layer > layers) {
            return Err(JobError::Layers(self.pooling.layers.clone(), layers));
        }
        Ok(())
    }
}

/// Tunes the encoder in `base` by the recipe and writes `encoder.gguf` into `out`, where that made it better on val.
///
/// # Errors
///
/// See [`JobError`].
pub fn tune(
    recipe: &HeadRecipe,
    dataset: Dataset,
    base: &Files,
    device: config::Device,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Tuned, JobError> {
    let [read] = recipe.pooling.layers.as_slice() else { return Err(FinetuneError::Pooling.into()) };
    if !recipe.pooling.mean || recipe.pooling.last {
        return Err(FinetuneError::Pooling.into());
    }
    let dataset = recipe.narrowed(dataset)?;
    std::fs::create_dir_all(out).map_err(|source| JobError::File { path: out.to_owned(), source })?;
    Ok(finetune(&recipe.finetune, *read, &dataset, base, device, &out.join("encoder.gguf"), progress)?)
}

/// Trains a head and writes `head.safetensors`, `report.json` and `report.html` into `out`. Features are kept in `cache`.
///
/// # Errors
///
/// See [`JobError`].
pub fn train(
    recipe: &HeadRecipe,
    dataset: Dataset,
    labels: Vec<(String, String)>,
    model: &Model,
    cache: &Path,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Trained, JobError> {
    recipe.check(model.info().layers)?;
    let dataset = recipe.narrowed(dataset)?;
    let origin = origin(model, &recipe.pooling);
    let mut prompts: Vec<&str> = dataset.records.iter().map(|record| &*record.prompt).collect();
    prompts.extend(labels.iter().map(|(prompt, _)| prompt.as_str()));
    let width = recipe.pooling.width(model.info().hidden);
    let mut encode = |batch: &[&str]| model.encode_batch(batch, &recipe.pooling).map_err(|error| error.to_string());
    let mut pooled = states(cache, &origin, width, &prompts, &mut encode, progress)?;
    let own = pooled.values.split_off(dataset.records.len() * width);
    pooled.rows = dataset.records.len();
    let labelled = Labelled { pooled: Matrix::of(labels.len(), width, own), prompts: labels };
    let material = Material { dataset: &dataset, pooled: &pooled, labelled: &labelled, origin: &origin };
    let fitted = fit(&recipe.name, recipe.likeness.clone(), &material, &recipe.fit, progress)?;
    // What is measured is what was written: the file's rounding is part of the head.
    let bytes = fitted.head.to_bytes()?;
    let head = Head::from_bytes(&bytes)?;
    let of =
        |split| (dataset.has(split)).then(|| evaluate_split(&head, &dataset, split, &pooled, progress)).transpose();
    let (val, test) = (of(Split::Val)?, of(Split::Test)?);
    let place = |name: &str| out.join(name);
    let (file, page) = (place("head.safetensors"), place("report.html"));
    std::fs::create_dir_all(out).map_err(|source| JobError::File { path: out.to_owned(), source })?;
    put(&file, &bytes)?;
    let mut notes = dataset.notes.clone();
    notes.extend(stand_ins_not_measured(head.description()));
    let trained = Trained { head, notes, compared: fitted.compared, val, test, file, report: page };
    put(&trained.report, report::training(recipe, &trained).as_bytes())?;
    put(&place("report.json"), report::training_json(recipe, &trained).as_bytes())?;
    Ok(trained)
}

/// Judges a head on one split of `dataset`, encoding what is not in `cache`.
///
/// # Errors
///
/// See [`JobError`].
pub fn evaluate(
    head: &Head,
    dataset: &Dataset,
    split: Split,
    model: &Model,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Evaluation, JobError> {
    if !dataset.has(split) {
        return Err(JobError::Empty(split));
    }
    let own = rows_of(dataset, split);
    let judged = Judged { dataset, split, rows: &own, seed: head.description().seed };
    // Weights on cost are chosen on val; of train, states are needed only of what the head's memory lacks.
    let mut rows = neighbours::to_remember(judged, head);
    rows.extend(own.iter().copied().chain(rows_of(dataset, Split::Val)));
    rows.sort_unstable();
    rows.dedup();
    let prompts: Vec<&str> = rows.iter().map(|row| &*dataset.records[*row].prompt).collect();
    let pooling = &head.description().pooling;
    let origin = origin(model, pooling);
    let width = pooling.width(model.info().hidden);
    let mut encode = |batch: &[&str]| model.encode_batch(batch, pooling).map_err(|error| error.to_string());
    let read = states(cache, &origin, width, &prompts, &mut encode, progress)?;
    let mut pooled = Matrix::zeros(dataset.records.len(), width);
    for (at, row) in rows.iter().enumerate() {
        pooled.row_mut(*row).copy_from_slice(read.row(at));
    }
    let mut evaluation = evaluate_split(head, dataset, split, &pooled, progress)?;
    evaluation.notes.splice(0..0, dataset.notes.iter().cloned());
    Ok(evaluation)
}

fn rows_of(dataset: &Dataset, split: Split) -> Vec<usize> {
    (0..dataset.records.len()).filter(|row| dataset.records[*row].split == split).collect()
}

/// What has to be said of a likeness that names models which the data does not have: it may be a slip.
fn stand_ins_not_measured(description: &Description) -> Option<String> {
    let named = description.likeness.0.values().flatten().map(|evidence| evidence.arm.as_str());
    let absent: BTreeSet<&str> = named.filter(|arm| description.arm(arm).is_none()).collect();
    let told: Vec<&str> = absent.iter().take(3).copied().collect();
    let more = if absent.len() > told.len() { ", ..." } else { "" };
    (!absent.is_empty()).then(|| {
        format!(
            "{} stand-ins of the recipe's [likeness] are not measured by this data and stand in for nobody: {}{more}.",
            absent.len(),
            told.join(", ")
        )
    })
}

/// Where a model's states come from.
pub fn origin(model: &Model, pooling: &Pooling) -> Origin {
    let info = model.info();
    Origin { encoder: info.fingerprint.clone(), pooling: pooling.clone(), max_tokens: info.max_tokens }
}

fn evaluate_split(
    head: &Head,
    dataset: &Dataset,
    split: Split,
    pooled: &Matrix,
    progress: &dyn Progress,
) -> Result<Evaluation, Stopped> {
    progress.begin(Stage::Measure, 3);
    let (own, val) = (rows_of(dataset, split), rows_of(dataset, Split::Val));
    let seed = head.description().seed;
    let judged = Judged { dataset, split, rows: &own, seed };
    let abilities: Vec<Known> = (0..dataset.arms.len()).map(|arm| Known::of(head, dataset, arm)).collect();
    let mut routers = vec![predictions(head, judged, &abilities, pooled)];
    progress.at(1, "the head")?;
    let (others, mut notes) = baselines::baselines(judged);
    routers.extend(others);
    routers.push(neighbours::neighbours(judged, head, pooled));
    progress.at(2, "baselines")?;
    notes.extend(neighbours::sampled(judged, head));
    notes.extend(of_split(dataset, split));
    notes.extend((0..dataset.sources.len() as u32).filter_map(|source| of_bases(judged, source, &abilities)));
    let on_val = Judged { dataset, split: Split::Val, rows: &val, seed };
    let val_routers = if split == Split::Val || val.is_empty() {
        Vec::new()
    } else {
        vec![predictions(head, on_val, &abilities, pooled)]
    };
    let val = (!val_routers.is_empty()).then_some((on_val, val_routers.as_slice()));
    let basis = |arm: u32| abilities[arm as usize].basis.clone();
    for (at, source) in dataset.sources.iter().enumerate() {
        let mut answers = dataset.of_source(at as u32, split).map(|record| record.outcomes.len()).peekable();
        if answers.peek().is_some() && answers.all(|count| count == 1) && dataset.arms_of(at as u32).len() > 1 {
            notes.push(format!(
                "Of each prompt of {source} the answer of one model is known, so nothing is chosen there: AUROC, log-loss and ECE \
                 mean what they say; scores and gaps are those of the models that were asked. `evaluate --policy` judges choices."
            ));
        }
    }
    let mut evaluation = judge(&head.description().name, judged, &routers, val, &basis);
    evaluation.notes = notes;
    progress.at(3, "done")?;
    progress.end();
    Ok(evaluation)
}

/// What has to be said of a split by itself.
fn of_split(dataset: &Dataset, split: Split) -> Option<String> {
    if split == Split::Train {
        return Some("Baselines are fitted to train, which is judged here: their figures flatter them.".into());
    }
    let (seen, all) = (dataset.seen_before(split), dataset.of(split).count());
    let told = || {
        format!(
            "{seen} of the {all} prompts of {split} stand word for word in a split before it, too: they flatter what is fitted there."
        )
    };
    (seen > 0).then(told)
}

/// What the head's predictions for a source's models rest on, where it was not fitted to all of them.
fn of_bases(judged: Judged<'_>, source: u32, abilities: &[Known]) -> Option<String> {
    let arms = baselines::run_models(judged, source);
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for arm in &arms {
        let basis = abilities[*arm as usize].basis.as_str();
        *counts
            .entry(if basis.starts_with("prior: like") { "prior: like another model" } else { basis })
            .or_default() += 1;
    }
    if arms.iter().all(|arm| abilities[*arm as usize].is_learned()) {
        return None;
    }
    let told: Vec<String> = counts.iter().map(|(basis, count)| format!("{basis} ({count})")).collect();
    let strangers = arms.iter().filter(|arm| abilities[**arm as usize].ability.is_none());
    let strangers: Vec<&str> = strangers.map(|arm| judged.dataset.arms[*arm as usize].model.as_str()).collect();
    let of_strangers = match strangers.as_slice() {
        [] => String::new(),
        names => format!(
            " It has never measured {}{}: it says the same of each such model, the mean of all it knows.",
            names.iter().take(3).copied().collect::<Vec<_>>().join(", "),
            if names.len() > 3 { "..." } else { "" }
        ),
    };
    let source = &judged.dataset.sources[source as usize];
    Some(format!(
        "What the head goes by for the {} models of {source}: {}.{of_strangers}",
        arms.len(),
        told.join(", ")
    ))
}

/// The head's predictions for each outcome.
fn predictions(head: &Head, judged: Judged<'_>, abilities: &[Known], pooled: &Matrix) -> Router {
    let anyone = anyone(head);
    let quality = in_parallel(judged.rows, |row| {
        let record = &judged.dataset.records[*row];
        let reading = head.read(pooled.row(*row), &TextStats::of(&record.prompt));
        let predict = |outcome: &super::dataset::Outcome| {
            let ability = abilities[outcome.arm as usize].ability.as_ref().unwrap_or(&anyone);
            head.estimate(&reading, ability).quality as f32
        };
        record.outcomes.iter().map(predict).collect()
    });
    Router { name: "head".into(), quality, calibrated: true }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    std::fs::write(path, bytes).map_err(|source| JobError::File { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
