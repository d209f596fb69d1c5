//! A circuit breaker: stops calls to a deployment that keeps failing, and lets one probe through from time to time.
//!
//! `Closed` lets calls through and counts failures; `Open` refuses them until a time; `HalfOpen` waits for the result
//! of one probe, and lets another through when the probe stays silent, waiting twice as long each time. A good probe
//! closes the breaker, a bad one opens it again for twice as long. Two things open it: failures in a row (a dead
//! server), and a large share of failures among the last calls (a sick one).
//!
//! A result belongs to a call that may have begun minutes ago. When the call began before the breaker's present state
//! did, its result is ignored: a call that hung before a probe must not fail the probe.
//!
//! The breaker reads no clock: the caller passes `now`, and the time at which the call was `begun`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config;

/// Longest `Retry-After` told to callers during the first probe: most probes have answered by then.
const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The breaker's state, as shown on the dashboard and in metrics.
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
    /// `since` = when the probe that closed the breaker began; results of earlier calls are ignored. `None` = no
    /// probe closed it.
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

/// Waiting for the result of a probe.
#[derive(Debug, Clone, Copy)]
struct Probing {
    /// When the first of these probes began.
    first: Instant,
    /// When the latest probe began.
    last: Instant,
    /// Probes before the latest that stayed silent until their time was over.
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

    /// The state a call would meet now.
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
            State::HalfOpen(probing) => now >= probing.last + self.probe_timeout(probing),
        }
    }

    /// Whether this call may go ahead; the first one let through out of `Open` is the probe. A silent probe does not
    /// keep a healthy deployment shut: after [`Self::probe_timeout`] another is let through, since an answer may take
    /// minutes, or never come.
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

    /// How long the latest probe is waited for before another is let through.
    fn probe_timeout(&self, probing: Probing) -> Duration {
        self.pause_after(probing.unanswered)
    }

    /// The pause after `times` failed or silent probes: `open_ms`, doubled each time, up to `max_open_ms`.
    fn pause_after(&self, times: u32) -> Duration {
        let doubled = self.settings.open_ms.saturating_mul(1 << times.min(20));
        Duration::from_millis(doubled.min(self.settings.max_open_ms))
    }

    /// Records that a call begun at `begun` went well.
    pub fn succeed(&mut self, begun: Instant) {
        match &mut self.state {
            State::Closed { since, in_a_row, recent } if is_current(*since, begun) => {
                *in_a_row = 0;
                remember(recent, true, self.settings.window);
            }
            State::HalfOpen(probing) if begun >= probing.first => self.state = State::closed(Some(begun)),
            // Calls from before the breaker opened: the probe decides.
            State::Open { .. } | State::HalfOpen(_) | State::Closed { .. } => {}
        }
    }

    /// Records that a call begun at `begun` shows signs of life; for a probe that is enough to close the breaker.
    pub fn responds(&mut self, begun: Instant) {
        if let State::HalfOpen(probing) = self.state
            && begun >= probing.first
        {
            self.state = State::closed(Some(begun));
        }
    }

    /// How long calls are refused from `now` on; while a probe is under way, an estimate.
    pub fn refuses_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until, .. } => until.checked_duration_since(now).filter(|pause| !pause.is_zero()),
            State::HalfOpen(probing) => {
                let left = (probing.last + self.probe_timeout(probing)).checked_duration_since(now)?;
                let most = if probing.unanswered == 0 { PROBE_RETRY_AFTER } else { left };
                Some(left.min(most)).filter(|pause| !pause.is_zero())
            }
        }
    }

    /// Records that a call begun at `begun` failed through the deployment's fault.
    pub fn fail(&mut self, begun: Instant, now: Instant) {
        let sick = match &mut self.state {
            State::Closed { since, in_a_row, recent } if is_current(*since, begun) => {
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

    /// Records that a call begun at `begun` ended without a result (the client went away): if it was the probe, the
    /// next call may probe at once.
    pub fn abandon(&mut self, begun: Instant, now: Instant) {
        if let State::HalfOpen(Probing { first, failed_probes, .. }) = self.state
            && begun >= first
        {
            self.state = State::Open { until: now, failed_probes };
        }
    }

    /// Closes the breaker, on an operator's request.
    pub fn reset(&mut self) {
        self.state = State::closed(None);
    }

    fn open(&mut self, now: Instant, failed_probes: u32) {
        self.state = State::Open { until: now + self.pause_after(failed_probes), failed_probes };
    }
}

/// Whether a call begun at `begun` counts for a breaker that was closed by a probe begun at `since`.
fn is_current(since: Option<Instant>, begun: Instant) -> bool {
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
        assert_eq!(breaker.refuses_for(after(now, 1999)), Some(Duration::from_millis(1)));
        assert!(breaker.admit(after(now, 2000)), "another");
        assert!(!breaker.would_admit(after(now, 2000)), "one at a time");
        assert_eq!(
            breaker.refuses_for(after(now, 2000)),
            Some(Duration::from_secs(2)),
            "nobody is called back in vain"
        );
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
        assert_eq!(breaker.refuses_for(now), None);
        (0..3).for_each(|_| breaker.fail(now, now));
        breaker.responds(now);
        assert_eq!(breaker.refuses_for(after(now, 400)), Some(Duration::from_millis(600)), "no probe");
        assert_eq!(breaker.refuses_for(after(now, 1000)), None);
        assert!(breaker.admit(after(now, 1000)));
        assert!(breaker.refuses_for(after(now, 1000)).is_some());
        breaker.responds(after(now, 1000));
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
        breaker.responds(before);
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
