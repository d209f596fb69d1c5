//! Confidence intervals of a mean.
//!
//! An asymptotic and a guaranteed one. **Student** takes the mean for normal, corrected for skewness (Hall 1992, "On
//! the Removal of Skewness by Transformation"): narrow, and right for large samples; reports and the gate use it.
//! **Betting** (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting") holds for any
//! number of bounded, exchangeable values: `evaluate --guaranteed`. It bets on one value after the other, and the log
//! of a gateway that learns gets better towards its end; shuffling it first makes the values nearly exchangeable.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// The kinds of interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalKind {
    /// By the central limit theorem, with Student's quantile and corrected for skewness.
    #[default]
    Student,
    /// By betting against each possible mean; guaranteed.
    Betting,
}

/// The least and the largest possible value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Lower and upper end of the interval around the mean of `values`, whose effective sample size is `effective`.
pub(super) fn interval(
    values: &[f64],
    effective: f64,
    bounds: Bounds,
    confidence: f64,
    kind: IntervalKind,
) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let range = bounds.high - bounds.low;
    if values.len() < 2 || range.is_nan() || range <= 0.0 {
        return (bounds.low.min(mean), bounds.high.max(mean));
    }
    let miss = (1.0 - confidence).clamp(1e-9, 1.0);
    match kind {
        IntervalKind::Student => student(values, effective, mean, miss),
        IntervalKind::Betting => {
            let mut units: Vec<f64> =
                values.iter().map(|value| ((value - bounds.low) / range).clamp(0.0, 1.0)).collect();
            units.shuffle(&mut StdRng::seed_from_u64(0));
            let low = least_plausible(units.iter().copied(), miss);
            let high = 1.0 - least_plausible(units.iter().map(|unit| 1.0 - unit), miss);
            (bounds.low + range * low, bounds.low + range * high)
        }
    }
}

fn variance(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

/// Wilson's score interval (1927) around a mean of `effective` rewards in [0, 1], for rewards that spread `dispersion`
/// times as much as zeros and ones would (the quasi-binomial of McCullagh and Nelder, "Generalized Linear Models",
/// 4.5). It has a width where all rewards were the same.
pub(super) fn score(mean: f64, effective: f64, dispersion: f64, confidence: f64) -> (f64, f64) {
    let (mean, n) = (mean.clamp(0.0, 1.0), effective / dispersion);
    let z = normal_quantile(0.5 + confidence.clamp(0.0, 1.0 - 1e-9) / 2.0);
    let share = z * z / n;
    let half = (mean * (1.0 - mean) * share + share * share / 4.0).sqrt();
    ((mean + share / 2.0 - half) / (1.0 + share), (mean + share / 2.0 + half) / (1.0 + share))
}

/// Student's interval with Hall's cubic transformation undone at its ends. With skewness `g` over `sqrt(n)`,
/// `t + g t^2 / 3 + g^2 t^3 / 27 + g / 6` is more nearly normal than `t`, and increasing in it.
fn student(values: &[f64], effective: f64, mean: f64, miss: f64) -> (f64, f64) {
    let n = values.len() as f64;
    let spread = variance(values, mean).sqrt();
    if spread == 0.0 {
        return (mean, mean);
    }
    let third = values.iter().map(|value| ((value - mean) / spread).powi(3)).sum::<f64>() / n;
    // Few values determine no third moment; beyond this limit the expansion does not hold anyway.
    let skew = (third / n.sqrt()).clamp(-0.5, 0.5);
    let quantile = student_quantile(1.0 - miss / 2.0, (effective.min(n) - 1.0).max(4.0));
    let undo = |y: f64| {
        if skew.abs() < 1e-9 { y } else { 3.0 / skew * ((1.0 + skew * (y - skew / 6.0)).cbrt() - 1.0) }
    };
    let error = spread / n.sqrt();
    (mean - error * undo(quantile), mean - error * undo(-quantile))
}

/// Student's quantile by Cornish and Fisher's expansion from the normal one: three digits from 4 degrees of freedom on.
fn student_quantile(share: f64, freedom: f64) -> f64 {
    let z = normal_quantile(share);
    let (z3, z5) = (z.powi(3), z.powi(5));
    z + (z3 + z) / (4.0 * freedom) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * freedom * freedom)
}

/// The normal quantile of a share above one half: Newton's method on `erfc` by its continued fraction would be exact;
/// this is the rational form of Abramowitz and Stegun 26.2.23, good to 4.5e-4.
fn normal_quantile(share: f64) -> f64 {
    let t = (-2.0 * (1.0 - share).max(1e-300).ln()).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

/// The smallest mean of values in [0, 1] that a gambler betting on a larger one has not made implausible. The gambler's
/// capital under a wrong mean grows; once it passes `2 / miss`, that mean is out (Ville's inequality). Bets are
/// predictable plug-ins of what was seen before.
fn least_plausible(values: impl Iterator<Item = f64> + Clone, miss: f64) -> f64 {
    let goal = (2.0 / miss).ln();
    let beaten = |guess: f64| {
        let (mut seen, mut sum, mut squares, mut capital) = (0.0, 0.5, 0.25, 0.0_f64);
        let count = values.clone().count() as f64;
        for value in values.clone() {
            let variance: f64 = squares / (seen + 1.0);
            let bet = (2.0 * goal / (variance * count)).sqrt().min(0.75 / guess.max(1e-9));
            capital += (1.0 + bet * (value - guess)).max(1e-12).ln();
            if capital > goal {
                return true;
            }
            seen += 1.0;
            sum += value;
            let mean = sum / (seen + 1.0);
            squares += (value - mean).powi(2);
        }
        false
    };
    // Capital falls with the guess, so the plausible means are an interval up from here.
    let (mut out, mut plausible) = (0.0, 1.0);
    if !beaten(1e-9) {
        return 0.0;
    }
    for _ in 0..30 {
        let middle = (out + plausible) / 2.0;
        if beaten(middle) {
            out = middle;
        } else {
            plausible = middle;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_books() {
        for (freedom, book) in [(5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (1e6, 1.960)] {
            assert!((student_quantile(0.975, freedom) - book).abs() < 0.03, "{freedom}");
        }
    }

    #[test]
    fn a_guaranteed_interval_is_wider() {
        let values: Vec<f64> = (0..500).map(|at| f64::from(u8::from(at * 7 % 10 < 3))).collect();
        let bounds = Bounds { low: 0.0, high: 1.0 };
        let width = |kind| {
            let (low, high) = interval(&values, values.len() as f64, bounds, 0.95, kind);
            assert!(low < 0.3 && high > 0.3, "{kind:?}: {low} {high}");
            high - low
        };
        let (student, betting) = (width(IntervalKind::Student), width(IntervalKind::Betting));
        assert!(student < betting && betting < 1.5 * student, "{student} {betting}");
    }

    #[test]
    fn a_log_that_gets_better_is_bet_on_in_no_order() {
        let values: Vec<f64> = (0..210).map(|at| f64::from(u8::from(at * 7 % 10 < 3 + at / 35))).collect();
        let mean = values.iter().sum::<f64>() / 210.0;
        let (low, high) = interval(&values, 210.0, Bounds { low: 0.0, high: 1.0 }, 0.95, IntervalKind::Betting);
        assert!(low < mean && mean < high && high - low < 0.25, "{mean}: {low} {high}");
    }

    #[test]
    fn successes_alone_leave_room_for_a_failure() {
        // Eighteen of eighteen: Wilson's lower end is n / (n + z^2).
        let (low, high) = score(1.0, 18.0, 1.0, 0.95);
        assert!((low - 18.0 / (18.0 + 1.96 * 1.96)).abs() < 1e-3 && (high - 1.0).abs() < 1e-9, "{low} {high}");
        let (marked, _) = score(1.0, 18.0, 0.1, 0.95);
        assert!(marked > low, "marks that spread less say more");
    }

    #[test]
    fn one_value_says_nothing() {
        let bounds = Bounds { low: 0.0, high: 1.0 };
        assert_eq!(interval(&[0.4], 1.0, bounds, 0.95, IntervalKind::Student), (0.0, 1.0));
    }

    #[test]
    fn skewness_moves_both_ends_up() {
        // Mostly small, a few large: the truth is likelier above the mean than below.
        let values: Vec<f64> = (0..100).map(|at| if at % 20 == 0 { 10.0 } else { 0.1 }).collect();
        let mean = values.iter().sum::<f64>() / 100.0;
        let (low, high) = interval(&values, 100.0, Bounds { low: 0.0, high: 20.0 }, 0.95, IntervalKind::Student);
        assert!(high - mean > mean - low);
    }
}
