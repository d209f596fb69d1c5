//! The handle to the learner: which policy is in force, and operators' commands to change it.
//!
//! A request takes the policy once ([`Learner::live`]), so that its choice and the logged propensity agree. All changes
//! go through one queue to one task ([`LearnerTask`]), so that no two of them overlap.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::error::LearnError;
use super::live::{self, LivePolicy, Switches};
use super::shared::{Command, LearnerStatus, Ordered, Shared, longest_hold};
use super::task::LearnerTask;
use super::unjudged::Unjudged;
use crate::config::{Learning, LearningMode};
use crate::store::Store;

/// Most commands that wait for the task.
const MAX_QUEUED: usize = 16;

/// The handle to the learner; cheap to clone.
#[derive(Debug, Clone)]
pub struct Learner {
    pub(super) shared: Arc<Shared>,
    commands: mpsc::Sender<Ordered>,
}

impl Learner {
    /// Loads the policy in force. The caller must run the returned [`LearnerTask`].
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn open(store: Store, settings: &Learning, now_ms: i64) -> Result<(Self, LearnerTask), LearnError> {
        let policy = live::open(&store, live::bandit_settings(&settings.bandit), now_ms)?;
        let (live, taken_in) = match live::State::load(&store, policy.version)? {
            Some(state) => state.live(*policy.settings()),
            None => {
                let record = store.snapshot(policy.version)?;
                let made_at_ms = record.map_or(now_ms, |record| record.made_at_ms);
                (LivePolicy::new(policy, 0), live::TakenIn::until(made_at_ms))
            }
        };
        let switches = Switches::load(&store)?.resumed(longest_hold(settings), now_ms);
        let unjudged = Unjudged::load(&store)?;
        let (commands, orders) = mpsc::channel(MAX_QUEUED);
        let shared = Arc::new(Shared {
            store,
            live: ArcSwap::from_pointee(live),
            switches: ArcSwap::from_pointee(switches),
            settings: ArcSwap::from_pointee(settings.clone()),
            last: Mutex::default(),
            unjudged,
        });
        Ok((Self { shared: Arc::clone(&shared), commands }, LearnerTask::new(shared, taken_in, orders)))
    }

    /// The policy in force.
    pub fn live(&self) -> Arc<LivePolicy> {
        self.shared.live.load_full()
    }

    /// Sampled choices since the last judgement.
    pub fn unjudged(&self) -> u64 {
        self.shared.unjudged.count()
    }

    /// Notes that a choice was sampled, which somebody may judge.
    pub fn note_sampled(&self) {
        self.shared.unjudged.add();
    }

    /// Whether the policy acts on a conversation whose hash lies at `position` in [0, 1): inside the rollout's share.
    pub fn acts(&self, position: f64) -> bool {
        let (mode, rollout) = self.shared.mode();
        mode == LearningMode::Live && position < rollout
    }

    /// Takes over a changed configuration.
    pub fn configure(&self, settings: &Learning) {
        self.shared.settings.store(Arc::new(settings.clone()));
    }

    /// The learner's state, for the dashboard and the API.
    pub fn status(&self) -> LearnerStatus {
        self.shared.status()
    }

    /// Has a command of `who` executed and returns the learner's status after it.
    ///
    /// # Errors
    ///
    /// When the command cannot be executed.
    pub async fn order(&self, command: Command, who: &str) -> Result<LearnerStatus, LearnError> {
        let (reply, answer) = oneshot::channel();
        let order = Ordered { command, who: who.to_owned(), reply };
        self.commands.try_send(order).map_err(|_| LearnError::Busy)?;
        answer.await.unwrap_or(Err(LearnError::Busy))
    }
}
