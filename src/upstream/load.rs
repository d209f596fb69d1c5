//! How busy a deployment is: peak-EWMA, the expected wait for one more call.
//!
//! A moving average of latency that jumps up at once to a slow answer and comes down slowly, times the calls in flight
//! (Finagle's "peak EWMA" balancer). A deployment that turns slow is so avoided before it fails. Nothing measured yet
//! counts as fast, so that a new deployment gets its first calls.

use std::time::{Duration, Instant};

/// After so long without an answer, half of what was known is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// Latency assumed of what was never measured, seconds.
const UNKNOWN_S: f64 = 0.001;

/// A moving average of latency that follows peaks at once.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    seconds: f64,
    at: Option<Instant>,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { seconds: UNKNOWN_S, at: None }
    }
}

impl PeakEwma {
    /// Takes in one latency.
    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let latency = latency.as_secs_f64();
        let decayed = self.decayed(now);
        self.seconds = if latency >= decayed || self.at.is_none() {
            latency
        } else {
            let weight = 0.5_f64.powf(self.age(now).max(0.1) / HALF_LIFE.as_secs_f64());
            decayed * weight + latency * (1.0 - weight)
        };
        self.at = Some(now);
    }

    /// The expected wait for one more call with `in_flight` calls open, seconds.
    pub fn cost(&self, in_flight: usize, now: Instant) -> f64 {
        self.decayed(now) * (in_flight as f64 + 1.0)
    }

    /// The latency it expects, where something was measured.
    pub fn latency(&self) -> Option<Duration> {
        self.at.map(|_| Duration::from_secs_f64(self.seconds))
    }

    fn age(&self, now: Instant) -> f64 {
        self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64())
    }

    fn decayed(&self, now: Instant) -> f64 {
        let kept = 0.5_f64.powf(self.age(now) / HALF_LIFE.as_secs_f64());
        (self.seconds * kept).max(UNKNOWN_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_count_at_once_and_fade() {
        let start = Instant::now();
        let mut load = PeakEwma::default();
        load.observe(Duration::from_millis(10), start);
        load.observe(Duration::from_millis(500), start);
        assert!((load.cost(0, start) - 0.5).abs() < 1e-9);
        assert!((load.cost(3, start) - 2.0).abs() < 1e-9);
        assert!(load.cost(0, start + HALF_LIFE) < 0.26);
        load.observe(Duration::from_millis(10), start + HALF_LIFE);
        assert!(load.cost(0, start + HALF_LIFE) < 0.26);
    }
}
