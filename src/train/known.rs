//! What a head predicts the models of a data set from.

use std::collections::HashSet;

use super::dataset::{Arm, Dataset, Split};
use crate::classifier::EstimateSource;
use crate::classifier::head::{Ability, Contender, Head};

/// The basis of an arm that the head was fitted to in this very source.
const LEARNED: &str = "learned";

/// A head's ability for one arm of the data.
pub(super) struct Known {
    /// Where the head has none for it, the mean of all models that the head was fitted to.
    pub ability: Ability,
    /// What the ability rests on, in words.
    pub basis: String,
}

impl Known {
    /// Every arm of the data, in order.
    pub fn of_all(head: &Head, dataset: &Dataset) -> Vec<Self> {
        let mut known: Vec<(u32, Self)> = Vec::new();
        for source in 0..dataset.sources.len() as u32 {
            let arms = dataset.arms_of(source);
            let of_source = Self::of_source(head, dataset, source);
            known.extend(arms.into_iter().zip(of_source));
        }
        known.sort_by_key(|(arm, _)| *arm);
        known.into_iter().map(|(_, known)| known).collect()
    }

    /// The arms of a source, in order. Those with an outcome are chosen among; the others were left out by their name.
    pub fn of_source(head: &Head, dataset: &Dataset, source: u32) -> Vec<Self> {
        let arms = dataset.arms_of(source);
        let scored = arms.iter().map(|arm| Self::of(head, dataset, *arm as usize));
        let (mut known, scores): (Vec<Self>, Vec<Option<f64>>) = scored.unzip();
        let records = dataset.records.iter().filter(|record| record.source == source);
        let run: HashSet<u32> =
            records.flat_map(|record| record.outcomes.iter().map(|outcome| outcome.arm)).collect();
        let all = arms.iter().zip(known.iter_mut().zip(scores));
        let contenders = all.filter(|(arm, _)| run.contains(*arm)).map(|(_, (known, score))| {
            let borrows = !known.is_learned();
            Contender { ability: &mut known.ability, borrows, score }
        });
        head.on_common_ground(&mut contenders.collect::<Vec<_>>());
        known
    }

    /// Looks the arm up by source and name, else by the name alone, with or without the vendor before it. Also tells
    /// its score on train.
    fn of(head: &Head, dataset: &Dataset, arm: usize) -> (Self, Option<f64>) {
        let Arm { source, model } = &dataset.arms[arm];
        let own = format!("{}/{model}", dataset.sources[*source as usize]);
        let is_own = |at: usize| head.description().arms[at].source == dataset.sources[*source as usize];
        let learned =
            head.description().arm(&own).filter(|at| is_own(*at)).and_then(|_| head.ability(&own, None, None));
        if let Some(ability) = learned {
            return (Self { ability, basis: LEARNED.into() }, None);
        }
        // The mean on train, where the data has one: an operator could configure it as the model's score.
        let scores: Vec<f64> = dataset
            .of_source(*source, Split::Train)
            .filter_map(|record| record.outcome(arm as u32))
            .map(|outcome| f64::from(outcome.score))
            .collect();
        let score = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
        // Both the name as it is written, and without the vendor before it.
        let plain = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        let ability = match score {
            None => head.ability(model, None, None).or_else(|| head.ability(&plain, None, None)),
            // A measurement in another source counts as a likeness, with the level of this source.
            score => head
                .ability(&own, Some(model), score)
                .filter(|known| known.source != EstimateSource::Score)
                .or_else(|| head.ability(&plain, Some(&plain), score)),
        };
        let ability = ability.unwrap_or_else(|| head.average());
        let basis = match &ability.source {
            EstimateSource::Learned => "prior: measured in another source".into(),
            EstimateSource::Like(other) => format!("prior: like {other}"),
            EstimateSource::Score => "prior: its score on train".into(),
            EstimateSource::Default => "prior: unknown".into(),
        };
        (Self { ability, basis }, score)
    }

    /// Whether nothing is known of it but its score on train.
    pub fn is_by_score(&self) -> bool {
        self.ability.source == EstimateSource::Score
    }

    /// Whether the head knows nothing of it.
    pub fn is_unknown(&self) -> bool {
        self.ability.source == EstimateSource::Default
    }

    /// Whether the head has measured it in this very source.
    pub fn is_learned(&self) -> bool {
        self.basis == LEARNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::stats::TextStats;
    use crate::train::dataset::{Outcome, Record};

    /// One prompt of a source that the head has not seen, with outcomes of the models that were `run`.
    fn dataset(models: &[&str], run: &[u32]) -> Dataset {
        let outcome = |arm: &u32| Outcome {
            arm: *arm,
            score: 0.5,
            cost_usd: None,
            input_tokens: None,
            output_tokens: None,
            latency_ms: None,
        };
        let record = Record {
            id: "1".into(),
            source: 0,
            task: 0,
            split: Split::Test,
            prompt: "What?".into(),
            group: 0,
            origin: None,
            outcomes: run.iter().map(outcome).collect(),
            weight: 1.0,
        };
        Dataset {
            sources: vec!["unseen".into()],
            arms: models.iter().map(|model| Arm { source: 0, model: (*model).into() }).collect(),
            records: vec![record],
            ..Dataset::default()
        }
    }

    #[test]
    fn a_model_that_was_left_out_does_not_move_the_others() {
        let head = crate::classifier::head::tests::of_two_sources();
        let of_first =
            |models: &[&str], run: &[u32]| Known::of_all(&head, &dataset(models, run)).swap_remove(0).ability;
        let alone = of_first(&["new-1", "stranger"], &[0, 1]);
        assert_eq!(of_first(&["new-1", "stranger", "third"], &[0, 1]), alone);
        assert_ne!(of_first(&["new-1", "stranger", "third"], &[0, 1, 2]), alone);
    }

    #[test]
    fn a_model_that_the_head_does_not_know_stands_on_common_ground_with_the_others() {
        let head = crate::classifier::head::tests::of_two_sources();
        let known = Known::of_all(&head, &dataset(&["new-1", "stranger"], &[0, 1]));
        assert_eq!((known[1].basis.as_str(), known[1].is_unknown()), ("prior: unknown", true));
        assert!(known[0].basis.starts_with("prior: like") && !known[1].ability.lift.is_empty());
        let reading = head.read(&[1.0, 0.1], &TextStats::of("What?"));
        // Nothing is known of the stranger, so the ground is all that it has.
        let arms = &reading.log_odds;
        let ahead = known[0].ability.log_odds(arms) - known[1].ability.log_odds(arms);
        let of_its_source = arms[0] - (arms[0] + arms[1]) / 2.0;
        assert!((ahead - of_its_source).abs() < 1e-5, "{ahead}, and not {of_its_source}");
    }
}
