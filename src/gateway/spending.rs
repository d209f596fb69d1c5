//! What calls cost, charged to budgets and to API tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Gateway, limiter};
use crate::config::Dispatch;
use crate::protocol::ApiError;
use crate::store::{Order, OutcomeRecord, OutcomeStatus, Span, Token, Tokens};

const DAY_MS: i64 = 86_400_000;

/// The setting that holds what API tokens owe.
const DEBTS: &str = "limits.owed";

/// How often debts are saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// What API tokens had spent of their dollars per day at a time and what had not refilled, by their ids; `None` =
/// callers without one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Debts {
    at_ms: i64,
    usd: BTreeMap<Option<String>, f64>,
}

/// Saves what API tokens owe now and then until `stop`. What is spent after that, while open answers drain, is for
/// another [`save_debts`].
pub async fn keep_debts(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut is_saved = false;
    while tokio::time::timeout(SAVE_EVERY, stop.cancelled()).await.is_err() {
        let debts = gateway.debts();
        // Also once that nobody owes anything any more.
        if !debts.usd.is_empty() || is_saved {
            is_saved = !debts.usd.is_empty();
            save(&gateway, debts).await;
        }
    }
}

/// Saves what API tokens owe now.
pub async fn save_debts(gateway: &Gateway) {
    save(gateway, gateway.debts()).await;
}

async fn save(gateway: &Gateway, debts: Debts) {
    let store = gateway.store.clone();
    match tokio::task::spawn_blocking(move || store.set_setting(DEBTS, &debts)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "What API tokens have spent today could not be saved"),
        Err(error) => tracing::error!(%error, "Saving what API tokens have spent today ended in a panic"),
    }
}

/// What API tokens owe, played from one expense to the next as the limiter's buckets went: a limit refills evenly, and
/// never above a day's worth.
#[derive(Debug, Clone)]
struct Book {
    per_day: BTreeMap<Option<String>, f64>,
    /// What was owed at a time (Unix milliseconds).
    debts: BTreeMap<Option<String>, (f64, i64)>,
    /// What was spent up to here is in it.
    since_ms: i64,
}

impl Book {
    fn new(saved: Debts, per_day: BTreeMap<Option<String>, f64>, now_ms: i64) -> Self {
        let since_ms = saved.at_ms.min(now_ms);
        let debts = saved.usd.into_iter().map(|(id, usd)| (id, (usd, since_ms))).collect();
        Self { per_day, debts, since_ms }
    }

    /// Adds an expense, unless it is in the book. Answers overlap, so they do not come in the order of their ends: the
    /// clock of a debt is never set back, or else the same time would refill it once more.
    fn spend(&mut self, id: Option<String>, usd: f64, at_ms: i64) {
        if at_ms > self.since_ms {
            let at_ms = self.debts.get(&id).map_or(at_ms, |(_, since_ms)| at_ms.max(*since_ms));
            let left = self.left(&id, at_ms);
            self.debts.insert(id, (left + usd, at_ms));
        }
    }

    /// What is left of a debt.
    fn left(&self, id: &Option<String>, at_ms: i64) -> f64 {
        let (usd, since_ms) = self.debts.get(id).copied().unwrap_or((0.0, at_ms));
        let refilled =
            self.per_day.get(id).copied().unwrap_or(0.0) * (at_ms - since_ms).max(0) as f64 / DAY_MS as f64;
        (usd - refilled).max(0.0)
    }

    /// What each API token owes at the end.
    fn owed(&self, now_ms: i64) -> impl Iterator<Item = (&Option<String>, f64)> {
        self.debts.keys().map(move |id| (id, self.left(id, now_ms)))
    }
}

/// From when on the decision log may have what a book lacks that holds all up to `since_ms`: an answer that was begun
/// before that may have ended after it. What is older than a day has refilled.
fn log_since_ms(since_ms: i64, dispatch: &Dispatch, now_ms: i64) -> i64 {
    let longest_answer_ms = (dispatch.total_timeout_ms + dispatch.stream_timeout_ms) as i64;
    (since_ms - longest_answer_ms).max(now_ms - DAY_MS)
}

/// Who may owe: each API token, by its id, and all callers without one together.
fn accounts(tokens: &Tokens) -> impl Iterator<Item = (Option<String>, Option<&Token>)> {
    let all = tokens.all().iter().map(|token| Some(&**token)).chain([None]);
    all.map(|token| (token.map(|token| token.id.clone()), token))
}

impl Gateway {
    /// Learns the cost of a call and the model's speed for the next choices, whoever made the call.
    pub fn observe(&self, call: &OutcomeRecord) {
        self.budgets.spent(call.cost_usd.unwrap_or(0.0), call.at_ms as f64 / 1e3);
        let took = call.latency_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        let is_plain = call.status == OutcomeStatus::Ok && call.failovers == 0;
        if let (Some(model), Some(usage), Some(took), true) = (&call.model, call.usage, took, is_plain) {
            self.speeds.observe(model, took, usage.output_tokens);
        }
    }

    /// Charges API tokens what they had spent before this start and what has not refilled yet: a restart must not give
    /// them a fresh daily limit, nor take what has refilled. That is what they owed when it was saved last
    /// ([`save_debts`]), embeddings included, and what they spent after that by the decision log, which is newer after
    /// a crash.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down; then what is not charged begins with a fresh limit.
    pub async fn recall_spending(&self) -> Result<(), ApiError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let saved = self.with_store(|store| store.setting::<Debts>(DEBTS)).await?.unwrap_or_default();
        let book = Book::new(saved, self.limits_per_day(), now_ms);
        let played = self.play_log(book.clone(), now_ms).await;
        for (id, usd) in played.as_ref().unwrap_or(&book).owed(now_ms) {
            self.owe(id.as_deref(), usd);
        }
        played.map(|_| ())
    }

    /// Adds to `book` what the last day's decision log has and it has not. Entries of a clock that was ahead are left
    /// out: they would be charged again at each restart until that time has come.
    async fn play_log(&self, mut book: Book, now_ms: i64) -> Result<Book, ApiError> {
        let from_ms = log_since_ms(book.since_ms, &self.live().config.dispatch, now_ms);
        let span = Span { from_ms: Some(from_ms), ..Span::up_to(now_ms) };
        self.with_store(move |store| {
            store.walk(&span, Order::Oldest, |entry| {
                if let Some(outcome) = entry.outcome {
                    let usd = outcome.cost_usd.unwrap_or(0.0);
                    book.spend(entry.decision.request.token, usd, outcome.at_ms.min(now_ms));
                }
                true
            })?;
            Ok(book)
        })
        .await
    }

    /// What each API token may spend per day.
    fn limits_per_day(&self) -> BTreeMap<Option<String>, f64> {
        let (tokens, live) = (self.tokens(), self.live());
        accounts(&tokens).map(|(id, token)| (id, limiter::usd_per_day(token, &live.config.limits))).collect()
    }

    /// What each API token owes now; none that owes nothing.
    fn debts(&self) -> Debts {
        let (tokens, live) = (self.tokens(), self.live());
        let now = Instant::now();
        let owed = accounts(&tokens).map(|(id, token)| (id, self.limiter.owed(token, &live.config.limits, now)));
        let usd = owed.filter(|(_, usd)| *usd > 0.0).collect();
        Debts { at_ms: jiff::Timestamp::now().as_millisecond(), usd }
    }

    /// Charges `usd` to the API token of this id, if it still exists; `None` = to all callers without a token.
    pub(super) fn owe(&self, id: Option<&str>, usd: f64) {
        let (tokens, live) = (self.tokens(), self.live());
        let token = id.and_then(|id| tokens.all().iter().map(|token| &**token).find(|token| token.id == id));
        if token.is_some() || id.is_none() {
            self.limiter.owe(token, &live.config.limits, usd, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = DAY_MS / 24;

    fn owed(book: &Book, hour: i64) -> f64 {
        book.owed(hour * HOUR_MS).map(|(_, usd)| usd).sum()
    }

    /// The book of callers without a token, who may spend a dollar an hour and owed so much at hour 100.
    fn book(usd: f64) -> Book {
        let debts = Debts { at_ms: 100 * HOUR_MS, usd: BTreeMap::from([(None, usd)]) };
        Book::new(debts, BTreeMap::from([(None, 24.0)]), 200 * HOUR_MS)
    }

    #[test]
    fn what_has_refilled_is_not_owed_whatever_was_spent_in_between() {
        let mut book = book(0.0);
        (101..=124).for_each(|hour| book.spend(None, 1.0, hour * HOUR_MS));
        assert!((owed(&book, 124) - 1.0).abs() < 1e-9, "each has refilled before the next: {}", owed(&book, 124));
        book.spend(None, 30.0, 124 * HOUR_MS);
        assert!((owed(&book, 134) - 21.0).abs() < 1e-9);
        assert!(owed(&book, 160) < 1e-9, "a full bucket is no credit");
        book.spend(None, 2.0, 170 * HOUR_MS);
        assert!((owed(&book, 171) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn answers_that_overlap_refill_no_time_twice() {
        let [mut in_order, mut as_begun] = [book(0.0), book(0.0)];
        for hour in [101, 101, 105, 105] {
            in_order.spend(None, 4.0, hour * HOUR_MS);
        }
        for hour in [105, 101, 105, 101] {
            as_begun.spend(None, 4.0, hour * HOUR_MS);
        }
        assert!((owed(&in_order, 105) - 12.0).abs() < 1e-9, "{}", owed(&in_order, 105));
        assert!((owed(&as_begun, 105) - 16.0).abs() < 1e-9, "{}", owed(&as_begun, 105));
        assert!((owed(&as_begun, 109) - 12.0).abs() < 1e-9, "{}", owed(&as_begun, 109));
    }

    #[test]
    fn the_log_is_read_from_where_the_longest_answer_may_have_begun() {
        let now_ms = 200 * HOUR_MS;
        let since_ms = |dispatch: &Dispatch| log_since_ms(now_ms - HOUR_MS, dispatch, now_ms);
        let dispatch = Dispatch::default();
        let most_ms = i64::try_from(dispatch.total_timeout_ms + dispatch.stream_timeout_ms).unwrap();
        assert!(most_ms > HOUR_MS, "a stream may take an hour, and waits before that");
        assert_eq!(since_ms(&dispatch), now_ms - HOUR_MS - most_ms);
        let patient = Dispatch { stream_timeout_ms: 10_000_000_000, ..dispatch };
        assert_eq!(since_ms(&patient), now_ms - DAY_MS);
    }

    #[test]
    fn what_was_owed_when_it_was_saved_and_what_came_after_is_charged_once() {
        let mut book = book(10.0);
        book.spend(None, 9.0, 99 * HOUR_MS);
        assert!((owed(&book, 104) - 6.0).abs() < 1e-9, "embeddings, too, which no log has");
        book.spend(None, 3.0, 105 * HOUR_MS);
        assert!((owed(&book, 106) - 7.0).abs() < 1e-9);
        // A clock that was ahead when it was saved.
        let debts = Debts { at_ms: 300 * HOUR_MS, usd: BTreeMap::from([(None, 2.0)]) };
        let book = Book::new(debts, BTreeMap::from([(None, 24.0)]), 200 * HOUR_MS);
        assert!((owed(&book, 201) - 1.0).abs() < 1e-9);
    }
}
