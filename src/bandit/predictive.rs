//! The posterior predictive distribution of a model's correction, laid out so that what depends on the prompt alone is
//! computed once for all models.
//!
//! For `x = [1, l, z, k]` (see [`posterior`](super::posterior)) only the logit `l` is a candidate's own. So with `c =
//! [1, z]`, and the kind `k` as an index, mean and variance of a correction are
//!
//! - `m_c . c + m_l l + m_k`
//! - `c' M_cc c + 2 (l M_l + M_k) . c + l^2 M_ll + 2 l M_kl + M_kk`
//!
//! [`PromptTerms`] has `c` and the products `c c'`; [`Predictive`] has a model's numbers in the same order. Then `c'
//! M_cc c` is one sum of products over a triangle, and only one of the rows for kinds is read: a quarter of the memory,
//! and a fifth of the multiplications, of `x' M x` over the whole matrix. With fifty models memory traffic is the cost:
//! the full matrices do not fit into the processor's cache, these do. The triangle is f32, since a spread needs no more
//! than five digits.

use super::matrix::{Square, wide_dot};
use super::shape::{BASE, Shape};

/// The terms of one prompt, which are the same for all models.
pub(super) struct PromptTerms {
    /// `c`; without the features where there are none.
    shared: Vec<f64>,
    /// The lower triangle of `c c'`, row by row. Entries off the diagonal are doubled, for their mirror images.
    products: Vec<f32>,
    kind: Option<usize>,
}

impl PromptTerms {
    /// The terms of `x`, whose logit is ignored.
    pub(super) fn of(x: &[f64], shape: Shape) -> Self {
        let (features, kinds) = x[BASE..].split_at(shape.features);
        let features = if features.iter().all(|z| *z == 0.0) { &[] } else { features };
        let mut shared = Vec::with_capacity(1 + features.len());
        shared.push(x[0]);
        shared.extend_from_slice(features);
        let mut products = Vec::with_capacity(triangle(shared.len()));
        for (row, c) in shared.iter().enumerate() {
            products.extend(shared[..row].iter().map(|other| (2.0 * c * other) as f32));
            products.push((c * c) as f32);
        }
        Self { shared, products, kind: kinds.iter().position(|k| *k != 0.0) }
    }
}

/// One model's belief: the mean of its correction, and the covariance of its own part of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Predictive {
    /// Mean weights of `c`.
    mean: Vec<f64>,
    mean_logit: f64,
    mean_kinds: Vec<f64>,
    /// The lower triangle of `M_cc`, row by row.
    triangle: Vec<f32>,
    logit: Row,
    kinds: Vec<Row>,
}

/// Covariances of one entry of `x` that is not in `c`.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// With the entries of `c`.
    shared: Vec<f64>,
    /// With the logit.
    logit: f64,
    /// Its variance.
    itself: f64,
}

fn triangle(side: usize) -> usize {
    side * (side + 1) / 2
}

impl Predictive {
    pub(super) fn new(mean: &[f64], own: &Square, shape: Shape) -> Self {
        // Indices of `c` in `x`; the logit has index 1.
        let places: Vec<usize> = std::iter::once(0).chain(BASE..shape.kinds_from()).collect();
        let row = |at: usize| Row {
            shared: places.iter().map(|place| own.at(at, *place)).collect(),
            logit: own.at(at, 1),
            itself: own.at(at, at),
        };
        let mut lower = Vec::with_capacity(triangle(places.len()));
        for (at, place) in places.iter().enumerate() {
            lower.extend(places[..=at].iter().map(|other| own.at(*place, *other) as f32));
        }
        Self {
            mean: places.iter().map(|place| mean[*place]).collect(),
            mean_logit: mean[1],
            mean_kinds: mean[shape.kinds_from()..].to_vec(),
            triangle: lower,
            logit: row(1),
            kinds: (shape.kinds_from()..shape.dim()).map(row).collect(),
        }
    }

    /// Expected correction.
    pub(super) fn correction(&self, terms: &PromptTerms, logit: f64) -> f64 {
        let kind = terms.kind.map_or(0.0, |kind| self.mean_kinds[kind]);
        wide_dot(&self.mean, &terms.shared) + self.mean_logit * logit + kind
    }

    /// Standard deviation of the model's own part of the correction. The part that all models have in common moves them
    /// together, so it is no reason to try one rather than another.
    pub(super) fn spread(&self, terms: &PromptTerms, logit: f64) -> f64 {
        let mut variance = f64::from(wide_dot(&self.triangle, &terms.products));
        variance += logit * (2.0 * wide_dot(&self.logit.shared, &terms.shared) + logit * self.logit.itself);
        if let Some(kind) = terms.kind {
            let row = &self.kinds[kind];
            variance += 2.0 * (wide_dot(&row.shared, &terms.shared) + logit * row.logit) + row.itself;
        }
        variance.max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::matrix::{Symmetric, dot};
    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_whole_matrix_says(
            features in vec(-4.0..4.0_f64, 0..33),
            blind in any::<bool>(),
            logit in -4.0..4.0_f64,
            kinds in 0..17_usize,
            kind in 0..17_usize,
            seeds in vec(-1.0..1.0_f64, 60),
        ) {
            let shape = Shape { features: features.len(), kinds };
            let mut x = vec![0.0; shape.dim()];
            (x[0], x[1]) = (1.0, logit);
            if !blind {
                x[BASE..shape.kinds_from()].copy_from_slice(&features);
            }
            if kind < kinds {
                x[shape.kinds_from() + kind] = 1.0;
            }
            let number = |at: usize, other: usize| (seeds[at % 60] * 7.0 + seeds[(at + other) % 60] * 3.0).sin();
            let mut precision = Symmetric::diagonal(&vec![4.0; shape.dim()]);
            for round in 0..5 {
                precision.add_outer(&(0..shape.dim()).map(|at| number(at, round)).collect::<Vec<_>>(), 2.0);
            }
            let (own, _) = precision.inverse().unwrap();
            let mean: Vec<f64> = (0..shape.dim()).map(|at| number(at, 9)).collect();
            let (predictive, terms) = (Predictive::new(&mean, &own, shape), PromptTerms::of(&x, shape));
            prop_assert!((predictive.correction(&terms, logit) - dot(&mean, &x)).abs() < 1e-12);
            let variance = dot(&own.times(&x), &x);
            prop_assert!((predictive.spread(&terms, logit).powi(2) - variance).abs() < 1e-4 * variance);
        }
    }
}
