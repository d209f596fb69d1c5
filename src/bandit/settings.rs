//! The bandit's settings: prior variances, noise, forgetting, exploration.

use serde::{Deserialize, Serialize};

use super::context::Grounds;
use super::policy::PolicyKind;
use super::shape::Shape;

/// Observations after which half of a new model's extra exploration is gone.
const NEW: f64 = 10.0;

/// Factor on the spread of a model of a weak prior at a kind of work that it was not judged at yet, where models differ
/// by kind of work. With Thompson's scale it makes up the whole spread of the posterior: other work says little about
/// this one, and narrower draws left one specialist in fifteen untried for good (`worlds_tests`). Where models do not
/// differ by kind, it would cost points for nothing (training/RESULTS.md).
const UNSEEN_KIND: f64 = 2.5;

/// Prior variances, forgetting and exploration. The defaults are what did best in `pointsman replay`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The exploration policy.
    pub policy: PolicyKind,
    /// Least probability of each eligible model; all floors together take a tenth at most.
    pub floor: f64,
    /// Standard deviation of a reward around its expectation, before any is seen.
    pub noise: f64,
    /// Prior standard deviation of a model's correction for all prompts, for [`Grounds::Fitted`].
    pub level: f64,
    /// Prior standard deviation of the correction's slope in the logit of the prior, for [`Grounds::Fitted`].
    pub slope: f64,
    /// Prior standard deviation of a model's own slope in each feature, for [`Grounds::Fitted`].
    pub lean: f64,
    /// Prior standard deviation of a model's correction at one kind of work, beyond its level, for [`Grounds::Fitted`].
    pub kind: f64,
    /// The largest such standard deviation for weaker grounds; feedback decides how much of it is used (see
    /// `posterior`). Wide: a kind is one number that tens of ratings determine, while slopes in many features take
    /// thousands.
    pub weak_kind: f64,
    /// Prior standard deviation of the correction that all models have in common at one kind of work.
    pub common_kind: f64,
    /// Prior standard deviation of the slope in each feature that all models have in common: some prompts are hard for
    /// all models, which must not look like a difference between them.
    pub common_lean: f64,
    /// Share of the variances of level and slope that all models have in common (users stricter than the benchmark,
    /// say), 0 to below 1.
    pub shared: f64,
    /// Factor on the standard deviations of level and slope for [`Grounds::Likened`].
    pub likened: f64,
    /// Factor on the standard deviations of level and slope for [`Grounds::Nothing`].
    pub groundless: f64,
    /// Factor on the standard deviation of own slopes in features for weaker grounds than [`Grounds::Fitted`], and on
    /// that of all common effects where no model's prior is fitted. A fitted head has read the features already.
    pub weak: f64,
    /// The further factor for [`Grounds::Likened`]. Feedback decides whether it is more (see `posterior`).
    pub likened_lean: f64,
    /// Factor on the spread of a model whose prior is fitted, for exploration: 0 = none. Between models that were all
    /// measured there is less to win by trying than it costs, and the best by the beliefs is learned about anyway, by
    /// being chosen.
    pub assured: f64,
    /// Factor on the spread of a model for [`Grounds::Likened`], for exploration, besides its eagerness.
    pub supposed: f64,
    /// Extra exploration of a new model with a weak prior: its spread is multiplied by
    /// `1 + eagerness x 10 / (10 + observations)`. Without it an unlucky first impression can last.
    pub eagerness: f64,
    /// Feedbacks (of all models together) after which an observation counts half; absent = no fading.
    pub half_life: Option<f64>,
    /// Detection of sudden changes; absent = fading alone.
    pub drift: Option<DriftSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: PolicyKind::Thompson { scale: 0.4 },
            floor: 0.00001,
            noise: 0.45,
            level: 0.03,
            slope: 0.006,
            lean: 0.005,
            kind: 0.01,
            weak_kind: 0.25,
            common_kind: 0.03,
            common_lean: 0.03,
            shared: 0.65,
            likened: 10.0,
            groundless: 12.0,
            weak: 3.0,
            likened_lean: 1.0,
            assured: 0.1,
            supposed: 0.6,
            eagerness: 1.0,
            half_life: Some(20_000.0),
            drift: Some(DriftSettings::default()),
        }
    }
}

/// When a model counts as changed: a two-sided cumulative sum test (Page 1954) over its rewards, in standard
/// deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSettings {
    /// Shifts smaller than twice this are ignored.
    pub slack: f64,
    /// Threshold of the sums: higher is slower and surer.
    pub threshold: f64,
    /// Observations of a changed model until it is settled again. Before that its prior counts as [`Grounds::Nothing`]:
    /// it was fitted to another model.
    pub settled: f64,
    /// Half-life of an unsettled model's observations, in feedbacks of all models together. So a model that got worse
    /// is tried again about once in so many, and used again where it has recovered.
    pub recheck: f64,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self { slack: 0.35, threshold: 18.0, settled: 200.0, recheck: 100.0 }
    }
}

/// A setting that is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {value}, but must be {must}")]
pub struct SettingsError {
    /// The setting's name.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// The range, as a clause.
    pub must: &'static str,
}

impl Settings {
    /// Checks that all numbers are in range.
    ///
    /// # Errors
    ///
    /// The first one that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let wrong = |field, value: String, must| Err(SettingsError { field, value, must });
        if !self.policy.is_sound() {
            return wrong("policy", format!("{:?}", self.policy), "a policy with parameters of 0 or more");
        }
        if !(0.0..=0.5).contains(&self.floor) {
            return wrong("floor", self.floor.to_string(), "between 0 and 0.5");
        }
        if !(0.0..=100.0).contains(&self.eagerness) {
            return wrong("eagerness", self.eagerness.to_string(), "between 0 and 100");
        }
        for (field, factor) in [("assured", self.assured), ("supposed", self.supposed)] {
            if !(0.0..=1.0).contains(&factor) {
                return wrong(field, factor.to_string(), "between 0 and 1");
            }
        }
        if !(0.0..1.0).contains(&self.shared) {
            return wrong("shared", self.shared.to_string(), "0 or more, and below 1");
        }
        let positive = [
            ("noise", self.noise),
            ("level", self.level),
            ("slope", self.slope),
            ("lean", self.lean),
            ("kind", self.kind),
            ("weak_kind", self.weak_kind),
            ("common_kind", self.common_kind),
            ("common_lean", self.common_lean),
            ("likened", self.likened),
            ("groundless", self.groundless),
            ("weak", self.weak),
            ("likened_lean", self.likened_lean),
            ("half_life", self.half_life.unwrap_or(1.0)),
            ("drift.slack", self.drift.map_or(1.0, |drift| drift.slack)),
            ("drift.threshold", self.drift.map_or(1.0, |drift| drift.threshold)),
            ("drift.settled", self.drift.map_or(1.0, |drift| drift.settled)),
            ("drift.recheck", self.drift.map_or(1.0, |drift| drift.recheck)),
        ];
        match positive.into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((field, value)) => wrong(field, value.to_string(), "a number above 0"),
            None => Ok(()),
        }
    }

    /// The floor of each of `count` eligible models.
    pub fn floor(&self, count: usize) -> f64 {
        self.floor.min(0.1 / count.max(1) as f64)
    }

    /// Prior variances of a model's own effects: level, slope, features, kinds of work.
    pub(super) fn own_variances(&self, shape: Shape, grounds: Grounds) -> Vec<f64> {
        let doubt = match grounds {
            Grounds::Fitted => 1.0,
            Grounds::Likened => self.likened,
            Grounds::Nothing => self.groundless,
        };
        let kind = if grounds == Grounds::Fitted { self.kind } else { self.weak_kind };
        let likeness = if grounds == Grounds::Likened { self.likened_lean } else { 1.0 };
        let of = |at| match at {
            0 => (1.0 - self.shared) * (doubt * self.level).powi(2),
            1 => (1.0 - self.shared) * (doubt * self.slope).powi(2),
            _ if shape.is_kind(at) => kind.powi(2),
            _ => (self.weakness(grounds) * likeness * self.lean).powi(2),
        };
        (0..shape.dim()).map(of).collect()
    }

    fn weakness(&self, grounds: Grounds) -> f64 {
        if grounds == Grounds::Fitted { 1.0 } else { self.weak }
    }

    /// Prior variances of the common effects; `grounds` are the firmest that any model has.
    pub(super) fn common_variances(&self, shape: Shape, grounds: Grounds) -> Vec<f64> {
        let weakness = self.weakness(grounds);
        let of = |at| match at {
            // Above 0 even where nothing is shared, since it is inverted.
            0 => (self.shared * (weakness * self.level).powi(2)).max(1e-12),
            1 => (self.shared * (weakness * self.slope).powi(2)).max(1e-12),
            _ if shape.is_kind(at) => (weakness * self.common_kind).powi(2),
            _ => (weakness * self.common_lean).powi(2),
        };
        (0..shape.dim()).map(of).collect()
    }

    /// Factor on a model's spread for exploration, after `seen` observations; `of_kind` = those at the prompt's kind of
    /// work, where that is known; `fields` = how much models differ by kind of work (0 to 1).
    pub(super) fn eager(&self, grounds: Grounds, seen: f64, of_kind: Option<f64>, fields: f64) -> f64 {
        let usual = match grounds {
            Grounds::Fitted => return self.assured,
            Grounds::Likened => self.supposed * (1.0 + self.eagerness * NEW / (NEW + seen)),
            Grounds::Nothing => 1.0 + self.eagerness * NEW / (NEW + seen),
        };
        of_kind.map_or(usual, |of_kind| usual.max(fields * UNSEEN_KIND * NEW / (NEW + of_kind)))
    }

    /// Weight of an observation after `age` further feedbacks; it falls faster for a model that is not `settled`.
    pub(super) fn fade(&self, age: f64, settled: bool) -> f64 {
        let recheck = if settled { None } else { self.drift.map(|drift| drift.recheck) };
        let half_life = recheck.into_iter().chain(self.half_life).min_by(f64::total_cmp);
        half_life.map_or(1.0, |half_life| (-age / half_life * std::f64::consts::LN_2).exp())
    }
}
