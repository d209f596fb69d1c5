//! Operators' changes: in force at once, saved in the store, and noted in the audit with who, when, what, and the value
//! before.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Gateway, LiveConfig};
use crate::config::{ModelOverride, Overrides};
use crate::protocol::{ApiError, ErrorKind};
use crate::store::{AuditRecord, Store, write_private};

/// The store's key of operators' changes of the models.
pub const OVERRIDES: &str = "operator.models";

/// The file of the data directory that holds the one-time sign-in link.
const LINK_FILE: &str = "dashboard.link";

/// Saves operators' changes of the models where a new configuration has ended some of them; `was` is what is saved now.
pub fn save_if_ended(store: &Store, was: &Overrides, is: &Overrides) {
    if was != is
        && let Err(error) = store.set_setting(OVERRIDES, is)
    {
        tracing::error!(error = %error, "Operators' changes that the configuration ended could not be removed from the store");
    }
}

impl Gateway {
    /// Writes a one-time link to the dashboard at `host` into a file of the data directory that only its owner can
    /// read, and returns the file's path. `None` where no link is due, or (which is logged) the file cannot be written.
    pub fn leave_link(&self, host: &str) -> Option<PathBuf> {
        let link = self.sign_in.new_link()?;
        let text = format!("http://{host}/dashboard/login?link={link}\n");
        let dir = self.live().config.server.data_dir.clone();
        let left = write_private(&dir, LINK_FILE, &text).inspect_err(|error| {
            self.sign_in.forget_link(&link);
            let file = dir.join(LINK_FILE);
            tracing::error!(file = %file.display(), %error, "The link that opens the dashboard could not be left in a file");
        });
        left.ok()
    }

    /// Notes an act in the audit, on disk when this returns, and in a log line, which is all there is of it while the
    /// store is down.
    pub async fn note(&self, act: AuditRecord) {
        tracing::info!(who = act.who, action = act.action, subject = act.subject, detail = %act.detail, "An operator acted");
        if let Err(error) = self.with_store(move |store| store.audit(&act)).await {
            tracing::error!(error = %error, "An operator's act could not be written to the audit");
        }
    }

    /// Changes a model's overrides: saved first, then in force. Returns them as they were and as they are.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store cannot save them; then nothing is changed.
    pub async fn override_model(
        self: &Arc<Self>,
        model: &str,
        change: impl FnOnce(&mut ModelOverride),
    ) -> Result<(ModelOverride, ModelOverride), ApiError> {
        let _one_at_a_time = self.overriding.lock().await;
        let live = self.live();
        let mut overrides = live.config.overrides.clone();
        let before = overrides.of(model).cloned().unwrap_or_default();
        let is_listed = live.catalog.find(model).is_some_and(|model| model.discovered);
        overrides.change(model, live.config.models.get(model).filter(|_| !is_listed), change);
        let after = overrides.of(model).cloned().unwrap_or_default();
        let kept = overrides.clone();
        self.with_store(move |store| store.set_setting(OVERRIDES, &kept)).await.map_err(|error| {
            ApiError::new(ErrorKind::Unavailable, format!("the change was not made: {}", error.message))
        })?;
        self.put_in_force(overrides);
        Ok((before, after))
    }

    /// Puts operators' changes in force.
    pub fn put_in_force(&self, overrides: Overrides) {
        self.change_live(|before, discovered| {
            let mut config = before.config.clone();
            config.overrides = overrides;
            LiveConfig::new(config, before.settings.clone(), discovered, Some(before))
        });
    }
}
