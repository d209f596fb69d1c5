//! The small fits: statistics alone, task labels, output tokens, and the context's whitening.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::adam::{Adam, rate_at};
use super::table::{Table, batches, moments};
use crate::classifier::head::{Kinds, MOST_KINDS, Matrix, Projection, Trunk, add_scaled, dot, sigmoid, softmax};
use crate::classifier::stats;
use crate::train::dataset::{Dataset, Split};

const BATCH: usize = 128;

/// Passes over this many cases: eight, or more where eight would give fewer than four hundred steps.
fn epochs(cases: usize) -> usize {
    (400 * BATCH).div_ceil(cases.max(1)).clamp(8, 400)
}

/// Ridges, per prompt: of a model's weights towards the shared ones, and of the shared ones towards zero.
const PLAIN_RIDGE: (f32, f32) = (3e-2, 1e-4);

/// Logistic regressions on statistics, for unfamiliar prompts. Models share one direction, from which each may differ a
/// little, because what is hard for all of them also holds on work that none was measured on. (With task families left
/// out of train and val in turn, AUROC on them was .548 this way, .527 to .537 with separate weights for each model,
/// and .521 by length alone; 17 pairs of family and source.)
pub(super) fn plain(table: &Table, arms: &[(f32, usize)], seed: u64) -> Matrix {
    const COUNT: usize = stats::COUNT;
    let mut weights = Matrix::zeros(arms.len() + 1, COUNT + 1);
    for (arm, (mean, _)) in arms.iter().enumerate() {
        weights.row_mut(arm)[COUNT] = crate::classifier::head::logit(*mean);
    }
    // The last row holds the shared weights.
    let shared = arms.len();
    let mut gradient = Matrix::zeros(arms.len() + 1, COUNT + 1);
    let mut adam = Adam::new(weights.values.len(), 0.0);
    let mut rng = StdRng::seed_from_u64(seed);
    let rows = table.rows(Split::Train);
    let first = table.inputs.columns - COUNT;
    let epochs = epochs(rows.len());
    for epoch in 0..epochs {
        for batch in batches(rows, BATCH, &mut rng) {
            for row in &batch {
                let x = &table.inputs.row(*row)[first..];
                let weight = table.weight(*row) / batch.len() as f32;
                let common = dot(&weights.row(shared)[..COUNT], x);
                let mut errors = 0.0;
                for outcome in &table.outcomes[*row] {
                    let own = weights.row(outcome.arm as usize);
                    let odds = common + dot(&own[..COUNT], x) + own[COUNT];
                    let error = weight * (sigmoid(odds) - outcome.score);
                    let target = gradient.row_mut(outcome.arm as usize);
                    add_scaled(&mut target[..COUNT], error, x);
                    target[COUNT] += error;
                    errors += error;
                }
                add_scaled(&mut gradient.row_mut(shared)[..COUNT], errors, x);
            }
            for arm in 0..=shared {
                let own = weights.row(arm).to_vec();
                let ridge = if arm == shared { PLAIN_RIDGE.1 } else { PLAIN_RIDGE.0 };
                // The ridge leaves out the level.
                add_scaled(&mut gradient.row_mut(arm)[..COUNT], ridge, &own[..COUNT]);
            }
            adam.step(&mut weights.values, &mut gradient.values, rate_at(1e-2, epoch as f32 / epochs as f32));
        }
    }
    let common = weights.row(shared).to_vec();
    let mut own = Matrix::zeros(arms.len(), COUNT + 1);
    for arm in 0..arms.len() {
        own.row_mut(arm).copy_from_slice(weights.row(arm));
        add_scaled(&mut own.row_mut(arm)[..COUNT], 1.0, &common[..COUNT]);
    }
    own
}

/// A softmax over task labels: input by label, levels as the last row. Labels are weighted so that rare ones count.
pub(super) fn tasks(inputs: &Matrix, labels: &[(usize, usize)], count: usize, seed: u64) -> Matrix {
    softmax_weights(inputs, labels, count, SoftmaxSettings { even: true, decay: 1e-2, dropout: 0.0 }, seed)
}

/// Decay and dropout of the softmax over a source's own tasks, strong enough that it is not overconfident.
const KINDS: SoftmaxSettings = SoftmaxSettings { even: false, decay: 0.3, dropout: 0.2 };
/// Fewest training prompts for a task of its own.
const FEW_OF_A_KIND: usize = 8;
/// Weight of a model's mean against its outcomes at a task.
const KIND_SETTLE: f32 = 3.0;

/// The tasks opinion: the number of tasks that each source has, and the fitted parts.
pub(super) fn kinds(table: &Table, dataset: &Dataset, means: &[(f32, usize)], seed: u64) -> (Vec<usize>, Kinds) {
    let mut counts = Vec::new();
    let mut all = Kinds::default();
    let mut columns: Vec<Matrix> = Vec::new();
    for source in 0..dataset.sources.len() as u32 {
        let arms: Vec<usize> = dataset.arms_of(source).iter().map(|arm| *arm as usize).collect();
        let mut by_task: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for row in table.rows(Split::Train).iter().filter(|row| dataset.records[**row].source == source) {
            by_task.entry(dataset.records[*row].task).or_default().push(*row);
        }
        let mut tasks: Vec<Vec<usize>> = by_task.into_values().filter(|rows| rows.len() >= FEW_OF_A_KIND).collect();
        tasks.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
        tasks.truncate(MOST_KINDS);
        if tasks.len() < 2 {
            counts.push(0);
            continue;
        }
        let labels: Vec<(usize, usize)> =
            tasks.iter().enumerate().flat_map(|(task, rows)| rows.iter().map(move |row| (*row, task))).collect();
        columns.push(softmax_weights(&table.inputs, &labels, tasks.len(), KINDS, seed));
        for rows in &tasks {
            let mut sums = vec![(0.0f32, 0.0f32); means.len()];
            for outcome in rows.iter().flat_map(|row| table.outcomes[*row].iter()) {
                let sum = &mut sums[outcome.arm as usize];
                *sum = (sum.0 + outcome.score, sum.1 + 1.0);
            }
            let mean = |arm: &usize| (sums[*arm].0 + KIND_SETTLE * means[*arm].0) / (sums[*arm].1 + KIND_SETTLE);
            all.means.extend(arms.iter().map(mean));
        }
        counts.push(tasks.len());
    }
    let total = counts.iter().sum();
    let rows = if total == 0 { 0 } else { table.inputs.columns + 1 };
    let values = (0..rows).flat_map(|row| columns.iter().flat_map(move |own| own.row(row).to_vec()));
    all.weights = Matrix::of(rows, total, values.collect());
    (counts, all)
}

/// How a softmax over labels is fitted.
#[derive(Clone, Copy)]
struct SoftmaxSettings {
    /// Whether rare labels count more, by the root of how rare they are.
    even: bool,
    /// Weight decay.
    decay: f32,
    /// Share of inputs that are left out at random.
    dropout: f32,
}

/// A softmax over labels: input by label, levels as the last row.
fn softmax_weights(
    inputs: &Matrix,
    labels: &[(usize, usize)],
    count: usize,
    how: SoftmaxSettings,
    seed: u64,
) -> Matrix {
    let width = inputs.columns;
    let mut weights = Matrix::zeros(width + 1, count);
    let mut gradient = Matrix::zeros(width + 1, count);
    let mut adam = Adam::new(weights.values.len(), how.decay);
    let mut frequency = vec![0.0f32; count];
    labels.iter().for_each(|(_, label)| frequency[*label] += 1.0);
    let mut rng = StdRng::seed_from_u64(seed);
    let order: Vec<usize> = (0..labels.len()).collect();
    let mut x = vec![0.0; width];
    let epochs = epochs(order.len());
    for epoch in 0..epochs {
        for batch in batches(&order, BATCH, &mut rng) {
            for at in &batch {
                let (row, label) = labels[*at];
                let rare = labels.len() as f32 / count as f32 / frequency[label];
                let weight = if how.even { rare.sqrt() } else { 1.0 } / batch.len() as f32;
                x.copy_from_slice(inputs.row(row));
                if how.dropout > 0.0 {
                    let keep = 1.0 / (1.0 - how.dropout);
                    let mut thin = |value: f32| if rng.random::<f32>() < how.dropout { 0.0 } else { value * keep };
                    x.iter_mut().for_each(|value| *value = thin(*value));
                }
                let mut scores = weights.row(width).to_vec();
                for (value, row) in x.iter().zip(weights.values.chunks_exact(count)) {
                    add_scaled(&mut scores, *value, row);
                }
                softmax(&mut scores);
                scores.iter_mut().for_each(|score| *score *= weight);
                scores[label] -= weight;
                gradient.add_outer(&x, &scores);
                add_scaled(gradient.row_mut(width), 1.0, &scores);
            }
            adam.step(&mut weights.values, &mut gradient.values, rate_at(5e-3, epoch as f32 / epochs as f32));
        }
    }
    weights
}

/// Ridge regressions of the logarithm of output tokens on latents, one for each model that has any; the others get
/// the level -1000.
pub(super) fn tokens(table: &Table, latents: &Matrix, arms: usize) -> Matrix {
    let width = latents.columns + 1;
    let mut weights = Matrix::zeros(arms, width);
    let mut cases: Vec<Vec<(usize, f32)>> = vec![Vec::new(); arms];
    for row in table.rows(Split::Train) {
        for outcome in &table.outcomes[*row] {
            if let Some(tokens) = outcome.output_tokens.filter(|tokens| *tokens >= 1.0) {
                cases[outcome.arm as usize].push((*row, tokens.ln()));
            }
        }
    }
    for (arm, cases) in cases.iter().enumerate() {
        if cases.is_empty() {
            weights.row_mut(arm)[width - 1] = -1000.0;
            continue;
        }
        let rows = cases.iter().map(|(row, target)| {
            let mut x: Vec<f64> = latents.row(*row).iter().map(|value| f64::from(*value)).collect();
            x.push(1.0);
            (x, f64::from(*target), 1.0)
        });
        let mut ridge = vec![0.02 * cases.len() as f64 + 5.0; width];
        ridge[width - 1] = 1e-6;
        let solved = least_squares(rows, &vec![0.0; width], &ridge);
        weights.row_mut(arm).iter_mut().zip(solved).for_each(|(weight, solved)| *weight = solved as f32);
    }
    weights
}

/// The `wanted` leading directions of the latents, whitened.
pub(super) fn context(latents: &Matrix, rows: &[usize], wanted: usize, seed: u64) -> Projection {
    let (mean, scale) = moments(rows.iter().map(|row| latents.row(*row)), latents.columns);
    let standard = Projection { mean, scale, turn: Matrix::zeros(latents.columns, 0) };
    let mut turn = super::principal::directions(&standard, latents, rows, wanted, seed);
    // Whitened, because the bandit's prior is the same in every direction.
    let mut spread = vec![0.0f64; turn.columns];
    let mut out = vec![0.0f32; turn.columns];
    for row in rows {
        out.fill(0.0);
        let x = latents.row(*row).iter().zip(&standard.mean).zip(&standard.scale).map(|((x, m), s)| (x - m) * s);
        turn.add_product(&x.collect::<Vec<_>>(), &mut out);
        spread.iter_mut().zip(&out).for_each(|(sum, value)| *sum += f64::from(value * value));
    }
    for row in 0..turn.rows {
        for (value, sum) in turn.row_mut(row).iter_mut().zip(&spread) {
            *value *= (rows.len().max(1) as f64 / sum.max(1e-9)).sqrt() as f32;
        }
    }
    // Where there are fewer latents than wanted, the rest of the context is zero.
    let mut padded = Matrix::zeros(turn.rows, wanted);
    for row in 0..turn.rows {
        padded.row_mut(row)[..turn.columns].copy_from_slice(turn.row(row));
    }
    Projection { turn: padded, ..standard }
}

/// The latents of every row.
pub(super) fn latents(table: &Table, trunk: &Trunk) -> Matrix {
    let mut all = Matrix::zeros(table.inputs.rows, trunk.second.columns);
    for row in 0..table.inputs.rows {
        all.row_mut(row).copy_from_slice(&trunk.latent(table.inputs.row(row)));
    }
    all
}

/// Weighted least squares with a ridge towards `centre`: the normal equations, by Cholesky's decomposition.
pub(super) fn least_squares(
    rows: impl Iterator<Item = (Vec<f64>, f64, f64)>,
    centre: &[f64],
    ridge: &[f64],
) -> Vec<f64> {
    let n = centre.len();
    let mut left = vec![0.0; n * n];
    let mut right: Vec<f64> = centre.iter().zip(ridge).map(|(centre, ridge)| centre * ridge).collect();
    for (at, ridge) in ridge.iter().enumerate() {
        left[at * n + at] = ridge.max(1e-9);
    }
    for (x, y, weight) in rows {
        for i in 0..n {
            for j in 0..=i {
                left[i * n + j] += weight * x[i] * x[j];
            }
            right[i] += weight * x[i] * y;
        }
    }
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = left[i * n + j] - (0..j).map(|k| left[i * n + k] * left[j * n + k]).sum::<f64>();
            left[i * n + j] = if i == j { sum.max(1e-12).sqrt() } else { sum / left[j * n + j] };
        }
    }
    for i in 0..n {
        right[i] = (right[i] - (0..i).map(|k| left[i * n + k] * right[k]).sum::<f64>()) / left[i * n + i];
    }
    for i in (0..n).rev() {
        right[i] = (right[i] - (i + 1..n).map(|k| left[k * n + i] * right[k]).sum::<f64>()) / left[i * n + i];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_a_line_and_a_ridge_draws_to_its_centre() {
        let rows = || (0..20).map(|i| (vec![f64::from(i), 1.0], 3.0 * f64::from(i) - 2.0, 1.0));
        let free = least_squares(rows(), &[0.0, 0.0], &[0.0, 0.0]);
        assert!((free[0] - 3.0).abs() < 1e-6 && (free[1] + 2.0).abs() < 1e-6, "{free:?}");
        let held = least_squares(rows(), &[1.0, 7.0], &[1e9, 1e9]);
        assert!((held[0] - 1.0).abs() < 1e-3 && (held[1] - 7.0).abs() < 1e-3, "{held:?}");
    }

    #[test]
    fn the_context_is_white() {
        let values = (0..300u16).flat_map(|i| {
            let a = f32::from(i % 17) - 8.0;
            [a, a * 0.9 + f32::from(i % 5), f32::from(i % 11) * 10.0]
        });
        let latents = Matrix::of(300, 3, values.collect());
        let rows: Vec<usize> = (0..300).collect();
        let projection = context(&latents, &rows, 4, 1);
        let z: Vec<Vec<f32>> = rows.iter().map(|row| projection.of(latents.row(*row))).collect();
        for a in 0..3 {
            for b in 0..3 {
                let shared = z.iter().map(|z| z[a] * z[b]).sum::<f32>() / 300.0;
                assert!((shared - f32::from(u8::from(a == b))).abs() < 0.12, "{a} {b}: {shared}");
            }
            assert_eq!(z[a][3], 0.0, "there were but three");
        }
    }

    #[test]
    fn models_share_what_is_hard_and_keep_their_levels() {
        // One statistic decides for both models, of which one does well more often; the second model was asked thrice
        // only.
        let inputs = Matrix::of(200, stats::COUNT, {
            let row = |at: usize| {
                (0..stats::COUNT).map(move |column| if column == 0 { (at % 2) as f32 * 2.0 - 1.0 } else { 0.0 })
            };
            (0..200).flat_map(row).collect()
        });
        let outcome = |arm: u32, score: f32| crate::train::dataset::Outcome {
            arm,
            score,
            ..crate::train::dataset::Outcome::default()
        };
        let outcomes = (0..200).map(|row| {
            let easy = (row % 2) as f32;
            if row < 3 { [outcome(0, easy), outcome(1, 0.0)].into() } else { [outcome(0, easy)].into() }
        });
        let table = Table::of(inputs, outcomes.collect(), [(0..200).collect(), Vec::new(), Vec::new()]);
        let weights = plain(&table, &[(0.5, 200), (0.1, 3)], 1);
        assert!(weights.row(0)[0] > 0.5, "{}", weights.row(0)[0]);
        assert!(weights.row(1)[0] > 0.5 * weights.row(0)[0], "it knows of the second what it knows of all");
        assert!(weights.row(1)[stats::COUNT] < weights.row(0)[stats::COUNT]);
    }

    #[test]
    fn labels_are_learned() {
        let inputs = Matrix::of(40, 2, (0..40u8).flat_map(|i| [f32::from(i % 2) * 2.0 - 1.0, 0.3]).collect());
        let labels: Vec<(usize, usize)> = (0..40).map(|row| (row, row % 2)).collect();
        let weights = tasks(&inputs, &labels, 2, 3);
        assert!(weights.row(0)[1] > weights.row(0)[0]);
    }
}
