//! Ranks able models: by weight, then with those in front that a conversation or a rule prefers.

use std::sync::Arc;

use super::rules::RuleEffect;
use crate::protocol::Mode;
use crate::upstream::{Catalog, Model};

/// Able models in order, and why; indices are those of the able models.
pub(super) struct Ranking {
    /// Indices in the order to try them, the chosen one first.
    pub(super) order: Vec<usize>,
    /// Each model's probability of being first.
    pub(super) propensities: Vec<f64>,
    pub(super) mode: Mode,
    pub(super) explored: bool,
    pub(super) explore: bool,
    pub(super) reason: String,
}

impl Ranking {
    /// Puts the models that rules prefer first, in the rules' order.
    pub(super) fn prefer(&mut self, preferred: &[usize]) {
        self.put_first(preferred, "a rule prefers it");
        if !preferred.is_empty() {
            self.mode = Mode::Named;
        }
    }

    /// Puts the conversation's model first: the prompt may be cached there.
    pub(super) fn stay(&mut self, at: usize) {
        self.put_first(&[at], "the conversation stays where it is");
        self.mode = Mode::Sticky;
    }

    /// Puts these first, for certain: their propensity becomes 1, and there is no exploration.
    fn put_first(&mut self, these: &[usize], reason: &str) {
        let Some(first) = these.first() else { return };
        let others: Vec<usize> = self.order.iter().copied().filter(|at| !these.contains(at)).collect();
        self.order = these.iter().copied().chain(others).collect();
        self.propensities.fill(0.0);
        self.propensities[*first] = 1.0;
        self.explored = false;
        self.explore = false;
        self.reason = reason.into();
    }
}

/// Preferred models that are able, in the rules' order.
pub(super) fn preferred(catalog: &Catalog, effect: &RuleEffect, able: &[Arc<Model>]) -> Vec<usize> {
    let mut positions = Vec::new();
    for model in effect.prefer.iter().filter_map(|name| catalog.find(name)) {
        let position = able.iter().position(|other| other.name == model.name);
        positions.extend(position.filter(|at| !positions.contains(at)));
    }
    positions
}

/// A model's weight in the draw, relative to the others.
pub(super) fn weight(model: &Model, effect: &RuleEffect) -> f64 {
    let weight = effect.weights.get(model.name.as_str()).copied().unwrap_or(model.settings.weight);
    // Models of weight 0 that were listed by name: equal among themselves, after all others.
    if weight > 0.0 { weight } else { f64::MIN_POSITIVE }
}

/// So many models in the order in which they are.
pub(super) fn in_order(models: usize, reason: String) -> Ranking {
    let propensities = (0..models).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
    let order = (0..models).collect();
    Ranking { order, propensities, mode: Mode::Named, explored: false, explore: false, reason }
}

/// A draw without replacement with probabilities proportional to the weights (Efraimidis and Spirakis, "Weighted
/// random sampling with a reservoir", 2006). The propensity is the probability of being first.
pub(super) fn by_weight(weights: &[f64], reason: String, chance: &mut dyn FnMut() -> f64) -> Ranking {
    let total: f64 = weights.iter().sum();
    // ln(u) / w orders as u^(1/w) does, without underflow.
    let keys: Vec<f64> = weights.iter().map(|weight| (1.0 - chance()).max(f64::MIN_POSITIVE).ln() / weight).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
    let propensities = weights.iter().map(|weight| weight / total).collect();
    Ranking { order, propensities, mode: Mode::Weighted, explored: false, explore: true, reason }
}
