//! How often answers of each model had a signal, against those of all others.
//!
//! Signals speak of bad answers only: of a good one that nobody rated nothing is heard. Taken at their word they would
//! talk down whoever is used most, whatever the *rate*. So a signal says by how much a model has it more often than the
//! others do, beyond what chance explains ([`Rates::beyond`]): its lesson is that the answers of this model are worse than
//! was believed by that share of the way to the signal's value ([`Rates::bent`]). Equal rates say nothing, and neither does
//! one model alone. Where people have spoken of a model, it is what they said that a signal bends.

use std::collections::HashMap;

use super::record::{Entry, OutcomeStatus, Signal};
use crate::protocol::ModelName;

/// Standard errors that a difference of rates must exceed; what is beyond them counts.
const SURE: f64 = 2.0;

/// How many answers could have had a signal, and how many had it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    could: f64,
    had: f64,
}

impl Count {
    /// The rate and its squared standard error; one answer with and one without are added, so that few say little (Agresti
    /// and Caffo, "Simple and Effective Confidence Intervals for Proportions and Differences of Proportions", 2000).
    fn rate(self) -> (f64, f64) {
        let count = self.could + 2.0;
        let rate = (self.had + 1.0) / count;
        (rate, rate * (1.0 - rate) / count)
    }
}

/// Counts of signals by model, and what was judged beside them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    models: HashMap<ModelName, [Count; SIGNALS.len()]>,
    all: [Count; SIGNALS.len()],
    /// Sum of what judgements put a model above its prior, and their number.
    judged: HashMap<ModelName, (f64, f64)>,
}

/// The signals that may say something of an answer.
const SIGNALS: [Signal; 5] =
    [Signal::Empty, Signal::FormatViolated, Signal::AskedAgain, Signal::Truncated, Signal::Cancelled];

impl Rates {
    /// Takes in an answer of `model` that had some of the signals it could have had.
    pub fn note(&mut self, model: &ModelName, chances: impl IntoIterator<Item = (Signal, bool)>) {
        if !self.models.contains_key(model) {
            self.models.insert(model.clone(), Default::default());
        }
        let Some(counts) = self.models.get_mut(model) else { return };
        for (signal, had) in chances {
            let Some(at) = SIGNALS.iter().position(|it| *it == signal) else { continue };
            for count in [&mut counts[at], &mut self.all[at]] {
                count.could += 1.0;
                count.had += f64::from(had);
            }
        }
    }

    /// Takes in a judgement of an answer of `model`, of which `prior` was believed.
    pub fn note_judged(&mut self, model: &ModelName, prior: f64, reward: f64) {
        let (above, count) = self.judged.entry(model.clone()).or_default();
        *above += reward - prior;
        *count += 1.0;
    }

    /// What an answer of `model` is worth, in [0, 1], that has this signal, of `value` if it were taken at its word; `None`
    /// where it says nothing.
    pub fn bent(&self, model: &ModelName, signal: Signal, prior: f64, value: f64) -> Option<f64> {
        let beyond = self.beyond(model, signal);
        let above = self.judged.get(model).map_or(0.0, |(above, count)| above / count);
        let believed = (prior + above).clamp(0.0, 1.0);
        (beyond > 0.0).then(|| (believed + beyond * (value - believed)).clamp(0.0, 1.0))
    }

    /// The share of answers by which `model` had the signal more often than all other models, beyond chance; 0 where that is
    /// none.
    pub fn beyond(&self, model: &ModelName, signal: Signal) -> f64 {
        let at = SIGNALS.iter().position(|it| *it == signal);
        let Some((at, counts)) = at.zip(self.models.get(model)) else { return 0.0 };
        let (own, all) = (counts[at], self.all[at]);
        let others = Count { could: all.could - own.could, had: all.had - own.had };
        let ((rate, error), (usual, usual_error)) = (own.rate(), others.rate());
        (rate - usual - SURE * (error + usual_error).sqrt()).max(0.0)
    }
}

/// The signals that an entry's answer could have had, and whether it had them; `again` = whether its question was soon
/// put again, where that can be told.
pub fn chances(entry: &Entry, again: Option<bool>) -> Vec<(Signal, bool)> {
    let Some(outcome) = &entry.outcome else { return Vec::new() };
    let had = |signal| outcome.signals.contains(&signal);
    let request = &entry.decision.request;
    // Of a call that somebody else made it is known how it ended, and not what was said.
    let seen = !request.dry_run;
    match outcome.status {
        OutcomeStatus::Failed(_) => Vec::new(),
        OutcomeStatus::Cancelled => vec![(Signal::Cancelled, true)],
        OutcomeStatus::Ok => {
            let whole = seen && !had(Signal::Empty) && !had(Signal::Truncated);
            let could = [
                (Signal::Cancelled, true),
                (Signal::Truncated, true),
                (Signal::Empty, seen),
                (Signal::FormatViolated, whole && request.needs.structured_output),
            ];
            let known = could.into_iter().filter(|(_, could)| *could).map(|(signal, _)| (signal, had(signal)));
            known.chain(again.map(|again| (Signal::AskedAgain, again))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(answers, with the signal)` of some models.
    fn rates(models: &[(&str, u32, u32)]) -> Rates {
        let mut rates = Rates::default();
        for (model, answers, with) in models {
            let model = ModelName::from(*model);
            (0..*answers).for_each(|number| rates.note(&model, [(Signal::Empty, number < *with)]));
        }
        rates
    }

    fn beyond(models: &[(&str, u32, u32)], model: &str) -> f64 {
        rates(models).beyond(&model.into(), Signal::Empty)
    }

    #[test]
    fn equal_rates_say_nothing_however_traffic_is_spread() {
        for (much, little) in [(900, 100), (90, 10), (20_000, 40)] {
            let models = [("a", much, much / 10), ("b", little, little / 10)];
            assert_eq!((beyond(&models, "a"), beyond(&models, "b")), (0.0, 0.0), "{much} and {little}");
        }
        assert_eq!(beyond(&[("a", 1000, 300)], "a"), 0.0, "there is nothing to compare it with");
        assert_eq!(beyond(&[("a", 1, 1), ("b", 100, 2)], "c"), 0.0, "never seen");
    }

    #[test]
    fn the_worse_one_is_told_by_about_as_much_as_it_is_worse() {
        let models = [("a", 1000, 300), ("b", 4000, 200)];
        let share = beyond(&models, "a");
        assert!((0.2..0.25).contains(&share), "{share}");
        assert_eq!(beyond(&models, "b"), 0.0);
        let broken = beyond(&[("a", 20, 20), ("b", 500, 5)], "a");
        assert!(broken > 0.75, "{broken}");
        let once = beyond(&[("a", 1, 1), ("b", 500, 5)], "a");
        assert!(once < 0.15, "one answer is no rate: {once}");
    }
}
