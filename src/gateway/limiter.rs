//! Rate limits of each API token: requests and tokens per minute, dollars per day. They are token buckets that refill
//! evenly and hold one minute's worth, or one day's; without a limit a bucket is infinite, so that a limit set later
//! begins with a full one.
//!
//! What an answer uses is known only at its end. So the expected use is taken before it begins, or many requests at
//! once would each find the bucket full, and is corrected at its end ([`Taken`]). Expected money is held, not spent: an
//! answer may cost a tenth of it, so a request that finds the rest of a day held is told to come back in a moment, not
//! in hours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::protocol::{ApiError, ErrorKind};
use crate::store::Token;

/// Buckets by the API token's id; `None` = all callers without one.
#[derive(Debug, Default)]
pub struct Limiter {
    buckets: Mutex<HashMap<Option<String>, Account>>,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    requests: Bucket,
    tokens: Bucket,
    money: Bucket,
    /// US dollars that answers under way are expected to cost.
    held: f64,
}

impl Account {
    fn full(rates: &Rates, now: Instant) -> Self {
        Self {
            requests: Bucket::full(rates.per_minute, now),
            tokens: Bucket::full(rates.tokens_per_minute, now),
            money: Bucket::full(rates.usd_per_day, now),
            held: 0.0,
        }
    }

    /// Checks that any of the day's money is left.
    fn any_money(&self, usd_per_day: f64) -> Result<(), ApiError> {
        let least = usd_per_day * MIN_SHARE_LEFT;
        match self.money.wait(least, usd_per_day, DAY_S) {
            Some(wait) => Err(over(format!("more than ${usd_per_day} per day"), wait)),
            None if self.money.left - self.held < least => {
                let what = format!("answers under way may cost all that is left of ${usd_per_day} per day");
                Err(over(what, HELD_RETRY))
            }
            None => Ok(()),
        }
    }
}

/// When a request that finds all money held may come back: many answers are complete by then.
const HELD_RETRY: Duration = Duration::from_secs(2);

/// Seconds in which a bucket of requests or tokens fills.
const MINUTE_S: f64 = 60.0;

/// Seconds in which a bucket of money fills.
const DAY_S: f64 = 86_400.0;

/// What was left at a time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket; `capacity` 0 = no limit.
    fn full(capacity: f64, now: Instant) -> Self {
        Self { left: if capacity > 0.0 { capacity } else { f64::INFINITY }, at: now }
    }

    fn refill(&mut self, capacity: f64, period: f64, now: Instant) {
        if capacity == 0.0 {
            *self = Self::full(capacity, now);
            return;
        }
        let gained = now.saturating_duration_since(self.at).as_secs_f64() / period * capacity;
        self.left = (self.left + gained).min(capacity);
        // `now` may be earlier than the last refill: a request with a slow body brings the time at which it began.
        self.at = self.at.max(now);
    }

    /// How long until `amount` is there; more than the bucket holds waits for a full bucket. `None` = it is there.
    fn wait(&self, amount: f64, capacity: f64, period: f64) -> Option<Duration> {
        let lacking = amount.min(capacity) - self.left;
        (lacking > 0.0).then(|| Duration::from_secs_f64((lacking / capacity * period).min(1e9)))
    }
}

/// What a request uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Amount {
    /// Tokens of prompt and answer together.
    pub tokens: u64,
    /// Their cost in US dollars.
    pub cost_usd: f64,
}

/// What was taken from a token's buckets for one request. Dropping it gives that back: a request that was refused,
/// found no model or was cancelled before has used nothing.
#[derive(Debug)]
pub struct Taken {
    limiter: Arc<Limiter>,
    token: Option<String>,
    amount: Amount,
}

impl Taken {
    /// Takes the expected use of an answer, beyond its prompt's tokens. Money is given while any is left; the next
    /// request waits for what an answer overdraws.
    ///
    /// # Errors
    ///
    /// `RateLimited`, with the time to come back.
    pub fn expect(
        &mut self,
        token: Option<&Token>,
        limits: &Limits,
        expected: Amount,
        now: Instant,
    ) -> Result<(), ApiError> {
        self.limiter.with(token, limits, now, |account, Rates { usd_per_day, .. }| {
            account.any_money(usd_per_day)?;
            account.held += expected.cost_usd;
            account.tokens.left -= expected.tokens as f64;
            Ok(())
        })?;
        self.amount.tokens += expected.tokens;
        self.amount.cost_usd += expected.cost_usd;
        Ok(())
    }

    /// Replaces what was taken by what was used. The next request waits for what is overdrawn.
    pub fn settle(&mut self, used: Amount) {
        let taken = std::mem::take(&mut self.amount);
        if taken == used && used.cost_usd == 0.0 {
            return;
        }
        if let Some(account) = self.limiter.buckets.lock().get_mut(&self.token) {
            account.tokens.left += taken.tokens as f64 - used.tokens as f64;
            account.held = (account.held - taken.cost_usd).max(0.0);
            account.money.left -= used.cost_usd;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.settle(Amount::default());
    }
}

impl Limiter {
    /// Takes one request. To be called before anything is done for it and before its body is read.
    ///
    /// # Errors
    ///
    /// `RateLimited`, with the time to come back.
    pub fn enter(&self, token: Option<&Token>, limits: &Limits, now: Instant) -> Result<(), ApiError> {
        self.with(token, limits, now, |account, Rates { per_minute, usd_per_day, .. }| {
            if let Some(wait) = account.requests.wait(1.0, per_minute, MINUTE_S) {
                return Err(over(format!("more than {per_minute} requests per minute"), wait));
            }
            account.any_money(usd_per_day)?;
            account.requests.left -= 1.0;
            Ok(())
        })
    }

    /// Takes the `estimated` tokens of the prompt of a request that has passed [`Self::enter`].
    ///
    /// # Errors
    ///
    /// `RateLimited`, with the time to come back.
    pub fn take(
        self: &Arc<Self>,
        token: Option<&Token>,
        limits: &Limits,
        estimated: u32,
        now: Instant,
    ) -> Result<Taken, ApiError> {
        self.with(token, limits, now, |account, Rates { tokens_per_minute, .. }| {
            let estimated = f64::from(estimated);
            if let Some(wait) = account.tokens.wait(estimated, tokens_per_minute, MINUTE_S) {
                return Err(over(format!("more than {tokens_per_minute} tokens per minute"), wait));
            }
            account.tokens.left -= estimated;
            Ok(())
        })?;
        let amount = Amount { tokens: u64::from(estimated), cost_usd: 0.0 };
        Ok(Taken { limiter: Arc::clone(self), token: token.map(|token| token.id.clone()), amount })
    }

    /// Calls `take` with a token's buckets, refilled to `now`, if anything is limited.
    fn with(
        &self,
        token: Option<&Token>,
        limits: &Limits,
        now: Instant,
        take: impl FnOnce(&mut Account, Rates) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let rates = rates(token, limits);
        let mut buckets = self.buckets.lock();
        let unlimited = rates.per_minute == 0.0 && rates.tokens_per_minute == 0.0 && rates.usd_per_day == 0.0;
        if unlimited && buckets.is_empty() {
            return Ok(());
        }
        let key = token.map(|token| token.id.clone());
        if unlimited {
            buckets.remove(&key);
            return Ok(());
        }
        let account = buckets.entry(key).or_insert_with(|| Account::full(&rates, now));
        account.requests.refill(rates.per_minute, MINUTE_S, now);
        account.tokens.refill(rates.tokens_per_minute, MINUTE_S, now);
        account.money.refill(rates.usd_per_day, DAY_S, now);
        take(account, rates)
    }

    /// What a token has spent of its day's money and what has not refilled yet, US dollars; 0 without a limit.
    pub fn owed(&self, token: Option<&Token>, limits: &Limits, now: Instant) -> f64 {
        let per_day = usd_per_day(token, limits);
        let key = token.map(|token| token.id.clone());
        let Some(mut account) = self.buckets.lock().get(&key).copied() else { return 0.0 };
        account.money.refill(per_day, DAY_S, now);
        if per_day > 0.0 { (per_day - account.money.left).max(0.0) } else { 0.0 }
    }

    /// Takes money that no answer of this process has spent: before it started (the part of the last day's spending
    /// that has not refilled), or by callers that call vendors themselves. A negative amount is given back.
    pub fn owe(&self, token: Option<&Token>, limits: &Limits, usd: f64, now: Instant) {
        let rates = rates(token, limits);
        if rates.usd_per_day > 0.0 {
            let key = token.map(|token| token.id.clone());
            self.buckets.lock().entry(key).or_insert_with(|| Account::full(&rates, now)).money.left -= usd;
        }
    }
}

/// The dollars per day that a token may spend; 0 = no limit.
pub fn usd_per_day(token: Option<&Token>, limits: &Limits) -> f64 {
    rates(token, limits).usd_per_day
}

/// The limits of a token; 0 = no limit.
struct Rates {
    per_minute: f64,
    tokens_per_minute: f64,
    usd_per_day: f64,
}

/// The share of a day's money that must be left for a request to enter.
const MIN_SHARE_LEFT: f64 = 1e-6;

fn rates(token: Option<&Token>, limits: &Limits) -> Rates {
    let requests = token.and_then(|token| token.requests_per_minute).unwrap_or(limits.requests_per_minute);
    let tokens = token.and_then(|token| token.tokens_per_minute).unwrap_or(limits.tokens_per_minute);
    let usd_per_day = token.and_then(|token| token.usd_per_day).unwrap_or(limits.usd_per_day);
    Rates { per_minute: f64::from(requests), tokens_per_minute: tokens as f64, usd_per_day }
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

    /// A whole request of so many tokens, to be settled.
    fn begin(limiter: &Arc<Limiter>, limits: &Limits, estimated: u32, now: Instant) -> Result<Taken, ApiError> {
        limiter.enter(None, limits, now)?;
        limiter.take(None, limits, estimated, now)
    }

    /// A whole request that used as many tokens as was thought.
    fn ask(limiter: &Arc<Limiter>, limits: &Limits, tokens: u32, now: Instant) -> Result<(), ApiError> {
        spend(limiter, limits, tokens, now, Amount { tokens: u64::from(tokens), cost_usd: 0.0 })
    }

    /// A whole request, and what it used.
    fn spend(
        limiter: &Arc<Limiter>,
        limits: &Limits,
        estimated: u32,
        now: Instant,
        used: Amount,
    ) -> Result<(), ApiError> {
        begin(limiter, limits, estimated, now).map(|mut taken| taken.settle(used))
    }

    #[test]
    fn a_minutes_worth_and_then_evenly() {
        let (limiter, limits, now) = (Arc::default(), limits(60, 0), Instant::now());
        let granted = (0..100).filter(|_| ask(&limiter, &limits, 0, now).is_ok()).count();
        assert_eq!(granted, 60);
        let error = ask(&limiter, &limits, 0, now).unwrap_err();
        assert_eq!(error.retry_after.unwrap().as_secs_f64().round(), 1.0);
        assert!(ask(&limiter, &limits, 0, now + Duration::from_millis(1100)).is_ok());
    }

    #[test]
    fn tokens_are_put_right_by_what_was_counted() {
        let (limiter, limits, now) = (Arc::default(), limits(0, 1000), Instant::now());
        spend(&limiter, &limits, 100, now, Amount { tokens: 2000, cost_usd: 0.0 }).unwrap();
        let error = ask(&limiter, &limits, 100, now).unwrap_err();
        assert!(error.retry_after.unwrap() > Duration::from_secs(60));
    }

    #[test]
    fn what_came_to_nothing_is_given_back() {
        let (limiter, now) = (Arc::default(), Instant::now());
        let limits = Limits { usd_per_day: 1.0, ..limits(0, 1000) };
        for _ in 0..5 {
            let mut taken = begin(&limiter, &limits, 600, now).unwrap();
            taken.expect(None, &limits, Amount { tokens: 600, cost_usd: 2.0 }, now).unwrap();
        }
        let overdrawn = begin(&limiter, &limits, 600, now).unwrap();
        assert!(begin(&limiter, &limits, 600, now).is_err(), "what is under way is taken");
        drop(overdrawn);
        ask(&limiter, &limits, 600, now).unwrap();
    }

    #[test]
    fn money_is_overdrawn_once_and_then_waited_for() {
        let (limiter, now) = (Arc::default(), Instant::now());
        let limits = Limits { usd_per_day: 24.0, ..Limits::default() };
        spend(&limiter, &limits, 0, now, Amount { tokens: 0, cost_usd: 26.0 }).unwrap();
        let error = ask(&limiter, &limits, 0, now).unwrap_err();
        let wait = error.retry_after.unwrap().as_secs_f64();
        assert!((wait - 7200.0).abs() < 10.0, "two dollars at one an hour: {wait}");
        assert!(ask(&limiter, &limits, 0, now + Duration::from_secs(7300)).is_ok());
        let again: Arc<Limiter> = Arc::default();
        again.owe(None, &limits, 25.0, now);
        assert!(ask(&again, &limits, 0, now).is_err(), "a restart forgives nothing");
        let owed = [0, 3600, 86_400].map(|s| again.owed(None, &limits, now + Duration::from_secs(s)).round());
        assert_eq!(owed, [25.0, 24.0, 1.0]);
        assert_eq!(again.owed(None, &Limits::default(), now), 0.0, "there is no limit now");
    }

    #[test]
    fn many_at_once_share_what_is_left() {
        let (limiter, now) = (Arc::default(), Instant::now());
        let limits = Limits { usd_per_day: 1.0, ..limits(0, 4000) };
        let begin = |expected: Amount| {
            let mut taken = begin(&limiter, &limits, 100, now).ok()?;
            taken.expect(None, &limits, expected, now).ok().map(|()| taken)
        };
        let costly = Amount { tokens: 100, cost_usd: 0.3 };
        let mut under_way: Vec<Taken> = (0..10).filter_map(|_| begin(costly)).collect();
        assert_eq!(under_way.len(), 4, "the fourth overdraws");
        let held = ask(&limiter, &limits, 0, now).unwrap_err();
        assert!(held.retry_after.unwrap() <= Duration::from_secs(5), "nothing of it is spent: {}", held.message);
        // Each cost a third of what was expected.
        under_way.iter_mut().for_each(|taken| taken.settle(Amount { tokens: 200, cost_usd: 0.1 }));
        begin(Amount::default()).unwrap().settle(Amount { tokens: 100, cost_usd: 0.0 });
        let long = Amount { tokens: 900, cost_usd: 0.0 };
        let under_way: Vec<Taken> = (0..10).filter_map(|_| begin(long)).collect();
        assert_eq!(under_way.len(), 4, "3,100 tokens are left, the last overdraws");
    }

    #[test]
    fn a_limit_set_later_begins_full_whatever_was_used_before() {
        let (limiter, now) = (Arc::default(), Instant::now());
        let used = Amount { tokens: 80_000, cost_usd: 100.0 };
        for _ in 0..10 {
            spend(&limiter, &limits(1000, 0), 50_000, now, used).unwrap();
        }
        let all = Limits { usd_per_day: 1.0, ..limits(1000, 1000) };
        ask(&limiter, &all, 900, now).unwrap();
        assert!(ask(&limiter, &all, 900, now).is_err(), "and holds from then on");
        // One taken off, or all, and set again.
        for off in [limits(1000, 0), limits(0, 0)] {
            spend(&limiter, &off, 50_000, now, used).unwrap();
            ask(&limiter, &all, 900, now).unwrap();
        }
    }

    #[test]
    fn a_prompt_larger_than_a_minute_waits_for_a_full_bucket() {
        let (limiter, limits, now) = (Arc::default(), limits(0, 1000), Instant::now());
        assert!(ask(&limiter, &limits, 5000, now).is_ok());
        assert!(ask(&limiter, &limits, 1, now).is_err());
    }
}
