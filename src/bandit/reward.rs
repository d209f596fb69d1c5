//! The reward: a number in [0, 1], checked once, at construction.

use serde::{Deserialize, Serialize};

/// How good an answer was: 0 worst, 1 best. Quality alone; cost and latency are weighed when choosing, not when
/// learning, so that a new price needs no new feedback.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Reward(f64);

/// Not a reward.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a reward lies between 0 and 1, and {0} does not")]
pub struct RewardError(pub f64);

impl Reward {
    /// Checks the range.
    ///
    /// # Errors
    ///
    /// Below 0, above 1, or not a number.
    pub fn new(value: f64) -> Result<Self, RewardError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(RewardError(value)) }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Reward {
    type Error = RewardError;

    fn try_from(value: f64) -> Result<Self, RewardError> {
        Self::new(value)
    }
}

impl From<Reward> for f64 {
    fn from(reward: Reward) -> Self {
        reward.0
    }
}
