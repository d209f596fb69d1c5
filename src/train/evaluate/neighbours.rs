//! The baseline of nearest neighbours: the outcomes of the nearest training prompts alone, in the head's own features.
//!
//! The head's memory is used for a source whose models it holds. For any other source a memory is made of the data's
//! own train, in the same space; a source without train has no such baseline.

use super::baselines::{is_trained, run_models};
use super::{Judged, Router};
use crate::classifier::head::{Head, Matrix, Memory, sigmoid};
use crate::classifier::stats::TextStats;
use crate::train::dataset::{Dataset, Outcome, Split};
use crate::train::parallel::in_parallel;

/// Most training prompts of a source that such a memory takes: reading them takes long.
const MOST: usize = 2_000;

/// Training prompts, by index into the data's records, of the sources that the head's memory cannot answer for;
/// [`neighbours`] needs their states.
pub fn to_remember(judged: Judged<'_>, head: &Head) -> Vec<usize> {
    let records = &judged.dataset.records;
    let mut rows = Vec::new();
    for source in 0..judged.dataset.sources.len() as u32 {
        if is_trained(judged, source) && !is_in_memory(judged, head, source) {
            let is_own = |row: &usize| records[*row].source == source && records[*row].split == Split::Train;
            let own: Vec<usize> = (0..records.len()).filter(is_own).collect();
            let step = own.len().div_ceil(MOST).max(1);
            rows.extend(own.into_iter().step_by(step));
        }
    }
    rows
}

/// Notes on sources of which only a part of train is in the memory.
pub fn sampled(judged: Judged<'_>, head: &Head) -> Vec<String> {
    let dataset = judged.dataset;
    let rows = to_remember(judged, head);
    let of_source = |rows: &[usize]| {
        let source = dataset.records[rows[0]].source;
        let all = dataset.of_source(source, Split::Train).count();
        let name = &dataset.sources[source as usize];
        (rows.len() < all).then(|| format!("kNN looks among {} of the {all} prompts of train of {name}.", rows.len()))
    };
    rows.chunk_by(|a, b| dataset.records[*a].source == dataset.records[*b].source).filter_map(of_source).collect()
}

/// The baseline. `pooled` has the states of each of the data's records that is judged or [`to_remember`].
pub fn neighbours(judged: Judged<'_>, head: &Head, pooled: &Matrix) -> Router {
    let dataset = judged.dataset;
    let sources = 0..dataset.sources.len() as u32;
    let in_memory: Vec<bool> = sources.map(|source| is_in_memory(judged, head, source)).collect();
    let own = Own::of(judged, head, pooled);
    let description = head.description();
    let quality = in_parallel(judged.rows, |row| {
        let record = &dataset.records[*row];
        let memory = if in_memory[record.source as usize] {
            &head.parts().memory
        } else if own.has(record.source) {
            &own.memory
        } else {
            return Vec::new();
        };
        let near = memory.nearest(&key(head, dataset, pooled, *row), description.recall.neighbours, None);
        let arms = description.arms.len().max(dataset.arms.len());
        let opinions = memory.opinions(&near, description.recall.sharpness, arms);
        let of = |outcome: &Outcome| {
            let known = match in_memory[record.source as usize] {
                true => arm_of(head, dataset, outcome.arm).map(|arm| (arm, description.arms[arm].mean)),
                false => Some((outcome.arm as usize, own.means[outcome.arm as usize])),
            };
            known.map_or(0.5, |(arm, mean)| sigmoid(description.recall.log_odds(opinions[arm], mean)))
        };
        record.outcomes.iter().map(of).collect()
    });
    Router { name: "kNN on our features".into(), quality, calibrated: true }
}

/// A memory of the data's own train, by the data's arms.
struct Own {
    sources: Vec<u32>,
    memory: Memory,
    means: Vec<f32>,
}

impl Own {
    fn of(judged: Judged<'_>, head: &Head, pooled: &Matrix) -> Self {
        let dataset = judged.dataset;
        let rows = to_remember(judged, head);
        let mut own = Self { sources: Vec::new(), memory: Memory::default(), means: vec![0.5; dataset.arms.len()] };
        for rows in rows.chunk_by(|a, b| dataset.records[*a].source == dataset.records[*b].source) {
            let source = dataset.records[rows[0]].source;
            let keys = in_parallel(rows, |row| key(head, dataset, pooled, *row));
            let width = keys.first().map_or(0, Vec::len);
            let keys = Matrix::of(rows.len(), width, keys.concat());
            let arms: Vec<usize> = dataset.arms_of(source).iter().map(|arm| *arm as usize).collect();
            let score = |at: usize, arm: usize| dataset.records[rows[at]].outcome(arm as u32).map(|it| it.score);
            for arm in &arms {
                let scores: Vec<f32> = (0..rows.len()).filter_map(|at| score(at, *arm)).collect();
                own.means[*arm] = (scores.iter().sum::<f32>() + 0.5) / (scores.len() + 1) as f32;
            }
            own.memory.add(arms, &keys, score);
            own.sources.push(source);
        }
        own
    }

    fn has(&self, source: u32) -> bool {
        self.sources.contains(&source)
    }
}

/// The key of a record's prompt in the head's memory.
fn key(head: &Head, dataset: &Dataset, pooled: &Matrix, row: usize) -> Vec<f32> {
    let parts = head.parts();
    let x = parts.input.of(pooled.row(row), &TextStats::of(&dataset.records[row].prompt));
    parts.input.key(&x, &parts.trunk.latent(&x))
}

/// The head's arm for an arm of the data, where the head has it from the same source.
fn arm_of(head: &Head, dataset: &Dataset, arm: u32) -> Option<usize> {
    let arm = &dataset.arms[arm as usize];
    let source = &dataset.sources[arm.source as usize];
    let found = head.description().arm(&format!("{source}/{}", arm.model))?;
    (head.description().arms[found].source == *source).then_some(found)
}

/// Whether the head's memory has all judged models of a source.
fn is_in_memory(judged: Judged<'_>, head: &Head, source: u32) -> bool {
    run_models(judged, source).iter().all(|arm| arm_of(head, judged.dataset, *arm).is_some())
}
