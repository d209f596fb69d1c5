//! The result of a run, and the results that other ways to choose would have had: the part of a demo that knows the
//! truth.
//!
//! Pure. For each visit the world gives the probability that the user likes each model's answer; prices give what that
//! answer would have cost (answers are equally long for all models). **Reward** is the probability of being liked minus
//! the cost, weighted by the gateway's own objective. **Regret** is the distance to the oracle's reward: the oracle
//! takes the model with the highest reward at each visit, which nobody can know beforehand. Latency is left out, as in
//! [`World`].

use std::collections::BTreeMap;

use super::users::{Visit, World};
use crate::protocol::{Price, Usage};

/// What rewards are computed with.
#[derive(Debug, Clone)]
pub struct Scale {
    /// The models that could have answered, and their initial prices.
    pub prices: BTreeMap<String, Price>,
    /// Reward lost per US dollar.
    pub cost_per_usd: f64,
}

/// Totals over visits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Number of visits.
    pub visits: f64,
    /// Sum of the probabilities of being liked.
    pub liked: f64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Sum of the rewards.
    pub reward: f64,
}

impl Sums {
    fn absorb(&mut self, other: &Self) {
        self.visits += other.visits;
        self.liked += other.liked;
        self.cost_usd += other.cost_usd;
        self.reward += other.reward;
    }

    fn add(&mut self, liked: f64, cost_usd: f64, reward: f64) {
        self.visits += 1.0;
        self.liked += liked;
        self.cost_usd += cost_usd;
        self.reward += reward;
    }
}

/// The totals of a run and of its alternatives.
#[derive(Debug, Clone)]
pub struct Score {
    scale: Scale,
    /// With the models that the gateway chose.
    pub routed: Sums,
    /// Expected with a uniformly random model.
    pub random: Sums,
    /// With the best model at each visit.
    pub oracle: Sums,
    /// By model: with always that model.
    pub single: BTreeMap<String, Sums>,
}

impl Score {
    /// A score without visits.
    pub fn new(scale: Scale) -> Self {
        let single = scale.prices.keys().map(|model| (model.clone(), Sums::default())).collect();
        Self { scale, routed: Sums::default(), random: Sums::default(), oracle: Sums::default(), single }
    }

    /// Adds a visit: the model that answered (`None` where all failed), and the answer's tokens.
    pub fn add(&mut self, world: &World, visit: &Visit, answered: Option<&str>, usage: &Usage) {
        let mut best: Option<(f64, f64, f64)> = None;
        let mut mean = (0.0, 0.0, 0.0);
        let count = self.scale.prices.len().max(1) as f64;
        let mut chosen = (0.0, 0.0, 0.0);
        for (model, price) in &self.scale.prices {
            let liked = world.chance(visit, model) * (1.0 - world.failure_rate(visit.number, model));
            let cost = price.of(usage).0 * world.price_factor(visit.number, model);
            let reward = liked - self.scale.cost_per_usd * cost;
            if let Some(sums) = self.single.get_mut(model) {
                sums.add(liked, cost, reward);
            }
            mean = (mean.0 + liked / count, mean.1 + cost / count, mean.2 + reward / count);
            if best.is_none_or(|best| reward > best.2) {
                best = Some((liked, cost, reward));
            }
            if answered == Some(model.as_str()) {
                // It did answer, so its failure rate no longer counts.
                let liked = world.chance(visit, model);
                chosen = (liked, cost, liked - self.scale.cost_per_usd * cost);
            }
        }
        let best = best.unwrap_or_default();
        self.oracle.add(best.0, best.1, best.2);
        self.random.add(mean.0, mean.1, mean.2);
        self.routed.add(chosen.0, chosen.1, chosen.2);
    }

    /// Adds the visits of another part of the run.
    pub fn absorb(&mut self, other: &Self) {
        self.routed.absorb(&other.routed);
        self.random.absorb(&other.random);
        self.oracle.absorb(&other.oracle);
        for (model, sums) in &other.single {
            self.single.entry(model.clone()).or_default().absorb(sums);
        }
    }

    /// The model with the highest total reward, had it answered everything.
    pub fn best_single(&self) -> Option<(&str, Sums)> {
        let best = self.single.iter().max_by(|a, b| a.1.reward.total_cmp(&b.1.reward));
        best.map(|(model, sums)| (model.as_str(), *sums))
    }

    /// The share of the gap between random choice and oracle that the routing closed: 0 = none, 1 = all.
    pub fn gap_closed(&self) -> Option<f64> {
        let gap = self.oracle.reward - self.random.reward;
        (gap > 1e-9).then(|| (self.routed.reward - self.random.reward) / gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score() -> (World, Score) {
        let price = |input, output| Price { input, output, ..Price::default() };
        let prices = [
            ("claude-opus-5-5", price(4.0, 20.0)),
            ("claude-haiku-5-5", price(0.1, 0.5)),
            ("deepseek-r1", price(0.28, 0.42)),
        ];
        let prices = prices.into_iter().map(|(model, price)| (model.to_owned(), price)).collect();
        (World::steady(4), Score::new(Scale { prices, cost_per_usd: 8.0 }))
    }

    fn usage() -> Usage {
        Usage { input_tokens: 60, output_tokens: 300, ..Usage::default() }
    }

    #[test]
    fn nobody_beats_the_oracle_and_following_it_closes_the_gap() {
        let (world, mut followed) = score();
        let (_, mut single) = score();
        for number in 0..400 {
            let visit = world.visit(number);
            let utility =
                |model: &str| world.chance(&visit, model) - 8.0 * followed.scale.prices[model].of(&usage()).0;
            let models = ["claude-opus-5-5", "claude-haiku-5-5", "deepseek-r1"];
            let best = models.into_iter().max_by(|a, b| utility(a).total_cmp(&utility(b))).unwrap();
            followed.add(&world, &visit, Some(best), &usage());
            single.add(&world, &visit, Some("claude-haiku-5-5"), &usage());
        }
        assert!((followed.gap_closed().unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(single.routed, single.single["claude-haiku-5-5"]);
        for sums in single.single.values().chain([&single.random, &single.routed]) {
            assert!(sums.reward <= single.oracle.reward + 1e-9);
        }
        assert!(single.best_single().unwrap().1.reward >= single.random.reward);
    }

    #[test]
    fn no_answer_is_worth_nothing() {
        let (world, mut score) = score();
        score.add(&world, &world.visit(0), None, &usage());
        assert_eq!((score.routed.visits, score.routed.reward), (1.0, 0.0));
    }
}
