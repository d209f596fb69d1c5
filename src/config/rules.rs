//! Static rules: what is known before anything is learned.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::protocol::Objective;

/// One rule. Rules are applied in order, and effects of all that match accumulate. Live.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name in explanations.
    pub name: String,
    /// When it matches: all given conditions must hold.
    pub when: When,
    /// The only model allowed; ends the list of rules.
    pub pin: Option<String>,
    /// Models to try first, in order.
    pub prefer: Vec<String>,
    /// Models not allowed.
    pub forbid: Vec<String>,
    /// Weights in place of the configured ones.
    pub weights: BTreeMap<String, f64>,
    /// The objective, where the request names none.
    pub objective: Option<Objective>,
    /// Whether the learned policy may explore.
    pub explore: Option<bool>,
}

/// Conditions of a rule. A list holds if one of its entries does; an empty one is refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Words in the text, whole and in any case.
    #[serde(deserialize_with = "filled")]
    pub keywords: Vec<String>,
    /// Regular expressions found in the text.
    #[serde(deserialize_with = "filled")]
    pub regex: Vec<String>,
    /// Which text is searched; by default [`Rule::looks_within`].
    pub within: Option<Within>,
    /// Languages of the last user turn, as ISO 639-3 codes (`eng`, `deu`, `cmn`).
    #[serde(deserialize_with = "filled")]
    pub language: Vec<String>,
    /// Scripts of the last user turn (`Latin`, `Cyrillic`, `Mandarin`).
    #[serde(deserialize_with = "filled")]
    pub script: Vec<String>,
    /// Least estimated prompt tokens.
    pub min_tokens: Option<u32>,
    /// Most estimated prompt tokens.
    pub max_tokens: Option<u32>,
    /// Properties of the request: all of these.
    #[serde(deserialize_with = "filled")]
    pub has: Vec<Trait>,
    /// Tasks as the classifier names them. Known only if the learned policy is asked and the prompt was read in time;
    /// else the condition does not hold.
    #[serde(deserialize_with = "filled")]
    pub task: Vec<String>,
    /// Names of API tokens.
    #[serde(deserialize_with = "filled")]
    pub token: Vec<String>,
    /// Request headers and the value each must have; `*` = any.
    #[serde(deserialize_with = "filled")]
    pub header: BTreeMap<String, String>,
    /// Labels from the request's `routing.tags`, and the value each must have; `*` = any.
    #[serde(deserialize_with = "filled")]
    pub tag: BTreeMap<String, String>,
}

/// A list or table with something in it. An empty one would be read as no condition at all: a rule that its operator
/// means to switch off by emptying its list would hold for every request.
fn filled<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialEq>(from: D) -> Result<T, D::Error> {
    let read = T::deserialize(from)?;
    if read == T::default() {
        let what = "is empty, and an empty condition would hold for every request: leave the key out if the rule is to \
                    hold whatever it says, or leave out the rule";
        return Err(D::Error::custom(what));
    }
    Ok(read)
}

impl Rule {
    /// Which text is searched for words and patterns. A rule that pins or forbids is about which models may see
    /// something, so it searches everything; others are about the kind of work, which the question tells.
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

    /// Whether a condition needs the text of the prompt.
    pub fn reads(&self) -> bool {
        let words = [&self.keywords, &self.regex, &self.language, &self.script];
        words.iter().any(|list| !list.is_empty()) || self.has.contains(&Trait::Code)
    }
}

/// The part of a request that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// The last user turn, without what a client adds to it in `<system-reminder>`; inside a tool loop that is still
    /// the question.
    Question,
    /// All that is sent: instructions, turns, tools with their arguments and results, schemas, documents that are
    /// text, fields that only the client's dialect knows, and everything else in a body that is sent as it came.
    Everything,
}

/// A property of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    /// Source code in the last user turn.
    Code,
    /// Tools.
    Tools,
    /// Images.
    Images,
    /// A format for the answer.
    StructuredOutput,
}
