//! What handlers can reach: [`LiveConfig`], the configuration in force and all that is made of it, and the [`Gateway`],
//! which swaps it, admits requests, makes plans and reads the decision log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::fresh_id;
use super::ledger::{self, Asking, Conversation};
use super::middleware::limit::Limiter;
use super::monitor::Monitor;
use super::operator_acts::save_if_ended;
use super::refusals::Refusals;
use super::remember;
use super::session::SignIn;
use crate::classifier::{Classifier, Missed, Reading};
use crate::config::{self, Config, Overrides, Setting, Strategy};
use crate::dispatch::Dispatcher;
use crate::protocol::{ApiError, ChatRequest, DecisionId, Dialect, ErrorKind, ModelName, Usage};
use crate::route::{
    self, Conversations, Decision, Facts, Learned, Lengths, Plan, PlanError, Question, RequestedModel, RuleEffect,
    Rules, Speeds, Stay,
};
use crate::store::{
    Fingerprint, Order, OutcomeRecord, OutcomeStatus, Span, Store, StoreError, Token, TokenError, Tokens,
};
use crate::telemetry::Metrics;
use crate::tuner::{Budgets, Learner, Recorder};
use crate::upstream::{Catalog, Discovered, Listing, Provider};

/// Reports (feedback, outcomes) handled at once. They wait for the disk, so they have permits of their own: a slow disk
/// must not keep chats out.
const MAX_REPORTS: usize = 256;

/// How long the recorder may take to write what waits in its queue.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration in force, and what is made of it: read once per request, swapped as a whole.
#[derive(Debug)]
pub struct LiveConfig {
    /// The configuration.
    pub config: Config,
    /// Every value and who set it.
    pub settings: Vec<Setting>,
    /// The models.
    pub catalog: Catalog,
    /// The static rules.
    pub rules: Rules,
}

impl LiveConfig {
    /// Builds the catalog and the rules of `config` and the models that servers list; deployments that stay keep their
    /// health in `before`.
    pub fn new(
        mut config: Config,
        settings: Vec<Setting>,
        discovered: &BTreeMap<String, Listing>,
        before: Option<&LiveConfig>,
    ) -> Self {
        for setting in config.overrides.end_outdated(&config.models, &settings) {
            tracing::warn!(setting, "The configured value has changed: the dashboard's change of it ends");
        }
        let catalog = Catalog::new(&config, discovered, before.map(|before| &before.catalog));
        let rules = Rules::new(&config.rules, &catalog);
        Self { config, settings, catalog, rules }
    }

    /// Refuses a model that `token` may not use.
    ///
    /// # Errors
    ///
    /// `Permission`.
    pub fn allow(&self, token: Option<&Token>, model: &str) -> Result<(), ApiError> {
        let allowed = token.and_then(|token| token.models.as_deref());
        if allowed.is_some_and(|allowed| !self.catalog.is_among(model, allowed)) {
            return Err(PlanError::Forbidden(model.to_owned()).into());
        }
        Ok(())
    }

    /// What the rules say of a request, sent as `body`, that only counts tokens and gets no plan.
    pub fn verdict(
        &self,
        request: &ChatRequest,
        body: &[u8],
        token: Option<&Token>,
        headers: &HeaderMap,
    ) -> RuleEffect {
        let token = token.map(|token| token.name.as_str());
        let facts = Facts::new(request, request.needs(), route::estimate_tokens(request), token, headers);
        self.rules.apply(&facts.with_body(Some(body)))
    }

    /// All models, configured or discovered, by name.
    pub fn models(&self) -> BTreeMap<String, config::Model> {
        self.catalog.models().map(|model| (model.name.to_string(), model.settings.clone())).collect()
    }
}

/// The finished parts a gateway is made of.
pub struct Parts {
    /// The configuration in force.
    pub live: LiveConfig,
    /// Makes calls.
    pub dispatcher: Dispatcher,
    /// API tokens.
    pub tokens: Tokens,
    /// Metrics.
    pub metrics: Metrics,
    /// The decision log, for reading.
    pub store: Store,
    /// The decision log, for writing.
    pub recorder: Recorder,
    /// Sign-in to the dashboard.
    pub sign_in: SignIn,
    /// Reads prompts.
    pub classifier: Classifier,
    /// The learned policy.
    pub learner: Learner,
    /// Spending against its budgets.
    pub budgets: Arc<Budgets>,
}

/// The gateway: everything a handler can reach.
#[derive(Debug)]
pub struct Gateway {
    live: ArcSwap<LiveConfig>,
    tokens: ArcSwap<Tokens>,
    changing_tokens: Mutex<()>,
    /// Permits of reports in progress.
    reports: Semaphore,
    /// Held while a client's report of its own call is compared with its earlier one; picked by the decision's id.
    reporting: [tokio::sync::Mutex<()>; 64],
    /// Held while operators' changes are saved and put in force.
    pub(super) overriding: tokio::sync::Mutex<()>,
    /// The models that servers list, by provider.
    discovered: Mutex<BTreeMap<String, Listing>>,
    /// Notified once servers are to be asked for their models at once.
    servers_changed: Notify,
    /// Makes calls.
    pub dispatcher: Dispatcher,
    /// Metrics.
    pub metrics: Metrics,
    /// The decision log, for reading.
    pub store: Store,
    /// The decision log, for writing.
    pub recorder: Recorder,
    /// Reads prompts.
    pub classifier: Classifier,
    /// The learned policy.
    pub learner: Learner,
    /// Spending against its budgets.
    pub budgets: Arc<Budgets>,
    /// Measured speed of each model.
    pub speeds: Speeds,
    /// Measured lengths of each model's answers.
    pub lengths: Lengths,
    /// The model that each conversation is on.
    pub conversations: Conversations,
    /// Randomness for the choice of a model.
    dice: Mutex<SmallRng>,
    /// Requests and tokens per minute, and dollars per day, of each API token.
    pub limiter: Arc<Limiter>,
    /// Sign-in to the dashboard.
    pub sign_in: SignIn,
    /// Chat requests as they pass.
    pub monitor: Monitor,
    /// Counts of requests that no model could answer.
    pub refusals: Refusals,
    /// Permits of requests in progress.
    in_flight: Arc<Semaphore>,
    in_flight_limit: Mutex<usize>,
    ready: AtomicBool,
    draining: CancellationToken,
}

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

/// Now, in Unix seconds.
pub(super) fn now_s() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1e3
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let in_flight = parts.live.config.limits.max_in_flight;
        let seed = parts.live.config.routing.seed.unwrap_or_else(rand::random);
        let dice = SmallRng::seed_from_u64(seed);
        let lengths = remember::lengths(&parts.store);
        Self {
            live: ArcSwap::from_pointee(parts.live),
            tokens: ArcSwap::from_pointee(parts.tokens),
            changing_tokens: Mutex::default(),
            reports: Semaphore::new(MAX_REPORTS),
            reporting: std::array::from_fn(|_| Default::default()),
            overriding: Default::default(),
            discovered: Mutex::default(),
            servers_changed: Notify::new(),
            dispatcher: parts.dispatcher,
            metrics: parts.metrics,
            store: parts.store,
            recorder: parts.recorder,
            classifier: parts.classifier,
            learner: parts.learner,
            budgets: parts.budgets,
            speeds: Speeds::default(),
            lengths,
            conversations: Conversations::default(),
            dice: Mutex::new(dice),
            limiter: Arc::default(),
            sign_in: parts.sign_in,
            monitor: Monitor::default(),
            refusals: Refusals::default(),
            in_flight: Arc::new(Semaphore::new(in_flight)),
            in_flight_limit: Mutex::new(in_flight),
            ready: AtomicBool::new(false),
            draining: CancellationToken::new(),
        }
    }

    /// A permit to answer a request, to be held until the answer is complete.
    ///
    /// # Errors
    ///
    /// `RateLimited` while `limits.max_in_flight` requests are being answered.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| {
            let message = "too many requests are being answered (limits.max_in_flight)";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })
    }

    /// A permit to handle a report, to be held until that is done.
    ///
    /// # Errors
    ///
    /// `RateLimited` while [`MAX_REPORTS`] are being handled.
    pub(super) fn admit_report(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.reports.try_acquire().map_err(|_| {
            let message = "too many reports are being handled; send this one again";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })
    }

    /// Waits until no other report on this decision is being handled.
    pub(super) async fn report_on(&self, decision: DecisionId) -> tokio::sync::MutexGuard<'_, ()> {
        // The last bits of an id are random.
        self.reporting[decision.0.as_u128() as usize % self.reporting.len()].lock().await
    }

    /// The configuration in force now. To be loaded once per request, so that all parts of its handling agree.
    pub fn live(&self) -> Arc<LiveConfig> {
        self.live.load_full()
    }

    /// The API tokens.
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// Puts other API tokens in force.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Changes the API tokens, in their file and in force. Changes that another process made meanwhile are kept.
    ///
    /// # Errors
    ///
    /// When the change cannot be made, or the file cannot be read or written; then nothing is changed.
    pub fn change_tokens<T>(
        &self,
        change: impl FnOnce(&mut Tokens) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let _one_at_a_time = self.changing_tokens.lock();
        let dir = &self.live().config.server.data_dir;
        let path = Tokens::path(dir);
        // A new file would hold this change alone, and take all other tokens out of force.
        if !self.tokens().is_empty() && !path.exists() {
            return Err(TokenError::Gone(path));
        }
        let (tokens, changed) = Tokens::change(dir, change)?;
        self.set_tokens(tokens);
        Ok(changed)
    }

    /// Puts another configuration in force. Within a tokio runtime.
    pub fn configure(&self, mut config: Config, settings: Vec<Setting>) {
        self.dispatcher.configure(&config.dispatch);
        self.resize(config.limits.max_in_flight);
        self.learner.configure(&config.learning);
        self.budgets.configure(&config.budget, now_s());
        self.keep_listings(&config);
        let mut overrides = Overrides::default();
        self.change_live(|before, discovered| {
            // Operators' changes are in no file.
            overrides.clone_from(&before.config.overrides);
            config.overrides = overrides.clone();
            LiveConfig::new(config, settings, discovered, Some(before))
        });
        self.servers_changed.notify_one();
        save_if_ended(&self.store, &overrides, &self.live().config.overrides);
    }

    /// Drops the lists of models that no longer hold under another configuration.
    fn keep_listings(&self, config: &Config) {
        let before = self.live.load();
        self.discovered.lock().retain(|name, listing| {
            // A server that is not asked any more lists nothing, also when it is asked again later.
            let Some(settings) = config.providers.get(name).filter(|settings| settings.discovers()) else {
                return false;
            };
            let old = before.catalog.provider(name);
            if old.is_some_and(|old| !Provider::new(name, settings).reaches_same_server_as(old)) {
                // Failures at the old address say nothing about the new one.
                listing.reset_misses();
            }
            true
        });
    }

    /// Waits until the servers that are asked for models, or their settings, may have changed.
    pub(crate) async fn servers_changed(&self) {
        self.servers_changed.notified().await;
    }

    /// Puts in force what `make` builds of the configuration in force and the lists of models.
    pub(super) fn change_live(&self, make: impl FnOnce(&LiveConfig, &BTreeMap<String, Listing>) -> LiveConfig) {
        // Under this lock, so that no two changes build on the same predecessor.
        let discovered = self.discovered.lock();
        let before = self.live.load();
        self.take_over(&before, make(&before, &discovered));
    }

    /// Puts another configuration or catalog in force.
    fn take_over(&self, before: &LiveConfig, live: LiveConfig) {
        // Cached readings hold estimates for the old models.
        let models = live.models();
        if models != before.models() {
            self.classifier.configure(&models);
        }
        self.live.store(Arc::new(live));
    }

    /// The models that a provider lists, as far as known.
    pub fn listing(&self, provider: &str) -> Listing {
        self.discovered.lock().get(provider).cloned().unwrap_or_default()
    }

    /// Puts in force the models that a provider listed.
    pub fn discovered(&self, provider: &str, found: Discovered) {
        if let Discovered::Unlisted(reason) = &found {
            tracing::debug!(provider, reason, "A server does not list its models");
        }
        let mut discovered = self.discovered.lock();
        let known = discovered.entry(provider.to_owned()).or_default();
        let before = known.clone();
        known.update(found);
        if *known == before {
            return;
        }
        let before = self.live.load();
        let live = LiveConfig::new(before.config.clone(), before.settings.clone(), &discovered, Some(&before));
        self.take_over(&before, live);
    }

    /// Learns the cost of a call and the model's speed for the next choices, whoever made the call.
    pub(super) fn observe(&self, call: &OutcomeRecord) {
        self.budgets.spent(call.cost_usd.unwrap_or(0.0), call.at_ms as f64 / 1e3);
        let took = call.latency_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        let is_plain = call.status == OutcomeStatus::Ok && call.failovers == 0;
        if let (Some(model), Some(usage), Some(took), true) = (&call.model, call.usage, took, is_plain) {
            self.speeds.observe(model, took, usage.output_tokens);
        }
    }

    /// Whether the gateway serves: started, and not draining.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Sets whether the gateway serves. `false` also ends the dashboard's endless streams, which the drain would wait for.
    pub fn set_ready(&self, ready: bool) {
        if !ready {
            self.draining.cancel();
        }
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Waits until the gateway drains.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.draining.clone().cancelled_owned()
    }

    /// Makes a plan under a new decision id. Where the learned policy chooses, the classifier reads the prompt first,
    /// within its time budget.
    ///
    /// # Errors
    ///
    /// When no model can serve the request; the error is fit for the client.
    pub async fn plan(&self, live: &LiveConfig, asked: PlanRequest<'_>) -> Result<Plan, ApiError> {
        let learns = live.config.routing.strategy == Strategy::Learned;
        let auto = matches!(RequestedModel::parse(&asked.request.model), Ok(RequestedModel::Auto(_)));
        if !(learns && auto) {
            return self.plan_with(live, asked, None);
        }
        let reading = self.classifier.read(asked.request, self.classifier.budget()).await;
        self.plan_with(live, asked, Some(&reading))
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
        let stay = asked.conversation.is_known().then(|| self.stay(live, asked.conversation.prints(), now)).flatten();
        let learned = reading.map(|reading| Learned {
            policy: &policy.policy,
            revision: policy.revision,
            known: &policy.known,
            reading: reading.as_ref().map(|reading| &**reading),
            prior: &prior,
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
        ledger::conversation(request, token, &self.recorder.salt())
    }

    /// Reads the decision log, off the threads that serve connections.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down.
    pub async fn read_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || read(&store)).await;
        let failed = |why: String| ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"));
        done.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// Waits until the records in the recorder's queue are written: a client may ask for a decision whose id it has just
    /// been told.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down or too slow.
    pub async fn flush_log(&self) -> Result<(), ApiError> {
        let down = |why: String| {
            ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"))
                .after(Duration::from_secs(2))
        };
        match tokio::time::timeout(FLUSH_TIMEOUT, self.recorder.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(down(error.to_string())),
            Err(_) => Err(down("it takes too long".into())),
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

    /// The model that a conversation is on; of its fingerprints `prints`, the surest first, the first one known counts.
    fn stay(&self, live: &LiveConfig, prints: impl IntoIterator<Item = Fingerprint>, now: Instant) -> Option<Stay> {
        let sticky = live.config.routing.sticky;
        let ttl = Duration::from_secs(sticky.minutes * 60);
        let find = |print: Fingerprint| self.conversations.find(print.0, ttl, now);
        sticky.enabled.then(|| prints.into_iter().find_map(find)).flatten()
    }

    /// Notes that the conversation with the fingerprints `prints` is on `model` now, whose answer used `usage`. `is_known`
    /// = it is surely the one that had these fingerprints before.
    pub(super) fn note_stay<P>(&self, prints: P, is_known: bool, model: &ModelName, usage: &Usage)
    where
        P: IntoIterator<Item = Fingerprint> + Clone,
    {
        let (live, now) = (self.live(), Instant::now());
        let sticky = live.config.routing.sticky;
        if !sticky.enabled {
            return;
        }
        let before = is_known.then(|| self.stay(&live, prints.clone(), now)).flatten();
        let price = live.catalog.find(model.as_str()).map(|model| model.settings.price).unwrap_or_default();
        let stay = Stay::after(before.as_ref(), model, &price, usage, now);
        for print in prints {
            self.conversations.note(print.0, stay.clone(), sticky.conversations);
        }
    }

    /// Hands a decision to the recorder. Never waits.
    pub fn record(&self, decision: &Decision, asking: Asking<'_>) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let recorder = &self.recorder;
        recorder.decision(ledger::decision(decision, asking, &recorder.salt(), recorder.keeps_prompts(), now_ms));
    }

    /// Changes how many requests are answered at once. A lower limit takes hold as running requests end: their permits are
    /// taken back, ahead of new requests.
    fn resize(&self, wanted: usize) {
        let mut limit = self.in_flight_limit.lock();
        let before = std::mem::replace(&mut *limit, wanted);
        self.in_flight.add_permits(wanted.saturating_sub(before));
        let less = before.saturating_sub(wanted);
        let out = less - self.in_flight.forget_permits(less);
        if out > 0 {
            let (permits, out) = (Arc::clone(&self.in_flight), u32::try_from(out).unwrap_or(u32::MAX));
            tokio::spawn(async move {
                if let Ok(returned) = permits.acquire_many_owned(out).await {
                    returned.forget();
                }
            });
        }
    }
}
