//! A circuit breaker: stops calls to a deployment that keeps failing, and lets one probe through from time to time.
//!
//! `Closed` lets calls through and counts failures; `Open` refuses them until a time; `HalfOpen` waits for the
//! verdict on one probe, and lets another through where none comes for long, each time for twice as long. A good
//! probe closes it, a bad one opens it again for twice as long. Two things open it: failures in a row (a dead
//! server), and a large share of failures among the last calls (a sick one).
//!
//! A verdict is of a call, which may have begun minutes ago. One that began before the state did says how things
//! were, and changes nothing: what hung before a probe must not fail it.
//!
//! It knows no clock: `now`, and when a call `begun`, come in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config;

/// Who asks while a first probe is under way is told to come back after so long: most say by then how they went.
const PROBE: Duration = Duration::from_secs(1);

/// The breaker's state, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Lets calls through.
    Closed,
    /// Lets one probe through.
    HalfOpen,
    /// Refuses calls.
    Open,
}

impl BreakerState {
    /// The state's name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: config::Breaker,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `since` = when the probe that closed it began; calls before that are of the past. None where it was never
    /// open.
    Closed {
        since: Option<Instant>,
        in_a_row: u32,
        recent: VecDeque<bool>,
    },
    Open {
        until: Instant,
        failed_probes: u32,
    },
    HalfOpen(Probing),
}

/// Waiting for the verdict on a probe.
#[derive(Debug, Clone, Copy)]
struct Probing {
    /// When the first of these probes began.
    first: Instant,
    /// When the last did.
    last: Instant,
    /// Probes of which nothing was heard for as long as was waited.
    unanswered: u32,
    failed_probes: u32,
}

impl State {
    fn closed(since: Option<Instant>) -> Self {
        Self::Closed { since, in_a_row: 0, recent: VecDeque::new() }
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: config::Breaker) -> Self {
        Self { settings, state: State::closed(None) }
    }

    /// Takes over new settings; the state stays.
    pub fn configure(&mut self, settings: config::Breaker) {
        self.settings = settings;
    }

    /// What it would say to a call now.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether a call would be let through now.
    pub fn would_admit(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => now >= until,
            State::HalfOpen(probing) => now >= probing.last + self.patience(probing),
        }
    }

    /// Lets a call through or not; a call let through out of `Open` is the probe. One that says nothing for as long as the
    /// breaker first opens is no reason to shut a place that is well: an answer may take minutes, or never come.
    pub fn admit(&mut self, now: Instant) -> bool {
        let admits = self.would_admit(now);
        match self.state {
            State::Open { failed_probes, .. } if admits => {
                self.state = State::HalfOpen(Probing { first: now, last: now, unanswered: 0, failed_probes });
            }
            State::HalfOpen(probing) if admits => {
                self.state = State::HalfOpen(Probing {
                    last: now,
                    unanswered: probing.unanswered.saturating_add(1),
                    ..probing
                });
            }
            _ => {}
        }
        admits
    }

    /// How long the last probe is waited for before another is let through.
    fn patience(&self, probing: Probing) -> Duration {
        self.pause_after(probing.unanswered)
    }

    /// So many things in a row went wrong: how long to wait then.
    fn pause_after(&self, times: u32) -> Duration {
        let doubled = self.settings.open_ms.saturating_mul(1 << times.min(20));
        Duration::from_millis(doubled.min(self.settings.max_open_ms))
    }

    /// A call that began then went well.
    pub fn succeed(&mut self, begun: Instant) {
        match &mut self.state {
            State::Closed { since, in_a_row, recent } if is_of_now(*since, begun) => {
                *in_a_row = 0;
                remember(recent, true, self.settings.window);
            }
            State::HalfOpen(probing) if begun >= probing.first => self.state = State::closed(Some(begun)),
            // Let through before it opened; the probe decides, not this one.
            State::Open { .. } | State::HalfOpen(_) | State::Closed { .. } => {}
        }
    }

    /// A call that began then lives and is not over: as a probe that is enough.
    pub fn lives(&mut self, begun: Instant) {
        if let State::HalfOpen(probing) = self.state
            && begun >= probing.first
        {
            self.state = State::closed(Some(begun));
        }
    }

    /// How long it lets no call through; while a probe is under way, about.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until, .. } => until.checked_duration_since(now).filter(|pause| !pause.is_zero()),
            State::HalfOpen(probing) => {
                let left = (probing.last + self.patience(probing)).checked_duration_since(now)?;
                let most = if probing.unanswered == 0 { PROBE } else { left };
                Some(left.min(most)).filter(|pause| !pause.is_zero())
            }
        }
    }

    /// A call that began then failed in a way that speaks against the deployment.
    pub fn fail(&mut self, begun: Instant, now: Instant) {
        let sick = match &mut self.state {
            State::Closed { since, in_a_row, recent } if is_of_now(*since, begun) => {
                *in_a_row += 1;
                remember(recent, false, self.settings.window);
                let full = recent.len() >= self.settings.window as usize;
                let failures = recent.iter().filter(|ok| !**ok).count() as f64;
                let share = failures / recent.len().max(1) as f64;
                *in_a_row >= self.settings.consecutive_failures || (full && share >= self.settings.failure_share)
            }
            State::HalfOpen(probing) if begun >= probing.first => {
                let failed_probes = probing.failed_probes + 1;
                return self.open(now, failed_probes);
            }
            State::Open { .. } | State::HalfOpen(_) | State::Closed { .. } => false,
        };
        if sick {
            self.open(now, 0);
        }
    }

    /// A call that began then ended without a verdict (the client went away): a probe so lost may be tried again at
    /// once.
    pub fn abandon(&mut self, begun: Instant, now: Instant) {
        if let State::HalfOpen(Probing { first, failed_probes, .. }) = self.state
            && begun >= first
        {
            self.state = State::Open { until: now, failed_probes };
        }
    }

    /// Closes it by hand.
    pub fn reset(&mut self) {
        self.state = State::closed(None);
    }

    fn open(&mut self, now: Instant, failed_probes: u32) {
        self.state = State::Open { until: now + self.pause_after(failed_probes), failed_probes };
    }
}

/// Whether a call that began then says something of a place that is well since the other moment.
fn is_of_now(since: Option<Instant>, begun: Instant) -> bool {
    since.is_none_or(|since| begun >= since)
}

fn remember(recent: &mut VecDeque<bool>, ok: bool, window: u32) {
    while recent.len() >= window as usize {
        recent.pop_front();
    }
    recent.push_back(ok);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> config::Breaker {
        config::Breaker { consecutive_failures: 3, failure_share: 0.5, window: 10, open_ms: 1000, max_open_ms: 3000 }
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings());
        for _ in 0..3 {
            assert!(breaker.admit(now));
            breaker.fail(now, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert!(!breaker.admit(after(now, 999)));
        assert!(breaker.admit(after(now, 1000)), "the probe");
        assert!(!breaker.admit(after(now, 1000)), "only one probe");
        breaker.succeed(after(now, 1000));
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(settings());
        (0..3).for_each(|_| breaker.fail(now, now));
        for pause in [1000, 2000, 3000, 3000] {
            assert!(!breaker.would_admit(after(now, pause - 1)));
            now = after(now, pause);
            assert!(breaker.admit(now));
            breaker.fail(now, now);
        }
    }

    #[test]
    fn a_large_share_of_failures_opens_it_without_a_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings());
        for round in 0..10 {
            assert_eq!(breaker.state(now), BreakerState::Closed, "round {round}");
            if round % 2 == 0 { breaker.succeed(now) } else { breaker.fail(now, now) }
        }
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn a_lost_probe_is_given_out_again() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings());
        (0..3).for_each(|_| breaker.fail(now, now));
        assert!(breaker.admit(after(now, 1000)));
        breaker.abandon(after(now, 1000), after(now, 1000));
        assert!(breaker.admit(after(now, 1000)));
    }

    #[test]
    fn a_probe_that_says_nothing_does_not_shut_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings());
        (0..3).for_each(|_| breaker.fail(now, now));
        assert!(breaker.admit(after(now, 1000)), "the probe, whose answer takes minutes");
        assert!(!breaker.admit(after(now, 1999)));
        assert_eq!(breaker.pause(after(now, 1999)), Some(Duration::from_millis(1)));
        assert!(breaker.admit(after(now, 2000)), "another");
        assert!(!breaker.would_admit(after(now, 2000)), "one at a time");
        assert_eq!(breaker.pause(after(now, 2000)), Some(Duration::from_secs(2)), "nobody is called back in vain");
        assert_eq!(breaker.state(after(now, 2000)), BreakerState::HalfOpen);
        assert!(!breaker.admit(after(now, 3999)) && breaker.admit(after(now, 4000)), "more and more seldom");
        assert!(!breaker.admit(after(now, 6999)) && breaker.admit(after(now, 7000)), "up to the longest");
        breaker.succeed(after(now, 1000));
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn it_says_for_how_long_and_a_probe_that_lives_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings());
        assert_eq!(breaker.pause(now), None);
        (0..3).for_each(|_| breaker.fail(now, now));
        breaker.lives(now);
        assert_eq!(breaker.pause(after(now, 400)), Some(Duration::from_millis(600)), "no probe");
        assert_eq!(breaker.pause(after(now, 1000)), None);
        assert!(breaker.admit(after(now, 1000)));
        assert!(breaker.pause(after(now, 1000)).is_some());
        breaker.lives(after(now, 1000));
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_late_success_does_not_close_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings());
        (0..3).for_each(|_| breaker.fail(now, now));
        breaker.succeed(now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn what_began_before_the_probe_says_nothing() {
        let (before, now) = (Instant::now(), after(Instant::now(), 60_000));
        let mut breaker = Breaker::new(settings());
        (0..3).for_each(|_| breaker.fail(before, now));
        let probe = after(now, 1000);
        assert!(breaker.admit(probe));
        breaker.fail(before, probe);
        breaker.abandon(before, probe);
        breaker.succeed(before);
        breaker.lives(before);
        assert_eq!(breaker.state(probe), BreakerState::HalfOpen);
        assert!(!breaker.would_admit(probe), "the probe is out still");
        breaker.succeed(probe);
        for _ in 0..10 {
            breaker.fail(before, after(probe, 1000));
        }
        assert_eq!(breaker.state(after(probe, 1000)), BreakerState::Closed, "what hung in the outage is over");
        (0..3).for_each(|_| breaker.fail(probe, after(probe, 1000)));
        assert_eq!(breaker.state(after(probe, 1000)), BreakerState::Open);
    }
}
