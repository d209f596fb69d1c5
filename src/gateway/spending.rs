//! What calls cost, charged to budgets and to API tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Gateway, limiter};
use crate::protocol::ApiError;
use crate::store::{Order, OutcomeRecord, OutcomeStatus, Span};

const DAY_MS: i64 = 86_400_000;

/// The setting that holds what API tokens owe.
const DEBTS: &str = "limits.owed";

/// How often it is saved.
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
    /// them a fresh daily limit. That is what they owed at the last stop ([`save_debts`]), or what the last day's
    /// decision log adds up to, where that is more: after a crash the log is newer, but it has no embeddings.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down; then what is not charged begins with a fresh limit.
    pub async fn recall_spending(&self) -> Result<(), ApiError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let saved = self.read_store(|store| store.setting::<Debts>(DEBTS)).await?.unwrap_or_default();
        let elapsed = (now_ms - saved.at_ms).clamp(0, DAY_MS) as f64 / DAY_MS as f64;
        let (tokens, live) = (self.tokens(), self.live());
        let left = saved.usd.into_iter().map(|(id, usd)| {
            let token = tokens.all().iter().map(|token| &**token).find(|token| Some(&token.id) == id.as_ref());
            let refilled = elapsed * limiter::usd_per_day(token, &live.config.limits);
            (id, (usd - refilled).max(0.0))
        });
        let mut owed: BTreeMap<Option<String>, f64> = left.collect();
        let logged = self.logged_spending(now_ms).await;
        for (id, usd) in logged.iter().flatten() {
            let owed = owed.entry(id.clone()).or_default();
            *owed = owed.max(*usd);
        }
        for (id, usd) in owed {
            self.owe(id.as_deref(), usd);
        }
        logged.map(|_| ())
    }

    /// What API tokens spent in the last day, by the decision log. An older expense counts for less, as the limit has
    /// refilled since. Entries of a clock that was ahead are left out: they would be charged again at each restart
    /// until that time has come.
    async fn logged_spending(&self, now_ms: i64) -> Result<BTreeMap<Option<String>, f64>, ApiError> {
        let span = Span { from_ms: Some(now_ms - DAY_MS), ..Span::up_to(now_ms) };
        self.read_store(move |store| {
            let mut spent: BTreeMap<Option<String>, f64> = BTreeMap::new();
            store.walk(&span, Order::Newest, |entry| {
                let cost = entry.outcome.as_ref().and_then(|outcome| outcome.cost_usd).unwrap_or(0.0);
                let left = 1.0 - (now_ms - entry.decision.at_ms).clamp(0, DAY_MS) as f64 / DAY_MS as f64;
                *spent.entry(entry.decision.request.token).or_default() += cost * left;
                true
            })?;
            Ok(spent)
        })
        .await
    }

    /// What each API token owes now; none that owes nothing.
    fn debts(&self) -> Debts {
        let (tokens, live) = (self.tokens(), self.live());
        let all = tokens.all().iter().map(|token| Some(&**token)).chain([None]);
        let now = Instant::now();
        let owed = all.map(|token| {
            let id = token.map(|token| token.id.clone());
            (id, self.limiter.owed(token, &live.config.limits, now))
        });
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
