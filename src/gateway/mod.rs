//! The gateway without its listeners: the configuration in force, what was learned, and what is being answered.
//!
//! [`Gateway`] holds all of it, for HTTP's handlers and for a program that embeds it. [`live_config`] is the
//! configuration and what is made of it, [`configuring`] changes it; [`planning`] asks the router, [`conversation`]
//! tells it which requests belong together, [`ledger`] makes the records of its decisions and their outcomes, and
//! [`call_report`] takes outcomes from outside. [`admission`] and [`limiter`] bound what callers may use, [`spending`]
//! charges them. [`monitor`] shows requests as they pass, [`refusals`] counts those that found no model, [`health`]
//! tells how all are. [`sign_in`] and [`operator_acts`] are for operators.

pub mod admission;
mod call_bounds;
pub mod call_report;
mod configuring;
pub mod conversation;
mod decision_log;
pub mod health;
pub mod kept_lengths;
pub mod ledger;
pub mod limiter;
pub mod live_config;
pub mod monitor;
pub mod operator_acts;
mod planning;
pub mod refusals;
pub mod sign_in;
pub mod spending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::live_config::LiveConfig;
pub use self::planning::PlanRequest;

use self::admission::Admission;
use self::limiter::Limiter;
use self::monitor::Monitor;
use self::refusals::Refusals;
use self::sign_in::SignIn;
use crate::classifier::Classifier;
use crate::dispatch::Dispatcher;
use crate::route::{Conversations, Lengths, Speeds};
use crate::store::{Store, TokenError, Tokens};
use crate::telemetry::Metrics;
use crate::tuner::{Budgets, Learner, Recorder};
use crate::upstream::Listing;

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
    /// What is wrong with a changed configuration, which is not in force therefore.
    config_errors: Mutex<Vec<String>>,
    /// Held while operators' changes are saved and put in force.
    overriding: tokio::sync::Mutex<()>,
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
    /// Requests and reports that may be handled at once.
    pub admission: Admission,
    ready: AtomicBool,
    draining: CancellationToken,
}

/// Now, in Unix seconds.
pub(crate) fn now_s() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1e3
}

/// A new id: a UUID of version 7 whose random part comes from the thread's own generator, where `Uuid::now_v7` would
/// ask the kernel for every one.
pub(crate) fn fresh_id() -> uuid::Uuid {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(now_ms, &rand::random()).into_uuid()
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let settings = &parts.live.config;
        let seed = settings.routing.seed.unwrap_or_else(rand::random);
        Self {
            admission: Admission::new(&settings.limits),
            lengths: kept_lengths::read(&parts.store),
            live: ArcSwap::from_pointee(parts.live),
            tokens: ArcSwap::from_pointee(parts.tokens),
            changing_tokens: Mutex::default(),
            config_errors: Mutex::default(),
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
            conversations: Conversations::default(),
            dice: Mutex::new(SmallRng::seed_from_u64(seed)),
            limiter: Arc::default(),
            sign_in: parts.sign_in,
            monitor: Monitor::default(),
            refusals: Refusals::default(),
            ready: AtomicBool::new(false),
            draining: CancellationToken::new(),
        }
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
        Tokens::refuse_lost(dir)?;
        if !self.tokens().is_empty() && !path.exists() {
            return Err(TokenError::Gone(path));
        }
        let (tokens, changed) = Tokens::change(dir, change)?;
        self.set_tokens(tokens);
        Ok(changed)
    }

    /// Whether the gateway serves: started, and not draining.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Sets whether the gateway serves. `false` also ends the dashboard's endless streams, which the drain would wait
    /// for.
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
}
