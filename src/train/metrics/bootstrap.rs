//! Percentile intervals by the bootstrap over prompts.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure itself.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.value, self.low, self.high)
    }
}

/// The 95 % percentile interval of `statistic` over `cases` prompts (Efron and Tibshirani, "An introduction to the
/// bootstrap", 1993, chapter 13).
///
/// `statistic` is given how many times each prompt was drawn. For a paired comparison let it return a difference: both
/// sides then see the same draw. It may return NaN for a draw that it cannot judge; such draws are left out.
pub fn bootstrap(cases: usize, draws: usize, seed: u64, mut statistic: impl FnMut(&[u32]) -> f64) -> Interval {
    let mut counts = vec![1u32; cases];
    let value = statistic(&counts);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut drawn: Vec<f64> = Vec::with_capacity(draws);
    for _ in 0..draws {
        counts.fill(0);
        for _ in 0..cases {
            counts[rng.random_range(0..cases)] += 1;
        }
        drawn.push(statistic(&counts));
    }
    drawn.retain(|value| !value.is_nan());
    drawn.sort_by(f64::total_cmp);
    Interval { value, low: quantile(&drawn, 0.025), high: quantile(&drawn, 0.975) }
}

/// A quantile of sorted values, interpolated linearly; NaN for no values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(values: &[f64]) -> impl Fn(&[u32]) -> f64 + '_ {
        |counts| {
            let total: f64 = counts.iter().map(|c| f64::from(*c)).sum();
            values.iter().zip(counts).map(|(v, c)| v * f64::from(*c)).sum::<f64>() / total
        }
    }

    #[test]
    fn the_interval_of_a_mean_agrees_with_the_normal_one() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let interval = bootstrap(400, 2000, 7, mean_of(&values));
        assert_eq!(interval.value, 0.5);
        // Standard error .5 / sqrt(400) = .025, so 1.96 of them are .049.
        assert!((interval.low - 0.451).abs() < 0.006 && (interval.high - 0.549).abs() < 0.006, "{interval}");
    }

    #[test]
    fn a_constant_difference_is_certain() {
        let interval = bootstrap(50, 200, 1, mean_of(&[0.1; 50]));
        assert!((interval.low - 0.1).abs() < 1e-9 && (interval.high - 0.1).abs() < 1e-9);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        assert_eq!(bootstrap(30, 100, 3, mean_of(&values)), bootstrap(30, 100, 3, mean_of(&values)));
        assert_ne!(bootstrap(30, 100, 3, mean_of(&values)), bootstrap(30, 100, 4, mean_of(&values)));
    }

    #[test]
    fn quantiles_interpolate() {
        assert!((quantile(&[0.0, 1.0, 2.0], 0.25) - 0.5).abs() < 1e-12);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
