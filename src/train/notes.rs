//! Notes in a report that keep its figures from being taken for more than they are.

use std::collections::{BTreeMap, BTreeSet};

use super::dataset::{Dataset, Outcome, Record, Split};
use super::evaluate::{Judged, baselines};
use super::known::Known;
use crate::classifier::head::Description;

/// A note on stand-ins in `[likeness]` that the data does not have: they may be misspelt.
pub(super) fn stand_ins_not_measured(description: &Description) -> Option<String> {
    let named = description.likeness.0.values().flatten().map(|evidence| evidence.arm.as_str());
    let absent: BTreeSet<&str> = named.filter(|arm| description.arm(arm).is_none()).collect();
    let names: Vec<&str> = absent.iter().take(3).copied().collect();
    let more = if absent.len() > names.len() { ", ..." } else { "" };
    (!absent.is_empty()).then(|| {
        format!(
            "{} stand-ins of the recipe's [likeness] are no models of this data and have no effect: {}{more}.",
            absent.len(),
            names.join(", ")
        )
    })
}

/// A note on a split whose figures flatter what was fitted.
pub(super) fn of_split(dataset: &Dataset, split: Split) -> Option<String> {
    if split == Split::Train {
        return Some(
            "Baselines are fitted to train, which is judged here: their figures flatter them, and the head's flatter it \
             if it was fitted to this train, too."
                .into(),
        );
    }
    let (seen, all) = (dataset.seen_before(split), dataset.of(split).count());
    let flattered = || {
        format!(
            "{seen} of the {all} prompts of {split} stand word for word in a split before it, too: they flatter what is fitted there."
        )
    };
    (seen > 0).then(flattered)
}

/// Share of prompts from which on a head's memory counts as having them; a few look alike by chance.
const REMEMBERED: f64 = 0.05;

/// A note on `known` of `all` judged prompts that a head has in its memory, where that is more than a few.
pub(super) fn of_memory(known: usize, all: usize) -> Option<String> {
    (known > 0 && known as f64 >= REMEMBERED * all as f64).then(|| {
        format!(
            "{known} of the {all} judged prompts are in the head's own memory, or just like one that is: it was fitted to \
             them, and its figures flatter it."
        )
    })
}

/// A note on the basis of the head's predictions for a source's models, where it was not fitted to all of them.
pub(super) fn of_bases(judged: Judged<'_>, source: u32, abilities: &[Known]) -> Option<String> {
    let arms = baselines::run_models(judged, source);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for arm in &arms {
        let basis = abilities[*arm as usize].basis.as_str();
        *counts
            .entry(if basis.starts_with("prior: like") { "prior: like another model" } else { basis })
            .or_default() += 1;
    }
    if arms.iter().all(|arm| abilities[*arm as usize].is_learned()) {
        return None;
    }
    let bases: Vec<String> = counts.iter().map(|(basis, count)| format!("{basis} ({count})")).collect();
    let strangers = arms.iter().filter(|arm| abilities[**arm as usize].is_unknown());
    let strangers: Vec<&str> = strangers.map(|arm| judged.dataset.arms[*arm as usize].model.as_str()).collect();
    let of_strangers = match strangers.as_slice() {
        [] => String::new(),
        names => format!(
            " It was not fitted to {}{}: for such models it predicts the mean over all that it knows.",
            names.iter().take(3).copied().collect::<Vec<_>>().join(", "),
            if names.len() > 3 { "..." } else { "" }
        ),
    };
    let source = &judged.dataset.sources[source as usize];
    Some(format!(
        "Basis of the head's predictions for the {} models of {source}: {}.{of_strangers}",
        arms.len(),
        bases.join(", ")
    ))
}

/// Notes on what train does not say of a source's models, where it says something of others.
pub(super) fn of_train(judged: Judged<'_>, source: u32) -> Vec<String> {
    if !baselines::is_trained(judged, source) {
        return Vec::new();
    }
    let dataset = judged.dataset;
    let own = judged.rows.iter().map(|row| &dataset.records[*row]).filter(|record| record.source == source);
    let train: Vec<&Record> = dataset.of_source(source, Split::Train).collect();
    let is_priced = |outcome: &&Outcome| outcome.cost_usd.is_some();
    let run: BTreeSet<u32> = arms(train.iter().copied(), |_| true);
    let priced: BTreeSet<u32> = arms(train.iter().copied(), is_priced);
    let all = baselines::run_models(judged, source);
    let (unknown, unpriced) = (&all - &run, &arms(own, is_priced) - &priced);
    let told = |some: &BTreeSet<u32>, what: &str| {
        let names: Vec<&str> = some.iter().take(3).map(|arm| dataset.arms[*arm as usize].model.as_str()).collect();
        let more = if some.len() > names.len() { ", ..." } else { "" };
        (!some.is_empty()).then(|| {
            format!(
                "Of the {} models of {}, {} {what}: {}{more}.",
                all.len(),
                dataset.sources[source as usize],
                some.len(),
                names.join(", ")
            )
        })
    };
    let notes = [
        told(&unknown, "not in train cannot be the best single model"),
        told(&unpriced, "without a cost on train are taken to cost what they do on the judged prompts"),
    ];
    notes.into_iter().flatten().collect()
}

/// The arms of those outcomes.
fn arms<'a>(records: impl Iterator<Item = &'a Record>, of: impl Fn(&&'a Outcome) -> bool) -> BTreeSet<u32> {
    records.flat_map(|record| record.outcomes.iter().filter(&of)).map(|outcome| outcome.arm).collect()
}

/// A note on a source that has only one answer to each prompt.
pub(super) fn of_single_answers(dataset: &Dataset, split: Split, source: u32) -> Option<String> {
    let mut answers = dataset.of_source(source, split).map(|record| record.outcomes.len()).peekable();
    let single = answers.peek().is_some() && answers.all(|count| count == 1) && dataset.arms_of(source).len() > 1;
    single.then(|| {
        format!(
            "Each prompt of {} has the answer of one model only, so there is no choice to measure: AUROC, log-loss and ECE \
             are sound; scores and gaps are those of the models that were asked. `evaluate --policy` judges choices.",
            dataset.sources[source as usize]
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_has_seen_more_than_a_few_of_the_prompts_is_told_of() {
        assert_eq!((of_memory(0, 0), of_memory(0, 9), of_memory(4, 100)), (None, None, None));
        let note = of_memory(5, 100).unwrap();
        assert!(note.starts_with("5 of the 100 judged prompts are in the head's own memory"), "{note}");
    }
}
