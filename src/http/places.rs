//! The places on a listener: as many as connections are served at once, and who gives up theirs when more come.
//!
//! A connection that waits for its next request, or for its first, costs nothing until somebody else has no place:
//! then whoever opens enough of them would shut everybody out. So the newcomer gets the place of the one that has been
//! idle for longest; of those first whose network may not come in, since they get nothing here but a refusal (and
//! `/health`). Who is being answered stays, and who was a moment ago: its next request may be on its way, and would be
//! lost. Where nobody can be asked, the newcomer waits, and meanwhile every answer is the last one of its connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Whoever is asked to go is given so long before the next one is asked: it may be answering by now.
const NEXT: Duration = Duration::from_millis(50);

/// Who is idle for less than this is not asked to go.
const GRACE: Duration = Duration::from_secs(1);

/// In place of a time: it is being answered.
const BUSY: u64 = u64::MAX;

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
    /// It was told to go, and will not be again.
    is_told: AtomicBool,
    leave: Notify,
}

impl Guest {
    fn new(began: Instant, welcome: bool) -> Arc<Self> {
        let guest = Self {
            welcome,
            began,
            idle_since: AtomicU64::new(BUSY),
            has_asked: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            leave: Notify::new(),
        };
        guest.rest();
        Arc::new(guest)
    }

    fn rest(&self) {
        let since = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(BUSY - 1);
        self.idle_since.store(since, Ordering::Relaxed);
    }

    /// It asks for something: it is busy until what this gives is dropped.
    pub(super) fn ask(self: &Arc<Self>) -> Turn {
        self.has_asked.store(true, Ordering::Relaxed);
        self.idle_since.store(BUSY, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// Whether it ever asked for anything.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Whether its network may come in.
    pub(super) fn is_welcome(&self) -> bool {
        self.welcome
    }

    /// Waits until its place is wanted.
    pub(super) async fn told_to_go(&self) {
        self.leave.notified().await;
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

    /// Tells the one that is welcome least, and idle for longest, that its place is wanted.
    fn ask_one_to_go(&self) {
        let taken = self.taken.lock();
        let now = self.began.elapsed();
        let since = |guest: &Guest| guest.idle_since.load(Ordering::Relaxed);
        let has_rested = |since: u64| since != BUSY && now.saturating_sub(Duration::from_micros(since)) >= self.grace;
        let idle = taken.guests.values().filter(|guest| !guest.is_told.load(Ordering::Relaxed));
        let idle = idle.map(|guest| (guest.welcome, since(guest), guest));
        let idle = idle.filter(|(welcome, since, _)| has_rested(*since) || !welcome && *since != BUSY);
        if let Some((_, _, guest)) = idle.min_by_key(|(welcome, since, _)| (*welcome, *since)) {
            guest.is_told.store(true, Ordering::Relaxed);
            guest.leave.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

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
