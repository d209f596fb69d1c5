//! What the decision log teaches: judged answers, each with the choice that led to it.
//!
//! A [`Lesson`] is one answer with its reward and with everything that the choice looked at, so that a policy can learn
//! from it and another policy's choice can be computed. An answer without feedback or signal makes no lesson: missing
//! is missing, not zero. Neither does a failed request: an outage must not teach that a model is stupid. After a
//! failover the lesson is about the model that answered, not about the chosen one.
//!
//! Signals stand in where nobody rated, but exist for bad answers only. A signal teaches by how much more often a model
//! has it than the others ([`Rates`]), which takes the whole log: [`Collected`] takes in entries and gives the lessons
//! at the end.
//!
//! To evaluate a policy by signals, answers with and without one are needed; [`Lessons::unjudged`] has both.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bandit::{Candidate, Context, Grounds, Observation, Reward, Tradeoff};
use crate::config::RewardMap;
use crate::protocol::{DecisionId, ModelName};
use crate::store::{
    Asked, AskedAgain, Entry, Mode, Order, Rates, Signal, Span, Store, StoreError, Worth, chances, judged_model,
    worth,
};

/// Newest decisions that a collection reads one by one; further back it reads only judged ones.
const MAX_READ: usize = 100_000;

/// Most unjudged answers kept, the newest: enough to tell rates apart, and a few megabytes.
const MAX_UNJUDGED: usize = 4_000;

/// Longest time from a judgement's arrival until it is in the log, milliseconds. A retune may miss judgements that
/// arrived within this time before it.
pub(super) const ARRIVAL_MS: i64 = 10_000;

/// Lessons of a stretch of the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lessons {
    /// Judged answers, and unjudged ones whose signal teaches something; oldest first. A policy learns from these.
    pub learned: Vec<Lesson>,
    /// The newest sampled choices whose answers nobody judged, oldest first. The reward is the signal's value, or the
    /// model's prior where there is no signal.
    pub unjudged: Vec<Lesson>,
    /// The choices since the newest judged answer, where entries came newest first.
    pub(super) since_judged: Run,
}

/// Sampled choices in a row that nobody judged, answered or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) choices: u64,
    /// Whether the judged answer before them was found: else there may be more of them.
    pub(super) is_whole: bool,
}

/// The kind of evidence that a gain is estimated from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Judgements of answers.
    Judgements,
    /// Unjudged answers: how often they have a signal of a bad answer.
    Signals,
}

/// One judged answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// The decision it belongs to.
    pub id: DecisionId,
    /// Time of the decision, Unix milliseconds.
    pub at_ms: i64,
    /// When the lesson could first be learned (judged, and the request's end known), Unix milliseconds.
    pub learnable_at_ms: i64,
    /// The model that answered.
    pub model: ModelName,
    /// Features of the prompt; empty where the classifier did not read it.
    pub features: Vec<f32>,
    /// The feature space: which classifier's head made them.
    pub space: String,
    /// The kind of work that was asked for; empty where the prompt was not read.
    pub kind: String,
    /// Prior probability of a good answer of the model.
    pub prior: f64,
    /// What the prior rests on.
    pub grounds: Grounds,
    /// How good the answer was.
    pub reward: Reward,
    /// How much the reward counts.
    pub weight: f64,
    /// The signal that the reward is from, where nobody judged.
    pub signal: Option<Signal>,
    /// The choice, where it was sampled among several candidates and the chosen model answered.
    pub choice: Option<SampledChoice>,
}

/// A logged choice with the probability of each candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledChoice {
    /// The candidates, as predicted at the time of the choice.
    pub candidates: Vec<LoggedCandidate>,
    /// Index of the chosen candidate.
    pub chosen: usize,
    /// What a dollar and a second were worth.
    pub tradeoff: Tradeoff,
}

/// One candidate of a logged choice: what the policy knew of it (see [`Candidate`]), and its propensity.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedCandidate {
    /// The model.
    pub model: ModelName,
    /// Prior probability of a good answer.
    pub prior: f64,
    /// What the prior rests on.
    pub grounds: Grounds,
    /// Expected cost, US dollars.
    pub cost_usd: f64,
    /// Expected latency, seconds.
    pub latency_s: Option<f64>,
    /// Additional cost of moving the conversation to it, US dollars.
    pub switching_usd: f64,
    /// Probability with which it was to be chosen.
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
    /// The lesson of `entry`, if it has one; `again` = its question was soon asked again. A signal's reward is its
    /// nominal value, not yet weighed against how often other models have it.
    pub fn of(entry: &Entry, again: bool, map: &RewardMap) -> Option<Self> {
        let worth = worth(entry, again, map)?;
        Self::of_worth(entry, |_| worth)
    }

    /// The unjudged answer of `entry`, if its choice was sampled.
    fn unjudged(entry: &Entry, again: bool, map: &RewardMap) -> Option<Self> {
        entry.outcome.as_ref()?;
        let signalled = worth(entry, again, map);
        if signalled.is_some_and(|worth| worth.signal.is_none()) {
            return None;
        }
        let as_expected = |prior| Worth { value: prior, weight: 1.0, signal: None };
        let lesson = Self::of_worth(entry, |prior| signalled.unwrap_or_else(|| as_expected(prior)))?;
        lesson.choice.is_some().then_some(Self { weight: 1.0, ..lesson })
    }

    /// The lesson of `entry` with the reward that `worth` makes of the model's prior.
    fn of_worth(entry: &Entry, worth: impl FnOnce(f64) -> Worth) -> Option<Self> {
        let decision = &entry.decision;
        let model = judged_model(entry)?.clone();
        let known = decision.candidates.iter().find(|candidate| candidate.model == model)?;
        let prior = known.prior?;
        let Worth { value, weight, signal } = worth(prior);
        // With a single candidate every policy chooses the same. A conversation that stayed was not drawn.
        let was_drawn = decision.is_sampled() && matches!(decision.mode, Mode::Learned | Mode::Weighted);
        let choice = (was_drawn && decision.chosen == model).then(|| choice(entry)).flatten();
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

    /// The lesson with its signal weighed by the model's excess rate of it; `None` where there is no excess.
    fn weighed(mut self, rates: &Rates) -> Option<Self> {
        let Some(signal) = self.signal else { return Some(self) };
        self.reward = Reward::new(rates.reward(&self.model, signal, self.prior, self.reward.value())?).ok()?;
        Some(self)
    }

    /// The context of the choice.
    pub fn context(&self) -> Context<'_> {
        Context { features: &self.features, space: &self.space, kind: &self.kind }
    }

    /// Whether a policy of the feature space `space` can learn from it: both are of the same head, or one of them of
    /// none.
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
            judged: self.signal.is_none(),
        }
    }
}

fn learnable_at_ms(entry: &Entry) -> i64 {
    let said = entry.feedback.iter().map(|feedback| feedback.at_ms).min();
    let ended = entry.outcome.as_ref().map(|outcome| outcome.at_ms);
    said.max(ended).unwrap_or(entry.decision.at_ms)
}

/// The choice of an entry; `None` where a candidate's prior or the trade-off was not recorded.
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

/// Lessons being collected. Entries come newest first, or in any order where `most` is beyond reach.
#[derive(Debug)]
pub struct Collected<'a> {
    map: &'a RewardMap,
    /// Most judgements kept, and most signals.
    most: usize,
    rates: Rates,
    lessons: Vec<Lesson>,
    /// By time, so that the newest are kept in whatever order entries come.
    unjudged: BTreeMap<(i64, DecisionId), Lesson>,
    judged: usize,
    since_judged: Run,
}

impl<'a> Collected<'a> {
    /// An empty collection that keeps the newest `most` judgements and the newest `most` signals.
    pub fn new(map: &'a RewardMap, most: usize) -> Self {
        Self {
            map,
            most,
            rates: Rates::default(),
            lessons: Vec::new(),
            unjudged: BTreeMap::new(),
            judged: 0,
            since_judged: Run::default(),
        }
    }

    /// Takes in the next older entry; `again` = whether its question was soon asked again, where that is known.
    pub fn take(&mut self, entry: &Entry, again: Option<bool>) {
        if let Some(model) = judged_model(entry) {
            self.rates.note(model, chances(entry, again));
        }
        let at = (entry.decision.at_ms, entry.decision.id);
        let is_full = self.unjudged.len() >= MAX_UNJUDGED;
        if !is_full || self.unjudged.first_key_value().is_some_and(|(oldest, _)| *oldest < at) {
            let lesson = Lesson::unjudged(entry, again == Some(true), self.map);
            self.unjudged.extend(lesson.map(|lesson| (at, lesson)));
            if self.unjudged.len() > MAX_UNJUDGED {
                self.unjudged.pop_first();
            }
        }
        self.add(entry, again);
        let run = &mut self.since_judged;
        run.is_whole = self.judged > 0;
        run.choices += u64::from(!run.is_whole && entry.decision.is_sampled());
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

    /// Whether it has `most` judgements.
    pub fn is_full(&self) -> bool {
        self.judged >= self.most
    }

    /// The lessons, oldest first.
    pub fn finish(self) -> Lessons {
        let Self { mut rates, lessons, unjudged, since_judged, .. } = self;
        for lesson in lessons.iter().filter(|lesson| lesson.signal.is_none()) {
            rates.note_judged(&lesson.model, lesson.prior, lesson.reward.value());
        }
        let learned = lessons.into_iter().rev().filter_map(|lesson| lesson.weighed(&rates)).collect();
        Lessons { learned, unjudged: unjudged.into_values().collect(), since_judged }
    }
}

/// The lessons of a span of the log: the newest `most` judgements, and as many signals.
///
/// # Errors
///
/// When the log cannot be read.
pub fn collect(store: &Store, span: &Span, most: usize, map: &RewardMap) -> Result<Lessons, StoreError> {
    look_through(store, span, (most, MAX_READ), map)
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
