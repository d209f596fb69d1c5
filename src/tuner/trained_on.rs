//! Which answers a version was made of: what else the log has is news to it, whenever it was judged.
//!
//! Told by the time alone an import of older judgements would count as known. So a retune notes the decisions beside the
//! version that it makes, four bytes of each.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::lesson::{Evidence, Lesson};
use crate::bandit::Snapshot;
use crate::protocol::DecisionId;
use crate::store::{Store, StoreError};

/// Names of the notes: this and the version.
pub(super) const TRAINED_ON: &str = "policy.made_of.";

/// The answers, by [`mark`]s of their decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedOn {
    /// What made their features: the live policy may have begun anew beside another head.
    space: String,
    judged: HashSet<u32>,
    /// Those of which it only knew whether they had signals: judged since, they are news.
    unjudged: HashSet<u32>,
}

impl TrainedOn {
    /// Of what was `learned` and what nobody judged.
    pub fn new(space: &str, learned: &[Lesson], unjudged: &[Lesson]) -> Self {
        let judged = learned.iter().filter(|lesson| lesson.signal.is_none());
        Self {
            space: space.to_owned(),
            judged: judged.map(|lesson| mark(lesson.id)).collect(),
            unjudged: unjudged.iter().map(|lesson| mark(lesson.id)).collect(),
        }
    }

    /// Whether it has this answer, as one of that kind of evidence.
    pub fn has(&self, rests_on: Evidence, id: DecisionId) -> bool {
        let marks = match rests_on {
            Evidence::Judgements => &self.judged,
            Evidence::Signals => &self.unjudged,
        };
        marks.contains(&mark(id))
    }

    /// Those of `policy`; `None` where an earlier build made its version, or that was made beside another head than the one
    /// that the policy is beside now.
    pub(super) fn load(store: &Store, policy: &Snapshot) -> Result<Option<Self>, StoreError> {
        let noted = store.setting::<Self>(&format!("{TRAINED_ON}{}", policy.version))?;
        Ok(noted.filter(|noted| noted.space.is_empty() || noted.space == policy.space()))
    }

    /// Notes them as those of `version`; on disk when it returns.
    pub(super) fn save(&self, store: &Store, version: u64) -> Result<(), StoreError> {
        store.set_setting(&format!("{TRAINED_ON}{version}"), self)
    }
}

/// Of answers that are none of 20,000 one in 200,000 is taken for one of them.
fn mark(id: DecisionId) -> u32 {
    (id.mixed() >> 32) as u32
}
