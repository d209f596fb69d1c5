//! Features of a prompt in a replay, and predictions where there is a head.

use super::super::dataset::Record;
use crate::classifier::stats::{COUNT, TextStats};

/// Makes context and predictions from prompts.
pub trait Reader {
    /// Name of the features' space, see [`Context::space`](crate::bandit::Context::space).
    fn space(&self) -> &str;
    /// Number of features.
    fn features(&self) -> usize;
    /// The features of each record's prompt.
    ///
    /// # Errors
    ///
    /// When the encoder fails.
    fn read(&mut self, records: &[&Record]) -> anyhow::Result<Vec<Vec<f32>>>;
}

/// Principal components of the text statistics: no model, no outcome, microseconds. Fitted to the prompts it is first
/// given, as a gateway would to the first prompts that it sees.
#[derive(Debug, Default)]
pub struct TextReader {
    wanted: usize,
    fitted: Option<Components>,
}

#[derive(Debug)]
struct Components {
    means: Vec<f64>,
    spreads: Vec<f64>,
    /// Directions divided by their standard deviation, so that each feature has spread 1.
    directions: Vec<Vec<f64>>,
}

impl TextReader {
    /// A reader of `wanted` features, at most as many as there are statistics.
    pub fn new(wanted: usize) -> Self {
        Self { wanted: wanted.min(COUNT), fitted: None }
    }
}

impl Reader for TextReader {
    fn space(&self) -> &str {
        "text-statistics"
    }

    fn features(&self) -> usize {
        self.wanted
    }

    fn read(&mut self, records: &[&Record]) -> anyhow::Result<Vec<Vec<f32>>> {
        let rows: Vec<Vec<f64>> = records
            .iter()
            .map(|record| TextStats::of(&record.prompt).values.iter().map(|value| f64::from(*value)).collect())
            .collect();
        let wanted = self.wanted;
        let components = self.fitted.get_or_insert_with(|| Components::of(&rows, wanted));
        Ok(rows.iter().map(|row| components.apply(row)).collect())
    }
}

impl Components {
    fn of(rows: &[Vec<f64>], wanted: usize) -> Self {
        let n = rows.len().max(1) as f64;
        let width = rows.first().map_or(0, Vec::len);
        let column = |at: usize| rows.iter().map(move |row| row[at]);
        let means: Vec<f64> = (0..width).map(|at| column(at).sum::<f64>() / n).collect();
        let spreads: Vec<f64> = (0..width)
            .map(|at| (column(at).map(|value| (value - means[at]).powi(2)).sum::<f64>() / n).sqrt().max(1e-9))
            .collect();
        let mut covariance = vec![vec![0.0; width]; width];
        for row in rows {
            let scaled: Vec<f64> = (0..width).map(|at| (row[at] - means[at]) / spreads[at]).collect();
            for (out, left) in covariance.iter_mut().zip(&scaled) {
                for (out, right) in out.iter_mut().zip(&scaled) {
                    *out += left * right / n;
                }
            }
        }
        let mut found = eigen(covariance);
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let directions = found
            .into_iter()
            .take(wanted)
            .map(|(value, vector)| vector.into_iter().map(|entry| entry / value.max(1e-6).sqrt()).collect())
            .collect();
        Self { means, spreads, directions }
    }

    fn apply(&self, row: &[f64]) -> Vec<f32> {
        let scaled: Vec<f64> = (0..row.len()).map(|at| (row[at] - self.means[at]) / self.spreads[at]).collect();
        let along = |direction: &Vec<f64>| direction.iter().zip(&scaled).map(|(a, b)| a * b).sum::<f64>() as f32;
        self.directions.iter().map(along).map(|value| value.clamp(-4.0, 4.0)).collect()
    }
}

/// Eigenvalues and eigenvectors of a symmetric matrix by Jacobi's rotations (Golub and Van Loan, "Matrix
/// Computations", 8.5).
fn eigen(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = matrix.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..n).map(|row| (0..n).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    for _ in 0..30 {
        let off: f64 = (0..n).map(|row| matrix[row][..row].iter().map(|entry| entry * entry).sum::<f64>()).sum();
        if off < 1e-18 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if matrix[p][q].abs() < 1e-15 {
                    continue;
                }
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut matrix {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                rotate_rows(&mut matrix, (p, q), (c, s));
                // Rows of `vectors` are the eigenvectors.
                rotate_rows(&mut vectors, (p, q), (c, s));
            }
        }
    }
    vectors.into_iter().enumerate().map(|(at, vector)| (matrix[at][at], vector)).collect()
}

/// Rotates rows `p` and `q`, with `p < q`, by the angle of this cosine and sine.
fn rotate_rows(rows: &mut [Vec<f64>], (p, q): (usize, usize), (c, s): (f64, f64)) {
    let (before, after) = rows.split_at_mut(q);
    for (left, right) in before[p].iter_mut().zip(&mut after[0]) {
        (*left, *right) = (c * *left - s * *right, s * *left + c * *right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_are_what_the_matrix_only_stretches() {
        let matrix = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, -1.0], vec![0.5, -1.0, 2.0]];
        for (value, vector) in eigen(matrix.clone()) {
            for row in 0..3 {
                let stretched: f64 = (0..3).map(|column| matrix[row][column] * vector[column]).sum();
                assert!((stretched - value * vector[row]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn components_come_out_centred_with_spread_one() {
        let rows: Vec<Vec<f64>> = (0..200)
            .map(|at| {
                let (a, b) = (f64::from(at % 7), f64::from(at * 13 % 11));
                vec![a, 2.0 * a + 0.1 * b, b]
            })
            .collect();
        let components = Components::of(&rows, 2);
        let out: Vec<Vec<f32>> = rows.iter().map(|row| components.apply(row)).collect();
        for at in 0..2 {
            let mean = out.iter().map(|row| row[at]).sum::<f32>() / 200.0;
            let square = out.iter().map(|row| row[at] * row[at]).sum::<f32>() / 200.0;
            assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-3, "{mean} {square}");
        }
    }
}
