//! What a head knows of the models of a data set.

use super::dataset::{Arm, Dataset, Split};
use crate::classifier::EstimateSource;
use crate::classifier::head::{Ability, Head};

/// What is said of the basis where the head has learned the model in this very source.
const LEARNED: &str = "learned";

/// What a head knows of one arm of the data.
pub(super) struct Known {
    /// `None` = nothing; [`anyone`] stands in.
    pub ability: Option<Ability>,
    /// Where it comes from, in words.
    pub basis: String,
}

impl Known {
    /// By source and name, else by the name alone, with a vendor before it or without.
    pub fn of(head: &Head, dataset: &Dataset, arm: usize) -> Self {
        let Arm { source, model } = &dataset.arms[arm];
        let own = format!("{}/{model}", dataset.sources[*source as usize]);
        let is_own = |at: usize| head.description().arms[at].source == dataset.sources[*source as usize];
        if head.description().arm(&own).is_some_and(is_own) {
            return Self { ability: head.ability(&own, None, None), basis: LEARNED.into() };
        }
        // What an operator could configure as its score: its mean on train, where the data has it there.
        let scores: Vec<f64> = dataset
            .of_source(*source, Split::Train)
            .filter_map(|record| record.outcome(arm as u32))
            .map(|outcome| f64::from(outcome.score))
            .collect();
        let score = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
        // As it is written, and without a vendor's name before it.
        let plain = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        let ability = match score {
            None => head.ability(model, None, None).or_else(|| head.ability(&plain, None, None)),
            // Measured elsewhere is only a likeness here: the level is this source's.
            score => head
                .ability(&own, Some(model), score)
                .filter(|known| known.source != EstimateSource::Score)
                .or_else(|| head.ability(&plain, Some(&plain), score)),
        };
        let basis = match ability.as_ref().map(|ability| &ability.source) {
            Some(EstimateSource::Learned) => "prior: measured in another source".into(),
            Some(EstimateSource::Like(other)) => format!("prior: like {other}"),
            Some(EstimateSource::Score | EstimateSource::Default) => "prior: its score on train".into(),
            None => "prior: unknown".into(),
        };
        Self { ability, basis }
    }

    /// Whether the head has measured it in this very source.
    pub fn is_learned(&self) -> bool {
        self.basis == LEARNED
    }
}

/// What is said of a model of which nothing is known: the mean of all that the head has measured.
pub(super) fn anyone(head: &Head) -> Ability {
    let arms = head.description().arms.len();
    Ability {
        parts: (0..arms).map(|arm| (arm, 1.0 / arms as f32)).collect(),
        shift: 0.0,
        source: EstimateSource::Default,
    }
}
