//! What a policy is made with.

use serde::{Deserialize, Serialize};

use super::context::Grounds;
use super::policy::PolicyKind;
use super::shape::Shape;

/// Observations after which a model is only half new.
const NEW: f64 = 10.0;

/// Factor on the spread of a model of a weak prior at a kind of work that it was not judged at yet, where models differ
/// by kind of work. Beside Thompson's scale it makes the whole spread of the posterior: what it did at other work says
/// little of this one, and narrower draws left one specialist in fifteen untried for good (`worlds_tests`). Where models
/// do not differ so, it would cost points for nothing (training/RESULTS.md).
const UNSEEN_KIND: f64 = 2.5;

/// How beliefs begin, how fast they move, and how to explore. The defaults are what did best in `pointsman replay`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How to explore.
    pub policy: PolicyKind,
    /// Least probability of each eligible model, as long as all floors together take no more than a tenth.
    pub floor: f64,
    /// Standard deviation of a reward around its expectation, before any is seen.
    pub noise: f64,
    /// How far a model's quality may lie from its prior everywhere: a standard deviation, for [`Grounds::Fitted`].
    pub level: f64,
    /// How far it may lean with the logit of the prior, per unit: a standard deviation.
    pub slope: f64,
    /// How far it may lean with each feature, per unit, otherwise than the other models: a standard deviation.
    pub lean: f64,
    /// How far a model may be better or worse at one kind of work than its prior says, beyond its level: a standard
    /// deviation, for [`Grounds::Fitted`].
    pub kind: f64,
    /// The most it may be where the prior is by likeness or rests on nothing; feedback tells how much of that it is
    /// (see `posterior`). Wide: a kind is one number, and tens of ratings tell it, where leanings on many features take
    /// thousands.
    pub weak_kind: f64,
    /// How far all models together may be better or worse at one kind of work: a standard deviation.
    pub common_kind: f64,
    /// How far all models together may lean with each feature: a standard deviation. Some prompts are hard for
    /// everybody; what is known of that does not look like a difference between models.
    pub common_lean: f64,
    /// Share of the variances of level and slope that all models have in common (users stricter than the benchmark, say),
    /// 0 to below 1.
    pub shared: f64,
    /// Factor on the standard deviations of level and slope where the prior is by likeness or score.
    pub likened: f64,
    /// The same where the prior rests on nothing.
    pub groundless: f64,
    /// Factor on what such a weak prior leaves to be learned besides: own leanings, and, where no model's prior is fitted,
    /// everything that the models have in common. A fitted head has read the features already.
    pub weak: f64,
    /// Factor on the spread of a model whose prior is fitted, when deciding what to try out: 0 = never for its own sake.
    /// Between models that were all measured there is less to win by trying than it costs, and the best by the beliefs is
    /// found out about anyway, because it is chosen.
    pub assured: f64,
    /// The same for a model whose prior is by likeness or score, and whatever its eagerness: something is known of it.
    pub supposed: f64,
    /// How much less than its posterior says a model of such a weak prior counts as known while it is new: spreads are
    /// multiplied by `1 + eagerness x 10 / (10 + observations)`. Without it an unlucky first impression can last.
    pub eagerness: f64,
    /// Feedbacks (of all models together) after which an observation counts half; absent = all count alike for ever.
    pub half_life: Option<f64>,
    /// Notice sudden changes; absent = leave them to fading.
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
            assured: 0.1,
            supposed: 0.6,
            eagerness: 1.0,
            half_life: Some(20_000.0),
            drift: Some(DriftSettings::default()),
        }
    }
}

/// When a model counts as changed: a two-sided cumulative sum test (Page 1954) over its rewards, in standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSettings {
    /// Smaller shifts than twice this are let pass.
    pub slack: f64,
    /// The alarm: higher is slower and surer.
    pub threshold: f64,
    /// Observations of a changed model until it is settled again. Before that its prior counts as resting on nothing:
    /// what it was fitted to is not what answers now.
    pub settled: f64,
    /// Feedbacks (of all models together) after which what is known of an unsettled model counts half. So one that got
    /// worse is tried again about once in so many, and found again where it has recovered.
    pub recheck: f64,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self { slack: 0.35, threshold: 18.0, settled: 200.0, recheck: 100.0 }
    }
}

/// Settings that make no policy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {value}, but must be {must}")]
pub struct SettingsError {
    /// The setting.
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub must: &'static str,
}

impl Settings {
    /// Whether the numbers are in range.
    ///
    /// # Errors
    ///
    /// The first that is not.
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

    /// Variances of what each model has of its own: level, slope, leanings on features, and kinds of work.
    pub(super) fn own_variances(&self, shape: Shape, grounds: Grounds) -> Vec<f64> {
        let doubt = match grounds {
            Grounds::Fitted => 1.0,
            Grounds::Likened => self.likened,
            Grounds::Nothing => self.groundless,
        };
        let kind = if grounds == Grounds::Fitted { self.kind } else { self.weak_kind };
        let of = |at| match at {
            0 => (1.0 - self.shared) * (doubt * self.level).powi(2),
            1 => (1.0 - self.shared) * (doubt * self.slope).powi(2),
            _ if shape.is_kind(at) => kind.powi(2),
            _ => (self.weakness(grounds) * self.lean).powi(2),
        };
        (0..shape.dim()).map(of).collect()
    }

    fn weakness(&self, grounds: Grounds) -> f64 {
        if grounds == Grounds::Fitted { 1.0 } else { self.weak }
    }

    /// Variances of what all models have in common; `grounds` are the best that any of them has.
    pub(super) fn common_variances(&self, shape: Shape, grounds: Grounds) -> Vec<f64> {
        let weakness = self.weakness(grounds);
        let of = |at| match at {
            // A share of nothing is kept a little above it, so that its inverse is a number.
            0 => (self.shared * (weakness * self.level).powi(2)).max(1e-12),
            1 => (self.shared * (weakness * self.slope).powi(2)).max(1e-12),
            _ if shape.is_kind(at) => (weakness * self.common_kind).powi(2),
            _ => (weakness * self.common_lean).powi(2),
        };
        (0..shape.dim()).map(of).collect()
    }

    /// By how much a model with such a prior counts as less known than its posterior says, after `seen` observations;
    /// `of_kind` = those of the prompt's kind of work, where that is known; `fields` = whether models differ by kind of
    /// work (0 to 1).
    pub(super) fn eager(&self, grounds: Grounds, seen: f64, of_kind: Option<f64>, fields: f64) -> f64 {
        let usual = match grounds {
            Grounds::Fitted => return self.assured,
            Grounds::Likened => self.supposed * (1.0 + self.eagerness * NEW / (NEW + seen)),
            Grounds::Nothing => 1.0 + self.eagerness * NEW / (NEW + seen),
        };
        of_kind.map_or(usual, |of_kind| usual.max(fields * UNSEEN_KIND * NEW / (NEW + of_kind)))
    }

    /// What an observation still counts after `age` further ones, of a model that is `settled` or has changed lately.
    pub(super) fn fade(&self, age: f64, settled: bool) -> f64 {
        let recheck = if settled { None } else { self.drift.map(|drift| drift.recheck) };
        let half_life = recheck.into_iter().chain(self.half_life).min_by(f64::total_cmp);
        half_life.map_or(1.0, |half_life| (-age / half_life * std::f64::consts::LN_2).exp())
    }
}
