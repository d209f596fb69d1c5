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
    /// Whether feedback changes the policy; it is kept in any case.
    pub enabled: bool,
    /// Whether the policy acts. A mode set through the admin API wins, and outlives a restart.
    pub mode: LearningMode,
    /// Share of conversations the policy acts on in mode `live`; the weights choose for the others.
    pub rollout: f64,
    /// Seconds between retunes, if there is anything new.
    pub interval_s: u64,
    /// New judgements after which a retune begins earlier.
    pub min_feedback: u64,
    /// Whether each judgement moves the live policy at once, between retunes.
    pub online: bool,
    /// Judgements that a retune learns from, the newest.
    pub window: usize,
    /// What a new policy must show before it takes over.
    pub gate: Gate,
    /// What takes a policy back.
    pub guard: Guard,
    /// What signals are worth as rewards.
    pub reward: RewardMap,
    /// How the policy explores and forgets.
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
    /// Judged random choices that the estimate needs.
    pub min_choices: usize,
    /// Confidence of the interval around the estimated gain.
    pub confidence: f64,
    /// How far below 0 the interval's lower end may lie, in points of utility.
    pub tolerance: f64,
    /// Upper bound of importance weights.
    pub clip: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { min_choices: 30, confidence: 0.9, tolerance: 0.05, clip: 20.0 }
    }
}

/// What takes a policy back. Each criterion compares requests since the promotion with as many before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Whether policies are watched.
    pub enabled: bool,
    /// Requests, and judgements, compared on each side.
    pub window: usize,
    /// Requests needed on each side before a comparison, and choices of the live version needed before another takes
    /// over by itself.
    pub min_requests: usize,
    /// Allowed rise of the share of failed requests, beyond what chance explains.
    pub error_rise: f64,
    /// Allowed factor on the mean cost of a request, beyond what chance explains.
    pub cost_factor: f64,
    /// Allowed fall of the mean judgement, beyond what chance explains.
    pub rating_drop: f64,
    /// Minutes after a roll-back in which no new policy takes over.
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

/// Rewards in place of judgements, for answers that nobody judged: a signal counts as far as the model has it more
/// often than the others, beyond chance. A signal without a value says nothing about quality (missing, not zero).
/// Errors and timeouts concern reliability and are not among the signals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardMap {
    /// Weight of a judgement.
    pub feedback_weight: f64,
    /// Weight of a signal.
    pub signal_weight: f64,
    /// Reward of an answer with neither text nor a tool call.
    pub empty: Option<f64>,
    /// Reward of an answer that should be JSON and is not.
    pub format_violated: Option<f64>,
    /// Reward of an answer after which the same question came again in its conversation.
    pub asked_again: Option<f64>,
    /// Reward of an answer that ran into the token limit.
    pub truncated: Option<f64>,
    /// Reward of an answer whose client went away before it was complete.
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

/// Names of the kinds of policy; `bandit::PolicyKind` says what each does.
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
    /// The name in the configuration.
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

/// How the policy explores and forgets. An absent value is the learner's default, which won its comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bandit {
    /// The kind of policy.
    pub policy: Option<PolicyName>,
    /// Number of later judgements after which an old one counts half.
    pub half_life: Option<f64>,
    /// Least probability of each eligible model.
    pub floor: Option<f64>,
}
