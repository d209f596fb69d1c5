//! Rates of signals: how often answers of each model have a signal, compared with all other models.
//!
//! Signals exist for bad answers only; a good answer that nobody rated has none. Taken at face value they would count
//! against the model that is used most, whatever its *rate*. So a signal's reward follows from the model's excess rate:
//! the share of answers by which it has the signal more often than the others, beyond chance ([`Rates::excess`]). The
//! reward moves from the expected quality towards the signal's value by that share ([`Rates::reward`]). Equal rates
//! teach nothing, and neither does a single model. The expected quality is the prior, corrected by the model's mean
//! judgement where people have judged it.

use std::collections::HashMap;

use super::record::{Entry, OutcomeStatus, Signal};
use crate::protocol::ModelName;

/// Standard errors that are subtracted from a difference of rates.
const STANDARD_ERRORS: f64 = 2.0;

/// How many answers could have had a signal, and how many had it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    could: f64,
    had: f64,
}

impl Count {
    /// The rate and its squared standard error; one answer with and one without are added, so that few say little
    /// (Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions and Differences of Proportions",
    /// 2000).
    fn rate(self) -> (f64, f64) {
        let count = self.could + 2.0;
        let rate = (self.had + 1.0) / count;
        (rate, rate * (1.0 - rate) / count)
    }
}

/// Counts of signals by model, and the models' mean judgements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    models: HashMap<ModelName, [Count; SIGNALS.len()]>,
    all: [Count; SIGNALS.len()],
    /// Sum of judgement less prior over a model's judged answers, and their number.
    judged: HashMap<ModelName, (f64, f64)>,
}

/// The signals that may teach something about an answer.
const SIGNALS: [Signal; 5] =
    [Signal::Empty, Signal::FormatViolated, Signal::AskedAgain, Signal::Truncated, Signal::Cancelled];

impl Rates {
    /// Counts an answer of `model`: for each signal it could have had, whether it had it.
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

    /// Counts a judgement of an answer of `model` with this prior.
    pub fn note_judged(&mut self, model: &ModelName, prior: f64, reward: f64) {
        let (above, count) = self.judged.entry(model.clone()).or_default();
        *above += reward - prior;
        *count += 1.0;
    }

    /// The reward, in [0, 1], of an answer of `model` that has this signal, whose nominal value is `value`; `None`
    /// where the model has no excess of the signal.
    pub fn reward(&self, model: &ModelName, signal: Signal, prior: f64, value: f64) -> Option<f64> {
        let excess = self.excess(model, signal);
        let above = self.judged.get(model).map_or(0.0, |(above, count)| above / count);
        let expected = (prior + above).clamp(0.0, 1.0);
        (excess > 0.0).then(|| (expected + excess * (value - expected)).clamp(0.0, 1.0))
    }

    /// The share of answers by which `model` has the signal more often than all other models, beyond chance; 0 if it
    /// does not.
    pub fn excess(&self, model: &ModelName, signal: Signal) -> f64 {
        let at = SIGNALS.iter().position(|it| *it == signal);
        let Some((at, counts)) = at.zip(self.models.get(model)) else { return 0.0 };
        let (own, all) = (counts[at], self.all[at]);
        let others = Count { could: all.could - own.could, had: all.had - own.had };
        let ((rate, error), (usual, usual_error)) = (own.rate(), others.rate());
        (rate - usual - STANDARD_ERRORS * (error + usual_error).sqrt()).max(0.0)
    }
}

/// The signals that an entry's answer could have had, and whether it had them; `again` = whether its question was soon
/// asked again, where that is known.
pub fn chances(entry: &Entry, again: Option<bool>) -> Vec<(Signal, bool)> {
    let Some(outcome) = &entry.outcome else { return Vec::new() };
    let had = |signal| outcome.signals.contains(&signal);
    let request = &entry.decision.request;
    // Of a dry run's call, made by the caller, only the end is known, not the answer.
    let seen = !request.dry_run;
    match outcome.status {
        OutcomeStatus::Failed(_) => Vec::new(),
        OutcomeStatus::Cancelled if had(Signal::Cancelled) => vec![(Signal::Cancelled, true)],
        // The gateway itself cut it off.
        OutcomeStatus::Cancelled => Vec::new(),
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
        rates(models).excess(&model.into(), Signal::Empty)
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
