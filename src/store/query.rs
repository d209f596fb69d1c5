//! What the dashboard asks of the log: pages of decisions, and sums over time.
//!
//! Both walk the log from the newest back and stop after a bounded number of records, so that a question about a large
//! log is answered in parts and never stalls: a page says where the next one goes on, a sum says since when it is
//! complete.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::db::Store;
use super::error::StoreError;
use super::join::{Order, Span};
use super::record::{Entry, Fingerprint, Mode, OutcomeStatus};
use crate::protocol::DecisionId;

/// Most records one question looks at.
const LOOK_AT: usize = 100_000;

/// Which decisions to show; every field that is absent lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Not before this, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this.
    pub until_ms: Option<i64>,
    /// Chosen or answered by this model.
    pub model: Option<String>,
    /// Ended so: `ok`, `cancelled`, an error code, or `error` for any error.
    pub status: Option<String>,
    /// Chosen so.
    pub mode: Option<Mode>,
    /// By this policy.
    pub policy_version: Option<u64>,
    /// Only explored ones, or only others.
    pub explored: Option<bool>,
    /// Of this task.
    pub task: Option<String>,
    /// Of this API token (its id).
    pub token: Option<String>,
    /// Of this conversation.
    pub conversation: Option<Fingerprint>,
    /// Only with feedback, or only without.
    pub rated: Option<bool>,
    /// Text in the id, the reason, the task, a rule's name, a tag or a comment; in any case.
    pub text: Option<String>,
}

impl Filter {
    fn passes(&self, entry: &Entry) -> bool {
        let decision = &entry.decision;
        let status = entry.outcome.as_ref().map(|outcome| outcome.status);
        let is = |wish: &Option<String>, value: Option<&str>| wish.as_deref().is_none_or(|wish| value == Some(wish));
        let model = self.model.as_deref().is_none_or(|wish| {
            let answered = entry.outcome.as_ref().and_then(|outcome| outcome.model.as_ref());
            decision.chosen.as_str() == wish || answered.is_some_and(|it| it.as_str() == wish)
        });
        let status = self.status.as_deref().is_none_or(|wish| match status {
            Some(OutcomeStatus::Failed(_)) if wish == "error" => true,
            Some(status) => status.as_str() == wish,
            None => wish == "open",
        });
        model
            && status
            && self.mode.is_none_or(|wish| decision.mode == wish)
            && self.policy_version.is_none_or(|wish| decision.policy_version == wish)
            && self.explored.is_none_or(|wish| decision.explored == wish)
            && is(&self.task, decision.task.as_deref())
            && is(&self.token, decision.request.token.as_deref())
            && self.conversation.is_none_or(|wish| decision.request.conversation == Some(wish))
            && self.rated.is_none_or(|wish| entry.feedback.is_empty() != wish)
            && self.text.as_deref().is_none_or(|wish| has_text(entry, &wish.to_lowercase()))
    }
}

fn has_text(entry: &Entry, wish: &str) -> bool {
    let decision = &entry.decision;
    let has = |text: &str| text.to_lowercase().contains(wish);
    decision.id.to_string().contains(wish)
        || has(&decision.reason)
        || decision.task.as_deref().is_some_and(has)
        || decision.request.rules.iter().any(|rule| has(rule))
        || decision.request.tags.iter().any(|(name, value)| has(name) || has(value))
        || entry.feedback.iter().any(|feedback| feedback.comment.as_deref().is_some_and(has))
}

/// Some decisions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page goes on; absent when this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<DecisionId>,
}

/// What happened in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Decisions that were acted upon.
    pub requests: u64,
    /// Dry runs.
    pub dry_runs: u64,
    /// Ended in an error.
    pub errors: u64,
    /// The client went away.
    pub cancelled: u64,
    /// Needed another model than the chosen one.
    pub failovers: u64,
    /// Were try-outs.
    pub explored: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Spent, US dollars.
    pub cost_usd: f64,
    /// Requests with feedback.
    pub rated: u64,
    /// Sum of their verdicts, each in [0, 1].
    pub verdicts: f64,
}

impl Sums {
    fn add(&mut self, entry: &Entry) {
        if entry.decision.request.dry_run {
            self.dry_runs += 1;
        } else {
            self.requests += 1;
        }
        self.explored += u64::from(entry.decision.explored);
        if let Some(outcome) = &entry.outcome {
            self.errors += u64::from(matches!(outcome.status, OutcomeStatus::Failed(_)));
            self.cancelled += u64::from(outcome.status == OutcomeStatus::Cancelled);
            self.failovers += u64::from(outcome.failovers > 0);
            self.cost_usd += outcome.cost_usd.unwrap_or(0.0);
            if let Some(usage) = outcome.usage {
                self.input_tokens += usage.prompt_tokens();
                self.output_tokens += usage.output_tokens;
            }
        }
        if let Some(verdict) = entry.verdict() {
            self.rated += 1;
            self.verdicts += verdict;
        }
    }
}

/// Sums and latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bucket {
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Median latency of answers, milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Median time to the first piece of an answer.
    pub first_token_p50_ms: Option<f64>,
    /// 95th percentile of it.
    pub first_token_p95_ms: Option<f64>,
}

/// All requests of a stretch of time, had they gone to one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SingleModel {
    /// US dollars: the model's predicted costs, corrected by how the predictions for the models that answered compare
    /// with what they cost (a ratio estimate; Cochran, "Sampling Techniques", 3rd ed. 1977, chapter 6).
    pub cost_usd: f64,
    /// Half of the 95 % interval around it, from the spread of what was spent around the corrected predictions.
    pub cost_error_usd: f64,
    /// Mean probability of a good answer, as predicted when the requests came.
    pub quality: f64,
}

/// A stretch of time in buckets, and its models.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Beginning of each bucket in Unix milliseconds, and what happened in it. Empty buckets are left out.
    pub buckets: BTreeMap<i64, Bucket>,
    /// All buckets together.
    pub total: Bucket,
    /// By the model that answered, or was to answer.
    pub models: BTreeMap<String, Bucket>,
    /// Beginning of each bucket, and the requests of each model in it.
    pub models_over_time: BTreeMap<i64, BTreeMap<String, u64>>,
    /// Requests by task.
    pub tasks: BTreeMap<String, u64>,
    /// What all requests would have cost, and how good their answers would have been, on each single model. Models that
    /// could have served less than nine in ten of the requests are left out.
    pub single_models: BTreeMap<String, SingleModel>,
    /// Since when the figures are complete, where the log was too large to be walked to the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_since_ms: Option<i64>,
}

impl Store {
    /// The decisions that pass `filter`, newest first, at most `limit`, from `before` on. A page may be short or empty
    /// and still have a `next`: so many records were looked at in vain.
    ///
    /// # Errors
    /// When the database fails.
    pub fn decisions(&self, filter: &Filter, before: Option<DecisionId>, limit: usize) -> Result<Page, StoreError> {
        let span = Span { from_ms: filter.from_ms, until_ms: filter.until_ms, before, after: None };
        let mut page = Page { entries: Vec::new(), next: None };
        let mut looked_at = 0;
        let mut last = None;
        self.walk(&span, Order::Newest, |entry| {
            if page.entries.len() >= limit || looked_at >= LOOK_AT {
                // There is at least this one more.
                page.next = last;
                return false;
            }
            looked_at += 1;
            last = Some(entry.decision.id);
            if filter.passes(&entry) {
                page.entries.push(entry);
            }
            true
        })?;
        Ok(page)
    }

    /// What happened from `from_ms` until `until_ms`, in buckets of `bucket_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn summary(&self, from_ms: i64, until_ms: i64, bucket_ms: i64) -> Result<Summary, StoreError> {
        let span = Span { from_ms: Some(from_ms), until_ms: Some(until_ms), ..Span::default() };
        let bucket_ms = bucket_ms.max(1);
        let mut sheet = Sheet::default();
        let mut looked_at = 0;
        let mut complete_since_ms = None;
        self.walk(&span, Order::Newest, |entry| {
            if looked_at >= LOOK_AT {
                complete_since_ms = Some(entry.decision.at_ms);
                return false;
            }
            looked_at += 1;
            sheet.add(&entry, entry.decision.at_ms.div_euclid(bucket_ms) * bucket_ms);
            true
        })?;
        let mut summary = sheet.finish();
        summary.complete_since_ms = complete_since_ms;
        Ok(summary)
    }
}

/// A bucket being filled.
#[derive(Default)]
struct Filling {
    sums: Sums,
    latencies: Vec<f64>,
    first_tokens: Vec<f64>,
}

impl Filling {
    fn add(&mut self, entry: &Entry) {
        self.sums.add(entry);
        if let Some(outcome) = entry.outcome.as_ref().filter(|outcome| outcome.status == OutcomeStatus::Ok) {
            self.latencies.extend(outcome.latency_ms);
            self.first_tokens.extend(outcome.first_token_ms);
        }
    }

    fn finish(mut self) -> Bucket {
        self.latencies.sort_by(f64::total_cmp);
        self.first_tokens.sort_by(f64::total_cmp);
        Bucket {
            p50_ms: quantile(&self.latencies, 0.50),
            p95_ms: quantile(&self.latencies, 0.95),
            p99_ms: quantile(&self.latencies, 0.99),
            first_token_p50_ms: quantile(&self.first_tokens, 0.50),
            first_token_p95_ms: quantile(&self.first_tokens, 0.95),
            sums: self.sums,
        }
    }
}

/// The nearest-rank quantile of sorted values.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[derive(Default)]
struct Sheet {
    buckets: BTreeMap<i64, Filling>,
    total: Filling,
    models: BTreeMap<String, Filling>,
    models_over_time: BTreeMap<i64, BTreeMap<String, u64>>,
    tasks: BTreeMap<String, u64>,
    single: BTreeMap<String, Single>,
    ratio: Ratio,
}

/// What a model could have served.
#[derive(Default)]
struct Single {
    count: u64,
    cost: f64,
    quality: f64,
}

/// Real costs over predicted ones, of the models that answered.
#[derive(Default)]
struct Ratio {
    count: f64,
    predicted: f64,
    spent: f64,
    predicted_squared: f64,
    spent_squared: f64,
    product: f64,
}

impl Ratio {
    fn add(&mut self, predicted: f64, spent: f64) {
        self.count += 1.0;
        self.predicted += predicted;
        self.spent += spent;
        self.predicted_squared += predicted * predicted;
        self.spent_squared += spent * spent;
        self.product += predicted * spent;
    }

    /// The ratio and its standard error; one without an error where there is nothing to compare.
    fn estimate(&self) -> (f64, f64) {
        if self.predicted <= 0.0 || self.count < 2.0 {
            return (1.0, 0.0);
        }
        let ratio = self.spent / self.predicted;
        let squares = self.spent_squared - 2.0 * ratio * self.product + ratio * ratio * self.predicted_squared;
        let variance = squares.max(0.0) / (self.count - 1.0);
        (ratio, (variance * self.count).sqrt() / self.predicted)
    }
}

impl Sheet {
    fn add(&mut self, entry: &Entry, bucket: i64) {
        self.buckets.entry(bucket).or_default().add(entry);
        self.total.add(entry);
        let answered = entry.outcome.as_ref().and_then(|outcome| outcome.model.as_ref());
        let model = answered.unwrap_or(&entry.decision.chosen).as_str();
        match self.models.get_mut(model) {
            Some(filling) => filling.add(entry),
            None => self.models.entry(model.to_owned()).or_default().add(entry),
        }
        if !entry.decision.request.dry_run {
            *self.models_over_time.entry(bucket).or_default().entry(model.to_owned()).or_default() += 1;
        }
        if let Some(task) = &entry.decision.task {
            *self.tasks.entry(task.clone()).or_default() += 1;
        }
        let Some(spent) = entry.outcome.as_ref().and_then(|outcome| outcome.cost_usd) else { return };
        for candidate in &entry.decision.candidates {
            let single = self.single.entry(candidate.model.as_str().to_owned()).or_default();
            single.count += 1;
            single.cost += candidate.cost_usd;
            single.quality += candidate.quality;
            if candidate.model.as_str() == model {
                self.ratio.add(candidate.cost_usd, spent);
            }
        }
    }

    fn finish(self) -> Summary {
        let served = self.single.values().map(|single| single.count).max().unwrap_or(0);
        let (ratio, error) = self.ratio.estimate();
        let of = |single: Single| {
            // Requests it could not have served are taken to be like the others.
            let cost = single.cost * served as f64 / single.count as f64;
            SingleModel {
                cost_usd: cost * ratio,
                cost_error_usd: cost * error * 1.96,
                quality: single.quality / single.count as f64,
            }
        };
        let single_models = self
            .single
            .into_iter()
            .filter(|(_, single)| single.count * 10 >= served * 9)
            .map(|(model, single)| (model, of(single)))
            .collect();
        Summary {
            buckets: self.buckets.into_iter().map(|(from, filling)| (from, filling.finish())).collect(),
            total: self.total.finish(),
            models: self.models.into_iter().map(|(model, filling)| (model, filling.finish())).collect(),
            models_over_time: self.models_over_time,
            tasks: self.tasks,
            single_models,
            complete_since_ms: None,
        }
    }
}
