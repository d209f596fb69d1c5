//! The sums of one stretch of time. Contributions can be subtracted again: when an entry changes, its old contribution
//! is subtracted and the new one added.

use std::collections::BTreeMap;

use super::fact::{Fact, Names};
use super::hist::Histogram;
use super::ratio::{Ratio, Ratios};
use super::{Bucket, SingleModel, Summary, Sums};
use crate::store::record::OutcomeStatus;

/// Sums and latencies under construction.
#[derive(Debug, Clone, Default)]
struct Draft {
    sums: Sums,
    latencies: Histogram,
    first_tokens: Histogram,
}

/// Sums over the requests that one model could have served.
#[derive(Debug, Clone, Copy, Default)]
struct Single {
    count: u64,
    cost: f64,
    cost_squared: f64,
    /// Requests with a predicted quality, and the sum of the predictions.
    predicted: u64,
    quality: f64,
    /// Real and predicted costs of the requests that it did serve.
    ratio: Ratio,
}

/// The sums of one stretch of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    total: Draft,
    models: BTreeMap<u32, Draft>,
    tasks: BTreeMap<u32, u64>,
    single: BTreeMap<u32, Single>,
    /// Requests with a known cost, however their model was chosen.
    priced: u64,
}

/// Adds or subtracts one.
fn step(count: &mut u64, more: bool) {
    *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
}

impl Draft {
    fn note(&mut self, fact: &Fact, more: bool) {
        let sign = if more { 1.0 } else { -1.0 };
        let sums = &mut self.sums;
        let mut mark = |yes: bool, count: fn(&mut Sums) -> &mut u64| {
            if yes {
                step(count(sums), more);
            }
        };
        mark(!fact.dry_run, |sums| &mut sums.requests);
        mark(fact.dry_run, |sums| &mut sums.dry_runs);
        mark(fact.dry_run && fact.end.is_some(), |sums| &mut sums.reported);
        mark(fact.explored && (!fact.dry_run || fact.end.is_some()), |sums| &mut sums.explored);
        mark(fact.verdict.is_some(), |sums| &mut sums.rated);
        if let Some(end) = &fact.end {
            mark(matches!(end.status, OutcomeStatus::Failed(_)), |sums| &mut sums.errors);
            mark(end.status == OutcomeStatus::Cancelled, |sums| &mut sums.cancelled);
            mark(end.failed_over, |sums| &mut sums.failovers);
        }
        sums.verdicts += sign * fact.verdict.unwrap_or(0.0);
        let Some(end) = &fact.end else { return };
        sums.cost_usd += sign * end.cost_usd.unwrap_or(0.0);
        for (sum, tokens) in
            [(&mut sums.input_tokens, end.input_tokens), (&mut sums.output_tokens, end.output_tokens)]
        {
            *sum = if more { sum.saturating_add(tokens) } else { sum.saturating_sub(tokens) };
        }
        if end.status == OutcomeStatus::Ok {
            if let Some(ms) = end.latency_ms {
                self.latencies.note(ms, more);
            }
            if let Some(ms) = end.first_token_ms {
                self.first_tokens.note(ms, more);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        let (sums, more) = (&mut self.sums, &other.sums);
        sums.requests += more.requests;
        sums.dry_runs += more.dry_runs;
        sums.reported += more.reported;
        sums.errors += more.errors;
        sums.cancelled += more.cancelled;
        sums.failovers += more.failovers;
        sums.explored += more.explored;
        sums.input_tokens += more.input_tokens;
        sums.output_tokens += more.output_tokens;
        sums.cost_usd += more.cost_usd;
        sums.rated += more.rated;
        sums.verdicts += more.verdicts;
        self.latencies.merge(&other.latencies);
        self.first_tokens.merge(&other.first_tokens);
    }

    /// Whether everything that was added was subtracted again.
    fn is_empty(&self) -> bool {
        self.sums.requests + self.sums.dry_runs == 0
    }

    fn finish(&self) -> Bucket {
        Bucket {
            p50_ms: self.latencies.quantile(0.50),
            p95_ms: self.latencies.quantile(0.95),
            p99_ms: self.latencies.quantile(0.99),
            first_token_p50_ms: self.first_tokens.quantile(0.50),
            first_token_p95_ms: self.first_tokens.quantile(0.95),
            sums: self.sums.clone(),
        }
    }
}

impl Cell {
    /// Adds an entry's contribution, or subtracts it (`more` = false).
    pub(super) fn note(&mut self, fact: &Fact, more: bool) {
        self.total.note(fact, more);
        self.models.entry(fact.model).or_default().note(fact, more);
        if let Some(task) = fact.task {
            step(self.tasks.entry(task).or_default(), more);
        }
        let Some(end) = &fact.end else { return };
        let Some(spent) = end.cost_usd else { return };
        let sign = if more { 1.0 } else { -1.0 };
        step(&mut self.priced, more);
        // A request that named its model has no predictions for others.
        if fact.options.len() < 2 && !fact.options.iter().any(|option| option.predicted) {
            return;
        }
        for option in &fact.options {
            let single = self.single.entry(option.model).or_default();
            step(&mut single.count, more);
            single.cost += sign * option.alone_usd;
            single.cost_squared += sign * option.alone_usd * option.alone_usd;
            if option.predicted {
                step(&mut single.predicted, more);
                single.quality += sign * f64::from(option.quality);
            }
            // After a failover the cost may hold that of another model's call, which gave no answer.
            if option.model == fact.model && !end.failed_over {
                single.ratio.note(option.cost_usd, spent, sign);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        for (model, tally) in &other.models {
            self.models.entry(*model).or_default().merge(tally);
        }
        for (task, count) in &other.tasks {
            *self.tasks.entry(*task).or_default() += count;
        }
        for (model, more) in &other.single {
            let single = self.single.entry(*model).or_default();
            single.count += more.count;
            single.cost += more.cost;
            single.cost_squared += more.cost_squared;
            single.predicted += more.predicted;
            single.quality += more.quality;
            single.ratio.merge(&more.ratio);
        }
        self.priced += other.priced;
    }

    fn singles(&self, names: &Names) -> BTreeMap<String, SingleModel> {
        let served = self.single.values().map(|single| single.count).max().unwrap_or(0);
        let ratios = Ratios::new(self.single.iter().map(|(model, single)| (*model, &single.ratio)));
        let of = |model: u32, single: &Single| {
            // Requests that it could not have served are assumed to be like the others.
            let all = self.priced as f64 / single.count as f64;
            let (cost_usd, cost_error_usd) = ratios.cost(model, single.cost * all, single.cost_squared * all);
            let quality = (single.predicted > 0).then(|| single.quality / single.predicted as f64);
            SingleModel { cost_usd, cost_error_usd, quality }
        };
        self.single
            .iter()
            .filter(|(_, single)| single.count > 0 && single.count * 10 >= served * 9)
            .map(|(model, single)| (names.name(*model).to_owned(), of(*model, single)))
            .collect()
    }
}

/// The summary of some cells in a row.
pub(super) fn sum_up<'a>(cells: impl Iterator<Item = (&'a i64, &'a Cell)>, names: &Names) -> Summary {
    let name = |number: &u32| names.name(*number).to_owned();
    let mut summary = Summary::default();
    let mut all = Cell::default();
    for (from, cell) in cells.filter(|(_, cell)| !cell.total.is_empty()) {
        summary.buckets.insert(*from, cell.total.finish());
        let by_model: BTreeMap<String, u64> = cell
            .models
            .iter()
            .filter(|(_, tally)| tally.sums.answers() > 0)
            .map(|(model, tally)| (name(model), tally.sums.answers()))
            .collect();
        if !by_model.is_empty() {
            summary.models_over_time.insert(*from, by_model);
        }
        all.merge(cell);
    }
    summary.total = all.total.finish();
    let models = all.models.iter().filter(|(_, tally)| !tally.is_empty());
    summary.models = models.map(|(model, tally)| (name(model), tally.finish())).collect();
    summary.tasks =
        all.tasks.iter().filter(|(_, count)| **count > 0).map(|(task, count)| (name(task), *count)).collect();
    summary.single_models = all.singles(names);
    summary
}
