//! One source's prompts in the form that a replay needs.

use std::path::Path;

use rand::seq::SliceRandom;

use super::super::dataset::{Dataset, Record, Split};
use super::super::features::states;
use super::super::fit::Progress;
use super::super::job::origin;
use super::super::known::Known;
use super::features::Reader;
use crate::bandit::{Context, Grounds};
use crate::classifier::Model;
use crate::classifier::head::{Ability, Head};
use crate::classifier::stats::TextStats;
use crate::protocol::ModelName;

/// One prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The features that the policy sees.
    pub features: Vec<f32>,
    /// The task label by the head; empty where there is none.
    pub kind: String,
    /// The head's prediction for each model; empty = there is no head, and every prior is one half.
    pub priors: Vec<f64>,
    /// Reward of each model's answer; `None` = it was not run, and cannot be chosen.
    pub scores: Vec<Option<f32>>,
    /// Cost of each answer in US dollars, where known.
    pub costs: Vec<Option<f32>>,
}

/// Prompts of one source, and the models that answered them.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The source.
    pub source: String,
    /// The models.
    pub arms: Vec<ModelName>,
    /// Name of the features' space.
    pub space: String,
    /// What each model's prior rests on.
    pub grounds: Vec<Grounds>,
    /// Usual cost of each model's answer in US dollars, known beforehand as from a price list; `None` = unknown.
    pub usual_costs: Vec<Option<f64>>,
    /// The prompts, in order.
    pub items: Vec<Item>,
    /// Number of leading prompts that stay first when the stream is shuffled.
    pub first: usize,
    /// Notes to be read with the figures.
    pub notes: Vec<String>,
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
            notes: Vec::new(),
        })
    }

    /// The prompts of `source` in `splits`, one split after the other, with the readings of `head`: what a gateway with
    /// that head would start from. States are cached in `cache`.
    ///
    /// # Errors
    ///
    /// When the encoder fails.
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
        let known = Known::of_source(head, dataset, source);
        let names: Vec<ModelName> =
            arms.iter().map(|arm| ModelName::new(dataset.arms[*arm as usize].model.as_str())).collect();
        let notes = priors_note(&known, &names).into_iter().collect();
        let abilities: Vec<Ability> = known.into_iter().map(|known| known.ability).collect();
        let records: Vec<&Record> = splits.iter().flat_map(|split| dataset.of_source(source, *split)).collect();
        let prompts: Vec<&str> = records.iter().map(|record| &*record.prompt).collect();
        let pooling = &head.description().pooling;
        let mut encode = |batch: &[&str]| model.encode_batch(batch, pooling).map_err(|error| error.to_string());
        let width = pooling.width(model.info().hidden);
        let pooled = states(cache, &origin(model, pooling), width, &prompts, &mut encode, progress)?;
        let item = |(row, record): (usize, &&Record)| {
            let reading = head.read(pooled.row(row), &TextStats::of(&record.prompt));
            Item {
                priors: abilities.iter().map(|ability| head.estimate(&reading, ability).quality).collect(),
                scores: arms.iter().map(|arm| record.outcome(*arm).map(|it| it.score)).collect(),
                costs: arms.iter().map(|arm| record.outcome(*arm).and_then(|it| it.cost_usd)).collect(),
                kind: head.task_name(&reading).unwrap_or_default().to_owned(),
                features: reading.z,
            }
        };
        Ok(Self {
            source: name.clone(),
            arms: names,
            space: head.description().name.clone(),
            grounds: abilities.iter().map(|ability| ability.source.grounds()).collect(),
            usual_costs: arms.iter().map(|arm| usual_cost(dataset, source, *arm)).collect(),
            items: records.iter().enumerate().map(item).collect(),
            first: splits.first().map_or(0, |split| dataset.of_source(source, *split).count()),
            notes,
        })
    }

    /// The stream without models of unknown cost, for replays in which cost counts: unknown does not mean free. Prompts
    /// that only those models answered are removed with them.
    pub fn priced(mut self) -> Self {
        let priced: Vec<bool> = self.usual_costs.iter().map(Option::is_some).collect();
        if priced.iter().all(|priced| *priced) {
            return self;
        }
        let unpriced: Vec<&str> =
            self.arms.iter().zip(&priced).filter(|(_, priced)| !**priced).map(|(arm, _)| arm.as_str()).collect();
        self.notes.push(format!(
            "Cost counts, and {} of the {} models have no known cost ({}): they are left out.",
            unpriced.len(),
            priced.len(),
            few(&unpriced)
        ));
        retain(&mut self.arms, &priced);
        retain(&mut self.grounds, &priced);
        retain(&mut self.usual_costs, &priced);
        for item in &mut self.items {
            retain(&mut item.priors, &priced);
            retain(&mut item.scores, &priced);
            retain(&mut item.costs, &priced);
        }
        let is_answered = |item: &Item| item.scores.iter().any(Option::is_some);
        self.first = self.items[..self.first].iter().filter(|item| is_answered(item)).count();
        self.items.retain(is_answered);
        self
    }

    /// Number of outcomes without a cost whose model has a usual one, which is used in its place.
    pub fn supposed_costs(&self) -> usize {
        let supposed = |item: &Item| {
            let arms = item.scores.iter().zip(&item.costs).zip(&self.usual_costs);
            arms.filter(|((score, cost), usual)| score.is_some() && cost.is_none() && usual.is_some()).count()
        };
        self.items.iter().map(supposed).sum()
    }

    /// The context of prompt `at`.
    pub fn context(&self, at: usize) -> Context<'_> {
        let item = &self.items[at];
        Context { features: &item.features, space: &self.space, kind: &item.kind }
    }

    /// The stream in another order; the first prompts are shuffled among themselves.
    pub fn shuffled(&self, rng: &mut impl rand::Rng) -> Self {
        let mut other = self.clone();
        let (first, rest) = other.items.split_at_mut(self.first);
        first.shuffle(rng);
        rest.shuffle(rng);
        other
    }
}

/// Keeps the values whose entry in `kept` is true; an empty list stays empty.
fn retain<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().copied().unwrap_or(false));
}

/// A note on priors that do not come from this very source.
fn priors_note(known: &[Known], names: &[ModelName]) -> Option<String> {
    let strangers: Vec<&str> =
        known.iter().zip(names).filter(|(known, _)| known.is_unknown()).map(|(_, name)| name.as_str()).collect();
    let learned = known.iter().filter(|known| known.is_learned()).count();
    let by_score = |known: &&Known| !known.is_learned() && known.is_by_score();
    let scored = known.iter().filter(by_score).count();
    let likened = known.len() - learned - strangers.len() - scored;
    let scores = if scored > 0 { format!(", goes by the score on train for {scored}") } else { String::new() };
    let nothing = match strangers.as_slice() {
        [] => String::new(),
        some => {
            format!(" For models that it does not know ({}) it predicts the mean over all that it knows.", few(some))
        }
    };
    (learned < known.len()).then(|| {
        format!(
            "Of the {} models the head was fitted to {learned} in this source, takes {likened} from other sources or by \
             likeness{scores}, and does not know {}.{nothing}",
            known.len(),
            strangers.len(),
        )
    })
}

/// The first three names of a list, with an ellipsis where there are more.
fn few(names: &[&str]) -> String {
    let more = if names.len() > 3 { ", ..." } else { "" };
    format!("{}{more}", names.iter().take(3).copied().collect::<Vec<_>>().join(", "))
}

/// Mean cost over the training split where it has costs, else over all splits.
fn usual_cost(dataset: &Dataset, source: u32, arm: u32) -> Option<f64> {
    let mean = |splits: &[Split]| {
        let costs: Vec<f64> = splits
            .iter()
            .flat_map(|split| dataset.of_source(source, *split))
            .filter_map(|record| record.outcome(arm)?.cost_usd)
            .map(f64::from)
            .collect();
        (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
    };
    mean(&[Split::Train]).or_else(|| mean(&Split::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::EstimateSource;

    #[test]
    fn the_note_says_what_each_model_goes_by() {
        let known = |source| Known { ability: Ability::of(Vec::new(), source), basis: "prior".into() };
        let score = || known(EstimateSource::Score);
        let known = [score(), score(), known(EstimateSource::Like("a".into())), known(EstimateSource::Default)];
        let names = ["one", "two", "three", "four"].map(ModelName::from);
        let note = priors_note(&known, &names).unwrap();
        assert!(
            note.starts_with(
                "Of the 4 models the head was fitted to 0 in this source, takes 1 from other sources or by likeness, goes by \
                 the score on train for 2, and does not know 1. For models"
            ),
            "{note}"
        );
    }
}
