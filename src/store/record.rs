//! The records of the decision log: a decision, how its request ended, and the feedback on it.
//!
//! The three are written at different times and share only the [`DecisionId`]: a decision when the model is chosen, an
//! outcome when the answer really ended, any number of feedbacks minutes or days later (or even before the outcome).
//! [`Entry`] joins the three.
//!
//! A record has what is needed to explain a choice and to learn from it again: features, candidates, propensities,
//! policy version. It has no text of a prompt or an answer, unless `store.prompts` is on; questions and conversations
//! are identified by keyed [`Fingerprint`]s, which cannot be guessed without the store's secret.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bandit::{Attribution, Grounds, Tradeoff};
use crate::protocol::{DecisionId, Dialect, FinishReason, ModelName, Needs, Objective, Usage};
pub use crate::protocol::{Excluded, Mode, OutcomeStatus, Shadow};

/// A record whose time lies further in the future than this, milliseconds, was written while the clock was wrong.
pub const AHEAD_MS: i64 = 60_000;

/// A keyed hash of a text (see [`Salt`](super::Salt)): shows whether two texts are the same, not what they are.
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

/// The request, as known when its model was chosen.
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
    /// The objective of the choice.
    pub objective: Objective,
    /// Capabilities that a model had to have.
    pub needs: Needs,
    /// Estimated prompt tokens.
    pub prompt_tokens: u32,
    /// The client's limit of generated tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Whether the answer was to be streamed.
    pub stream: bool,
    /// Fingerprint of the last user turn; absent inside a tool loop, where there is no new question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Fingerprint>,
    /// Fingerprint of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Fingerprint>,
    /// Whether the caller named the conversation or its user; otherwise it is recognised by its first turns.
    pub conversation_named: bool,
    /// User turns in the conversation, this one included.
    pub turn: u32,
    /// Whether none of the turns before was asked here, as far as the gateway remembers: they are examples, which other
    /// requests may begin with, too, or from before a restart.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub begun_elsewhere: bool,
    /// Id of the API token that asked; never the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The caller's labels.
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
            begun_elsewhere: false,
            token: None,
            tags: BTreeMap::new(),
            dry_run: false,
        }
    }
}

/// One model that could have been chosen, with its predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// The model.
    pub model: ModelName,
    /// Probability of a good answer as the classifier's head says it, before any learning from traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<f64>,
    /// Probability of a good answer as the choice used it, in [0, 1].
    pub quality: f64,
    /// Where `quality` is from: `posterior` where feedback has corrected the prior, else what the prior rests on:
    /// `head`, `like <model>`, `score` or `default`.
    pub quality_source: String,
    /// What the prior rests on.
    #[serde(default)]
    pub grounds: Grounds,
    /// Expected cost, US dollars.
    pub cost_usd: f64,
    /// Expected seconds until the answer is complete; absent = never measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_s: Option<f64>,
    /// Saving by the vendor's prompt cache, already taken off `cost_usd`, US dollars; absent where the conversation was
    /// not on this model, and in records of earlier programs, which have it as `switching_usd` of the other candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_usd: Option<f64>,
    /// Saving of `cost_usd` that its prompt cache would have given if the conversation, which was on another model, had
    /// been on this one, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cacheable_usd: Option<f64>,
    /// Cost beyond `cost_usd` of filling this model's prompt cache, had the conversation moved to it, US dollars.
    #[serde(default)]
    pub switching_usd: f64,
    /// The utility that the choice compared; 0 where it was not finite and the record came from JSON.
    #[serde(deserialize_with = "number_or_zero")]
    pub utility: f64,
    /// Probability of choosing it.
    pub propensity: f64,
    /// The summands of `quality`; empty where nothing was predicted, and in records of earlier programs.
    #[serde(default, skip_serializing_if = "Attribution::is_empty")]
    pub account: Attribution,
}

/// A number; `null`, which JSON has in place of infinity, becomes 0.
fn number_or_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(0.0))
}

/// One choice of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Its id.
    pub id: DecisionId,
    /// Time of the choice, Unix milliseconds.
    pub at_ms: i64,
    /// The request.
    #[serde(default)]
    pub request: RequestFacts,
    /// The features `z`; empty where the classifier did not answer in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<f32>,
    /// The feature space: only features of one space can be compared. Empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature_space: String,
    /// The task that the classifier recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Models that could have been chosen, with predictions and propensities.
    #[serde(default)]
    pub candidates: Vec<CandidateRecord>,
    /// Excluded models, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
    /// The model that was chosen (failover may have moved on: see [`OutcomeRecord::model`]).
    pub chosen: ModelName,
    /// Probability with which it was chosen; absent where unknown (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
    /// The version of the policy that chose; 0 = none: it was not asked, or in shadow.
    #[serde(default)]
    pub policy_version: u64,
    /// Judgements it had taken in since that version was promoted.
    #[serde(default)]
    pub policy_revision: u64,
    /// What a dollar and a second were worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tradeoff: Option<Tradeoff>,
    /// Whether exploration was on: only then do the propensities say what else could have been chosen.
    #[serde(default)]
    pub explore: bool,
    /// Whether another model had a higher utility, and this one was drawn to learn about it.
    #[serde(default)]
    pub explored: bool,
    /// How the model was chosen.
    #[serde(default)]
    pub mode: Mode,
    /// What the shadow policy would have chosen, in shadow mode and outside the rollout's share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Why, in one sentence for people.
    #[serde(default)]
    pub reason: String,
    /// The last user turn, only where `store.prompts` is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl DecisionRecord {
    /// Whether it was made among several models with exploration allowed, so that somebody's judgement of it teaches:
    /// by how many of these nobody judges the bandit's patience goes. One way to count them for the gateway, which
    /// makes them, and the learner, which reads the log.
    pub fn is_sampled(&self) -> bool {
        self.explore && self.candidates.len() > 1
    }

    /// Bytes that it takes packed, roughly; of texts that others choose, as if they did not pack.
    pub fn bytes(&self) -> usize {
        const ALWAYS: usize = 256;
        const CANDIDATE: usize = 80;
        const EXCLUDED: usize = 24;
        const FEATURE: usize = 5;
        let tags: usize = self.request.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        let rules: usize = self.request.rules.iter().map(String::len).sum();
        let prompt = self.prompt.as_ref().map_or(0, String::len);
        let parts =
            self.candidates.len() * CANDIDATE + self.excluded.len() * EXCLUDED + self.features.len() * FEATURE;
        ALWAYS + parts + tags + rules + prompt
    }
}

/// A sign of a bad answer that needs no rating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The request ended in an error of the backend.
    Error,
    /// The request ended in a timeout.
    Timeout,
    /// The answer ran into the token limit.
    Truncated,
    /// The client left before the answer was complete.
    Cancelled,
    /// The answer had neither text nor a tool call.
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
    /// Time of the end, Unix milliseconds.
    pub at_ms: i64,
    /// The model that answered, or was asked last; absent when none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The deployment that answered, or was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The status it ended with.
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
    /// Milliseconds from arrival to the last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Milliseconds from arrival to the first piece of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// Why the model stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// Signals of a bad answer, see [`signals`](fn@super::signals).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
}

impl OutcomeRecord {
    /// Bytes that it takes, roughly.
    pub fn bytes(&self) -> usize {
        192
    }

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

/// A judgement of an answer, in the form it was given. Serialised as on the wire: `{"rating": 4}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKind {
    /// A number in [0, 1].
    Score(f64),
    /// One to five stars.
    Rating(u8),
    /// A thumb.
    Thumbs(Thumb),
    /// Right or wrong, by an objective check.
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

/// Most bytes of a feedback's id.
pub const FEEDBACK_ID_BYTES: usize = 200;

/// One feedback on an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedbackRecord {
    /// Names this feedback among those of its decision: the same id again is a repetition, not a second opinion.
    pub id: String,
    /// The decision it is about.
    pub decision: DecisionId,
    /// Time of arrival, Unix milliseconds.
    pub at_ms: i64,
    /// Number in the order of arrival, given by the store; unlike `at_ms` it never goes back.
    #[serde(default)]
    pub seq: u64,
    /// The judgement.
    pub kind: FeedbackKind,
    /// A comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who or what judged: a user, a judge, a test.
    #[serde(default)]
    pub source: String,
}

impl FeedbackRecord {
    /// What a user said, without a comment.
    pub fn of(decision: DecisionId, id: impl Into<String>, kind: FeedbackKind, at_ms: i64) -> Self {
        Self { id: id.into(), decision, at_ms, seq: 0, kind, comment: None, source: "user".to_owned() }
    }

    /// Why it cannot be stored; `None` = it can.
    pub fn fault(&self) -> Option<&'static str> {
        if !self.kind.is_valid() {
            Some("a score is from 0 to 1, a rating from 1 to 5")
        } else if self.id.is_empty() || self.id.len() > FEEDBACK_ID_BYTES {
            Some("a feedback's id has 1 to 200 bytes")
        } else {
            None
        }
    }

    /// Bytes that it takes, roughly.
    pub fn bytes(&self) -> usize {
        const ALWAYS: usize = 128;
        ALWAYS + self.id.len() + self.source.len() + self.comment.as_ref().map_or(0, String::len)
    }
}

/// A decision with its outcome and feedback.
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
    /// Bytes that it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.decision.bytes()
            + self.outcome.as_ref().map_or(0, OutcomeRecord::bytes)
            + self.feedback.iter().map(FeedbackRecord::bytes).sum::<usize>()
    }

    /// The verdict of all feedback, in [0, 1]; `None` where there is none: missing is missing, not zero.
    ///
    /// Each source counts with its last feedback (a person may change their mind); different sources are averaged.
    pub fn verdict(&self) -> Option<f64> {
        let mut by_source: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
        for feedback in &self.feedback {
            let last = by_source.entry(&feedback.source).or_insert((feedback.seq, feedback.kind.value()));
            if feedback.seq >= last.0 {
                *last = (feedback.seq, feedback.kind.value());
            }
        }
        let count = by_source.len();
        (count > 0).then(|| by_source.values().map(|(_, value)| value).sum::<f64>() / count as f64)
    }

    /// The model whose answer the client saw, which after a failover is not the chosen one.
    pub fn answered_by(&self) -> Option<&ModelName> {
        self.outcome.as_ref().filter(|outcome| outcome.status == OutcomeStatus::Ok)?.model.as_ref()
    }
}
