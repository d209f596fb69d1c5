//! Principal directions of the standardised states, by subspace iteration (Halko, Martinsson and Tropp, "Finding
//! structure with randomness", SIAM Review 2011): a few products with the data, no covariance of all with all.
//!
//! Directions are scaled so that their spread becomes its own square root: whitening would amplify noise, and no
//! scaling would let the first few directions dominate.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::classifier::head::{Matrix, Projection, add_scaled, dot};

/// Most prompts used; more do not change the directions.
const SAMPLE: usize = 5_000;
/// Iterations, each a product with the data.
const ROUNDS: usize = 4;
/// Largest standardised state.
const CLIP: f32 = 4.0;

/// The `wanted` leading directions as columns.
pub(super) fn directions(states: &Projection, pooled: &Matrix, rows: &[usize], wanted: usize, seed: u64) -> Matrix {
    let width = pooled.columns;
    let wanted = wanted.min(width);
    let step = rows.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<Vec<f32>> = rows
        .iter()
        .step_by(step)
        .map(|row| {
            let values = pooled.row(*row).iter().zip(&states.mean).zip(&states.scale);
            values.map(|((x, mean), scale)| ((x - mean) * scale).clamp(-CLIP, CLIP)).collect()
        })
        .collect();
    if wanted == 0 || sample.is_empty() {
        return Matrix::zeros(width, wanted);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    // Directions as rows, so that every product runs along memory.
    let mut basis = Matrix::of(wanted, width, (0..wanted * width).map(|_| rng.random_range(-1.0..1.0)).collect());
    orthonormal(&mut basis);
    for _ in 0..ROUNDS {
        let mut next = Matrix::zeros(wanted, width);
        for row in &sample {
            next.add_outer(&basis.times(row), row);
        }
        basis = next;
        orthonormal(&mut basis);
    }
    let mut spread = vec![0.0f32; wanted];
    for row in &sample {
        spread.iter_mut().zip(basis.times(row)).for_each(|(sum, value)| *sum += value * value / sample.len() as f32);
    }
    let mut order: Vec<usize> = (0..wanted).collect();
    order.sort_by(|a, b| spread[*b].total_cmp(&spread[*a]));
    // Prompts that the encoder cannot tell apart have no spread at all.
    let loud = (spread.iter().copied().map(f32::sqrt).sum::<f32>() / wanted as f32).max(1e-6);
    let mut turn = Matrix::zeros(width, wanted);
    for (column, direction) in order.into_iter().enumerate() {
        let scale = 1.0 / (spread[direction].max(1e-6).powf(0.25) * loud.sqrt());
        for (at, value) in basis.row(direction).iter().enumerate() {
            turn.row_mut(at)[column] = value * scale;
        }
    }
    turn
}

/// Gram and Schmidt, twice for accuracy; a row that is nothing but the others becomes zero.
fn orthonormal(basis: &mut Matrix) {
    for _ in 0..2 {
        for at in 0..basis.rows {
            let (before, rest) = basis.values.split_at_mut(at * basis.columns);
            let row = &mut rest[..basis.columns];
            for other in before.chunks_exact(basis.columns) {
                let shared = dot(row, other);
                add_scaled(row, -shared, other);
            }
            let length = dot(row, row).sqrt();
            let scale = if length > 1e-6 { 1.0 / length } else { 0.0 };
            row.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_are_all_alike_give_directions_of_finite_numbers() {
        let pooled = Matrix::of(20, 3, [0.5, -1.0, 2.0].repeat(20));
        let states = Projection { mean: vec![0.5, -1.0, 2.0], scale: vec![1.0; 3], turn: Matrix::zeros(3, 0) };
        let rows: Vec<usize> = (0..20).collect();
        let turn = directions(&states, &pooled, &rows, 2, 7);
        assert!(turn.values.iter().all(|value| value.is_finite()), "{turn:?}");
    }

    #[test]
    fn the_leading_direction_is_where_the_spread_is() {
        // Along (1, 1, 0) there is ten times the spread of anything else.
        let mut rng = StdRng::seed_from_u64(1);
        let values = (0..400).flat_map(|_| {
            let main: f32 = rng.random_range(-1.0..1.0);
            let mut noise = || rng.random_range(-0.1f32..0.1);
            [main + noise(), main + noise(), noise()]
        });
        let pooled = Matrix::of(400, 3, values.collect());
        let states = Projection { mean: vec![0.0; 3], scale: vec![1.0; 3], turn: Matrix::zeros(3, 0) };
        let rows: Vec<usize> = (0..400).collect();
        let turn = directions(&states, &pooled, &rows, 2, 7);
        let first: Vec<f32> = (0..3).map(|at| turn.row(at)[0]).collect();
        assert!((first[0] / first[1] - 1.0).abs() < 0.05, "{first:?}");
        assert!(first[2].abs() < 0.1 * first[0].abs(), "{first:?}");
    }
}
