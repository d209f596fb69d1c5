//! What the log holds: a decision, how its request ended, and what people said of it.
//!
//! The three are written at different times by different hands and share nothing but the [`DecisionId`]: a decision
//! when the model is chosen, an outcome when the answer really ended, any number of feedbacks minutes or days later
//! (or even before the outcome). [`Entry`] is the three joined.
//!
//! A record holds what is needed to explain a choice and to learn from it again: features, candidates, propensities,
//! policy version. It holds no text of a prompt or an answer, unless `store.prompts` is on; a question and a
//! conversation are told apart by keyed [`Fingerprint`]s, which nobody without the store's own secret can guess back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bandit::{Attribution, Grounds, Tradeoff};
use crate::protocol::{DecisionId, Dialect, FinishReason, ModelName, Needs, Objective, Usage};
pub use crate::protocol::{Mode, OutcomeStatus};

/// A record whose time lies further in the future than this, milliseconds, was written while the clock was wrong.
pub const AHEAD_MS: i64 = 60_000;

/// A keyed hash of a text (see [`Salt`](super::Salt)): tells whether two texts are the same, not what they say.
/// Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What was known of a request when its model was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestFacts {
    /// The dialect it came in; absent in imports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// The model as the client wrote it.
    pub requested: String,
    /// Names of the static rules that matched, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// What was optimised.
    pub objective: Objective,
    /// What a model had to be able to do.
    pub needs: Needs,
    /// Estimated prompt tokens.
    pub prompt_tokens: u32,
    /// Most tokens the client let be generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Whether the answer was to be streamed.
    pub stream: bool,
    /// The last user turn, as a fingerprint; absent inside a tool loop, where nothing is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Fingerprint>,
    /// The conversation, as a fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Fingerprint>,
    /// Whether the caller named the conversation or its user; else only its first turns speak for it.
    pub conversation_named: bool,
    /// User turns in the conversation, this one included.
    pub turn: u32,
    /// Id of the API token that asked; never the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Free labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Asked through `/api/route`: the caller makes the call and may report an outcome.
    pub dry_run: bool,
}

impl Default for RequestFacts {
    fn default() -> Self {
        Self {
            dialect: None,
            requested: String::new(),
            rules: Vec::new(),
            objective: Objective::Named(crate::protocol::NamedObjective::Balanced),
            needs: Needs::default(),
            prompt_tokens: 0,
            max_tokens: None,
            stream: false,
            question: None,
            conversation: None,
            conversation_named: false,
            turn: 1,
            token: None,
            tags: BTreeMap::new(),
            dry_run: false,
        }
    }
}

/// One model that could have been chosen, and what was predicted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// The model.
    pub model: ModelName,
    /// Probability of a good answer as the classifier's head says it, before any learning from traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<f64>,
    /// Probability of a good answer as the choice used it, in [0, 1].
    pub quality: f64,
    /// Where `quality` is from: `posterior` where feedback has corrected the prior, else what the prior rests on: `head`,
    /// `like <model>`, `score` or `default`.
    pub quality_source: String,
    /// How firm the prior was.
    #[serde(default)]
    pub grounds: Grounds,
    /// Expected cost, US dollars.
    pub cost_usd: f64,
    /// Expected seconds until the answer is there; absent = nobody was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_s: Option<f64>,
    /// What the vendor's prompt cache saves of `cost_usd`, US dollars; absent where the conversation was not on this
    /// model, and in logs of earlier programs: there `switching_usd` of the others has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_usd: Option<f64>,
    /// What its prompt cache would have saved of `cost_usd` if the conversation, which was on another model, had been on this
    /// one, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cacheable_usd: Option<f64>,
    /// What filling this model's prompt cache would have cost beyond `cost_usd`, had the conversation moved here, US
    /// dollars.
    #[serde(default)]
    pub switching_usd: f64,
    /// What the choice compared; 0 where JSON could not say it.
    #[serde(deserialize_with = "number_or_nothing")]
    pub utility: f64,
    /// Probability with which it was to be chosen.
    pub propensity: f64,
    /// What `quality` is made of; empty where nothing was predicted, and in logs of earlier programs.
    #[serde(default, skip_serializing_if = "Attribution::is_empty")]
    pub account: Attribution,
}

/// A number as JSON says it, which has no word for infinity: `null`.
fn number_or_nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(0.0))
}

/// One model that fell out before the choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedRecord {
    /// The model.
    pub model: ModelName,
    /// Why, as a clause for people.
    pub reason: String,
}

/// What a policy that only watches would have chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowRecord {
    /// The model.
    pub model: ModelName,
    /// Probability with which it was chosen.
    pub propensity: f64,
    /// The watching policy's version.
    pub policy_version: u64,
}

/// One choice of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Its id.
    pub id: DecisionId,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// What was asked.
    #[serde(default)]
    pub request: RequestFacts,
    /// The context `z`; empty where the classifier did not answer in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<f32>,
    /// What made the features: only vectors of one space can be compared. Empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature_space: String,
    /// The task the classifier saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Models that could have been chosen, with predictions and propensities.
    #[serde(default)]
    pub candidates: Vec<CandidateRecord>,
    /// Models that fell out, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<ExcludedRecord>,
    /// The model that was chosen (failover may have moved on: see [`OutcomeRecord::model`]).
    pub chosen: ModelName,
    /// Probability with which it was chosen; absent where it is not known (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
    /// The policy that chose; 0 = none: it was not asked, or only watched.
    #[serde(default)]
    pub policy_version: u64,
    /// Judgements it had taken in since that version was promoted.
    #[serde(default)]
    pub policy_revision: u64,
    /// What a dollar and a second were worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tradeoff: Option<Tradeoff>,
    /// Whether it might have been a try-out: only then do the propensities say what else could have happened.
    #[serde(default)]
    pub explore: bool,
    /// Whether another model looked better, and this one was chosen to find out.
    #[serde(default)]
    pub explored: bool,
    /// How it came to be chosen.
    #[serde(default)]
    pub mode: Mode,
    /// What the watching policy would have chosen, in shadow mode and outside the rollout's share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowRecord>,
    /// One sentence for people.
    #[serde(default)]
    pub reason: String,
    /// The last user turn, only where `store.prompts` is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Something an outcome says about the answer without anybody rating it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// It ended in an error that was the backend's.
    Error,
    /// It took too long.
    Timeout,
    /// It ran into the token limit.
    Truncated,
    /// The client went away before it was complete.
    Cancelled,
    /// It had neither text nor a tool call.
    Empty,
    /// JSON was asked for and did not come.
    FormatViolated,
    /// The same question came again in the same conversation.
    AskedAgain,
}

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The decision it belongs to.
    pub id: DecisionId,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// The model that answered, or was asked last; absent when none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The deployment that answered, or was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// How it ended.
    pub status: OutcomeStatus,
    /// Upstream calls made.
    #[serde(default)]
    pub attempts: u32,
    /// How often a further model had to be asked.
    #[serde(default)]
    pub failovers: u32,
    /// Tokens, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost in US dollars, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// From arrival to the last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// From arrival to the first piece of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// Why the model stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// What the outcome says about the answer, see [`signals`](fn@super::signals).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
}

impl OutcomeRecord {
    /// The end of a request of which nothing is known but when and how it ended.
    pub fn ended(id: DecisionId, at_ms: i64, status: OutcomeStatus) -> Self {
        Self {
            id,
            at_ms,
            model: None,
            backend: None,
            status,
            attempts: 0,
            failovers: 0,
            usage: None,
            cost_usd: None,
            latency_ms: None,
            first_token_ms: None,
            finish_reason: None,
            signals: Vec::new(),
        }
    }
}

/// A thumb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Thumb {
    Up,
    Down,
}

/// What was said of an answer, as it was said. Written as on the wire: `{"rating": 4}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKind {
    /// A number in [0, 1].
    Score(f64),
    /// One to five stars.
    Rating(u8),
    /// A thumb.
    Thumbs(Thumb),
    /// Right or wrong, from a check that knows.
    Correct(bool),
}

impl FeedbackKind {
    /// The value on the common scale, 0 worst and 1 best: stars are evenly spaced.
    pub fn value(self) -> f64 {
        match self {
            Self::Score(score) => score,
            Self::Rating(stars) => f64::from(stars.clamp(1, 5) - 1) / 4.0,
            Self::Thumbs(thumb) => f64::from(thumb == Thumb::Up),
            Self::Correct(right) => f64::from(right),
        }
    }

    /// Whether the value is in its range.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Score(score) => (0.0..=1.0).contains(&score),
            Self::Rating(stars) => (1..=5).contains(&stars),
            Self::Thumbs(_) | Self::Correct(_) => true,
        }
    }
}

/// What somebody said of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedbackRecord {
    /// Names this feedback among those of its decision: the same id again is a repetition, not a second opinion.
    pub id: String,
    /// The decision it is about.
    pub decision: DecisionId,
    /// When it arrived, in Unix milliseconds.
    pub at_ms: i64,
    /// Place in the order of arrival, given by the store; unlike `at_ms` it never goes back.
    #[serde(default)]
    pub seq: u64,
    /// What was said.
    pub kind: FeedbackKind,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who or what said it: a user, a judge, a test.
    #[serde(default)]
    pub source: String,
}

/// A decision and everything that came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The decision.
    pub decision: DecisionRecord,
    /// How the request ended; absent while it runs, or when the record was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeRecord>,
    /// All feedback, in order of arrival.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feedback: Vec<FeedbackRecord>,
}

impl Entry {
    /// The verdict of all feedback, in [0, 1]; `None` where there is none: missing is missing, not zero.
    ///
    /// Of one source the last word counts (a person may change their mind); different sources are averaged.
    pub fn verdict(&self) -> Option<f64> {
        let mut last_words: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
        for feedback in &self.feedback {
            let word = last_words.entry(&feedback.source).or_insert((feedback.seq, feedback.kind.value()));
            if feedback.seq >= word.0 {
                *word = (feedback.seq, feedback.kind.value());
            }
        }
        let count = last_words.len();
        (count > 0).then(|| last_words.values().map(|(_, value)| value).sum::<f64>() / count as f64)
    }

    /// The model whose answer the client saw, which after a failover is not the chosen one.
    pub fn answered_by(&self) -> Option<&ModelName> {
        self.outcome.as_ref().filter(|outcome| outcome.status == OutcomeStatus::Ok)?.model.as_ref()
    }
}
