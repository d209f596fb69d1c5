//! The retry budget: retries may be only a share of the traffic.
//!
//! When a vendor is down every request wants to try again, and the retries alone can keep it down. So each first
//! attempt deposits a fraction of a retry, each retry withdraws a whole one, and what is deposited is forgotten after
//! ten seconds. A small allowance per second lets a quiet gateway retry at all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config;

/// How long deposits and withdrawals count.
const WINDOW: Duration = Duration::from_secs(10);

/// The budget shared by all requests.
#[derive(Debug)]
pub struct RetryBudget {
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    settings: config::RetryBudget,
    /// One entry per second: when, first attempts, retries.
    seconds: VecDeque<(Instant, u64, u64)>,
}

impl RetryBudget {
    /// A budget without any attempts yet.
    pub fn new(settings: config::RetryBudget) -> Self {
        Self { book: Mutex::new(Book { settings, seconds: VecDeque::new() }) }
    }

    /// Takes over new settings.
    pub fn configure(&self, settings: config::RetryBudget) {
        self.book.lock().settings = settings;
    }

    /// Notes a first attempt.
    pub fn deposit(&self, now: Instant) {
        self.book.lock().at(now).1 += 1;
    }

    /// Whether one more retry may be made; if so it is noted.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut book = self.book.lock();
        book.at(now);
        let (first, retries) =
            book.seconds.iter().fold((0, 0), |(first, retries), second| (first + second.1, retries + second.2));
        let allowed = book.settings.min_per_s * WINDOW.as_secs_f64() + book.settings.ratio * first as f64;
        if (retries + 1) as f64 > allowed {
            return false;
        }
        book.at(now).2 += 1;
        true
    }
}

impl Book {
    fn at(&mut self, now: Instant) -> &mut (Instant, u64, u64) {
        while self.seconds.front().is_some_and(|(then, ..)| now.duration_since(*then) > WINDOW) {
            self.seconds.pop_front();
        }
        let fresh = self.seconds.back().is_none_or(|(then, ..)| now.duration_since(*then) >= Duration::from_secs(1));
        if fresh {
            self.seconds.push_back((now, 0, 0));
        }
        let last = self.seconds.len() - 1;
        &mut self.seconds[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_first_attempts() {
        let budget = RetryBudget::new(config::RetryBudget { ratio: 0.1, min_per_s: 0.0 });
        let now = Instant::now();
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 10);
    }

    #[test]
    fn a_quiet_gateway_may_retry_and_the_past_is_forgotten() {
        let budget = RetryBudget::new(config::RetryBudget { ratio: 0.0, min_per_s: 0.2 });
        let now = Instant::now();
        assert_eq!((0..10).filter(|_| budget.withdraw(now)).count(), 2);
        assert!(budget.withdraw(now + Duration::from_secs(11)));
    }
}
