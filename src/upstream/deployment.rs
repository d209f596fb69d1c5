//! One place that serves a model, and how it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::{Breaker, BreakerState, PeakEwma, Provider};
use crate::config;
use crate::protocol::{ApiError, ErrorKind};

/// A model's id at a provider. What is configured is fixed; health is shared with the deployment of the same name in
/// the catalog before and after.
#[derive(Debug)]
pub struct Deployment {
    /// `provider/upstream-id`, unique within a model.
    pub name: String,
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// The id the provider knows the model by.
    pub upstream: String,
    /// Its share of the model's traffic, relative to the other places; 0 = while no other is ready.
    pub weight: f64,
    health: Arc<Health>,
}

/// What was learned of a deployment by calling it.
#[derive(Debug)]
pub(super) struct Health {
    in_flight: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    load: PeakEwma,
    rest_until: Option<Instant>,
    /// Calls were in vain a while ago.
    in_vain_until: Option<Instant>,
    drained: bool,
    calls: u64,
    failures: u64,
    last_error: Option<LastError>,
}

/// The last failure, for people.
#[derive(Debug, Clone, Serialize)]
pub struct LastError {
    /// The category.
    pub kind: ErrorKind,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
}

/// How a call went, as far as the deployment is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Well; the first piece came after so long.
    Good(Duration),
    /// In a way that speaks against the deployment.
    Bad(ErrorKind),
    /// By an error with which the vendor asks to be left alone for a while.
    Rest(ErrorKind, Option<Duration>),
    /// In vain, and perhaps the place is to blame: its vendor does not know the id, or its window is smaller than declared. Other
    /// places are preferred for a while; it is not shut, since one client's request may be to blame as well.
    InVain(ErrorKind),
    /// In a way that says nothing of it: the request was at fault.
    Unrelated,
}

impl Verdict {
    /// What an error says of the deployment that gave it.
    pub fn of(error: &ApiError) -> Self {
        match error.kind {
            ErrorKind::RateLimited => Self::Rest(error.kind, error.retry_after),
            ErrorKind::NotFound | ErrorKind::ContextOverflow | ErrorKind::TooLarge => Self::InVain(error.kind),
            ErrorKind::InvalidRequest | ErrorKind::ContentFilter | ErrorKind::Unavailable | ErrorKind::Internal => {
                Self::Unrelated
            }
            kind if error.retry_after.is_some() => Self::Rest(kind, error.retry_after),
            kind => Self::Bad(kind),
        }
    }
}

/// Why a call is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The breaker is open.
    Breaker,
    /// The vendor asked for a rest.
    Resting,
    /// It was drained by hand.
    Drained,
}

impl Refused {
    /// A clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "its breaker is open",
            Self::Resting => "its vendor asked for a rest",
            Self::Drained => "it is being drained",
        }
    }
}

/// A deployment's health at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// `provider/upstream-id`.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// Its share, relative to the other places.
    pub weight: f64,
    /// The breaker.
    pub breaker: BreakerState,
    /// Whether it was drained by hand.
    pub drained: bool,
    /// Calls open right now.
    pub in_flight: usize,
    /// Expected time to the first piece, milliseconds; absent = never measured.
    pub latency_ms: Option<f64>,
    /// Calls since the start.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// The last failure.
    pub last_error: Option<LastError>,
}

impl Health {
    fn new(settings: config::Breaker) -> Self {
        let inner = Inner {
            breaker: Breaker::new(settings),
            load: PeakEwma::default(),
            rest_until: None,
            in_vain_until: None,
            drained: false,
            calls: 0,
            failures: 0,
            last_error: None,
        };
        Self { in_flight: AtomicUsize::new(0), inner: Mutex::new(inner) }
    }
}

impl Deployment {
    /// A deployment; `known` is the same one in the catalog before.
    pub(super) fn new(
        provider: Arc<Provider>,
        upstream: String,
        weight: f64,
        settings: config::Breaker,
        known: Option<&Deployment>,
    ) -> Self {
        let health = known.map_or_else(|| Arc::new(Health::new(settings)), |known| Arc::clone(&known.health));
        health.inner.lock().breaker.configure(settings);
        Self { name: format!("{}/{upstream}", provider.name), provider, upstream, weight, health }
    }

    /// Whether a call would be let through now.
    pub fn check(&self, now: Instant) -> Result<(), Refused> {
        let inner = self.health.inner.lock();
        if inner.drained {
            Err(Refused::Drained)
        } else if inner.rest_until.is_some_and(|until| now < until) {
            Err(Refused::Resting)
        } else if !inner.breaker.would_admit(now) {
            Err(Refused::Breaker)
        } else {
            Ok(())
        }
    }

    /// How long until the rest that its vendor asked for is over, where nothing else is in the way.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let inner = self.health.inner.lock();
        let until = inner.rest_until.filter(|until| now < *until && !inner.drained)?;
        inner.breaker.would_admit(until).then(|| until - now)
    }

    /// How long until a call would be let through again, and what is in the way, where that is a matter of time.
    pub fn back(&self, now: Instant) -> Option<(Duration, Refused)> {
        let inner = self.health.inner.lock();
        let rest = inner.rest_until.filter(|until| now < *until).map(|until| (until - now, Refused::Resting));
        let pause = inner.breaker.pause(now).map(|pause| (pause, Refused::Breaker));
        rest.into_iter().chain(pause).max_by_key(|(wait, _)| *wait).filter(|_| !inner.drained)
    }

    /// Lets a call through. The permit counts as in flight until it is dropped.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Option<Permit> {
        self.check(now).ok()?;
        let mut inner = self.health.inner.lock();
        if !inner.breaker.admit(now) {
            return None;
        }
        inner.calls += 1;
        drop(inner);
        self.health.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Permit { deployment: Arc::clone(self), begun: now, settled: false })
    }

    /// Expected wait for one more call, seconds.
    pub fn wait(&self, now: Instant) -> f64 {
        let in_flight = self.health.in_flight.load(Ordering::Relaxed);
        let inner = self.health.inner.lock();
        let in_vain = inner.in_vain_until.is_some_and(|until| now < until);
        inner.load.cost(in_flight, now) + if in_vain { IN_VAIN_S } else { 0.0 }
    }

    /// Expected time to the first piece; `None` = never measured.
    pub fn latency(&self) -> Option<Duration> {
        self.health.inner.lock().load.latency()
    }

    /// Its health.
    pub fn status(&self, now: Instant) -> Status {
        let inner = self.health.inner.lock();
        Status {
            name: self.name.clone(),
            provider: self.provider.name.clone(),
            weight: self.weight,
            breaker: inner.breaker.state(now),
            drained: inner.drained,
            in_flight: self.health.in_flight.load(Ordering::Relaxed),
            latency_ms: inner.load.latency().map(|latency| latency.as_secs_f64() * 1e3),
            calls: inner.calls,
            failures: inner.failures,
            last_error: inner.last_error.clone(),
        }
    }

    /// Closes the breaker and ends a rest, by hand.
    pub fn reset(&self) {
        let mut inner = self.health.inner.lock();
        inner.breaker.reset();
        inner.rest_until = None;
        inner.in_vain_until = None;
    }

    /// Sends it no further calls, or calls again.
    pub fn drain(&self, drained: bool) {
        self.health.inner.lock().drained = drained;
    }
}

/// Leave to make one call.
#[derive(Debug)]
pub struct Permit {
    deployment: Arc<Deployment>,
    begun: Instant,
    settled: bool,
}

/// How long other places are preferred to one that was called in vain, and what that is worth, seconds: more than any wait.
const IN_VAIN: Duration = Duration::from_secs(30);
const IN_VAIN_S: f64 = 1e4;

/// How long a vendor that says 429 without a time is left alone.
const SHORT_REST: Duration = Duration::from_millis(500);

/// A vendor that asks for longer is called again after so long all the same.
const LONGEST_REST: Duration = Duration::from_secs(60);

impl Permit {
    /// Where the call goes.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// How long ago the call was let through.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// The call lives, and its first piece is still to come: as a probe it has shown what it had to.
    pub fn lives(&self) {
        self.deployment.health.inner.lock().breaker.lives(self.begun);
    }

    /// Says how the call went. Only the first verdict counts: an answer that began well may still break off, which
    /// is told by [`Permit::broke_off`].
    pub fn settle(&mut self, verdict: &Verdict, now: Instant, at_ms: i64) {
        if self.settled {
            return;
        }
        self.settled = true;
        let mut inner = self.deployment.health.inner.lock();
        match verdict {
            Verdict::Good(latency) => {
                inner.load.observe(*latency, now);
                inner.breaker.succeed(self.begun);
            }
            Verdict::Bad(kind) => inner.fail(*kind, self.begun, now, at_ms),
            Verdict::Rest(kind, wait) => {
                inner.rest_until = Some(now + wait.unwrap_or(SHORT_REST).min(LONGEST_REST));
                if *kind == ErrorKind::RateLimited {
                    // Too much was asked of it; nothing is wrong with it.
                    inner.note(*kind, at_ms);
                    inner.breaker.abandon(self.begun, now);
                } else {
                    inner.fail(*kind, self.begun, now, at_ms);
                }
            }
            Verdict::InVain(kind) => {
                inner.in_vain_until = Some(now + IN_VAIN);
                inner.note(*kind, at_ms);
                // It answered.
                inner.breaker.succeed(self.begun);
            }
            Verdict::Unrelated => inner.breaker.succeed(self.begun),
        }
    }

    /// The answer broke off: after it had begun well that is the place's fault, before it the verdict says whose.
    pub fn broke_off(&mut self, error: &ApiError, now: Instant, at_ms: i64) {
        if !self.settled {
            return self.settle(&Verdict::of(error), now, at_ms);
        }
        self.deployment.health.inner.lock().fail(error.kind, self.begun, now, at_ms);
    }
}

impl Inner {
    fn fail(&mut self, kind: ErrorKind, begun: Instant, now: Instant, at_ms: i64) {
        self.note(kind, at_ms);
        self.breaker.fail(begun, now);
    }

    fn note(&mut self, kind: ErrorKind, at_ms: i64) {
        self.failures += 1;
        self.last_error = Some(LastError { kind, at_ms });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.deployment.health.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.settled {
            self.deployment.health.inner.lock().breaker.abandon(self.begun, Instant::now());
        }
    }
}
