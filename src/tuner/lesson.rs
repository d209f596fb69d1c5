//! What the log teaches: judged answers, each with the choice it came of.
//!
//! A [`Lesson`] is one answer of which something is known, with everything that choosing looked at, so that a policy can
//! learn from it and another be asked what it would have done. Missing feedback makes no lesson: missing is missing, not
//! zero. Nor does a failed request: an outage must not teach that a model is stupid. After a failover the answer is the
//! answering model's, and says nothing of how the chosen one would have done.

use crate::bandit::{Candidate, Context, Grounds, Observation, Reward, Tradeoff};
use crate::config::RewardMap;
use crate::protocol::{DecisionId, ModelName};
use crate::store::{AskedAgain, Entry, Mode, Order, Span, Store, StoreError, judged_model, worth};

/// Most decisions that one collection looks at.
const LOOK_AT: usize = 500_000;

/// One judged answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// The decision it belongs to.
    pub id: DecisionId,
    /// When it was made, in Unix milliseconds.
    pub at_ms: i64,
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
    /// The choice, where it was left to chance and its model is the one that answered.
    pub choice: Option<Drawn>,
}

/// A choice that might have gone otherwise, with the probability of each way.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The candidates as they were judged then.
    pub candidates: Vec<Way>,
    /// Which of them was drawn.
    pub chosen: usize,
    /// What a dollar and a second were worth.
    pub tradeoff: Tradeoff,
}

/// One candidate of a drawn choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
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
    /// What moving to it would have thrown away, US dollars.
    pub switching_usd: f64,
    /// Probability with which it was drawn.
    pub propensity: f64,
}

impl Way {
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
    /// What `entry` teaches, if anything; `again` = its question was soon put again.
    pub fn of(entry: &Entry, again: bool, map: &RewardMap) -> Option<Self> {
        let decision = &entry.decision;
        let (value, weight) = worth(entry, again, map)?;
        let model = judged_model(entry)?.clone();
        let known = decision.candidates.iter().find(|candidate| candidate.model == model)?;
        let choice = (decision.explore && decision.chosen == model).then(|| drawn(entry)).flatten();
        Some(Self {
            id: decision.id,
            at_ms: decision.at_ms,
            prior: known.prior?,
            grounds: known.grounds,
            features: decision.features.clone(),
            space: decision.feature_space.clone(),
            kind: decision.task.clone().unwrap_or_default(),
            reward: Reward::new(value.clamp(0.0, 1.0)).ok()?,
            weight,
            choice,
            model,
        })
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

fn drawn(entry: &Entry) -> Option<Drawn> {
    let decision = &entry.decision;
    if !matches!(decision.mode, Mode::Learned | Mode::Weighted) {
        return None;
    }
    let candidates: Option<Vec<Way>> = decision
        .candidates
        .iter()
        .map(|candidate| {
            Some(Way {
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
    Some(Drawn { candidates: candidates?, chosen, tradeoff: decision.tradeoff? })
}

/// The newest `most` lessons of the log, oldest first.
///
/// # Errors
///
/// When the log cannot be read.
pub fn collect(store: &Store, most: usize, map: &RewardMap) -> Result<Vec<Lesson>, StoreError> {
    let mut lessons = Vec::new();
    let mut again = AskedAgain::default();
    let mut looked_at = 0;
    store.walk(&Span::default(), Order::Newest, |entry| {
        looked_at += 1;
        let again = again.before(&entry.decision);
        lessons.extend(Lesson::of(&entry, again, map));
        lessons.len() < most && looked_at < LOOK_AT
    })?;
    lessons.reverse();
    Ok(lessons)
}

#[cfg(test)]
#[path = "lesson_tests.rs"]
pub(super) mod tests;
