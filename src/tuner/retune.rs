//! One retune: the whole log folded into a new policy, measured against the live one.
//!
//! Pure: lessons and settings in, a proposal out, and the same again for the same log. Between retunes the live policy
//! takes in judgements one by one ([`take_in`]); a retune starts from nothing, so that a judgement that was changed later
//! or a reward map that was edited hold for the past, too.
//!
//! **Another head.** What is learned of a model is how much better or worse it is than its prior, and the log has the priors of
//! its time. Those of another head are other priors: what was learned against the old ones, added to the new ones, would
//! count twice what the new head was trained on. So only the newest head's lessons count ([`of_newest_head`]), those of an
//! earlier time included if it was in force before, and the live policy begins anew where the head is not the one it
//! learned beside ([`begin_anew`]).

use std::borrow::Cow;

use super::gate::{self, Gain, Knowledge, Ruling};
use super::lesson::{Lesson, Lessons};
use super::live::LivePolicy;
use super::trained_on::TrainedOn;
use crate::bandit::{Settings, SettingsError, Snapshot};
use crate::config::Gate;

/// A new policy, and what is to become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The policy; its version is not given yet.
    pub policy: Snapshot,
    /// What it was made of.
    pub trained_on: TrainedOn,
    /// What it would gain; absent where the log says nothing of it.
    pub gain: Option<Gain>,
    /// What the rule says.
    pub ruling: Ruling,
    /// Why.
    pub reason: String,
}

impl Proposal {
    /// It waits, whatever the rule says; `why`, in front of the rule's own reason.
    pub(super) fn wait(&mut self, why: &str) {
        self.ruling = Ruling::Wait;
        self.reason = format!("{why}; {}", self.reason);
    }
}

/// Folds what was learned, oldest first, into a new policy and measures it against `live`, which has learned as far as
/// `knowledge`.
///
/// # Errors
///
/// When the settings are not possible.
pub fn propose(
    lessons: &Lessons,
    (live, knowledge): (&Snapshot, &Knowledge),
    settings: Settings,
    gate: &Gate,
) -> Result<Proposal, SettingsError> {
    let Lessons { learned, unjudged } = lessons;
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
            (Ruling::Wait, format!("the log speaks of nothing that it would do, in {choices} choices"))
        }
        _ => gate::rule(gain.as_ref(), gate),
    };
    let trained_on = TrainedOn::new(policy.space(), &lessons, &unjudged);
    Ok(Proposal { policy, trained_on, gain, ruling, reason })
}

/// The live policy with further lessons taken in; those of another head's teach it nothing.
pub fn take_in(live: &LivePolicy, lessons: &[Lesson]) -> LivePolicy {
    let mut policy = live.policy.clone();
    let before = policy.learned_from();
    let fitting = lessons.iter().filter(|lesson| lesson.fits(live.policy.space()));
    policy.learn(fitting.map(Lesson::observation));
    let taken_in = policy.learned_from() - before;
    LivePolicy::new(policy, live.revision + taken_in)
}

/// The live policy without what it learned beside another head than the one that makes features in `space`; `None` where it
/// learned beside this one, or beside none.
pub fn begin_anew(live: &LivePolicy, space: &str, features: usize) -> Option<LivePolicy> {
    let policy = &live.policy;
    if policy.space().is_empty() || policy.space() == space {
        return None;
    }
    let mut fresh = Snapshot::new(*policy.settings()).ok()?.in_space(space, features);
    fresh.version = policy.version;
    Some(LivePolicy::new(fresh, 0))
}

/// The lessons of the head that made the newest features.
pub fn of_newest_head(lessons: &[Lesson]) -> Cow<'_, [Lesson]> {
    of_head(lessons, newest_read(lessons).map_or("", |newest| &newest.space))
}

/// The lessons of the head that makes features in `space`; all of them where that is empty. Of answers whose prompts were
/// not read it is not known beside which head they were given: they count since another head's last one.
pub fn of_head<'a>(lessons: &'a [Lesson], space: &str) -> Cow<'a, [Lesson]> {
    let other = lessons.iter().rposition(|lesson| !lesson.fits(space));
    let Some(other) = other else { return Cow::Borrowed(lessons) };
    let of_it = |lesson: &Lesson| !lesson.features.is_empty() && lesson.fits(space);
    let all = lessons.iter().enumerate();
    Cow::Owned(all.filter(|(at, lesson)| *at > other || of_it(lesson)).map(|(_, lesson)| lesson.clone()).collect())
}

/// The newest lesson whose prompt was read: its features are those that the next requests will have.
fn newest_read(lessons: &[Lesson]) -> Option<&Lesson> {
    lessons.iter().rev().find(|lesson| !lesson.features.is_empty())
}

#[cfg(test)]
#[path = "retune_tests.rs"]
mod tests;
