//! Who serves models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Quirks;
use crate::protocol::Dialect;

/// Which certificate authorities are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roots {
    /// Mozilla's list, as built into the binary.
    #[default]
    Bundled,
    /// The operating system's, for a company's own authority.
    System,
}

/// A vendor or a server of one's own. Live.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Whether it takes part.
    pub enabled: bool,
    /// The wire format it speaks.
    pub dialect: Dialect,
    /// Where: up to and without `/chat/completions` (OpenAI), `/v1/messages` (Anthropic), `/api/chat` (Ollama).
    pub base_url: String,
    /// Environment variable that holds its key; absent = it wants none.
    pub key_env: Option<String>,
    /// File that holds its key.
    pub key_file: Option<PathBuf>,
    /// Headers sent with every call.
    pub headers: BTreeMap<String, String>,
    /// Which certificate authorities are believed.
    pub roots: Roots,
    /// Whether its models are asked for and added (Ollama's list call, OpenAI's `/models`).
    pub discover: bool,
    /// How it differs from its dialect.
    pub quirks: Quirks,
    /// The key, as resolved at load. Never printed, never serialised.
    #[serde(skip)]
    pub key: Option<SecretString>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            enabled: true,
            dialect: Dialect::OpenAi,
            base_url: String::new(),
            key_env: None,
            key_file: None,
            headers: BTreeMap::new(),
            roots: Roots::default(),
            discover: false,
            quirks: Quirks::default(),
            key: None,
        }
    }
}

impl Provider {
    /// Whether it asks for a key.
    pub fn wants_key(&self) -> bool {
        self.key_env.is_some() || self.key_file.is_some()
    }

    /// Whether it is asked for its models.
    pub fn discovers(&self) -> bool {
        self.enabled && self.discover
    }
}
