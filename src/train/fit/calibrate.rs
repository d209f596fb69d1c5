//! How much trunk and memory count, and the shift of each model that makes their sum come true.
//!
//! On val, `shift_m + w_t trunk + w_m memory` is fitted to outcomes: Platt's scaling (1999) with two inputs. The two weights
//! are shared by all models of a source and drawn to what all sources share; only the shifts are a model's own. Weights of
//! their own would fit val's accidents, and a router that takes the best of many models finds every accident there is.

use super::simple::least_squares;
use crate::classifier::head::{Matrix, sigmoid};

/// One outcome on val: arm, log-odds of trunk and memory, score.
pub(super) type Case = (usize, f32, f32, f32);

/// Pull towards the shared weights, in cases, for a source of one model; it grows with the root of their number, because
/// outcomes of one prompt are not as many witnesses as they are outcomes.
const WEIGHT_RIDGE: f64 = 10.0;
/// Pull of the shifts to zero.
const SHIFT_RIDGE: f64 = 2.0;
/// Rounds of shifts and weights in turn.
const ROUNDS: usize = 8;

/// Which opinions may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    pub trunk: bool,
    pub memory: bool,
}

/// One row an arm: shift, weight of the trunk, weight of the memory. `sources` says of each arm which source it is of.
pub(super) fn calibrate(cases: &[Case], sources: &[u32], allowed: Allowed) -> Matrix {
    let start = match (allowed.trunk, allowed.memory) {
        (true, true) => [0.8, 0.2],
        (true, false) => [1.0, 0.0],
        _ => [0.0, 1.0],
    };
    let all: Vec<&Case> = cases.iter().collect();
    let (_, shared) = fit(&all, sources.len(), start, allowed, 1.0);
    let mut table = Matrix::zeros(sources.len(), 3);
    let count = sources.iter().copied().max().map_or(0, |last| last + 1);
    for source in 0..count {
        let own: Vec<&Case> = cases.iter().filter(|case| sources[case.0] == source).collect();
        let arms: Vec<usize> = (0..sources.len()).filter(|arm| sources[*arm] == source).collect();
        let (shifts, weights) = fit(&own, sources.len(), shared, allowed, (arms.len() as f64).sqrt());
        for arm in arms {
            table.row_mut(arm).copy_from_slice(&[shifts[arm] as f32, weights[0] as f32, weights[1] as f32]);
        }
    }
    table
}

/// Shifts of all arms and the two weights, by Newton's method on the one and the other in turn.
fn fit(cases: &[&Case], arms: usize, centre: [f64; 2], allowed: Allowed, pull: f64) -> (Vec<f64>, [f64; 2]) {
    let mut shifts = vec![0.0; arms];
    let mut weights = centre;
    let inputs = |case: &Case| {
        [if allowed.trunk { f64::from(case.1) } else { 0.0 }, if allowed.memory { f64::from(case.2) } else { 0.0 }]
    };
    let response = |odds: f64, score: f32| {
        let p = f64::from(sigmoid(odds as f32)).clamp(1e-4, 1.0 - 1e-4);
        (f64::from(score) - p, p * (1.0 - p))
    };
    for _ in 0..ROUNDS {
        let rows = cases.iter().map(|case| {
            let x = inputs(case);
            let own = weights[0] * x[0] + weights[1] * x[1];
            let (error, weight) = response(shifts[case.0] + own, case.3);
            (x.to_vec(), own + error / weight, weight)
        });
        let next = least_squares(rows, &centre, &[WEIGHT_RIDGE * pull; 2]);
        // A negative weight would be the fit of an accident.
        weights = [next[0].max(0.0), next[1].max(0.0)];
        let mut sums = vec![(0.0, SHIFT_RIDGE * pull); arms];
        for case in cases {
            let x = inputs(case);
            let (error, weight) = response(shifts[case.0] + weights[0] * x[0] + weights[1] * x[1], case.3);
            sums[case.0].0 += error;
            sums[case.0].1 += weight;
        }
        for (shift, (error, weight)) in shifts.iter_mut().zip(sums) {
            *shift += (error - SHIFT_RIDGE * pull * *shift) / weight;
        }
    }
    (shifts, weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overconfident_trunk_is_toned_down_and_a_blind_memory_ignored() {
        // The trunk says +-3 and is right in 73 of 100 cases, which is log-odds of 1.
        let cases: Vec<Case> = (0..2000usize)
            .map(|i| {
                let up = i % 2 == 0;
                let right = (i / 2) % 100 < 73;
                let noise = if (i / 200) % 2 == 0 { 1.0 } else { -1.0 };
                (0, if up { 3.0 } else { -3.0 }, noise, f32::from(u8::from(up == right)))
            })
            .collect();
        let table = calibrate(&cases, &[0, 1], Allowed { trunk: true, memory: true });
        let row = table.row(0);
        assert!(row[0].abs() < 0.05, "{row:?}");
        assert!((row[1] * 3.0 - 1.0).abs() < 0.08, "{row:?}");
        assert!(row[2] < 0.05, "{row:?}");
        assert!((table.row(1)[1] - row[1]).abs() < 0.05, "a source without val prompts takes what all share");
        let alone = calibrate(&cases, &[0, 1], Allowed { trunk: true, memory: false });
        assert_eq!(alone.row(0)[2], 0.0);
    }

    #[test]
    fn a_models_own_level_is_made_to_come_true() {
        // The trunk always says even odds; one model does well in three of four cases, the other in one.
        let cases: Vec<Case> =
            (0..800usize).map(|i| (i % 2, 0.0, 0.0, f32::from(u8::from((i / 2 % 4 == 0) == (i % 2 == 1))))).collect();
        let table = calibrate(&cases, &[0, 0], Allowed { trunk: true, memory: true });
        assert!((table.row(0)[0] - 3f32.ln()).abs() < 0.1, "{:?}", table.row(0));
        assert!((table.row(1)[0] + 3f32.ln()).abs() < 0.1, "{:?}", table.row(1));
    }
}
