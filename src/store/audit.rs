//! The audit: every act of an operator, and every rollback by a guard rail. A retune's version that the gate promotes
//! is not an act; its snapshot's record tells of it. Acts are kept as long as the decision log.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::db::Store;
use super::encoding::encode;
use super::error::StoreError;

/// One act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Time, Unix milliseconds.
    pub at_ms: i64,
    /// Who did it: `token` and its id, `dashboard` and a user, `local`, `tuner`; `demo` in the demonstration.
    pub who: String,
    /// The act, as a dotted verb: `policy.promote`, `model.change`, `token.revoke`.
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// Details. Never a secret.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl AuditRecord {
    /// The record of an act at `at_ms` (Unix milliseconds).
    pub fn of(who: &str, action: &str, subject: impl Into<String>, detail: Value, at_ms: i64) -> Self {
        Self { at_ms, who: who.into(), action: action.into(), subject: subject.into(), detail }
    }
}

impl Store {
    /// Notes an act; on disk when it returns.
    ///
    /// # Errors
    /// When the database fails.
    pub fn audit(&self, record: &AuditRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        let trees = self.trees_to_write(value.len())?;
        let time = u64::try_from(record.at_ms).unwrap_or(0);
        let key = [time.to_be_bytes(), trees.db.generate_id()?.to_be_bytes()].concat();
        trees.audit.insert(key, value)?;
        self.flush()
    }

    /// Deletes acts from before `cutoff_ms` (Unix milliseconds); the number deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_acts(&self, cutoff_ms: i64) -> Result<usize, StoreError> {
        let trees = self.trees()?;
        self.find_room_to_delete(0)?;
        let end = u64::try_from(cutoff_ms).unwrap_or(0).to_be_bytes();
        let mut old = sled::Batch::default();
        let mut count = 0;
        for key in trees.audit.range::<&[u8], _>(..&end[..]).keys() {
            old.remove(key?);
            count += 1;
        }
        trees.audit.apply_batch(old)?;
        Ok(count)
    }

    /// The last `limit` acts, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn audits(&self, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let trees = self.trees()?;
        let mut acts = Vec::new();
        for pair in trees.audit.iter().rev().take(limit) {
            let (key, value) = pair?;
            acts.extend(self.read::<AuditRecord>(&trees, &trees.audit, &key, &value));
        }
        Ok(acts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_come_back_newest_first() {
        let store = Store::in_memory().unwrap();
        for (at_ms, action) in [(1, "policy.promote"), (2, "policy.pin"), (2, "model.disable")] {
            let detail = serde_json::json!({"from": 1, "to": 2.5});
            store.audit(&AuditRecord::of("cli", action, "3", detail, at_ms)).unwrap();
        }
        let actions: Vec<String> = store.audits(2).unwrap().into_iter().map(|act| act.action).collect();
        assert_eq!(actions, ["model.disable", "policy.pin"]);
        assert_eq!(store.forget_acts(2).unwrap(), 1);
        assert_eq!((store.audits(9).unwrap().len(), store.forget_acts(2).unwrap()), (2, 0));
    }
}
