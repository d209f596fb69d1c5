//! Requests that a server may be unable to answer, however well it is: some answer 500 to what their chat template, or
//! their parser, cannot take. One client's such request, asked again and again, must not close the server for the others.
//!
//! A request is at fault if the server failed on it, then answered another, and fails on it again.

use std::collections::VecDeque;

/// Most requests that are remembered.
const MOST: usize = 16;

/// Requests on which a server has failed and which it has not answered since, by a hash of each.
#[derive(Debug, Default)]
pub(super) struct Suspects(VecDeque<Suspect>);

#[derive(Debug)]
struct Suspect {
    request: u64,
    /// Whether the server has answered another since: it is well.
    is_at_fault: bool,
}

impl Suspects {
    /// Whether none is remembered, so that an answer says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The server has answered this request.
    pub(super) fn answered(&mut self, request: u64) {
        self.0.retain(|suspect| suspect.request != request);
        self.0.iter_mut().for_each(|suspect| suspect.is_at_fault = true);
    }

    /// The server has failed on this request; whether the request is at fault.
    pub(super) fn failed(&mut self, request: u64) -> bool {
        if let Some(suspect) = self.0.iter().find(|suspect| suspect.request == request) {
            return suspect.is_at_fault;
        }
        self.0.truncate(MOST - 1);
        self.0.push_front(Suspect { request, is_at_fault: false });
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
        let mut suspects = Suspects::default();
        assert!(suspects.is_empty());
        assert_eq!([1, 1, 2].map(|request| suspects.failed(request)), [false; 3], "the server may be down");
        suspects.answered(3);
        assert_eq!([1, 2, 3].map(|request| suspects.failed(request)), [true, true, false]);
        suspects.answered(1);
        assert!(!suspects.failed(1), "the server had answered it");
        suspects.clear();
        assert!(suspects.is_empty());
    }

    #[test]
    fn a_server_that_answers_every_other_time_is_at_fault_itself() {
        let mut suspects = Suspects::default();
        for _ in 0..100 {
            assert!(!suspects.failed(1));
            suspects.answered(1);
        }
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let mut suspects = Suspects::default();
        (0..100).for_each(|request| assert!(!suspects.failed(request)));
        suspects.answered(1000);
        let latest = 100 - MOST as u64;
        assert!((latest..100).all(|request| suspects.failed(request)));
        assert!(!suspects.failed(latest - 1));
    }
}
