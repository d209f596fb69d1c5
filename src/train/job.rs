//! The training job from end to end: data, features, fit, measurement, artefact and report.
//!
//! The long part can be resumed: features are cached on disk, and a second run finds them. The rest takes minutes and
//! is reproducible, because all random numbers come from the recipe's seed.

use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Outcome, Split};
use super::error::JobError;
use super::evaluate::{Evaluation, Judged, Router, baselines, judge, neighbours};
use super::features::{FeatureError, states};
use super::finetune::{FinetuneError, Tuned, finetune};
use super::fit::{Fitted, HeldOut, Labelled, Material, Origin, Progress, Stage, Stopped, fit};
use super::in_force::{self, AgainstInForce, Measured};
use super::known::Known;
use super::parallel::in_parallel;
use super::recipe::HeadRecipe;
pub use super::trained::Trained;
use super::{notes, report, results};
use crate::classifier::Model;
use crate::classifier::encoder::Pooling;
use crate::classifier::head::{Head, Matrix};
use crate::classifier::source::Files;
use crate::classifier::stats::TextStats;
use crate::config;

/// A training job: its recipe, and where it reads and writes.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The recipe.
    pub recipe: &'a HeadRecipe,
    /// The folder for results; it is created.
    pub out: &'a Path,
    /// The folder where prompts' states are cached between runs.
    pub cache: &'a Path,
    /// The head in force, as `classifier.head` names it; the new head is compared with it.
    pub in_force: &'a str,
    /// Hears how the job goes.
    pub progress: &'a dyn Progress,
}

impl Job<'_> {
    /// Tunes the encoder in `base` by the recipe, and writes `encoder.gguf` if it became better on val.
    ///
    /// # Errors
    ///
    /// See [`JobError`].
    pub fn tune(&self, dataset: Dataset, base: &Files, device: config::Device) -> Result<Tuned, JobError> {
        let [read] = self.recipe.pooling.layers.as_slice() else { return Err(FinetuneError::Pooling.into()) };
        if !self.recipe.pooling.mean || self.recipe.pooling.last {
            return Err(FinetuneError::Pooling.into());
        }
        let dataset = self.recipe.narrowed(dataset)?;
        let file = self.place("encoder.gguf")?;
        Ok(finetune(&self.recipe.finetune, *read, &dataset, base, device, &file, self.progress)?)
    }

    /// Trains a head and writes `head.safetensors`, `report.json` and `report.html`. `labels` are prompts with the
    /// label of their task.
    ///
    /// # Errors
    ///
    /// See [`JobError`].
    pub fn train(&self, dataset: Dataset, labels: Vec<(String, String)>, model: &Model) -> Result<Trained, JobError> {
        let Self { recipe, progress, .. } = *self;
        recipe.check(model.info().layers)?;
        let dataset = recipe.narrowed(dataset)?;
        // Before the long work: it must not be lost for want of a place.
        let (file, page) = (self.place("head.safetensors")?, self.place("report.html")?);
        let origin = origin(model, &recipe.pooling);
        let mut prompts: Vec<&str> = dataset.records.iter().map(|record| &*record.prompt).collect();
        prompts.extend(labels.iter().map(|(prompt, _)| prompt.as_str()));
        let mut pooled = read_states(model, &recipe.pooling, &prompts, self.cache, progress)?;
        let own = pooled.values.split_off(dataset.records.len() * pooled.columns);
        pooled.rows = dataset.records.len();
        let labelled = Labelled { pooled: Matrix::of(labels.len(), pooled.columns, own), prompts: labels };
        let material = Material { dataset: &dataset, pooled: &pooled, labelled: &labelled, origin: &origin };
        let fitted = fit(&recipe.name, recipe.likeness.clone(), &material, &recipe.fit, progress)?;
        // The head is measured as it is written: the file's rounding is part of it.
        let bytes = fitted.head.to_bytes()?;
        let head = Head::from_bytes(&bytes)?;
        let of = |split| {
            (dataset.has(split)).then(|| evaluate_split(&head, &dataset, split, &pooled, progress)).transpose()
        };
        let (val, test) = (of(Split::Val)?, of(Split::Test)?);
        let in_force = self.against_in_force(&head, &fitted.held_out, &dataset, &pooled, model)?;
        put(&file, &bytes)?;
        let mut said = dataset.notes.clone();
        said.extend(notes::stand_ins_not_measured(head.description()));
        let Fitted { compared, curve, .. } = fitted;
        let trained = Trained { head, notes: said, compared, curve, in_force, val, test, file, report: page };
        put(&trained.report, report::training(recipe, &trained).as_bytes())?;
        put(&self.place("report.json")?, report::training_json(recipe, &trained).as_bytes())?;
        Ok(trained)
    }

    /// Compares `head` with the head in force on val (see [`in_force`]).
    fn against_in_force(
        &self,
        head: &Head,
        held_out: &[HeldOut; 2],
        dataset: &Dataset,
        pooled: &Matrix,
        model: &Model,
    ) -> Result<AgainstInForce, JobError> {
        let name = self.in_force;
        let old = match model.load_head(name) {
            Ok(Some(old)) => old,
            Ok(None) if name == "none" => return Ok(AgainstInForce::not_compared(name, "there is none")),
            Ok(None) => return Ok(AgainstInForce::not_compared(name, "it is for another encoder")),
            Err(error) => return Ok(AgainstInForce::not_compared(name, &error.to_string())),
        };
        let (new_abilities, old_abilities) = (Known::of_all(head, dataset), Known::of_all(&old, dataset));
        let rows: Vec<usize> = held_out.iter().flat_map(|half| &half.rows).copied().collect();
        if let Some(why) = in_force::unfair(dataset, &rows, &old_abilities) {
            return Ok(AgainstInForce::not_compared(name, &why));
        }
        let seed = head.description().seed;
        let judged = |rows| Judged { dataset, split: Split::Val, rows, seed };
        let predicted = |head: &Head, rows| predictions(head, judged(rows), &new_abilities, pooled);
        let mut new = Measured { as_written: predicted(head, &rows), held_out: predicted(head, &[]) };
        for half in held_out {
            let mut parts = head.parts().clone();
            parts.arms.calibration = half.calibration.clone();
            let head = Head::new(head.description().clone(), parts)?;
            new.held_out.quality.extend(predicted(&head, &half.rows).quality);
        }
        let prompts: Vec<&str> = rows.iter().map(|row| &*dataset.records[*row].prompt).collect();
        let read = read_states(model, &old.description().pooling, &prompts, self.cache, self.progress)?;
        let pooled = scattered(&read, &rows, dataset.records.len());
        let remembered = neighbours::remembered(&old, dataset, &rows, &pooled);
        let old = predictions(&old, judged(&rows), &old_abilities, &pooled);
        let mut against = AgainstInForce::compared(name, dataset, &rows, &new, &old, seed);
        if let Some(note) = notes::of_memory(remembered, rows.len()) {
            against.summary = format!("{} Of the head in force: {note}", against.summary);
        }
        Ok(against)
    }

    /// The path of a result, in a folder that exists and can be written.
    fn place(&self, name: &str) -> Result<PathBuf, JobError> {
        let place = self.out.join(name);
        let tried = std::fs::create_dir_all(self.out).and_then(|()| results::try_place(&place));
        tried.map_err(|source| JobError::File { path: self.out.to_owned(), source })?;
        Ok(place)
    }
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
    // Weights on cost are chosen on val; of train, only the prompts that the head's memory lacks are needed.
    let mut rows = neighbours::to_remember(judged, head);
    rows.extend(own.iter().copied().chain(rows_of(dataset, Split::Val)));
    rows.sort_unstable();
    rows.dedup();
    let prompts: Vec<&str> = rows.iter().map(|row| &*dataset.records[*row].prompt).collect();
    let pooling = &head.description().pooling;
    let read = read_states(model, pooling, &prompts, cache, progress)?;
    let pooled = scattered(&read, &rows, dataset.records.len());
    let mut evaluation = evaluate_split(head, dataset, split, &pooled, progress)?;
    evaluation.notes.splice(0..0, dataset.notes.iter().cloned());
    Ok(evaluation)
}

/// The states of `prompts`, from `cache` or by the encoder.
fn read_states(
    model: &Model,
    pooling: &Pooling,
    prompts: &[&str],
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Matrix, FeatureError> {
    let width = pooling.width(model.info().hidden);
    let mut encode = |batch: &[&str]| model.encode_batch(batch, pooling).map_err(|error| error.to_string());
    states(cache, &origin(model, pooling), width, prompts, &mut encode, progress)
}

/// States of some records, at the rows of a matrix that has one for each of `records`.
fn scattered(read: &Matrix, rows: &[usize], records: usize) -> Matrix {
    let mut pooled = Matrix::zeros(records, read.columns);
    for (at, row) in rows.iter().enumerate() {
        pooled.row_mut(*row).copy_from_slice(read.row(at));
    }
    pooled
}

fn rows_of(dataset: &Dataset, split: Split) -> Vec<usize> {
    (0..dataset.records.len()).filter(|row| dataset.records[*row].split == split).collect()
}

/// Identity of the states that `model` and `pooling` give.
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
    let abilities = Known::of_all(head, dataset);
    let mut routers = vec![predictions(head, judged, &abilities, pooled)];
    progress.at(1, "the head")?;
    let (others, mut said) = baselines::baselines(judged);
    routers.extend(others);
    routers.push(neighbours::neighbours(judged, head, pooled));
    progress.at(2, "baselines")?;
    said.extend(neighbours::sampled(judged, head));
    said.extend(notes::of_split(dataset, split));
    said.extend(notes::of_memory(neighbours::remembered(head, dataset, &own, pooled), own.len()));
    let sources = || 0..dataset.sources.len() as u32;
    said.extend(sources().filter_map(|source| notes::of_bases(judged, source, &abilities)));
    said.extend(sources().flat_map(|source| notes::of_train(judged, source)));
    said.extend(sources().filter_map(|source| notes::of_single_answers(dataset, split, source)));
    let on_val = Judged { dataset, split: Split::Val, rows: &val, seed };
    let val_routers = if split == Split::Val || val.is_empty() {
        Vec::new()
    } else {
        vec![predictions(head, on_val, &abilities, pooled)]
    };
    let val = (!val_routers.is_empty()).then_some((on_val, val_routers.as_slice()));
    let basis = |arm: u32| abilities[arm as usize].basis.clone();
    let mut evaluation = judge(&head.description().name, judged, &routers, val, &basis);
    evaluation.notes = said;
    progress.at(3, "done")?;
    progress.end();
    Ok(evaluation)
}

/// The head's predictions for each outcome.
fn predictions(head: &Head, judged: Judged<'_>, abilities: &[Known], pooled: &Matrix) -> Router {
    let quality = in_parallel(judged.rows, |row| {
        let record = &judged.dataset.records[*row];
        let reading = head.read(pooled.row(*row), &TextStats::of(&record.prompt));
        let predict =
            |outcome: &Outcome| head.estimate(&reading, &abilities[outcome.arm as usize].ability).quality as f32;
        record.outcomes.iter().map(predict).collect()
    });
    Router { name: "head".into(), quality, calibrated: true }
}

/// Writes a result: a head in force is never half written.
fn put(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    results::put(path, bytes).map_err(|source| JobError::File { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
