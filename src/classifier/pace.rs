//! Predicts how long a reading will take, from how long earlier ones took.
//!
//! Under overload a prompt that is begun too late is read in vain, and delays those behind it that would still have
//! been in time. So a prompt that cannot be read within its time is turned away at once.
//!
//! The time of a batch is modelled as a constant plus a time for each token; on an accelerator the constant is nearly
//! all of it. Both are estimated from batches of different sizes, the newest counting most. Where all batches had about
//! the same size, time is taken to be proportional to tokens.
//!
//! An expectation may come from a slow moment that is over. Under load, prompts that are turned away lower it a little;
//! with little traffic, a prompt that comes after [`STALE`] without a reading is read in any case, and what was known
//! before is forgotten.

use std::time::{Duration, Instant};

/// Weight of the newest batch.
const NEWEST: f64 = 0.3;

/// A reading is allowed this many times its expected time.
const MARGIN: f64 = 1.25;

/// Factor on an expectation each time that it let no prompt begin: otherwise a slow moment would last for ever, because
/// nothing new is measured.
const DOUBT: f64 = 0.95;

/// How long an expectation that lets no prompt begin is kept. If it were shorter, a machine on which long prompts are
/// never in time would read most of them in vain.
const STALE: Duration = Duration::from_secs(3);

/// Batch sizes that differ by less than this share are too alike to estimate the time of a token.
const ALIKE: f64 = 0.1;

/// The time that a reading takes; absent = nothing was read yet.
#[derive(Debug, Default)]
pub(super) struct Pace {
    usual: Option<Usual>,
    observed: Option<Instant>,
}

/// Running mean of the batches, and their variance around it.
#[derive(Debug, Clone, Copy)]
struct Usual {
    tokens: f64,
    seconds: f64,
    /// Variance of the tokens.
    spread: f64,
    /// Covariance of tokens and seconds.
    along: f64,
}

impl Usual {
    /// Seconds for a batch of `tokens`: a line through the mean batch, with a slope between that of time proportional
    /// to tokens and zero.
    fn expected(&self, tokens: usize) -> f64 {
        let through_nothing = self.seconds / self.tokens;
        let alike = (ALIKE * self.tokens).powi(2);
        let per_token = (self.along + alike * through_nothing) / (self.spread + alike);
        self.seconds + per_token.clamp(0.0, through_nothing) * (tokens as f64 - self.tokens)
    }
}

impl Pace {
    /// Takes in a batch of `tokens` that took `took` and ended `now`.
    pub(super) fn observe(&mut self, tokens: usize, took: Duration, now: Instant) {
        self.observed = Some(now);
        let (tokens, seconds) = (tokens.max(1) as f64, took.as_secs_f64());
        self.usual = Some(match self.usual {
            None => Usual { tokens, seconds, spread: 0.0, along: 0.0 },
            Some(usual) => {
                let (more, longer) = (tokens - usual.tokens, seconds - usual.seconds);
                Usual {
                    tokens: usual.tokens + NEWEST * more,
                    seconds: usual.seconds + NEWEST * longer,
                    spread: (1.0 - NEWEST) * (usual.spread + NEWEST * more * more),
                    along: (1.0 - NEWEST) * (usual.along + NEWEST * more * longer),
                }
            }
        });
    }

    /// Whether `tokens` can be read within `left`, as far as is known.
    pub(super) fn fits(&self, tokens: usize, left: Duration) -> bool {
        self.usual.is_none_or(|usual| usual.expected(tokens) * MARGIN <= left.as_secs_f64())
    }

    /// Forgets an expectation that is too old to turn prompts away by; returns whether it did.
    pub(super) fn forget_stale(&mut self, now: Instant) -> bool {
        let is_stale = self.observed.is_some_and(|at| now.saturating_duration_since(at) > STALE);
        if is_stale {
            *self = Self::default();
        }
        is_stale
    }

    /// Lowers the expectation: prompts were turned away, and none begun.
    pub(super) fn doubt(&mut self) {
        self.usual =
            self.usual.map(|usual| Usual { seconds: usual.seconds * DOUBT, along: usual.along * DOUBT, ..usual });
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
        let (mut pace, now) = (Pace::default(), Instant::now());
        (0..20).for_each(|_| pace.observe(40, ms(40), now));
        assert!(pace.fits(40, ms(60)) && !pace.fits(40, ms(45)) && !pace.fits(160, ms(100)));
    }

    #[test]
    fn short_prompts_that_take_as_long_as_long_ones_speak_for_them() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for round in 0..30 {
            pace.observe([12, 15, 18, 255][round % 4], ms(10), now);
        }
        (0..10).for_each(|_| pace.observe(15, ms(10), now));
        assert!(pace.fits(255, ms(20)), "{pace:?}");
        let mut by_token = Pace::default();
        for round in 0..30 {
            let tokens = [12, 15, 18, 255][round % 4];
            by_token.observe(tokens, ms(tokens as u64), now);
        }
        assert!(by_token.fits(255, ms(330)) && !by_token.fits(255, ms(300)), "{by_token:?}");
    }

    #[test]
    fn a_slow_moment_is_forgotten() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.observe(10, ms(2000), now);
        let turned_away = (0..500).take_while(|_| {
            let away = !pace.fits(10, ms(100));
            pace.doubt();
            away
        });
        assert!((20..100).contains(&turned_away.count()));
        pace.observe(10, ms(10), now);
        assert!(pace.fits(10, ms(100)));
    }
    #[test]
    fn where_hardly_anybody_asks_a_slow_moment_is_forgotten_by_time() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.observe(10, ms(2000), now);
        assert!(!pace.forget_stale(now + STALE) && !pace.fits(10, ms(100)));
        assert!(pace.forget_stale(now + STALE + ms(1)) && pace.fits(10, ms(100)));
        // What takes as long again is known again.
        pace.observe(10, ms(2000), now + STALE + ms(2));
        assert!(!pace.forget_stale(now + STALE * 2) && !pace.fits(10, ms(100)));
    }
}
