//! `models/manifest.toml`: what is committed under `models/`, with hashes, sizes, licences.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is committed under `models/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One entry per file.
    #[serde(default, rename = "artifact")]
    pub artifacts: Vec<Artifact>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its path below `models/`.
    pub file: String,
    /// `encoder` or `head`.
    pub kind: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// The licence it comes under; [`NOT_STATED`] where it is not known.
    pub license: String,
    /// What it was made from.
    pub base: String,
    /// What made it, below the repository's root.
    pub recipe: String,
    /// Layers of an encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Width of an encoder's states, or of what a head is fed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Tokens in an encoder's vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

/// The licence entry of a file whose licence is not known.
pub const NOT_STATED: &str = "not stated";

impl Artifact {
    /// Whether these are its bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && self.sha256 == super::hex(&Sha256::digest(bytes))
    }
}

impl Manifest {
    /// The manifest in the binary.
    ///
    /// # Errors
    ///
    /// Never in a binary whose tests passed.
    pub fn builtin() -> Result<Self, toml::de::Error> {
        toml::from_str(super::MANIFEST)
    }

    /// Reads a file; one that does not exist is an empty manifest.
    ///
    /// # Errors
    ///
    /// It exists and cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(std::io::Error::other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// The entry of a file.
    pub fn of(&self, file: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.file == file)
    }

    /// Puts an entry in its place, or adds it.
    pub fn put(&mut self, artifact: Artifact) {
        match self.artifacts.iter_mut().find(|other| other.file == artifact.file) {
            Some(place) => *place = artifact,
            None => self.artifacts.push(artifact),
        }
        self.artifacts.sort_by(|a, b| a.file.cmp(&b.file));
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = toml::to_string_pretty(self).map_err(std::io::Error::other)?;
        let head = "# What is committed under models/. Written by `pointsman train`; checked by `pointsman models verify`.\n\n";
        std::fs::write(path, format!("{head}{text}"))
    }
}
