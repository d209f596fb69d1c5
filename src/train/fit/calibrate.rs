//! Calibration of a head: the weights of trunk, memory and tasks, and a shift for each model.
//!
//! Platt scaling (1999) on val with six inputs: how far each of the three opinions moves a model's log-odds from their
//! usual value, split in two. What an opinion says of all models of a source alike (how hard is the prompt?) has one
//! weight, and what it says of a single model beyond that (which model is better?) another: the trunk knows the first,
//! the tasks the second, and a single weight would lose either. The weights are shared by all models of a source and
//! regularised towards a common centre; only the shifts belong to a model. Separate weights for each model would fit
//! the noise of val, which a router that takes the best of many models then selects for. (Out of fold, on two fifths of
//! train and val, against one weight each for trunk and memory: share of the gap from best single model to oracle .171
//! to .228 on `llmrouter9`, .075 to .092 on `mmlu_pro`, .063 to .076 on `routerdc7`.)

use super::simple::least_squares;
use crate::classifier::head::{CALIBRATION, Matrix, OPINIONS, sigmoid};

/// One outcome on val.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// The model.
    pub arm: usize,
    /// Log-odds of the model's mean score on train.
    pub usual: f32,
    /// How far each opinion (trunk, memory, tasks) moves the log-odds of all models of the source on average; then how
    /// far beyond that it moves this model's.
    pub moved: [f32; WEIGHTS],
    /// Score of the outcome.
    pub score: f32,
    /// Weight of the record.
    pub weight: f32,
}

const WEIGHTS: usize = 2 * OPINIONS;

/// Ridge towards the centre for a source of one model, in cases; it grows with the root of the number of models,
/// because outcomes of the same prompt are not independent.
const WEIGHT_RIDGE: f64 = 30.0;
/// Ridge of the shifts towards zero, in cases.
const SHIFT_RIDGE: f64 = 2.0;
/// Rounds of fitting shifts and weights in turn.
const ROUNDS: usize = 12;

/// Which opinions may count: trunk, memory, tasks.
pub(super) type Allowed = [bool; OPINIONS];
pub(super) const TRUNK: Allowed = [true, false, false];
pub(super) const MEMORY: Allowed = [false, true, false];
pub(super) const TASKS: Allowed = [false, false, true];
pub(super) const TRUNK_AND_MEMORY: Allowed = [true, true, false];
pub(super) const ALL: Allowed = [true; OPINIONS];

/// The weights' start, and the centre that the ridge draws them to.
fn centre(allowed: Allowed) -> [f64; WEIGHTS] {
    match allowed {
        ALL => [0.5, 0.2, 0.3, 0.15, 0.15, 0.7],
        TRUNK_AND_MEMORY => [0.8, 0.2, 0.0, 0.8, 0.2, 0.0],
        _ => std::array::from_fn(|at| f64::from(u8::from(allowed[at % OPINIONS]))),
    }
}

/// The result: a shift for each arm, and weights for each source.
#[derive(Debug)]
pub(super) struct Calibration {
    shifts: Vec<f64>,
    /// By source.
    weights: Vec<[f64; WEIGHTS]>,
    sources: Vec<u32>,
}

impl Calibration {
    /// The calibrated log-odds of a case.
    pub(super) fn log_odds(&self, case: &Case) -> f32 {
        let weights = &self.weights[self.sources[case.arm] as usize];
        (f64::from(case.usual) + self.shifts[case.arm] + weighed(weights, &case.moved)) as f32
    }

    /// The calibration as a head stores it: one row for each arm, with its level and the weights of the opinions
    /// themselves. `usual` are the log-odds of the arms' means.
    pub(super) fn rows(&self, usual: &[f32]) -> Matrix {
        let mut rows = Matrix::zeros(self.sources.len(), CALIBRATION);
        for (arm, source) in self.sources.iter().enumerate() {
            let weights = &self.weights[*source as usize];
            let own: Vec<usize> = (0..usual.len()).filter(|other| self.sources[*other] == *source).collect();
            let alike = own.iter().map(|arm| f64::from(usual[*arm])).sum::<f64>() / own.len().max(1) as f64;
            let (common, single) = weights.split_at(OPINIONS);
            let (common, single): (f64, f64) = (common.iter().sum(), single.iter().sum());
            let level = self.shifts[arm] + f64::from(usual[arm]) * (1.0 - single) + (single - common) * alike;
            let row = rows.row_mut(arm);
            row[0] = level as f32;
            row[1..].iter_mut().zip(weights).for_each(|(to, weight)| *to = *weight as f32);
        }
        rows
    }
}

fn weighed(weights: &[f64; WEIGHTS], moved: &[f32; WEIGHTS]) -> f64 {
    weights.iter().zip(moved).map(|(weight, moved)| weight * f64::from(*moved)).sum()
}

/// Fits a calibration. `sources` holds the source of each arm.
pub(super) fn calibrate(cases: &[Case], sources: &[u32], allowed: Allowed) -> Calibration {
    let start = centre(allowed);
    let all: Vec<&Case> = cases.iter().collect();
    let (_, shared) = fit(&all, sources.len(), start, allowed, 1.0);
    let count = sources.iter().copied().max().map_or(0, |last| last + 1);
    let mut calibration =
        Calibration { shifts: vec![0.0; sources.len()], weights: Vec::new(), sources: sources.to_vec() };
    for source in 0..count {
        let own: Vec<&Case> = cases.iter().filter(|case| sources[case.arm] == source).collect();
        let arms: Vec<usize> = (0..sources.len()).filter(|arm| sources[*arm] == source).collect();
        let centre = if own.is_empty() { shared } else { start };
        let (shifts, weights) = fit(&own, sources.len(), centre, allowed, (arms.len() as f64).sqrt());
        arms.iter().for_each(|arm| calibration.shifts[*arm] = shifts[*arm]);
        calibration.weights.push(weights);
    }
    calibration
}

/// Fits shifts of all arms and weights, by Newton's method on each in turn.
fn fit(
    cases: &[&Case],
    arms: usize,
    centre: [f64; WEIGHTS],
    allowed: Allowed,
    pull: f64,
) -> (Vec<f64>, [f64; WEIGHTS]) {
    let mut shifts = vec![0.0; arms];
    let mut weights = centre;
    let inputs = |case: &Case| -> [f32; WEIGHTS] {
        std::array::from_fn(|at| if allowed[at % OPINIONS] { case.moved[at] } else { 0.0 })
    };
    let response = |odds: f64, score: f32| {
        let p = f64::from(sigmoid(odds as f32)).clamp(1e-4, 1.0 - 1e-4);
        (f64::from(score) - p, p * (1.0 - p))
    };
    for _ in 0..ROUNDS {
        let rows = cases.iter().map(|case| {
            let x = inputs(case);
            let own = weighed(&weights, &x);
            let (error, weight) = response(f64::from(case.usual) + shifts[case.arm] + own, case.score);
            (x.iter().map(|x| f64::from(*x)).collect(), own + error / weight, weight * f64::from(case.weight))
        });
        let next = least_squares(rows, &centre, &[WEIGHT_RIDGE * pull; WEIGHTS]);
        // A negative weight can only fit noise.
        weights.iter_mut().zip(next).for_each(|(weight, next)| *weight = next.max(0.0));
        let mut sums = vec![(0.0, SHIFT_RIDGE * pull); arms];
        for case in cases {
            let odds = f64::from(case.usual) + shifts[case.arm] + weighed(&weights, &inputs(case));
            let (error, weight) = response(odds, case.score);
            sums[case.arm].0 += error * f64::from(case.weight);
            sums[case.arm].1 += weight * f64::from(case.weight);
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

    fn case(arm: usize, moved: [f32; WEIGHTS], score: bool) -> Case {
        Case { arm, usual: 0.0, moved, score: f32::from(u8::from(score)), weight: 1.0 }
    }

    #[test]
    fn an_overconfident_trunk_is_toned_down_and_a_blind_memory_ignored() {
        // The trunk says +-3 and is right in 73 of 100 cases, which is log-odds of 1.
        let cases: Vec<Case> = (0..8000usize)
            .map(|i| {
                let up = i % 2 == 0;
                let right = (i / 2) % 100 < 73;
                let noise = if (i / 200) % 2 == 0 { 1.0 } else { -1.0 };
                case(0, [if up { 3.0 } else { -3.0 }, noise, 0.0, 0.0, 0.0, 0.0], up == right)
            })
            .collect();
        let calibration = calibrate(&cases, &[0, 1], TRUNK_AND_MEMORY);
        let rows = calibration.rows(&[0.0, 0.0]);
        let row = rows.row(0);
        assert!(row[0].abs() < 0.05, "{row:?}");
        assert!((row[1] * 3.0 - 1.0).abs() < 0.08, "{row:?}");
        assert!(row[2] < 0.05, "{row:?}");
        assert!((rows.row(1)[1] - row[1]).abs() < 0.05, "a source without val prompts takes what all share");
        let alone = calibrate(&cases, &[0, 1], TRUNK).rows(&[0.0, 0.0]);
        assert_eq!(alone.row(0)[2], 0.0);
    }

    #[test]
    fn what_is_hard_and_who_is_better_are_weighed_apart() {
        // Of what the trunk says, the common part is right and the difference is noise; the tasks know the
        // difference.
        let cases: Vec<Case> = (0..8000usize)
            .map(|i| {
                let sign = |bit: usize| if (i >> bit) & 1 == 0 { 1.5f32 } else { -1.5 };
                let (hard, noise, better) = (sign(0), sign(1), sign(2));
                let p = sigmoid(hard + better);
                case(0, [hard, 0.0, 0.0, noise, 0.0, better], (i >> 3) % 100 < (p * 100.0).round() as usize)
            })
            .collect();
        let row = calibrate(&cases, &[0], ALL).rows(&[0.3]).row(0).to_vec();
        assert!((row[1] - 1.0).abs() < 0.15 && row[4] < 0.1 && (row[6] - 1.0).abs() < 0.15, "{row:?}");
    }

    #[test]
    fn a_models_own_level_is_made_to_come_true() {
        // The opinions move nothing; one model does well in three of four cases, the other in one.
        let cases: Vec<Case> =
            (0..800usize).map(|i| case(i % 2, [0.0; WEIGHTS], (i / 2 % 4 == 0) == (i % 2 == 1))).collect();
        let calibration = calibrate(&cases, &[0, 0], ALL);
        assert!((calibration.log_odds(&cases[0]) - 3f32.ln()).abs() < 0.1, "{calibration:?}");
        assert!((calibration.log_odds(&cases[1]) + 3f32.ln()).abs() < 0.1, "{calibration:?}");
    }
}
