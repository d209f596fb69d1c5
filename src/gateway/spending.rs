//! What calls cost, charged to budgets and to API tokens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Gateway;
use crate::protocol::ApiError;
use crate::store::{Order, OutcomeRecord, OutcomeStatus, Span};

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

    /// Charges API tokens what they have spent in the last day, from the decision log: a restart must not give them a
    /// fresh daily limit. An older expense counts for less, as the limit has refilled since. Entries of a clock that was
    /// ahead are left out: they would be charged again at each restart until that time has come.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down; then all tokens begin with a fresh limit.
    pub async fn recall_spending(&self) -> Result<(), ApiError> {
        const DAY_MS: i64 = 86_400_000;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let span = Span { from_ms: Some(now_ms - DAY_MS), ..Span::up_to(now_ms) };
        let spent = self
            .read_store(move |store| {
                let mut spent: BTreeMap<Option<String>, f64> = BTreeMap::new();
                store.walk(&span, Order::Newest, |entry| {
                    let cost = entry.outcome.as_ref().and_then(|outcome| outcome.cost_usd).unwrap_or(0.0);
                    let left = 1.0 - (now_ms - entry.decision.at_ms).clamp(0, DAY_MS) as f64 / DAY_MS as f64;
                    *spent.entry(entry.decision.request.token).or_default() += cost * left;
                    true
                })?;
                Ok(spent)
            })
            .await?;
        for (id, usd) in spent {
            self.owe(id.as_deref(), usd);
        }
        Ok(())
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
