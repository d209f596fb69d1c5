//! A matrix and the three products that heads need, in plain Rust: matrices are small, and the compiler vectorises the
//! loops; and short floats, for files.

/// A matrix, row by row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Length of a row.
    pub columns: usize,
    /// All rows, one after the other.
    pub values: Vec<f32>,
}

impl Matrix {
    /// Zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// A matrix of `values`, padded with zeros.
    pub fn of(rows: usize, columns: usize, mut values: Vec<f32>) -> Self {
        values.resize(rows * columns, 0.0);
        Self { rows, columns, values }
    }

    /// A row.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.columns..][..self.columns]
    }

    /// A row, to be changed.
    pub fn row_mut(&mut self, at: usize) -> &mut [f32] {
        &mut self.values[at * self.columns..][..self.columns]
    }

    /// `out += x * self`, a sum of rows weighted by `x`. Zeros in `x` cost nothing.
    pub fn add_product(&self, x: &[f32], out: &mut [f32]) {
        for (value, row) in x.iter().zip(self.values.chunks_exact(self.columns.max(1))) {
            if *value != 0.0 {
                add_scaled(out, *value, row);
            }
        }
    }

    /// `self += x (outer) y`, the gradient of a product.
    pub fn add_outer(&mut self, x: &[f32], y: &[f32]) {
        for (value, row) in x.iter().zip(self.values.chunks_exact_mut(self.columns.max(1))) {
            if *value != 0.0 {
                add_scaled(row, *value, y);
            }
        }
    }

    /// Each row's inner product with `y`.
    pub fn times(&self, y: &[f32]) -> Vec<f32> {
        self.values.chunks_exact(self.columns.max(1)).map(|row| dot(row, y)).collect()
    }
}

/// `out += scale * row`.
pub fn add_scaled(out: &mut [f32], scale: f32, row: &[f32]) {
    for (out, value) in out.iter_mut().zip(row) {
        *out += scale * value;
    }
}

/// The inner product, in eight running sums so that it can be vectorised.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// `value` as bfloat16, rounded to even.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The float that is `value` as bfloat16.
pub fn from_bf16(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// The logistic function.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The logistic function's inverse, kept within +-6.9 (one in a thousand).
pub fn logit(p: f32) -> f32 {
    let p = p.clamp(1e-3, 1.0 - 1e-3);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand() {
        let m = Matrix::of(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut out = [1.0, 0.0, 0.0];
        m.add_product(&[2.0, -1.0], &mut out);
        assert_eq!(out, [-1.0, -1.0, 0.0]);
        assert_eq!(m.times(&[1.0, 0.0, 1.0]), [4.0, 10.0]);
        let mut g = Matrix::zeros(2, 3);
        g.add_outer(&[1.0, 2.0], &[1.0, 0.0, -1.0]);
        assert_eq!(g.values, [1.0, 0.0, -1.0, 2.0, 0.0, -2.0]);
        let long: Vec<f32> = (0..19u8).map(f32::from).collect();
        assert_eq!(dot(&long, &long), 2109.0);
    }

    #[test]
    fn logit_undoes_sigmoid_and_never_overflows() {
        assert!((logit(sigmoid(1.3)) - 1.3).abs() < 1e-5);
        assert!(logit(0.0) > -7.0 && logit(1.0) < 7.0);
    }
}
