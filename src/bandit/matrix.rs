//! Small symmetric matrices: only what the posterior needs.
//!
//! Dimensions are 50 at most, so everything is dense, row by row, in f64.

use std::ops::{AddAssign, Mul};

use serde::{Deserialize, Serialize};

/// A symmetric matrix, stored as its lower triangle, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Symmetric {
    dim: usize,
    lower: Vec<f64>,
}

impl Symmetric {
    /// All zero.
    pub(super) fn zero(dim: usize) -> Self {
        Self { dim, lower: vec![0.0; dim * (dim + 1) / 2] }
    }

    /// A diagonal matrix.
    pub(super) fn diagonal(entries: &[f64]) -> Self {
        let mut matrix = Self::zero(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            matrix.lower[at * (at + 1) / 2 + at] = *entry;
        }
        matrix
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Whether the storage fits the dimension, and holds numbers only.
    pub(super) fn is_sound(&self) -> bool {
        self.lower.len() == self.dim * (self.dim + 1) / 2 && self.lower.iter().all(|entry| entry.is_finite())
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f64 {
        let (row, column) = if row >= column { (row, column) } else { (column, row) };
        self.lower[row * (row + 1) / 2 + column]
    }

    /// Adds `weight x x'`.
    pub(super) fn add_outer(&mut self, x: &[f64], weight: f64) {
        let mut entries = self.lower.iter_mut();
        for (row, scale) in x.iter().enumerate() {
            // The shorter side first: zip takes from the first before it finds the second exhausted.
            for (x, entry) in x[..=row].iter().zip(entries.by_ref()) {
                *entry += weight * scale * x;
            }
        }
    }

    /// Adds `scale x other`, of the same dimension.
    pub(super) fn add(&mut self, other: &Self, scale: f64) {
        for (entry, more) in self.lower.iter_mut().zip(&other.lower) {
            *entry += scale * more;
        }
    }

    /// Adds to one entry (and so to its mirror image).
    pub(super) fn add_at(&mut self, row: usize, column: usize, more: f64) {
        self.lower[row * (row + 1) / 2 + column] += more;
    }

    pub(super) fn scale(&mut self, factor: f64) {
        self.lower.iter_mut().for_each(|entry| *entry *= factor);
    }

    /// A matrix of dimension `dim` with this one's entries at other indices; the rest is 0. `places` are rising pairs
    /// of an old and a new index.
    pub(super) fn placed(&self, places: &[(usize, usize)], dim: usize) -> Self {
        let mut placed = Self::zero(dim);
        for (at, (row, new_row)) in places.iter().enumerate() {
            for (column, new_column) in &places[..=at] {
                placed.add_at(*new_row, *new_column, self.at(*row, *column));
            }
        }
        placed
    }

    /// The inverse of a positive definite matrix and the logarithm of its determinant, by Cholesky's factorisation;
    /// `None` where it is not positive definite.
    pub(super) fn inverse(&self) -> Option<(Square, f64)> {
        let n = self.dim;
        // factor = L with M = L L', row by row.
        let mut factor = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..=row {
                let (left, right) = (&factor[row * n..row * n + column], &factor[column * n..column * n + column]);
                let rest = self.at(row, column) - dot(left, right);
                if row == column {
                    if rest.is_nan() || rest <= 0.0 {
                        return None;
                    }
                    factor[row * n + row] = rest.sqrt();
                } else {
                    factor[row * n + column] = rest / factor[column * n + column];
                }
            }
        }
        let log_determinant = 2.0 * (0..n).map(|at| factor[at * n + at].ln()).sum::<f64>();
        // Columns of L's inverse, kept as rows; then M's inverse is their Gram matrix.
        let mut columns = vec![0.0; n * n];
        for column in 0..n {
            columns[column * n + column] = 1.0 / factor[column * n + column];
            for row in column + 1..n {
                let known =
                    dot(&factor[row * n + column..row * n + row], &columns[column * n + column..column * n + row]);
                columns[column * n + row] = -known / factor[row * n + row];
            }
        }
        let mut inverse = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..=row {
                let entry = dot(&columns[row * n + row..(row + 1) * n], &columns[column * n + row..(column + 1) * n]);
                inverse[row * n + column] = entry;
                inverse[column * n + row] = entry;
            }
        }
        Some((Square { dim: n, entries: inverse }, log_determinant))
    }
}

/// A square matrix in full, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Square {
    dim: usize,
    entries: Vec<f64>,
}

impl Square {
    /// All zero.
    pub(super) fn zero(dim: usize) -> Self {
        Self { dim, entries: vec![0.0; dim * dim] }
    }

    /// A diagonal matrix.
    pub(super) fn diagonal(entries: &[f64]) -> Self {
        let mut matrix = Self::zero(entries.len());
        entries.iter().enumerate().for_each(|(at, entry)| matrix.entries[at * entries.len() + at] = *entry);
        matrix
    }

    /// The matrix times a vector.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        self.entries.chunks_exact(self.dim).map(|row| dot(row, x)).collect()
    }

    /// `x' M x`.
    pub(super) fn quadratic(&self, x: &[f64]) -> f64 {
        dot(&self.times(x), x)
    }

    /// One row.
    pub(super) fn row(&self, at: usize) -> &[f64] {
        &self.entries[at * self.dim..(at + 1) * self.dim]
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f64 {
        self.entries[row * self.dim + column]
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The dot product summed in sixteen lanes, for choosing: it compiles to independent vector instructions, where a
/// single sum would wait for each addition. The longer side is cut to the shorter.
pub(super) fn wide_dot<T>(a: &[T], b: &[T]) -> T
where
    T: Copy + Default + Mul<Output = T> + AddAssign,
{
    let length = a.len().min(b.len());
    let (a, rest_of_a) = a[..length].as_chunks::<16>();
    let (b, rest_of_b) = b[..length].as_chunks::<16>();
    let mut lanes = [T::default(); 16];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += *a * *b;
        }
    }
    let mut sum = T::default();
    lanes.iter().for_each(|lane| sum += *lane);
    rest_of_a.iter().zip(rest_of_b).for_each(|(a, b)| sum += *a * *b);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Symmetric {
        let mut matrix = Symmetric::diagonal(&[2.0, 1.0, 3.0]);
        matrix.add_outer(&[1.0, -2.0, 0.5], 0.7);
        matrix.add_outer(&[0.3, 1.0, 4.0], 1.3);
        matrix
    }

    #[test]
    fn the_inverse_undoes_the_matrix() {
        let matrix = example();
        let (inverse, log_determinant) = matrix.inverse().unwrap();
        let entry = |row, column| matrix.at(row, column);
        let minor = |row: usize, other: usize| entry(row, 1) * entry(other, 2) - entry(row, 2) * entry(other, 1);
        let determinant = entry(0, 0) * minor(1, 2) - entry(1, 0) * minor(0, 2) + entry(2, 0) * minor(0, 1);
        assert!((log_determinant - determinant.ln()).abs() < 1e-12);
        let x = [0.2, -1.0, 0.7];
        let forth: Vec<f64> =
            (0..3).map(|row| (0..3).map(|column| matrix.at(row, column) * x[column]).sum()).collect();
        let back = inverse.times(&forth);
        assert!(back.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-12), "{back:?}");
    }

    #[test]
    fn what_is_not_positive_definite_has_none() {
        assert!(Symmetric::diagonal(&[1.0, 0.0]).inverse().is_none());
        assert!(Symmetric::diagonal(&[1.0, f64::NAN]).inverse().is_none());
    }

    #[test]
    fn lanes_add_up() {
        for length in 0..40 {
            let (a, b) = ((0..length).map(f64::from).collect::<Vec<_>>(), vec![2.0; 33]);
            let known: f64 = a.iter().take(33).map(|a| a * 2.0).sum();
            assert_eq!(wide_dot(&a, &b), known);
            let (a, b) = (a.iter().map(|a| *a as f32).collect::<Vec<_>>(), [2.0_f32; 33]);
            assert_eq!(f64::from(wide_dot(&a, &b)), known);
        }
    }
}
