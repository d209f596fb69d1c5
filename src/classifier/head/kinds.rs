//! The tasks opinion: which of a source's own tasks a prompt is like, and how well each model does at these.
//!
//! A benchmark's models differ more between tasks than between prompts, and there is little else that tells which of
//! the good ones is best on a prompt: most of the differences that a trunk predicts between them are noise, which
//! choosing the best of many selects for. So the task is predicted from the prompt (a softmax over each source's own
//! tasks), and a model's expected mean over tasks is the third opinion on it.

use super::artefact::Artefact;
use super::matrix::{Matrix, add_scaled, logit};
use super::neighbours::Shelf;
use super::{Description, HeadError};

/// The tasks of all sources.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kinds {
    /// Softmax weights, input by task, and a last row of levels; the sources' tasks side by side, in the order of the
    /// shelves.
    pub weights: Matrix,
    /// Mean scores: for each source and each of its tasks, one for each of its arms.
    pub means: Vec<f32>,
}

impl Kinds {
    /// Log-odds of each arm by the tasks of its source, or of its mean where the source has no tasks. `counts` holds
    /// the number of tasks of each of the `shelves`, `usual` the log-odds of each arm's mean.
    pub fn opinions(&self, counts: &[usize], shelves: &[Shelf], x: &[f32], usual: &[f32]) -> Vec<f32> {
        let mut opinions = usual.to_vec();
        let Some((weights, levels)) = self.weights.values.split_at_checked(x.len() * self.weights.columns) else {
            return opinions;
        };
        let mut scores = levels.to_vec();
        for (value, row) in x.iter().zip(weights.chunks_exact(self.weights.columns.max(1))) {
            add_scaled(&mut scores, *value, row);
        }
        let (mut scores, mut means) = (scores.as_mut_slice(), self.means.as_slice());
        for (count, shelf) in counts.iter().zip(shelves) {
            let (own, later) = scores.split_at_mut((*count).min(scores.len()));
            let (table, behind) = means.split_at((count * shelf.arms.len()).min(means.len()));
            (scores, means) = (later, behind);
            if own.is_empty() {
                continue;
            }
            softmax(own);
            for (at, arm) in shelf.arms.iter().enumerate() {
                let rows = table.chunks_exact(shelf.arms.len());
                opinions[*arm] = logit(own.iter().zip(rows).map(|(share, row)| share * row[at]).sum());
            }
        }
        opinions
    }

    pub(super) fn check(&self, description: &Description, input: usize) -> Result<(), HeadError> {
        let tasks: usize = description.kinds.iter().sum();
        let means: usize =
            description.kinds.iter().zip(&description.shelves).map(|(count, shelf)| count * shelf.arms.len()).sum();
        let rows = if tasks == 0 { self.weights.rows } else { input + 1 };
        let shape = (self.weights.rows, self.weights.columns, self.weights.values.len());
        if shape != (rows, tasks, rows * tasks) || self.means.len() != means {
            return Err(HeadError::Malformed(format!(
                "its sources' tasks: {shape:?} and {} means",
                self.means.len()
            )));
        }
        Ok(())
    }

    pub(super) fn put(&self, artefact: &mut Artefact) {
        artefact.put_short("kinds.told", &[self.weights.rows, self.weights.columns], &self.weights.values);
        artefact.put("kinds.means", &[self.means.len()], &self.means);
    }

    /// An older head has none.
    pub(super) fn take(artefact: &Artefact, description: &Description, input: usize) -> Result<Self, HeadError> {
        let columns: usize = description.kinds.iter().sum();
        if columns == 0 {
            return Ok(Self::default());
        }
        let means = description.kinds.iter().zip(&description.shelves).map(|(count, shelf)| count * shelf.arms.len());
        let values = artefact.floats("kinds.told", &[input + 1, columns])?;
        Ok(Self {
            weights: Matrix { rows: input + 1, columns, values },
            means: artefact.floats("kinds.means", &[means.sum()])?,
        })
    }
}

/// Softmax, in place.
pub fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
    let total: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_worth_what_it_is_at_the_tasks_that_a_prompt_is_like() {
        // Two sources; the second has no tasks. The first state tells the first source's tasks apart.
        let shelves = [Shelf { prompts: 4, arms: vec![0, 2] }, Shelf { prompts: 1, arms: vec![1] }];
        let kinds = Kinds { weights: Matrix::of(2, 2, vec![9.0, -9.0, 0.0, 0.0]), means: vec![0.9, 0.2, 0.3, 0.8] };
        let of = |x: f32| kinds.opinions(&[2, 0], &shelves, &[x], &[0.0, 0.7, 0.0]);
        let close = |found: f32, wanted: f32| assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
        close(of(1.0)[0], logit(0.9));
        close(of(1.0)[2], logit(0.2));
        close(of(-1.0)[2], logit(0.8));
        close(of(0.0)[0], logit(0.6));
        close(of(1.0)[1], 0.7);
        assert_eq!(Kinds::default().opinions(&[], &shelves, &[1.0], &[0.1, 0.2, 0.3]), [0.1, 0.2, 0.3]);
    }
}
