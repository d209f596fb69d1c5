//! What an outcome says about the answer without anybody rating it.
//!
//! | signal | when |
//! | --- | --- |
//! | `timeout` | the request ended in a timeout |
//! | `error` | it ended in any other error that was the backend's doing |
//! | `cancelled` | the client went away before the answer was complete |
//! | `truncated` | the answer ran into the token limit |
//! | `empty` | the answer had neither text nor a tool call |
//! | `format_violated` | JSON was asked for, and the answer is no JSON |
//! | `asked_again` | the same question came again in the same conversation, soon after |
//!
//! A request that was itself at fault (too long, malformed, refused for lack of credit or permission) says nothing about
//! the answer. `asked_again` is known only when the next question comes: [`AskedAgain`] finds it while walking the log.

use std::collections::HashMap;

use super::record::{DecisionRecord, Fingerprint, OutcomeStatus, RequestFacts, Signal};
use crate::protocol::{ErrorKind, FinishReason};

/// What the gateway saw of an answer, as far as signals go.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// How it ended.
    pub status: OutcomeStatus,
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// It had neither text nor a tool call.
    pub empty: bool,
    /// The answer's whole text, where JSON was asked for.
    pub must_be_json: Option<&'a str>,
}

/// The signals in what was seen, in the order of [`Signal`].
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
        if seen.empty {
            found.push(Signal::Empty);
        }
        // Half a JSON text is no JSON text, but the limit is to blame.
        let violated = seen.must_be_json.is_some_and(|text| !is_json(text));
        if violated && !truncated && !seen.empty {
            found.push(Signal::FormatViolated);
        }
    }
    found
}

/// Whether a text is one JSON value. Models like to wrap it in a Markdown fence, which clients do not: that is a violation.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Finds questions that were asked again, in one walk from the newest decision back.
///
/// Only in a conversation that is known to be one: named by the caller, or under way. Two people may begin with the same
/// words.
#[derive(Debug, Default)]
pub struct AskedAgain {
    later: HashMap<(Fingerprint, Fingerprint), i64>,
}

/// Asked again after this long it is a new question, not a complaint.
pub const AGAIN_WITHIN_MS: i64 = 15 * 60 * 1000;

impl AskedAgain {
    /// Takes the decision before those taken so far and says whether its question was put again soon after.
    pub fn before(&mut self, decision: &DecisionRecord) -> bool {
        self.asked(&decision.request, decision.at_ms)
    }

    /// The same, by what is known of the request and when it came, for whoever does not keep decisions.
    pub fn asked(&mut self, facts: &RequestFacts, at_ms: i64) -> bool {
        let (Some(conversation), Some(question)) = (facts.conversation, facts.question) else { return false };
        if !facts.conversation_named && facts.turn < 2 {
            return false;
        }
        let later = self.later.insert((conversation, question), at_ms);
        later.is_some_and(|later| (0..=AGAIN_WITHIN_MS).contains(&(later - at_ms)))
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
    }
}
