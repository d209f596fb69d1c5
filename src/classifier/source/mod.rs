//! Sources of models: the binary itself, a path, or a hub.

mod blobs;
mod client;
mod hub;
mod manifest;

use std::path::PathBuf;
use std::str::FromStr;

pub use manifest::{Artifact, Manifest, NOT_STATED};

use crate::config;

/// The builtin encoder. It is part of the binary, so that the gateway works from anywhere with nothing set up; its
/// pages are read when they are used.
static ENCODER: &[u8] = include_bytes!("../../../models/builtin/encoder.gguf");

/// The builtin head, which belongs to that encoder.
static HEAD: &[u8] = include_bytes!("../../../models/builtin/head.safetensors");

/// The manifest of what is in the binary.
const MANIFEST: &str = include_str!("../../../models/manifest.toml");

/// Where a model comes from, as `[classifier] model` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The one in the binary.
    Builtin,
    /// A GGUF file, or a folder with safetensors, `config.json` and `tokenizer.json`.
    Path(PathBuf),
    /// A repository of a hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
}

/// A model's files, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// GGUF in memory.
    Builtin(&'static [u8]),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A folder with safetensors.
    Folder(PathBuf),
}

/// Why a model's files cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name is not valid.
    #[error("`{0}` names no model; write builtin, a path, or hf:owner/name[@revision]")]
    Name(String),
    /// There is nothing at the path.
    #[error("{0}: there is no such GGUF file or folder with safetensors")]
    Missing(PathBuf),
    /// There is no folder for downloads.
    #[error("there is no place for downloads: set classifier.hub.cache_dir, or HF_HOME")]
    NoCache,
    /// Downloads are forbidden, and the cache does not have the model.
    #[error("{0} is not in the cache, and classifier.hub.offline forbids to fetch it")]
    Offline(String),
    /// The repository needs an access token.
    #[error("{repository} asks for an access token: put one into {variable}")]
    TokenWanted {
        /// The repository.
        repository: String,
        /// Where a token is looked for.
        variable: String,
    },
    /// The token is not accepted.
    #[error("{repository}: the access token is not accepted, or there is no such repository")]
    TokenRefused {
        /// The repository.
        repository: String,
    },
    /// The repository's licence has to be accepted first.
    #[error("{repository} is gated: open {page} with the account of the access token and accept its licence")]
    Gated {
        /// The repository.
        repository: String,
        /// Where.
        page: String,
    },
    /// The repository or the revision does not exist.
    #[error("there is no {repository} at revision {revision}, or a file of it is missing")]
    NotFound {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
    },
    /// The hub's rate limit was reached.
    #[error("the hub was asked too often (429); wait a little, or use an access token")]
    TooOften,
    /// Another refusal.
    #[error("the hub answers with status {0}")]
    Status(u16),
    /// The connection failed.
    #[error("the download broke off: {0}")]
    Cut(String),
    /// No byte came for too long.
    #[error("the hub has been silent for {0} seconds")]
    Silent(u64),
    /// The repository has no model that can be read.
    #[error("{0} has neither safetensors with config.json and tokenizer.json, nor a GGUF file")]
    NoModel(String),
    /// A downloaded file is damaged.
    #[error("{file} is damaged: {what}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The hub's answer is not valid.
    #[error("the hub's answer cannot be used: {0}")]
    Odd(String),
    /// Another program holds the download's lock and makes no progress.
    #[error("another program holds {lock}, and has brought no byte for {seconds} seconds")]
    Held {
        /// The file that shows it.
        lock: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The cache cannot be written.
    #[error("{path}: {why}; the model is kept there (classifier.hub.cache_dir)")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl SourceError {
    /// Whether another try may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::TooOften | Self::Cut(_) | Self::Silent(_) | Self::Corrupt { .. } | Self::Held { .. } => true,
            Self::Status(status) => *status >= 500,
            _ => false,
        }
    }
}

/// Hears how a download goes.
pub trait DownloadProgress {
    /// A file begins; `total` bytes, of which some may be there from an earlier try.
    fn begin(&mut self, _file: &str, _total: u64) {}
    /// Some more bytes have arrived.
    fn advance(&mut self, _bytes: u64) {}
    /// The file is complete.
    fn end(&mut self) {}
}

impl DownloadProgress for () {}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(name: &str) -> Result<Self, SourceError> {
        if name == "builtin" {
            return Ok(Self::Builtin);
        }
        let Some(hub) = name.strip_prefix("hf:") else {
            return if name.trim().is_empty() {
                Err(SourceError::Name(name.into()))
            } else {
                Ok(Self::Path(name.into()))
            };
        };
        let (repository, revision) = hub.split_once('@').unwrap_or((hub, "main"));
        let sound = |part: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
        };
        let mut parts = repository.split('/');
        let named = matches!((parts.next(), parts.next(), parts.next()), (Some(owner), Some(name), None) if sound(owner) && sound(name));
        let branch = !revision.is_empty() && revision.split('/').all(sound);
        if !named || !branch {
            return Err(SourceError::Name(name.into()));
        }
        Ok(Self::Hub { repository: repository.into(), revision: revision.into() })
    }
}

impl Source {
    /// The model's files: those on this machine, else downloaded, which `progress` follows. Blocks.
    ///
    /// # Errors
    ///
    /// See [`SourceError`].
    pub fn fetch(&self, hub: &config::Hub, progress: &mut dyn DownloadProgress) -> Result<Files, SourceError> {
        match self.here(hub)? {
            Some(files) => Ok(files),
            None => self.pull(hub, progress),
        }
    }

    /// The model's files, if they are on this machine.
    ///
    /// # Errors
    ///
    /// See [`SourceError`].
    pub fn here(&self, hub: &config::Hub) -> Result<Option<Files>, SourceError> {
        match self {
            Self::Builtin => Ok(Some(Files::Builtin(ENCODER))),
            Self::Path(path) if path.is_file() => Ok(Some(Files::Gguf(path.clone()))),
            Self::Path(path) if path.join("config.json").is_file() => Ok(Some(Files::Folder(path.clone()))),
            Self::Path(path) => Err(SourceError::Missing(path.clone())),
            Self::Hub { repository, revision } => Ok(hub::Remote::new(hub, repository, revision)?.cached()),
        }
    }

    /// Asks the hub for the files as they are there now, and downloads what is missing. Blocks.
    ///
    /// # Errors
    ///
    /// See [`SourceError`].
    pub fn pull(&self, hub: &config::Hub, progress: &mut dyn DownloadProgress) -> Result<Files, SourceError> {
        match self {
            Self::Hub { repository, revision } => hub::Remote::new(hub, repository, revision)?.download(progress),
            Self::Builtin | Self::Path(_) => self.fetch(hub, progress),
        }
    }
}

/// A file in the binary, by its name in the manifest.
pub fn builtin_bytes(file: &str) -> Option<&'static [u8]> {
    match file {
        "builtin/encoder.gguf" => Some(ENCODER),
        "builtin/head.safetensors" => Some(HEAD),
        _ => None,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
