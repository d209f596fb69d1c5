//! What the log teaches: judged answers, each with the choice it came of.
//!
//! A [`Lesson`] is one answer of which something is known, with everything that choosing looked at, so that a policy can
//! learn from it and another be asked what it would have done. Missing feedback makes no lesson: missing is missing, not
//! zero. Nor does a failed request: an outage must not teach that a model is stupid. After a failover the answer is the
//! answering model's, and says nothing of how the chosen one would have done.
//!
//! Where nobody rated, signals speak, and only of bad answers. What they teach is how much more often a model has them than
//! the others ([`Rates`]), which the whole log must say: [`Collected`] takes entries in and gives the lessons at the end.
//!
//! What signals say of another policy is another matter: answers with one are all bad, so those without one must be looked at
//! beside them. [`Lessons::unjudged`] are both.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bandit::{Candidate, Context, Grounds, Observation, Reward, Tradeoff};
use crate::config::RewardMap;
use crate::protocol::{DecisionId, ModelName};
use crate::store::{
    Asked, AskedAgain, Entry, Mode, Order, Rates, Signal, Span, Store, StoreError, Worth, chances, judged_model,
    worth,
};

/// Newest decisions that a collection looks at one by one; further back only at those that were judged.
const LOOK_AT: usize = 100_000;

/// Newest unjudged answers that are kept: enough to tell rates apart, and a few megabytes.
const UNJUDGED: usize = 4_000;

/// How long a judgement may take from being heard to the log, milliseconds. What a retune did not find there for that is news
/// all the same.
pub(super) const ON_ITS_WAY_MS: i64 = 10_000;

/// What the log teaches, and what it says of policies where nobody judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lessons {
    /// Judged answers, and what signals say besides, oldest first: what a policy learns.
    pub learned: Vec<Lesson>,
    /// The newest answers that were left to chance and that nobody judged, oldest first: worth what a signal says, and
    /// where there is none what was believed of their model.
    pub unjudged: Vec<Lesson>,
}

/// What a gain is estimated from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Judged answers.
    Judgements,
    /// Answers that nobody judged: how often they had a signal of a bad one.
    Signals,
}

/// One judged answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// The decision it belongs to.
    pub id: DecisionId,
    /// When it was made, in Unix milliseconds.
    pub at_ms: i64,
    /// When it first could be learned: judged, and its end known. Unix milliseconds.
    pub learnable_at_ms: i64,
    /// The model that answered.
    pub model: ModelName,
    /// The context of the choice.
    pub features: Vec<f32>,
    /// What made it.
    pub space: String,
    /// The kind of work that was asked for; empty where nothing was read.
    pub kind: String,
    /// What was believed of the model before any feedback.
    pub prior: f64,
    /// How firm that was.
    pub grounds: Grounds,
    /// How good the answer was.
    pub reward: Reward,
    /// How much that counts.
    pub weight: f64,
    /// The signal that says so, where nobody judged.
    pub signal: Option<Signal>,
    /// The choice, where it was one among several and left to chance, and its model is the one that answered.
    pub choice: Option<SampledChoice>,
}

/// A choice that might have gone otherwise, with the probability of each way.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledChoice {
    /// The candidates as they were judged then.
    pub candidates: Vec<LoggedCandidate>,
    /// Which of them was drawn.
    pub chosen: usize,
    /// What a dollar and a second were worth.
    pub tradeoff: Tradeoff,
}

/// One candidate of a drawn choice.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedCandidate {
    /// The model.
    pub model: ModelName,
    /// What was believed of it before any feedback.
    pub prior: f64,
    /// How firm that was.
    pub grounds: Grounds,
    /// Its expected cost, US dollars.
    pub cost_usd: f64,
    /// Its expected time, seconds.
    pub latency_s: Option<f64>,
    /// What moving to it would have cost besides, US dollars.
    pub switching_usd: f64,
    /// Probability with which it was drawn.
    pub propensity: f64,
}

impl LoggedCandidate {
    /// The candidate as a policy gets it.
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            model: &self.model,
            prior: self.prior,
            grounds: self.grounds,
            cost_usd: self.cost_usd,
            latency_s: self.latency_s,
            switching_usd: self.switching_usd,
        }
    }
}

impl Lesson {
    /// What `entry` teaches, if anything; `again` = its question was soon put again. A signal is taken at its word, which
    /// it must not be before it is weighed: see [`Lesson::weighed`].
    pub fn of(entry: &Entry, again: bool, map: &RewardMap) -> Option<Self> {
        let worth = worth(entry, again, map)?;
        Self::of_worth(entry, |_| worth)
    }

    /// The answer of `entry`, where it was left to chance and nobody judged it.
    fn unjudged(entry: &Entry, again: bool, map: &RewardMap) -> Option<Self> {
        entry.outcome.as_ref()?;
        let said = worth(entry, again, map);
        if said.is_some_and(|worth| worth.signal.is_none()) {
            return None;
        }
        let as_believed = |prior| Worth { value: prior, weight: 1.0, signal: None };
        let lesson = Self::of_worth(entry, |prior| said.unwrap_or_else(|| as_believed(prior)))?;
        lesson.choice.is_some().then_some(Self { weight: 1.0, ..lesson })
    }

    /// The answer of `entry`, worth what `worth` makes of what was believed of its model.
    fn of_worth(entry: &Entry, worth: impl FnOnce(f64) -> Worth) -> Option<Self> {
        let decision = &entry.decision;
        let model = judged_model(entry)?.clone();
        let known = decision.candidates.iter().find(|candidate| candidate.model == model)?;
        let prior = known.prior?;
        let Worth { value, weight, signal } = worth(prior);
        let was_drawn = decision.explore && matches!(decision.mode, Mode::Learned | Mode::Weighted);
        let choice = (was_drawn && decision.chosen == model).then(|| choice(entry)).flatten();
        // Where there was but one, another policy would have done the same.
        let choice = choice.filter(|drawn| drawn.candidates.len() > 1);
        Some(Self {
            id: decision.id,
            at_ms: decision.at_ms,
            learnable_at_ms: learnable_at_ms(entry),
            prior,
            grounds: known.grounds,
            features: decision.features.clone(),
            space: decision.feature_space.clone(),
            kind: decision.task.clone().unwrap_or_default(),
            reward: Reward::new(value.clamp(0.0, 1.0)).ok()?,
            weight,
            signal,
            choice,
            model,
        })
    }

    /// The lesson with its signal weighed against how often all models have it; `None` where it says nothing.
    fn weighed(mut self, rates: &Rates) -> Option<Self> {
        let Some(signal) = self.signal else { return Some(self) };
        self.reward = Reward::new(rates.reward(&self.model, signal, self.prior, self.reward.value())?).ok()?;
        Some(self)
    }

    /// The context of the choice.
    pub fn context(&self) -> Context<'_> {
        Context { features: &self.features, space: &self.space, kind: &self.kind }
    }

    /// Whether a policy that learned in `space` can learn from it: it was made beside the same head, or one of them beside none.
    pub fn fits(&self, space: &str) -> bool {
        self.features.is_empty() || space.is_empty() || self.space == space
    }

    /// The lesson as a policy learns it.
    pub fn observation(&self) -> Observation<'_> {
        Observation {
            model: &self.model,
            context: self.context(),
            prior: self.prior,
            grounds: self.grounds,
            reward: self.reward,
            weight: self.weight,
        }
    }
}

fn learnable_at_ms(entry: &Entry) -> i64 {
    let said = entry.feedback.iter().map(|feedback| feedback.at_ms).min();
    let ended = entry.outcome.as_ref().map(|outcome| outcome.at_ms);
    said.max(ended).unwrap_or(entry.decision.at_ms)
}

/// The choice of an entry, where all is known that it went by.
pub(super) fn choice(entry: &Entry) -> Option<SampledChoice> {
    let decision = &entry.decision;
    let candidates: Option<Vec<LoggedCandidate>> = decision
        .candidates
        .iter()
        .map(|candidate| {
            Some(LoggedCandidate {
                model: candidate.model.clone(),
                prior: candidate.prior?,
                grounds: candidate.grounds,
                cost_usd: candidate.cost_usd,
                latency_s: candidate.latency_s,
                switching_usd: candidate.switching_usd,
                propensity: candidate.propensity,
            })
        })
        .collect();
    let chosen = decision.candidates.iter().position(|candidate| candidate.model == decision.chosen)?;
    Some(SampledChoice { candidates: candidates?, chosen, tradeoff: decision.tradeoff? })
}

/// Lessons being collected, newest entry first; in any order where all judgements and signals are wanted.
#[derive(Debug)]
pub struct Collected<'a> {
    map: &'a RewardMap,
    /// Most judgements, and most signals.
    most: usize,
    rates: Rates,
    lessons: Vec<Lesson>,
    /// By time: the newest are kept, whatever comes first.
    unjudged: BTreeMap<(i64, DecisionId), Lesson>,
    judged: usize,
}

impl<'a> Collected<'a> {
    /// Nothing yet; of judgements and of signals the newest `most` are kept.
    pub fn new(map: &'a RewardMap, most: usize) -> Self {
        Self { map, most, rates: Rates::default(), lessons: Vec::new(), unjudged: BTreeMap::new(), judged: 0 }
    }

    /// Takes in the entry before those taken so far; `again` = whether its question was soon put again, where that can be
    /// told.
    pub fn take(&mut self, entry: &Entry, again: Option<bool>) {
        if let Some(model) = judged_model(entry) {
            self.rates.note(model, chances(entry, again));
        }
        let at = (entry.decision.at_ms, entry.decision.id);
        let is_full = self.unjudged.len() >= UNJUDGED;
        if !is_full || self.unjudged.first_key_value().is_some_and(|(oldest, _)| *oldest < at) {
            let lesson = Lesson::unjudged(entry, again == Some(true), self.map);
            self.unjudged.extend(lesson.map(|lesson| (at, lesson)));
            if self.unjudged.len() > UNJUDGED {
                self.unjudged.pop_first();
            }
        }
        self.add(entry, again);
    }

    fn add(&mut self, entry: &Entry, again: Option<bool>) {
        let Some(lesson) = Lesson::of(entry, again == Some(true), self.map) else { return };
        let is_judged = lesson.signal.is_none();
        let known = if is_judged { self.judged } else { self.lessons.len() - self.judged };
        if known < self.most {
            self.judged += usize::from(is_judged);
            self.lessons.push(lesson);
        }
    }

    /// Whether there are as many judgements as wanted.
    pub fn is_full(&self) -> bool {
        self.judged >= self.most
    }

    /// The lessons, oldest first.
    pub fn finish(self) -> Lessons {
        let Self { mut rates, lessons, unjudged, .. } = self;
        for lesson in lessons.iter().filter(|lesson| lesson.signal.is_none()) {
            rates.note_judged(&lesson.model, lesson.prior, lesson.reward.value());
        }
        let learned = lessons.into_iter().rev().filter_map(|lesson| lesson.weighed(&rates)).collect();
        Lessons { learned, unjudged: unjudged.into_values().collect() }
    }
}

/// The newest `most` judgements of a span of the log and what signals say besides, oldest first.
///
/// # Errors
///
/// When the log cannot be read.
pub fn collect(store: &Store, span: &Span, most: usize, map: &RewardMap) -> Result<Lessons, StoreError> {
    look_through(store, span, (most, LOOK_AT), map)
}

fn look_through(
    store: &Store,
    span: &Span,
    (most, look_at): (usize, usize),
    map: &RewardMap,
) -> Result<Lessons, StoreError> {
    let mut collected = Collected::new(map, most);
    let mut again = AskedAgain::default();
    let (mut looked_at, mut last) = (0, None);
    store.walk(span, Order::Newest, |entry| {
        looked_at += 1;
        last = Some(entry.decision.id);
        collected.take(&entry, again.take(&Asked::of(&entry)));
        !collected.is_full() && looked_at < look_at
    })?;
    if let Some(before) = last.filter(|_| looked_at >= look_at) {
        store.walk_judged(before, |entry| {
            collected.add(&entry, None);
            !collected.is_full()
        })?;
    }
    Ok(collected.finish())
}

#[cfg(test)]
#[path = "lesson_tests.rs"]
pub(super) mod tests;
