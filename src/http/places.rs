//! The places on a listener: as many as connections are served at once, and who gives up theirs when more come.
//!
//! A connection that waits for its next request, or for its first, costs nothing until somebody else has no place:
//! then whoever opens enough of them would shut everybody out. So the newcomer gets the place of the one that has been
//! idle for longest; of those first whose network may not come in, since they get nothing here but a refusal (and
//! `/health`). Who is being answered stays, and who was a moment ago: its next request may be on its way, and would be
//! lost. Where nobody can be asked, the newcomer waits, and meanwhile every answer is the last one of its connection.
//!
//! Nor does anybody keep a place by being slow with us: whose request's body does not go on coming is idle as well, and
//! goes without an answer; and who was told to go, has been answered, and takes nothing of that for ten seconds, is
//! given up. Whoever goes on is waited for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Whoever is asked to go is given so long before the next one is asked: it may be answering by now.
const NEXT: Duration = Duration::from_millis(50);

/// Who is idle for less than this is not asked to go.
const GRACE: Duration = Duration::from_secs(1);

/// Who is told to go, and takes nothing of its answer for so many times as long, is given up. The system tells of what
/// was taken only once a third of its buffers (up to megabytes) is free: of a slow reader that may be seconds late.
const BEARABLE: u32 = 10;

/// In place of a time: it is being answered.
const BUSY: u64 = u64::MAX;

/// In place of a time: so far not.
const NEVER: u64 = u64::MAX;

/// The places on a listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    began: Instant,
    grace: Duration,
    /// Somebody waits for a place.
    wanted: AtomicBool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    guests: HashMap<u64, Arc<Guest>>,
}

/// Who has a place.
#[derive(Debug)]
pub(super) struct Guest {
    /// Whether its network may come in.
    welcome: bool,
    began: Instant,
    /// Since when nothing is asked, in microseconds; else [`BUSY`]. An atomic, since it is set twice for every
    /// request: who looks for the longest idle one looks at all, and that is seldom.
    idle_since: AtomicU64,
    has_asked: AtomicBool,
    /// The next piece of its request's body is waited for, for as long as it is idle.
    body_waits: AtomicBool,
    /// Since when it takes nothing of what is written to it.
    stuck_since: AtomicU64,
    /// When it was told to go; it will not be again.
    told_at: AtomicU64,
    /// Told or not, it is not waited for any more.
    is_given_up: AtomicBool,
    leave: Notify,
}

impl Guest {
    pub(super) fn new(began: Instant, welcome: bool) -> Arc<Self> {
        let guest = Self {
            welcome,
            began,
            idle_since: AtomicU64::new(BUSY),
            has_asked: AtomicBool::new(false),
            body_waits: AtomicBool::new(false),
            stuck_since: AtomicU64::new(NEVER),
            told_at: AtomicU64::new(NEVER),
            is_given_up: AtomicBool::new(false),
            leave: Notify::new(),
        };
        guest.rest();
        Arc::new(guest)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(NEVER - 1)
    }

    fn rest(&self) -> u64 {
        // By it one rest is told from the one before.
        let before = self.idle_since.load(Ordering::Relaxed);
        let since = if before == BUSY { self.now() } else { self.now().max(before + 1) };
        self.idle_since.store(since, Ordering::Relaxed);
        since
    }

    /// It asks for something: it is busy until what this gives is dropped.
    pub(super) fn ask(self: &Arc<Self>) -> Turn {
        self.has_asked.store(true, Ordering::Relaxed);
        self.idle_since.store(BUSY, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// The next piece of its request's body is waited for: it is idle until that is here.
    fn wait_for_body(&self) -> u64 {
        self.body_waits.store(true, Ordering::Relaxed);
        self.rest()
    }

    /// The body that was waited for since then goes on, or is not wanted any more.
    fn body_goes_on(&self, since: u64) {
        self.body_waits.store(false, Ordering::Relaxed);
        // Unless its turn is over already.
        let _ = self.idle_since.compare_exchange(since, BUSY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it takes something of what is written to it.
    pub(super) fn takes(&self, something: bool) {
        self.stuck_since.store(if something { NEVER } else { self.now() }, Ordering::Relaxed);
    }

    /// Whether it ever asked for anything.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Whether its network may come in.
    pub(super) fn is_welcome(&self) -> bool {
        self.welcome
    }

    /// Waits until its place is wanted, or wanted at last.
    pub(super) async fn told_to_go(&self) {
        self.leave.notified().await;
    }

    /// Whether nothing that it has said in full would be lost, or it is not waited for any more.
    pub(super) fn can_go_at_once(&self) -> bool {
        !self.has_asked() || self.body_waits.load(Ordering::Relaxed) || self.is_given_up.load(Ordering::Relaxed)
    }

    /// Times since when the guest asks nothing and takes nothing; they change when it goes on.
    pub(super) fn pace(&self) -> (u64, u64) {
        (self.idle_since.load(Ordering::Relaxed), self.stuck_since.load(Ordering::Relaxed))
    }

    /// Waits again for a guest that was given up and went on after all.
    pub(super) fn wait_on(&self) {
        self.is_given_up.store(false, Ordering::Relaxed);
    }

    /// Whether it was told to go, and for so long neither sends what it asks nor takes what it is answered.
    fn is_overdue(&self, now: Duration, grace: Duration) -> bool {
        let at = |time: &AtomicU64| time.load(Ordering::Relaxed);
        let told = at(&self.told_at);
        let (waits, grace) = match self.body_waits.load(Ordering::Relaxed) {
            true => (&self.idle_since, grace),
            false => (&self.stuck_since, grace * BEARABLE),
        };
        let is_answered = at(&self.idle_since) != BUSY;
        let since = told.max(at(waits));
        is_answered && since != NEVER && now.saturating_sub(Duration::from_micros(since)) >= grace
    }
}

/// A request's body, for as long as its client is waited for.
#[derive(Debug)]
pub(super) struct Coming<B> {
    body: B,
    guest: Arc<Guest>,
    /// Since when its next piece is waited for.
    waits: Option<u64>,
}

impl<B> Coming<B> {
    pub(super) fn new(body: B, guest: &Arc<Guest>) -> Self {
        Self { body, guest: Arc::clone(guest), waits: None }
    }

    fn goes_on(&mut self) {
        if let Some(since) = self.waits.take() {
            self.guest.body_goes_on(since);
        }
    }
}

impl<B> Drop for Coming<B> {
    fn drop(&mut self) {
        self.goes_on();
    }
}

impl<B: HttpBody + Unpin> HttpBody for Coming<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.goes_on();
        } else if self.waits.is_none() {
            self.waits = Some(self.guest.wait_for_body());
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

/// A request, from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Turn(Arc<Guest>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// A place that is taken. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    /// Who has it.
    pub(super) guest: Arc<Guest>,
    /// Where it is.
    pub(super) places: Arc<Places>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().guests.remove(&self.number);
    }
}

impl Places {
    /// As many as `most`.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Self::with_grace(most, GRACE)
    }

    fn with_grace(most: usize, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            began: Instant::now(),
            grace,
            wanted: AtomicBool::new(false),
            taken: Mutex::default(),
        })
    }

    /// Whether somebody waits for a place.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Takes a place, where none is free once somebody has gone. `None` = there will be none any more.
    pub(super) async fn take(self: &Arc<Self>, welcome: bool) -> Option<Place> {
        let mut permit = Arc::clone(&self.free).try_acquire_owned().ok();
        while permit.is_none() {
            self.wanted.store(true, Ordering::Relaxed);
            self.ask_one_to_go();
            // Else whoever was asked is being answered by now, or nobody could be asked.
            if let Ok(taken) = timeout(NEXT, Arc::clone(&self.free).acquire_owned()).await {
                permit = Some(taken.ok()?);
            }
        }
        self.wanted.store(false, Ordering::Relaxed);
        let guest = Guest::new(self.began, welcome);
        let mut taken = self.taken.lock();
        let number = taken.next;
        taken.next += 1;
        taken.guests.insert(number, Arc::clone(&guest));
        drop(taken);
        Some(Place { guest, places: Arc::clone(self), number, _permit: permit? })
    }

    /// Gives up one that was told and is overdue; else tells the one that is welcome least, and idle for longest, that
    /// its place is wanted.
    fn ask_one_to_go(&self) {
        let taken = self.taken.lock();
        let now = self.began.elapsed();
        let here = || taken.guests.values().filter(|guest| !guest.is_given_up.load(Ordering::Relaxed));
        if let Some(guest) = here().find(|guest| guest.is_overdue(now, self.grace)) {
            guest.is_given_up.store(true, Ordering::Relaxed);
            guest.leave.notify_one();
            return;
        }
        let since = |guest: &Guest| guest.idle_since.load(Ordering::Relaxed);
        let has_rested = |since: u64| since != BUSY && now.saturating_sub(Duration::from_micros(since)) >= self.grace;
        let idle = here().filter(|guest| guest.told_at.load(Ordering::Relaxed) == NEVER);
        let idle = idle.map(|guest| (guest.welcome, since(guest), guest));
        let idle = idle.filter(|(welcome, since, _)| has_rested(*since) || !welcome && *since != BUSY);
        if let Some((_, _, guest)) = idle.min_by_key(|(welcome, since, _)| (*welcome, *since)) {
            guest.told_at.store(guest.now(), Ordering::Relaxed);
            guest.leave.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    /// Places that are taken one after another, by those who are welcome or not.
    async fn taken(welcome: &[bool]) -> (Arc<Places>, Vec<Option<Place>>) {
        let places = Places::with_grace(welcome.len(), Duration::ZERO);
        let mut taken = Vec::new();
        for welcome in welcome {
            taken.push(places.take(*welcome).await);
            a_while().await;
        }
        (places, taken)
    }

    /// Long enough to tell two times apart.
    async fn a_while() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// Who was told to go since this was last asked.
    fn told(taken: &[Option<Place>]) -> Vec<usize> {
        let told = |place: &Place| place.guest.told_to_go().now_or_never().is_some();
        let places = taken.iter().enumerate().filter_map(|(at, place)| Some((at, place.as_ref()?)));
        places.filter(|(_, place)| told(place)).map(|(at, _)| at).collect()
    }

    #[tokio::test]
    async fn who_is_idle_for_longest_gives_way_and_who_is_busy_does_not() {
        let (places, mut taken) = taken(&[true; 3]).await;
        let nobody: [usize; 0] = [];
        let busy = taken[0].as_ref().unwrap().guest.ask();
        // It asked and was answered: the third is idle for longer now.
        drop(taken[1].as_ref().unwrap().guest.ask());
        a_while().await;
        for wanted in [&[2][..], &[1], &nobody, &nobody] {
            places.ask_one_to_go();
            assert_eq!(told(&taken), wanted, "one is busy, and nobody is told twice");
        }
        drop(busy);
        let newcomer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(true).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(told(&taken), [0]);
        taken[0] = None;
        let newcomer = newcomer.await.unwrap();
        assert!(newcomer.is_some());
        assert_eq!(places.taken.lock().guests.len(), 3);
    }

    #[tokio::test]
    async fn who_was_idle_for_a_moment_only_stays_and_hears_that_its_place_is_wanted() {
        let places = Places::new(1);
        let first = places.take(true).await;
        assert!(!places.is_wanted());
        assert!(places.take(true).now_or_never().is_none());
        assert!(places.is_wanted(), "its next answer is its last");
        assert_eq!(told(std::slice::from_ref(&first)), [0; 0]);
        drop(first);
        assert!(places.take(true).now_or_never().is_some_and(|place| place.is_some()));
        assert!(!places.is_wanted());
    }

    #[tokio::test]
    async fn whose_body_does_not_go_on_coming_is_idle_and_can_go_at_once() {
        let (places, taken) = taken(&[true]).await;
        let guest = &taken[0].as_ref().unwrap().guest;
        let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<&[u8], std::io::Error>>();
        let turn = guest.ask();
        let mut body = Coming::new(axum::body::Body::from_stream(pieces), guest);
        let nobody: [usize; 0] = [];
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest.can_go_at_once()), (nobody.to_vec(), false), "nobody looks at its body yet");
        sender.unbounded_send(Ok(b"a")).unwrap();
        assert!(body.frame().await.is_some());
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest.can_go_at_once()), (nobody.to_vec(), false));
        assert!(body.frame().now_or_never().is_none());
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest.can_go_at_once()), (vec![0], true));
        // It went on before it was gone: it is answered, and goes then.
        sender.unbounded_send(Ok(b"b")).unwrap();
        assert!(body.frame().await.is_some());
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest.can_go_at_once()), (nobody.to_vec(), false));
        assert!(body.frame().now_or_never().is_none());
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest.can_go_at_once()), (vec![0], true), "it was told before");
        drop(turn);
        let rests = guest.idle_since.load(Ordering::Relaxed);
        a_while().await;
        drop(body);
        assert_eq!(guest.idle_since.load(Ordering::Relaxed), rests, "its turn is over");
    }

    #[tokio::test]
    async fn who_was_told_and_takes_nothing_of_its_answer_is_given_up() {
        let (places, taken) = taken(&[true; 2]).await;
        let guest = |at: usize| &taken[at].as_ref().unwrap().guest;
        let nobody: [usize; 0] = [];
        let turn = guest(0).ask();
        guest(0).takes(false);
        drop(guest(1).ask());
        places.ask_one_to_go();
        assert_eq!(told(&taken), [1], "the other is being answered");
        places.ask_one_to_go();
        assert_eq!(told(&taken), nobody, "it takes what it is answered");
        guest(1).takes(false);
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest(1).can_go_at_once()), (vec![1], true));
        places.ask_one_to_go();
        assert_eq!(told(&taken), nobody, "once is enough");
        drop(turn);
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest(0).can_go_at_once()), (vec![0], false));
        guest(0).takes(true);
        places.ask_one_to_go();
        assert_eq!((told(&taken), guest(0).can_go_at_once()), (nobody.to_vec(), false), "it takes something");
    }

    #[tokio::test]
    async fn who_was_told_has_a_moment_to_go_on() {
        let places = Places::new(1);
        let place = places.take(true).await.unwrap();
        place.guest.takes(false);
        place.guest.told_at.store(0, Ordering::Relaxed);
        assert!(!place.guest.is_overdue(GRACE, GRACE));
        assert!(!place.guest.is_overdue(9 * GRACE, GRACE), "a slow reader may be taking something");
        assert!(place.guest.is_overdue(11 * GRACE, GRACE));
        place.guest.told_at.store(3_000_000, Ordering::Relaxed);
        assert!(!place.guest.is_overdue(3 * GRACE, GRACE));
    }

    #[tokio::test]
    async fn who_may_not_come_in_gives_way_first_and_nobody_while_there_is_room() {
        let (places, mut taken) = taken(&[true, false, true, false]).await;
        taken[2] = None;
        let third = places.take(true).await;
        let nobody: [usize; 0] = [];
        assert_eq!(told(&taken), nobody);
        assert!(places.take(true).now_or_never().is_none());
        assert_eq!(told(&taken), [1]);
        drop(third);
        assert!(places.take(true).now_or_never().is_some_and(|place| place.is_some()));
    }
}
