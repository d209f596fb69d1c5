//! How many requests and reports are handled at once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::protocol::{ApiError, DecisionId, ErrorKind};

/// Reports (feedback, outcomes) handled at once. They wait for the disk, so they have permits of their own: a slow disk
/// must not keep chats out.
const MAX_REPORTS: usize = 256;

/// Permits for requests and reports.
#[derive(Debug)]
pub struct Admission {
    /// Permits of requests in progress.
    requests: Arc<Semaphore>,
    limit: Mutex<usize>,
    /// Permits of reports in progress.
    reports: Semaphore,
    /// Held while a client's report of its own call is compared with its earlier one; picked by the decision's id.
    reporting: [tokio::sync::Mutex<()>; 64],
}

impl Admission {
    /// Lets in `limit` requests at once.
    pub fn new(limit: usize) -> Self {
        Self {
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
    pub fn request(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| {
            let message = "too many requests are being answered (limits.max_in_flight)";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })
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
        let admission = Admission::new(3);
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
}
