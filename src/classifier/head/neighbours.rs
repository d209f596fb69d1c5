//! The memory opinion: outcomes of the nearest training prompts, by exhaustive search.
//!
//! Each prompt is a point of [`Memory::width`] signed bytes, in the space of the trunk's projection, with its outcomes,
//! one byte for each model. Twenty thousand points of 64 bytes are searched in well under a millisecond, so there is no
//! index to build or to keep up to date. Distances serve twice: the nearest prompts' outcomes are a second opinion on
//! each model, and how far away they are says whether the prompt is like the training data at all.
//!
//! A model has outcomes on its own source's prompts alone, so neighbours are searched for each source separately.

use super::HeadError;
use super::artefact::Artefact;
use super::matrix::Matrix;

/// The byte of a model that was not run.
const UNKNOWN: u8 = 255;
/// The byte of score 1.
const FULL: f32 = 254.0;

/// Training prompts and what each model did with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Length of a key.
    pub width: usize,
    /// Keys, one behind the other, sources one after another.
    pub keys: Vec<i8>,
    /// The sources, each with its number of prompts and its arms.
    pub shelves: Vec<Shelf>,
    /// Scores: for each prompt, one for each arm of its source.
    pub scores: Vec<u8>,
}

/// The prompts of one source.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shelf {
    /// Number of prompts.
    pub prompts: usize,
    /// The arms that were run there, in the order of the scores.
    pub arms: Vec<usize>,
}

/// The nearest prompts of one source.
#[derive(Debug, Clone, Default)]
pub struct Near {
    /// Cosine similarity and number of the prompt (within all), nearest first.
    pub found: Vec<(f32, usize)>,
}

impl Memory {
    /// A key's bytes: the vector scaled to length 127.
    pub fn key(vector: &[f32]) -> Vec<i8> {
        let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-9);
        vector.iter().map(|v| (v / length * 127.0).round() as i8).collect()
    }

    /// Adds a source's prompts: their keys' vectors and a score (if any) for each of `arms`.
    pub fn add(&mut self, arms: Vec<usize>, vectors: &Matrix, mut score: impl FnMut(usize, usize) -> Option<f32>) {
        self.width = vectors.columns;
        for row in 0..vectors.rows {
            self.keys.extend(Self::key(vectors.row(row)));
            let byte =
                |score: Option<f32>| score.map_or(UNKNOWN, |score| (score.clamp(0.0, 1.0) * FULL).round() as u8);
            self.scores.extend(arms.iter().map(|arm| byte(score(row, *arm))));
        }
        self.shelves.push(Shelf { prompts: vectors.rows, arms });
    }

    /// The `most` nearest prompts of each source, without the prompt `skip` (a stored prompt's own entry).
    pub fn nearest(&self, vector: &[f32], most: usize, skip: Option<usize>) -> Vec<Near> {
        let key = Self::key(vector);
        let length = length(&key);
        let mut near = Vec::with_capacity(self.shelves.len());
        let mut first = 0;
        for shelf in &self.shelves {
            // A head's file may ask for more than there are, or than any memory holds.
            let most = most.min(shelf.prompts);
            let mut found: Vec<(f32, usize)> = Vec::with_capacity(most + 1);
            let keys = &self.keys[first * self.width..][..shelf.prompts * self.width];
            for (at, other) in keys.chunks_exact(self.width.max(1)).enumerate() {
                // Keys have about the same length, so the product alone rules out prompts that are surely too far.
                let product = product(&key, other) as f32;
                let bound = match found.last() {
                    Some(last) if found.len() == most => last.0,
                    _ => f32::MIN,
                };
                let similarity = product / (length * 127.0);
                if similarity > bound && skip != Some(first + at) {
                    let place = found.partition_point(|(better, _)| *better >= similarity);
                    found.insert(place, (similarity, first + at));
                    found.truncate(most);
                }
            }
            near.push(Near { found });
            first += shelf.prompts;
        }
        near
    }

    /// For each arm that has any neighbour with an outcome: the outcomes' mean, weighted by `exp(sharpness * (cosine -
    /// 1))`, and those weights' sum. Arms without any have (0, 0).
    pub fn opinions(&self, near: &[Near], sharpness: f32, arms: usize) -> Vec<(f32, f32)> {
        let mut opinions = vec![(0.0f32, 0.0f32); arms];
        let (mut first, mut first_score) = (0, 0);
        for (shelf, near) in self.shelves.iter().zip(near) {
            for (similarity, prompt) in &near.found {
                let weight = (sharpness * (similarity - 1.0)).exp();
                let scores = &self.scores[first_score + (prompt - first) * shelf.arms.len()..][..shelf.arms.len()];
                for (arm, score) in shelf.arms.iter().zip(scores).filter(|(_, score)| **score != UNKNOWN) {
                    opinions[*arm].0 += weight * f32::from(*score) / FULL;
                    opinions[*arm].1 += weight;
                }
            }
            first += shelf.prompts;
            first_score += shelf.prompts * shelf.arms.len();
        }
        for opinion in opinions.iter_mut().filter(|opinion| opinion.1 > 0.0) {
            opinion.0 /= opinion.1;
        }
        opinions
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.prompts).sum()
    }

    /// Whether there are no prompts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn put(&self, artefact: &mut Artefact) {
        artefact.put_signed("memory.keys", &[self.len(), self.width], &self.keys);
        artefact.put_bytes("memory.scores", &self.scores);
    }

    pub(super) fn take(
        artefact: &Artefact,
        width: usize,
        shelves: Vec<Shelf>,
        arms: usize,
    ) -> Result<Self, HeadError> {
        let wrong = |what: &str| HeadError::Malformed(what.to_owned());
        if shelves.iter().any(|shelf| shelf.arms.iter().any(|arm| *arm >= arms)) {
            return Err(wrong("its memory names a model that it does not have"));
        }
        let prompts = shelves.iter().try_fold(0usize, |all, shelf| all.checked_add(shelf.prompts));
        let prompts = prompts.ok_or_else(|| wrong("its memory cannot be that large"))?;
        let keys = artefact.signed("memory.keys", &[prompts, width])?;
        let scores = artefact.bytes("memory.scores")?.to_vec();
        let expected = shelves.iter().try_fold(0usize, |all, shelf| {
            shelf.prompts.checked_mul(shelf.arms.len()).and_then(|scores| all.checked_add(scores))
        });
        if expected != Some(scores.len()) {
            return Err(wrong("its memory's scores are not as many as its prompts"));
        }
        Ok(Self { width, keys, shelves, scores })
    }
}

/// A key's length.
fn length(key: &[i8]) -> f32 {
    (product(key, key) as f32).sqrt().max(1.0)
}

fn product(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(i16::from(*a) * i16::from(*b))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut memory = Memory::default();
        let vectors = Matrix::of(3, 2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0]);
        memory
            .add(vec![0, 1], &vectors, |row, arm| (row != 1 || arm == 0).then_some(if row == 0 { 1.0 } else { 0.0 }));
        memory.add(vec![2], &Matrix::of(1, 2, vec![0.6, 0.8]), |_, _| Some(0.5));
        memory
    }

    #[test]
    fn the_nearest_come_first_for_each_source_apart() {
        let near = memory().nearest(&[2.0, 0.2], 2, None);
        assert_eq!(near[0].found.iter().map(|found| found.1).collect::<Vec<_>>(), [0, 1]);
        assert!(near[0].found[0].0 > 0.98 && near[0].found[1].0 < 0.2);
        assert_eq!(near[1].found[0].1, 3);
        assert_eq!(memory().nearest(&[2.0, 0.2], 1, Some(0))[0].found[0].1, 1, "a prompt is no witness for itself");
    }

    #[test]
    fn who_asks_for_no_neighbours_finds_none() {
        assert!(memory().nearest(&[2.0, 0.2], 0, None).iter().all(|near| near.found.is_empty()));
    }

    #[test]
    fn who_asks_for_more_neighbours_than_there_are_finds_all() {
        assert_eq!(memory().nearest(&[2.0, 0.2], usize::MAX / 2, None)[0].found.len(), 3);
    }

    #[test]
    fn opinions_weigh_outcomes_by_nearness_and_skip_what_was_not_run() {
        let memory = memory();
        let near = memory.nearest(&[1.0, 0.0], 2, None);
        let opinions = memory.opinions(&near, 5.0, 4);
        let far = (-5.0f32).exp();
        assert!((opinions[0].0 - 1.0 / (1.0 + far)).abs() < 0.01);
        assert_eq!(opinions[1].0, 1.0, "arm 1 was not run on the second prompt");
        assert!((opinions[2].0 - 0.5).abs() < 0.01);
        assert_eq!(opinions[3], (0.0, 0.0));
    }
}
