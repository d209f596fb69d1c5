//! Names and ids as types, so that a model's name is never taken for a request's id.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of a model as *this gateway* lists it (`gpt-4o`), which is also the name of its arm.
///
/// It is neither the id by which the upstream knows the model (`upstream` in the configuration) nor an alias: aliases
/// are resolved to a `ModelName` once, when a request arrives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// A name from text; clones share it.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a client that writes this name leaves the choice to the gateway: `auto`, or `auto:` with an objective.
    pub fn is_auto(name: &str) -> bool {
        name == "auto" || name.starts_with("auto:")
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ModelName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for ModelName {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The mixer of SplitMix64 (Steele, Lea, Flood 2014): numbers that differ in a few bits become some that differ in half
/// of theirs.
pub fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Identifies one routing decision; the key under which outcome and feedback are joined to it.
///
/// A version 7 UUID (RFC 9562): its time prefix keeps the store's keys in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(pub Uuid);

impl DecisionId {
    /// A hash of the whole id, evenly spread even over ids that were counted up. It is the same in every release.
    pub fn mixed(self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        mix(high ^ low)
    }

    /// The id that an answer has in `dialect`: the decision's, in the form that the dialect gives ids.
    pub fn as_answer_id(self, dialect: Dialect) -> String {
        match dialect.answer_prefix() {
            "" => self.to_string(),
            prefix => format!("{prefix}{}", self.0.as_simple()),
        }
    }

    /// The decision behind an answer's id, in whichever dialect, or the decision's own id.
    pub fn from_answer_id(id: &str) -> Option<Self> {
        let bare = Dialect::ALL.into_iter().find_map(|dialect| {
            Some(dialect.answer_prefix())
                .filter(|prefix| !prefix.is_empty())
                .and_then(|prefix| id.strip_prefix(prefix))
        });
        bare.unwrap_or(id).parse().ok()
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl std::str::FromStr for DecisionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()?))
    }
}

/// Identifies one HTTP request in log lines and answers; the client's own `x-request-id` where it sent a valid one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(pub Arc<str>);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A wire format for chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI Chat Completions and its many look-alikes.
    OpenAi,
    /// OpenAI Responses; upstream at servers of OpenAI's dialect that have it, for clients of this dialect and for models
    /// that do not think beside tools in Chat Completions.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// Ollama's native `/api/chat` (NDJSON). Upstream only.
    Ollama,
    /// Pointsman's own `/api/chat`. Client side only.
    Native,
}

impl Dialect {
    const ALL: [Self; 5] = [Self::OpenAi, Self::Responses, Self::Anthropic, Self::Ollama, Self::Native];

    /// The prefix of the dialect's answer ids.
    pub fn answer_prefix(self) -> &'static str {
        match self {
            Self::OpenAi => "chatcmpl-",
            Self::Responses => "resp_",
            Self::Anthropic => "msg_",
            Self::Ollama | Self::Native => "",
        }
    }

    /// The dialect's name in logs, metrics and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::Native => "native",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_id_leads_back_to_its_decision() {
        let decision: DecisionId = "019332a0-0000-7000-8000-000000000001".parse().unwrap();
        for dialect in Dialect::ALL {
            assert_eq!(DecisionId::from_answer_id(&decision.as_answer_id(dialect)), Some(decision), "{dialect:?}");
        }
        assert_eq!(decision.as_answer_id(Dialect::Anthropic), "msg_019332a0000070008000000000000001");
        assert_eq!(DecisionId::from_answer_id("chatcmpl-123"), None, "a vendor's own");
    }
}
