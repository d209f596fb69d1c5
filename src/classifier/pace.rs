//! How long a reading will take, by how long those before took.
//!
//! When more is asked than can be read, whoever is begun too late is read in vain, and holds up those behind who would still
//! have been in time. So who cannot be read within their time is told at once.
//!
//! A reading takes so long a token, and so long however few they are: on a device of its own hardly anything but that. Both
//! are told from batches of different sizes, the newest counting most. Where all had about the same size, time is taken to
//! grow with the tokens.
//!
//! What is expected may be of a slow moment that is over. Under load every few who are turned away lower it a little; where
//! hardly anybody asks, whoever comes after [`STALE`] without a reading is read whatever is expected, and what was known
//! before is forgotten.

use std::time::{Duration, Instant};

/// Weight of the newest batch.
const NEWEST: f64 = 0.3;

/// A reading may take so many times as long as the usual one.
const MARGIN: f64 = 1.25;

/// What an expectation keeps each time nobody could be begun by it: a slow moment must not outlast itself for want of
/// anything new to learn from.
const DOUBT: f64 = 0.95;

/// How long an expectation holds by which nobody is begun. Shorter, and a machine on which long prompts never are in time would
/// read most of them in vain.
const STALE: Duration = Duration::from_secs(3);

/// Sizes that differ by less than this share tell nothing of what a token takes.
const ALIKE: f64 = 0.1;

/// What a reading takes; absent = nothing was read yet.
#[derive(Debug, Default)]
pub(super) struct Pace {
    usual: Option<Usual>,
    observed: Option<Instant>,
}

/// The usual batch, and how batches differ from it.
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
    /// A straight line through the usual batch, between one that goes through nothing and a level one.
    fn expected(&self, tokens: usize) -> f64 {
        let through_nothing = self.seconds / self.tokens;
        let alike = (ALIKE * self.tokens).powi(2);
        let per_token = (self.along + alike * through_nothing) / (self.spread + alike);
        self.seconds + per_token.clamp(0.0, through_nothing) * (tokens as f64 - self.tokens)
    }
}

impl Pace {
    /// A batch of `tokens` took so long, and was done `now`.
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

    /// Forgets what is too old to turn anybody away by; whether it was.
    pub(super) fn forget_stale(&mut self, now: Instant) -> bool {
        let is_stale = self.observed.is_some_and(|at| now.saturating_duration_since(at) > STALE);
        if is_stale {
            *self = Self::default();
        }
        is_stale
    }

    /// Somebody was turned away, and nobody begun.
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
