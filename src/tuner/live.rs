//! The live policy: in memory for choosing, and in the store for the next start.
//!
//! **Order.** A snapshot is written and flushed before the pointer to it, and the pointer before any choice is made by
//! it. So after a crash at any moment, the store's live policy is a whole one that was promoted.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::error::LearnError;
use super::trained_on::TRAINED_ON;
use crate::bandit::{PolicyKind, Settings, Snapshot};
use crate::config::{Bandit, LearningMode};
use crate::protocol::{DecisionId, ModelName};
use crate::store::{AuditRecord, SnapshotRecord, SnapshotState, Store, StoreError};

/// The setting that holds the switches.
const SWITCHES: &str = "learning.switches";

/// The setting that holds the live policy with all that it has taken in since it was promoted.
const STATE: &str = "policy.live_state";

/// The policy that choices are made by. Immutable: a change makes a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct LivePolicy {
    /// The policy; its version is the one that was promoted.
    pub policy: Snapshot,
    /// Judgements it has taken in since.
    pub revision: u64,
    /// Models of which it has learned from a judgement.
    pub known: BTreeSet<ModelName>,
}

impl LivePolicy {
    /// `policy`, with `revision` judgements taken in since its version was promoted.
    pub fn new(policy: Snapshot, revision: u64) -> Self {
        let known = policy.arms().filter(|arm| arm.observations > 0).map(|arm| arm.model).collect();
        Self { policy, revision, known }
    }
}

/// Which judgements the live policy has taken in. The next retune takes in the log's others, however they were missed:
/// they were queued at a stop, the queue was full, another head was in use.
#[derive(Debug, Clone, Default)]
pub(super) struct TakenIn {
    /// Those learnable up to this moment, Unix milliseconds: taken in, or not to be taken in.
    pub(super) until_ms: i64,
    /// And those of these decisions, whenever they became learnable.
    pub(super) counted: HashSet<DecisionId>,
}

impl TakenIn {
    /// All up to a moment.
    pub(super) fn until(until_ms: i64) -> Self {
        Self { until_ms, counted: HashSet::new() }
    }
}

/// Prefix of the settings that hold policies as they were when they were replaced, for a rollback; the version follows.
/// One is kept for each stored version, so that going back twice restores what each of them knew.
const REPLACED_OF: &str = "policy.replaced_state.";

/// Deletes the settings of versions that are not stored any more.
pub(super) fn forget_gone(store: &Store) -> Result<(), StoreError> {
    let stored: HashSet<String> = store.snapshots()?.iter().map(|record| record.version.to_string()).collect();
    for kept in [REPLACED_OF, TRAINED_ON] {
        let gone = store.settings_under(kept)?.into_iter().filter(|version| !stored.contains(version));
        gone.map(|version| format!("{kept}{version}")).try_for_each(|name| store.forget_setting(&name))?;
    }
    Ok(())
}

/// The live policy and what it has taken in, as stored for a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// The policy; its version is the promoted one.
    policy: Snapshot,
    /// Judgements it has taken in since it was promoted.
    revision: u64,
    /// See [`TakenIn`]; nothing of a replaced policy, which takes in what the log has when it comes back.
    #[serde(default)]
    until_ms: i64,
    #[serde(default)]
    counted: HashSet<DecisionId>,
}

impl State {
    /// The state of `version` when it was replaced, if it ever was.
    pub(super) fn load_replaced(store: &Store, version: u64) -> Result<Option<LivePolicy>, StoreError> {
        let kept = store.setting::<Self>(&format!("{REPLACED_OF}{version}"))?;
        let kept = kept.filter(|kept| kept.policy.version == version);
        Ok(kept.map(|kept| LivePolicy::new(kept.policy, kept.revision)))
    }

    /// Saves `live`, which is replaced; on disk when it returns.
    pub(super) fn save_replaced(store: &Store, live: &LivePolicy) -> Result<(), StoreError> {
        let (policy, revision) = (live.policy.clone(), live.revision);
        let name = format!("{REPLACED_OF}{}", policy.version);
        store.set_setting(&name, &Self { policy, revision, until_ms: 0, counted: HashSet::new() })
    }

    /// The stored state, if it is that of `version`.
    pub(super) fn load(store: &Store, version: u64) -> Result<Option<Self>, StoreError> {
        Ok(store.setting::<Self>(STATE)?.filter(|state| state.policy.version == version))
    }

    /// Saves `live` and what it has taken in; on disk when it returns.
    pub(super) fn save(store: &Store, live: &LivePolicy, taken_in: &TakenIn) -> Result<(), StoreError> {
        let TakenIn { until_ms, counted } = taken_in.clone();
        store.set_setting(STATE, &Self { policy: live.policy.clone(), revision: live.revision, until_ms, counted })
    }

    /// The policy under `settings`, and what it has taken in.
    pub(super) fn live(self, settings: Settings) -> (LivePolicy, TakenIn) {
        let Self { policy, revision, until_ms, counted } = self;
        let policy = if *policy.settings() == settings { policy } else { under(policy, settings) };
        (LivePolicy::new(policy, revision), TakenIn { until_ms, counted })
    }
}

/// The live policy in a store without a running gateway.
///
/// # Errors
///
/// When the store fails.
pub fn in_force(store: &Store) -> Result<Option<Snapshot>, StoreError> {
    let Some(version) = store.live_version()? else { return Ok(None) };
    match State::load(store, version)? {
        Some(state) => Ok(Some(state.policy)),
        None => store.policy(version),
    }
}

/// What operators and guard rails have switched; kept over a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// Overrides the configured mode.
    pub mode: Option<LearningMode>,
    /// Overrides the configured rollout share.
    pub rollout: Option<f64>,
    /// What was configured when either was switched: a configuration that changed since wins.
    pub configured: Option<(LearningMode, f64)>,
    /// The only version allowed in force.
    pub pinned: Option<u64>,
    /// No new version before this moment, Unix milliseconds, after a rollback.
    pub hold_until_ms: Option<i64>,
    /// The same by the monotonic clock, which decides; see [`hold`](super::hold).
    #[serde(skip)]
    pub hold_ends: Option<Instant>,
}

impl Switches {
    /// The stored switches.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn load(store: &Store) -> Result<Self, StoreError> {
        Ok(store.setting(SWITCHES)?.unwrap_or_default())
    }

    /// Saves them; on disk when it returns.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        store.set_setting(SWITCHES, self)
    }

    /// The mode and the rollout share in force, given those that are `configured`.
    pub fn acting(&self, configured: (LearningMode, f64)) -> (LearningMode, f64) {
        let stands = self.configured.is_none_or(|then| then == configured);
        let Self { mode, rollout, .. } = if stands { *self } else { Self::default() };
        (mode.unwrap_or(configured.0), rollout.unwrap_or(configured.1))
    }

    /// Why no other version may take over now; `None` where one may.
    pub fn frozen(&self) -> Option<&'static str> {
        if self.pinned.is_some() {
            return Some("a version is pinned");
        }
        self.is_held().then_some("a version was rolled back a while ago (unpin ends the hold)")
    }
}

/// The bandit's settings as configured; absent keys take the bandit's defaults.
pub fn bandit_settings(bandit: &Bandit) -> Settings {
    let own = Settings::default();
    let policy = bandit.policy.and_then(|name| PolicyKind::named(name.as_str()));
    let wanted = Settings {
        policy: policy.unwrap_or(own.policy),
        floor: bandit.floor.unwrap_or(own.floor),
        half_life: bandit.half_life.or(own.half_life),
        ..own
    };
    match wanted.check() {
        Ok(()) => wanted,
        Err(error) => {
            tracing::error!(%error, "[learning.bandit] is out of range; the default settings hold");
            own
        }
    }
}

/// The policy that was in force last, under `settings`; in a new store, a first one that knows only the priors. On a full
/// disk it is in force all the same, and stored once there is room.
///
/// # Errors
///
/// When the store fails, or the settings are not possible.
pub fn open(store: &Store, settings: Settings, now_ms: i64) -> Result<Snapshot, LearnError> {
    let mut versions: Vec<u64> = store.live_version()?.into_iter().collect();
    // In case the live one is damaged: the newest that was ever in force.
    let promoted = store.snapshots()?.into_iter().filter(|record| record.state == SnapshotState::Promoted);
    versions.extend(promoted.map(|record| record.version));
    for version in versions {
        if let Some(policy) = store.policy::<Snapshot>(version)? {
            or_later(promote(store, version, None, now_ms))?;
            return Ok(if *policy.settings() == settings { policy } else { under(policy, settings) });
        }
    }
    let mut policy = Snapshot::new(settings)?;
    policy.version = store.next_version()?;
    let reason = "the first: it knows what the classifier says, and nothing else";
    let record = SnapshotRecord::waiting(policy.version, "start", reason, now_ms);
    or_later(store.put_snapshot(&record, &policy).and_then(|()| promote(store, policy.version, None, now_ms)))?;
    Ok(policy)
}

/// The result of writing what can be written later: answers do not wait for a full disk.
fn or_later(written: Result<(), StoreError>) -> Result<(), StoreError> {
    match written {
        Err(error @ StoreError::Full) => {
            tracing::error!(%error, "The policy in force is not stored until there is room");
            Ok(())
        }
        written => written,
    }
}

/// A policy under other settings, or unchanged where those are out of range.
pub(super) fn under(policy: Snapshot, settings: Settings) -> Snapshot {
    policy.with_settings(settings).unwrap_or(policy)
}

/// Puts a stored version in force; on disk when it returns. The record of a version that is in force already stays as
/// it is.
///
/// # Errors
///
/// When the store fails; then the version before stays in force.
pub fn promote(store: &Store, version: u64, reason: Option<String>, now_ms: i64) -> Result<(), StoreError> {
    let live = store.live_version()?;
    if live != Some(version) {
        store.set_live(version)?;
    }
    let Some(mut record) = store.snapshot(version)? else { return Ok(()) };
    if live == Some(version) && record.state == SnapshotState::Promoted {
        return Ok(());
    }
    record.state = SnapshotState::Promoted;
    record.promoted_at_ms = Some(now_ms);
    record.replaced = live.filter(|live| *live != version).unwrap_or(record.replaced);
    record.reason = reason.unwrap_or(record.reason);
    store.update_snapshot(&record)
}

/// Writes to the audit who did what to the policy. A failure is logged and stops nothing.
pub fn audit(store: &Store, who: &str, action: &str, version: u64, detail: serde_json::Value, now_ms: i64) {
    tracing::info!(who, action, version, %detail, "The policy was acted on");
    let record = AuditRecord::of(who, action, version.to_string(), detail, now_ms);
    if let Err(error) = store.audit(&record) {
        tracing::error!(%error, who, action, "An act on the policy could not be written to the audit");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::store::on_disk_with;

    #[test]
    fn the_first_start_promotes_a_first_policy_and_the_next_one_finds_it() {
        let store = Store::in_memory().unwrap();
        let policy = open(&store, Settings::default(), 5).unwrap();
        assert_eq!((policy.version, store.live_version().unwrap()), (1, Some(1)));
        assert_eq!(open(&store, Settings::default(), 9).unwrap(), policy);
        let record = store.snapshot(1).unwrap().unwrap();
        assert_eq!((record.state, record.promoted_at_ms), (SnapshotState::Promoted, Some(5)));
    }

    #[test]
    fn on_a_full_disk_the_first_policy_is_in_force_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(0));
        let store = on_disk_with(dir.path(), &free);
        let policy = open(&store, Settings::default(), 5).unwrap();
        assert_eq!((policy.version, store.live_version().unwrap()), (1, None));
        assert_eq!(store.next_version().unwrap(), 2, "its version is given");
    }

    #[test]
    fn the_newer_word_on_the_mode_holds() {
        use LearningMode::{Live, Shadow};
        let by_panel =
            Switches { mode: Some(Live), rollout: Some(1.0), configured: Some((Live, 0.5)), ..Switches::default() };
        assert_eq!(by_panel.acting((Live, 0.5)), (Live, 1.0));
        assert_eq!(by_panel.acting((Shadow, 0.2)), (Shadow, 0.2), "the file was changed since");
        assert_eq!(Switches::default().acting((Shadow, 0.2)), (Shadow, 0.2));
    }

    #[test]
    fn a_crash_between_writing_and_pointing_leaves_the_old_policy_in_force() {
        let store = Store::in_memory().unwrap();
        let first = open(&store, Settings::default(), 5).unwrap();
        let mut record = store.snapshot(1).unwrap().unwrap();
        record.version = store.next_version().unwrap();
        record.state = SnapshotState::Waiting;
        let mut second = first.clone();
        second.version = record.version;
        store.put_snapshot(&record, &second).unwrap();
        assert_eq!(open(&store, Settings::default(), 9).unwrap(), first);
        // One step further: the pointer is there, the record not yet.
        store.set_live(record.version).unwrap();
        assert_eq!(open(&store, Settings::default(), 11).unwrap().version, record.version);
        assert_eq!(store.snapshot(record.version).unwrap().unwrap().state, SnapshotState::Promoted);
    }

    #[test]
    fn a_promotion_remembers_what_it_replaced() {
        let store = Store::in_memory().unwrap();
        open(&store, Settings::default(), 5).unwrap();
        let mut record = store.snapshot(1).unwrap().unwrap();
        record.version = 2;
        store.put_snapshot(&record, &Snapshot::new(Settings::default()).unwrap()).unwrap();
        for (version, replaced) in [(2, 1), (2, 1), (1, 2)] {
            promote(&store, version, None, 9).unwrap();
            assert_eq!(store.snapshot(version).unwrap().unwrap().replaced, replaced);
        }
    }

    #[test]
    fn configured_settings_hold_at_once_and_impossible_ones_never() {
        let store = Store::in_memory().unwrap();
        open(&store, Settings::default(), 5).unwrap();
        let greedy =
            bandit_settings(&Bandit { policy: Some(crate::config::PolicyName::Greedy), ..Bandit::default() });
        assert_eq!(open(&store, greedy, 9).unwrap().settings().policy, PolicyKind::Greedy);
        let impossible = Bandit { floor: Some(7.0), ..Bandit::default() };
        assert_eq!(bandit_settings(&impossible), Settings::default());
    }
}
