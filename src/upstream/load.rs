//! How busy a deployment is: peak-EWMA, the expected wait for one more call.
//!
//! It is a moving average of latency, which rises at once with a slow answer and falls slowly, times the calls in
//! flight (Finagle's "peak EWMA" balancer). So a deployment that turns slow is avoided before it fails. An unmeasured
//! one counts as fast, so that a new deployment gets its first calls. Calls in flight count relative to the
//! deployment's fair share of them: one of weight 9 beside one of weight 1 is not busy because it holds nine of ten.

use std::time::{Duration, Instant};

/// The average halves in this time without an answer.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// Latency assumed before the first measurement, in seconds.
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
    /// Takes in one measured latency.
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

    /// The expected wait for one more call, in seconds, while `in_flight` calls are open and `fair` of them would be
    /// this deployment's share.
    pub fn cost(&self, in_flight: usize, fair: f64, now: Instant) -> f64 {
        self.decayed(now) * (in_flight as f64 + 1.0) / (fair + 1.0)
    }

    /// The expected latency; `None` = never measured.
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
        assert!((load.cost(0, 0.0, start) - 0.5).abs() < 1e-9);
        assert!((load.cost(3, 0.0, start) - 2.0).abs() < 1e-9);
        assert!((load.cost(3, 3.0, start) - 0.5).abs() < 1e-9, "its share of calls makes it no slower");
        assert!(load.cost(0, 0.0, start + HALF_LIFE) < 0.26);
        load.observe(Duration::from_millis(10), start + HALF_LIFE);
        assert!(load.cost(0, 0.0, start + HALF_LIFE) < 0.26);
    }
}
