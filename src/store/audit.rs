//! Who changed what: every act of an operator, and every act of the tuner that changes what is in force.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::db::Store;
use super::encoding::encode;
use super::error::StoreError;

/// One act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// Who: a token's id, `dashboard`, `cli`, `tuner`.
    pub who: String,
    /// What was done, as a dotted verb: `policy.promote`, `model.disable`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Particulars. Never a secret.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl Store {
    /// Notes an act; on disk when it returns.
    ///
    /// # Errors
    /// When the database fails.
    pub fn audit(&self, record: &AuditRecord) -> Result<(), StoreError> {
        let trees = self.trees()?;
        let time = u64::try_from(record.at_ms).unwrap_or(0);
        let key = [time.to_be_bytes(), trees.db.generate_id()?.to_be_bytes()].concat();
        trees.audit.insert(key, encode(record)?)?;
        self.flush()
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
            let act = AuditRecord { at_ms, who: "cli".into(), action: action.into(), subject: "3".into(), detail };
            store.audit(&act).unwrap();
        }
        let actions: Vec<String> = store.audits(2).unwrap().into_iter().map(|act| act.action).collect();
        assert_eq!(actions, ["model.disable", "policy.pin"]);
    }
}
