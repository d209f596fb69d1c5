//! Where a model comes from: the binary itself, a path, or a hub.

mod manifest;

use std::path::PathBuf;
use std::str::FromStr;

pub use manifest::{Artifact, Manifest};

use crate::config;

/// The builtin encoder. It is part of the binary, so that the gateway works from anywhere with nothing set up; its pages
/// are read when they are used.
static ENCODER: &[u8] = include_bytes!("../../../models/builtin/encoder.gguf");

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
    /// The name is none.
    #[error("`{0}` names no model; write builtin, a path, or hf:owner/name[@revision]")]
    Name(String),
    /// There is nothing at the path.
    #[error("{0}: there is no such GGUF file or folder with safetensors")]
    Missing(PathBuf),
}

/// Hears how a download goes.
pub trait Progress {
    /// A file begins; `total` bytes, of which some may be there from an earlier try.
    fn begin(&mut self, _file: &str, _total: u64) {}
    /// So many bytes more.
    fn advance(&mut self, _bytes: u64) {}
    /// The file is complete.
    fn end(&mut self) {}
}

impl Progress for () {}

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
    /// Its files, downloaded where needed and told to `progress`. Blocks.
    ///
    /// # Errors
    ///
    /// See [`SourceError`].
    pub fn fetch(&self, _hub: &config::Hub, _progress: &mut dyn Progress) -> Result<Files, SourceError> {
        match self {
            Self::Builtin => Ok(Files::Builtin(ENCODER)),
            Self::Path(path) if path.is_file() => Ok(Files::Gguf(path.clone())),
            Self::Path(path) if path.join("config.json").is_file() => Ok(Files::Folder(path.clone())),
            Self::Path(path) => Err(SourceError::Missing(path.clone())),
            Self::Hub { repository, .. } => Err(SourceError::Name(repository.clone())),
        }
    }
}
