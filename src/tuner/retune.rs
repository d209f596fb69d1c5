//! One retune: the whole log folded into a new policy, evaluated against the live one.
//!
//! Pure and deterministic: lessons and settings in, a proposal out. Between retunes the live policy takes in judgements
//! one by one ([`take_in`]); a retune starts from nothing, so that changed judgements and an edited reward map hold for
//! the past, too.
//!
//! **Another head.** A policy learns how much better or worse a model is than its prior, and the log has the priors of
//! the classifier's head at the time. Another head has other priors: corrections learned against the old ones and added
//! to the new ones would count twice what the new head was trained on. So only lessons of the newest head count
//! ([`of_newest_head`]), also those of an earlier time in which it was in use, and the live policy begins anew when the
//! head changes ([`begin_anew`]).

use std::borrow::Cow;

use super::gate::{self, Gain, Knowledge, Ruling};
use super::lesson::{Lesson, Lessons};
use super::live::LivePolicy;
use super::trained_on::TrainedOn;
use crate::bandit::{Settings, SettingsError, Snapshot};
use crate::config::Gate;

/// A new policy and the gate's ruling on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The policy, without a version yet.
    pub policy: Snapshot,
    /// The answers that it was trained on.
    pub trained_on: TrainedOn,
    /// The estimated gain; absent where the log allows no estimate.
    pub gain: Option<Gain>,
    /// Whether it takes over.
    pub ruling: Ruling,
    /// Why, as a clause for people.
    pub reason: String,
}

impl Proposal {
    /// Makes it wait whatever the gate ruled; `why` goes in front of the gate's reason.
    pub(super) fn wait(&mut self, why: &str) {
        self.ruling = Ruling::Wait;
        self.reason = format!("{why}; {}", self.reason);
    }
}

/// Trains a new policy on the lessons, oldest first, and evaluates it against `live`, which has learned what
/// `knowledge` says.
///
/// # Errors
///
/// When the settings are out of range.
pub fn propose(
    lessons: &Lessons,
    (live, knowledge): (&Snapshot, &Knowledge),
    settings: Settings,
    gate: &Gate,
) -> Result<Proposal, SettingsError> {
    let Lessons { learned, unjudged, .. } = lessons;
    let (lessons, unjudged) = (of_newest_head(learned), of_newest_head(unjudged));
    let mut policy = Snapshot::new(settings)?;
    if let Some(newest) = newest_read(&lessons) {
        policy = policy.in_space(&newest.space, newest.features.len());
    }
    policy.learn(lessons.iter().map(Lesson::observation));
    let (rests_on, evidence) = gate::evidence(&lessons, &unjudged, gate.min_choices);
    let gain = gate::gain((rests_on, &evidence), (live, knowledge), (&policy, &lessons), gate);
    let choices = evidence.iter().filter(|lesson| lesson.choice.is_some()).count();
    let (ruling, reason) = match &gain {
        None if choices >= gate.min_choices => {
            (Ruling::Wait, format!("the decision log covers nothing of what it would do, in {choices} choices"))
        }
        _ => gate::rule(gain.as_ref(), gate),
    };
    let trained_on = TrainedOn::new(policy.space(), &lessons, &unjudged);
    Ok(Proposal { policy, trained_on, gain, ruling, reason })
}

/// Online update: the live policy with further lessons taken in. Lessons of another head are left out.
pub fn take_in(live: &LivePolicy, lessons: &[Lesson]) -> LivePolicy {
    let mut policy = live.policy.clone();
    let before = policy.learned_from();
    let fitting = lessons.iter().filter(|lesson| lesson.fits(live.policy.space()));
    policy.learn(fitting.map(Lesson::observation));
    let taken_in = policy.learned_from() - before;
    LivePolicy::new(policy, live.revision + taken_in)
}

/// A fresh policy for the feature space `space` in place of a live one that learned with another head; `None` where the
/// live one learned with this head, or with none.
pub fn begin_anew(live: &LivePolicy, space: &str, features: usize) -> Option<LivePolicy> {
    let policy = &live.policy;
    if policy.space().is_empty() || policy.space() == space {
        return None;
    }
    let mut fresh = Snapshot::new(*policy.settings()).ok()?.in_space(space, features);
    fresh.version = policy.version;
    Some(LivePolicy::new(fresh, 0))
}

/// The lessons of the newest head.
pub fn of_newest_head(lessons: &[Lesson]) -> Cow<'_, [Lesson]> {
    of_head(lessons, newest_read(lessons).map_or("", |newest| &newest.space))
}

/// The lessons of the head that makes features in `space`; all of them where `space` is empty. Lessons whose prompts
/// were not read belong to no known head: those after the last lesson of another head count.
pub fn of_head<'a>(lessons: &'a [Lesson], space: &str) -> Cow<'a, [Lesson]> {
    let other = lessons.iter().rposition(|lesson| !lesson.fits(space));
    let Some(other) = other else { return Cow::Borrowed(lessons) };
    let of_it = |lesson: &Lesson| !lesson.features.is_empty() && lesson.fits(space);
    let all = lessons.iter().enumerate();
    Cow::Owned(all.filter(|(at, lesson)| *at > other || of_it(lesson)).map(|(_, lesson)| lesson.clone()).collect())
}

/// The newest lesson whose prompt was read: the next requests will have features of the same space.
fn newest_read(lessons: &[Lesson]) -> Option<&Lesson> {
    lessons.iter().rev().find(|lesson| !lesson.features.is_empty())
}

#[cfg(test)]
#[path = "retune_tests.rs"]
mod tests;
