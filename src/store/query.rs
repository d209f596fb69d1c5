//! Pages of decisions, searched in the decision log, for the dashboard and the API.
//!
//! A query walks the log from the newest decision back and stops when its time is over, so that a rare match in a large
//! log is found in parts and never stalls: a page says where the next one begins. Sums over time come from
//! [`rollup`](super::rollup).

use std::time::{Duration, Instant};

use serde::Serialize;

use super::db::Store;
use super::error::StoreError;
use super::join::{Order, Span};
use super::record::{Entry, Fingerprint, Mode, OutcomeStatus, Signal};
use super::signals::{Asked, AskedAgain, MOST_TO_TELL};
use crate::protocol::DecisionId;

/// How long one query walks at most: long enough that a search for what is rare takes few parts, and short enough to be
/// waited for.
const MAX_TIME: Duration = Duration::from_secs(1);

/// How long the next question is looked for at most: in a quarter of an hour there may be many entries.
const MAX_SEQUEL_TIME: Duration = Duration::from_millis(250);

/// Entries read between two looks at the clock.
const STRIDE: usize = 128;

/// Which decisions to show; an absent field does not filter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Not before this, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this.
    pub until_ms: Option<i64>,
    /// Chosen or answered by this model.
    pub model: Option<String>,
    /// Ended with this status: `ok`, `cancelled`, an error code, `error` for any error, or `open`.
    pub status: Option<String>,
    /// Chosen in this mode.
    pub mode: Option<Mode>,
    /// Chosen by this policy version.
    pub policy_version: Option<u64>,
    /// Only explored ones, or only others.
    pub explored: Option<bool>,
    /// Of this task.
    pub task: Option<String>,
    /// Of this API token (its id).
    pub token: Option<String>,
    /// Of this conversation.
    pub conversation: Option<Fingerprint>,
    /// Only with feedback, or only without.
    pub rated: Option<bool>,
    /// Text in the id, the reason, the task, a rule's name, a tag or a comment; upper or lower case.
    pub text: Option<String>,
}

impl Filter {
    fn passes(&self, entry: &Entry) -> bool {
        let decision = &entry.decision;
        let status = entry.outcome.as_ref().map(|outcome| outcome.status);
        let is = |wish: &Option<String>, value: Option<&str>| wish.as_deref().is_none_or(|wish| value == Some(wish));
        let model = self.model.as_deref().is_none_or(|wish| {
            let answered = entry.outcome.as_ref().and_then(|outcome| outcome.model.as_ref());
            decision.chosen.as_str() == wish || answered.is_some_and(|it| it.as_str() == wish)
        });
        let status = self.status.as_deref().is_none_or(|wish| match status {
            Some(OutcomeStatus::Failed(_)) if wish == "error" => true,
            Some(status) => status.as_str() == wish,
            None => wish == "open",
        });
        model
            && status
            && self.mode.is_none_or(|wish| decision.mode == wish)
            && self.policy_version.is_none_or(|wish| decision.policy_version == wish)
            && self.explored.is_none_or(|wish| decision.explored == wish)
            && is(&self.task, decision.task.as_deref())
            && is(&self.token, decision.request.token.as_deref())
            && self.conversation.is_none_or(|wish| decision.request.conversation == Some(wish))
            && self.rated.is_none_or(|wish| entry.feedback.is_empty() != wish)
            && self.text.as_deref().is_none_or(|wish| has_text(entry, &wish.to_lowercase()))
    }
}

fn has_text(entry: &Entry, wish: &str) -> bool {
    let decision = &entry.decision;
    let has = |text: &str| text.to_lowercase().contains(wish);
    decision.id.to_string().contains(wish)
        || has(&decision.reason)
        || decision.task.as_deref().is_some_and(has)
        || decision.request.rules.iter().any(|rule| has(rule))
        || decision.request.tags.iter().any(|(name, value)| has(name) || has(value))
        || entry.feedback.iter().any(|feedback| feedback.comment.as_deref().is_some_and(has))
}

/// Some decisions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<DecisionId>,
    /// How far back it was searched where its time was over, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched_to_ms: Option<i64>,
}

impl Store {
    /// The decisions that pass `filter`, newest first, at most `limit`, older than `before`. A page may be short or
    /// even empty and still have a `next`, when its time was over.
    ///
    /// # Errors
    /// When the database fails.
    pub fn decisions(&self, filter: &Filter, before: Option<DecisionId>, limit: usize) -> Result<Page, StoreError> {
        self.decisions_within(MAX_TIME, filter, before, limit)
    }

    fn decisions_within(
        &self,
        max_time: Duration,
        filter: &Filter,
        before: Option<DecisionId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let span = Span { from_ms: filter.from_ms, until_ms: filter.until_ms, before, ..Span::default() };
        let mut page = Page { entries: Vec::new(), next: None, searched_to_ms: None };
        // A whole id needs no search.
        if let Some(id) = filter.text.as_deref().and_then(|text| text.trim().parse().ok()) {
            page.entries.extend(self.entry(id)?.filter(|entry| filter.passes(entry)));
            return Ok(page);
        }
        let mut looked_at = 0_usize;
        let mut last = None;
        let until = Instant::now() + max_time;
        self.walk(&span, Order::Newest, |entry| {
            let late = looked_at > 0 && looked_at.is_multiple_of(STRIDE) && Instant::now() >= until;
            let full = page.entries.len() >= limit;
            if full || late {
                // There is at least this one more.
                page.next = last.map(|(id, _)| id);
                page.searched_to_ms = last.filter(|_| !full).map(|(_, at_ms)| at_ms);
                return false;
            }
            looked_at += 1;
            last = Some((entry.decision.id, entry.decision.at_ms));
            if filter.passes(&entry) {
                page.entries.push(entry);
            }
            true
        })?;
        Ok(page)
    }

    /// A decision with its outcome and feedback, and among the outcome's signals `asked_again` where the log has the
    /// question again, and not again and again; on a busy log it may be missing, or be told of a program's question,
    /// since it is not looked for long.
    ///
    /// # Errors
    /// When the database fails.
    pub fn entry_with_sequel(&self, id: DecisionId) -> Result<Option<Entry>, StoreError> {
        let Some(mut entry) = self.entry(id)? else { return Ok(None) };
        let asked_again = self.is_asked_again(&entry)?;
        if let Some(outcome) = entry.outcome.as_mut().filter(|_| asked_again) {
            outcome.signals.push(Signal::AskedAgain);
        }
        Ok(Some(entry))
    }

    fn is_asked_again(&self, entry: &Entry) -> Result<bool, StoreError> {
        let mut run = vec![Asked::of(entry)];
        if !run[0].is_answered() {
            return Ok(false);
        }
        let span = Span { after: Some(entry.decision.id), ..Span::default() };
        let until = Instant::now() + MAX_SEQUEL_TIME;
        let mut looked_at = 0_usize;
        self.walk(&span, Order::Oldest, |later| {
            looked_at += 1;
            let later = Asked::of(&later);
            let Some(is_again) = run[run.len() - 1].again_in(&later) else { return false };
            run.extend(Some(later).filter(|_| is_again));
            run.len() < MOST_TO_TELL && !(looked_at.is_multiple_of(STRIDE) && Instant::now() >= until)
        })?;
        Ok(AskedAgain::of_first(&run))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::AGAIN_WITHIN_MS;

    /// An answered question of a named conversation.
    fn entry(at_ms: i64, question: &str) -> Entry {
        let id = DecisionId(uuid::Uuid::from_u128((at_ms as u128) << 80));
        let request = json!({ "conversation": "00000000000000aa", "question": question, "conversation_named": true });
        serde_json::from_value(json!({
            "decision": { "id": id, "at_ms": at_ms, "chosen": "a", "request": request },
            "outcome": { "id": id, "at_ms": at_ms + 10, "status": "ok", "signals": ["truncated"] },
        }))
        .unwrap()
    }

    #[test]
    fn a_search_whose_time_is_over_says_how_far_it_came() {
        let entries: Vec<_> = (1..=300).map(|number| entry(number * 1_000, "00000000000000bb")).collect();
        let store = Store::in_memory().unwrap();
        let decisions: Vec<_> = entries.iter().map(|entry| &entry.decision).collect();
        store.append(&decisions, &[] as &[crate::store::OutcomeRecord], &mut []).unwrap();
        let rare = Filter { text: Some("nowhere".into()), ..Filter::default() };
        let at_once = |filter: &Filter, before, limit| {
            let page = store.decisions_within(Duration::ZERO, filter, before, limit).unwrap();
            (page.entries.len(), page.next, page.searched_to_ms)
        };
        let (found, next, searched_to_ms) = at_once(&rare, None, 50);
        assert_eq!((found, next, searched_to_ms), (0, Some(entries[172].decision.id), Some(173_000)));
        let (_, next, searched_to_ms) = at_once(&rare, next, 50);
        assert_eq!(searched_to_ms, Some(45_000));
        assert_eq!(at_once(&rare, next, 50), (0, None, None), "to the end");
        let (found, next, searched_to_ms) = at_once(&Filter::default(), None, 50);
        assert_eq!((found, next.is_some(), searched_to_ms), (50, true, None), "a full page was not cut short");
    }

    #[test]
    fn the_same_question_soon_after_the_answer_is_among_its_signals() {
        let (why, how, health) = ("00000000000000bb", "00000000000000cc", "00000000000000dd");
        let last = 90_000 + 10 + AGAIN_WITHIN_MS;
        let entries = [
            entry(1_000, why),
            entry(2_000, how),
            entry(3_000, why),
            entry(3_005, why),
            entry(90_000, how),
            entry(last, how),
            entry(last + 11 + AGAIN_WITHIN_MS, how),
        ];
        let checks = (0..6).map(|number| entry(4_000_000 + 60_000 * number, health));
        let entries: Vec<_> = entries.into_iter().chain(checks).chain([entry(6_000_000, why)]).collect();
        let store = Store::in_memory().unwrap();
        let decisions: Vec<_> = entries.iter().map(|entry| &entry.decision).collect();
        let outcomes: Vec<_> = entries.iter().filter_map(|entry| entry.outcome.as_ref()).collect();
        store.append(&decisions, &outcomes, &mut []).unwrap();
        let is_told = entries.iter().map(|entry| {
            let told = store.entry_with_sequel(entry.decision.id).unwrap().unwrap().outcome.unwrap().signals;
            assert_eq!(told[0], Signal::Truncated);
            told[1..] == [Signal::AskedAgain]
        });
        let walk: Vec<_> = entries.iter().map(Asked::of).collect();
        let is_learned = AskedAgain::in_any_order(&walk).into_iter().map(|again| again == Some(true));
        let is_told: Vec<bool> = is_told.collect();
        assert_eq!(is_told[..7], [true, true, false, false, true, false, false]);
        assert_eq!(is_told[7..], [false, false, false, true, true, false, false], "a program's");
        assert_eq!(is_told, is_learned.collect::<Vec<_>>(), "what is told is what is learned from");
    }
}
