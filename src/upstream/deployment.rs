//! A deployment: one place that serves a model, and its health.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;

use super::suspects::Suspects;
use super::window::Window;
use super::{Breaker, BreakerState, Load, Provider};
use crate::protocol::{ApiError, ChatRequest, Dialect, ErrorKind};
use crate::{codec, config};

/// A model's id at a provider. Configured fields are fixed; the health is shared with the deployment of the same name
/// in the previous catalog.
#[derive(Debug)]
pub struct Deployment {
    /// `provider/upstream-id`, unique within a model; clones share it.
    pub name: Arc<str>,
    /// The provider that serves it.
    pub provider: Arc<Provider>,
    /// The id the provider knows the model by.
    pub upstream: String,
    /// Its share of the model's traffic, relative to the other deployments; 0 = only while no other is ready.
    pub weight: f64,
    health: Arc<Health>,
}

/// What calls to a deployment have shown about it.
#[derive(Debug)]
struct Health {
    in_flight: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    load: Load,
    window: Window,
    /// The end of the pause that its vendor asked for, and the kind of error that came with it.
    rest: Option<(Instant, ErrorKind)>,
    /// Until then other deployments are preferred: a call was refused in a way that may be this one's fault.
    in_vain_until: Option<Instant>,
    /// Until when it is not asked for what its vendor has refused.
    lacks: BTreeMap<Lack, Instant>,
    drained: bool,
    calls: u64,
    failures: u64,
    last_error: Option<LastError>,
    /// When the latest call ended that had gone well.
    answered: Option<Instant>,
    suspects: Suspects,
}

/// What a deployment may lack of OpenAI's Responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The endpoint, the model there, or leave for our key to use it.
    Responses,
    /// What the model thinks, in words: OpenAI tells it only to organisations that it has verified.
    Thoughts,
}

/// The latest failure, as shown to operators.
#[derive(Debug, Clone, Serialize)]
pub struct LastError {
    /// Its category.
    pub kind: ErrorKind,
    /// When it happened, in Unix milliseconds.
    pub at_ms: i64,
}

/// What a call's end says about the deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum CallVerdict {
    /// The call went well; time to the first piece.
    Good(Duration),
    /// The deployment failed.
    Bad(ErrorKind),
    /// The vendor asked for a pause (`Retry-After`, or a rate limit without a time).
    Rest(ErrorKind, Option<Duration>),
    /// The call was refused, perhaps through the deployment's fault: its vendor does not know the id, or its context
    /// is smaller than declared. Other deployments are preferred for a while; the breaker stays closed, since the
    /// request may be at fault as well.
    InVain(ErrorKind),
    /// Nothing: the request was at fault.
    Unrelated,
}

impl CallVerdict {
    /// What an error says about the deployment that gave it.
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

/// Why a deployment takes no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The breaker is open; the latest failure.
    Breaker(Option<ErrorKind>),
    /// The vendor asked for a pause, with an error of this kind.
    Resting(ErrorKind),
    /// An operator drained it.
    Drained,
}

impl Refused {
    /// The kind of error that a client gets when nothing else can answer. During the vendor's pause that is the kind
    /// that the client got whose request brought the pause about.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Resting(kind) => kind.for_client(),
            Self::Breaker(_) | Self::Drained => ErrorKind::Unavailable,
        }
    }

    /// The reason as a clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Breaker(Some(ErrorKind::Authentication)) => "its breaker is open: it refuses our key",
            Self::Breaker(Some(ErrorKind::Permission)) => "its breaker is open: our key has no leave to use it",
            Self::Breaker(Some(ErrorKind::Quota)) => "its breaker is open: our account there has nothing left",
            Self::Breaker(Some(ErrorKind::Overloaded)) => "its breaker is open: it is overloaded",
            Self::Breaker(Some(ErrorKind::Timeout)) => "its breaker is open: it does not answer in time",
            Self::Breaker(Some(ErrorKind::Connection)) => "its breaker is open: connections to it fail or break off",
            Self::Breaker(Some(ErrorKind::Upstream)) => "its breaker is open: it answers with errors",
            Self::Breaker(_) => "its breaker is open",
            Self::Resting(_) => "its vendor asked for a pause",
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
    /// Its share of the traffic, relative to the other deployments.
    pub weight: f64,
    /// The breaker's state.
    pub breaker: BreakerState,
    /// Whether an operator drained it.
    pub drained: bool,
    /// Calls in flight.
    pub in_flight: usize,
    /// Expected time to the first piece, milliseconds; absent = never measured.
    pub latency_ms: Option<f64>,
    /// Calls since the gateway started.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The latest failure.
    pub last_error: Option<LastError>,
}

impl Health {
    fn new(settings: config::Breaker) -> Self {
        let inner = Inner {
            breaker: Breaker::new(settings),
            load: Load::default(),
            window: Window::default(),
            rest: None,
            in_vain_until: None,
            lacks: BTreeMap::new(),
            drained: false,
            calls: 0,
            failures: 0,
            last_error: None,
            answered: None,
            suspects: Suspects::default(),
        };
        Self { in_flight: AtomicUsize::new(0), inner: Mutex::new(inner) }
    }
}

impl Deployment {
    /// A deployment; `known` is the same one in the previous catalog.
    pub(super) fn new(
        provider: Arc<Provider>,
        upstream: String,
        weight: f64,
        settings: config::Breaker,
        known: Option<&Deployment>,
    ) -> Self {
        let health = known.map_or_else(|| Arc::new(Health::new(settings)), |known| Arc::clone(&known.health));
        health.inner.lock().breaker.configure(settings);
        Self { name: format!("{}/{upstream}", provider.name).into(), provider, upstream, weight, health }
    }

    /// Whether it takes a call now; else the reason.
    pub fn check(&self, now: Instant) -> Result<(), Refused> {
        let inner = self.health.inner.lock();
        if inner.drained {
            Err(Refused::Drained)
        } else if let Some((_, kind)) = inner.rest(now) {
            Err(Refused::Resting(kind))
        } else if !inner.breaker.would_admit(now) {
            Err(inner.broken())
        } else {
            Ok(())
        }
    }

    /// Time left of the pause its vendor asked for; `None` if there is none, or if something else holds it back as
    /// well.
    pub fn rest_left(&self, now: Instant) -> Option<Duration> {
        let inner = self.health.inner.lock();
        let (until, _) = inner.rest(now).filter(|_| !inner.drained)?;
        inner.breaker.would_admit(until).then(|| until - now)
    }

    /// Time until it takes calls again, and what holds it back; `None` if nothing does, or only an operator can end
    /// it.
    pub fn available_in(&self, now: Instant) -> Option<(Duration, Refused)> {
        let inner = self.health.inner.lock();
        let rest = inner.rest(now).map(|(until, kind)| (until - now, Refused::Resting(kind)));
        let pause = inner.breaker.refuses_for(now).map(|pause| (pause, inner.broken()));
        rest.into_iter().chain(pause).max_by_key(|(wait, _)| *wait).filter(|_| !inner.drained)
    }

    /// Lets one call through, if it may go ahead. The call counts as in flight until the permit is dropped.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Option<Permit> {
        self.check(now).ok()?;
        let mut inner = self.health.inner.lock();
        if !inner.breaker.admit(now) {
            return None;
        }
        inner.calls += 1;
        inner.load.begins(now);
        drop(inner);
        self.health.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Permit { deployment: Arc::clone(self), begun: now, settled: false, went_well: false, request: None })
    }

    /// The context window to ask for, in tokens, of a server that must be told ([`Window::ask`]).
    pub fn window(&self, needed: u32, most: u32, now: Instant) -> u32 {
        self.health.inner.lock().window.ask(needed, most, now)
    }

    /// Whether its vendor has refused something, not long ago.
    pub fn lacks(&self, lack: Lack, now: Instant) -> bool {
        self.health.inner.lock().lacks.get(&lack).is_some_and(|until| now < *until)
    }

    /// Whether a request that its provider's dialect cannot say passes to its Responses.
    pub fn passes_to_responses(&self, client: Dialect, request: &ChatRequest, now: Instant) -> bool {
        self.provider.dialect == Dialect::OpenAi
            && self.provider.quirks.responses
            && codec::is_only_for_responses(client, request)
            && !self.lacks(Lack::Responses, now)
    }

    /// Its vendor refuses something: for a while it is not asked for it.
    pub fn note_lack(&self, lack: Lack, now: Instant) {
        let known = self.health.inner.lock().lacks.insert(lack, now + LACK_TIME);
        if known.is_some_and(|until| now < until) {
            // Another request found out at the same time.
            return;
        }
        match lack {
            Lack::Responses => tracing::warn!(
                deployment = &*self.name,
                "It has no Responses, or none for our key (see the quirk), so its models do not think where they have tools"
            ),
            Lack::Thoughts => tracing::warn!(
                deployment = &*self.name,
                "Its vendor tells thoughts only to organisations that it has verified, so its models think in silence"
            ),
        }
    }

    /// Calls that are being made.
    pub fn in_flight(&self) -> usize {
        self.health.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has a call in hand, or ended one well within the last `time`.
    pub fn is_at_work(&self, time: Duration, now: Instant) -> bool {
        let answered = self.health.inner.lock().answered;
        self.in_flight() > 0 || answered.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// Expected wait for one more call, in seconds, where `fair` calls in flight would be its share, and no latency
    /// below `least_s` is believed.
    pub fn expected_wait_s(&self, fair: f64, least_s: f64, now: Instant) -> f64 {
        let in_flight = self.in_flight();
        let inner = self.health.inner.lock();
        let in_vain = inner.in_vain_until.is_some_and(|until| now < until);
        inner.load.wait_s(in_flight, fair, least_s, now) + if in_vain { IN_VAIN_PENALTY_S } else { 0.0 }
    }

    /// Expected time to the first piece; `None` = never measured.
    pub fn latency(&self) -> Option<Duration> {
        self.health.inner.lock().load.latency()
    }

    /// The same as far as it has not faded, in seconds; next to nothing where it was never measured.
    pub fn latency_s(&self, now: Instant) -> f64 {
        self.health.inner.lock().load.decayed(now)
    }

    /// Its health now.
    pub fn status(&self, now: Instant) -> Status {
        let inner = self.health.inner.lock();
        Status {
            name: self.name.to_string(),
            provider: self.provider.name.clone(),
            weight: self.weight,
            breaker: inner.breaker.state(now),
            drained: inner.drained,
            in_flight: self.in_flight(),
            latency_ms: inner.load.latency().map(|latency| latency.as_secs_f64() * 1e3),
            calls: inner.calls,
            failures: inner.failures,
            last_error: inner.last_error.clone(),
        }
    }

    /// Closes the breaker, ends a pause and forgets what its vendor refused, on an operator's request.
    pub fn reset(&self) {
        let mut inner = self.health.inner.lock();
        inner.breaker.reset();
        inner.rest = None;
        inner.in_vain_until = None;
        inner.lacks.clear();
        inner.suspects.clear();
    }

    /// Stops calls to it, or allows them again.
    pub fn drain(&self, drained: bool) {
        self.health.inner.lock().drained = drained;
    }
}

/// Permission for one call; its end is reported through it.
#[derive(Debug)]
pub struct Permit {
    deployment: Arc<Deployment>,
    begun: Instant,
    settled: bool,
    /// Whether it has gone well so far.
    went_well: bool,
    request: Option<Asked>,
}

/// What is asked, as far as it must be told from other requests.
#[derive(Debug)]
enum Asked {
    /// The request, which few calls need the hash of.
    Whole(Bytes),
    /// Its hash, where the call may go on for long: the request may be large.
    Hash(u64),
}

impl Asked {
    fn hash(&self) -> u64 {
        match self {
            Self::Whole(request) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(request);
                hasher.finish()
            }
            Self::Hash(hash) => *hash,
        }
    }
}

/// How long other deployments are preferred to one that refused a call, and what is added to its expected wait
/// meanwhile: seconds, more than any real wait.
const IN_VAIN_TIME: Duration = Duration::from_secs(30);
const IN_VAIN_PENALTY_S: f64 = 1e4;

/// How long a deployment is not asked for what its vendor has refused: short enough that an organisation which was
/// verified meanwhile, or a server that was renewed, is soon asked as it can be.
const LACK_TIME: Duration = Duration::from_secs(600);

/// Pause after a rate limit that names no time.
const DEFAULT_REST: Duration = Duration::from_millis(500);

/// Longest pause granted to a vendor, whatever it asks for.
const MAX_REST: Duration = Duration::from_secs(60);

impl Permit {
    /// The deployment called.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// Says what is asked: a request that is at fault itself ([`Suspects`]) does not count against the deployment.
    pub fn asks(&mut self, request: Bytes) {
        self.request = Some(Asked::Whole(request));
    }

    /// Whether this failure is the request's own fault, as others' answers show.
    fn is_requests_fault(&self, kind: ErrorKind, now: Instant) -> bool {
        let Some(request) =
            self.request.as_ref().filter(|_| matches!(kind, ErrorKind::Upstream | ErrorKind::Timeout))
        else {
            return false;
        };
        let request = request.hash();
        self.deployment.health.inner.lock().suspects.failed(request, now)
    }

    /// Tells suspects apart by an answer, where there are any.
    fn note_answer(&self, now: Instant) {
        let has_suspects = || !self.deployment.health.inner.lock().suspects.is_empty(now);
        if let Some(request) = self.request.as_ref().filter(|_| has_suspects()) {
            let request = request.hash();
            self.deployment.health.inner.lock().suspects.answered(request, now);
        }
    }

    /// Time since the call was let through.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// Reports a good call, if nothing was reported before: a stream handed over without content had no result yet.
    pub fn settle_good(&mut self, now: Instant, at_ms: i64) {
        self.settle(&CallVerdict::Good(self.age(now)), now, at_ms);
    }

    /// Reports that the call shows signs of life, though its first piece is still to come: enough for a probe.
    pub fn responds(&mut self) {
        if let Some(request) = &mut self.request {
            *request = Asked::Hash(request.hash());
        }
        let mut inner = self.deployment.health.inner.lock();
        inner.load.lives();
        inner.breaker.responds(self.begun);
    }

    /// Reports how the call ended. Only the first report counts; an answer that began well and then breaks off is
    /// reported by [`Permit::broke_off`].
    pub fn settle(&mut self, verdict: &CallVerdict, now: Instant, at_ms: i64) {
        if self.settled {
            return;
        }
        self.settled = true;
        self.went_well = matches!(verdict, CallVerdict::Good(_));
        if self.went_well {
            self.note_answer(now);
        }
        let own_fault = matches!(verdict, CallVerdict::Bad(kind) if self.is_requests_fault(*kind, now));
        self.request = None;
        let mut inner = self.deployment.health.inner.lock();
        inner.load.lives();
        match verdict {
            CallVerdict::Good(latency) => {
                inner.load.observe(*latency, now);
                inner.breaker.succeed(self.begun);
            }
            CallVerdict::Bad(kind) if own_fault => {
                inner.note(*kind, at_ms);
                inner.breaker.abandon(self.begun, now);
            }
            CallVerdict::Bad(kind) => inner.fail(*kind, self.begun, now, at_ms),
            CallVerdict::Rest(kind, wait) => {
                inner.rest = Some((now + wait.unwrap_or(DEFAULT_REST).min(MAX_REST), *kind));
                if *kind == ErrorKind::RateLimited {
                    // A rate limit means too many calls, not a broken deployment.
                    inner.note(*kind, at_ms);
                    inner.breaker.abandon(self.begun, now);
                } else {
                    inner.fail(*kind, self.begun, now, at_ms);
                }
            }
            CallVerdict::InVain(kind) => {
                inner.refuse_in_vain(*kind, now, at_ms);
                // It did answer.
                inner.breaker.succeed(self.begun);
            }
            CallVerdict::Unrelated => inner.breaker.succeed(self.begun),
        }
    }

    /// Reports that the answer broke off: as [`CallVerdict::of`] says, also where it had begun well. A vendor may find
    /// out late that the request is at fault, or that it does not fit.
    pub fn broke_off(&mut self, error: &ApiError, now: Instant, at_ms: i64) {
        let verdict = CallVerdict::of(error);
        if !self.settled {
            return self.settle(&verdict, now, at_ms);
        }
        self.went_well = false;
        let mut inner = self.deployment.health.inner.lock();
        match verdict {
            CallVerdict::Unrelated => {}
            CallVerdict::InVain(kind) => inner.refuse_in_vain(kind, now, at_ms),
            _ => inner.fail(error.kind, self.begun, now, at_ms),
        }
    }
}

impl Inner {
    /// Why its breaker refuses calls.
    fn broken(&self) -> Refused {
        Refused::Breaker(self.last_error.as_ref().map(|error| error.kind))
    }

    /// The pause that lasts at `now`.
    fn rest(&self, now: Instant) -> Option<(Instant, ErrorKind)> {
        self.rest.filter(|(until, _)| now < *until)
    }

    fn fail(&mut self, kind: ErrorKind, begun: Instant, now: Instant, at_ms: i64) {
        self.note(kind, at_ms);
        self.window.forget();
        self.breaker.fail(begun, now);
    }

    fn refuse_in_vain(&mut self, kind: ErrorKind, now: Instant, at_ms: i64) {
        self.in_vain_until = Some(now + IN_VAIN_TIME);
        self.note(kind, at_ms);
    }

    fn note(&mut self, kind: ErrorKind, at_ms: i64) {
        self.failures += 1;
        self.last_error = Some(LastError { kind, at_ms });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.deployment.health.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.settled && !self.went_well {
            return;
        }
        let now = Instant::now();
        let mut inner = self.deployment.health.inner.lock();
        if self.went_well {
            inner.answered = Some(now);
        } else {
            inner.load.given_up(self.begun, now);
            inner.breaker.abandon(self.begun, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::upstream::Catalog;

    #[test]
    fn what_a_vendor_refused_is_asked_for_again_after_a_while() {
        let catalog = Catalog::new(&"".parse().unwrap(), &BTreeMap::new(), None);
        let deployment = &catalog.find("gpt-6-sol").unwrap().deployments[0];
        let now = Instant::now();
        deployment.note_lack(Lack::Responses, now);
        let lacks = |after_s: u64| {
            let then = now + Duration::from_secs(after_s);
            [Lack::Responses, Lack::Thoughts].map(|lack| deployment.lacks(lack, then))
        };
        assert_eq!((lacks(0), lacks(599), lacks(600)), ([true, false], [true, false], [false, false]));
        deployment.note_lack(Lack::Thoughts, now + Duration::from_secs(300));
        assert_eq!((lacks(599), lacks(899), lacks(900)), ([true, true], [false, true], [false, false]));
        deployment.reset();
        assert_eq!(lacks(301), [false, false]);
    }

    #[test]
    fn a_request_that_a_server_cannot_answer_does_not_close_it_for_others() {
        let settings = "[dispatch.breaker]\nconsecutive_failures = 3\n[models.m]\nprovider = 'ollama'\n";
        let now = Instant::now();
        let ask = |deployment: &Arc<Deployment>, request: &'static str, verdict: CallVerdict| {
            let mut permit = deployment.admit(now).unwrap();
            permit.asks(Bytes::from_static(request.as_bytes()));
            if request == "hard" {
                permit.responds();
                assert!(matches!(permit.request, Some(Asked::Hash(_))), "its answer may be long in coming");
            }
            permit.settle(&verdict, now, 0);
        };
        let good = || CallVerdict::Good(Duration::from_millis(1));
        for (kind, why) in [
            (ErrorKind::Upstream, "its breaker is open: it answers with errors"),
            (ErrorKind::Timeout, "its breaker is open: it does not answer in time"),
        ] {
            let catalog = Catalog::new(&settings.parse().unwrap(), &BTreeMap::new(), None);
            let deployment = &catalog.find("m").unwrap().deployments[0];
            ask(deployment, "hard", CallVerdict::Bad(kind));
            ask(deployment, "easy", good());
            (0..10).for_each(|_| ask(deployment, "hard", CallVerdict::Bad(kind)));
            assert_eq!(deployment.check(now), Ok(()), "it answers others");
            assert_eq!(deployment.status(now).failures, 11);
            for request in ["another", "one more", "easy"] {
                assert_eq!(deployment.check(now), Ok(()));
                ask(deployment, request, CallVerdict::Bad(kind));
            }
            assert_eq!(deployment.check(now).map_err(Refused::as_str), Err(why), "it fails on others, too");
        }
    }
}
