//! The utility: one number to compare candidates by.

use serde::{Deserialize, Serialize};

use super::context::Candidate;

/// What a dollar and a second are worth, in points of quality (1 = the whole way from a useless to a perfect answer).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tradeoff {
    /// Quality given up to save one US dollar on one request. A budget's [`Pacer`](super::Pacer) adds to it.
    pub cost_per_usd: f64,
    /// Quality given up to have the answer one second sooner.
    pub latency_per_s: f64,
}

impl Tradeoff {
    /// `quality - cost_per_usd x (cost + switching) - latency_per_s x latency`. An unknown latency counts as 0: a model
    /// that was never measured is not punished for it.
    pub fn utility(&self, quality: f64, candidate: &Candidate<'_>) -> f64 {
        quality - self.burden(candidate)
    }

    /// The utility that the candidate's cost and latency take away.
    pub fn burden(&self, candidate: &Candidate<'_>) -> f64 {
        self.cost_per_usd * (candidate.cost_usd + candidate.switching_usd)
            + self.latency_per_s * candidate.latency_s.unwrap_or(0.0)
    }
}
