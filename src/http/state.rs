//! What handlers can reach.

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

use super::acts::keep_if_ended;
use super::fresh_id;
use super::ledger::{self, Asking, Conversation};
use super::middleware::limit::Limiter;
use super::monitor::Monitor;
use super::refusals::Refusals;
use super::remember;
use super::session::Door;
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

/// Reports (feedback, outcomes) taken at once. They wait for the disk, so they have permits of their own: a slow disk must not
/// keep chats out.
const REPORTS: usize = 256;

/// How long the log is given to write what stands in its queue.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// What a configuration made: read once per request, swapped as a whole.
#[derive(Debug)]
pub struct Live {
    /// The configuration.
    pub config: Config,
    /// Every value and who set it.
    pub settings: Vec<Setting>,
    /// The models.
    pub catalog: Catalog,
    /// The static rules.
    pub rules: Rules,
}

impl Live {
    /// What `config` and the servers' lists make; `before` gives the health of what stays.
    pub fn new(
        mut config: Config,
        settings: Vec<Setting>,
        discovered: &BTreeMap<String, Listing>,
        before: Option<&Live>,
    ) -> Self {
        for setting in config.overrides.end_outdated(&config.models, &settings) {
            tracing::warn!(setting, "It is configured otherwise now: what was set on the dashboard ends");
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

    /// What the rules want of a request, sent as `body`, that no plan is made for: a count.
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
    /// What the configuration made.
    pub live: Live,
    /// Makes calls.
    pub dispatcher: Dispatcher,
    /// API tokens.
    pub tokens: Tokens,
    /// Metrics.
    pub metrics: Metrics,
    /// The log, to be read.
    pub store: Store,
    /// The log, to be written.
    pub recorder: Recorder,
    /// Who may sit at the dashboard.
    pub door: Door,
    /// Reads prompts.
    pub classifier: Classifier,
    /// The learned policy.
    pub learner: Learner,
    /// What may be spent.
    pub budgets: Arc<Budgets>,
}

/// The gateway: everything a handler can reach.
#[derive(Debug)]
pub struct Gateway {
    live: ArcSwap<Live>,
    tokens: ArcSwap<Tokens>,
    changing_tokens: Mutex<()>,
    /// Permits of reports whose bodies are held and written.
    reports: Semaphore,
    /// Held while what a client says of its own call is weighed against what it said before; by the call's decision.
    reporting: [tokio::sync::Mutex<()>; 64],
    /// Held while operators' changes are kept and put in force.
    pub(super) overriding: tokio::sync::Mutex<()>,
    /// What servers listed, by provider.
    discovered: Mutex<BTreeMap<String, Listing>>,
    /// Told once they are to be asked anew.
    servers_changed: Notify,
    /// Makes calls.
    pub dispatcher: Dispatcher,
    /// Metrics.
    pub metrics: Metrics,
    /// The log, to be read.
    pub store: Store,
    /// The log, to be written.
    pub recorder: Recorder,
    /// Reads prompts.
    pub classifier: Classifier,
    /// The learned policy.
    pub learner: Learner,
    /// What may be spent.
    pub budgets: Arc<Budgets>,
    /// How long models take.
    pub speeds: Speeds,
    /// How long their answers are.
    pub lengths: Lengths,
    /// Where conversations are.
    pub conversations: Conversations,
    /// Draws among models.
    dice: Mutex<SmallRng>,
    /// Requests and tokens per minute of each API token.
    pub limiter: Arc<Limiter>,
    /// Who may sit at the dashboard.
    pub door: Door,
    /// Chat requests as they pass.
    pub monitor: Monitor,
    /// Those that no model could answer.
    pub refusals: Refusals,
    /// Permits of requests whose bodies are held and worked on.
    in_flight: Arc<Semaphore>,
    in_flight_limit: Mutex<usize>,
    ready: AtomicBool,
    draining: CancellationToken,
}

/// What a plan is asked for.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The request.
    pub request: &'a ChatRequest,
    /// The dialect it came in.
    pub dialect: Dialect,
    /// Its body, where a vendor may get it as it is.
    pub body: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The API token that asks.
    pub token: Option<&'a Token>,
    /// The conversation it belongs to.
    pub conversation: Conversation,
}

/// Now in Unix seconds, as budgets count.
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
            reports: Semaphore::new(REPORTS),
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
            door: parts.door,
            monitor: Monitor::default(),
            refusals: Refusals::default(),
            in_flight: Arc::new(Semaphore::new(in_flight)),
            in_flight_limit: Mutex::new(in_flight),
            ready: AtomicBool::new(false),
            draining: CancellationToken::new(),
        }
    }

    /// A permit to answer one more request, to be held until its answer is complete.
    ///
    /// # Errors
    ///
    /// `RateLimited` while `limits.max_in_flight` are being answered.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| {
            let message = "too many requests are being answered (limits.max_in_flight)";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })
    }

    /// A permit to take one more report, to be held until it is taken.
    ///
    /// # Errors
    ///
    /// `RateLimited` while many are being taken.
    pub(super) fn admit_report(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.reports.try_acquire().map_err(|_| {
            let message = "too many reports are being taken; send it again";
            ApiError::new(ErrorKind::RateLimited, message).after(Duration::from_secs(1))
        })
    }

    /// Waits for what is said of one decision to be said by one at a time.
    pub(super) async fn report_on(&self, decision: DecisionId) -> tokio::sync::MutexGuard<'_, ()> {
        // The last bits of an id are random.
        self.reporting[decision.0.as_u128() as usize % self.reporting.len()].lock().await
    }

    /// What is in force now. To be loaded once per request, so that all of it agrees.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The API tokens.
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// Takes over tokens.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Changes the API tokens, in their file and in force. What another process wrote meanwhile is kept.
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
        // A file of the change alone would take all the others out of force.
        if !self.tokens().is_empty() && !path.exists() {
            return Err(TokenError::Gone(path));
        }
        let (tokens, changed) = Tokens::change(dir, change)?;
        self.set_tokens(tokens);
        Ok(changed)
    }

    /// Takes over a configuration. Within a tokio runtime.
    pub fn configure(&self, mut config: Config, settings: Vec<Setting>) {
        self.dispatcher.configure(&config.dispatch);
        self.resize(config.limits.max_in_flight);
        self.learner.configure(&config.learning);
        self.budgets.configure(&config.budget, now_s());
        self.keep_listings(&config);
        let mut overrides = Overrides::default();
        self.change_live(|before, discovered| {
            // No file holds what operators changed.
            overrides.clone_from(&before.config.overrides);
            config.overrides = overrides.clone();
            Live::new(config, settings, discovered, Some(before))
        });
        self.servers_changed.notify_one();
        keep_if_ended(&self.store, &overrides, &self.live().config.overrides);
    }

    /// Keeps of what servers listed what holds under another configuration.
    fn keep_listings(&self, config: &Config) {
        let before = self.live.load();
        self.discovered.lock().retain(|name, listing| {
            // Who is not asked any more says nothing, neither now nor when it is asked again.
            let Some(settings) = config.providers.get(name).filter(|settings| settings.discovers()) else {
                return false;
            };
            let old = before.catalog.provider(name);
            if old.is_some_and(|old| !Provider::new(name, settings).reaches_same_server_as(old)) {
                // That nobody answered at another address says nothing of this one.
                listing.reset_misses();
            }
            true
        });
    }

    /// Waits until who is asked for models, or how, may have changed.
    pub(crate) async fn servers_changed(&self) {
        self.servers_changed.notified().await;
    }

    /// Puts in force what `make` makes of what is, and of what servers listed.
    pub(super) fn change_live(&self, make: impl FnOnce(&Live, &BTreeMap<String, Listing>) -> Live) {
        // Under this lock, so that no two changes are made of the same past.
        let discovered = self.discovered.lock();
        let before = self.live.load();
        self.take_over(&before, make(&before, &discovered));
    }

    /// Puts another configuration or catalog in force.
    fn take_over(&self, before: &Live, live: Live) {
        // Readings kept hold estimates of the models there were.
        let models = live.models();
        if models != before.models() {
            self.classifier.configure(&models);
        }
        self.live.store(Arc::new(live));
    }

    /// What is known of a provider's models.
    pub fn listing(&self, provider: &str) -> Listing {
        self.discovered.lock().get(provider).cloned().unwrap_or_default()
    }

    /// Takes over what a provider listed.
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
        let live = Live::new(before.config.clone(), before.settings.clone(), &discovered, Some(&before));
        self.take_over(&before, live);
    }

    /// Takes in what the next choice should know of a call, whoever made it: what it cost, and how fast the model was.
    pub(super) fn hear_of(&self, call: &OutcomeRecord) {
        self.budgets.spent(call.cost_usd.unwrap_or(0.0), call.at_ms as f64 / 1e3);
        let took = call.latency_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        let whole = call.status == OutcomeStatus::Ok && call.failovers == 0;
        if let (Some(model), Some(usage), Some(took), true) = (&call.model, call.usage, took, whole) {
            self.speeds.observe(model, took, usage.output_tokens);
        }
    }

    /// Whether it serves: started, and not draining.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Says whether it serves. Once it does no longer, endless streams end, so that the drain can.
    pub fn set_ready(&self, ready: bool) {
        if !ready {
            self.draining.cancel();
        }
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Waits until it drains.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.draining.clone().cancelled_owned()
    }

    /// Makes a plan under a new decision id. Where the learned policy is asked, the prompt is read first, within the
    /// classifier's budget.
    ///
    /// # Errors
    ///
    /// When no model can serve the request, as the client is to be told it.
    pub async fn plan(&self, live: &Live, asked: PlanRequest<'_>) -> Result<Plan, ApiError> {
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
        live: &Live,
        asked: PlanRequest<'_>,
        reading: Option<&Result<Arc<Reading>, Missed>>,
    ) -> Result<Plan, ApiError> {
        let mut chance = || self.dice.lock().random::<f64>();
        let now = Instant::now();
        // One policy for the choice and for what is written of it.
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

    /// Reads the log, off the threads that serve.
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

    /// Waits until the log has what stood in its queue: who was just told a decision's id may ask for it.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down or too slow.
    pub async fn log_is_written(&self) -> Result<(), ApiError> {
        let down = |why: String| {
            ApiError::new(ErrorKind::Unavailable, format!("the store cannot be read: {why}"))
                .after(Duration::from_secs(2))
        };
        match tokio::time::timeout(LOG_PATIENCE, self.recorder.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(down(error.to_string())),
            Err(_) => Err(down("it takes too long".into())),
        }
    }

    /// Takes up what API tokens have spent in the last day, from the log: a restart must not give anybody a fresh day.
    /// What was spent long ago has come back in part; what a clock spent that was ahead would be owed anew at each restart
    /// until it has caught up.
    ///
    /// # Errors
    ///
    /// `Unavailable` while the store is down; then everybody begins a fresh day.
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

    /// Puts `usd` on the account of the API token of this id (`None` = of everybody without one), where it still is one.
    pub(super) fn owe(&self, id: Option<&str>, usd: f64) {
        let (tokens, live) = (self.tokens(), self.live());
        let token = id.and_then(|id| tokens.all().iter().map(|token| &**token).find(|token| token.id == id));
        if token.is_some() || id.is_none() {
            self.limiter.owe(token, &live.config.limits, usd, Instant::now());
        }
    }

    /// Where a conversation is that goes by one of `prints`, the surest first.
    fn stay(&self, live: &Live, prints: impl IntoIterator<Item = Fingerprint>, now: Instant) -> Option<Stay> {
        let sticky = live.config.routing.sticky;
        let ttl = Duration::from_secs(sticky.minutes * 60);
        let find = |print: Fingerprint| self.conversations.find(print.0, ttl, now);
        sticky.enabled.then(|| prints.into_iter().find_map(find)).flatten()
    }

    /// Notes that the conversation that goes by `prints` is on `model` now, whose answer used `usage`. `is_known` = it is
    /// sure to be the one that went by them before.
    pub(super) fn stays<P>(&self, prints: P, is_known: bool, model: &ModelName, usage: &Usage)
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

    /// Hands a decision to the log. Never waits.
    pub fn record(&self, decision: &Decision, asking: Asking<'_>) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let recorder = &self.recorder;
        recorder.decision(ledger::decision(decision, asking, &recorder.salt(), recorder.keeps_prompts(), now_ms));
    }

    /// More or fewer chat requests at once. Fewer takes hold as running ones end: permits that are out are waited for,
    /// ahead of new requests, and not given out again.
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
