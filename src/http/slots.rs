//! The connection slots of a listener: how many connections are served at once, and which one is evicted when more
//! come.
//!
//! An idle connection costs nothing until a new one finds no free slot; then anybody who opens enough of them would
//! shut everybody else out. So a newcomer gets the slot of the connection that has been idle for longest, those of
//! refused networks first, since they get nothing here but a refusal (and `/health`). A connection whose request is
//! being answered keeps its slot, and so does one that was answered a moment ago: its next request may be on its way,
//! and would be lost. Where no connection can be evicted, the newcomer waits, and meanwhile every answer is the last
//! one of its connection. The same happens where slots are free but the process has no file descriptor left.
//!
//! Being slow keeps no slot either. A connection whose request body has stopped coming counts as idle, and is told so
//! (408) and closed. One that was evicted, has its answer, and reads nothing of it for ten seconds is closed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// The pause between two evictions: the connection evicted last may be answering a request by now.
const EVICTION_PAUSE: Duration = Duration::from_millis(50);

/// A connection that has been idle for less than this is not evicted.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// An evicted connection that reads nothing of its answer for this many times [`MIN_IDLE`] is closed. The kernel
/// reports what was read only once a third of its buffer is free: for a slow reader that is seconds late.
const STUCK_FACTOR: u32 = 10;

/// Stands in place of a time: a request is being answered.
const BUSY: u64 = u64::MAX;

/// Stands in place of a time: it has not happened.
const NEVER: u64 = u64::MAX;

/// The slots of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    began: Instant,
    min_idle: Duration,
    /// A newcomer waits for a slot.
    has_waiters: AtomicBool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Arc<Activity>>,
}

/// What one connection is doing. All times are microseconds since the listener began.
#[derive(Debug)]
pub(super) struct Activity {
    /// Whether the client's network is allowed.
    allowed: bool,
    began: Instant,
    /// When the connection became idle; [`BUSY`] while a request is being answered. An atomic, since it is set twice
    /// for every request, while the search for the longest idle connection is rare and may look at all of them.
    idle_since: AtomicU64,
    has_sent_request: AtomicBool,
    /// The next piece of the request's body is awaited; the connection counts as idle meanwhile.
    awaits_body: AtomicBool,
    /// The rest of the request's body is not waited for any more.
    body_refused: AtomicBool,
    /// Since when the client reads nothing of what is written to it.
    stuck_since: AtomicU64,
    /// When the connection was evicted; that happens once.
    evicted_at: AtomicU64,
    /// The connection is closed at once, evicted or not.
    is_abandoned: AtomicBool,
    evict: Notify,
}

impl Activity {
    pub(super) fn new(began: Instant, allowed: bool) -> Arc<Self> {
        let activity = Self {
            allowed,
            began,
            idle_since: AtomicU64::new(BUSY),
            has_sent_request: AtomicBool::new(false),
            awaits_body: AtomicBool::new(false),
            body_refused: AtomicBool::new(false),
            stuck_since: AtomicU64::new(NEVER),
            evicted_at: AtomicU64::new(NEVER),
            is_abandoned: AtomicBool::new(false),
            evict: Notify::new(),
        };
        activity.become_idle();
        Arc::new(activity)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(NEVER - 1)
    }

    fn become_idle(&self) -> u64 {
        // Each idle time differs from the one before, by which `body_resumed` tells them apart.
        let before = self.idle_since.load(Ordering::Relaxed);
        let since = if before == BUSY { self.now() } else { self.now().max(before + 1) };
        self.idle_since.store(since, Ordering::Relaxed);
        since
    }

    /// Notes that a request has come: the connection is busy until the returned guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> Busy {
        self.has_sent_request.store(true, Ordering::Relaxed);
        self.idle_since.store(BUSY, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Notes that the next piece of the request's body is awaited: the connection is idle until [`Self::body_resumed`]
    /// is called with the returned time.
    fn body_awaited(&self) -> u64 {
        self.awaits_body.store(true, Ordering::Relaxed);
        self.become_idle()
    }

    /// Notes that the body awaited since then goes on, or is not wanted any more.
    fn body_resumed(&self, since: u64) {
        self.awaits_body.store(false, Ordering::Relaxed);
        // Unless the request is over already.
        let _ = self.idle_since.compare_exchange(since, BUSY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes whether the client reads what is written to it.
    pub(super) fn set_reading(&self, reads: bool) {
        self.stuck_since.store(if reads { NEVER } else { self.now() }, Ordering::Relaxed);
    }

    /// Whether the client ever sent a request.
    pub(super) fn has_sent_request(&self) -> bool {
        self.has_sent_request.load(Ordering::Relaxed)
    }

    /// Whether the client's network is allowed.
    pub(super) fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Waits until the connection is evicted, or abandoned.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// Whether closing the connection now loses no complete request, or the connection is abandoned.
    pub(super) fn may_close_at_once(&self) -> bool {
        !self.has_sent_request()
            || self.awaits_body.load(Ordering::Relaxed)
            || self.is_abandoned.load(Ordering::Relaxed)
    }

    /// Refuses the rest of a request's body that is awaited, so that the request is answered; `false` = none is, or it
    /// was refused before.
    pub(super) fn refuse_body(&self) -> bool {
        self.awaits_body.load(Ordering::Relaxed) && !self.body_refused.swap(true, Ordering::Relaxed)
    }

    /// Times since when the connection is idle and its client reads nothing; they change when it goes on.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.idle_since.load(Ordering::Relaxed), self.stuck_since.load(Ordering::Relaxed))
    }

    /// Notes that the connection went on after all: it is abandoned no more.
    pub(super) fn resume(&self) {
        self.is_abandoned.store(false, Ordering::Relaxed);
    }

    /// Whether the connection was evicted and has since then, for too long, neither sent its request nor read its
    /// answer.
    fn is_overdue(&self, now: Duration, min_idle: Duration) -> bool {
        let at = |time: &AtomicU64| time.load(Ordering::Relaxed);
        let evicted = at(&self.evicted_at);
        let (waits, longest) = match self.awaits_body.load(Ordering::Relaxed) {
            true => (&self.idle_since, min_idle),
            false => (&self.stuck_since, min_idle * STUCK_FACTOR),
        };
        let is_idle = at(&self.idle_since) != BUSY;
        let since = evicted.max(at(waits));
        is_idle && since != NEVER && now.saturating_sub(Duration::from_micros(since)) >= longest
    }
}

/// The rest of a request's body is not waited for, since others wait for the connection's slot.
#[derive(Debug, thiserror::Error)]
#[error("the body stopped coming while other clients waited for a connection (server.max_connections)")]
pub(super) struct BodyRefused;

/// A request's body, which notes whether its client is awaited.
#[derive(Debug)]
pub(super) struct WatchedBody<B> {
    body: B,
    activity: Arc<Activity>,
    /// Since when the next piece is awaited.
    awaited: Option<u64>,
}

impl<B> WatchedBody<B> {
    pub(super) fn new(body: B, activity: &Arc<Activity>) -> Self {
        Self { body, activity: Arc::clone(activity), awaited: None }
    }

    fn resume(&mut self) {
        if let Some(since) = self.awaited.take() {
            self.activity.body_resumed(since);
        }
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        self.resume();
    }
}

impl<B: HttpBody<Error: Into<BoxError>> + Unpin> HttpBody for WatchedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context).map_err(Into::into);
        if polled.is_ready() {
            self.resume();
        } else if self.activity.body_refused.load(Ordering::Relaxed) {
            // Polled with its connection, which was woken to be evicted.
            self.resume();
            return Poll::Ready(Some(Err(BodyRefused.into())));
        } else if self.awaited.is_none() {
            self.awaited = Some(self.activity.body_awaited());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Held from a request's head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.become_idle();
    }
}

/// A taken slot; dropping it frees it.
#[derive(Debug)]
pub(super) struct Slot {
    /// What the connection in it is doing.
    pub(super) activity: Arc<Activity>,
    /// The slots it is one of.
    pub(super) slots: Arc<Slots>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.lock().connections.remove(&self.number);
    }
}

impl Slots {
    /// `count` free slots.
    pub(super) fn new(count: usize) -> Arc<Self> {
        Self::with_min_idle(count, MIN_IDLE)
    }

    fn with_min_idle(count: usize, min_idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            began: Instant::now(),
            min_idle,
            has_waiters: AtomicBool::new(false),
            taken: Mutex::default(),
        })
    }

    /// Whether a newcomer waits for a slot.
    pub(super) fn has_waiters(&self) -> bool {
        self.has_waiters.load(Ordering::Relaxed)
    }

    /// Takes a slot; where none is free, evicts connections until one is. `None` = the slots are closed.
    pub(super) async fn take(self: &Arc<Self>, allowed: bool) -> Option<Slot> {
        let mut permit = Arc::clone(&self.free).try_acquire_owned().ok();
        while permit.is_none() {
            self.has_waiters.store(true, Ordering::Relaxed);
            self.evict_one();
            // After the pause: the evicted connection is answering a request by now, or none could be evicted.
            if let Ok(taken) = timeout(EVICTION_PAUSE, Arc::clone(&self.free).acquire_owned()).await {
                permit = Some(taken.ok()?);
            }
        }
        self.has_waiters.store(false, Ordering::Relaxed);
        let activity = Activity::new(self.began, allowed);
        let mut taken = self.taken.lock();
        let number = taken.next;
        taken.next += 1;
        taken.connections.insert(number, Arc::clone(&activity));
        drop(taken);
        Some(Slot { activity, slots: Arc::clone(self), number, _permit: permit? })
    }

    /// Makes room for a newcomer that finds a free slot and no file descriptor.
    pub(super) fn make_room(&self) {
        self.has_waiters.store(true, Ordering::Relaxed);
        self.evict_one();
    }

    /// Abandons an evicted connection that is overdue; where there is none, evicts the one that has been idle for
    /// longest, those of refused networks first.
    fn evict_one(&self) {
        let taken = self.taken.lock();
        let now = self.began.elapsed();
        let open = || taken.connections.values().filter(|activity| !activity.is_abandoned.load(Ordering::Relaxed));
        if let Some(activity) = open().find(|activity| activity.is_overdue(now, self.min_idle)) {
            activity.is_abandoned.store(true, Ordering::Relaxed);
            activity.evict.notify_one();
            return;
        }
        let since = |activity: &Activity| activity.idle_since.load(Ordering::Relaxed);
        let is_long = |since: u64| since != BUSY && now.saturating_sub(Duration::from_micros(since)) >= self.min_idle;
        let idle = open().filter(|activity| activity.evicted_at.load(Ordering::Relaxed) == NEVER);
        let idle = idle.map(|activity| (activity.allowed, since(activity), activity));
        let idle = idle.filter(|(allowed, since, _)| is_long(*since) || !allowed && *since != BUSY);
        if let Some((_, _, activity)) = idle.min_by_key(|(allowed, since, _)| (*allowed, *since)) {
            activity.evicted_at.store(activity.now(), Ordering::Relaxed);
            activity.evict.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    /// Slots taken one after another, by connections whose network is allowed or not.
    async fn taken(allowed: &[bool]) -> (Arc<Slots>, Vec<Option<Slot>>) {
        let slots = Slots::with_min_idle(allowed.len(), Duration::ZERO);
        let mut taken = Vec::new();
        for allowed in allowed {
            taken.push(slots.take(*allowed).await);
            a_while().await;
        }
        (slots, taken)
    }

    /// Long enough to tell two times apart.
    async fn a_while() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// Connections told to close since the last call.
    fn told(taken: &[Option<Slot>]) -> Vec<usize> {
        let told = |slot: &Slot| slot.activity.evicted().now_or_never().is_some();
        let slots = taken.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?)));
        slots.filter(|(_, slot)| told(slot)).map(|(at, _)| at).collect()
    }

    #[tokio::test]
    async fn who_is_idle_for_longest_gives_way_and_who_is_busy_does_not() {
        let (slots, mut taken) = taken(&[true; 3]).await;
        let nobody: [usize; 0] = [];
        let busy = taken[0].as_ref().unwrap().activity.begin_request();
        // It asked and was answered: the third is idle for longer now.
        drop(taken[1].as_ref().unwrap().activity.begin_request());
        a_while().await;
        for wanted in [&[2][..], &[1], &nobody, &nobody] {
            slots.evict_one();
            assert_eq!(told(&taken), wanted, "one is busy, and nobody is told twice");
        }
        drop(busy);
        let newcomer = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take(true).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(told(&taken), [0]);
        taken[0] = None;
        let newcomer = newcomer.await.unwrap();
        assert!(newcomer.is_some());
        assert_eq!(slots.taken.lock().connections.len(), 3);
    }

    #[tokio::test]
    async fn who_was_idle_for_a_moment_only_stays_and_learns_that_its_slot_is_wanted() {
        let slots = Slots::new(1);
        let first = slots.take(true).await;
        assert!(!slots.has_waiters());
        assert!(slots.take(true).now_or_never().is_none());
        assert!(slots.has_waiters(), "its next answer is its last");
        assert_eq!(told(std::slice::from_ref(&first)), [0; 0]);
        drop(first);
        assert!(slots.take(true).now_or_never().is_some_and(|slot| slot.is_some()));
        assert!(!slots.has_waiters());
    }

    #[tokio::test]
    async fn whose_body_does_not_go_on_coming_is_idle_and_may_close_at_once() {
        let (slots, taken) = taken(&[true]).await;
        let activity = &taken[0].as_ref().unwrap().activity;
        let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<&[u8], std::io::Error>>();
        let busy = activity.begin_request();
        let mut body = WatchedBody::new(axum::body::Body::from_stream(pieces), activity);
        let nobody: [usize; 0] = [];
        slots.evict_one();
        assert_eq!(
            (told(&taken), activity.may_close_at_once()),
            (nobody.to_vec(), false),
            "nobody looks at its body yet"
        );
        sender.unbounded_send(Ok(b"a")).unwrap();
        assert!(body.frame().await.is_some());
        slots.evict_one();
        assert_eq!((told(&taken), activity.may_close_at_once()), (nobody.to_vec(), false));
        assert!(body.frame().now_or_never().is_none());
        slots.evict_one();
        assert_eq!((told(&taken), activity.may_close_at_once()), (vec![0], true));
        // It went on before it was gone: it is answered, and goes then.
        sender.unbounded_send(Ok(b"b")).unwrap();
        assert!(body.frame().await.is_some());
        slots.evict_one();
        assert_eq!((told(&taken), activity.may_close_at_once()), (nobody.to_vec(), false));
        assert!(body.frame().now_or_never().is_none());
        slots.evict_one();
        assert_eq!((told(&taken), activity.may_close_at_once()), (vec![0], true), "it was told before");
        drop(busy);
        let rests = activity.idle_since.load(Ordering::Relaxed);
        a_while().await;
        drop(body);
        assert_eq!(activity.idle_since.load(Ordering::Relaxed), rests, "the request is over");
    }

    #[tokio::test]
    async fn who_was_told_and_takes_nothing_of_its_answer_is_given_up() {
        let (slots, taken) = taken(&[true; 2]).await;
        let activity = |at: usize| &taken[at].as_ref().unwrap().activity;
        let nobody: [usize; 0] = [];
        let busy = activity(0).begin_request();
        activity(0).set_reading(false);
        drop(activity(1).begin_request());
        slots.evict_one();
        assert_eq!(told(&taken), [1], "the other is being answered");
        slots.evict_one();
        assert_eq!(told(&taken), nobody, "it takes what it is answered");
        activity(1).set_reading(false);
        slots.evict_one();
        assert_eq!((told(&taken), activity(1).may_close_at_once()), (vec![1], true));
        slots.evict_one();
        assert_eq!(told(&taken), nobody, "once is enough");
        drop(busy);
        slots.evict_one();
        assert_eq!((told(&taken), activity(0).may_close_at_once()), (vec![0], false));
        activity(0).set_reading(true);
        slots.evict_one();
        assert_eq!((told(&taken), activity(0).may_close_at_once()), (nobody.to_vec(), false), "it takes something");
    }

    #[tokio::test]
    async fn who_was_told_has_a_moment_to_go_on() {
        let slots = Slots::new(1);
        let slot = slots.take(true).await.unwrap();
        slot.activity.set_reading(false);
        slot.activity.evicted_at.store(0, Ordering::Relaxed);
        assert!(!slot.activity.is_overdue(MIN_IDLE, MIN_IDLE));
        assert!(!slot.activity.is_overdue(9 * MIN_IDLE, MIN_IDLE), "a slow reader may be taking something");
        assert!(slot.activity.is_overdue(11 * MIN_IDLE, MIN_IDLE));
        slot.activity.evicted_at.store(3_000_000, Ordering::Relaxed);
        assert!(!slot.activity.is_overdue(3 * MIN_IDLE, MIN_IDLE));
    }

    #[tokio::test]
    async fn who_may_not_come_in_gives_way_first_and_nobody_while_there_is_room() {
        let (slots, mut taken) = taken(&[true, false, true, false]).await;
        taken[2] = None;
        let third = slots.take(true).await;
        let nobody: [usize; 0] = [];
        assert_eq!(told(&taken), nobody);
        assert!(slots.take(true).now_or_never().is_none());
        assert_eq!(told(&taken), [1]);
        drop(third);
        assert!(slots.take(true).now_or_never().is_some_and(|slot| slot.is_some()));
    }
}
