//! The training table: each prompt's input beside its outcomes, and how much each outcome counts.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::classifier::head::{Input, Matrix, Projection};
use crate::classifier::stats::{self, TextStats};
use crate::train::dataset::{Dataset, Outcome, Split};

/// Prompts by row.
#[derive(Debug, Clone)]
pub struct Table {
    /// The trunk's input.
    pub inputs: Matrix,
    /// Outcomes by row.
    pub outcomes: Vec<Box<[Outcome]>>,
    /// Weight of each of a row's outcomes.
    weights: Vec<f32>,
    /// Weight of each record.
    record_weights: Vec<f32>,
    /// Rows of each split, train, val and test.
    rows: [Vec<usize>; 3],
}

impl Table {
    /// A row for each record of `dataset`, in order; `pooled` has their states.
    pub fn new(dataset: &Dataset, pooled: &Matrix, input: &Input) -> Self {
        let width = input.states.turn.columns + stats::COUNT;
        let mut inputs = Matrix::zeros(dataset.records.len(), width);
        let mut rows = [Vec::new(), Vec::new(), Vec::new()];
        let mut outcomes = Vec::with_capacity(dataset.records.len());
        let mut weights = Vec::with_capacity(dataset.records.len());
        for (row, record) in dataset.records.iter().enumerate() {
            inputs.row_mut(row).copy_from_slice(&input.of(pooled.row(row), &TextStats::of(&record.prompt)));
            outcomes.push(record.outcomes.clone());
            weights.push(record.weight * share(record.outcomes.len()));
            rows[record.split as usize].push(row);
        }
        let record_weights = dataset.records.iter().map(|record| record.weight).collect();
        Self { inputs, outcomes, weights, record_weights, rows }
    }

    /// A table from its parts, all records of weight 1.
    #[cfg(test)]
    pub(super) fn of(inputs: Matrix, outcomes: Vec<Box<[Outcome]>>, rows: [Vec<usize>; 3]) -> Self {
        let weights = outcomes.iter().map(|outcomes| share(outcomes.len())).collect();
        let record_weights = vec![1.0; outcomes.len()];
        Self { inputs, outcomes, weights, record_weights, rows }
    }

    /// The rows of a split.
    pub fn rows(&self, split: Split) -> &[usize] {
        &self.rows[split as usize]
    }

    /// Weight of each outcome of a row: the record's, shared by [`share`].
    pub fn weight(&self, row: usize) -> f32 {
        self.weights[row]
    }

    /// Weight of a row's record: 1 for a judgement, less for a signal.
    pub fn record_weight(&self, row: usize) -> f32 {
        self.record_weights[row]
    }

    /// Mean score and number of prompts of each arm over some rows, smoothed by half a success in one; 0.5 where there
    /// are none.
    pub fn means(&self, rows: &[usize], arms: usize) -> Vec<(f32, usize)> {
        let mut sums = vec![(0.0f64, 0.0f64, 0usize); arms];
        for row in rows {
            let record_weights = f64::from(self.record_weights[*row]);
            for outcome in &self.outcomes[*row] {
                let sum = &mut sums[outcome.arm as usize];
                sum.0 += record_weights * f64::from(outcome.score);
                sum.1 += record_weights;
                sum.2 += 1;
            }
        }
        sums.into_iter().map(|(sum, weight, count)| ((sum + 0.5) as f32 / (weight + 1.0) as f32, count)).collect()
    }
}

/// Weight of each of a prompt's outcomes. A prompt that was put to many models counts more than one that was put to
/// two, by the root of their numbers.
pub(in crate::train) fn share(outcomes: usize) -> f32 {
    1.0 / (outcomes.max(1) as f32).sqrt()
}

/// The rows of one epoch in random order, cut to batches.
pub(in crate::train) fn batches(rows: &[usize], size: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let mut order = rows.to_vec();
    order.shuffle(rng);
    order.chunks(size).map(<[usize]>::to_vec).collect()
}

/// Mean and reciprocal spread of each column over some rows.
pub(in crate::train) fn moments<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize) -> (Vec<f32>, Vec<f32>) {
    let mut sums = vec![(0.0f64, 0.0f64); width];
    let mut count = 0.0f64;
    for row in rows {
        count += 1.0;
        for (sum, value) in sums.iter_mut().zip(row) {
            let value = f64::from(*value);
            sum.0 += value;
            sum.1 += value * value;
        }
    }
    let count = count.max(1.0);
    let mean = |sum: &(f64, f64)| sum.0 / count;
    let scale = |sum: &(f64, f64)| {
        let variance = sum.1 / count - mean(sum) * mean(sum);
        // A column that is nearly constant carries nothing but noise, and is zeroed.
        if variance > 1e-10 { (1.0 / variance.sqrt()) as f32 } else { 0.0 }
    };
    (sums.iter().map(|sum| mean(sum) as f32).collect(), sums.iter().map(scale).collect())
}

/// The part of the input that does not depend on outcomes, from the training rows' states and prompts: standardised
/// states projected onto their `projected` leading directions, and standardised statistics.
pub(super) fn input(dataset: &Dataset, pooled: &Matrix, projected: usize, seed: u64) -> Input {
    let train: Vec<usize> =
        (0..dataset.records.len()).filter(|row| dataset.records[*row].split == Split::Train).collect();
    let (mean, scale) = moments(train.iter().map(|row| pooled.row(*row)), pooled.columns);
    let (statistics_mean, statistics_scale) = {
        let values: Vec<TextStats> = train.iter().map(|row| TextStats::of(&dataset.records[*row].prompt)).collect();
        let (mut mean, mut scale) = moments(values.iter().map(|stats| stats.values.as_slice()), stats::COUNT);
        // Statistics of tools are standardised over prompts that offer some: over all prompts, any that does would be
        // an outlier.
        let offering = values.iter().filter(|stats| stats.offers_tools()).map(|stats| stats.values.as_slice());
        let (tools_mean, tools_scale) = moments(offering, stats::COUNT);
        mean[stats::PLAIN..].copy_from_slice(&tools_mean[stats::PLAIN..]);
        scale[stats::PLAIN..].copy_from_slice(&tools_scale[stats::PLAIN..]);
        (mean, scale)
    };
    let states = Projection { mean, scale, turn: Matrix::zeros(pooled.columns, 0) };
    let turn = super::principal::directions(&states, pooled, &train, projected, seed);
    Input {
        states: Projection { turn, ..states },
        mean: statistics_mean,
        scale: statistics_scale,
        key: [1.0, 0.0, 0.0],
        key_states: projected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_judgement_counts_half_in_a_models_mean() {
        let outcome = |score: f32| -> Box<[Outcome]> {
            let (cost_usd, input_tokens, output_tokens, latency_ms) = (None, None, None, None);
            [Outcome { arm: 0, score, cost_usd, input_tokens, output_tokens, latency_ms }].into()
        };
        let rows = [vec![0, 1, 2, 3], Vec::new(), Vec::new()];
        let mut table = Table::of(Matrix::zeros(4, 1), [1.0, 1.0, 0.0, 0.0].map(outcome).to_vec(), rows);
        assert_eq!(table.means(&[0, 1, 2, 3], 1), [(0.5, 4)]);
        table.record_weights = vec![1.0, 1.0, 0.5, 0.5];
        assert_eq!(table.means(&[0, 1, 2, 3], 1), [(2.5 / 4.0, 4)]);
    }
}
