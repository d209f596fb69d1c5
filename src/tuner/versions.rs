//! Versions of the policy: written, put in force, rolled back, restored.
//!
//! Each step is on disk before a choice is made by it ([`live`]). Only [`LearnerTask`](super::LearnerTask) calls these
//! methods, so no two steps overlap.

use serde_json::json;

use super::error::LearnError;
use super::gate::Ruling;
use super::live::{self, LivePolicy, State, Switches, audit, bandit_settings};
use super::retune::Proposal;
use super::shared::{Shared, longest_hold};
use crate::store::{AHEAD_MS, SnapshotRecord, SnapshotState, StoreError};

impl Shared {
    /// The version in force.
    pub(super) fn version(&self) -> u64 {
        self.live.load().policy.version
    }

    /// Changes the switches, on disk first.
    pub(super) fn switch(&self, change: impl FnOnce(Switches) -> Switches) -> Result<(), StoreError> {
        let switches = change(**self.switches.load());
        switches.save(&self.store)?;
        self.switches.store(std::sync::Arc::new(switches));
        Ok(())
    }

    /// Writes a proposal as a version, and puts it in force if it was promoted. `read_at_ms` = when the log was read
    /// for it: later judgements it does not have.
    pub(super) fn publish(
        &self,
        proposal: &mut Proposal,
        parent: u64,
        read_at_ms: i64,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let version = self.store.next_version()?;
        proposal.policy.version = version;
        let record = SnapshotRecord {
            parent,
            learned_from: proposal.policy.learned_from(),
            report: json!({ "gain": proposal.gain, "ruling": proposal.ruling }),
            ..SnapshotRecord::waiting(version, "retune", &proposal.reason, read_at_ms)
        };
        proposal.trained_on.save(&self.store, version)?;
        self.store.put_snapshot(&record, &proposal.policy)?;
        if proposal.ruling == Ruling::Promote {
            State::save_replaced(&self.store, &self.live.load())?;
            live::promote(&self.store, version, None, now_ms)?;
            self.live.store(LivePolicy::new(proposal.policy.clone(), 0).into());
        }
        let in_force = self.version();
        let spare = [self.switches.load().pinned, self.predecessor_of(in_force)?].into_iter().flatten();
        let spare: Vec<u64> = [in_force, parent].into_iter().chain(spare).collect();
        self.store.prune_snapshots(self.store.settings().keep_snapshots, &spare)?;
        live::forget_gone(&self.store)
    }

    /// Puts a stored version in force, with the state it had when it was replaced. The live one's state is saved for a
    /// way back.
    pub(super) fn put_in_force(
        &self,
        version: u64,
        act: (&str, &str),
        why: &str,
        now_ms: i64,
    ) -> Result<(), LearnError> {
        let other = self.as_it_was(version)?.ok_or(LearnError::UnknownVersion(version))?;
        self.replace_live(other, act, why, now_ms)
    }

    fn replace_live(
        &self,
        other: LivePolicy,
        (who, action): (&str, &str),
        why: &str,
        now_ms: i64,
    ) -> Result<(), LearnError> {
        let (from, version) = (self.version(), other.policy.version);
        if version == from {
            live::promote(&self.store, version, Some(why.to_owned()), now_ms)?;
        } else {
            State::save_replaced(&self.store, &self.live.load())?;
            live::promote(&self.store, version, Some(why.to_owned()), now_ms)?;
            let policy = live::under(other.policy, bandit_settings(&self.settings.load().bandit));
            self.live.store(LivePolicy::new(policy, other.revision).into());
        }
        audit(&self.store, who, action, version, json!({ "from": from, "reason": why }), now_ms);
        Ok(())
    }

    /// Puts the version before the live one in force, with the state it had when it was replaced, and holds new
    /// versions for `learning.guard.hold_minutes`.
    pub(super) fn roll_back(&self, who: &str, why: &str, now_ms: i64) -> Result<(), LearnError> {
        let live = self.version();
        let target = self.before(live)?.ok_or(LearnError::NothingBefore)?;
        // The hold first: a crash in between must not let the next retune bring the same policy back at once.
        let hold = longest_hold(&self.settings.load());
        self.switch(|switches| Switches { pinned: None, ..switches.held_for(hold, now_ms) })?;
        let instead = format!("version {live} was rolled back: {why}");
        self.replace_live(target, (who, "policy.rollback"), &instead, now_ms)?;
        if let Some(mut record) = self.store.snapshot(live)? {
            record.state = SnapshotState::RolledBack;
            record.reason = why.to_owned();
            self.store.update_snapshot(&record)?;
        }
        Ok(())
    }

    /// Lets the end of a hold follow the clock, in case it was set.
    pub(super) fn keep_hold(&self, now_ms: i64, is_settled: bool) -> Result<(), StoreError> {
        let longest = longest_hold(&self.settings.load());
        match self.switches.load().corrected(longest, now_ms, is_settled) {
            Some(right) => self.switch(|_| right),
            None => Ok(()),
        }
    }

    /// The predecessor of `version`, with the state it had when it was replaced.
    pub(super) fn before(&self, version: u64) -> Result<Option<LivePolicy>, StoreError> {
        self.predecessor_of(version)?.map_or(Ok(None), |predecessor| self.as_it_was(predecessor))
    }

    /// A stored version with the state it had when it was replaced; as it was made where it never was.
    fn as_it_was(&self, version: u64) -> Result<Option<LivePolicy>, StoreError> {
        let Some(made) = self.store.policy(version)? else { return Ok(None) };
        Ok(Some(State::load_replaced(&self.store, version)?.unwrap_or_else(|| LivePolicy::new(made, 0))))
    }

    /// The version that a rollback from `version` goes to: the one that it replaced, else its parent, else the newest
    /// older one that was in force.
    pub(super) fn predecessor_of(&self, version: u64) -> Result<Option<u64>, StoreError> {
        let all = self.store.snapshots()?;
        let itself = all.iter().find(|record| record.version == version);
        let promoted =
            |record: &&SnapshotRecord| record.version != version && record.state == SnapshotState::Promoted;
        let named = |version: Option<u64>| all.iter().filter(promoted).find(|it| Some(it.version) == version);
        let replaced = named(itself.map(|record| record.replaced));
        let parent = || named(itself.map(|record| record.parent));
        let newest = || all.iter().filter(promoted).find(|record| record.version < version);
        Ok(replaced.or_else(parent).or_else(newest).map(|record| record.version))
    }

    /// Since when a version has been in force, Unix milliseconds; `None` for one that followed no other, which has
    /// nothing to be compared with.
    pub(super) fn tried_since_ms(&self, version: u64) -> Result<Option<i64>, StoreError> {
        let followed = |record: &SnapshotRecord| record.parent > 0 || record.replaced > 0;
        let record = self.store.snapshot(version)?.filter(followed);
        Ok(record.map(|record| record.promoted_at_ms.unwrap_or(record.made_at_ms)))
    }

    /// Corrects a time that a clock that was ahead has left behind, which would block the learner until the clock has
    /// caught up: no version may have come into force in the future.
    pub(super) fn set_times_right(&self, now_ms: i64) -> Result<(), StoreError> {
        let version = self.version();
        let is_ahead = |record: &SnapshotRecord| record.promoted_at_ms.is_some_and(|at| at > now_ms + AHEAD_MS);
        if let Some(record) = self.store.snapshot(version)?.filter(is_ahead) {
            tracing::warn!(version, "The clock was ahead when the live version was promoted; it counts from now");
            self.store.update_snapshot(&SnapshotRecord { promoted_at_ms: Some(now_ms), ..record })?;
        }
        Ok(())
    }

    /// Writes the live policy and the switches to a database that broke and was begun anew, or had no room for them.
    /// Returns whether that was needed.
    pub(super) fn restore_after_revival(&self, now_ms: i64) -> Result<bool, StoreError> {
        let live = self.live.load_full();
        let version = live.policy.version;
        if self.store.live_version()? == Some(version) {
            return Ok(false);
        }
        self.switches.load().save(&self.store)?;
        let reason = "it was in force before it could be stored: the database was begun anew, or its disk was full";
        let record = SnapshotRecord {
            learned_from: live.policy.learned_from(),
            ..SnapshotRecord::waiting(version, "kept", reason, now_ms)
        };
        self.store.put_snapshot(&record, &live.policy)?;
        live::promote(&self.store, version, None, now_ms)?;
        Ok(true)
    }
}
