//! A model's ability: measured, borrowed from other models, or derived from a score.
//!
//! - A model that the head was fitted to is **learned**: its own arm, or the mean of its arms where several sources
//!   have it. Outcomes of the gateway's own traffic take precedence over any benchmark's.
//! - A model that is **like** others borrows their arms' log-odds, weighted. A configured score then shifts the level,
//!   so that the mean over training prompts is that score: the evidence says *what* the model is better at, the score
//!   *how good* it is.
//! - A model with a **score** alone gets the mean of all arms, shifted in the same way.

use serde::{Deserialize, Serialize};

use super::{Head, OWN_TRAFFIC, sigmoid};
use crate::classifier::reading::EstimateSource;

/// A measured model that stands in for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// `source/model`, or the model alone.
    pub arm: String,
    /// Its weight, relative to the other stand-ins.
    pub weight: f32,
}

/// A model's ability, as a weighted sum of arms.
#[derive(Debug, Clone, PartialEq)]
pub struct Ability {
    /// Arms and their weights, which sum to one.
    pub parts: Vec<(usize, f32)>,
    /// Added to the log-odds.
    pub shift: f32,
    /// The evidence that it rests on.
    pub source: EstimateSource,
}

impl Head {
    /// The ability of the model `name`: from its own arms, else the arms of `like` (another name), else those that the
    /// head's [`Likeness`](super::Likeness) names for it, else all arms; shifted to `score` where one is given and the
    /// model was not measured. `None` where none of these is known.
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

    /// Whether the head has evidence for this model that another could borrow.
    pub fn knows(&self, name: &str) -> bool {
        self.evidence(name).is_some()
    }

    /// A model's own arms, or those that the head's likeness names for it.
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

    /// The shift at which the mean probability over the reference prompts is `score`, found by bisection, as the mean
    /// rises with the shift.
    fn shift_to(&self, parts: &[(usize, f32)], score: f32) -> f32 {
        let arms = &self.parts.arms;
        let odds = |row: usize| {
            let trunk = arms.log_odds(self.reference.row(row));
            // Opinions of memory and tasks are not stored for these prompts; the trunk's stands in for them.
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
