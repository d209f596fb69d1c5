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
    /// Observations since the last change, as far as they are remembered.
    pub(super) weight: f64,
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

    /// Zeros and ones with this share of ones.
    fn coin(share: f64, seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            f64::from(((bits ^ (bits >> 31)) >> 11) as f64 / ((1u64 << 53) as f64) < share)
        }
    }

    fn alarm_after(watch: &mut Watch, mut rewards: impl FnMut() -> f64, most: usize) -> Option<(usize, Shift)> {
        (0..most).find_map(|at| Some((at + 1, watch.see(rewards(), 1.0, &DriftSettings::default())?)))
    }

    #[test]
    fn a_drop_is_noticed_soon_and_its_new_level_told() {
        let (mut late, mut off) = (0, 0);
        for seed in 0..200 {
            let mut watch = Watch::default();
            alarm_after(&mut watch, coin(0.8, seed), 500);
            let Some((after, shift)) = alarm_after(&mut watch, coin(0.3, seed + 1000), 150) else {
                late += 1;
                continue;
            };
            late += usize::from(after > 50);
            off += usize::from((shift.level - 0.3).abs() > 0.3);
        }
        assert!(late <= 6 && off <= 10, "late {late}, off {off} of 200");
    }

    #[test]
    fn a_steady_model_is_left_alone() {
        for share in [0.5, 0.7, 0.9] {
            let alarms =
                (0..200).filter(|seed| alarm_after(&mut Watch::default(), coin(share, *seed), 1000).is_some());
            let alarms = alarms.count();
            assert!(alarms <= 16, "{alarms} of 200 at {share}");
        }
    }
}
