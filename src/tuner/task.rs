//! The learner's one task: takes in judgements, retunes, watches the guard rails, carries out commands.
//!
//! One after the other, each off the async threads: the live policy has one writer. What takes long (a retune walks the
//! log) makes others wait here, and nobody who answers requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::budget::Budgets;
use super::error::LearnError;
use super::gate::{Knowledge, Ruling};
use super::guard;
use super::hindsight::{Counterfactual, Hindsight};
use super::lesson::{self, Lesson, ON_ITS_WAY_MS};
use super::live::{self, LivePolicy, State, Switches, TakenIn, audit, bandit_settings};
use super::retune::{self, Proposal};
use super::shared::{Command, LearnerStatus, Ordered, Shared};
use super::tally::{Part, Tally, is_by_policy};
use super::trained_on::TrainedOn;
use crate::bandit::Snapshot;
use crate::config::{Bandit, LearningMode};
use crate::protocol::DecisionId;
use crate::store::{AHEAD_MS, LogSize, Order, SnapshotState, Span, StoreError};

/// How often it looks whether something is due.
const TICK: Duration = Duration::from_millis(500);

/// Retunes rest so many times as long as they worked: they take a twentieth of a core at most...
const REST_PER_WORK: u32 = 20;

/// ...and at least so long, since each version brought to disk holds up feedback that waits for the disk.
const LEAST_REST: Duration = Duration::from_secs(5);

/// How often guard rails are looked at and the budget's state is kept.
const WATCH_EVERY: Duration = Duration::from_secs(10);

/// How often what the live policy has taken in is kept, if it has taken in anything.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Judgements taken in at once.
const BATCH: usize = 512;

/// Most decisions that guard rails look at.
const LOOK_AT: usize = 20_000;

/// Newest decisions among which one is looked for whose prompt was read.
const NEWEST: usize = 100;

/// The task's state; [`LearnerTask::run`] is the task.
pub struct LearnerTask {
    worker: Option<Worker>,
    orders: mpsc::Receiver<Ordered>,
}

/// What moves between the task and the thread that does the work.
struct Worker {
    shared: Arc<Shared>,
    /// Which judgements the live policy has. Signals are none: a rating of an answer that only had one is news.
    taken_in: TakenIn,
    /// Judgements since the last retune.
    new: u64,
    /// When the last retune ended; `None` = none yet, and one is due if the log holds anything.
    retuned: Option<Instant>,
    /// How long the next one waits at least, however much is new.
    rest_until_next: Duration,
    /// What the log held when guard rails last looked at it.
    size_at_watch: Option<LogSize>,
    /// What it held at the last retune.
    size_at_retune: Option<LogSize>,
    /// The version and revision that were kept last, and when.
    kept: Option<(u64, u64, Instant)>,
    /// The settings of exploring and forgetting that the live policy has.
    bandit: Bandit,
    /// How often the database had been opened anew when it was last looked at.
    revivals: u64,
}

/// One thing to do.
enum Job {
    TakeIn(Vec<DecisionId>),
    Retune,
    Watch,
    /// Takes over changed settings of exploring and forgetting.
    ApplySettings,
    Stop,
    Execute(Ordered),
}

impl LearnerTask {
    pub(super) fn new(shared: Arc<Shared>, taken_in: TakenIn, orders: mpsc::Receiver<Ordered>) -> Self {
        // What was judged before the start is in the log and waits for the first retune.
        Self { worker: Some(Worker::new(shared, taken_in, None)), orders }
    }

    /// Works until `stopped`. `news` are decisions of which something new is known.
    pub async fn run(
        mut self,
        mut news: mpsc::Receiver<DecisionId>,
        budgets: Arc<Budgets>,
        stopped: impl Future<Output = ()>,
    ) {
        let mut stopped = std::pin::pin!(stopped);
        let mut watched = Instant::now();
        // An interval and not a sleep: news without pause must not put it off for ever.
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ids = Vec::new();
        loop {
            let job = tokio::select! {
                () = &mut stopped => break,
                Some(order) = self.orders.recv() => Job::Execute(order),
                count = news.recv_many(&mut ids, BATCH), if !news.is_closed() || !news.is_empty() => match count {
                    0 => continue,
                    _ => Job::TakeIn(std::mem::take(&mut ids)),
                },
                _ = ticks.tick() => match &self.worker {
                    Some(worker) if worker.has_other_settings() => Job::ApplySettings,
                    Some(worker) if worker.is_due() => Job::Retune,
                    _ if watched.elapsed() >= WATCH_EVERY => {
                        watched = Instant::now();
                        Job::Watch
                    }
                    _ => continue,
                },
            };
            self.carry_out(job, &budgets).await;
        }
        self.carry_out(Job::Stop, &budgets).await;
    }

    /// Does one thing off the async threads.
    async fn carry_out(&mut self, job: Job, budgets: &Arc<Budgets>) {
        let Some(mut worker) = self.worker.take() else { return };
        let shared = Arc::clone(&worker.shared);
        let budgets = Arc::clone(budgets);
        let done = tokio::task::spawn_blocking(move || {
            worker.work(job, &budgets, now_ms());
            worker
        });
        self.worker = Some(match done.await {
            Ok(worker) => worker,
            Err(error) => {
                // The policy in force is whole: it is swapped as one. Only what was being worked out is lost.
                tracing::error!(%error, "The learner ended in a panic; the policy stays as it is");
                Worker::new(shared, TakenIn::until(now_ms()), Some(Instant::now()))
            }
        });
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, taken_in: TakenIn, retuned: Option<Instant>) -> Self {
        let bandit = shared.settings.load().bandit;
        Self {
            shared,
            taken_in,
            new: 1,
            retuned,
            rest_until_next: LEAST_REST,
            size_at_watch: None,
            size_at_retune: None,
            kept: None,
            bandit,
            revivals: 0,
        }
    }

    fn is_due(&self) -> bool {
        let settings = self.shared.settings.load();
        let Some(retuned) = self.retuned else { return settings.enabled && self.new > 0 };
        let waited = retuned.elapsed();
        let enough = self.new >= settings.min_feedback && waited >= self.rest_until_next;
        settings.enabled && self.new > 0 && (enough || waited >= Duration::from_secs(settings.interval_s))
    }

    /// Does one thing, at `now_ms` (Unix).
    fn work(&mut self, job: Job, budgets: &Budgets, now_ms: i64) {
        let done = match job {
            Job::TakeIn(ids) => self.take_in(&ids, now_ms).map_err(LearnError::from),
            Job::Retune => {
                // First the live version is judged: one that is to be taken back must not be followed by its own child.
                let watched = self.watch(now_ms);
                self.retune(now_ms).and(watched)
            }
            Job::Watch => {
                let kept = self.keep_up(budgets, now_ms);
                self.notice_repeated_questions();
                self.watch(now_ms).and(kept.map_err(LearnError::from))
            }
            Job::ApplySettings => {
                self.apply_settings();
                Ok(())
            }
            Job::Stop => {
                let kept = budgets.keep(&self.shared.store);
                self.save_state(Duration::ZERO).and(kept).map_err(LearnError::from)
            }
            Job::Execute(Ordered { command, who, reply }) => {
                let done = self.execute(command, &who, now_ms);
                if let Err(error) = &done {
                    tracing::warn!(%error, who, ?command, "A command to the learner was not carried out");
                }
                // Nobody may be waiting any more.
                drop(reply.send(done));
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::error!(%error, "The learner could not do its work; it tries again later");
        }
        self.shared.last.lock().new = self.new;
    }

    /// What is due every few seconds besides looking at guard rails: the store, the times and the head are as they should be,
    /// and what is to outlive a crash is on disk.
    fn keep_up(&mut self, budgets: &Budgets, now_ms: i64) -> Result<(), StoreError> {
        let health = self.shared.store.health();
        if health.revivals != self.revivals {
            if health.failing.is_none() && self.shared.restore_after_revival(now_ms)? {
                self.kept = None;
            }
            self.revivals = health.revivals;
        }
        self.shared.set_times_right(now_ms)?;
        if self.taken_in.until_ms > now_ms + AHEAD_MS {
            // That clock was ahead, too: what is judged from now on is news.
            self.taken_in.until_ms = now_ms;
        }
        budgets.keep(&self.shared.store)?;
        self.follow_head(now_ms)?;
        self.save_state(KEEP_EVERY)
    }

    /// That a question was put again is in the log a while after its answer, and no news tell of it.
    fn notice_repeated_questions(&mut self) {
        let settings = self.shared.settings.load();
        let speaks = settings.reward.asked_again.is_some() && settings.reward.signal_weight > 0.0;
        if speaks && self.size_at_retune.is_some_and(|size| size != self.shared.store.log_size()) {
            self.new = self.new.max(1);
        }
    }

    /// Moves the live policy by what was said of some decisions.
    fn take_in(&mut self, ids: &[DecisionId], now_ms: i64) -> Result<(), StoreError> {
        let settings = self.shared.settings.load_full();
        if !settings.enabled {
            return Ok(());
        }
        let mut lessons = Vec::new();
        let once: BTreeSet<&DecisionId> = ids.iter().collect();
        for id in once {
            let Some(entry) = self.shared.store.entry(*id)? else { continue };
            if entry.outcome.is_none() && !entry.decision.request.dry_run {
                // Judged before its end: whose answer it will have been is not known yet. Of the end there will be news.
                continue;
            }
            let Some(lesson) = Lesson::of(&entry, false, &settings.reward) else { continue };
            if lesson.signal.is_some() {
                // What it says depends on how often others have it: the next retune weighs it.
                self.new = self.new.max(1);
                continue;
            }
            // A judgement that changes an earlier one holds from the next retune on.
            self.new += 1;
            if !self.taken_in.counted.contains(id) && lesson.learnable_at_ms > self.taken_in.until_ms {
                lessons.push(lesson);
            }
        }
        if lessons.iter().any(|lesson| !lesson.fits(self.shared.live.load().policy.space())) {
            self.follow_head(now_ms)?;
        }
        let pinned = self.shared.switches.load().pinned.is_some();
        if settings.online && !pinned && !lessons.is_empty() {
            self.learn(&lessons);
        }
        Ok(())
    }

    /// Moves the live policy by judgements that it does not have.
    fn learn(&mut self, lessons: &[Lesson]) {
        self.taken_in.counted.extend(lessons.iter().map(|lesson| lesson.id));
        let live = retune::take_in(&self.shared.live.load(), lessons);
        self.shared.live.store(Arc::new(live));
    }

    /// Lets the live policy begin anew where the newest prompts were read by another head than it learned beside. What was
    /// judged beside this one before is in the log, and waits for a retune as after a start.
    fn follow_head(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let (mut newest, mut looked_at) = (None, 0);
        self.shared.store.walk(&Span::up_to(now_ms), Order::Newest, |entry| {
            looked_at += 1;
            let decision = entry.decision;
            newest = (!decision.features.is_empty()).then_some((decision.feature_space, decision.features.len()));
            newest.is_none() && looked_at < NEWEST
        })?;
        let live = self.shared.live.load_full();
        let anew = newest.and_then(|(space, features)| retune::begin_anew(&live, &space, features));
        if let Some(anew) = anew {
            let (anew, until_ms) = self.known_beside(&anew)?.unwrap_or((anew, i64::MIN));
            let (version, space, judgements) = (live.policy.version, anew.policy.space(), anew.policy.learned_from());
            tracing::info!(
                version,
                space,
                judgements,
                "The classifier has another head; the policy begins anew beside it"
            );
            self.shared.live.store(Arc::new(anew));
            self.taken_in = TakenIn::until(until_ms);
            (self.kept, self.retuned, self.new) = (None, None, self.new.max(1));
        }
        Ok(())
    }

    /// What the newest version that was in force beside the same head knew, and until when it had taken_in: it may have been
    /// there before.
    fn known_beside(&self, anew: &LivePolicy) -> Result<Option<(LivePolicy, i64)>, StoreError> {
        let store = &self.shared.store;
        for record in store.snapshots()?.iter().filter(|record| record.state == SnapshotState::Promoted) {
            let known = store.policy::<Snapshot>(record.version)?;
            if let Some(mut policy) = known.filter(|policy| policy.space() == anew.policy.space()) {
                policy = live::under(policy, *anew.policy.settings());
                policy.version = anew.policy.version;
                return Ok(Some((LivePolicy::new(policy, 0), record.made_at_ms)));
            }
        }
        Ok(None)
    }

    /// Keeps the live policy and what it has taken in, if there is anything new and the last time is so long ago.
    fn save_state(&mut self, every: Duration) -> Result<(), StoreError> {
        let live = self.shared.live.load_full();
        let now = (live.policy.version, live.revision, Instant::now());
        let is_due = |(version, revision, at): (u64, u64, Instant)| {
            (version, revision) != (now.0, now.1) && at.elapsed() >= every
        };
        if self.kept.is_none_or(is_due) {
            State::save(&self.shared.store, &live, &self.taken_in)?;
            self.kept = Some(now);
        }
        Ok(())
    }

    fn has_other_settings(&self) -> bool {
        self.shared.settings.load().bandit != self.bandit
    }

    /// Lets the live policy explore and forget as it is configured now.
    fn apply_settings(&mut self) {
        self.bandit = self.shared.settings.load().bandit;
        let live = self.shared.live.load();
        let policy = live::under(live.policy.clone(), bandit_settings(&self.bandit));
        self.shared.live.store(Arc::new(LivePolicy::new(policy, live.revision)));
    }

    /// Takes in what was judged beside this head and the live policy does not have.
    fn catch_up(&mut self, lessons: &[Lesson]) {
        let live = self.shared.live.load_full();
        let lessons = match live.policy.space() {
            "" => retune::of_newest_head(lessons),
            space => retune::of_head(lessons, space),
        };
        let unheard = |lesson: &&Lesson| lesson.signal.is_none() && !self.taken_in.counted.contains(&lesson.id);
        let (newer, known): (Vec<&Lesson>, Vec<&Lesson>) =
            lessons.iter().filter(unheard).partition(|lesson| lesson.learnable_at_ms > self.taken_in.until_ms);
        let known: Vec<DecisionId> = known.iter().map(|lesson| lesson.id).collect();
        let newer: Vec<Lesson> = newer.into_iter().cloned().collect();
        self.taken_in.counted.extend(known);
        let pinned = self.shared.switches.load().pinned.is_some();
        if !newer.is_empty() && !pinned && self.shared.settings.load().online {
            self.learn(&newer);
        }
    }

    /// A new policy from the log, and in force if the rule says so.
    fn retune(&mut self, read_at_ms: i64) -> Result<Proposal, LearnError> {
        let began = Instant::now();
        let settings = self.shared.settings.load_full();
        let store = self.shared.store.clone();
        // Whatever comes of it, the next try waits for its time.
        self.retuned = Some(began);
        self.size_at_retune = Some(store.log_size());
        let collected = lesson::collect(&store, &Span::up_to(read_at_ms), settings.window, &settings.reward)?;
        let lessons = &collected.learned;
        self.follow_head(read_at_ms)?;
        self.retuned = Some(began);
        self.catch_up(lessons);
        let live = self.shared.live.load_full();
        let knowledge = self.knowledge_of(&live)?;
        let known = (&live.policy, &knowledge);
        let mut proposal = retune::propose(&collected, known, bandit_settings(&settings.bandit), &settings.gate)?;
        self.new = 0;
        if let Some(why) = self.shared.switches.load().frozen(read_at_ms) {
            proposal.wait(why);
        } else if proposal.ruling == Ruling::Promote && !self.is_proven(live.policy.version)? {
            proposal.wait("the live version has not shown itself yet");
        }
        let same = self.newest_like(&proposal.policy)?;
        let takes_over = proposal.ruling == Ruling::Promote && same != Some(live.policy.version);
        let is_new = !lessons.is_empty() && (same.is_none() || takes_over);
        if is_new {
            // That took a while, and what was answered meanwhile was the version's before.
            self.shared.publish(&mut proposal, live.policy.version, read_at_ms, now_ms())?;
        } else if let Some(version) = same {
            proposal.policy.version = version;
        }
        if proposal.ruling == Ruling::Promote && is_new {
            let judged = lessons.iter().filter(|lesson| lesson.signal.is_none());
            let counted = judged.map(|lesson| lesson.id).collect();
            self.taken_in = TakenIn { until_ms: read_at_ms - ON_ITS_WAY_MS, counted };
        } else if let Some(oldest) = lessons.first() {
            // What is out of the window is hardly judged again.
            self.taken_in.counted.retain(|id| *id >= oldest.id);
        }
        self.rest_until_next = (began.elapsed() * REST_PER_WORK).max(LEAST_REST);
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        let (version, reason) = (proposal.policy.version, &proposal.reason);
        let result = match proposal.ruling {
            _ if lessons.is_empty() && store.newest_ms()? >= Span::up_to(read_at_ms).until_ms => {
                "nothing is judged yet, but for what the log has of times still to come: was the clock set back?"
                    .to_owned()
            }
            _ if lessons.is_empty() => "nothing in the log is judged yet".to_owned(),
            _ if !is_new => format!("nothing is new since version {version}"),
            Ruling::Promote => format!("version {version} took over: {reason}"),
            Ruling::Wait => format!("version {version} waits: {reason}"),
            Ruling::Refuse => format!("version {version} was refused: {reason}"),
        };
        tracing::info!(lessons = lessons.len(), took_ms, result, "Retuned");
        let mut last = self.shared.last.lock();
        (last.at_ms, last.took_ms, last.result) = (Some(now_ms()), took_ms, result);
        drop(last);
        Ok(proposal)
    }

    /// The newest version, if it is the same policy: made of the same log, as after a start.
    fn newest_like(&self, policy: &Snapshot) -> Result<Option<u64>, StoreError> {
        let store = &self.shared.store;
        let Some(version) = store.snapshots()?.iter().map(|record| record.version).max() else { return Ok(None) };
        let Some(mut newest) = store.policy::<Snapshot>(version)? else { return Ok(None) };
        newest.version = policy.version;
        Ok((newest == *policy).then_some(version))
    }

    /// How much of the log a policy has learned from: what its version was made of, and what it has taken in since.
    fn knowledge_of(&self, live: &LivePolicy) -> Result<Knowledge, StoreError> {
        let store = &self.shared.store;
        if live.policy.learned_from() <= live.revision {
            return Ok(Knowledge::only_since(live.revision));
        }
        let trained_on = TrainedOn::load(store, &live.policy)?;
        let since_ms =
            store.snapshot(live.policy.version)?.map_or(i64::MIN, |record| record.made_at_ms - ON_ITS_WAY_MS);
        Ok(Knowledge { trained_on, since_ms, judgements: live.revision })
    }

    /// Takes the live policy back if requests under it do worse than those before.
    fn watch(&mut self, now_ms: i64) -> Result<(), LearnError> {
        let guard = self.shared.settings.load().guard;
        let store = &self.shared.store;
        let live = self.shared.live.load_full();
        let version = live.policy.version;
        if !guard.enabled || self.shared.switches.load().frozen(now_ms).is_some() {
            return Ok(());
        }
        let size = store.log_size();
        if self.size_at_watch.replace(size) == Some(size) {
            // Nothing has happened since.
            return Ok(());
        }
        let Some(since_ms) = self.shared.tried_since_ms(version)? else { return Ok(()) };
        let Some(back_to) = self.shared.before(version)? else { return Ok(()) };
        let tally = || Tally::of(guard.window);
        let (mut before, mut after, mut instead) = (tally(), tally(), Hindsight::default());
        let mut looked_at = 0;
        store.walk(&Span::default(), Order::Newest, |entry| {
            looked_at += 1;
            if entry.decision.at_ms < since_ms {
                if let Some(part) = before.part(&entry) {
                    before.add(part, 1.0);
                }
            } else {
                let (chosen, would) =
                    (&entry.decision.chosen, || Counterfactual::of(&entry, &back_to.policy, &live.policy));
                if let Some(part) = after.part(&entry) {
                    after.add(part, 1.0);
                    instead.add(chosen, part, &would());
                } else if let Some(part) = Part::of(&entry).filter(|_| instead.listens_to(chosen)) {
                    // What is hardly asked any more was judged a while ago.
                    instead.hear(chosen, part, &would());
                }
            }
            !before.is_full() && looked_at < LOOK_AT
        })?;
        let Some(why) = guard::objection(&before, &after, &instead, &guard) else { return Ok(()) };
        tracing::error!(version, why, "A guard rail takes the policy back");
        self.move_to(now_ms, |shared| shared.roll_back("tuner", &why, now_ms))
    }

    /// Whether a version has made as many choices, of which the end or a judgement is known, as guard rails must see of it.
    /// Were it replaced before, they would begin anew with each version and never speak; what it learns meanwhile it learns
    /// online.
    fn is_proven(&self, version: u64) -> Result<bool, StoreError> {
        let guard = self.shared.settings.load().guard;
        let (mode, rollout) = self.shared.mode();
        // What does not act shows nothing.
        if !guard.enabled || mode != LearningMode::Live || rollout <= 0.0 {
            return Ok(true);
        }
        let Some(since_ms) = self.shared.tried_since_ms(version)? else { return Ok(true) };
        let (mut choices, mut looked_at) = (0, 0);
        self.shared.store.walk(&Span::default(), Order::Newest, |entry| {
            let is_since = entry.decision.at_ms >= since_ms;
            let is_told = entry.outcome.is_some() || !entry.feedback.is_empty();
            choices += usize::from(is_since && is_told && is_by_policy(&entry.decision));
            looked_at += 1;
            is_since && choices < guard.min_requests && looked_at < LOOK_AT
        })?;
        Ok(choices >= guard.min_requests)
    }

    /// Puts perhaps another version in force, which has heard nothing of what was said until now.
    fn move_to(
        &mut self,
        now_ms: i64,
        change: impl FnOnce(&Shared) -> Result<(), LearnError>,
    ) -> Result<(), LearnError> {
        let from = self.shared.version();
        let done = change(&self.shared);
        if self.shared.version() != from {
            self.taken_in = TakenIn::until(now_ms);
        }
        // At once: whoever comes back with the version alone would learn what it is not to have.
        self.kept = None;
        self.save_state(Duration::ZERO)?;
        done
    }

    fn execute(&mut self, command: Command, who: &str, now_ms: i64) -> Result<LearnerStatus, LearnError> {
        match command {
            Command::Retune => {
                let version = self.retune(now_ms)?.policy.version;
                // Where nothing is judged yet, no version was made.
                if version > 0 {
                    audit(&self.shared.store, who, "policy.retune", version, json!(null), now_ms);
                }
            }
            Command::Promote(version) => {
                let (act, why) = ((who, "policy.promote"), format!("promoted by {who}"));
                self.move_to(now_ms, |shared| shared.put_in_force(version, act, &why, now_ms))?;
                self.shared.switch(|switches| Switches { hold_until_ms: None, pinned: None, ..switches })?;
            }
            Command::Pin(version) => {
                let (act, why) = ((who, "policy.pin"), format!("pinned by {who}"));
                self.move_to(now_ms, |shared| shared.put_in_force(version, act, &why, now_ms))?;
                self.shared.switch(|switches| Switches { pinned: Some(version), ..switches })?;
            }
            Command::Unpin => {
                self.shared.switch(|switches| Switches { pinned: None, hold_until_ms: None, ..switches })?;
                audit(&self.shared.store, who, "policy.unpin", self.shared.version(), json!(null), now_ms);
            }
            Command::Rollback => {
                self.move_to(now_ms, |shared| shared.roll_back(who, &format!("rolled back by {who}"), now_ms))?;
            }
            Command::Mode(mode, rollout) => {
                let settings = self.shared.settings.load();
                let configured = Some((settings.mode, settings.rollout));
                let rollout = rollout.unwrap_or(self.shared.mode().1);
                self.shared.switch(|switches| Switches {
                    mode: Some(mode),
                    rollout: Some(rollout),
                    configured,
                    ..switches
                })?;
                let detail = json!({ "mode": mode, "rollout": rollout });
                audit(&self.shared.store, who, "policy.mode", self.shared.version(), detail, now_ms);
            }
        }
        Ok(self.shared.status())
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl std::fmt::Debug for LearnerTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LearnerTask").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "task_guard_tests.rs"]
mod guard_tests;
