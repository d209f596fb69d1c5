//! Providers: vendors and servers that serve models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};

use super::Quirks;
use crate::protocol::Dialect;

/// Which certificate authorities are trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roots {
    /// Mozilla's list, as built into the binary.
    #[default]
    Bundled,
    /// The operating system's list, for a company's own authority.
    System,
}

/// The dialects that a provider may speak; the others are for clients.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Spoken {
    OpenAi,
    Anthropic,
    Ollama,
}

fn spoken<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Dialect, D::Error> {
    Ok(match Spoken::deserialize(deserializer)? {
        Spoken::OpenAi => Dialect::OpenAi,
        Spoken::Anthropic => Dialect::Anthropic,
        Spoken::Ollama => Dialect::Ollama,
    })
}

/// A vendor or an own server. Live.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Whether it takes part.
    pub enabled: bool,
    /// The wire format it speaks.
    #[serde(deserialize_with = "spoken")]
    pub dialect: Dialect,
    /// The base URL: up to and without `/chat/completions` (OpenAI), `/v1/messages` (Anthropic), `/api/chat`
    /// (Ollama).
    pub base_url: String,
    /// Environment variable that holds its key; absent = it needs none.
    pub key_env: Option<String>,
    /// File that holds its key; wins over the variable.
    pub key_file: Option<PathBuf>,
    /// Headers sent with every call.
    pub headers: BTreeMap<String, String>,
    /// Which certificate authorities are trusted.
    pub roots: Roots,
    /// Whether its list of models is read, and the models added (Ollama's list call, else `/models`).
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
    /// Whether it needs a key.
    pub fn wants_key(&self) -> bool {
        self.key_env.is_some() || self.key_file.is_some()
    }

    /// Whether it needs a key and has none.
    pub fn lacks_key(&self) -> bool {
        self.wants_key() && self.key.is_none()
    }

    /// Whether its list of models is read.
    pub fn discovers(&self) -> bool {
        self.enabled && self.discover
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn of_the_dialects_those_of_providers_are_offered() {
        for slip in ["openia", "native", "responses"] {
            let error = format!("providers.openai.dialect = '{slip}'").parse::<Config>().unwrap_err().to_string();
            let offered = format!("unknown variant `{slip}`, expected one of `openai`, `anthropic`, `ollama` (");
            assert!(error.starts_with(&format!("providers.openai.dialect: {offered}")), "{error}");
        }
    }
}
