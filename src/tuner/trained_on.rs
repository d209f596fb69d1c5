//! The answers that a version was trained on; all others in the log are unseen by it.
//!
//! A time alone would not do: an import of older judgements would count as seen. So a retune stores the decisions
//! beside the version that it makes, as a hash of four bytes each.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::lesson::{Evidence, Lesson};
use crate::bandit::Snapshot;
use crate::protocol::DecisionId;
use crate::store::{Store, StoreError};

/// Prefix of the settings that hold them; the version follows.
pub(super) const TRAINED_ON: &str = "policy.made_of.";

/// The answers, by [`mark`]s of their decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedOn {
    /// The feature space of that version: the live policy may have begun anew with another head since.
    space: String,
    judged: HashSet<u32>,
    /// Answers of which only the signals were known: a judgement that came since is unseen.
    unjudged: HashSet<u32>,
}

impl TrainedOn {
    /// Of the lessons `learned` and the `unjudged` answers.
    pub fn new(space: &str, learned: &[Lesson], unjudged: &[Lesson]) -> Self {
        let judged = learned.iter().filter(|lesson| lesson.signal.is_none());
        Self {
            space: space.to_owned(),
            judged: judged.map(|lesson| mark(lesson.id)).collect(),
            unjudged: unjudged.iter().map(|lesson| mark(lesson.id)).collect(),
        }
    }

    /// Whether this answer is among them, as that kind of evidence.
    pub fn has(&self, rests_on: Evidence, id: DecisionId) -> bool {
        let marks = match rests_on {
            Evidence::Judgements => &self.judged,
            Evidence::Signals => &self.unjudged,
        };
        marks.contains(&mark(id))
    }

    /// The answers that the version of `policy` was trained on; `None` where an earlier build made it, or where the
    /// policy has begun anew with another head.
    pub(super) fn load(store: &Store, policy: &Snapshot) -> Result<Option<Self>, StoreError> {
        let saved = store.setting::<Self>(&format!("{TRAINED_ON}{}", policy.version))?;
        Ok(saved.filter(|saved| saved.space.is_empty() || saved.space == policy.space()))
    }

    /// Saves them as those of `version`; on disk when it returns.
    pub(super) fn save(&self, store: &Store, version: u64) -> Result<(), StoreError> {
        store.set_setting(&format!("{TRAINED_ON}{version}"), self)
    }
}

/// A hash: beside 20,000 stored answers, one other answer in 200,000 is mistaken for one of them.
fn mark(id: DecisionId) -> u32 {
    (id.mixed() >> 32) as u32
}
