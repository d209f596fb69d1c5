//! The composition root: configuration -> running gateway.
//!
//! [`App::start`] puts the parts together, binds both listeners and starts the tasks ([`Engine`]); [`App::stop`]
//! drains and joins them. What changes while it runs comes in here: configuration ([`App::reload`], by file or by
//! signal), API tokens (another process may edit their file), and the lists of servers that are asked for their
//! models.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::classifier::Classifier;
use crate::config::{self, Auth, Config, ConfigErrors, LoadArgs, Loaded, Stamp, Stamped};
use crate::dispatch::Dispatcher;
use crate::http::acts::{OVERRIDES, keep_if_ended};
use crate::http::middleware::ip::may_connect;
use crate::http::remember::keep_lengths;
use crate::http::session::{BadHash, Door};
use crate::http::{self, Drain, Gateway, Lanes, Live, Parts, routes};
use crate::protocol::DecisionId;
use crate::store::{OpenError, OpenState, Store, TokenError, Tokens};
use crate::telemetry::Metrics;
use crate::tuner::{Budgets, LearnError, Learner, LearnerTask, Recorder, Writer, keep_house};
use crate::upstream::{Client, discover, use_pool};

/// How often files are looked at for changes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the classifier's thread is waited for at the end.
const CLASSIFIER_STOP: Duration = Duration::from_secs(2);

/// How often servers are asked for their models.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

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
    /// The threads that serve cannot be started.
    #[error("the threads that serve connections cannot be started: {0}")]
    Lanes(std::io::Error),
    /// The dashboard's password cannot be read.
    #[error("{0}")]
    Password(#[from] BadHash),
    /// The policy cannot be read.
    #[error("the learned policy cannot be taken up: {0}")]
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
    /// Everybody could come in.
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

/// How the configuration is loaded again: by one at a time, so that what is in force is what was read last, and no
/// change is taken over twice.
#[derive(Debug)]
struct Source {
    args: LoadArgs,
    /// The files it was read from, as they were before.
    files: Vec<Stamped>,
    /// How changed ones looked last time: what is being written may stop at any line, and be a configuration of its own
    /// there, without the rules at its end.
    changing: Option<Vec<Stamped>>,
    /// Files of what is in force, as they were when it was read.
    in_force: Vec<Stamped>,
    /// One of these is empty now, and was refused for it.
    refused_empty: bool,
}

/// Who wants the configuration loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    ByHand,
    ByChange,
}

impl Source {
    fn new(args: LoadArgs, files: Vec<Stamped>) -> Self {
        Self { args, in_force: files.clone(), files, changing: None, refused_empty: false }
    }

    fn files_now(&self) -> Vec<Stamped> {
        self.files.iter().map(Stamped::again).collect()
    }

    /// Loads the configuration again and takes it over. A panic on the way is an error like any other: whoever
    /// watches the files has tokens to take over, too.
    fn reload(&mut self, gateway: &Gateway, wanted: Wanted) -> Result<(), ConfigErrors> {
        let before = self.files_now();
        // Who says so twice means it.
        let emptied = self.emptied().filter(|_| wanted == Wanted::ByChange || !self.refused_empty);
        self.refused_empty |= emptied.is_some();
        let taken = match emptied {
            Some(file) => {
                let file = file.display();
                Err(ConfigErrors(vec![format!("{file} is empty; if it is to be, another SIGHUP takes it over")]))
            }
            None => unharmed(|| take_over(gateway, &self.args)),
        };
        match taken {
            Ok(files) => {
                // Other files may have been read this time.
                *self = Self::new(std::mem::take(&mut self.args), files);
                Ok(())
            }
            Err(errors) => {
                self.files = before;
                Err(errors)
            }
        }
    }

    /// A file of what is in force that held something then and holds nothing now.
    fn emptied(&self) -> Option<PathBuf> {
        let emptied = self.in_force.iter().find(|file| file.again().stamp.lost_all_since(&file.stamp));
        emptied.map(|file| file.path.clone())
    }
}

/// A gateway at work, without listeners: what [`App`] serves, and what another program embeds.
#[derive(Debug)]
pub struct Engine {
    /// What handlers reach.
    pub gateway: Arc<Gateway>,
    source: Arc<Mutex<Source>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    writer: Writer,
}

impl Engine {
    /// Starts the tasks of a gateway; `args` are how `loaded` was loaded, to load it again. Within a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(args: LoadArgs, loaded: Loaded) -> Result<Self, StartError> {
        // Before they are read: reading a long log takes a while, and what is written meanwhile must not be missed.
        let seen = Seen::now(&loaded.config);
        let dir = log_dir(&loaded.config, args.sandbox.is_some());
        let source = Arc::new(Mutex::new(Source::new(args, loaded.files.clone())));
        let (gateway, backstage) = build(&loaded, open_store(&dir, &loaded.config)?)?;
        let gateway = Arc::new(gateway);
        let Backstage { writer, work, news } = backstage;
        let (stop, _) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(discovering(Arc::clone(&gateway), stopped(&stop))),
            tokio::spawn(watching_files(Arc::clone(&gateway), Arc::clone(&source), seen, stopped(&stop))),
            tokio::spawn(keep_house(gateway.store.clone(), stop.subscribe())),
            tokio::spawn(adding_up(gateway.store.clone(), stop.subscribe())),
            tokio::spawn(work.run(news, Arc::clone(&gateway.budgets), stopped(&stop))),
            tokio::spawn(keep_lengths(Arc::clone(&gateway), stopped(&stop))),
        ];
        Ok(Self { gateway, source, stop, tasks, writer })
    }

    /// Tells the tasks to end.
    fn halt(&self) {
        self.gateway.set_ready(false);
        let _ = self.stop.send(true);
    }

    /// Ends the tasks, and writes what the log still has to take.
    pub async fn stop(self) {
        self.halt();
        for task in self.tasks {
            let _ = task.await;
        }
        self.gateway.classifier.stop(CLASSIFIER_STOP).await;
        // What the last answers left in the queue is written before the process may end.
        let _ = tokio::task::spawn_blocking(|| self.writer.close()).await;
    }
}

/// Adds up the log as it was found, for the overview.
async fn adding_up(store: Store, stop: watch::Receiver<bool>) {
    let added = tokio::task::spawn_blocking(move || store.catch_up(|| *stop.borrow())).await;
    if let Ok(Err(error)) = added {
        tracing::warn!(%error, "The log cannot be added up; the overview begins with what comes");
    }
}

/// Ends when `stop` says so, or is gone.
fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stopping = stop.subscribe();
    async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    /// What handlers reach.
    pub gateway: Arc<Gateway>,
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// Where the admin listener is, if there is one.
    pub admin: Option<SocketAddr>,
    engine: Engine,
    servers: Vec<JoinHandle<Drain>>,
}

impl App {
    /// Starts a gateway from `loaded`; `args` are how it was loaded, to load it again.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(args: LoadArgs, loaded: Loaded) -> Result<Self, StartError> {
        let settings = loaded.config.server.clone();
        let admin_settings = loaded.config.admin.clone();
        // What the operator has to settle is found before anything is opened.
        let tokens = Tokens::load(&settings.data_dir)?;
        guard("server.listen", settings.listen, &loaded.config, &tokens)?;
        let proxy = bind("server.listen", settings.listen).await?;
        let admin = if admin_settings.enabled {
            // Behind a password it may stand open to other machines.
            if admin_settings.password.is_none() {
                guard("admin.listen", admin_settings.listen, &loaded.config, &tokens)?;
            }
            Some(bind("admin.listen", admin_settings.listen).await?)
        } else {
            None
        };
        let limited = loaded.config.limits.usd_per_day > 0.0;
        let engine = Engine::start(args, loaded)?;
        let gateway = Arc::clone(&engine.gateway);
        // Only where spending is limited: it walks a day of the log.
        let by_token = gateway.tokens().all().iter().any(|token| token.usd_per_day.is_some_and(|usd| usd > 0.0));
        if (limited || by_token)
            && let Err(error) = gateway.recall_spending().await
        {
            tracing::warn!(error = %error, "What API tokens have spent today is not known; they begin a fresh day");
        }
        let address = |listener: &TcpListener, wanted: SocketAddr| listener.local_addr().unwrap_or(wanted);
        let proxy_address = address(&proxy, settings.listen);
        let admin_address = admin.as_ref().map(|listener| address(listener, admin_settings.listen));
        let mut servers = Vec::new();
        let router = routes::proxy(Arc::clone(&gateway));
        // The first pool is for threads that are no lane: those of the administration, and of programs that embed the
        // engine.
        let lanes = Arc::new(Lanes::start(lane_count(), |lane| use_pool(lane + 1)).map_err(StartError::Lanes)?);
        let serve = |listener, router| {
            let (lanes, settings, stopped) = (Arc::clone(&lanes), settings.clone(), stopped(&engine.stop));
            let gateway = Arc::clone(&gateway);
            let door = Arc::clone(&gateway);
            let may_enter = move |peer| may_connect(peer, &door.live().config.access);
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
        self.engine.source.lock().reload(&self.gateway, Wanted::ByHand)
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

/// Where the log is. The sandbox has its own: invented answers and ratings are to teach, and to bill, nobody.
pub fn log_dir(config: &Config, sandbox: bool) -> PathBuf {
    let dir = &config.server.data_dir;
    if sandbox { dir.join("sandbox") } else { dir.clone() }
}

/// Opens the store in `dir`. One that is damaged or cannot be written is lived with, and said.
///
/// # Errors
///
/// When another process has it, or a newer program wrote it.
pub fn open_store(dir: &Path, config: &Config) -> Result<Store, StartError> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (store, report) = Store::open(dir, &config.store, now_ms)?;
    match report.state {
        OpenState::Opened => {}
        OpenState::Replaced { kept, reason } => {
            tracing::error!(kept = %kept.display(), reason, "The log is damaged and was set aside; a fresh one begins");
        }
        OpenState::Memory { reason } => {
            tracing::error!(
                data_dir = %dir.display(),
                reason,
                "The data directory cannot be written; until a restart the log is in memory, and no feedback is taken"
            );
        }
    }
    Ok(store)
}

/// What works behind a gateway: to be run, and closed at the end.
#[derive(Debug)]
pub struct Backstage {
    /// Writes the log.
    pub writer: Writer,
    /// Learns from it.
    pub work: LearnerTask,
    /// What there is to learn from.
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
        tracing::error!(error = %error, "What operators changed of the models cannot be read");
        None
    });
    let config = Config { overrides: overrides.unwrap_or_default(), ..config.clone() };
    let live = Live::new(config.clone(), loaded.settings.clone(), &Default::default(), None);
    keep_if_ended(&store, &config.overrides, &live.config.overrides);
    let dispatcher = Dispatcher::new(client, &config.dispatch);
    let door = Door::new(&config.admin)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (learner, work) = Learner::open(store.clone(), &config.learning, now_ms)?;
    let budgets = Arc::new(Budgets::open(&store, &config.budget, now_ms as f64 / 1e3));
    let classifier = Classifier::start(&config.classifier, &live.models());
    let (recorder, writer, news) = Recorder::start(store.clone()).map_err(StartError::Writer)?;
    let metrics = Metrics::default();
    let parts = Parts { live, dispatcher, tokens, metrics, store, recorder, classifier, learner, budgets, door };
    Ok((Gateway::new(parts), Backstage { writer, work, news }))
}

/// Threads that serve: one for each core.
fn lane_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What to do about an address that cannot be had.
fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; stop what listens there, or choose another port",
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 are for root, choose another one",
        _ => "",
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { key, address, source })
}

/// Refuses to stand open to other machines by accident.
fn guard(key: &'static str, address: SocketAddr, config: &Config, tokens: &Tokens) -> Result<(), StartError> {
    let auth = config.access.auth;
    let closed = match auth {
        Auth::Off | Auth::Required => true,
        Auth::Auto => !tokens.is_empty(),
    };
    // A token is asked for, and there is none: it would serve nobody.
    let useless = auth == Auth::Required && tokens.is_empty() && !address.ip().is_loopback();
    if (closed && !useless) || address.ip().is_loopback() {
        return Ok(());
    }
    Err(StartError::Open { key, address, data_dir: config.server.data_dir.clone() })
}

fn unharmed<T>(work: impl FnOnce() -> Result<T, ConfigErrors>) -> Result<T, ConfigErrors> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "taking it over ended in a panic, which the log holds; restart once it is mended";
        Err(ConfigErrors(vec![message.into()]))
    })
}

/// Returns the files it was read from.
fn take_over(gateway: &Gateway, args: &LoadArgs) -> Result<Vec<Stamped>, ConfigErrors> {
    let Loaded { config, settings, files, .. } = config::load(args)?;
    let late = config::needs_restart(&gateway.live().config, &config);
    if !late.is_empty() {
        tracing::warn!(changed = late.join(", "), "These changes take hold after a restart");
    }
    let live = gateway.live();
    let kept = config::keep_fixed(config, &live.config);
    gateway.configure(kept, config::keep_fixed_settings(settings, &live.settings));
    tracing::info!("Took over a changed configuration");
    Ok(files)
}

async fn discovering(gateway: Arc<Gateway>, stopped: impl Future<Output = ()>) {
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let round = async {
            ask_servers(&gateway).await;
            tokio::time::sleep(DISCOVER_EVERY).await;
        };
        tokio::select! {
            () = round => {}
            // Nor is anything made of what was asked in the old way.
            () = gateway.servers_changed() => {}
            () = &mut stopped => return,
        }
    }
}

/// Asks all servers for their models, one after the other.
async fn ask_servers(gateway: &Gateway) {
    let live = gateway.live();
    for (name, _) in live.config.providers.iter().filter(|(_, provider)| provider.discovers()) {
        let Some(provider) = live.catalog.provider(name) else { continue };
        let known = gateway.listing(name);
        let found = discover(gateway.dispatcher.client(), provider, known.models()).await;
        gateway.discovered(name, found);
    }
}

fn take_over_tokens(gateway: &Gateway) {
    let dir = &gateway.live().config.server.data_dir;
    let had_some = !gateway.tokens().is_empty();
    match Tokens::load(dir) {
        // Revoking the last one leaves an empty list. Without a file everybody on this machine would come in.
        Ok(tokens) if tokens.is_empty() && had_some && !Tokens::path(dir).exists() => {
            let file = Tokens::path(dir);
            tracing::error!(file = %file.display(), "The file of API tokens is gone; the old ones stay in force");
        }
        Ok(tokens) => {
            if tokens.is_empty() && had_some {
                tracing::warn!(
                    "No API token is left: where access.auth is \"auto\" this machine comes in without one"
                );
            }
            gateway.set_tokens(tokens);
            tracing::info!("Took over changed API tokens");
        }
        Err(error) => {
            tracing::error!(error = %error, "API tokens cannot be read; the old ones stay in force")
        }
    }
}

/// Looks at the configuration's files, at the tokens' and at the classifier's head twice a second. Polling sees every
/// kind of change (editors that replace the file, mounted secrets, network disks) and costs a few system calls.
async fn watching_files(
    gateway: Arc<Gateway>,
    source: Arc<Mutex<Source>>,
    mut seen: Seen,
    stopped: impl Future<Output = ()>,
) {
    let mut stopped = std::pin::pin!(stopped);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = &mut stopped => return,
        }
        let now = Seen::now(&gateway.live().config);
        reload_if_changed(&gateway, &source);
        if now.tokens != seen.tokens {
            seen.tokens = now.tokens;
            take_over_tokens(&gateway);
        }
        if now.head != seen.head && gateway.classifier.is_ready() {
            swap_head(gateway.classifier.clone(), now.head.0.clone()).await;
            seen.head = now.head;
        }
    }
}

/// Takes over files that have changed, once they look as they did last time.
fn reload_if_changed(gateway: &Gateway, source: &Mutex<Source>) {
    let mut source = source.lock();
    let now = Some(source.files_now()).filter(|now| *now != source.files);
    let is_whole = now.is_some() && now == source.changing;
    source.changing = now;
    if is_whole && let Err(errors) = source.reload(gateway, Wanted::ByChange) {
        tracing::error!(errors = %errors, "The changed configuration is wrong; the old one stays in force");
    }
}

/// Takes over a changed head off the async threads.
async fn swap_head(classifier: Classifier, name: String) {
    let swapped = tokio::task::spawn_blocking(move || classifier.swap_head(&name).map(|()| name)).await;
    match swapped {
        Ok(Ok(head)) => tracing::info!(head, "Took over a changed head"),
        Ok(Err(error)) => tracing::error!(error = %error, "The changed head is not used; the old one stays in force"),
        Err(error) => {
            tracing::error!(error = %error, "Taking over a head ended in a panic; the old one stays in force")
        }
    }
}

/// Files as they were before they were last read, but for the configuration's own.
struct Seen {
    tokens: Stamp,
    /// The head's name, and its file where that is a path.
    head: (String, Stamp),
}

impl Seen {
    /// As they are now.
    fn now(config: &Config) -> Self {
        let head = &config.classifier.head;
        let tokens = Stamp::of(&Tokens::path(&config.server.data_dir));
        Self { tokens, head: (head.clone(), Stamp::of(Path::new(head))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_panics_is_an_error_and_no_end() {
        let errors = unharmed::<()>(|| panic!("as a semaphore does")).unwrap_err();
        assert!(errors.to_string().contains("panic"), "{errors}");
        assert_eq!(unharmed(|| Ok(1)), Ok(1));
    }
}
