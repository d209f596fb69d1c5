//! Requests and tokens per minute of each API token: token buckets that fill evenly and hold one minute's worth.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::protocol::{ApiError, ErrorKind};
use crate::store::Token;

/// Buckets, by the API token's id; `None` is everybody without one.
#[derive(Debug, Default)]
pub struct Limiter {
    buckets: Mutex<HashMap<Option<String>, Pair>>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    requests: Bucket,
    tokens: Bucket,
}

/// What is left, and when that was true.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(capacity: f64, now: Instant) -> Self {
        Self { left: capacity, at: now }
    }

    fn refill(&mut self, capacity: f64, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() / 60.0 * capacity;
        self.left = (self.left + gained).min(capacity);
        self.at = now;
    }

    /// How long until `amount` is there; a larger one than the bucket holds waits for a full bucket.
    fn wait(&self, amount: f64, capacity: f64) -> Option<Duration> {
        let lacking = amount.min(capacity) - self.left;
        (lacking > 0.0).then(|| Duration::from_secs_f64(lacking / capacity * 60.0))
    }
}

impl Limiter {
    /// Takes one request and `estimated` tokens, or says when to come back.
    ///
    /// # Errors
    ///
    /// `RateLimited`, with a time.
    pub fn take(&self, token: Option<&Token>, limits: &Limits, estimated: u32, now: Instant) -> Result<(), ApiError> {
        let (per_minute, tokens_per_minute) = rates(token, limits);
        if per_minute == 0.0 && tokens_per_minute == 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        let key = token.map(|token| token.id.clone());
        let full = Pair { requests: Bucket::full(per_minute, now), tokens: Bucket::full(tokens_per_minute, now) };
        let pair = buckets.entry(key).or_insert(full);
        pair.requests.refill(per_minute, now);
        pair.tokens.refill(tokens_per_minute, now);
        let estimated = f64::from(estimated);
        if per_minute > 0.0
            && let Some(wait) = pair.requests.wait(1.0, per_minute)
        {
            return Err(over(format!("more than {per_minute} requests per minute"), wait));
        }
        if tokens_per_minute > 0.0
            && let Some(wait) = pair.tokens.wait(estimated, tokens_per_minute)
        {
            return Err(over(format!("more than {tokens_per_minute} tokens per minute"), wait));
        }
        pair.requests.left -= 1.0;
        pair.tokens.left -= estimated;
        Ok(())
    }

    /// Puts the estimate right once the vendor has counted. What is overdrawn is waited for by the next request.
    pub fn correct(&self, token: Option<&str>, estimated: u32, counted: u64) {
        let key = token.map(str::to_owned);
        if let Some(pair) = self.buckets.lock().get_mut(&key) {
            pair.tokens.left -= counted as f64 - f64::from(estimated);
        }
    }
}

fn rates(token: Option<&Token>, limits: &Limits) -> (f64, f64) {
    let requests = token.and_then(|token| token.requests_per_minute).unwrap_or(limits.requests_per_minute);
    let tokens = token.and_then(|token| token.tokens_per_minute).unwrap_or(limits.tokens_per_minute);
    (f64::from(requests), tokens as f64)
}

fn over(what: String, wait: Duration) -> ApiError {
    ApiError::new(ErrorKind::RateLimited, format!("{what}; come back in {:.0} s", wait.as_secs_f64().ceil()))
        .after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u32, tokens: u64) -> Limits {
        Limits { requests_per_minute: requests, tokens_per_minute: tokens, ..Limits::default() }
    }

    #[test]
    fn a_minutes_worth_and_then_evenly() {
        let (limiter, limits, now) = (Limiter::default(), limits(60, 0), Instant::now());
        let granted = (0..100).filter(|_| limiter.take(None, &limits, 0, now).is_ok()).count();
        assert_eq!(granted, 60);
        let error = limiter.take(None, &limits, 0, now).unwrap_err();
        assert_eq!(error.retry_after.unwrap().as_secs_f64().round(), 1.0);
        assert!(limiter.take(None, &limits, 0, now + Duration::from_millis(1100)).is_ok());
    }

    #[test]
    fn tokens_are_corrected_by_what_was_counted() {
        let (limiter, limits, now) = (Limiter::default(), limits(0, 1000), Instant::now());
        limiter.take(None, &limits, 100, now).unwrap();
        limiter.correct(None, 100, 2000);
        let error = limiter.take(None, &limits, 100, now).unwrap_err();
        assert!(error.retry_after.unwrap() > Duration::from_secs(60));
    }

    #[test]
    fn a_prompt_larger_than_a_minute_waits_for_a_full_bucket() {
        let (limiter, limits, now) = (Limiter::default(), limits(0, 1000), Instant::now());
        assert!(limiter.take(None, &limits, 5000, now).is_ok());
        assert!(limiter.take(None, &limits, 1, now).is_err());
    }
}
