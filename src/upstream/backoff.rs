//! How long to wait before trying again: doubling pauses with full jitter, so that clients that failed together do not
//! come back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// Pauses that double up to a maximum.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Longest pause before the first retry.
    pub first: Duration,
    /// Longest pause before any retry.
    pub longest: Duration,
}

impl Backoff {
    /// The pause before retry number `retry` (from 0); `chance` is a draw from [0, 1).
    pub fn pause(&self, retry: u32, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << retry.min(16));
        doubled.min(self.longest).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(350) };
        let pauses: Vec<u128> = (0..4).map(|retry| backoff.pause(retry, 1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
        assert_eq!(backoff.pause(3, 0.0), Duration::ZERO);
    }
}
