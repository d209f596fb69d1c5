//! How feedback becomes a policy, and what a new policy must show before it takes over.

use serde::{Deserialize, Serialize};

/// Whether the learned policy acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LearningMode {
    /// It chooses.
    #[default]
    Live,
    /// It only says what it would have chosen; the weights choose.
    Shadow,
}

/// The learner. Live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Learning {
    /// Whether feedback changes the policy. Off: the policy stays as it is, feedback is still kept.
    pub enabled: bool,
    /// Whether the policy acts. The admin API may set another, which then outlives a restart.
    pub mode: LearningMode,
    /// In mode `live`: the share of conversations it acts on; the weights choose for the others.
    pub rollout: f64,
    /// A retune begins after so many seconds, if there is anything new.
    pub interval_s: u64,
    /// Or as soon as so many new judgements are there.
    pub min_feedback: u64,
    /// Whether each judgement moves the live policy at once, between retunes.
    pub online: bool,
    /// Most judgements, the newest, that a retune learns from.
    pub window: usize,
    /// What a new policy must show.
    pub gate: Gate,
    /// What takes a policy back.
    pub guard: Guard,
    /// What signals are worth as rewards.
    pub reward: RewardMap,
    /// How it explores and forgets.
    pub bandit: Bandit,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: LearningMode::default(),
            rollout: 1.0,
            interval_s: 300,
            min_feedback: 100,
            online: true,
            window: 20_000,
            gate: Gate::default(),
            guard: Guard::default(),
            reward: RewardMap::default(),
            bandit: Bandit::default(),
        }
    }
}

/// What a new policy must show before it takes over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Judged choices made at random that the estimate must rest on.
    pub min_choices: usize,
    /// Confidence of the interval around the estimated gain.
    pub confidence: f64,
    /// The interval's lower end may lie so far below 0, in points of utility.
    pub tolerance: f64,
    /// Importance weights are cut off here.
    pub clip: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { min_choices: 30, confidence: 0.9, tolerance: 0.05, clip: 20.0 }
    }
}

/// What takes a policy back. Each compares requests since the promotion with as many before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Whether it watches.
    pub enabled: bool,
    /// Requests, and judgements, looked at on each side.
    pub window: usize,
    /// Requests there must be on each side before anything is said, and choices of the live version before another
    /// takes over by itself.
    pub min_requests: usize,
    /// The share of requests that fail may rise by so much, beyond what chance explains.
    pub error_rise: f64,
    /// Mean cost of a request may rise to so many times what it was, and as far beyond as chance explains.
    pub cost_factor: f64,
    /// The mean judgement may fall by so much, beyond what chance explains.
    pub rating_drop: f64,
    /// After a roll-back no new policy takes over for so many minutes.
    pub hold_minutes: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            enabled: true,
            window: 500,
            min_requests: 50,
            error_rise: 0.1,
            cost_factor: 3.0,
            rating_drop: 0.1,
            hold_minutes: 60,
        }
    }
}

/// What is made of an answer where nobody judged it: as far as its model has the signal more often than the others
/// do, beyond chance. A signal that has no value here says nothing of quality: missing is missing, not zero. Errors
/// and timeouts are matters of reliability and have no place here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardMap {
    /// How much a judgement counts.
    pub feedback_weight: f64,
    /// How much a signal counts beside it.
    pub signal_weight: f64,
    /// Neither text nor a tool call came.
    pub empty: Option<f64>,
    /// JSON was asked for and did not come.
    pub format_violated: Option<f64>,
    /// The same question came again in the same conversation.
    pub asked_again: Option<f64>,
    /// The answer ran into the token limit.
    pub truncated: Option<f64>,
    /// The client went away before the answer was complete.
    pub cancelled: Option<f64>,
}

impl Default for RewardMap {
    fn default() -> Self {
        Self {
            feedback_weight: 1.0,
            signal_weight: 0.5,
            empty: Some(0.0),
            format_violated: Some(0.0),
            asked_again: Some(0.2),
            truncated: None,
            cancelled: None,
        }
    }
}

/// The kinds of policy there are; `bandit::PolicyKind` says what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PolicyName {
    Greedy,
    EpsilonGreedy,
    LinUcb,
    Thompson,
    InverseGap,
}

impl PolicyName {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::EpsilonGreedy => "epsilon_greedy",
            Self::LinUcb => "lin_ucb",
            Self::Thompson => "thompson",
            Self::InverseGap => "inverse_gap",
        }
    }
}

/// How the policy explores and forgets. An absent value is the learner's own, which won its comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bandit {
    /// The kind of policy.
    pub policy: Option<PolicyName>,
    /// Judgements after which an old one counts half.
    pub half_life: Option<f64>,
    /// Probability that each eligible model keeps in any case.
    pub floor: Option<f64>,
}
