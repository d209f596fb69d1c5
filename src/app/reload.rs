//! Reloads what changes while the gateway runs: the configuration (its files change, or a signal asks for it), the API
//! tokens (another process may edit their file), and the classifier's head.
//!
//! Polling sees every kind of change (editors that replace the file, mounted secrets, network disks) and costs a few
//! system calls.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::classifier::Classifier;
use crate::config::{self, Config, ConfigErrors, LoadArgs, Loaded, Stamp, Stamped};
use crate::gateway::Gateway;
use crate::store::Tokens;

/// How often files are looked at for changes.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// What the configuration is reloaded from. Behind a lock, so that the one in force is the one read last, and no change
/// is taken over twice.
#[derive(Debug)]
pub(super) struct Reloader {
    args: LoadArgs,
    /// The files that were read last, as they were before.
    files: Vec<Stamped>,
    /// How changed files looked at the last poll: a file half written may be a valid configuration that lacks its last
    /// rules, so a change is taken over once two polls see the same.
    changing: Option<Vec<Stamped>>,
    /// The files of the configuration in force, as they were when it was read.
    in_force: Vec<Stamped>,
    /// A reload was refused because one of these files had become empty.
    refused_empty: bool,
}

/// What asks for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// SIGHUP, or a call of [`App::reload`](super::App::reload).
    Request,
    /// A file has changed.
    Change,
}

impl Reloader {
    pub(super) fn new(args: LoadArgs, files: Vec<Stamped>) -> Self {
        Self { args, in_force: files.clone(), files, changing: None, refused_empty: false }
    }

    fn files_now(&self) -> Vec<Stamped> {
        self.files.iter().map(Stamped::again).collect()
    }

    /// Loads the configuration again and takes it over. A panic on the way is returned as an error, so that the polling
    /// goes on.
    pub(super) fn reload(&mut self, gateway: &Gateway, trigger: Trigger) -> Result<(), ConfigErrors> {
        let before = self.files_now();
        // A second request confirms an emptied file.
        let emptied = self.emptied().filter(|_| trigger == Trigger::Change || !self.refused_empty);
        self.refused_empty |= emptied.is_some();
        let taken = match emptied {
            Some(file) => {
                let file = file.display();
                Err(ConfigErrors(vec![format!("{file} has become empty; if that is meant, send another SIGHUP")]))
            }
            None => catch_panic(|| take_over(gateway, &self.args)),
        };
        match taken {
            Ok(files) => {
                gateway.set_config_errors(Vec::new());
                // Other files may have been read this time.
                *self = Self::new(std::mem::take(&mut self.args), files);
                Ok(())
            }
            Err(errors) => {
                gateway.set_config_errors(errors.0.clone());
                self.files = before;
                Err(errors)
            }
        }
    }

    /// A file of the configuration in force that has become empty since it was read.
    fn emptied(&self) -> Option<PathBuf> {
        let emptied = self.in_force.iter().find(|file| file.again().stamp.lost_all_since(&file.stamp));
        emptied.map(|file| file.path.clone())
    }
}

fn catch_panic<T>(work: impl FnOnce() -> Result<T, ConfigErrors>) -> Result<T, ConfigErrors> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "taking it over ended in a panic, which is told on standard error; restart once it is mended";
        Err(ConfigErrors(vec![message.into()]))
    })
}

/// Loads the configuration and puts it in force; returns the files it was read from.
fn take_over(gateway: &Gateway, args: &LoadArgs) -> Result<Vec<Stamped>, ConfigErrors> {
    let Loaded { config, settings, files, .. } = config::load(args)?;
    let late = config::needs_restart(&gateway.live().config, &config);
    if !late.is_empty() {
        tracing::warn!(changed = late.join(", "), "These changes take hold after a restart");
    }
    let live = gateway.live();
    let kept = config::keep_fixed(config, &live.config);
    gateway.configure(kept, config::keep_fixed_settings(settings, &live.settings));
    tracing::info!("Took over a changed configuration");
    Ok(files)
}

fn take_over_tokens(gateway: &Gateway) {
    let dir = &gateway.live().config.server.data_dir;
    let had_some = !gateway.tokens().is_empty();
    match Tokens::load(dir) {
        // Revoking the last token leaves an empty list. Without a file every program of this machine would be let in.
        Ok(tokens) if tokens.is_empty() && had_some && !Tokens::path(dir).exists() => {
            let file = Tokens::path(dir);
            tracing::error!(file = %file.display(), "The file of API tokens is gone; the old ones stay in force");
        }
        Ok(tokens) => {
            if tokens.is_empty() && had_some {
                tracing::warn!(
                    "No API token is left: where access.auth is \"auto\" programs of this machine need none now"
                );
            }
            gateway.set_tokens(tokens);
            tracing::info!("Took over changed API tokens");
        }
        Err(error) => {
            tracing::error!(error = %error, "API tokens cannot be read; the old ones stay in force")
        }
    }
}

/// Polls the files of the configuration, the API tokens and the classifier's head until `stop`.
pub(super) async fn watch_files(
    gateway: Arc<Gateway>,
    reloader: Arc<Mutex<Reloader>>,
    mut seen: Seen,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL_EVERY) => {}
            () = stop.cancelled() => return,
        }
        let (polling, reloading, tokens) = (Arc::clone(&gateway), Arc::clone(&reloader), seen.tokens);
        // Files may be on a disk that hangs.
        let polled = tokio::task::spawn_blocking(move || poll(&polling, &reloading, &tokens));
        let now = tokio::select! {
            now = polled => now,
            () = stop.cancelled() => return,
        };
        let Ok(now) = now else { continue };
        seen.tokens = now.tokens;
        if now.head != seen.head && gateway.classifier.is_ready() {
            swap_head(gateway.classifier.clone(), now.head.0.clone()).await;
            seen.head = now.head;
        }
    }
}

/// Looks at the files, and takes over what has changed of the configuration and the API tokens; the files as they are
/// now.
fn poll(gateway: &Gateway, reloader: &Mutex<Reloader>, tokens: &Stamp) -> Seen {
    let now = Seen::now(&gateway.live().config);
    reload_if_changed(gateway, reloader);
    if now.tokens != *tokens {
        take_over_tokens(gateway);
    }
    now
}

/// Takes over changed files once two polls have seen the same.
fn reload_if_changed(gateway: &Gateway, reloader: &Mutex<Reloader>) {
    let mut reloader = reloader.lock();
    let now = Some(reloader.files_now()).filter(|now| *now != reloader.files);
    let is_whole = now.is_some() && now == reloader.changing;
    reloader.changing = now;
    if is_whole && let Err(errors) = reloader.reload(gateway, Trigger::Change) {
        tracing::error!(errors = %errors, "The changed configuration is wrong; the old one stays in force");
    }
}

/// Takes over a changed head off the async threads.
async fn swap_head(classifier: Classifier, name: String) {
    let swapped = tokio::task::spawn_blocking(move || classifier.swap_head(&name).map(|()| name)).await;
    match swapped {
        Ok(Ok(head)) => tracing::info!(head, "Took over a changed head"),
        Ok(Err(error)) => tracing::error!(error = %error, "The changed head is not used; the old one stays in force"),
        Err(error) => {
            tracing::error!(error = %error, "Taking over a head ended in a panic; the old one stays in force")
        }
    }
}

/// Polled files beside the configuration's own, as they were when they were last read.
pub(super) struct Seen {
    tokens: Stamp,
    /// The head's name, and its file where that is a path.
    head: (String, Stamp),
}

impl Seen {
    /// The files as they are now.
    pub(super) fn now(config: &Config) -> Self {
        let head = &config.classifier.head;
        let tokens = Stamp::of(&Tokens::path(&config.server.data_dir));
        Self { tokens, head: (head.clone(), Stamp::of(Path::new(head))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_panics_is_an_error_and_no_end() {
        let errors = catch_panic::<()>(|| panic!("as a semaphore does")).unwrap_err();
        assert!(errors.to_string().contains("panic"), "{errors}");
        assert_eq!(catch_panic(|| Ok(1)), Ok(1));
    }
}
