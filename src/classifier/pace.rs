//! How long a reading will take, by how long those before took.
//!
//! When more is asked than can be read, whoever is begun too late is read in vain, and holds up those behind who would still
//! have been in time. So who cannot be read within their time is told at once.

use std::time::Duration;

/// Weight of the newest batch.
const NEWEST: f64 = 0.3;

/// A reading may take so many times as long as the usual one.
const MARGIN: f64 = 1.25;

/// What an expectation keeps each time somebody is turned away by it: a slow moment must not outlast itself for want of
/// anything new to learn from.
const DOUBT: f64 = 0.95;

/// Seconds a token takes; absent = nothing was read yet.
#[derive(Debug, Default)]
pub(super) struct Pace {
    per_token: Option<f64>,
}

impl Pace {
    /// A batch of `tokens` took so long.
    pub(super) fn observe(&mut self, tokens: usize, took: Duration) {
        let new = took.as_secs_f64() / tokens.max(1) as f64;
        self.per_token = Some(self.per_token.map_or(new, |usual| usual + NEWEST * (new - usual)));
    }

    /// Whether `tokens` can be read within `left`, as far as is known.
    pub(super) fn fits(&self, tokens: usize, left: Duration) -> bool {
        self.per_token.is_none_or(|usual| usual * tokens as f64 * MARGIN <= left.as_secs_f64())
    }

    /// Somebody was turned away.
    pub(super) fn doubt(&mut self) {
        self.per_token = self.per_token.map(|usual| usual * DOUBT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn nobody_is_turned_away_unheard() {
        assert!(Pace::default().fits(256, ms(1)));
    }

    #[test]
    fn who_cannot_be_in_time_is_known_before() {
        let mut pace = Pace::default();
        (0..20).for_each(|_| pace.observe(40, ms(40)));
        assert!(pace.fits(40, ms(60)) && !pace.fits(40, ms(45)) && !pace.fits(160, ms(100)));
    }

    #[test]
    fn a_slow_moment_is_forgotten() {
        let mut pace = Pace::default();
        pace.observe(10, ms(2000));
        let turned_away = (0..500).take_while(|_| {
            let away = !pace.fits(10, ms(100));
            pace.doubt();
            away
        });
        assert!((20..100).contains(&turned_away.count()));
        pace.observe(10, ms(10));
        assert!(pace.fits(10, ms(100)));
    }
}
