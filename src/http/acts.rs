//! What operators change: in force at once, kept by the store, and noted with who, when, what, and the value before.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::middleware::caller::Caller;
use super::state::{Gateway, Live};
use crate::config::{ModelOverride, Overrides};
use crate::protocol::{ApiError, ErrorKind};
use crate::store::{AuditRecord, Store, write_private};

/// The store's name for what operators changed of the models.
pub const OVERRIDES: &str = "operator.models";

/// What holds the link that opens the dashboard where there is no password.
const LINK_FILE: &str = "dashboard.link";

/// An act to be noted.
#[derive(Debug, Clone)]
pub struct Act {
    /// Who.
    pub who: String,
    /// What, as a dotted verb.
    pub action: &'static str,
    /// To what.
    pub subject: String,
    /// Particulars: mostly `before` and `after`.
    pub detail: Value,
}

impl Act {
    /// An act of a caller.
    pub fn of(caller: &Caller, action: &'static str, subject: impl Into<String>, detail: Value) -> Self {
        Self { who: caller.who(), action, subject: subject.into(), detail }
    }
}

/// Keeps what operators changed of the models, where the configuration has ended some of it: `was` is what is kept.
pub fn keep_if_ended(store: &Store, was: &Overrides, is: &Overrides) {
    if was != is
        && let Err(error) = store.set_setting(OVERRIDES, is)
    {
        tracing::error!(error = %error, "What the configuration ended of operators' changes could not be kept");
    }
}

impl Gateway {
    /// Leaves a link that opens the dashboard at `host` once in a file of the data directory that its owner alone can
    /// read; where that is. `None` where no link is due, or no file can be written, which the log says.
    pub fn leave_link(&self, host: &str) -> Option<PathBuf> {
        let link = self.door.new_link()?;
        let text = format!("http://{host}/dashboard/login?link={link}\n");
        let dir = self.live().config.server.data_dir.clone();
        let left = write_private(&dir, LINK_FILE, &text).inspect_err(|error| {
            self.door.forget_link(&link);
            let file = dir.join(LINK_FILE);
            tracing::error!(file = %file.display(), %error, "The link that opens the dashboard could not be left in a file");
        });
        left.ok()
    }

    /// Notes an act, on disk when it returns. A store that is down does not undo what was done: the log has it too.
    pub async fn note(&self, act: Act) {
        tracing::info!(who = act.who, action = act.action, subject = act.subject, detail = %act.detail, "An operator acted");
        let record = AuditRecord {
            at_ms: Timestamp::now().as_millisecond(),
            who: act.who,
            action: act.action.to_owned(),
            subject: act.subject,
            detail: act.detail,
        };
        if let Err(error) = self.read_store(move |store| store.audit(&record)).await {
            tracing::error!(error = %error, "An act could not be noted");
        }
    }

    /// Changes what is overridden of a model: kept first, then in force. Returns it as it was and as it is.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store cannot keep it; then nothing is changed.
    pub async fn override_model(
        self: &Arc<Self>,
        model: &str,
        change: impl FnOnce(&mut ModelOverride),
    ) -> Result<(ModelOverride, ModelOverride), ApiError> {
        let _one_at_a_time = self.overriding.lock().await;
        let live = self.live();
        let mut overrides = live.config.overrides.clone();
        let before = overrides.of(model).cloned().unwrap_or_default();
        overrides.change(model, live.config.models.get(model), change);
        let after = overrides.of(model).cloned().unwrap_or_default();
        let kept = overrides.clone();
        self.read_store(move |store| store.set_setting(OVERRIDES, &kept)).await.map_err(|error| {
            ApiError::new(ErrorKind::Unavailable, format!("the change was not made: {}", error.message))
        })?;
        self.overridden(overrides);
        Ok((before, after))
    }

    /// Takes over what operators changed.
    pub fn overridden(&self, overrides: Overrides) {
        self.change_live(|before, discovered| {
            let mut config = before.config.clone();
            config.overrides = overrides;
            Live::new(config, before.settings.clone(), discovered, Some(before))
        });
    }
}
