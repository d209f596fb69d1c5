//! The recipe of a head, and its checks.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Split};
use super::error::{FEWEST, JobError};
use super::finetune::FinetuneSettings;
use super::fit::{FitError, FitSettings};
use crate::classifier::encoder::Pooling;
use crate::classifier::head::{Likeness, MOST_CONTEXT};

/// The recipe of a head, such as `training/head.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadRecipe {
    /// Name of the head.
    pub name: String,
    /// The licence that the head is given in the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The data's sources that are used; empty = all.
    pub sources: Vec<String>,
    /// Task families (the part of a task's name before the slash) that are left out of train and val and then tested
    /// alone: how does a head do on unseen work?
    pub without: Vec<String>,
    /// Which of the encoder's states are used.
    pub pooling: Pooling,
    /// How the encoder's last layers are fine-tuned, if at all.
    pub finetune: FinetuneSettings,
    /// The settings of the fit.
    pub fit: FitSettings,
    /// Which measured models stand in for models that nobody measured.
    pub likeness: Likeness,
}

impl Default for HeadRecipe {
    fn default() -> Self {
        Self {
            name: "head".into(),
            license: None,
            sources: Vec::new(),
            without: Vec::new(),
            pooling: Pooling { layers: vec![4], mean: true, last: true },
            finetune: FinetuneSettings::default(),
            fit: FitSettings::default(),
            likeness: Likeness::default(),
        }
    }
}

impl HeadRecipe {
    /// The first number that is out of range, in words. Checked before prompts are read for hours.
    fn impossible(&self) -> Option<&'static str> {
        let (fit, trunk, tuned, layers) = (&self.fit, &self.fit.trunk, &self.finetune, &self.pooling.layers);
        let mut stand_ins = self.likeness.0.values().flatten();
        let is_share = |share: f32| (0.0..1.0).contains(&share);
        let is_rate = |rate: f64| rate > 0.0 && rate <= 1.0;
        let is_weight = |weight: f64| weight.is_finite() && weight >= 0.0;
        let wrong = [
            (!is_share(trunk.dropout) || !is_share(tuned.dropout), "dropout is a share, at least 0 and below 1"),
            (
                !is_rate(f64::from(trunk.rate)) || !is_rate(tuned.rate) || !is_rate(tuned.head_rate),
                "a learning rate is more than 0 and at most 1",
            ),
            (!is_weight(f64::from(trunk.decay)) || !is_weight(tuned.decay), "decay is at least 0"),
            (!is_weight(f64::from(fit.settle)), "fit.settle is at least 0"),
            (trunk.batch == 0 || tuned.batch == 0, "a batch has at least 1 prompt"),
            (trunk.members == 0 || trunk.latent == 0, "there is at least 1 trunk, with at least 1 demand"),
            (fit.projected == 0, "fit.projected is at least 1"),
            (fit.neighbours == 0, "fit.neighbours is at least 1"),
            (fit.context > MOST_CONTEXT, "fit.context is at most 32"),
            (trunk.epochs == 0 || tuned.epochs == 0, "there is at least 1 pass (epochs)"),
            (tuned.tokens < 2, "finetune.tokens is at least 2"),
            (
                tuned.rank == 0 || tuned.hidden == 0 || tuned.latent == 0,
                "finetune.rank, hidden and latent are at least 1",
            ),
            (
                layers.is_empty() || !layers.is_sorted_by(|one, next| one < next),
                "pooling.layers names one layer or more, ascending",
            ),
            (!self.pooling.mean && !self.pooling.last, "pooling takes the mean, the last token, or both"),
            (!stand_ins.all(|one| is_weight(f64::from(one.weight))), "a weight of [likeness] is at least 0"),
        ];
        wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what)
    }

    /// The part of a data set that the recipe uses, with a part of train as val where it has none.
    pub(super) fn narrowed(&self, mut dataset: Dataset) -> Result<Dataset, JobError> {
        if let Some(what) = self.impossible() {
            return Err(JobError::Recipe(what));
        }
        if let Some(missing) = self.sources.iter().find(|source| !dataset.sources.contains(source)) {
            return Err(JobError::Source(missing.clone(), dataset.sources.join(", ")));
        }
        if !self.sources.is_empty() {
            dataset = dataset.only(&self.sources);
        }
        if let Some(leak) = dataset.leak.take() {
            return Err(leak.into());
        }
        let families = dataset.families();
        if let Some(missing) = self.without.iter().find(|family| !families.contains(family.as_str())) {
            let there = families.iter().copied().collect::<Vec<_>>().join(", ");
            return Err(JobError::Family(missing.clone(), there));
        }
        dataset.leave_out(&self.without);
        if !self.without.is_empty() {
            let named = self.without.join(", ");
            dataset.notes.push(format!("Left out of train and val, and alone in test: {named}."));
        }
        // One prompt that stands there often is no more to learn from.
        let wordings: HashSet<&str> = dataset.of(Split::Train).map(|record| record.prompt.trim()).collect();
        match wordings.len() {
            0 => return Err(FitError::Empty(Split::Train).into()),
            few @ 1..FEWEST => return Err(JobError::TooFew(few)),
            _ => {}
        }
        let cut = dataset.cut_val();
        if cut > 0 {
            dataset
                .notes
                .push(format!("The data has no val: {cut} prompts of train, about a tenth, were taken for it."));
        }
        if !dataset.has(Split::Val) {
            return Err(JobError::OneQuestion);
        }
        Ok(dataset)
    }

    /// Checks the recipe's numbers, and that an encoder of `layers` layers has those that it reads.
    ///
    /// # Errors
    ///
    /// A number is out of range, or the encoder has fewer layers.
    pub fn check(&self, layers: usize) -> Result<(), JobError> {
        if let Some(what) = self.impossible() {
            return Err(JobError::Recipe(what));
        }
        if self.pooling.layers.iter().any(|layer| *layer > layers) {
            return Err(JobError::Layers(self.pooling.layers.clone(), layers));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::head::Evidence;
    use crate::train::dataset::Record;

    fn recipe() -> HeadRecipe {
        let mut recipe = HeadRecipe { pooling: Pooling::mean_of(2), ..HeadRecipe::default() };
        recipe.likeness.0.insert("poet-*".into(), vec![Evidence { arm: "made/poems".into(), weight: 1.0 }]);
        recipe
    }

    /// Prompts for train and one for test, of the tasks `a/x` and `b`.
    fn data(prompts: usize) -> Dataset {
        let record = |at: usize| Record {
            id: format!("{at}").into(),
            source: 0,
            task: (at % 2) as u32,
            split: if at < 40 { Split::Train } else { Split::Test },
            prompt: format!("prompt {}", at % prompts).into(),
            group: at as u64,
            origin: None,
            outcomes: [].into(),
            weight: 1.0,
        };
        let tasks = vec!["a/x".into(), "b".into()];
        Dataset { sources: vec!["s".into()], tasks, records: (0..41).map(record).collect(), ..Dataset::default() }
    }

    #[test]
    fn one_prompt_many_times_is_too_little() {
        let error = recipe().narrowed(data(2)).unwrap_err();
        assert!(matches!(error, JobError::TooFew(2)), "{error}");
        assert!(error.to_string().starts_with("train has 2 different prompts"), "{error}");
        assert!(recipe().narrowed(data(20)).is_ok());
    }

    #[test]
    fn families_left_out_are_noted() {
        let recipe = HeadRecipe { without: vec!["a".into()], ..recipe() };
        let dataset = recipe.narrowed(data(40)).unwrap();
        assert_eq!((dataset.of(Split::Test).count(), dataset.of(Split::Train).any(|it| it.task == 0)), (1, false));
        assert!(dataset.notes.iter().any(|it| it == "Left out of train and val, and alone in test: a."));
    }

    #[test]
    fn numbers_that_nothing_can_be_fitted_by_are_told_before_anything_is_read() {
        let impossible = |change: fn(&mut HeadRecipe)| {
            let mut recipe = recipe();
            change(&mut recipe);
            recipe.impossible()
        };
        assert_eq!(impossible(|_| {}), None);
        assert_eq!(HeadRecipe::default().impossible(), None);
        assert!(impossible(|recipe| recipe.fit.trunk.dropout = 1.0).unwrap().contains("dropout"));
        assert!(impossible(|recipe| recipe.fit.settle = -1.0).unwrap().contains("settle"));
        assert!(impossible(|recipe| recipe.fit.trunk.rate = f32::NAN).unwrap().contains("rate"));
        assert!(impossible(|recipe| recipe.finetune.batch = 0).unwrap().contains("batch"));
        assert!(impossible(|recipe| recipe.fit.trunk.rate = 1e9).unwrap().contains("rate"));
        assert!(impossible(|recipe| recipe.fit.neighbours = 0).unwrap().contains("neighbours"));
        assert!(impossible(|recipe| recipe.fit.context = 33).unwrap().contains("context"));
        assert!(impossible(|recipe| recipe.fit.trunk.epochs = 0).unwrap().contains("epochs"));
        assert!(impossible(|recipe| recipe.finetune.tokens = 0).unwrap().contains("tokens"));
        assert!(impossible(|recipe| recipe.finetune.rank = 0).unwrap().contains("rank"));
        assert!(impossible(|recipe| recipe.pooling.layers.clear()).unwrap().contains("layers"));
        assert!(impossible(|recipe| recipe.pooling.layers = vec![3, 1]).unwrap().contains("ascending"));
        assert!(impossible(|recipe| recipe.pooling.mean = false).unwrap().contains("mean"));
        let endless: fn(&mut HeadRecipe) = |recipe| {
            recipe.likeness.0.values_mut().flatten().for_each(|evidence| evidence.weight = f32::INFINITY);
        };
        assert!(impossible(endless).unwrap().contains("[likeness]"));
        assert!(matches!(recipe().check(1), Err(JobError::Layers(layers, 1)) if layers == [2]));
        assert!(recipe().check(2).is_ok());
    }
}
