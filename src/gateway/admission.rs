//! How many requests and reports are handled at once, and how much memory large requests take together.
//!
//! Each request's body has a limit of its own (`limits.max_body_mb`), and yet many at once could take all of a machine's
//! memory. So requests larger than [`SMALL_BYTES`], which hardly any is, share a room of `limits.large_requests_mb` for
//! as long as they are in memory: until their answer begins to stream or is complete. Nobody waits for it: a client is
//! told at once to try again, as with `limits.max_in_flight`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::config::Limits;
use crate::protocol::{ApiError, DecisionId, ErrorKind};

/// Reports (feedback, outcomes) handled at once. They wait for the disk, so they have permits of their own: a slow disk
/// must not keep chats out.
const MAX_REPORTS: usize = 256;

/// Requests that take up to this much memory need no room.
const SMALL_BYTES: usize = 4 << 20;

/// Permits for requests and reports.
#[derive(Debug)]
pub struct Admission {
    /// Permits of requests in progress.
    requests: Arc<Semaphore>,
    limit: Mutex<usize>,
    /// Mebibytes left for large requests, and how many there are in all.
    free_mebibytes: Arc<Semaphore>,
    mebibytes: usize,
    /// Permits of reports in progress.
    reports: Semaphore,
    /// Held while a client's report of its own call is compared with its earlier one; picked by the decision's id.
    reporting: [tokio::sync::Mutex<()>; 64],
}

/// Leave to answer a request, to be held until the answer is complete.
#[derive(Debug)]
pub struct Permit {
    _one: OwnedSemaphorePermit,
    free_mebibytes: Arc<Semaphore>,
    mebibytes: usize,
    /// The request's part of the room for large ones, until [`Permit::take_room`].
    place: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Takes room for a request that takes this much memory in all, as far as it has none yet. What is larger than the
    /// room has it for itself.
    ///
    /// # Errors
    ///
    /// `RateLimited` while other large requests have the room.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let needed = self.needed(bytes);
        let held = self.place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = needed.checked_sub(held).filter(|more| *more > 0) else { return Ok(()) };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.free_mebibytes).try_acquire_many_owned(more).map_err(|_| {
            let message = "too many large requests are being answered (limits.large_requests_mb)";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })?;
        match &mut self.place {
            Some(held) => held.merge(place),
            none => *none = Some(place),
        }
        Ok(())
    }

    /// Takes out the request's part of the room for large ones, to be held while the request is in memory: its answer
    /// may go on for long after that. What `still_bytes` need, which the answer keeps of the request, stays.
    pub fn take_room(&mut self, still_bytes: impl FnOnce() -> usize) -> Option<OwnedSemaphorePermit> {
        let still = self.place.is_some().then(|| self.needed(still_bytes()))?;
        let place = self.place.as_mut()?;
        place.split(place.num_permits().saturating_sub(still))
    }

    /// Mebibytes of room for a request that takes this much memory.
    fn needed(&self, bytes: usize) -> usize {
        bytes.saturating_sub(SMALL_BYTES).div_ceil(1 << 20).min(self.mebibytes)
    }
}

impl Admission {
    /// Lets in as many requests at once as the limits say.
    pub fn new(limits: &Limits) -> Self {
        let limit = limits.max_in_flight;
        let mebibytes = u32::try_from(limits.large_requests_mb).unwrap_or(u32::MAX) as usize;
        Self {
            free_mebibytes: Arc::new(Semaphore::new(mebibytes)),
            mebibytes,
            requests: Arc::new(Semaphore::new(limit)),
            limit: Mutex::new(limit),
            reports: Semaphore::new(MAX_REPORTS),
            reporting: std::array::from_fn(|_| Default::default()),
        }
    }

    /// A permit to answer a request, to be held until the answer is complete.
    ///
    /// # Errors
    ///
    /// `RateLimited` while `limits.max_in_flight` requests are being answered.
    pub fn request(&self) -> Result<Permit, ApiError> {
        let one = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| {
            let message = "too many requests are being answered (limits.max_in_flight)";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })?;
        let free_mebibytes = Arc::clone(&self.free_mebibytes);
        Ok(Permit { _one: one, free_mebibytes, mebibytes: self.mebibytes, place: None })
    }

    /// A permit to handle a report, to be held until that is done.
    ///
    /// # Errors
    ///
    /// `RateLimited` while [`MAX_REPORTS`] are being handled.
    pub fn report(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.reports.try_acquire().map_err(|_| {
            let message = "too many reports are being handled; send this one again";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })
    }

    /// Waits until no other report on this decision is being handled.
    pub async fn report_on(&self, decision: DecisionId) -> MutexGuard<'_, ()> {
        // The last bits of an id are random.
        self.reporting[decision.0.as_u128() as usize % self.reporting.len()].lock().await
    }

    /// Changes how many requests are answered at once. A lower limit takes hold as running requests end: their permits
    /// are taken back, ahead of new requests. Within a tokio runtime.
    pub fn resize(&self, wanted: usize) {
        let mut limit = self.limit.lock();
        let before = std::mem::replace(&mut *limit, wanted);
        self.requests.add_permits(wanted.saturating_sub(before));
        let less = before.saturating_sub(wanted);
        let out = less - self.requests.forget_permits(less);
        if out > 0 {
            let (permits, out) = (Arc::clone(&self.requests), u32::try_from(out).unwrap_or(u32::MAX));
            tokio::spawn(async move {
                if let Ok(returned) = permits.acquire_many_owned(out).await {
                    returned.forget();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lower_limit_takes_hold_as_requests_end() {
        let admission = Admission::new(&Limits { max_in_flight: 3, ..Limits::default() });
        let first = admission.request().unwrap();
        let second = admission.request().unwrap();
        admission.resize(1);
        assert!(admission.request().is_err(), "two are under way");
        drop(first);
        tokio::task::yield_now().await;
        assert!(admission.request().is_err(), "one is, as many as may be");
        drop(second);
        tokio::task::yield_now().await;
        let one = admission.request().unwrap();
        assert_eq!(admission.request().unwrap_err().kind, ErrorKind::RateLimited);
        admission.resize(2);
        let _two = admission.request().unwrap();
        drop(one);
    }

    #[tokio::test]
    async fn large_requests_share_a_room_for_as_long_as_they_are_in_memory() {
        const MIB: usize = 1 << 20;
        let admission = Admission::new(&Limits { large_requests_mb: 10, ..Limits::default() });
        let [mut first, mut second, mut third] = std::array::from_fn(|_| admission.request().unwrap());
        first.grow(SMALL_BYTES + 3 * MIB).unwrap();
        first.grow(SMALL_BYTES + 6 * MIB).unwrap();
        second.grow(SMALL_BYTES + 4 * MIB).unwrap();
        second.grow(SMALL_BYTES).unwrap();
        third.grow(SMALL_BYTES).unwrap();
        let error = third.grow(SMALL_BYTES + 1).unwrap_err();
        assert_eq!(error.kind, ErrorKind::RateLimited);
        assert!(error.message.contains("limits.large_requests_mb") && error.retry_after.is_some(), "{error:?}");
        drop(first);
        assert!(third.grow(1000 * MIB).is_err(), "another has a part of it");
        drop(second);
        third.grow(1000 * MIB).unwrap();
        assert_eq!(admission.free_mebibytes.available_permits(), 0, "it has all of the room");
        let room = third.take_room(|| SMALL_BYTES + MIB);
        assert_eq!(admission.free_mebibytes.available_permits(), 0);
        drop(room);
        assert_eq!(admission.free_mebibytes.available_permits(), 9, "its answer goes on with what it keeps");
        drop(third.take_room(|| SMALL_BYTES));
        assert_eq!(admission.free_mebibytes.available_permits(), 10);
        drop(third);
        assert_eq!(admission.free_mebibytes.available_permits(), 10);
    }
}
