//! What is believed of a model: measured, borrowed from others, or told by a score.
//!
//! - A model that the head was fitted to is **learned**: its own arm, or the mean of its arms where several sources have it.
//!   What the gateway's own traffic says of it stands before what any benchmark says.
//! - A model that is **like** others borrows their arms' log-odds, weighted. A configured score then moves the level, so
//!   that its mean over training prompts is that score: the evidence says *what* it is better at, the score *how good*.
//! - A model with a **score** alone gets the mean of all arms, moved in the same way.

use serde::{Deserialize, Serialize};

use super::{Head, OWN_TRAFFIC, sigmoid};
use crate::classifier::reading::EstimateSource;

/// A measured model that stands in for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// `source/model`, or the model alone.
    pub arm: String,
    /// How much of it, relative to the others.
    pub weight: f32,
}

/// What is believed of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Ability {
    /// Arms and their weights, which sum to one.
    pub parts: Vec<(usize, f32)>,
    /// Added to the log-odds.
    pub shift: f32,
    /// What it rests on.
    pub source: EstimateSource,
}

impl Head {
    /// What is believed of the model `name`: of its own arms, else of the arms of `like` (another name), else of those
    /// that the head's [`Likeness`](super::Likeness) names for it, else of all; moved to `score` where one is given and
    /// the model was not measured. With nothing at all to go by there is no ability.
    pub fn ability(&self, name: &str, like: Option<&str>, score: Option<f64>) -> Option<Ability> {
        if let Some(parts) = self.measured(name) {
            return Some(Ability { parts, shift: 0.0, source: EstimateSource::Learned });
        }
        let borrowed = like.and_then(|like| Some((self.evidence(like)?, like.to_owned())));
        let borrowed = borrowed.or_else(|| {
            let evidence = self.description.likeness.of(name)?;
            let first = evidence.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))?;
            Some((self.borrowed(evidence)?, first.arm.clone()))
        });
        let (parts, source) = match (borrowed, score) {
            (Some((parts, of)), _) => (parts, EstimateSource::Like(of)),
            (None, Some(_)) => {
                let arms = self.description.arms.len();
                ((0..arms).map(|arm| (arm, 1.0 / arms as f32)).collect(), EstimateSource::Score)
            }
            (None, None) => return None,
        };
        let shift = score.map_or(0.0, |score| self.shift_to(&parts, score as f32));
        Some(Ability { parts, shift, source })
    }

    /// Whether there is anything in it that another model could borrow from this one.
    pub fn knows(&self, name: &str) -> bool {
        self.evidence(name).is_some()
    }

    /// A model's own arms, or those that it is likened to itself.
    fn evidence(&self, name: &str) -> Option<Vec<(usize, f32)>> {
        self.measured(name).or_else(|| self.borrowed(self.description.likeness.of(name)?))
    }

    /// The model's own arms, at equal weights.
    fn measured(&self, name: &str) -> Option<Vec<(usize, f32)>> {
        let named = |at: &usize| {
            let arm = &self.description.arms[*at];
            arm.model == name
                || name.strip_prefix(&arm.source).and_then(|rest| rest.strip_prefix('/')) == Some(&arm.model)
        };
        let mut arms: Vec<usize> = (0..self.description.arms.len()).filter(named).collect();
        let own = |at: &usize| self.description.arms[*at].source == OWN_TRAFFIC;
        if arms.iter().any(own) {
            arms.retain(own);
        }
        let weight = 1.0 / arms.len() as f32;
        (!arms.is_empty()).then(|| arms.into_iter().map(|arm| (arm, weight)).collect())
    }

    fn borrowed(&self, evidence: &[Evidence]) -> Option<Vec<(usize, f32)>> {
        let known = evidence.iter().filter_map(|one| Some((self.description.arm(&one.arm)?, one.weight.max(0.0))));
        let known: Vec<(usize, f32)> = known.collect();
        let total: f32 = known.iter().map(|(_, weight)| weight).sum();
        (total > 0.0).then(|| known.into_iter().map(|(arm, weight)| (arm, weight / total)).collect())
    }

    /// The shift at which the mean probability over the reference prompts is `score`: it rises with the shift, so halving
    /// finds it.
    fn shift_to(&self, parts: &[(usize, f32)], score: f32) -> f32 {
        let arms = &self.parts.arms;
        let odds = |row: usize| {
            let trunk = arms.log_odds(self.reference.row(row));
            // What memory and tasks say is not kept for these prompts; the trunk stands in for them.
            let known = arms.calibrated(&self.parts.memory.shelves, [&trunk; 3]);
            parts.iter().map(|(arm, weight)| weight * known[*arm]).sum::<f32>()
        };
        let odds: Vec<f32> = (0..self.reference.rows).map(odds).collect();
        let mean = |shift: f32| odds.iter().map(|odds| sigmoid(odds + shift)).sum::<f32>() / odds.len().max(1) as f32;
        let (mut low, mut high) = (-12.0f32, 12.0f32);
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if mean(middle) < score { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    }
}
