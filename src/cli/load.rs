//! Flags that say where the configuration is, shared by all commands that read it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::WrongUse;
use crate::config::{self, Classifier, LoadArgs, Loaded, Precision};

/// A variable of the environment. One that is not UTF-8 is ignored, unless its name begins with `POINTSMAN`: then a
/// setting would be lost without a word.
fn variable((name, value): (OsString, OsString)) -> Option<anyhow::Result<(String, String)>> {
    match (name.to_str(), value.to_str()) {
        (Some(name), Some(value)) => Some(Ok((name.to_owned(), value.to_owned()))),
        _ if name.as_encoded_bytes().starts_with(b"POINTSMAN") => {
            Some(Err(anyhow!("the configuration is wrong: ${} is not UTF-8", name.to_string_lossy())))
        }
        _ => None,
    }
}

/// Where the configuration is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigArgs {
    /// A file laid over the defaults
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One value, as KEY=VALUE: --set routing.objective=cost (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    /// All inputs of loading.
    ///
    /// # Errors
    ///
    /// When a `--set` is no `KEY=VALUE`, or a variable that begins with `POINTSMAN` is not UTF-8.
    pub(super) fn load_args(&self) -> anyhow::Result<LoadArgs> {
        let flag = |set: &String| {
            let pair = set.split_once('=').filter(|(key, _)| !key.trim().is_empty());
            let (key, value) = pair.ok_or_else(|| WrongUse(format!("--set {set}: must be KEY=VALUE")))?;
            Ok(("--set".to_owned(), key.trim().to_owned(), value.trim().to_owned()))
        };
        Ok(LoadArgs {
            dir: std::env::current_dir().context("the current directory cannot be read")?,
            file: self.config.clone(),
            environment: std::env::vars_os().filter_map(variable).collect::<anyhow::Result<_>>()?,
            flags: self.set.iter().map(flag).collect::<anyhow::Result<_>>()?,
            sandbox: None,
        })
    }

    /// The configured settings with another encoder, so that it reads prompts as the gateway does. The precision is the
    /// file's own: the states agree with those of the configured precision, and share a cache.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub(super) fn encoder(&self, model: &str) -> anyhow::Result<Classifier> {
        let configured = self.load()?.config.classifier;
        Ok(Classifier { model: model.to_owned(), precision: Precision::default(), ..configured })
    }

    /// Loads the configuration.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn load(&self) -> anyhow::Result<Loaded> {
        config::load(&self.load_args()?).context("the configuration is wrong")
    }
}
