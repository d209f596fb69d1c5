//! Requests that a server may be unable to answer, however well it is: some answer 500 to what their chat template, or
//! their parser, cannot take. One client's such request, asked again and again, must not close the server for the others.
//!
//! A request is at fault if the server failed on it, then answered another, and soon after fails on it again. An answer shows
//! for a while only that the server is well: who asks the same every minute finds a dead one out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most requests that are remembered.
const MOST: usize = 16;

/// How long an answer shows that the server is well.
const WELL_FOR: Duration = Duration::from_secs(30);

/// How long a request is remembered on which the server does not fail again.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Requests on which a server has failed and which it has not answered since, by a hash of each.
#[derive(Debug, Default)]
pub(super) struct Suspects(VecDeque<Suspect>);

#[derive(Debug)]
struct Suspect {
    request: u64,
    failed_at: Instant,
    /// When the server answered another since.
    well_at: Option<Instant>,
}

impl Suspects {
    /// Whether none is remembered, so that an answer says nothing.
    pub(super) fn is_empty(&mut self, now: Instant) -> bool {
        self.0.retain(|suspect| now < suspect.failed_at + REMEMBERED_FOR);
        self.0.is_empty()
    }

    /// The server has answered this request.
    pub(super) fn answered(&mut self, request: u64, now: Instant) {
        self.0.retain(|suspect| suspect.request != request);
        self.0.iter_mut().for_each(|suspect| suspect.well_at = Some(now));
    }

    /// The server has failed on this request; whether the request is at fault.
    pub(super) fn failed(&mut self, request: u64, now: Instant) -> bool {
        if let Some(suspect) = self.0.iter_mut().find(|suspect| suspect.request == request) {
            suspect.failed_at = now;
            return suspect.well_at.is_some_and(|well| now < well + WELL_FOR);
        }
        self.0.truncate(MOST - 1);
        self.0.push_front(Suspect { request, failed_at: now, well_at: None });
        false
    }

    /// Forgets all, on an operator's request.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_at_fault_that_fails_again_after_another_was_answered() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        assert!(suspects.is_empty(now));
        assert_eq!([1, 1, 2].map(|request| suspects.failed(request, now)), [false; 3], "the server may be down");
        suspects.answered(3, now);
        assert_eq!([1, 2, 3].map(|request| suspects.failed(request, now)), [true, true, false]);
        suspects.answered(1, now);
        assert!(!suspects.failed(1, now), "the server had answered it");
        suspects.clear();
        assert!(suspects.is_empty(now));
    }

    #[test]
    fn an_answer_of_long_ago_does_not_show_that_the_server_is_well() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        suspects.failed(1, now);
        suspects.answered(2, at(10));
        assert_eq!([12, 39, 40, 70].map(|seconds| suspects.failed(1, at(seconds))), [true, true, false, false]);
        assert_eq!([669, 670].map(|seconds| suspects.is_empty(at(seconds))), [false, true], "nobody asks it again");
    }

    #[test]
    fn a_server_that_answers_every_other_time_is_at_fault_itself() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        for _ in 0..100 {
            assert!(!suspects.failed(1, now));
            suspects.answered(1, now);
        }
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        (0..100).for_each(|request| assert!(!suspects.failed(request, now)));
        suspects.answered(1000, now);
        let latest = 100 - MOST as u64;
        assert!((latest..100).all(|request| suspects.failed(request, now)));
        assert!(!suspects.failed(latest - 1, now));
    }
}
