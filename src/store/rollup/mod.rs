//! Sums over time, updated as the decision log grows: the overview costs the same whatever the size of the log.
//!
//! **Cells.** Each [`Window`] has cells of its own bucket length, as many as the window shows; older ones are dropped.
//! An entry is added to its cell when its decision is written. When its outcome or a feedback comes, its old
//! contribution is subtracted and the new one added, so the sums agree with the log at any time ([`upkeep`]). The old
//! contributions of the newest [`RECENT`] entries are in memory as small facts (most changes come within seconds);
//! others are read from the log.
//!
//! **After a start** the log is walked from its newest entry back, a few entries at a time, between other work; until
//! the longest window is full, a summary says since when it is complete. Entries written meanwhile are added as above;
//! changes to entries that the walk has not reached are left to the walk.
//!
//! **A wrong clock** must not push out cells that are shown once it is right again. If the clock is behind, as it may
//! be at a start, much of the log lies ahead of it; if the clock was ahead earlier, so do the entries of that time. The
//! two cannot be told apart, so each window keeps its newest cells up to now and as many ahead of now.
//!
//! **Bounds.** Some 310 cells (twice as many at worst), each with a tally and two sparse histograms for each model that
//! was used in it, and the recent facts: a few megabytes. Entries of the last month that retention deletes stay in the
//! sums: they happened.

mod cell;
mod fact;
mod hist;
mod ratio;
mod upkeep;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::cell::Cell;
use self::fact::{Fact, Names};
use crate::protocol::DecisionId;
use crate::store::join::ms_of;
use crate::store::record::AHEAD_MS;

/// Most entries kept as facts, the newest.
pub const RECENT: usize = 5_000;

/// Cells beyond a window's length: the window may begin and end within a cell, and so may a time in which a clock was
/// ahead.
const SPARE: i64 = 4;

const MINUTE_MS: i64 = 60_000;

/// A stretch of time back from now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// The last ten minutes, in buckets of ten seconds.
    #[serde(rename = "10m")]
    TenMinutes,
    /// The last hour, in buckets of a minute.
    #[default]
    #[serde(rename = "1h")]
    Hour,
    /// The last day, in buckets of twenty minutes.
    #[serde(rename = "24h")]
    Day,
    /// The last week, in buckets of three hours.
    #[serde(rename = "7d")]
    Week,
    /// The last thirty days, in buckets of twelve hours.
    #[serde(rename = "30d")]
    Month,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Self; 5] = [Self::TenMinutes, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The window's name in queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// The lengths of the window and of its buckets, milliseconds.
    pub fn lengths(self) -> (i64, i64) {
        match self {
            Self::TenMinutes => (10 * MINUTE_MS, MINUTE_MS / 6),
            Self::Hour => (60 * MINUTE_MS, MINUTE_MS),
            Self::Day => (24 * 60 * MINUTE_MS, 20 * MINUTE_MS),
            Self::Week => (7 * 24 * 60 * MINUTE_MS, 180 * MINUTE_MS),
            Self::Month => (30 * 24 * 60 * MINUTE_MS, 720 * MINUTE_MS),
        }
    }

    /// The beginning of the window that ends at `until_ms`, at the start of a bucket.
    pub fn from_ms(self, until_ms: i64) -> i64 {
        let (length, bucket) = self.lengths();
        (until_ms - length).div_euclid(bucket) * bucket
    }
}

/// Sums over the requests of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Requests that the gateway handled: decisions that are no dry runs.
    pub requests: u64,
    /// Dry runs.
    pub dry_runs: u64,
    /// Dry runs whose outcome the caller reported.
    pub reported: u64,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Requests whose client left.
    pub cancelled: u64,
    /// Requests that needed another model than the chosen one.
    pub failovers: u64,
    /// Requests whose model was chosen by exploration.
    pub explored: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Cost, US dollars.
    pub cost_usd: f64,
    /// Requests with feedback.
    pub rated: u64,
    /// Sum of their verdicts, each in [0, 1].
    pub verdicts: f64,
}

impl Sums {
    /// Requests that were answered, by the gateway or by a caller that reported it: the base of errors, latencies,
    /// costs.
    pub fn answers(&self) -> u64 {
        self.requests + self.reported
    }
}

/// Sums and latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bucket {
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Median latency of answers, milliseconds. All quantiles are right within 1 %.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the latency.
    pub p95_ms: Option<f64>,
    /// 99th percentile of the latency.
    pub p99_ms: Option<f64>,
    /// Median time to the first piece of an answer, milliseconds.
    pub first_token_p50_ms: Option<f64>,
    /// 95th percentile of the time to the first piece.
    pub first_token_p95_ms: Option<f64>,
}

/// Estimates for all requests of a stretch of time, had they gone to one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SingleModel {
    /// Estimated cost, US dollars: the model's predicted costs, corrected by the ratio of real to predicted costs, of
    /// its own answers as far as there are some, else of the other models'.
    pub cost_usd: f64,
    /// Half of the 95 % interval of the cost, from the spread of real costs around the corrected predictions, and of
    /// the models' ratios around each other.
    pub cost_error_usd: f64,
    /// Mean predicted probability of a good answer; `None` = there are no predictions.
    pub quality: Option<f64>,
}

/// The sums of a window, by bucket, model and task.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The buckets, by their beginning in Unix milliseconds. Empty ones are left out.
    pub buckets: BTreeMap<i64, Bucket>,
    /// All buckets together.
    pub total: Bucket,
    /// Sums by model: the one that answered, or was to answer.
    pub models: BTreeMap<String, Bucket>,
    /// Answers of each model, by the beginning of each bucket.
    pub models_over_time: BTreeMap<i64, BTreeMap<String, u64>>,
    /// Requests by task.
    pub tasks: BTreeMap<String, u64>,
    /// Estimates for each model, had it served all requests. Models that could have served fewer than nine in ten of
    /// them are left out.
    pub single_models: BTreeMap<String, SingleModel>,
    /// Since when the sums are complete (Unix milliseconds), while an existing log is still being added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_since_ms: Option<i64>,
}

/// One of the newest entries, in brief.
#[derive(Debug, Clone, Copy)]
pub struct Glance<'a> {
    /// Time of the decision, Unix milliseconds.
    pub at_ms: i64,
    /// The task that the classifier recognised.
    pub task: Option<&'a str>,
    /// The model whose answer the client saw.
    pub answered: Option<&'a str>,
    /// The verdict of its feedback, in [0, 1].
    pub verdict: Option<f64>,
    /// The version of the policy that chose.
    pub policy_version: u64,
    fact: &'a Fact,
    names: &'a Names,
}

impl<'a> Glance<'a> {
    /// Models with a prediction, and their predicted probability of a good answer.
    pub fn predictions(&self) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
        let names = self.names;
        let predicted = self.fact.options.iter().filter(|option| option.predicted);
        predicted.map(move |option| (names.name(option.model), f64::from(option.quality)))
    }
}

/// Keeps the `most` newest of the entries that `is_ahead` of now, and the `most` newest of the others: if the clock is
/// or was wrong, neither kind pushes out the other.
pub fn let_go<K: Ord + Copy, V>(all: &mut BTreeMap<K, V>, most: usize, is_ahead: impl Fn(&K, &V) -> bool) {
    if all.len() <= most {
        return;
    }
    let ahead = all.iter().rev().take_while(|(key, value)| is_ahead(key, value)).count();
    for _ in most..all.len() - ahead {
        all.pop_first();
    }
    let surplus: Vec<K> = all.keys().rev().take(ahead).skip(most).copied().collect();
    surplus.iter().for_each(|key| drop(all.remove(key)));
}

/// How far the walk over an existing log has come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Walk {
    /// The log was empty, or everything is added up.
    Done,
    /// The walk has not begun: entries up to this one are not added up.
    Before(DecisionId),
    /// Entries before this one are not added up; the time of this one, Unix milliseconds.
    At(DecisionId, i64),
}

/// The sums of all windows.
#[derive(Debug)]
pub(super) struct Rollup {
    names: Names,
    levels: [BTreeMap<i64, Cell>; Window::ALL.len()],
    recent: BTreeMap<DecisionId, Fact>,
    /// The newest time of an entry, at most the present.
    newest_ms: i64,
    walk: Walk,
}

impl Rollup {
    /// Empty sums for a log whose newest entry is `newest`, still to be walked.
    pub(super) fn new(newest: Option<DecisionId>) -> Self {
        Self {
            names: Names::default(),
            levels: Default::default(),
            recent: BTreeMap::new(),
            newest_ms: 0,
            walk: newest.map_or(Walk::Done, Walk::Before),
        }
    }

    /// Since when the sums are complete, Unix milliseconds; `None` = the walk is done.
    pub(super) fn complete_since_ms(&self) -> Option<i64> {
        match self.walk {
            Walk::Done => None,
            Walk::Before(newest) => ms_of(newest.0.as_bytes()),
            Walk::At(_, at_ms) => Some(at_ms),
        }
    }

    /// Whether the walk has not reached this entry yet.
    fn is_ahead(&self, id: DecisionId) -> bool {
        match self.walk {
            Walk::Done => false,
            Walk::Before(newest) => id <= newest,
            Walk::At(at, _) => id < at,
        }
    }

    /// No window shows entries before this time, Unix milliseconds.
    fn horizon_ms(&self) -> i64 {
        let [.., months] = &self.levels;
        let from_ms = Window::Month.from_ms(self.newest_ms);
        months.first_key_value().map_or(from_ms, |(first, _)| from_ms.min(*first))
    }

    /// Moves the newest time, but not into the future: a clock that was ahead must not push out present cells.
    fn look_from(&mut self, at_ms: i64, now_ms: i64) {
        self.newest_ms = self.newest_ms.max(at_ms).min(now_ms);
    }

    fn note(&mut self, fact: &Fact, more: bool) {
        self.note_at(fact, more, jiff::Timestamp::now().as_millisecond());
    }

    fn note_at(&mut self, fact: &Fact, more: bool, now_ms: i64) {
        self.look_from(fact.at_ms, now_ms);
        for (cells, window) in self.levels.iter_mut().zip(Window::ALL) {
            let (length, bucket) = window.lengths();
            let (from, oldest) = (fact.at_ms.div_euclid(bucket) * bucket, window.from_ms(self.newest_ms));
            // An existing cell is kept up to date, however old it is.
            if from >= oldest || cells.contains_key(&from) {
                cells.entry(from).or_default().note(fact, more);
            }
            let_go(cells, (length / bucket + SPARE) as usize, |from, _| *from > now_ms + AHEAD_MS);
        }
    }

    fn keep(&mut self, id: DecisionId, fact: Fact) {
        self.keep_at(id, fact, jiff::Timestamp::now().as_millisecond());
    }

    fn keep_at(&mut self, id: DecisionId, fact: Fact, now_ms: i64) {
        self.recent.insert(id, fact);
        let_go(&mut self.recent, RECENT, |_, fact| fact.at_ms > now_ms + AHEAD_MS);
    }

    /// Subtracts an entry's old contribution and adds the one that `change` makes.
    fn change(&mut self, id: DecisionId, before: Option<Fact>, change: impl FnOnce(&mut Fact, &mut Names)) {
        let Some(before) = self.recent.get(&id).cloned().or(before) else { return };
        let mut after = before.clone();
        change(&mut after, &mut self.names);
        self.note(&before, false);
        self.note(&after, true);
        if self.recent.contains_key(&id) {
            self.recent.insert(id, after);
        }
    }
}

#[cfg(test)]
mod tests;
