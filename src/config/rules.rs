//! Static rules: what is known before anything is learned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::Objective;

/// One rule. All rules are looked at in order; each that matches does its part. Live.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name in explanations.
    pub name: String,
    /// When it matches: every condition that is given must hold.
    pub when: When,
    /// Only this model; the first pin that matches counts, and no later rule looks on.
    pub pin: Option<String>,
    /// These first, in order.
    pub prefer: Vec<String>,
    /// Not these.
    pub forbid: Vec<String>,
    /// Weights in place of the configured ones.
    pub weights: BTreeMap<String, f64>,
    /// What to optimise, where the request says nothing.
    pub objective: Option<Objective>,
    /// Whether the learned policy may try out.
    pub explore: Option<bool>,
}

/// Conditions of a rule. A list holds if one of its entries does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Words in the text, whole and in any case.
    pub keywords: Vec<String>,
    /// Regular expressions found in the text.
    pub regex: Vec<String>,
    /// Which text; by default [`Rule::looks_within`].
    pub within: Option<Within>,
    /// Languages of the last user turn, as ISO 639-3 codes (`eng`, `deu`, `cmn`).
    pub language: Vec<String>,
    /// Scripts of the last user turn (`Latin`, `Cyrillic`, `Mandarin`).
    pub script: Vec<String>,
    /// Prompt tokens, as estimated: at least.
    pub min_tokens: Option<u32>,
    /// At most.
    pub max_tokens: Option<u32>,
    /// What the request has in it: all of these.
    pub has: Vec<Trait>,
    /// Kinds of work as the classifier calls them. Known where the learned policy is asked and the prompt was read in time;
    /// elsewhere this holds of nothing.
    pub task: Vec<String>,
    /// Names of API tokens.
    pub token: Vec<String>,
    /// Request headers and the value each must have; `*` = any.
    pub header: BTreeMap<String, String>,
    /// Labels from the request's `routing.tags`, and the value each must have; `*` = any.
    pub tag: BTreeMap<String, String>,
}

impl Rule {
    /// Where it looks for words and patterns. Whoever says which models may see something means it wherever it stands, and
    /// a conversation is sent again with each turn; what kind of work a request is, its question says.
    pub fn looks_within(&self) -> Within {
        let guards = self.pin.is_some() || !self.forbid.is_empty();
        self.when.within.unwrap_or(if guards { Within::Everything } else { Within::Question })
    }
}

impl When {
    /// Whether no condition is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a condition is about the words of the prompt.
    pub fn reads(&self) -> bool {
        let words = [&self.keywords, &self.regex, &self.language, &self.script];
        words.iter().any(|list| !list.is_empty()) || self.has.contains(&Trait::Code)
    }
}

/// A text of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// The last user turn, without what a client adds to it in `<system-reminder>`; inside a tool loop that is still the
    /// question.
    Question,
    /// All that is sent: instructions, turns, tools with their arguments and results, schemas, documents that are
    /// text, fields that only the client's dialect knows, and whatever else stands in a body that is sent as it came.
    Everything,
}

/// Something a request can have in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    /// Source code in the last user turn.
    Code,
    /// Tools to call.
    Tools,
    /// Pictures.
    Images,
    /// A shape the answer must have.
    StructuredOutput,
}
