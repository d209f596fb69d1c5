//! What the handle ([`Learner`](super::Learner)) and the task ([`LearnerTask`](super::LearnerTask)) share: the state
//! that the handle reads and the task changes, and the commands that go from one to the other.

use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

use super::error::LearnError;
use super::live::{LivePolicy, Switches};
use super::unjudged::Unjudged;
use crate::bandit::{ArmSummary, Settings};
use crate::config::{Learning, LearningMode};
use crate::store::Store;

/// An operator's command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// Retune now.
    Retune,
    /// Put this version in force; ends a pin and a hold.
    Promote(u64),
    /// Put this version in force, and let no other take over until it is unpinned.
    Pin(u64),
    /// End a pin and a hold.
    Unpin,
    /// Put the version before the live one in force, and hold new ones for a while.
    Rollback,
    /// Set the mode, and the rollout share where one is given.
    Mode(LearningMode, Option<f64>),
}

/// A queued command, and where its answer goes.
pub(super) struct Ordered {
    pub(super) command: Command,
    pub(super) who: String,
    pub(super) reply: oneshot::Sender<Result<LearnerStatus, LearnError>>,
}

/// The learner's state.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) live: ArcSwap<LivePolicy>,
    pub(super) switches: ArcSwap<Switches>,
    pub(super) settings: ArcSwap<Learning>,
    pub(super) last: Mutex<LastRetune>,
    /// Sampled choices since the last judgement.
    pub(super) unjudged: Unjudged,
}

/// How long holds are as configured.
pub(super) fn longest_hold(settings: &Learning) -> Duration {
    Duration::from_secs(settings.guard.hold_minutes * 60)
}

impl Shared {
    /// The mode and the rollout share in force.
    pub(super) fn mode(&self) -> (LearningMode, f64) {
        let settings = self.settings.load();
        self.switches.load().acting((settings.mode, settings.rollout))
    }

    pub(super) fn status(&self) -> LearnerStatus {
        let (live, unjudged) = (self.live.load(), self.unjudged.count());
        let switches = **self.switches.load();
        let (mode, rollout) = self.mode();
        LearnerStatus {
            enabled: self.settings.load().enabled,
            mode,
            rollout,
            live: live.policy.version,
            revision: live.revision,
            learned_from: live.policy.learned_from(),
            pinned: switches.pinned,
            hold_until_ms: switches.hold_until_ms,
            space: live.policy.space().to_owned(),
            settings: *live.policy.settings(),
            unjudged,
            curiosity: live.policy.curiosity(unjudged),
            models: live.policy.arms().collect(),
            last_retune: self.last.lock().clone(),
        }
    }
}

/// The last retune, for the dashboard and the API.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LastRetune {
    /// When it ended, in Unix milliseconds; absent = none yet.
    pub at_ms: Option<i64>,
    /// How long it took, milliseconds.
    pub took_ms: f64,
    /// Its result, in one sentence.
    pub result: String,
    /// Judgements since then.
    pub new: u64,
}

/// The learner's state, for the dashboard and the API.
#[derive(Debug, Clone, Serialize)]
pub struct LearnerStatus {
    /// Whether feedback changes the policy.
    pub enabled: bool,
    /// Whether the policy acts or only watches.
    pub mode: LearningMode,
    /// Share of the conversations that it acts on.
    pub rollout: f64,
    /// The version in force.
    pub live: u64,
    /// Judgements it has taken in since it was promoted, or began anew with another head.
    pub revision: u64,
    /// Judgements it has learned from in all, and answers that a signal alone judged (empty ones, for instance).
    pub learned_from: u64,
    /// The only version allowed, if one is pinned.
    pub pinned: Option<u64>,
    /// No new policy before this moment, Unix milliseconds.
    pub hold_until_ms: Option<i64>,
    /// The feature space it learned in.
    pub space: String,
    /// The bandit's settings.
    pub settings: Settings,
    /// Sampled choices since the last judgement, or since the classifier got another head.
    pub unjudged: u64,
    /// Share of its choices that may be try-outs, where these are allowed: less than 1 after many that nobody judged.
    pub curiosity: f64,
    /// What it believes of each model.
    pub models: Vec<ArmSummary>,
    /// The last retune.
    pub last_retune: LastRetune,
}
