//! The composition root: configuration -> running gateway.
//!
//! [`App::start`] puts the parts together, binds both listeners and starts the tasks ([`Engine`]); [`App::stop`]
//! drains and joins them. Two of the tasks bring in changes while the gateway runs: [`reload`] (configuration, API
//! tokens, the classifier's head) and [`discover`] (models that servers list); [`hang`] tells of a decision log that
//! hangs.

mod discover;
mod hang;
mod reload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::discover::keep_discovering;
use self::hang::tell_of_hangs;
use self::reload::{Reloader, Seen, Trigger, watch_files};
use crate::classifier::Classifier;
use crate::config::{Auth, Config, ConfigErrors, LoadArgs, Loaded};
use crate::dispatch::Dispatcher;
use crate::gateway::operator_acts::{OVERRIDES, save_if_ended};
use crate::gateway::sign_in::{BadHash, SignIn};
use crate::gateway::{Gateway, LiveConfig, Parts, kept_lengths, spending};
use crate::http::middleware::ip::may_connect;
use crate::http::{self, Drain, Lanes, routes};
use crate::protocol::DecisionId;
use crate::store::{OpenError, OpenState, Store, TokenError, Tokens, await_free};
use crate::telemetry::Metrics;
use crate::tuner::{Budgets, LearnError, Learner, LearnerTask, Recorder, Writer, keep_house};
use crate::upstream::{Client, use_pool};

/// How long the classifier's thread may take to end.
const CLASSIFIER_STOP: Duration = Duration::from_secs(2);

/// How long the background tasks may take to end: the database that they work on may hang.
const TASKS_STOP: Duration = Duration::from_secs(10);

/// Pause between two log lines about how far the decision log is added up.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The tokens cannot be read.
    #[error("{0}")]
    Tokens(#[from] TokenError),
    /// The store cannot be opened at all.
    #[error("{0}")]
    Store(#[from] OpenError),
    /// The store's writer cannot be started.
    #[error("the store's writer cannot be started: {0}")]
    Writer(std::io::Error),
    /// The threads that serve connections cannot be started.
    #[error("the threads that serve connections cannot be started: {0}")]
    Lanes(std::io::Error),
    /// The dashboard's password cannot be read.
    #[error("{0}")]
    Password(#[from] BadHash),
    /// The policy cannot be read.
    #[error("the learned policy cannot be read: {0}")]
    Learner(#[from] LearnError),
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// A listener cannot be bound.
    #[error("{key} = {address}: {source}{}", advice(source))]
    Bind {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A listener would be open to other machines without an API token.
    #[error(
        "{key} = {address} can be reached from other machines, and {} holds no API token.\n\
         Make one (`pointsman token new NAME`, with the same --config and --set as here), listen on 127.0.0.1, or write access.auth = \"off\" if that is meant.",
        Tokens::path(data_dir).display()
    )]
    Open {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Where tokens are looked for.
        data_dir: PathBuf,
    },
}

/// A gateway without listeners and its background tasks: what [`App`] serves, and what another program embeds.
#[derive(Debug)]
pub struct Engine {
    /// What handlers can reach.
    pub gateway: Arc<Gateway>,
    reloader: Arc<Mutex<Reloader>>,
    /// Ends the tasks.
    stop: CancellationToken,
    /// Ends them, too, where a program drops the engine without stopping it.
    _stop_on_drop: DropGuard,
    tasks: Vec<JoinHandle<()>>,
    writer: Writer,
    keeps_debts: bool,
}

impl Engine {
    /// Builds a gateway from `loaded` and starts its tasks, within a tokio runtime. `args`, by which `loaded` was
    /// loaded, serve to load it again.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(args: LoadArgs, loaded: Loaded) -> Result<Self, StartError> {
        // Before the files are read: opening a long decision log takes a while, and a change meanwhile must not be
        // missed.
        let seen = Seen::now(&loaded.config);
        let dir = log_dir(&loaded.config, args.sandbox.is_some());
        let reloader = Arc::new(Mutex::new(Reloader::new(args, loaded.files.clone())));
        let (gateway, backstage) = build(&loaded, open_store(&dir, &loaded.config)?)?;
        let gateway = Arc::new(gateway);
        let Backstage { writer, work, news } = backstage;
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(keep_discovering(Arc::clone(&gateway), stop.clone())),
            tokio::spawn(watch_files(Arc::clone(&gateway), Arc::clone(&reloader), seen, stop.clone())),
            tokio::spawn(keep_house(gateway.store.clone(), stop.clone())),
            tokio::spawn(tell_of_hangs(gateway.store.clone(), stop.clone())),
            tokio::spawn(catch_up(gateway.store.clone(), stop.clone())),
            tokio::spawn(work.run(news, Arc::clone(&gateway.budgets), stop.clone().cancelled_owned())),
            tokio::spawn(kept_lengths::keep(Arc::clone(&gateway), stop.clone())),
        ];
        let _stop_on_drop = stop.clone().drop_guard();
        Ok(Self { gateway, reloader, stop, _stop_on_drop, tasks, writer, keeps_debts: false })
    }

    /// Saves what API tokens owe from now on. Only for who has recalled what they owed before: nobody else knows it.
    fn keep_debts(&mut self) {
        self.tasks.push(tokio::spawn(spending::keep_debts(Arc::clone(&self.gateway), self.stop.clone())));
        self.keeps_debts = true;
    }

    /// Tells the tasks to end.
    fn halt(&self) {
        self.gateway.set_ready(false);
        self.stop.cancel();
    }

    /// Ends the tasks, and writes the records that still wait for the decision log.
    pub async fn stop(self) {
        self.halt();
        let tasks = futures::future::join_all(self.tasks);
        if tokio::time::timeout(TASKS_STOP, tasks).await.is_err() {
            tracing::error!("The gateway's tasks hang and are not waited for");
        }
        if self.keeps_debts && tokio::time::timeout(TASKS_STOP, spending::save_debts(&self.gateway)).await.is_err() {
            tracing::error!("Saving what API tokens have spent today hangs and is not waited for");
        }
        self.gateway.classifier.stop(CLASSIFIER_STOP).await;
        let _ = tokio::task::spawn_blocking(|| self.writer.close()).await;
    }
}

/// Adds up the decision log as it was found, for the overview; tells now and then how far it is.
async fn catch_up(store: Store, stop: CancellationToken) {
    let began = Instant::now();
    let (walking, asked) = (store.clone(), stop.clone());
    let mut told = began;
    let go_on = move |entries: usize| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tracing::info!(entries, since = %since(&walking), "The decision log is being added up for the overview");
        }
        asked.is_cancelled()
    };
    let adding = store.clone();
    match tokio::task::spawn_blocking(move || adding.catch_up(go_on)).await {
        Ok(Ok(entries)) if entries > 0 && store.complete_since_ms().is_none() => {
            let took_ms = began.elapsed().as_secs_f64() * 1e3;
            tracing::info!(entries, took_ms, "The decision log is added up: the overview is complete");
        }
        Ok(Ok(entries)) if entries > 0 && !stop.is_cancelled() => {
            tracing::warn!(entries, since = %since(&store), "The decision log has more entries than are added up; the overview lacks what is older");
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, since = %since(&store), "The decision log cannot be added up further; the overview lacks what is older");
        }
        _ => {}
    }
}

/// Since when the overview is complete, for people.
fn since(store: &Store) -> String {
    let at = store.complete_since_ms().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    at.map_or_else(String::new, |at| format!("{at:.0}"))
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    /// What handlers can reach.
    pub gateway: Arc<Gateway>,
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// Where the admin listener is, if there is one.
    pub admin: Option<SocketAddr>,
    engine: Engine,
    servers: Vec<JoinHandle<Drain>>,
}

impl App {
    /// Starts a gateway from `loaded`; `args`, by which it was loaded, serve to load it again.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(args: LoadArgs, loaded: Loaded) -> Result<Self, StartError> {
        let settings = loaded.config.server.clone();
        let admin_settings = loaded.config.admin.clone();
        // Mistakes that the operator has to correct are found before anything is opened.
        let tokens = Tokens::load(&settings.data_dir)?;
        if let Err(error) = Tokens::refuse_lost(&settings.data_dir) {
            tracing::warn!(%error, "Serving without API tokens");
        }
        refuse_open_listener("server.listen", settings.listen, &loaded.config, &tokens)?;
        // Listened to from here on, so that who comes while a long log is opened waits for an answer: but not where
        // another gateway has the log, and connections would be taken only to be cut off.
        await_free(&log_dir(&loaded.config, args.sandbox.is_some()))?;
        let proxy = bind("server.listen", settings.listen)?;
        let admin = if admin_settings.enabled {
            // Behind a password the listener may be open to other machines.
            if admin_settings.password.is_none() {
                refuse_open_listener("admin.listen", admin_settings.listen, &loaded.config, &tokens)?;
            }
            Some(bind("admin.listen", admin_settings.listen)?)
        } else {
            None
        };
        let limited = loaded.config.limits.usd_per_day > 0.0;
        let mut engine = Engine::start(args, loaded)?;
        let gateway = Arc::clone(&engine.gateway);
        // Only where spending is limited: this walks a day of the decision log.
        let by_token = gateway.tokens().all().iter().any(|token| token.usd_per_day.is_some_and(|usd| usd > 0.0));
        if (limited || by_token)
            && let Err(error) = gateway.recall_spending().await
        {
            tracing::warn!(error = %error, "The spending of API tokens in the last day cannot be read; it counts from 0");
        }
        engine.keep_debts();
        let address = |listener: &TcpListener, wanted: SocketAddr| listener.local_addr().unwrap_or(wanted);
        let proxy_address = address(&proxy, settings.listen);
        let admin_address = admin.as_ref().map(|listener| address(listener, admin_settings.listen));
        let mut servers = Vec::new();
        let router = routes::proxy(Arc::clone(&gateway));
        // The first connection pool is for threads that are no lane: the main runtime's, and those of programs that
        // embed the engine.
        let lanes = Arc::new(Lanes::start(lane_count(), |lane| use_pool(lane + 1)).map_err(StartError::Lanes)?);
        let serve = |listener, router| {
            let (lanes, settings) = (Arc::clone(&lanes), settings.clone());
            let stopped = engine.stop.clone().cancelled_owned();
            let gateway = Arc::clone(&gateway);
            let for_access = Arc::clone(&gateway);
            let may_enter = move |peer| may_connect(peer, &for_access.live().config.access);
            let close = move || gateway.dispatcher.close();
            tokio::spawn(
                async move { http::serve(listener, &lanes, router, settings, may_enter, stopped, close).await },
            )
        };
        servers.push(serve(proxy, router));
        if let Some(listener) = admin {
            let router = routes::admin(Arc::clone(&gateway));
            servers.push(serve(listener, router));
        }

        gateway.set_ready(true);
        Ok(Self { gateway, proxy: proxy_address, admin: admin_address, engine, servers })
    }

    /// Loads the configuration again. A bad one leaves the old one in force.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn reload(&self) -> Result<(), ConfigErrors> {
        self.reloading()()
    }

    /// [`App::reload`], for another thread to do: it blocks for as long as the files' disk hangs.
    pub fn reloading(&self) -> impl FnOnce() -> Result<(), ConfigErrors> + Send + use<> {
        let (gateway, reloader) = (Arc::clone(&self.gateway), Arc::clone(&self.engine.reloader));
        move || reloader.lock().reload(&gateway, Trigger::Request)
    }

    /// Drains: open answers get until the configured deadline.
    pub async fn stop(self) -> Drain {
        self.engine.halt();
        let mut drain = Drain::Complete;
        for server in self.servers {
            if let Ok(Drain::Cut(open)) = server.await {
                drain = Drain::Cut(open);
            }
        }
        self.engine.stop().await;
        drain
    }
}

/// The directory of the decision log. The sandbox has its own: invented answers and ratings must not be learned from,
/// or count as spending.
pub fn log_dir(config: &Config, sandbox: bool) -> PathBuf {
    let dir = &config.server.data_dir;
    if sandbox { dir.join("sandbox") } else { dir.clone() }
}

/// Opens the store in `dir`. Where it is damaged or cannot be written the gateway starts all the same, with a fresh one
/// or in memory, and logs an error.
///
/// # Errors
///
/// When another process has the store open, or a newer program wrote it.
pub fn open_store(dir: &Path, config: &Config) -> Result<Store, StartError> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (store, report) = Store::open(dir, &config.store, now_ms)?;
    // The store itself logs that it set a log aside, since that may happen later, too.
    if store.health().left_broken {
        tracing::warn!(
            data_dir = %dir.display(),
            "A decision log that was damaged is still set aside there (log.broken-*) and not in use; delete it to be told no more"
        );
    }
    if let OpenState::Memory { reason } = report {
        tracing::error!(
            data_dir = %dir.display(),
            reason,
            "The data directory cannot be written; until a restart the decision log is in memory, and no feedback is taken"
        );
    }
    Ok(store)
}

/// The parts that run behind a gateway.
#[derive(Debug)]
pub struct Backstage {
    /// Writes the decision log; to be closed at the end.
    pub writer: Writer,
    /// Learns from it; to be run.
    pub work: LearnerTask,
    /// Decisions with something new to learn from.
    pub news: mpsc::Receiver<DecisionId>,
}

/// A gateway without listeners, on `store`.
///
/// # Errors
///
/// See [`StartError`].
pub fn build(loaded: &Loaded, store: Store) -> Result<(Gateway, Backstage), StartError> {
    let config = &loaded.config;
    let client =
        Client::new(&config.dispatch, lane_count() + 1).map_err(|error| StartError::Client(error.to_string()))?;
    let tokens = Tokens::load(&config.server.data_dir)?;
    let overrides = store.setting(OVERRIDES).unwrap_or_else(|error| {
        tracing::error!(error = %error, "Operators' changes of the models cannot be read");
        None
    });
    let config = Config { overrides: overrides.unwrap_or_default(), ..config.clone() };
    let live = LiveConfig::new(config.clone(), loaded.settings.clone(), &Default::default(), None);
    save_if_ended(&store, &config.overrides, &live.config.overrides);
    let dispatcher = Dispatcher::new(client, &config.dispatch);
    let sign_in = SignIn::new(&config.admin)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (learner, work) = Learner::open(store.clone(), &config.learning, now_ms)?;
    let budgets = Arc::new(Budgets::open(&store, &config.budget, now_ms as f64 / 1e3));
    let classifier = Classifier::start(&config.classifier, &live.models());
    let (recorder, writer, news) = Recorder::start(store.clone()).map_err(StartError::Writer)?;
    let metrics = Metrics::default();
    let parts = Parts { live, dispatcher, tokens, metrics, store, recorder, classifier, learner, budgets, sign_in };
    Ok((Gateway::new(parts), Backstage { writer, work, news }))
}

/// One lane for each core.
fn lane_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What to do about an address that cannot be bound.
fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; stop what listens there, or choose another port",
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 are for root, choose another one",
        _ => "",
    }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    http::listen(address).map_err(|source| StartError::Bind { key, address, source })
}

/// Refuses a listener that would be open to other machines by accident.
fn refuse_open_listener(
    key: &'static str,
    address: SocketAddr,
    config: &Config,
    tokens: &Tokens,
) -> Result<(), StartError> {
    // Where tokens are required and there is none, the listener would serve nobody.
    let is_open = config.access.auth != Auth::Off && tokens.is_empty() && !address.ip().is_loopback();
    if is_open {
        return Err(StartError::Open { key, address, data_dir: config.server.data_dir.clone() });
    }
    Ok(())
}
