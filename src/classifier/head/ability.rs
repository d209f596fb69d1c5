//! A model's ability: measured, borrowed from other models, or derived from a score.
//!
//! - A model that the head was fitted to is **learned**: its own arm, or the mean of its arms where several sources
//!   have it. Outcomes of the gateway's own traffic take precedence over any benchmark's.
//! - A model that is **like** others borrows their arms' log-odds, weighted. A configured score then shifts the level,
//!   so that the mean over training prompts is that score: the evidence says *what* the model is better at, the score
//!   *how good* it is.
//! - A model with a **score** alone gets the mean of all arms, shifted in the same way.
//!
//! Models that are chosen among stand on **common ground** ([`Head::on_common_ground`]): that of the measured ones,
//! where there are any. How hard a source's models find a prompt says something about the prompt, and nothing about
//! which of two models is better that borrow from different sources.

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
    /// Arms and weights, which sum to zero: from the ground of its evidence to the common one.
    pub lift: Vec<(usize, f32)>,
    /// What the lift adds on an average prompt.
    pub usual_lift: f32,
    /// Where it is lifted, the mean probability over training prompts.
    pub usual: Option<f32>,
    /// Added to the log-odds.
    pub shift: f32,
    /// The evidence that it rests on.
    pub source: EstimateSource,
}

impl Ability {
    /// An ability that rests on these arms alone.
    pub fn of(parts: Vec<(usize, f32)>, source: EstimateSource) -> Self {
        Self { parts, lift: Vec::new(), usual_lift: 0.0, usual: None, shift: 0.0, source }
    }

    /// The log-odds, from those of all arms.
    pub fn log_odds(&self, arms: &[f32]) -> f32 {
        weighted(&self.parts, arms) + weighted(&self.lift, arms) + self.shift
    }
}

/// One of the models that are chosen among.
#[derive(Debug)]
pub struct Contender<'a> {
    /// Its ability.
    pub ability: &'a mut Ability,
    /// Whether its evidence was measured on other models or on prompts of another kind.
    pub borrows: bool,
    /// Its score, which sets the level of a borrowed ability.
    pub score: Option<f64>,
}

fn weighted(parts: &[(usize, f32)], arms: &[f32]) -> f32 {
    parts.iter().map(|(arm, weight)| weight * arms[*arm]).sum()
}

impl Head {
    /// The ability of the model `name`: from its own arms, else the arms of `like` (another name), else those that the
    /// head's [`Likeness`](super::Likeness) names for it, else all arms; shifted to `score` where one is given and the
    /// model was not measured. `None` where none of these is known.
    pub fn ability(&self, name: &str, like: Option<&str>, score: Option<f64>) -> Option<Ability> {
        if let Some(parts) = self.measured(name) {
            return Some(Ability::of(parts, EstimateSource::Learned));
        }
        let borrowed = like.and_then(|like| Some((self.evidence(like)?, like.to_owned())));
        let borrowed = borrowed.or_else(|| {
            let evidence = self.description.likeness.of(name)?;
            let first = evidence.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))?;
            Some((self.borrowed(evidence)?, first.arm.clone()))
        });
        let (parts, source) = match (borrowed, score) {
            (Some((parts, of)), _) => (parts, EstimateSource::Like(of)),
            (None, Some(_)) => (self.average().parts, EstimateSource::Score),
            (None, None) => return None,
        };
        let mut ability = Ability::of(parts, source);
        self.shift_to(&mut ability, score);
        Some(ability)
    }

    /// The mean of all models that the head was fitted to.
    pub fn average(&self) -> Ability {
        let arms = self.description.arms.len();
        Ability::of((0..arms).map(|arm| (arm, 1.0 / arms as f32)).collect(), EstimateSource::Default)
    }

    /// Puts models that are chosen among on common ground: in place of what the sources of a model's evidence find hard
    /// about a prompt (the mean of each source's arms) it gets the mean of that over the measured models, or over all
    /// where none is measured. So what is left between two models is what tells the evidence apart from other models of
    /// its own source. Where all rest on one source nothing changes. Measured models keep what was measured, and so
    /// does one that borrows all of a measured one's evidence: nothing but a score may set it apart from that one.
    pub fn on_common_ground(&self, contenders: &mut [Contender<'_>]) {
        let grounds: Vec<Vec<f32>> = contenders.iter().map(|contender| self.ground(contender.ability)).collect();
        let measured = contenders.iter().filter(|contender| !contender.borrows);
        let measured: Vec<Vec<(usize, f32)>> = measured.map(|contender| contender.ability.parts.clone()).collect();
        let decides = |contender: &Contender<'_>| measured.is_empty() || !contender.borrows;
        let share = 1.0 / contenders.iter().filter(|contender| decides(contender)).count().max(1) as f32;
        let mut common = vec![0.0; self.description.arms.len()];
        for (_, ground) in contenders.iter().zip(&grounds).filter(|(contender, _)| decides(contender)) {
            common.iter_mut().zip(ground).for_each(|(common, own)| *common += share * own);
        }
        let moves = |contender: &Contender<'_>| contender.borrows && !measured.contains(&contender.ability.parts);
        for (contender, own) in contenders.iter_mut().zip(&grounds).filter(|(contender, _)| moves(contender)) {
            let differences = common.iter().zip(own).map(|(common, own)| common - own).enumerate();
            let lift: Vec<(usize, f32)> = differences.filter(|(_, weight)| weight.abs() > 1e-6).collect();
            if lift.is_empty() {
                continue;
            }
            let ability = &mut *contender.ability;
            ability.lift = lift;
            ability.usual_lift = self.mean(|arms| weighted(&ability.lift, arms));
            self.shift_to(ability, contender.score);
            ability.usual = Some(self.mean(|arms| sigmoid(ability.log_odds(arms))));
        }
    }

    /// The sources of a model's evidence: all arms of each, with the weight that its evidence has there.
    fn ground(&self, ability: &Ability) -> Vec<f32> {
        let arms = &self.description.arms;
        let mut ground = vec![0.0; arms.len()];
        for (evidence, weight) in &ability.parts {
            let source = &arms[*evidence].source;
            let of_source: Vec<usize> = (0..arms.len()).filter(|arm| arms[*arm].source == *source).collect();
            of_source.iter().for_each(|arm| ground[*arm] += weight / of_source.len() as f32);
        }
        ground
    }

    /// Whether the head has evidence for this model that another could borrow.
    pub fn knows(&self, name: &str) -> bool {
        self.evidence(name).is_some()
    }

    /// Whether the head was fitted to this very model.
    pub fn has_measured(&self, name: &str) -> bool {
        self.measured(name).is_some()
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

    /// Shifts an ability so that the mean probability over the reference prompts is `score`: by bisection, as the mean
    /// rises with the shift.
    fn shift_to(&self, ability: &mut Ability, score: Option<f64>) {
        let Some(score) = score else { return };
        ability.shift = 0.0;
        let odds: Vec<f32> = self.reference_odds().iter().map(|arms| ability.log_odds(arms)).collect();
        let mean = |shift: f32| odds.iter().map(|odds| sigmoid(odds + shift)).sum::<f32>() / odds.len().max(1) as f32;
        let (mut low, mut high) = (-12.0f32, 12.0f32);
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if mean(middle) < score as f32 { low = middle } else { high = middle }
        }
        ability.shift = (low + high) / 2.0;
    }

    /// The mean over the reference prompts of a figure that is made of the log-odds of all arms.
    fn mean(&self, figure: impl Fn(&[f32]) -> f32) -> f32 {
        self.reference_odds().iter().map(|arms| figure(arms)).sum::<f32>() / self.reference.rows.max(1) as f32
    }

    /// The log-odds of all arms on the reference prompts.
    fn reference_odds(&self) -> Vec<Vec<f32>> {
        let arms = &self.parts.arms;
        let odds = |row: usize| {
            let trunk = arms.log_odds(self.reference.row(row));
            // Opinions of memory and tasks are not stored for these prompts; the trunk's stands in for them.
            arms.calibrated(&self.parts.memory.shelves, [&trunk; 3])
        };
        (0..self.reference.rows).map(odds).collect()
    }
}
