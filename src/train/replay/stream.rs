//! One source's prompts in the form a replay needs.

use std::path::Path;

use rand::seq::SliceRandom;

use super::super::dataset::{Dataset, Record, Split};
use super::super::features::states;
use super::super::fit::Progress;
use super::super::job::origin;
use super::features::Reader;
use crate::bandit::{Context, Grounds};
use crate::classifier::Model;
use crate::classifier::head::{Ability, Head};
use crate::classifier::stats::TextStats;
use crate::protocol::ModelName;

/// One prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What the policy sees.
    pub features: Vec<f32>,
    /// The kind of work, as the head labels it; empty where there is none.
    pub kind: String,
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
    /// What each model's prior rests on.
    pub grounds: Vec<Grounds>,
    /// What an answer of each model usually costs, US dollars: known beforehand, as a price list is. 0 where unknown.
    pub usual_costs: Vec<f64>,
    /// The prompts, in order.
    pub items: Vec<Item>,
    /// How many of them come first, whatever the order.
    pub first: usize,
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
                kind: String::new(),
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
            grounds: vec![Grounds::Nothing; arms.len()],
            usual_costs,
            items,
            first: 0,
        })
    }

    /// The prompts of `source` in `splits`, one after the other, as `head` reads them: what a gateway with that head would
    /// begin with. States are kept in `cache`.
    ///
    /// # Errors
    ///
    /// When the encoder fails, or the head knows none of the models.
    pub fn warm(
        dataset: &Dataset,
        source: u32,
        splits: &[Split],
        (model, head): (&Model, &Head),
        cache: &Path,
        progress: &dyn Progress,
    ) -> anyhow::Result<Self> {
        let arms = dataset.arms_of(source);
        let name = &dataset.sources[source as usize];
        // The same model in two sources is two arms: the head knows them by source and name.
        let ability = |arm: &u32| {
            let model = &dataset.arms[*arm as usize].model;
            head.ability(&format!("{name}/{model}"), None, None).or_else(|| head.ability(model, None, None))
        };
        let abilities: Vec<Option<Ability>> = arms.iter().map(ability).collect();
        anyhow::ensure!(abilities.iter().any(Option::is_some), "the head knows no model of {name}");
        let records: Vec<&Record> = splits.iter().flat_map(|split| dataset.of_source(source, *split)).collect();
        let prompts: Vec<&str> = records.iter().map(|record| &*record.prompt).collect();
        let pooling = &head.description().pooling;
        let mut encode = |batch: &[&str]| model.encode_batch(batch, pooling).map_err(|error| error.to_string());
        let width = pooling.width(model.info().hidden);
        let pooled = states(cache, &origin(model, pooling), width, &prompts, &mut encode, progress)?;
        let item = |(row, record): (usize, &&Record)| {
            let reading = head.read(pooled.row(row), &TextStats::of(&record.prompt));
            let prior = |ability: &Option<Ability>| {
                ability.as_ref().map_or(0.5, |ability| head.estimate(&reading, ability).quality)
            };
            Item {
                priors: abilities.iter().map(prior).collect(),
                scores: arms.iter().map(|arm| record.outcome(*arm).map(|it| it.score)).collect(),
                costs: arms.iter().map(|arm| record.outcome(*arm).and_then(|it| it.cost_usd)).collect(),
                kind: head.task_name(&reading).unwrap_or_default().to_owned(),
                features: reading.z,
            }
        };
        Ok(Self {
            source: name.clone(),
            arms: arms.iter().map(|arm| ModelName::new(dataset.arms[*arm as usize].model.as_str())).collect(),
            space: head.description().name.clone(),
            grounds: abilities.iter().map(grounds).collect(),
            usual_costs: arms.iter().map(|arm| usual_cost(dataset, source, *arm)).collect(),
            items: records.iter().enumerate().map(item).collect(),
            first: splits.first().map_or(0, |split| dataset.of_source(source, *split).count()),
        })
    }

    /// What a policy sees of prompt `at`.
    pub fn context(&self, at: usize) -> Context<'_> {
        let item = &self.items[at];
        Context { features: &item.features, space: &self.space, kind: &item.kind }
    }

    /// The same prompts in another order, the first ones among themselves.
    pub fn shuffled(&self, rng: &mut impl rand::Rng) -> Self {
        let mut other = self.clone();
        let (first, rest) = other.items.split_at_mut(self.first);
        first.shuffle(rng);
        rest.shuffle(rng);
        other
    }
}

/// What a prior rests on that an ability makes.
fn grounds(ability: &Option<Ability>) -> Grounds {
    ability.as_ref().map_or(Grounds::Nothing, |ability| ability.source.grounds())
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
