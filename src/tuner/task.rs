//! The learner's one task: takes in judgements, retunes, checks the guard rails, executes commands.
//!
//! One job after the other, each on a blocking thread: the live policy has one writer. A long job (a retune walks the
//! log) delays other jobs, and no request.

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
use super::lesson::{self, ARRIVAL_MS, Lesson};
use super::live::{self, LivePolicy, State, Switches, TakenIn, audit, bandit_settings};
use super::retune::{self, Proposal};
use super::shared::{Command, LearnerStatus, Ordered, Shared};
use super::tally::{Part, Tally, is_by_policy};
use super::trained_on::TrainedOn;
use crate::bandit::Snapshot;
use crate::config::{Bandit, LearningMode};
use crate::protocol::DecisionId;
use crate::store::{AHEAD_MS, LogSize, Order, SnapshotRecord, SnapshotState, Span, StoreError};

/// How often the task checks whether a job is due.
const TICK: Duration = Duration::from_millis(500);

/// Pause after a retune, as a multiple of the time it took: retunes use a twentieth of a core at most...
const REST_PER_WORK: u32 = 20;

/// ...and the shortest pause, since writing a version to disk delays feedback that waits for the disk.
const MIN_REST: Duration = Duration::from_secs(5);

/// How often guard rails are checked and the budgets' state is saved.
const WATCH_EVERY: Duration = Duration::from_secs(10);

/// How often the live policy is saved, if it has taken in anything.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Most judgements taken in at once.
const MAX_BATCH: usize = 512;

/// Most decisions that a check of the guard rails reads.
const MAX_READ: usize = 20_000;

/// How long after the start saved times ahead of now are left alone. Later, or once the clock was set back, they count
/// as times of a clock that was ahead; until then the clock may be behind, as that of a machine without a battery is
/// until the network sets it.
const CLOCK_SETTLES_AFTER: Duration = Duration::from_secs(600);

/// The result of a retune that has nothing to learn from.
const NOTHING_JUDGED: &str = "nothing in the decision log is judged yet, and try-outs become rare while nothing is";

/// Newest decisions that are searched for one whose prompt was read.
const NEWEST: usize = 100;

/// The task, to be [`run`](LearnerTask::run).
pub struct LearnerTask {
    worker: Option<Worker>,
    orders: mpsc::Receiver<Ordered>,
}

/// The task's state. It moves to a blocking thread for each job, and back.
struct Worker {
    shared: Arc<Shared>,
    /// Which judgements the live policy has taken in. Signals do not count: a rating of an answer that had only a
    /// signal is new.
    taken_in: TakenIn,
    /// Judgements since the last retune.
    new: u64,
    /// Whether a retune has something to do without any: what was judged before the start, signals, another head.
    due: bool,
    /// Time of the last retune; `None` = none yet, and one is due.
    retuned: Option<Instant>,
    /// Shortest pause before the next retune, however much is new.
    rest_until_next: Duration,
    /// Size of the log at the last check of the guard rails.
    size_at_watch: Option<LogSize>,
    /// Size of the log at the last retune.
    size_at_retune: Option<LogSize>,
    /// The version and revision that were saved last, and when.
    saved: Option<(u64, u64, Instant)>,
    /// The configured bandit settings that the live policy has.
    bandit: Bandit,
    /// How often the database had been reopened when it was last checked.
    revivals: Option<u64>,
    /// When the clock is taken to be right, see [`CLOCK_SETTLES_AFTER`].
    clock_settles_at: Instant,
    /// Whether it is told that the disk is full, and nothing was written since.
    is_told_full: bool,
    /// The time at the last job (Unix milliseconds), and when that was.
    clock: (i64, Instant),
}

enum Job {
    TakeIn(Vec<DecisionId>),
    Retune,
    /// Checks the guard rails, and saves what is due.
    Watch,
    /// Takes over changed bandit settings.
    ApplySettings,
    Stop,
    Execute(Ordered),
}

impl LearnerTask {
    pub(super) fn new(shared: Arc<Shared>, taken_in: TakenIn, orders: mpsc::Receiver<Ordered>) -> Self {
        // The first retune takes in what was judged before the start.
        Self { worker: Some(Worker::new(shared, taken_in, None)), orders }
    }

    /// Works until `stopped`. `changed` gives the decisions that got a judgement, a signal or an end.
    pub async fn run(
        mut self,
        mut changed: mpsc::Receiver<DecisionId>,
        budgets: Arc<Budgets>,
        stopped: impl Future<Output = ()>,
    ) {
        let mut stopped = std::pin::pin!(stopped);
        let mut watched = Instant::now();
        // An interval and not a sleep: a steady stream of judgements must not put off the ticks for ever.
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ids = Vec::new();
        loop {
            let job = tokio::select! {
                () = &mut stopped => break,
                Some(order) = self.orders.recv() => Job::Execute(order),
                count = changed.recv_many(&mut ids, MAX_BATCH), if !changed.is_closed() || !changed.is_empty() => match count {
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
            self.perform(job, &budgets).await;
        }
        self.perform(Job::Stop, &budgets).await;
    }

    /// Does one job on a blocking thread.
    async fn perform(&mut self, job: Job, budgets: &Arc<Budgets>) {
        let Some(mut worker) = self.worker.take() else { return };
        let shared = Arc::clone(&worker.shared);
        let budgets = Arc::clone(budgets);
        let done = tokio::task::spawn_blocking(move || {
            worker.perform(job, &budgets, now_ms());
            worker
        });
        self.worker = Some(match done.await {
            Ok(worker) => worker,
            Err(error) => {
                // The live policy is swapped as a whole, so it is intact; only the result of this job is lost.
                tracing::error!(%error, "A job of the learner ended in a panic; the policy stays as it is");
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
            new: 0,
            due: true,
            retuned,
            rest_until_next: MIN_REST,
            size_at_watch: None,
            size_at_retune: None,
            saved: None,
            bandit,
            revivals: None,
            clock_settles_at: Instant::now() + CLOCK_SETTLES_AFTER,
            is_told_full: false,
            clock: (now_ms(), Instant::now()),
        }
    }

    fn is_due(&self) -> bool {
        let settings = self.shared.settings.load();
        let new = self.new.max(u64::from(self.due));
        let Some(retuned) = self.retuned else { return settings.enabled && new > 0 };
        let waited = retuned.elapsed();
        let enough = new >= settings.min_feedback && waited >= self.rest_until_next;
        settings.enabled && new > 0 && (enough || waited >= Duration::from_secs(settings.interval_s))
    }

    /// Does one job at `now_ms` (Unix).
    fn perform(&mut self, job: Job, budgets: &Budgets, now_ms: i64) {
        if let Err(error) = self.follow_clock(now_ms) {
            tracing::error!(%error, "The end of the rollback's hold could not be saved");
        }
        let writes = matches!(job, Job::Retune | Job::Watch);
        let done = match job {
            Job::TakeIn(ids) => self.take_in(&ids, now_ms).map_err(LearnError::from),
            Job::Retune => {
                // Guard rails first: a version that is to be rolled back must not be followed by one trained under it.
                let watched = self.watch(now_ms);
                self.retune(now_ms).and(watched)
            }
            Job::Watch => {
                let maintained = self.maintain(budgets, now_ms);
                self.notice_repeated_questions();
                self.watch(now_ms).and(maintained.map_err(LearnError::from))
            }
            Job::ApplySettings => {
                self.apply_settings();
                Ok(())
            }
            Job::Stop => {
                let saved = budgets.save(&self.shared.store).and(self.shared.unjudged.save(&self.shared.store));
                self.save_state(Duration::ZERO).and(saved).map_err(LearnError::from)
            }
            Job::Execute(Ordered { command, who, reply }) => {
                let done = self.execute(command, &who, now_ms);
                if let Err(error) = &done {
                    tracing::warn!(%error, who, ?command, "A command to the learner was not executed");
                }
                // The caller may have left.
                drop(reply.send(done));
                Ok(())
            }
        };
        match done {
            Ok(()) if writes => self.is_told_full = false,
            Ok(()) => {}
            // The store tells of it, too, and the next try is in some seconds.
            Err(LearnError::Store(StoreError::Full)) if std::mem::replace(&mut self.is_told_full, true) => {}
            Err(error) => {
                if let LearnError::Store(error) = &error {
                    self.shared.store.note_if_damaged(error);
                }
                tracing::error!(%error, "The learner could not do its work; it tries again later");
            }
        }
        self.shared.last.lock().new = self.new;
    }

    fn is_clock_settled(&self) -> bool {
        Instant::now() >= self.clock_settles_at
    }

    /// Keeps a hold, and what the live policy has taken in, in place when the clock is set.
    fn follow_clock(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let (before_ms, at) = std::mem::replace(&mut self.clock, (now_ms, Instant::now()));
        let set_by_ms = now_ms - before_ms - at.elapsed().as_millis() as i64;
        if set_by_ms > AHEAD_MS {
            // All that is judged so far lies before the clock was set. The version in force has it, or is not to have
            // it.
            self.taken_in.until_ms = self.taken_in.until_ms.max(now_ms - 1);
        } else if set_by_ms < -AHEAD_MS {
            self.clock_settles_at = Instant::now();
        }
        self.shared.keep_hold(now_ms, self.is_clock_settled())
    }

    /// Maintenance every few seconds: restores the policy after the database was replaced, or had no room for it at the
    /// start, corrects times of a wrong clock, follows a change of head, and saves what must survive a crash.
    fn maintain(&mut self, budgets: &Budgets, now_ms: i64) -> Result<(), StoreError> {
        let health = self.shared.store.health();
        if self.revivals != Some(health.revivals) {
            if health.failing.is_none() && self.shared.restore_after_revival(now_ms)? {
                self.saved = None;
            }
            self.revivals = Some(health.revivals);
        }
        if self.is_clock_settled() {
            self.shared.set_times_right(now_ms)?;
            if self.taken_in.until_ms > now_ms + AHEAD_MS {
                // This time is of the wrong clock, too; judgements from now on are new.
                self.taken_in.until_ms = now_ms;
            }
        }
        budgets.save(&self.shared.store)?;
        self.follow_head(now_ms)?;
        self.save_state(SAVE_EVERY)?;
        self.shared.unjudged.save(&self.shared.store)
    }

    /// Makes a retune due where `asked_again` teaches and the log has grown: repeated questions are found only by
    /// walking the log.
    fn notice_repeated_questions(&mut self) {
        let settings = self.shared.settings.load();
        let teaches = settings.reward.asked_again.is_some() && settings.reward.signal_weight > 0.0;
        if teaches && self.size_at_retune.is_some_and(|size| size != self.shared.store.log_size()) {
            self.due = true;
        }
    }

    /// Takes the judgements of some decisions into the live policy.
    fn take_in(&mut self, ids: &[DecisionId], now_ms: i64) -> Result<(), StoreError> {
        let settings = self.shared.settings.load_full();
        let mut lessons = Vec::new();
        let once: BTreeSet<&DecisionId> = ids.iter().collect();
        for id in once {
            let Some(entry) = self.shared.store.entry(*id)? else { continue };
            if entry.outcome.is_none() && !entry.decision.request.dry_run {
                // Judged before the request ended: which model answers is not known yet. Its end will come as another
                // change.
                continue;
            }
            let Some(lesson) = Lesson::of(&entry, false, &settings.reward) else { continue };
            if lesson.signal.is_none() {
                // Whoever learns from it, here or offline: there is somebody who judges.
                self.shared.unjudged.begin_anew();
            }
            if !settings.enabled {
                continue;
            }
            if lesson.signal.is_some() {
                // A signal's weight depends on how often other models have it: the next retune computes that.
                self.due = true;
                continue;
            }
            // A judgement that replaces an earlier one counts from the next retune on.
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

    /// Updates the live policy with lessons that it has not taken in.
    fn learn(&mut self, lessons: &[Lesson]) {
        self.taken_in.counted.extend(lessons.iter().map(|lesson| lesson.id));
        let live = retune::take_in(&self.shared.live.load(), lessons);
        self.shared.live.store(Arc::new(live));
    }

    /// Lets the live policy begin anew where the newest prompts were read by another head than the one it learned with.
    /// A retune then takes in what the log has of the new head.
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
                "The classifier has another head; the policy begins anew with it"
            );
            self.shared.live.store(Arc::new(anew));
            self.taken_in = TakenIn::until(until_ms);
            // What was made out before holds no more: all is to be tried out again.
            self.shared.unjudged.begin_anew();
            (self.saved, self.retuned, self.due) = (None, None, true);
        }
        Ok(())
    }

    /// The last version that was in force with the same head as `anew`, and until when it had read the log: the head
    /// may have been in use before. Goes back from the version in force by what each one followed: a later version that
    /// an operator replaced by an earlier one stays out of force.
    fn known_beside(&self, anew: &LivePolicy) -> Result<Option<(LivePolicy, i64)>, StoreError> {
        let store = &self.shared.store;
        let all = store.snapshots()?;
        let promoted = |record: &&SnapshotRecord| record.state == SnapshotState::Promoted;
        let mut next = Some(anew.policy.version);
        while let Some(version) = next {
            let record = all.iter().find(|record| record.version == version);
            if let Some(record) = record.filter(promoted)
                && let Some(policy) = store.policy::<Snapshot>(version)?
                && policy.space() == anew.policy.space()
            {
                let mut policy = live::under(policy, *anew.policy.settings());
                policy.version = anew.policy.version;
                return Ok(Some((LivePolicy::new(policy, 0), record.made_at_ms)));
            }
            let followed = record.and_then(|record| {
                [record.replaced, record.parent].into_iter().find(|followed| (1..version).contains(followed))
            });
            let older = || all.iter().filter(promoted).map(|record| record.version).find(|older| *older < version);
            next = followed.or_else(older);
        }
        Ok(None)
    }

    /// Saves the live policy and what it has taken in, if it changed and was last saved `every` ago.
    fn save_state(&mut self, every: Duration) -> Result<(), StoreError> {
        let live = self.shared.live.load_full();
        let now = (live.policy.version, live.revision, Instant::now());
        let is_due = |(version, revision, at): (u64, u64, Instant)| {
            (version, revision) != (now.0, now.1) && at.elapsed() >= every
        };
        if self.saved.is_none_or(is_due) {
            State::save(&self.shared.store, &live, &self.taken_in)?;
            self.saved = Some(now);
        }
        Ok(())
    }

    fn has_other_settings(&self) -> bool {
        self.shared.settings.load().bandit != self.bandit
    }

    /// Gives the live policy the bandit settings that are configured now.
    fn apply_settings(&mut self) {
        self.bandit = self.shared.settings.load().bandit;
        let live = self.shared.live.load();
        let policy = live::under(live.policy.clone(), bandit_settings(&self.bandit));
        self.shared.live.store(Arc::new(LivePolicy::new(policy, live.revision)));
    }

    /// Takes in the judgements of the live policy's head that it does not have.
    fn catch_up(&mut self, lessons: &[Lesson]) {
        let live = self.shared.live.load_full();
        let lessons = match live.policy.space() {
            "" => retune::of_newest_head(lessons),
            space => retune::of_head(lessons, space),
        };
        let is_missing = |lesson: &&Lesson| lesson.signal.is_none() && !self.taken_in.counted.contains(&lesson.id);
        let (newer, known): (Vec<&Lesson>, Vec<&Lesson>) =
            lessons.iter().filter(is_missing).partition(|lesson| lesson.learnable_at_ms > self.taken_in.until_ms);
        let known: Vec<DecisionId> = known.iter().map(|lesson| lesson.id).collect();
        let newer: Vec<Lesson> = newer.into_iter().cloned().collect();
        self.taken_in.counted.extend(known);
        let pinned = self.shared.switches.load().pinned.is_some();
        if !newer.is_empty() && !pinned && self.shared.settings.load().online {
            self.learn(&newer);
        }
    }

    /// Trains a new policy on the log, and puts it in force if the gate promotes it.
    fn retune(&mut self, read_at_ms: i64) -> Result<Proposal, LearnError> {
        let began = Instant::now();
        let settings = self.shared.settings.load_full();
        let store = self.shared.store.clone();
        let is_first = self.size_at_retune.replace(store.log_size()).is_none();
        // Before anything can fail: the next try waits its time all the same.
        self.retuned = Some(began);
        let collected = lesson::collect(&store, &Span::up_to(read_at_ms), settings.window, &settings.reward)?;
        let lessons = &collected.learned;
        self.shared.unjudged.correct(collected.since_judged, &store, is_first)?;
        self.follow_head(read_at_ms)?;
        self.retuned = Some(began);
        self.catch_up(lessons);
        let live = self.shared.live.load_full();
        let knowledge = self.knowledge_of(&live, read_at_ms)?;
        let known = (&live.policy, &knowledge);
        let mut proposal = retune::propose(&collected, known, bandit_settings(&settings.bandit), &settings.gate)?;
        (self.new, self.due) = (0, false);
        if let Some(why) = self.shared.switches.load().frozen() {
            proposal.wait(why);
        } else if proposal.ruling == Ruling::Promote && !self.is_proven(live.policy.version, read_at_ms)? {
            proposal.wait("the live version has had too few requests yet (learning.guard.min_requests)");
        }
        let same = self.newest_like(&proposal.policy)?;
        let takes_over = proposal.ruling == Ruling::Promote && same != Some(live.policy.version);
        let is_new = !lessons.is_empty() && (same.is_none() || takes_over);
        if is_new {
            // The time is read anew: requests during the retune belong to the version before.
            self.shared.publish(&mut proposal, live.policy.version, read_at_ms, now_ms())?;
        } else if let Some(version) = same {
            proposal.policy.version = version;
        }
        if proposal.ruling == Ruling::Promote && is_new {
            let judged = lessons.iter().filter(|lesson| lesson.signal.is_none());
            let counted = judged.map(|lesson| lesson.id).collect();
            self.taken_in = TakenIn { until_ms: read_at_ms - ARRIVAL_MS, counted };
        } else if let Some(oldest) = lessons.first() {
            // Decisions older than the window are hardly judged again.
            self.taken_in.counted.retain(|id| *id >= oldest.id);
        }
        self.rest_until_next = (began.elapsed() * REST_PER_WORK).max(MIN_REST);
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        let (version, reason) = (proposal.policy.version, &proposal.reason);
        let result = match proposal.ruling {
            _ if lessons.is_empty() && store.newest_ms()? >= Span::up_to(read_at_ms).until_ms => {
                "nothing is judged yet, but for what the decision log has of times still to come: was the clock set back?"
                    .to_owned()
            }
            _ if lessons.is_empty() => NOTHING_JUDGED.to_owned(),
            _ if !is_new => format!("nothing is new since version {version}"),
            Ruling::Promote => format!("version {version} took over: {reason}"),
            Ruling::Wait => format!("version {version} waits: {reason}"),
            Ruling::Refuse => format!("version {version} was refused: {reason}"),
        };
        tracing::info!(lessons = lessons.len(), took_ms, result, "Retuned");
        let mut last = self.shared.last.lock();
        (last.at_ms, last.took_ms, last.result, last.new) = (Some(now_ms()), took_ms, result, self.new);
        drop(last);
        Ok(proposal)
    }

    /// The newest version, if it equals `policy`: trained on the same log, as after a restart.
    fn newest_like(&self, policy: &Snapshot) -> Result<Option<u64>, StoreError> {
        let store = &self.shared.store;
        let Some(version) = store.snapshots()?.iter().map(|record| record.version).max() else { return Ok(None) };
        let Some(mut newest) = store.policy::<Snapshot>(version)? else { return Ok(None) };
        newest.version = policy.version;
        Ok((newest == *policy).then_some(version))
    }

    /// What a policy has learned from: the answers that its version was trained on, and the judgements taken in since.
    /// A version made while the clock was ahead has taken in the first of all other judgements.
    fn knowledge_of(&self, live: &LivePolicy, now_ms: i64) -> Result<Knowledge, StoreError> {
        let store = &self.shared.store;
        if live.policy.learned_from() <= live.revision {
            return Ok(Knowledge::only_since(live.revision));
        }
        let trained_on = TrainedOn::load(store, &live.policy)?;
        let record = store.snapshot(live.policy.version)?.filter(|record| record.made_at_ms <= now_ms + AHEAD_MS);
        let since_ms = record.map_or(i64::MIN, |record| record.made_at_ms - ARRIVAL_MS);
        Ok(Knowledge { trained_on, since_ms, judgements: live.revision })
    }

    /// Rolls the live policy back if a guard rail objects to it.
    fn watch(&mut self, now_ms: i64) -> Result<(), LearnError> {
        let guard = self.shared.settings.load().guard;
        let store = &self.shared.store;
        let live = self.shared.live.load_full();
        let version = live.policy.version;
        if !guard.enabled || self.shared.switches.load().frozen().is_some() {
            return Ok(());
        }
        let size = store.log_size();
        if self.size_at_watch.replace(size) == Some(size) {
            // The log has not changed since the last check.
            return Ok(());
        }
        let Some(since_ms) = self.shared.tried_since_ms(version)? else { return Ok(()) };
        let Some(back_to) = self.shared.before(version)? else { return Ok(()) };
        let tally = || Tally::of(guard.window);
        let (mut before, mut after, mut instead) = (tally(), tally(), Hindsight::default());
        let mut looked_at = 0;
        // What lies ahead is of a clock that was wrong, and may be of any version.
        store.walk(&Span::up_to(now_ms), Order::Newest, |entry| {
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
                } else if let Some(part) = Part::of(&entry).filter(|_| instead.needs_judgements_of(chosen)) {
                    // The judgements of a model that is hardly asked any more lie further back.
                    instead.add_judgement(chosen, part, &would());
                }
            }
            !before.is_full() && looked_at < MAX_READ
        })?;
        let Some(why) = guard::objection(&before, &after, &instead, &guard) else { return Ok(()) };
        tracing::error!(version, why, "A guard rail rolls the policy back");
        self.move_to(now_ms, |shared| shared.roll_back("tuner", &why, now_ms))
    }

    /// Whether a version has made as many choices with a known end or judgement as the guard rails need. If versions
    /// were replaced sooner, the guard rails would start over with each and never have enough; meanwhile the version
    /// learns online.
    fn is_proven(&self, version: u64, now_ms: i64) -> Result<bool, StoreError> {
        let guard = self.shared.settings.load().guard;
        let (mode, rollout) = self.shared.mode();
        // A policy that does not act makes no choices.
        if !guard.enabled || mode != LearningMode::Live || rollout <= 0.0 {
            return Ok(true);
        }
        let Some(since_ms) = self.shared.tried_since_ms(version)? else { return Ok(true) };
        let (mut choices, mut looked_at) = (0, 0);
        self.shared.store.walk(&Span::up_to(now_ms), Order::Newest, |entry| {
            let is_since = entry.decision.at_ms >= since_ms;
            let is_known = entry.outcome.is_some() || !entry.feedback.is_empty();
            choices += usize::from(is_since && is_known && is_by_policy(&entry.decision));
            looked_at += 1;
            is_since && choices < guard.min_requests && looked_at < MAX_READ
        })?;
        Ok(choices >= guard.min_requests)
    }

    /// Makes a change that may put another version in force. That version is not to take in the judgements so far.
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
        // Saved at once: a restart with the version alone would take in the judgements that it is not to have.
        self.saved = None;
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
                self.shared.switch(|switches| Switches { pinned: None, ..switches.released() })?;
            }
            Command::Pin(version) => {
                let (act, why) = ((who, "policy.pin"), format!("pinned by {who}"));
                self.move_to(now_ms, |shared| shared.put_in_force(version, act, &why, now_ms))?;
                self.shared.switch(|switches| Switches { pinned: Some(version), ..switches })?;
            }
            Command::Unpin => {
                self.shared.switch(|switches| Switches { pinned: None, ..switches.released() })?;
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

#[cfg(test)]
#[path = "unjudged_tests.rs"]
mod unjudged_tests;
