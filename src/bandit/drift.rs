//! Change detection: notices that a model has suddenly become better or worse.
//!
//! Vendors swap models behind a name. Fading alone is slow to notice: a model with a thousand good answers stays good
//! for hundreds of bad ones. So each model has a two-sided CUSUM test over its rewards around their usual level; when
//! one of the sums passes the threshold, the mean since that sum last was zero is taken for the model's new level.
//!
//! The level is that of rewards less priors, for each kind of work apart: a change of traffic from code by day to
//! extraction by night is no change of the model. Features are left out. It takes a few numbers and O(1) per
//! observation, and the result does not depend on how observations are grouped into calls. The posterior's own sums per
//! kind would not do instead: those of a changed model fade within tens of observations, and it would seem to change
//! again with each new one.

use serde::{Deserialize, Serialize};

use super::settings::DriftSettings;

/// Observations before the test begins.
const MIN_OBSERVATIONS: f64 = 30.0;
/// Most observations that a level remembers.
const MAX_MEMORY: f64 = 500.0;
/// Weight of the level of all kinds in the level of one kind, in observations.
const SHRINKAGE: f64 = 3.0;

/// Least standard deviation that rewards are assumed to have: two failures of a model that is nearly always right prove
/// nothing.
const MIN_SPREAD: f64 = 0.3;

/// The usual reward less prior, of all kinds of work or of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Usual {
    weight: f64,
    level: f64,
}

impl Usual {
    fn learn(&mut self, residual: f64, weight: f64) {
        self.weight = (self.weight + weight).min(MAX_MEMORY);
        self.level += (residual - self.level) * weight / self.weight;
    }
}

/// The change detector of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    /// Observations since the last change, at most [`MAX_MEMORY`].
    pub(super) weight: f64,
    level: f64,
    /// Mean squared deviation from the usual, plus the square of the level.
    square: f64,
    up: Excursion,
    down: Excursion,
    /// Changes detected so far.
    pub(super) shifts: u32,
    /// Work without a kind first, then each kind; empty in records of earlier programs.
    #[serde(default)]
    kinds: Vec<Usual>,
}

/// One of the two cumulative sums, with the observations since it last was zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Excursion {
    sum: f64,
    weight: f64,
    total: f64,
}

impl Excursion {
    fn step(&mut self, by: f64, deviation: f64, weight: f64) {
        self.sum += weight * by;
        if self.sum <= 0.0 {
            *self = Self::default();
        } else {
            self.weight += weight;
            self.total += weight * deviation;
        }
    }
}

/// Index in [`Watch::kinds`].
fn index(kind: Option<usize>) -> usize {
    kind.map_or(0, |kind| kind + 1)
}

impl Watch {
    /// Takes in a reward less its prior, at the kind of work of that number. On a detected change, returns the number
    /// of observations since it, and [`Watch::usual`] gives the new level.
    pub(super) fn observe(
        &mut self,
        kind: Option<usize>,
        residual: f64,
        weight: f64,
        settings: &DriftSettings,
    ) -> Option<f64> {
        if weight <= 0.0 {
            return None;
        }
        if self.kinds.is_empty() {
            // Earlier programs summed the rewards less priors themselves, which do not compare with deviations.
            (self.up, self.down) = Default::default();
        }
        let deviation = residual - self.usual(kind);
        let variance = (self.square - self.level * self.level).max(0.0);
        if self.weight >= MIN_OBSERVATIONS {
            let off = deviation / variance.sqrt().max(MIN_SPREAD);
            self.up.step(off - settings.slack, deviation, weight);
            self.down.step(-off - settings.slack, deviation, weight);
        }
        let mut all = Usual { weight: self.weight, level: self.level };
        all.learn(residual, weight);
        let share = weight / all.weight;
        let variance = (1.0 - share) * (variance + share * deviation * deviation);
        Usual { weight: self.weight, level: self.level } = all;
        let at = index(kind);
        self.kinds.resize(self.kinds.len().max(at + 1), Usual::default());
        self.kinds[at].learn(residual, weight);
        let further = if self.up.sum > self.down.sum { self.up } else { self.down };
        let shift = (further.sum > settings.threshold).then_some(further);
        if let Some(shift) = shift {
            self.move_by(&shift);
        }
        self.square = variance + self.level * self.level;
        shift.map(|shift| shift.weight)
    }

    /// The usual reward less prior at a kind of work.
    fn usual(&self, kind: Option<usize>) -> f64 {
        let own = self.kinds.get(index(kind)).copied().unwrap_or_default();
        (own.weight * own.level + SHRINKAGE * self.level) / (own.weight + SHRINKAGE)
    }

    /// The mean usual reward less prior over `all` observations, of which `kinds` gives the number of each kind.
    pub(super) fn usual_of(&self, all: f64, kinds: impl Iterator<Item = f64>) -> f64 {
        let (mut sum, mut rest) = (0.0, all);
        for (kind, count) in kinds.enumerate() {
            sum += count * self.usual(Some(kind));
            rest -= count;
        }
        (sum + rest.max(0.0) * self.usual(None)) / all
    }

    /// Takes the mean of an excursion for the new level, for every kind of work.
    fn move_by(&mut self, shift: &Excursion) {
        // The level has already followed the excursion in part, the more the larger the excursion's share of the
        // memory.
        let share = (shift.weight / self.weight).min(0.99);
        let by = shift.total / shift.weight * share / -(1.0 - share).ln();
        self.level += by;
        for usual in &mut self.kinds {
            *usual = Usual { weight: usual.weight * share, level: usual.level + by };
        }
        self.weight = shift.weight;
        (self.up, self.down) = Default::default();
        self.shifts += 1;
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

    fn alarm_after(watch: &mut Watch, mut rewards: impl FnMut() -> f64, most: usize) -> Option<usize> {
        (1..=most).find(|_| watch.observe(None, rewards(), 1.0, &DriftSettings::default()).is_some())
    }

    #[test]
    fn a_drop_is_noticed_soon_and_its_new_level_told() {
        let (mut late, mut off) = (0, 0);
        for seed in 0..200 {
            let mut watch = Watch::default();
            alarm_after(&mut watch, coin(0.8, seed), 500);
            let Some(after) = alarm_after(&mut watch, coin(0.3, seed + 1000), 150) else {
                late += 1;
                continue;
            };
            late += usize::from(after > 50);
            off += usize::from((watch.usual(None) - 0.3).abs() > 0.3);
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
    /// Rewards of a model that is good at the first kind of work and poor at the second, each in blocks; alarms on the
    /// way.
    fn in_blocks(watch: &mut Watch, length: usize, block: usize, by: f64, seed: u64) -> usize {
        let mut draws = [coin(0.95 + by, seed), coin(0.35 + by, seed + 5000)];
        let kind = |at: usize| at / block % 2;
        let settings = DriftSettings::default();
        (0..length).filter(|at| watch.observe(Some(kind(*at)), draws[kind(*at)](), 1.0, &settings).is_some()).count()
    }

    #[test]
    fn kinds_of_work_in_blocks_are_no_change() {
        for block in [30, 67, 150] {
            let alarms = (0..200).map(|seed| in_blocks(&mut Watch::default(), 600, block, 0.0, seed)).sum::<usize>();
            assert!(alarms <= 40, "{alarms} in 200 runs in blocks of {block}");
        }
        let mut late = 0;
        for seed in 0..200 {
            let mut watch = Watch::default();
            in_blocks(&mut watch, 300, 67, 0.0, seed);
            late += usize::from(in_blocks(&mut watch, 75, 1, -0.35, seed + 9000) == 0);
        }
        assert!(late <= 10, "{late} of 200 falls are seen late or not at all");
    }

    #[test]
    fn a_change_at_one_kind_of_work_moves_the_others_with_it() {
        let mut watch = Watch::default();
        in_blocks(&mut watch, 400, 1, 0.0, 3);
        let before = [0, 1].map(|kind| watch.usual(Some(kind)));
        let settings = DriftSettings::default();
        let mut fallen = coin(0.3, 4);
        let seen = (0..100).find_map(|_| watch.observe(Some(0), fallen(), 1.0, &settings)).unwrap();
        assert!(seen < 60.0 && watch.weight == seen && watch.shifts == 1, "{watch:?}");
        let [first, second] = [0, 1].map(|kind| watch.usual(Some(kind)) - before[kind]);
        assert!(first < -0.4 && second < -0.3, "moved by {first} and {second}");
        let mean = watch.usual_of(10.0, [6.0, 4.0].into_iter());
        assert!((mean - 0.6 * watch.usual(Some(0)) - 0.4 * watch.usual(Some(1))).abs() < 1e-12);
    }

    #[test]
    fn the_watch_of_an_earlier_program_goes_on_where_it_stood() {
        let excursion = serde_json::json!({ "sum": 17.0, "weight": 30.0, "total": 24.0 });
        let none = serde_json::json!({ "sum": 0.0, "weight": 0.0, "total": 0.0 });
        let old = serde_json::json!({
            "weight": 400.0, "level": 0.8, "square": 0.8, "up": excursion, "down": none, "shifts": 0
        });
        let mut watch: Watch = serde_json::from_value(old).unwrap();
        let settings = DriftSettings::default();
        let mut steady = coin(0.8, 1);
        assert!((0..60).all(|at| watch.observe(Some(at % 2), steady(), 1.0, &settings).is_none()), "{watch:?}");
        let mut fallen = coin(0.3, 2);
        assert!((0..50).any(|at| watch.observe(Some(at % 2), fallen(), 1.0, &settings).is_some()), "{watch:?}");
        let again: Watch = serde_json::from_value(serde_json::to_value(&watch).unwrap()).unwrap();
        assert_eq!(again, watch);
    }
}
