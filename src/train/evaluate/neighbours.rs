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

/// Cosine from which a prompt counts as one of the memory's own. Keys are bytes, and one that was rounded otherwise in a
/// byte or two stays above it: 85 to 100 % of the prompts that the builtin head was fitted to do, source by source, and of
/// 680 of val and test none does (40 of each source).
const SAME: f32 = 0.999;

/// How many of these prompts are in the head's memory, or are not to be told from ones that are.
pub fn remembered(head: &Head, dataset: &Dataset, rows: &[usize], pooled: &Matrix) -> usize {
    let memory = &head.parts().memory;
    let is_known = |row: &usize| {
        let vector = key(head, dataset, pooled, *row);
        let own = Memory::key(&vector);
        let near = memory.nearest(&vector, 1, None);
        let mut found = near.iter().flat_map(|near| &near.found);
        found.any(|(_, at)| cosine(&own, &memory.keys[at * memory.width..][..memory.width]) > SAME)
    };
    in_parallel(rows, is_known).into_iter().filter(|known| *known).count()
}

/// The cosine of two keys. Keys have about the same length, so search takes it for given; here it counts.
fn cosine(one: &[i8], other: &[i8]) -> f32 {
    let product =
        |a: &[i8], b: &[i8]| a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>() as f32;
    product(one, other) / (product(one, one) * product(other, other)).sqrt().max(1.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::Record;

    #[test]
    fn a_prompt_of_the_heads_own_memory_is_known_again() {
        let head = crate::classifier::head::tests::of_two_sources();
        let record = Record {
            id: "1".into(),
            source: 0,
            task: 0,
            split: Split::Test,
            prompt: "What?".into(),
            group: 0,
            origin: None,
            outcomes: [].into(),
            weight: 1.0,
        };
        let dataset = Dataset { records: vec![record; 4], ..Dataset::default() };
        // The first prompt of its first source, that a little otherwise, the one of its second, and a stranger.
        let pooled = Matrix::of(4, 2, vec![1.0, 0.0, 1.0, 0.003, 0.0, 1.0, 0.7, 0.5]);
        assert_eq!(remembered(&head, &dataset, &[0, 1, 2, 3], &pooled), 3);
        assert_eq!(remembered(&head, &dataset, &[3], &pooled), 0);
    }
}
