//! Notices that a model has become another one.
//!
//! Vendors swap models behind a name. Fading alone is slow to see it: a model with a thousand good answers stays good for
//! hundreds of bad ones. So each model has two cumulative sums over how far its rewards lie above, and below, its usual
//! level; when one passes the threshold, the excursion since it last was zero is taken for the model's new level.
//!
//! The level here is of rewards less priors, without features: one number and O(1) per observation, and the verdict does not
//! depend on how observations are grouped into calls.

use serde::{Deserialize, Serialize};

use super::settings::DriftSettings;

/// Observations before the level counts as known.
const ACQUAINTED: f64 = 30.0;
/// Observations the level remembers at most.
const MEMORY: f64 = 500.0;

/// Rewards are taken to spread at least this much: of a model that is nearly always right, two failures prove nothing.
const LEAST_SPREAD: f64 = 0.3;

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    /// The new level of rewards less priors.
    pub(super) level: f64,
    /// Observations it rests on.
    pub(super) weight: f64,
}

/// The watch over one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    weight: f64,
    level: f64,
    square: f64,
    up: Excursion,
    down: Excursion,
    /// Alarms so far.
    pub(super) shifts: u32,
}

/// One of the two sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Excursion {
    sum: f64,
    weight: f64,
    total: f64,
}

impl Excursion {
    fn step(&mut self, by: f64, residual: f64, weight: f64) {
        self.sum += weight * by;
        if self.sum <= 0.0 {
            *self = Self::default();
        } else {
            self.weight += weight;
            self.total += weight * residual;
        }
    }
}

impl Watch {
    /// Takes in a reward less its prior; tells of a shift once it is sure.
    pub(super) fn see(&mut self, residual: f64, weight: f64, settings: &DriftSettings) -> Option<Shift> {
        let mut shift = None;
        if self.weight >= ACQUAINTED {
            let spread = (self.square - self.level * self.level).max(LEAST_SPREAD * LEAST_SPREAD).sqrt();
            let off = (residual - self.level) / spread;
            self.up.step(off - settings.slack, residual, weight);
            self.down.step(-off - settings.slack, residual, weight);
            let further = if self.up.sum > self.down.sum { self.up } else { self.down };
            if further.sum > settings.threshold {
                shift = Some(Shift { level: further.total / further.weight, weight: further.weight });
            }
        }
        if let Some(Shift { level, weight }) = shift {
            let variance = self.square - self.level * self.level;
            *self =
                Self { weight, level, square: variance + level * level, shifts: self.shifts + 1, ..Self::default() };
        } else if weight > 0.0 {
            self.weight = (self.weight + weight).min(MEMORY);
            let share = weight / self.weight;
            self.level += (residual - self.level) * share;
            self.square += (residual * residual - self.square) * share;
        }
        shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros and ones with about this share of ones, in an order that is not regular.
    fn coin(share: f64) -> impl FnMut() -> f64 {
        let mut state = 12_345u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(((state >> 33) as f64 / (1u64 << 31) as f64) < share)
        }
    }

    fn alarm_after(watch: &mut Watch, mut rewards: impl FnMut() -> f64, most: usize) -> Option<(usize, Shift)> {
        (0..most).find_map(|at| Some((at + 1, watch.see(rewards(), 1.0, &DriftSettings::default())?)))
    }

    #[test]
    fn a_drop_is_noticed_soon_and_its_new_level_told() {
        let mut watch = Watch::default();
        assert_eq!(alarm_after(&mut watch, coin(0.8), 1000), None);
        let (after, shift) = alarm_after(&mut watch, coin(0.3), 100).unwrap();
        assert!(after <= 40, "{after}");
        assert!((shift.level - 0.3).abs() < 0.2, "{shift:?}");
    }

    #[test]
    fn a_steady_model_is_left_alone() {
        let mut watch = Watch::default();
        assert_eq!(alarm_after(&mut watch, coin(0.6), 3000), None);
    }
}
