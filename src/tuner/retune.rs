//! One retune: the whole log folded into a new policy, measured against the live one.
//!
//! Pure: lessons and settings in, a proposal out, and the same again for the same log. Between retunes the live policy
//! takes in judgements one by one ([`take_in`]); a retune starts from nothing, so that a judgement that was changed later,
//! a reward map that was edited or a classifier that was replaced hold for the past, too.

use super::gate::{self, Gain, Ruling};
use super::lesson::Lesson;
use super::live::Live;
use crate::bandit::{Settings, SettingsError, Snapshot};
use crate::config::Gate;

/// A new policy, and what is to become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The policy; its version is not given yet.
    pub policy: Snapshot,
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

/// Folds `lessons`, oldest first, into a new policy and measures it against `live`.
///
/// # Errors
///
/// When the settings are not possible.
pub fn propose(
    lessons: &[Lesson],
    live: &Snapshot,
    settings: Settings,
    gate: &Gate,
) -> Result<Proposal, SettingsError> {
    let mut policy = Snapshot::new(settings)?;
    // The newest features are those the next requests will have.
    if let Some(newest) = lessons.iter().rev().find(|lesson| !lesson.features.is_empty()) {
        policy = policy.in_space(&newest.space, newest.features.len());
    }
    policy.learn(lessons.iter().map(Lesson::observation));
    let gain = gate::gain(lessons, live, &policy, gate);
    let (ruling, reason) = gate::rule(gain.as_ref(), gate);
    Ok(Proposal { policy, gain, ruling, reason })
}

/// The live policy with further lessons taken in.
pub fn take_in(live: &Live, lessons: &[Lesson]) -> Live {
    let mut policy = live.policy.clone();
    policy.learn(lessons.iter().map(Lesson::observation));
    Live::new(policy, live.revision + lessons.len() as u64)
}

#[cfg(test)]
#[path = "retune_tests.rs"]
mod tests;
