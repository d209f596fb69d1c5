//! Sums over time, kept while the log grows: what the overview shows costs the same whatever the log holds.
//!
//! **Cells.** Each [`Window`] has cells of its own bucket's length, as many as the window needs; what is older falls out.
//! An entry is added to its cell when its decision is written. When its outcome or a feedback comes, it is taken out as it
//! was and added as it is, so sums are those of the log at any time ([`upkeep`]). As it was: the newest [`RECENT`]
//! entries are kept as small facts (most changes come within seconds), older ones are read from the log.
//!
//! **After a start** the log is walked from its newest entry back, some entries at a time, between other work; until the
//! oldest window is full a summary says since when it is complete. What is written meanwhile goes by the rule above, and
//! changes to entries that the walk has not come to are left to it.
//!
//! **A clock that was ahead** for a while must cost nothing that is shown once it is right again: each window has room for
//! so many cells, and where there are more the one that lies furthest in the future goes first, else the oldest. That is
//! never one that a window still shows, as what came while the clock was ahead took no longer than it took.
//!
//! **Bounds.** Some 310 cells, each with a tally and two sparse histograms for each model that was used in it, and the
//! recent facts: a few megabytes. What retention deletes inside the last month stays in the sums: it happened.

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
use crate::store::record::AHEAD_MS;

/// Newest entries that are kept as facts.
pub const RECENT: usize = 5_000;

/// Cells beyond those of a window's length: it begins and ends within one, and so does the time that a clock was ahead.
const SPARE: i64 = 4;

const MINUTE: i64 = 60_000;

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

    /// As it is written in the query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// Its length and that of its buckets, in milliseconds.
    pub fn lengths(self) -> (i64, i64) {
        match self {
            Self::TenMinutes => (10 * MINUTE, MINUTE / 6),
            Self::Hour => (60 * MINUTE, MINUTE),
            Self::Day => (24 * 60 * MINUTE, 20 * MINUTE),
            Self::Week => (7 * 24 * 60 * MINUTE, 180 * MINUTE),
            Self::Month => (30 * 24 * 60 * MINUTE, 720 * MINUTE),
        }
    }

    /// Where it begins when it ends at `until_ms`: whole buckets, so that the first is not a stump.
    pub fn from_ms(self, until_ms: i64) -> i64 {
        let (length, bucket) = self.lengths();
        (until_ms - length).div_euclid(bucket) * bucket
    }
}

/// What happened in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Decisions that were acted upon.
    pub requests: u64,
    /// Dry runs.
    pub dry_runs: u64,
    /// Dry runs of which the caller told what came of them.
    pub reported: u64,
    /// Ended in an error.
    pub errors: u64,
    /// The client went away.
    pub cancelled: u64,
    /// Needed another model than the chosen one.
    pub failovers: u64,
    /// Answers that were try-outs.
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
    /// What was acted upon, by the gateway or by a caller that told of it: all of which errors, latencies, costs and the
    /// like are.
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
    /// Median latency of answers, milliseconds; as all quantiles right within one in a hundred.
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
    /// US dollars: the model's predicted costs, corrected by how such predictions compare with what was spent: its own
    /// as far as it answered, else those of the models that did.
    pub cost_usd: f64,
    /// Half of the 95 % interval around it, from the spread of what was spent around the corrected predictions, and of
    /// the models around each other.
    pub cost_error_usd: f64,
    /// Mean probability of a good answer, as predicted when the requests came; `None` = nobody predicted any.
    pub quality: Option<f64>,
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
    /// Beginning of each bucket, and the answers of each model in it.
    pub models_over_time: BTreeMap<i64, BTreeMap<String, u64>>,
    /// Requests by task.
    pub tasks: BTreeMap<String, u64>,
    /// What all requests would have cost, and how good their answers would have been, on each single model. Models that
    /// could have served less than nine in ten of the requests are left out.
    pub single_models: BTreeMap<String, SingleModel>,
    /// Since when the figures are complete, while an old log is still being added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_since_ms: Option<i64>,
}

/// One of the newest entries, as far as learning from them needs.
#[derive(Debug, Clone, Copy)]
pub struct Glance<'a> {
    /// When it was decided, Unix milliseconds.
    pub at_ms: i64,
    /// The task that the classifier saw.
    pub task: Option<&'a str>,
    /// The model whose answer the client saw.
    pub answered: Option<&'a str>,
    /// What people said of it, in [0, 1].
    pub verdict: Option<f64>,
    /// The policy that chose.
    pub policy_version: u64,
    fact: &'a Fact,
    names: &'a Names,
}

impl<'a> Glance<'a> {
    /// Models of which something was predicted, and the probability of a good answer.
    pub fn predictions(&self) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
        let names = self.names;
        let predicted = self.fact.options.iter().filter(|option| option.predicted);
        predicted.map(move |option| (names.name(option.model), f64::from(option.quality)))
    }
}

/// Leaves the `most` newest. What `is_ahead` is of a clock that was, and goes first: what comes by the right one must not
/// make room for it.
pub fn let_go<K: Ord, V>(all: &mut BTreeMap<K, V>, most: usize, is_ahead: impl Fn(&K, &V) -> bool) {
    while all.len() > most {
        match all.last_key_value() {
            Some((key, value)) if is_ahead(key, value) => all.pop_last(),
            _ => all.pop_first(),
        };
    }
}

/// How far the walk over an old log is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Walk {
    /// The log was empty, or everything is added up.
    Done,
    /// It has not begun: entries up to this one are not added up.
    Before(DecisionId),
    /// Entries before this one are not added up; its moment.
    At(DecisionId, i64),
}

/// The sums.
#[derive(Debug)]
pub(super) struct Rollup {
    names: Names,
    levels: [BTreeMap<i64, Cell>; Window::ALL.len()],
    recent: BTreeMap<DecisionId, Fact>,
    /// The newest moment that was seen.
    newest_ms: i64,
    walk: Walk,
}

impl Rollup {
    /// Nothing added up yet of a log whose newest entry is `newest`.
    pub(super) fn new(newest: Option<DecisionId>) -> Self {
        Self {
            names: Names::default(),
            levels: Default::default(),
            recent: BTreeMap::new(),
            newest_ms: 0,
            walk: newest.map_or(Walk::Done, Walk::Before),
        }
    }

    /// Whether the walk is still to come to this entry.
    fn is_ahead(&self, id: DecisionId) -> bool {
        match self.walk {
            Walk::Done => false,
            Walk::Before(newest) => id <= newest,
            Walk::At(at, _) => id < at,
        }
    }

    /// Before this moment no window looks.
    fn horizon_ms(&self) -> i64 {
        let [.., months] = &self.levels;
        let from_ms = Window::Month.from_ms(self.newest_ms);
        months.first_key_value().map_or(from_ms, |(first, _)| from_ms.min(*first))
    }

    /// A clock that was ahead for a while, or an import from one, must not push out what is now.
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
            // One that is still there is kept right, however old it is.
            if from >= oldest || cells.contains_key(&from) {
                cells.entry(from).or_default().note(fact, more);
            }
            let_go(cells, (length / bucket + SPARE) as usize, |from, _| *from > now_ms + AHEAD_MS);
        }
    }

    fn keep(&mut self, id: DecisionId, fact: Fact) {
        self.recent.insert(id, fact);
        if self.recent.len() > RECENT {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let_go(&mut self.recent, RECENT, |_, fact| fact.at_ms > now_ms + AHEAD_MS);
        }
    }

    /// The entry as it was, then as `change` makes it.
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
