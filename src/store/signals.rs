//! Signals: signs of a bad answer that need no rating.
//!
//! | signal | when |
//! | --- | --- |
//! | `timeout` | the request ended in a timeout |
//! | `error` | it ended in any other error that was the backend's doing |
//! | `cancelled` | the client went away before the answer was complete |
//! | `truncated` | the answer ran into the token limit |
//! | `empty` | the answer had neither text nor a tool call, and the vendor did not pause |
//! | `format_violated` | JSON was asked for, and the answer is no JSON |
//! | `asked_again` | the same question came again in the same conversation, soon after; not of a program's many |
//!
//! An error that is the request's own fault (too long, malformed, refused for lack of credit or permission) is no
//! signal. `asked_again` is known only when the next question comes, so it is in no record: [`AskedAgain`] finds it
//! while walking the log, and [`Store::entry_with_sequel`](super::Store::entry_with_sequel) for one decision.

use std::collections::HashMap;

use super::record::{Entry, Fingerprint, OutcomeStatus, Signal};
use crate::protocol::{ErrorKind, FinishReason};

/// What signals follow from.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The status that the request ended with.
    pub status: OutcomeStatus,
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// Whether the answer had neither text nor a tool call.
    pub empty: bool,
    /// The answer's whole text, if JSON was asked for.
    pub must_be_json: Option<&'a str>,
}

/// The signals of an answer, in the order of [`Signal`].
pub fn signals(seen: &Seen<'_>) -> Vec<Signal> {
    let mut found = Vec::new();
    match seen.status {
        OutcomeStatus::Ok => {}
        OutcomeStatus::Cancelled => found.push(Signal::Cancelled),
        OutcomeStatus::Failed(ErrorKind::Timeout) => found.push(Signal::Timeout),
        OutcomeStatus::Failed(
            ErrorKind::Overloaded
            | ErrorKind::Connection
            | ErrorKind::Upstream
            | ErrorKind::RateLimited
            | ErrorKind::Unavailable,
        ) => found.push(Signal::Error),
        OutcomeStatus::Failed(_) => {}
    }
    if seen.status == OutcomeStatus::Ok {
        let truncated = seen.finish_reason == Some(FinishReason::Length);
        if truncated {
            found.push(Signal::Truncated);
        }
        // The vendor has worked, and goes on when it is asked to.
        let paused = seen.finish_reason == Some(FinishReason::Pause);
        if seen.empty && !paused {
            found.push(Signal::Empty);
        }
        // JSON that is not yet whole is not the model's fault.
        let violated = seen.must_be_json.is_some_and(|text| !is_json(text));
        if violated && !truncated && !paused && !seen.empty {
            found.push(Signal::FormatViolated);
        }
    }
    found
}

/// Whether a text is one JSON value. A value in a Markdown fence, as models like to write, is none: clients cannot
/// parse it.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Finds questions that were asked again, in one walk from the newest decision back.
///
/// Only within a known conversation: named by the caller, or past its first turn (two people may begin with the same
/// words), and with a turn before that was asked here (a batch of requests may begin with the same example). And only
/// after a complete answer: a client that gave up waiting or asks several times at once does not complain of an answer,
/// and neither does a dry run. Of a question that comes again and again only the last [`MOST_IN_A_RUN`] repetitions
/// count: a program asks so (a health check, a filter of messages), which may name itself as a user, too. Of the answers
/// before those nothing is known: nobody may have read them.
#[derive(Debug, Default)]
pub struct AskedAgain {
    /// When each question came next, and how often one after the other from then on, without a longer pause.
    later: HashMap<(Fingerprint, Fingerprint), (i64, u32)>,
    newest_ms: Option<i64>,
}

/// Longest time from an answer to the same question for it to count as a complaint, milliseconds.
pub const AGAIN_WITHIN_MS: i64 = 15 * 60 * 1000;

/// How often in a row a person asks the same again, rather than a program.
const MOST_IN_A_RUN: u32 = 2;

/// As many entries of a run tell whether its first counts.
pub(super) const MOST_TO_TELL: usize = MOST_IN_A_RUN as usize + 2;

/// The parts of an entry that [`AskedAgain`] needs.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The conversation and the question, if both are known.
    of: Option<(Fingerprint, Fingerprint)>,
    at_ms: i64,
    /// When the answer was complete.
    answered_ms: Option<i64>,
}

impl Asked {
    /// The parts of `entry`.
    pub fn of(entry: &Entry) -> Self {
        let request = &entry.decision.request;
        let is_known = !request.begun_elsewhere && (request.conversation_named || request.turn > 1);
        // A dry run has no answer unless its caller reported an outcome.
        let is_asked = is_known && !(request.dry_run && entry.outcome.is_none());
        let answer = entry.outcome.as_ref().filter(|outcome| outcome.status == OutcomeStatus::Ok);
        Self {
            of: request.conversation.zip(request.question).filter(|_| is_asked),
            at_ms: entry.decision.at_ms,
            answered_ms: answer.map(|outcome| outcome.at_ms),
        }
    }

    /// Whether it may be complained of: it is a question, and was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.of.and(self.answered_ms).is_some()
    }

    /// Until when the same question is of one run with this one, Unix milliseconds. What is asked at once or has no
    /// answer is of the run, too.
    fn run_until_ms(&self) -> i64 {
        self.answered_ms.unwrap_or(self.at_ms) + AGAIN_WITHIN_MS
    }

    /// Whether `later`, a newer entry, has the same question; `None` where a run has ended by then.
    pub(super) fn again_in(&self, later: &Self) -> Option<bool> {
        (later.at_ms <= self.run_until_ms()).then(|| self.of.is_some() && self.of == later.of)
    }
}

/// Whether a question at `later_ms` comes soon after the answer at `answered_ms`.
fn is_soon(answered_ms: i64, later_ms: i64) -> bool {
    (0..=AGAIN_WITHIN_MS).contains(&(later_ms - answered_ms))
}

impl AskedAgain {
    /// The results of [`AskedAgain::take`] for entries in any order, in that order.
    pub fn in_any_order(asked: &[Asked]) -> Vec<Option<bool>> {
        let mut places: Vec<usize> = (0..asked.len()).collect();
        places.sort_by_key(|at| std::cmp::Reverse(asked[*at].at_ms));
        let (mut walk, mut told) = (Self::default(), vec![None; asked.len()]);
        places.into_iter().for_each(|at| told[at] = walk.take(&asked[at]));
        told
    }

    /// Whether the question of the first of a run, oldest first, was asked again, be it a moment ago. What comes behind
    /// [`MOST_TO_TELL`] entries makes no difference.
    pub(super) fn of_first(run: &[Asked]) -> bool {
        let mut walk = Self::default();
        run.iter().rev().map(|asked| walk.find(asked)).last().flatten() == Some(true)
    }

    /// Takes the next older entry; whether its question was asked again soon after its answer, `None` where that is
    /// unknown, or not known yet.
    pub fn take(&mut self, asked: &Asked) -> Option<bool> {
        let newest_ms = *self.newest_ms.get_or_insert(asked.at_ms);
        self.find(asked).filter(|_| asked.answered_ms.is_some_and(|at_ms| newest_ms - at_ms >= AGAIN_WITHIN_MS))
    }

    fn find(&mut self, asked: &Asked) -> Option<bool> {
        let of = asked.of?;
        let later = self.later.get(&of).copied();
        let run = later.filter(|(later_ms, _)| *later_ms <= asked.run_until_ms()).map_or(0, |(_, run)| run + 1);
        self.later.insert(of, (asked.at_ms, run));
        let is_soon = |answered_ms| later.is_some_and(|(later_ms, _)| is_soon(answered_ms, later_ms));
        asked.answered_ms.filter(|_| run <= MOST_IN_A_RUN).map(is_soon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: OutcomeStatus) -> Seen<'static> {
        Seen { status, finish_reason: Some(FinishReason::Stop), empty: false, must_be_json: None }
    }

    #[test]
    fn a_good_answer_says_nothing() {
        assert_eq!(signals(&seen(OutcomeStatus::Ok)), []);
        assert_eq!(signals(&Seen { must_be_json: Some(" {\"a\": [1]} "), ..seen(OutcomeStatus::Ok) }), []);
    }

    #[test]
    fn the_backends_faults_are_signals_and_the_clients_are_not() {
        let failed = |kind| signals(&seen(OutcomeStatus::Failed(kind)));
        assert_eq!(failed(ErrorKind::Timeout), [Signal::Timeout]);
        assert_eq!(failed(ErrorKind::Overloaded), [Signal::Error]);
        assert_eq!(failed(ErrorKind::Connection), [Signal::Error]);
        for kind in [ErrorKind::InvalidRequest, ErrorKind::ContextOverflow, ErrorKind::Quota, ErrorKind::Permission] {
            assert_eq!(failed(kind), [], "{kind:?}");
        }
        assert_eq!(signals(&seen(OutcomeStatus::Cancelled)), [Signal::Cancelled]);
    }

    #[test]
    fn broken_json_is_a_violation_unless_the_limit_cut_it() {
        let broken = Seen { must_be_json: Some("{\"a\": 1"), ..seen(OutcomeStatus::Ok) };
        assert_eq!(signals(&broken), [Signal::FormatViolated]);
        let fenced = Seen { must_be_json: Some("```json\n{}\n```"), ..seen(OutcomeStatus::Ok) };
        assert_eq!(signals(&fenced), [Signal::FormatViolated]);
        let cut = Seen { finish_reason: Some(FinishReason::Length), ..broken };
        assert_eq!(signals(&cut), [Signal::Truncated]);
        let nothing = Seen { empty: true, must_be_json: Some(""), ..seen(OutcomeStatus::Ok) };
        assert_eq!(signals(&nothing), [Signal::Empty]);
        let finish_reason = Some(FinishReason::Pause);
        for paused in [nothing, broken] {
            assert_eq!(signals(&Seen { finish_reason, ..paused }), []);
        }
    }

    /// What comes of questions put at `(at_ms, answered_ms)`, oldest first.
    fn again(asked: &[(i64, Option<i64>)]) -> Vec<Option<bool>> {
        let mut walk = AskedAgain::default();
        let of = Some((Fingerprint(1), Fingerprint(2)));
        // The walk begins with something much newer.
        walk.take(&Asked { of: None, at_ms: 10 * AGAIN_WITHIN_MS, answered_ms: None });
        let told = asked
            .iter()
            .rev()
            .map(|(at_ms, answered_ms)| walk.take(&Asked { of, at_ms: *at_ms, answered_ms: *answered_ms }));
        let mut told: Vec<_> = told.collect();
        told.reverse();
        told
    }

    #[test]
    fn a_question_that_comes_after_the_answer_is_a_complaint() {
        assert_eq!(again(&[(0, Some(2000)), (9000, Some(9500))]), [Some(true), Some(false)]);
        assert_eq!(again(&[(0, Some(10)), (AGAIN_WITHIN_MS + 11, Some(AGAIN_WITHIN_MS + 20))])[0], Some(false));
        assert_eq!(again(&[(0, Some(2000)), (10, Some(2000))]), [Some(false), Some(false)], "both at once");
        assert_eq!(again(&[(0, None), (9000, Some(9500))])[0], None, "nobody saw an answer");
    }

    #[test]
    fn of_a_question_that_comes_again_and_again_two_repetitions_count() {
        let complaints = |asked: &[(i64, Option<i64>)]| {
            let told = again(asked);
            told.iter().enumerate().filter(|(_, told)| **told == Some(true)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let checks: Vec<_> = (0..200).map(|number| (number * 1000, Some(number * 1000 + 10))).collect();
        assert_eq!(complaints(&checks), [197, 198]);
        assert_eq!(again(&checks).iter().position(Option::is_some), Some(197), "nor was anybody content");
        let in_pairs: Vec<_> = (0..200).map(|number| (number / 2 * 1000, Some(number / 2 * 1000 + 10))).collect();
        assert_eq!(complaints(&in_pairs), [197], "198 and 199 come at once");
        let failing = checks.iter().map(|(at_ms, answered_ms)| (*at_ms, answered_ms.filter(|_| at_ms % 3000 == 0)));
        assert_eq!(complaints(&failing.collect::<Vec<_>>()), [198]);
        // A pause ends a run.
        let rare = |at_ms| (at_ms, Some(at_ms + 10));
        let [a, b] = [AGAIN_WITHIN_MS * 2, AGAIN_WITHIN_MS * 4];
        let twice = [rare(0), rare(1000), rare(2000), rare(a), rare(a + 1000), rare(b)];
        assert_eq!(complaints(&twice), [0, 1, 3]);
    }

    #[test]
    fn what_is_too_young_is_not_known_yet() {
        let mut walk = AskedAgain::default();
        let asked = |at_ms| Asked { of: Some((Fingerprint(1), Fingerprint(2))), at_ms, answered_ms: Some(at_ms + 5) };
        assert_eq!((walk.take(&asked(5000)), walk.take(&asked(4000))), (None, None));
    }
}
