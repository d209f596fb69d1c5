//! Losses and calibration: are predictions of 80 % right in 80 % of cases? Outcomes may be graded; then it is their
//! mean that counts.

const NEVER_CERTAIN: f64 = 1e-6;

/// Mean of `-(y ln p + (1 - y) ln (1 - p))`, in nats. Predictions are kept one millionth away from 0 and 1, so that
/// one wrong certainty costs 13.8 and not infinity.
pub fn log_loss(cases: &[(f32, f32)]) -> f64 {
    mean(cases, |p, y| {
        let p = p.clamp(NEVER_CERTAIN, 1.0 - NEVER_CERTAIN);
        -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
    })
}

/// Mean squared difference of prediction and outcome (Brier, Monthly Weather Review 1950, for one class).
pub fn brier(cases: &[(f32, f32)]) -> f64 {
    mean(cases, |p, y| (p - y) * (p - y))
}

fn mean(cases: &[(f32, f32)], of: impl Fn(f64, f64) -> f64) -> f64 {
    cases.iter().map(|(p, y)| of(f64::from(*p), f64::from(*y))).sum::<f64>() / cases.len().max(1) as f64
}

/// Cases with about the same prediction.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Bin {
    /// Mean prediction.
    pub predicted: f64,
    /// Mean outcome.
    pub observed: f64,
    /// How many cases.
    pub count: usize,
}

/// Cases in `bins` bins of equal width over 0..1. A prediction of exactly 1 is in the last bin.
pub fn calibration_bins(cases: &[(f32, f32)], bins: usize) -> Vec<Bin> {
    let bins = bins.max(1);
    let mut sums = vec![Bin::default(); bins];
    for (p, y) in cases {
        let bin = &mut sums[((f64::from(*p) * bins as f64) as usize).min(bins - 1)];
        bin.predicted += f64::from(*p);
        bin.observed += f64::from(*y);
        bin.count += 1;
    }
    for bin in &mut sums {
        let count = bin.count.max(1) as f64;
        bin.predicted /= count;
        bin.observed /= count;
    }
    sums
}

/// Mean distance of predicted and observed over the bins, weighted by their cases (Naeini and others, AAAI 2015; Guo
/// and others, ICML 2017, who use 15 bins).
pub fn expected_calibration_error(bins: &[Bin]) -> f64 {
    let total: usize = bins.iter().map(|bin| bin.count).sum();
    let distance: f64 = bins.iter().map(|bin| (bin.predicted - bin.observed).abs() * bin.count as f64).sum();
    distance / total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_two_cases_by_hand() {
        let cases = [(0.8, 1.0), (0.25, 0.0)];
        let expected = -(0.8f64.ln() + 0.75f64.ln()) / 2.0;
        assert!((log_loss(&cases) - expected).abs() < 1e-6);
        assert!((brier(&cases) - (0.04 + 0.0625) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_wrong_certainty_is_dear_but_finite() {
        assert!((log_loss(&[(1.0, 0.0)]) - 13.815_51).abs() < 1e-3);
    }

    #[test]
    fn calibration_error_weighs_bins_by_their_cases() {
        // Bin [.5, 1]: three cases at .6, one of which came true: |.6 - 1/3|. Bin [0, .5): one at .2, not true.
        let cases = [(0.6, 1.0), (0.6, 0.0), (0.6, 0.0), (0.2, 0.0)];
        let bins = calibration_bins(&cases, 2);
        assert_eq!((bins[0].count, bins[1].count), (1, 3));
        let expected = 0.75 * (0.6 - 1.0 / 3.0) + 0.25 * 0.2;
        assert!((expected_calibration_error(&bins) - expected).abs() < 1e-6);
        assert_eq!(calibration_bins(&[(1.0, 1.0)], 10)[9].count, 1);
    }
}
