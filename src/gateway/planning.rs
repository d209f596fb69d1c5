//! Makes plans: the question that the router is asked, with what this gateway has learned, and what is remembered of
//! its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use rand::RngExt;

use super::conversation::{self, Conversation};
use super::{Gateway, LiveConfig, fresh_id, ledger, now_s};
use crate::classifier::{Missed, Reading};
use crate::config::Strategy;
use crate::protocol::{ApiError, ChatRequest, DecisionId, Dialect, RequestedModel, Usage};
use crate::route::{self, Answered, Decision, Learned, Plan, Question, Stay};
use crate::store::{AGAIN_WITHIN_MS, Fingerprint, Token};

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The request.
    pub request: &'a ChatRequest,
    /// The dialect the request came in.
    pub dialect: Dialect,
    /// The request's body, where a vendor may get it unchanged.
    pub body: Option<&'a [u8]>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The API token the request came with.
    pub token: Option<&'a Token>,
    /// The conversation the request belongs to.
    pub conversation: Conversation,
}

impl Gateway {
    /// Makes a plan under a new decision id. Where the learned policy chooses, the classifier reads the prompt first,
    /// within its time budget.
    ///
    /// # Errors
    ///
    /// When no model can serve the request; the error is fit for the client.
    pub async fn plan(&self, live: &LiveConfig, asked: PlanRequest<'_>) -> Result<Plan, ApiError> {
        let learns = live.config.routing.strategy == Strategy::Learned;
        let auto = matches!(
            RequestedModel::parse(live.catalog.names().unaliased(&asked.request.model)),
            Ok(RequestedModel::Auto(_))
        );
        if !(learns && auto) {
            return self.plan_with(live, asked, None);
        }
        let reading = self.classifier.read(asked.request, self.classifier.budget()).await;
        self.plan_with(live, asked, Some(&reading))
    }

    /// The models to try for a request whose call somebody else makes, recorded as such.
    ///
    /// # Errors
    ///
    /// When no model can serve the request; the error is fit for the client.
    pub async fn dry_run(
        &self,
        live: &LiveConfig,
        request: &ChatRequest,
        headers: &HeaderMap,
        token: Option<&Token>,
    ) -> Result<Plan, ApiError> {
        let asked = self.asked_dry(request, headers, token);
        let plan = self.plan(live, asked).await?;
        self.record(&plan.decision, asked, true);
        Ok(plan)
    }

    /// What is planned in a dry run: there is no body to pass on.
    pub fn asked_dry<'a>(
        &self,
        request: &'a ChatRequest,
        headers: &'a HeaderMap,
        token: Option<&'a Token>,
    ) -> PlanRequest<'a> {
        let conversation = self.conversation(request, token);
        PlanRequest { request, dialect: Dialect::Native, body: None, headers, token, conversation }
    }

    fn plan_with(
        &self,
        live: &LiveConfig,
        asked: PlanRequest<'_>,
        reading: Option<&Result<Arc<Reading>, Missed>>,
    ) -> Result<Plan, ApiError> {
        let mut chance = || self.dice.lock().random::<f64>();
        let now = Instant::now();
        // Loaded once, so that the choice and its record are of one policy.
        let policy = self.learner.live();
        let prior = |model: &str| self.classifier.prior(model);
        let sticky = live.config.routing.sticky;
        let stay = self.stay(live, asked.conversation.known_as(), now).filter(|_| sticky.enabled);
        let learned = reading.map(|reading| Learned {
            policy: &policy.policy,
            revision: policy.revision,
            known: &policy.known,
            reading: reading.as_ref().map(|reading| &**reading),
            prior: &prior,
            unjudged: self.learner.unjudged(),
            budget_price: self.budgets.price(now_s()),
            speeds: &self.speeds,
            lengths: &self.lengths,
            acts: self.learner.acts(asked.conversation.place()),
        });
        let mut question = Question {
            request: asked.request,
            client: asked.dialect,
            body: asked.body,
            id: DecisionId(fresh_id()),
            token: asked.token.map(|token| token.name.as_str()),
            allowed: asked.token.and_then(|token| token.models.as_deref()),
            headers: asked.headers,
            now,
            patience: Duration::from_millis(live.config.dispatch.max_retry_after_ms),
            chance: &mut chance,
            stay,
            learned,
        };
        Ok(route::plan(&live.catalog, &live.rules, &live.config.routing, &mut question)?)
    }

    /// The conversation a request belongs to.
    pub fn conversation(&self, request: &ChatRequest, token: Option<&Token>) -> Conversation {
        conversation::conversation(request, token, &self.recorder.salt())
    }

    /// The model that a conversation is on; of its fingerprints `prints`, the surest first, the first one known counts.
    fn stay(&self, live: &LiveConfig, prints: impl IntoIterator<Item = Fingerprint>, now: Instant) -> Option<Stay> {
        let ttl = Duration::from_secs(live.config.routing.sticky.minutes * 60);
        prints.into_iter().find_map(|print| self.conversations.find(print.0, ttl, now))
    }

    /// Whether nothing of a conversation was asked here before, as far as is remembered, though this is not its first
    /// turn.
    fn has_begun_elsewhere(&self, conversation: &Conversation) -> bool {
        let sticky = self.live().config.routing.sticky;
        // As long as it may be asked again there, whatever is cached.
        let ttl = Duration::from_secs(sticky.minutes * 60).max(Duration::from_millis(AGAIN_WITHIN_MS.unsigned_abs()));
        let is_known = |print: Fingerprint| self.conversations.find(print.0, ttl, Instant::now()).is_some();
        !conversation.begins_here && !conversation.known_as().any(is_known)
    }

    /// Notes who has answered a conversation, which is there now; the answer used `usage`.
    pub fn note_stay(&self, conversation: &Conversation, answered: Answered<'_>, usage: &Usage) {
        let (live, now) = (self.live(), Instant::now());
        let sticky = live.config.routing.sticky;
        let before = self.stay(&live, conversation.known_as(), now);
        // For certain, or as far as is remembered.
        let begun_here = conversation.begins_here || self.stay(&live, [conversation.print], now).is_some();
        let price = live.catalog.find(answered.model.as_str()).map(|model| model.settings.price).unwrap_or_default();
        let stay = Stay::after(before.as_ref(), answered, &price, usage, now);
        // At its first turn one without a name has three fingerprints; each later one adds two, and so does a tool loop.
        let most = sticky.conversations.saturating_mul(3);
        for print in conversation.prints(begun_here) {
            self.conversations.note(print.0, stay.clone(), most);
        }
    }

    /// Hands a decision to the recorder; `dry_run` = the gateway makes no call. Never waits.
    pub fn record(&self, decision: &Decision, asked: PlanRequest<'_>, dry_run: bool) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let recorder = &self.recorder;
        let (salt, prompts) = (recorder.salt(), recorder.keeps_prompts());
        let mut record = ledger::decision(decision, asked, dry_run, &salt, prompts, now_ms);
        record.request.begun_elsewhere = self.has_begun_elsewhere(&asked.conversation);
        if record.is_sampled() {
            self.learner.note_sampled();
        }
        recorder.decision(record);
    }
}
