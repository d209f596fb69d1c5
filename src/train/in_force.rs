//! A new head beside the one in force: is it worth taking over?
//!
//! Both predict the outcomes of val, on which the new head was calibrated; the one in force may have been, too, or may
//! even have been fitted to these prompts, which nothing here can tell. So the new head is measured twice: as it was
//! written, which flatters it, and with each half of val predicted by the calibration that the other half gives, which
//! is fair against a head that never saw val and hard against one that did. It is called better where it is so in the
//! second way, and worse where it is so even in the first. (It is flattered a little in both: the epochs of its trunk
//! and the opinions that it mixes were chosen on all of val.)
//!
//! Differences are the new head's figure less that of the one in force, with paired bootstrap intervals: both heads see
//! the same drawn prompts. On a handful of prompts the interval says nothing (on one it has no width), so that there is
//! no verdict on fewer than [`FEWEST`]. Nothing is compared where the head in force has not measured every model of the
//! data, as priors would then be compared with measurements; `pointsman evaluate` shows how it does on those.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::dataset::{Dataset, Record};
use super::evaluate::{DRAWS, Router, weighted};
use super::known::Known;
use super::metrics::{Interval, bootstrap, log_loss};
use crate::ope::signed;

/// Unmeasured models that are named; the others are counted.
const MAX_NAMED: usize = 3;

/// Fewest prompts for a verdict, and fewest with two models for a difference of what was routed.
const FEWEST: usize = 30;

/// What came of comparing a new head with the one in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgainstInForce {
    /// The head in force, as the configuration names it.
    pub head: String,
    /// The result as a sentence; where nothing was compared, why not.
    pub summary: String,
    /// The figures; `None` where nothing was compared.
    pub differences: Option<Differences>,
}

/// The new head's figures less those of the head in force, on the same prompts of val.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Differences {
    /// Prompts of val, each of which counts by its weight.
    pub prompts: usize,
    /// Of the new head as it was written.
    pub as_written: Figures,
    /// Of the new head with each half of val predicted by the other half's calibration.
    pub held_out: Figures,
    /// What they say.
    pub verdict: Verdict,
}

/// Two differences, each with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Of the log-loss: below zero, the new head is better.
    pub log_loss: Interval,
    /// Of the mean score of the model with the best prediction: above zero, the new head is better. `None` where
    /// hardly any prompts have outcomes of two models.
    pub routed: Option<Interval>,
}

impl Figures {
    /// Whether an interval is clear of zero on the bad side.
    fn are_worse(&self) -> bool {
        self.log_loss.low > 0.0 || self.routed.is_some_and(|routed| routed.high < 0.0)
    }

    /// Whether an interval is clear of zero on the good side, and none on the bad side.
    fn are_better(&self) -> bool {
        let better = self.log_loss.high < 0.0 || self.routed.is_some_and(|routed| routed.low > 0.0);
        better && !self.are_worse()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written =
            |it: &Interval| format!("{} [{}, {}]", signed(it.value, 4), signed(it.low, 4), signed(it.high, 4));
        write!(f, "log-loss {}", written(&self.log_loss))?;
        self.routed.as_ref().map_or(Ok(()), |it| write!(f, " and score of the routed model {}", written(it)))
    }
}

/// What the intervals say of the new head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is better, even measured in the way that is hard on it.
    Better,
    /// Neither of the others.
    NoClearDifference,
    /// It is worse, even measured in the way that flatters it.
    Worse,
    /// There are too few prompts to tell.
    TooFew,
}

impl Verdict {
    /// For people.
    fn as_str(self) -> &'static str {
        match self {
            Self::Better => "So the new head is better",
            Self::NoClearDifference => "So there is no clear difference",
            Self::Worse => "So the new head is worse and not worth taking over",
            Self::TooFew => "These are too few prompts to tell whether the new head is better",
        }
    }
}

impl AgainstInForce {
    /// Nothing was compared, because of `why`.
    pub(super) fn not_compared(head: &str, why: &str) -> Self {
        let summary = format!("Not compared with the head in force ({head}): {why}.");
        Self { head: head.to_owned(), summary, differences: None }
    }

    /// The comparison of `new` with `old` on `rows`, for each of which every router has a row of predictions.
    pub(super) fn compared(
        head: &str,
        dataset: &Dataset,
        rows: &[usize],
        new: &Measured,
        old: &Router,
        seed: u64,
    ) -> Self {
        let [as_written, held_out] =
            [&new.as_written, &new.held_out].map(|new| figures(dataset, rows, [new, old], seed));
        let verdict = match (as_written.are_worse(), held_out.are_better()) {
            _ if rows.len() < FEWEST => Verdict::TooFew,
            (true, _) => Verdict::Worse,
            (false, true) => Verdict::Better,
            (false, false) => Verdict::NoClearDifference,
        };
        let summary = format!(
            "Against the head in force ({head}), on {} prompts of val: {as_written}; predicting each half of val with \
             the calibration of the other: {held_out}. {}.",
            rows.len(),
            verdict.as_str()
        );
        let differences = Differences { prompts: rows.len(), as_written, held_out, verdict };
        Self { head: head.to_owned(), summary, differences: Some(differences) }
    }
}

/// A new head's predictions on val, measured in two ways.
pub(super) struct Measured {
    pub as_written: Router,
    pub held_out: Router,
}

fn figures(dataset: &Dataset, rows: &[usize], routers: [&Router; 2], seed: u64) -> Figures {
    let records: Vec<&Record> = rows.iter().map(|row| &dataset.records[*row]).collect();
    let difference = |of: &dyn Fn(&Record, &[f32]) -> f64| {
        let [new, old] = routers.map(|router| records.iter().zip(&router.quality).map(|(it, row)| of(it, row)));
        let by_prompt: Vec<f64> = new.zip(old).map(|(new, old)| new - old).collect();
        let weight = |at: usize| f64::from(records[at].weight);
        bootstrap(rows.len(), DRAWS, seed, |counts| {
            // A prompt without a difference counts in neither mean.
            weighted(counts, |at| by_prompt[at] * weight(at))
                / weighted(counts, |at| if by_prompt[at].is_finite() { weight(at) } else { f64::NAN })
        })
    };
    let choices = records.iter().filter(|record| record.outcomes.len() > 1).count();
    let routed = (choices >= FEWEST).then(|| difference(&routed_score));
    Figures { log_loss: difference(&prompt_loss), routed }
}

/// Mean log-loss over a prompt's outcomes.
fn prompt_loss(record: &Record, quality: &[f32]) -> f64 {
    let cases: Vec<(f32, f32)> = quality.iter().copied().zip(record.outcomes.iter().map(|it| it.score)).collect();
    log_loss(&cases)
}

/// Score of the model with the best prediction, the mean where several have it; NaN where there is nothing to choose.
fn routed_score(record: &Record, quality: &[f32]) -> f64 {
    if record.outcomes.len() < 2 {
        return f64::NAN;
    }
    let highest = quality.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let best = record.outcomes.iter().zip(quality).filter(|(_, quality)| **quality >= highest);
    let (sum, count) = best.fold((0.0, 0.0), |(sum, count), (it, _)| (sum + f64::from(it.score), count + 1.0));
    sum / count
}

/// Why the head in force cannot be compared fairly on `rows`, if so: it has not measured some of their models, or may
/// have been fitted to these very prompts.
pub(super) fn unfair(dataset: &Dataset, rows: &[usize], abilities: &[Known]) -> Option<String> {
    let run = rows.iter().flat_map(|row| dataset.records[*row].outcomes.iter().map(|it| it.arm as usize));
    let run: BTreeSet<usize> = run.collect();
    let missing: Vec<&str> =
        run.iter().filter(|arm| !abilities[**arm].is_learned()).map(|arm| &*dataset.arms[*arm].model).collect();
    let more = match missing.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = missing.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    if !missing.is_empty() {
        let count = missing.len();
        return Some(format!("it was not fitted to {count} of the data's {} models: {named}{more}", run.len()));
    }
    dataset.val_was_train.then(|| "val was taken out of train, to which it may have been fitted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::{Outcome, Split};

    /// Forty prompts with two models; of every fifth, only the first was asked.
    fn data() -> Dataset {
        let outcome = |arm: u32, score: f32| Outcome { arm, score, ..Outcome::default() };
        let record = |at: usize| {
            let first = (at % 2) as f32;
            let outcomes = [outcome(0, first), outcome(1, 1.0 - first)];
            Record {
                id: format!("{at}").into(),
                source: 0,
                task: 0,
                split: Split::Val,
                prompt: "?".into(),
                group: at as u64,
                origin: None,
                outcomes: outcomes[..if at.is_multiple_of(5) { 1 } else { 2 }].into(),
                weight: 1.0,
            }
        };
        Dataset { records: (0..40).map(record).collect(), ..Dataset::default() }
    }

    /// Says this much more of the right model than of the wrong one.
    fn router(dataset: &Dataset, lead: f32) -> Router {
        let row = |record: &Record| record.outcomes.iter().map(|it| 0.5 + lead * (it.score - 0.5)).collect();
        Router { name: "r".into(), quality: dataset.records.iter().map(row).collect(), calibrated: true }
    }

    fn against(rows: &[usize], new: [&Router; 2], old: &Router) -> AgainstInForce {
        let new = Measured { as_written: new[0].clone(), held_out: new[1].clone() };
        AgainstInForce::compared("h", &data(), rows, &new, old, 1)
    }

    #[test]
    fn a_head_is_better_worse_or_alike() {
        let rows: Vec<usize> = (0..40).collect();
        let [right, surer, wrong] = [0.5, 0.6, -0.5].map(|lead| router(&data(), lead));
        let verdict = |new, old| against(&rows, new, old).differences.unwrap().verdict;
        let found = against(&rows, [&right; 2], &wrong).differences.unwrap();
        let figures = found.held_out;
        assert_eq!((found.prompts, found.verdict, figures.routed.unwrap().value), (40, Verdict::Better, 1.0));
        assert!((figures.log_loss.value - (0.25f64 / 0.75).ln()).abs() < 1e-6, "{found:?}");
        assert_eq!(verdict([&surer; 2], &right), Verdict::Better, "by log-loss alone");
        assert_eq!(verdict([&right; 2], &right), Verdict::NoClearDifference);
        assert_eq!(
            verdict([&surer, &right], &right),
            Verdict::NoClearDifference,
            "better on what it was calibrated on"
        );
        assert_eq!(
            verdict([&surer, &right], &surer),
            Verdict::NoClearDifference,
            "the other was calibrated on it, too"
        );
        let worse = against(&rows, [&wrong; 2], &right);
        assert!(worse.summary.ends_with("So the new head is worse and not worth taking over."), "{}", worse.summary);
    }

    #[test]
    fn a_handful_of_prompts_gives_no_verdict() {
        let rows: Vec<usize> = (0..29).collect();
        let [right, wrong] = [0.5, -0.5].map(|lead| router(&data(), lead));
        let found = against(&rows, [&right; 2], &wrong);
        let differences = found.differences.unwrap();
        assert_eq!((differences.verdict, differences.held_out.routed), (Verdict::TooFew, None));
        assert!(
            found.summary.ends_with("too few prompts to tell whether the new head is better."),
            "{}",
            found.summary
        );
        let rows: Vec<usize> = (0..30).collect();
        let differences = against(&rows, [&right; 2], &wrong).differences.unwrap();
        assert_eq!((differences.verdict, differences.held_out.routed), (Verdict::Better, None), "by log-loss alone");
    }

    #[test]
    fn prompts_that_it_may_have_been_fitted_to_are_no_comparison() {
        let mut data = data();
        assert_eq!(unfair(&data, &[], &[]), None);
        data.rehearse();
        assert!(unfair(&data, &[], &[]).unwrap().starts_with("val was taken out of train"));
        let mut alone = Dataset { records: data.records.clone(), ..Dataset::default() };
        for (at, record) in alone.records.iter_mut().enumerate() {
            (record.split, record.prompt) = (Split::Train, format!("{at}?").into());
        }
        alone.cut_val();
        assert!(unfair(&alone, &[], &[]).is_some());
    }

    #[test]
    fn single_answers_have_a_loss_and_no_choice() {
        let rows: Vec<usize> = (0..40).step_by(5).collect();
        let one = router(&data(), 0.5);
        let single = Router { quality: rows.iter().map(|row| one.quality[*row].clone()).collect(), ..one };
        let found = against(&rows, [&single; 2], &single);
        assert_eq!(found.differences.unwrap().as_written.routed, None);
        assert!(!found.summary.contains("routed"), "{}", found.summary);
    }
}
