//! The door to the learner: which policy is in force, and what operators may do to it.
//!
//! Whoever chooses takes the policy once per request ([`Learner::live`]), so that the choice and the propensity in the log
//! agree. Everything that changes it goes through one queue to one task ([`Work`](super::Work)), so that no two changes meet.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::live::{self, Live, Switches};
use super::work::Work;
use crate::bandit::{ArmSummary, Settings, SettingsError};
use crate::config::{Learning, LearningMode};
use crate::store::{SnapshotRecord, Store, StoreError};

/// Commands that may wait.
const QUEUE: usize = 16;

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LearnError {
    /// There is no such version, or its policy is gone.
    #[error("there is no policy of version {0}")]
    UnknownVersion(u64),
    /// There is nothing before the live one.
    #[error("there is no version before the live one to go back to")]
    NothingBefore,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The bandit's settings are not possible.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// It is shutting down, or busy with too many commands.
    #[error("the learner cannot take it now")]
    Busy,
}

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

pub(super) struct Ordered {
    pub(super) command: Command,
    pub(super) who: String,
    pub(super) reply: oneshot::Sender<Result<LearnerStatus, LearnError>>,
}

/// The door; a cheap handle.
#[derive(Debug, Clone)]
pub struct Learner {
    pub(super) shared: Arc<Shared>,
    commands: mpsc::Sender<Ordered>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) live: ArcSwap<Live>,
    pub(super) switches: ArcSwap<Switches>,
    pub(super) settings: ArcSwap<Learning>,
    pub(super) last: Mutex<LastRetune>,
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

impl Learner {
    /// Takes up the policy in force; [`Work`] is to be run.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn open(store: Store, settings: &Learning, now_ms: i64) -> Result<(Self, Work), LearnError> {
        let policy = live::open(&store, live::bandit_settings(&settings.bandit), now_ms)?;
        let (live, heard) = match live::State::load(&store, policy.version)? {
            Some(state) => state.live(*policy.settings()),
            None => {
                let record = store.snapshot(policy.version)?;
                let made_at_ms = record.map_or(now_ms, |record| record.made_at_ms);
                (Live::new(policy, 0), live::Heard::until(made_at_ms))
            }
        };
        let switches = Switches::load(&store)?;
        let (commands, orders) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            store,
            live: ArcSwap::from_pointee(live),
            switches: ArcSwap::from_pointee(switches),
            settings: ArcSwap::from_pointee(settings.clone()),
            last: Mutex::default(),
        });
        Ok((Self { shared: Arc::clone(&shared), commands }, Work::new(shared, heard, orders)))
    }

    /// The policy in force.
    pub fn live(&self) -> Arc<Live> {
        self.shared.live.load_full()
    }

    /// Whether the policy acts on a conversation that stands at `place` in [0, 1).
    pub fn acts(&self, place: f64) -> bool {
        let (mode, rollout) = self.shared.mode();
        mode == LearningMode::Live && place < rollout
    }

    /// Takes over a configuration.
    pub fn configure(&self, settings: &Learning) {
        self.shared.settings.store(Arc::new(settings.clone()));
    }

    /// How it is.
    pub fn status(&self) -> LearnerStatus {
        self.shared.status()
    }

    /// Carries out a command of `who` and says how the learner is then.
    ///
    /// # Errors
    ///
    /// Why it was not.
    pub async fn order(&self, command: Command, who: &str) -> Result<LearnerStatus, LearnError> {
        let (reply, answer) = oneshot::channel();
        let order = Ordered { command, who: who.to_owned(), reply };
        self.commands.try_send(order).map_err(|_| LearnError::Busy)?;
        answer.await.unwrap_or(Err(LearnError::Busy))
    }

    /// All versions, newest first.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn versions(&self) -> Result<Vec<SnapshotRecord>, StoreError> {
        self.shared.store.snapshots()
    }
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
