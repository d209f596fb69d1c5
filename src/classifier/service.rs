//! The classifier's service: a request asks for a reading and gets one in time, or the reason why not.
//!
//! **One thread** holds the model and reads one batch at a time: under load several inference threads slow each other
//! down more than they help, and a queue in front of one behaves. A request goes
//!
//! 1. to the cache, by the hash of what would be read of it;
//! 2. into the bounded queue, or gets [`Missed::Busy`] where that is full;
//! 3. and waits at most for its budget. After that, or when the client has gone, the thread skips its prompt.
//!
//! **Batching** costs a lone request nothing: the thread takes what is in the queue at that moment, as much as lets
//! every prompt of the batch be in time, and never waits for more. Where not all that wait would be in time, less is
//! read of each; a prompt that would be late even so is turned away and not read ([`turns`], [`Pace`]).
//!
//! **Starting** happens on that thread: load, warm up (weights are touched, pages are mapped), then serve. Until then
//! the answer is [`Missed::Loading`], and the gateway serves without readings. A hub that cannot be reached is tried
//! again, at first after seconds and in the end every few minutes.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::cache::Cache;
use super::counters::{Counters, Counts};
use super::head::Head;
use super::model::{LoadError, Model, ModelInfo};
use super::pace::Pace;
use super::priors::Priors;
use super::prompt::Prompt;
use super::reading::{Estimate, Missed, Reading};
use super::turns::{self, Job, Waiting};
use crate::config;
use crate::protocol::ChatRequest;

/// Prompts of the queue that are looked at together. Each is tokenised for that.
const AHEAD: usize = 16;

/// How often it is looked whether the model is loaded.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Longest budget of a request.
const LONGEST: Duration = Duration::from_secs(86_400);

/// First pause before an unreachable hub is tried again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(2);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The handle of the classifier. Cheap to clone; all clones share one thread.
#[derive(Debug, Clone)]
pub struct Classifier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: config::Classifier,
    state: ArcSwap<State>,
    priors: ArcSwap<Priors>,
    cache: Mutex<Cache>,
    counters: Counters,
    /// Why the configured head is not in force, where no head is.
    headless: Mutex<Option<String>>,
    /// The queue's sender; `None` once stopped: the thread ends when its queue is closed.
    queue: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The state of the classifier.
#[derive(Debug)]
enum State {
    Disabled,
    /// The reason why loading takes long, where it does.
    Loading(Option<String>),
    Ready(Arc<Model>),
    Failed(String),
    Stopped,
}

/// The classifier's status for `/ready`, `/health` and the dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifierStatus {
    /// `disabled`, `loading`, `ready`, `failed` or `stopped`.
    pub state: &'static str,
    /// Why, where it failed, loads for longer than it should, or has no head.
    pub reason: Option<String>,
    /// The model, once it is loaded.
    pub model: Option<ModelInfo>,
    /// The head's name and the space of its contexts, where there is one.
    pub head: Option<(String, String)>,
    /// What happened so far.
    pub counts: Counts,
    /// Share of the last few hundred prompts that were read in time (or were cached); `None` where there were too few.
    pub in_time: Option<f64>,
    /// Readings in the cache.
    pub cached: usize,
}

impl Classifier {
    /// Starts loading and returns at once.
    pub fn start(settings: &config::Classifier, models: &BTreeMap<String, config::Model>) -> Self {
        let state = if settings.enabled { State::Loading(None) } else { State::Disabled };
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            state: ArcSwap::from_pointee(state),
            priors: ArcSwap::from_pointee(Priors::new(models)),
            cache: Mutex::new(Cache::new(config::mebibytes(settings.cache_mb))),
            counters: Counters::default(),
            headless: Mutex::new(None),
            queue: Mutex::new(None),
            thread: Mutex::new(None),
        });
        if settings.enabled {
            let (queue, jobs) = sync_channel(settings.queue);
            let worker = Arc::clone(&shared);
            match std::thread::Builder::new().name("classifier".into()).spawn(move || run(&worker, &jobs)) {
                Ok(thread) => {
                    *shared.queue.lock() = Some(queue);
                    *shared.thread.lock() = Some(thread);
                }
                Err(error) => shared.state.store(Arc::new(State::Failed(format!("its thread: {error}")))),
            }
        }
        Self { shared }
    }

    /// Takes over changed models. The cache is emptied, because its readings hold estimates for the old ones.
    pub fn configure(&self, models: &BTreeMap<String, config::Model>) {
        self.shared.priors.rcu(|priors| priors.with_models(models));
        self.shared.cache.lock().clear();
    }

    /// Takes over the head that `name` names (see [`Model::load_head`]) while running: prompts are read with it from
    /// now on. Blocks: reads a file.
    ///
    /// # Errors
    ///
    /// The classifier is not ready, or the file cannot be read or belongs to another encoder; the old head stays in
    /// force.
    pub fn swap_head(&self, name: &str) -> Result<(), LoadError> {
        let state = self.shared.state.load_full();
        let State::Ready(model) = &*state else { return Err(LoadError::NotReady) };
        let head = self.shared.load_head(model, name)?;
        self.shared.priors.rcu(|priors| priors.with_head(head.clone(), name != "builtin"));
        self.shared.cache.lock().clear();
        Ok(())
    }

    /// The configured budget of a reading.
    pub fn budget(&self) -> Duration {
        Duration::from_millis(self.shared.settings.budget_ms)
    }

    /// Reads `request`, waiting at most `budget`. A prompt whose future was dropped is skipped when its turn comes.
    ///
    /// # Errors
    ///
    /// The reason why there is no reading.
    pub async fn read(&self, request: &ChatRequest, budget: Duration) -> Result<Arc<Reading>, Missed> {
        let result = self.try_read(request, budget).await;
        match &result {
            Ok(reading) => {
                // What is cached is counted where it is found.
                if !reading.cached {
                    self.shared.counters.read(reading.shortened);
                }
                self.shared.counters.timely(true);
            }
            Err(missed) => {
                self.shared.counters.missed(missed);
                if !budget.is_zero() && matches!(missed, Missed::Busy | Missed::TooSlow) {
                    self.shared.counters.timely(false);
                }
            }
        }
        result
    }

    async fn try_read(&self, request: &ChatRequest, budget: Duration) -> Result<Arc<Reading>, Missed> {
        let asked = Instant::now();
        match &**self.shared.state.load() {
            State::Ready(_) => {}
            State::Disabled => return Err(Missed::Disabled),
            State::Loading(_) => return Err(Missed::Loading),
            State::Failed(reason) => return Err(Missed::Failed(reason.clone())),
            State::Stopped => return Err(Missed::Failed("it is stopped".into())),
        }
        if self.shared.priors.load().head().is_none() {
            return Err(Missed::NoHead);
        }
        if budget.is_zero() {
            return Err(Missed::TooSlow);
        }
        let max_tokens = self.shared.settings.max_tokens;
        let prompt = Prompt::of(request);
        if prompt.question.is_empty() {
            return Err(Missed::NoWords);
        }
        let key = prompt.key(max_tokens);
        let hit = self.shared.cache.lock().get(&key);
        if let Some(hit) = hit {
            self.shared.counters.cached();
            return Ok(Arc::new(Reading { cached: true, took: asked.elapsed(), ..Reading::clone(&hit) }));
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { prompt, key, asked, until: asked + budget.min(LONGEST), answer };
        self.shared.put(job)?;
        match tokio::time::timeout(budget, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Missed::Failed("the reading ended without an answer".into())),
            Err(_) => Err(Missed::TooSlow),
        }
    }

    /// The estimate for `model` without a reading of the prompt.
    pub fn prior(&self, model: &str) -> Estimate {
        self.shared.priors.load().estimate(model)
    }

    /// The state as a word for `/health`; a classifier without a head is not simply ready.
    pub fn state_word(&self) -> &'static str {
        let has_head = self.shared.priors.load().head().is_some();
        if self.is_ready() && !has_head { "ready, without a head" } else { self.status().state }
    }

    /// Whether its model is loaded.
    pub fn is_ready(&self) -> bool {
        matches!(&**self.shared.state.load(), State::Ready(_))
    }

    /// Whether the model is still being loaded: the one state that passes by itself.
    pub fn is_loading(&self) -> bool {
        matches!(&**self.shared.state.load(), State::Loading(_))
    }

    /// Waits until the model is loaded, or is known not to be.
    pub async fn settled(&self) {
        while self.is_loading() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The status.
    pub fn status(&self) -> ClassifierStatus {
        let (state, reason, model) = match &**self.shared.state.load() {
            State::Disabled => ("disabled", None, None),
            State::Loading(reason) => ("loading", reason.clone(), None),
            State::Ready(model) => ("ready", self.shared.headless.lock().clone(), Some(model.info().clone())),
            State::Failed(reason) => ("failed", Some(reason.clone()), None),
            State::Stopped => ("stopped", None, None),
        };
        let cached = self.shared.cache.lock().len();
        let priors = self.shared.priors.load();
        let head = priors.head().map(|head| head.description());
        let head = head.map(|described| (described.name.clone(), described.space.clone()));
        let counters = &self.shared.counters;
        let (counts, in_time) = (counters.now(), counters.in_time());
        ClassifierStatus { state, reason, model, head, counts, in_time, cached }
    }

    /// Stops: later requests get [`Missed::Failed`], what is in the queue is still read, and the thread is joined
    /// unless that takes longer than `deadline` (a running download is not waited for).
    pub async fn stop(&self, deadline: Duration) {
        self.shared.state.store(Arc::new(State::Stopped));
        drop(self.shared.queue.lock().take());
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            let _ = tokio::time::timeout(deadline, joined).await;
        }
    }
}

impl Shared {
    /// Loads the head that `name` names; on failure, remembers the reason if no head was in force.
    fn load_head(&self, model: &Model, name: &str) -> Result<Option<Arc<Head>>, LoadError> {
        let loaded = model.load_head(name);
        if self.priors.load().head().is_none() {
            *self.headless.lock() = match &loaded {
                Ok(None) if name == "builtin" => Some("the builtin head is for the builtin model only".into()),
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            };
        }
        Ok(loaded?.map(Arc::new))
    }

    /// Puts a prompt into the queue.
    fn put(&self, job: Job) -> Result<(), Missed> {
        let queue = self.queue.lock();
        let Some(queue) = queue.as_ref() else { return Err(Missed::Failed("it is stopped".into())) };
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Missed::Busy,
            TrySendError::Disconnected(_) => Missed::Failed("its thread has ended".into()),
        })
    }
}

/// The thread: load, warm up, serve.
fn run(shared: &Shared, jobs: &Receiver<Job>) {
    let started = Instant::now();
    // On a thread of its own, because the memory that loading needs goes back to the system when that thread ends.
    let load = || {
        let model = Model::load(&shared.settings)?;
        model.warm_up()?;
        // Without a head it serves all the same: one may be named later.
        let head = shared.load_head(&model, &shared.settings.head).unwrap_or_else(|error| {
            tracing::error!(head = %shared.settings.head, %error, "The head of classifier.head cannot be used; there is none until another one is configured");
            None
        });
        Ok((model, head))
    };
    let mut pause = PAUSE;
    let (model, head) = loop {
        let loaded = std::thread::scope(|scope| {
            let loading = scope.spawn(load).join();
            loading.unwrap_or_else(|_| Err(LoadError::Panicked))
        });
        match loaded {
            Ok((model, head)) => break (Arc::new(model), head),
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, again_s = pause.as_secs(), "The classifier's model cannot be fetched yet; routing goes on without it");
                enter(shared, State::Loading(Some(error.to_string())));
                // The queue is closed when it is stopped; nothing comes through it before it is ready.
                if let Err(RecvTimeoutError::Disconnected) = jobs.recv_timeout(pause) {
                    return;
                }
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(error) => return give_up(shared, &error),
        }
    };
    let is_own = shared.settings.head != "builtin";
    shared.priors.rcu(|priors| priors.with_head(head.clone(), is_own));
    let took_ms = started.elapsed().as_millis() as u64;
    let info = model.info();
    tracing::info!(model = %info.name, device = %info.device, took_ms, "The classifier is ready");
    enter(shared, State::Ready(Arc::clone(&model)));
    let (mut waiting, mut pace) = (VecDeque::new(), Pace::default());
    loop {
        let first = if waiting.is_empty() { jobs.recv().ok() } else { None };
        if first.is_none() && waiting.is_empty() {
            return;
        }
        // A panic must not end the thread; the prompts of this batch get an error.
        let served = catch_unwind(AssertUnwindSafe(|| serve(shared, &model, first, jobs, &mut waiting, &mut pace)));
        if served.is_err() {
            tracing::error!("The classifier panicked while reading a batch; the line before says where");
        }
    }
}

/// Sets the state, unless the classifier was stopped meanwhile.
fn enter(shared: &Shared, state: State) {
    let before = shared.state.swap(Arc::new(state));
    if matches!(&*before, State::Stopped) {
        shared.state.store(before);
    }
}

fn give_up(shared: &Shared, error: &LoadError) {
    tracing::error!(%error, "The classifier does not start; routing goes on without it");
    shared.state.store(Arc::new(State::Failed(error.to_string())));
}

/// Reads one batch of those that wait: what is left of earlier ones, `first`, and what is behind it in the queue.
fn serve(
    shared: &Shared,
    model: &Model,
    first: Option<Job>,
    jobs: &Receiver<Job>,
    waiting: &mut VecDeque<Waiting>,
    pace: &mut Pace,
) {
    let max_tokens = shared.settings.max_tokens;
    let mut late = Vec::new();
    let mut arriving = first.into_iter().chain(jobs.try_iter());
    while waiting.len() < AHEAD
        && let Some(job) = arriving.next()
    {
        if job.answer.is_closed() {
            shared.counters.abandoned();
            continue;
        }
        if job.until <= Instant::now() {
            late.push(job);
            continue;
        }
        match model.tokenize(&job.prompt, max_tokens) {
            Ok(tokens) => waiting.push_back(Waiting { job, tokens, shortened: false }),
            Err(error) => drop(job.answer.send(Err(Missed::Failed(error.to_string())))),
        }
    }
    let turn = turns::next(waiting, pace, max_tokens, Instant::now());
    (0..turn.gone).for_each(|_| shared.counters.abandoned());
    // Once for all of them: a queue full of late prompts is one observation, not sixty.
    late.extend(turn.late);
    if turn.batch.is_empty() && !late.is_empty() {
        pace.doubt();
    }
    for job in late {
        let _ = job.answer.send(Err(Missed::TooSlow));
    }
    let mut batch = Vec::new();
    for Waiting { job, tokens, .. } in turn.batch {
        let whole = tokens.ids.len() <= turn.limit;
        match if whole { Ok(tokens) } else { model.tokenize(&job.prompt, turn.limit) } {
            Ok(tokens) => batch.push(Waiting { job, tokens, shortened: !whole }),
            Err(error) => drop(job.answer.send(Err(Missed::Failed(error.to_string())))),
        }
    }
    if !batch.is_empty() {
        read(shared, model, batch, &shared.priors.load_full(), pace);
    }
}

/// Reads a batch and answers all its requests.
fn read(shared: &Shared, model: &Model, batch: Vec<Waiting>, priors: &Arc<Priors>, pace: &mut Pace) {
    let Some(head) = priors.head() else {
        // The head was removed while they waited.
        for one in batch {
            let _ = one.job.answer.send(Err(Missed::NoHead));
        }
        return;
    };
    let tokens: usize = batch.iter().map(|one| one.tokens.ids.len()).sum();
    let began = Instant::now();
    match model.read(batch.iter().map(|one| (&one.job.prompt, &one.tokens)), head, priors) {
        Ok(readings) => {
            let took = began.elapsed();
            pace.observe(tokens, took, began + took);
            shared.counters.batch(tokens, took);
            for (one, reading) in batch.into_iter().zip(readings) {
                let Waiting { job, shortened, .. } = one;
                let reading = Arc::new(Reading { shortened, took: job.asked.elapsed(), ..reading });
                // Estimates for models that have changed since must not be cached, nor half a reading kept for when
                // there is time for a whole one.
                let mut cache = shared.cache.lock();
                if !shortened && Arc::ptr_eq(priors, &shared.priors.load_full()) {
                    cache.put(job.key, Arc::clone(&reading));
                }
                drop(cache);
                if job.answer.send(Ok(reading)).is_err() {
                    shared.counters.abandoned();
                }
            }
        }
        // A prompt whose states are not finite must not fail the others: each is read alone.
        Err(_) if batch.len() > 1 => batch.into_iter().for_each(|one| read(shared, model, vec![one], priors, pace)),
        Err(error) => {
            tracing::error!(%error, "The classifier could not read a prompt");
            for one in batch {
                let _ = one.job.answer.send(Err(Missed::Failed(error.to_string())));
            }
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
