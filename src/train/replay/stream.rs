//! One source's prompts in the form a replay needs.

use rand::seq::SliceRandom;

use super::super::dataset::{Dataset, Record, Split};
use super::features::Reader;
use crate::bandit::Grounds;
use crate::protocol::ModelName;

/// One prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What the policy sees.
    pub features: Vec<f32>,
    /// What the head says of each model; empty = there is no head, and every prior is one half.
    pub priors: Vec<f64>,
    /// What each model's answer was worth; `None` = it was not run, and cannot be chosen.
    pub scores: Vec<Option<f32>>,
    /// What it cost, where known.
    pub costs: Vec<Option<f32>>,
}

/// Prompts of one source, and the models that answered them.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The source.
    pub source: String,
    /// The models.
    pub arms: Vec<ModelName>,
    /// What made the features.
    pub space: String,
    /// What the priors rest on.
    pub grounds: Grounds,
    /// What an answer of each model usually costs, US dollars: known beforehand, as a price list is. 0 where unknown.
    pub usual_costs: Vec<f64>,
    /// The prompts, in order.
    pub items: Vec<Item>,
}

impl Stream {
    /// The prompts of `source` in `splits`, one split after the other, shuffled within each.
    ///
    /// # Errors
    ///
    /// When the reader fails.
    pub fn cold(
        dataset: &Dataset,
        source: u32,
        splits: &[Split],
        reader: &mut dyn Reader,
        rng: &mut impl rand::Rng,
    ) -> anyhow::Result<Self> {
        let mut records: Vec<&Record> = Vec::new();
        for split in splits {
            let mut part: Vec<&Record> = dataset.of_source(source, *split).collect();
            part.shuffle(rng);
            records.extend(part);
        }
        let features = reader.read(&records)?;
        let arms = dataset.arms_of(source);
        let items = records
            .iter()
            .zip(features)
            .map(|(record, features)| Item {
                features,
                priors: Vec::new(),
                scores: arms.iter().map(|arm| record.outcome(*arm).map(|outcome| outcome.score)).collect(),
                costs: arms.iter().map(|arm| record.outcome(*arm).and_then(|outcome| outcome.cost_usd)).collect(),
            })
            .collect();
        let names = arms.iter().map(|arm| ModelName::new(dataset.arms[*arm as usize].model.as_str())).collect();
        let usual_costs = arms.iter().map(|arm| usual_cost(dataset, source, *arm)).collect();
        Ok(Self {
            source: dataset.sources[source as usize].clone(),
            arms: names,
            space: reader.space().to_owned(),
            grounds: Grounds::Nothing,
            usual_costs,
            items,
        })
    }

    /// The same prompts with what a head says of each: `priors` has a row for each item, in order, and in it the models.
    pub fn with_priors(mut self, priors: Vec<Vec<f64>>) -> Self {
        self.grounds = Grounds::Fitted;
        self.items.iter_mut().zip(priors).for_each(|(item, priors)| item.priors = priors);
        self
    }

    /// The same prompts in another order.
    pub fn shuffled(&self, rng: &mut impl rand::Rng) -> Self {
        let mut other = self.clone();
        other.items.shuffle(rng);
        other
    }
}

/// Mean cost over the training split where it has any, over everything else.
fn usual_cost(dataset: &Dataset, source: u32, arm: u32) -> f64 {
    let mean = |splits: &[Split]| {
        let costs: Vec<f64> = splits
            .iter()
            .flat_map(|split| dataset.of_source(source, *split))
            .filter_map(|record| record.outcome(arm)?.cost_usd)
            .map(f64::from)
            .collect();
        (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
    };
    mean(&[Split::Train]).or_else(|| mean(&Split::ALL)).unwrap_or(0.0)
}
