//! What the door to the learner ([`Learner`](super::Learner)) and the task behind it ([`LearnerTask`](super::LearnerTask)) share:
//! the state that the one shows and the other changes, and the orders that go from the one to the other.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

use super::error::LearnError;
use super::live::{LivePolicy, Switches};
use crate::bandit::{ArmSummary, Settings};
use crate::config::{Learning, LearningMode};
use crate::store::Store;

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// A new policy from the log, now.
    Retune,
    /// This version in force; what pin or hold there was is over.
    Promote(u64),
    /// This version in force, and no other until further notice.
    Pin(u64),
    /// No longer only one version, and no hold.
    Unpin,
    /// The version before the live one in force; nothing new for a while.
    Rollback,
    /// Another mode, and another share where one is said.
    Mode(LearningMode, Option<f64>),
}

/// A command on its way, and where its answer goes.
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
}

impl Shared {
    /// The mode and the share in force.
    pub(super) fn mode(&self) -> (LearningMode, f64) {
        let settings = self.settings.load();
        self.switches.load().acting((settings.mode, settings.rollout))
    }

    pub(super) fn status(&self) -> LearnerStatus {
        let live = self.live.load();
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
            models: live.policy.arms().collect(),
            last_retune: self.last.lock().clone(),
        }
    }
}

/// The last retune, for people.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LastRetune {
    /// When it ended, in Unix milliseconds; absent = none yet.
    pub at_ms: Option<i64>,
    /// How long it took, milliseconds.
    pub took_ms: f64,
    /// What came of it, in one sentence.
    pub result: String,
    /// Judgements since then.
    pub new: u64,
}

/// How the learner is.
#[derive(Debug, Clone, Serialize)]
pub struct LearnerStatus {
    /// Whether feedback changes the policy.
    pub enabled: bool,
    /// Whether the policy acts.
    pub mode: LearningMode,
    /// On which share of the conversations.
    pub rollout: f64,
    /// The version in force.
    pub live: u64,
    /// Judgements it has taken in since it was promoted, or began anew beside another head.
    pub revision: u64,
    /// Judgements it rests on in all.
    pub learned_from: u64,
    /// The only version allowed, if one is pinned.
    pub pinned: Option<u64>,
    /// No new policy before this moment, Unix milliseconds.
    pub hold_until_ms: Option<i64>,
    /// What made the features it learned over.
    pub space: String,
    /// How it explores and forgets.
    pub settings: Settings,
    /// What it believes of each model.
    pub models: Vec<ArmSummary>,
    /// The last retune.
    pub last_retune: LastRetune,
}
