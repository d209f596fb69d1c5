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
use super::gate::Ruling;
use super::guard::{self, Tally, is_by_policy};
use super::learner::{Command, LearnError, LearnerStatus, Ordered, Shared};
use super::lesson::{self, Lesson};
use super::live::{self, Heard, Live, State, Switches, audit, bandit_settings};
use super::retune::{self, Proposal};
use crate::bandit::Snapshot;
use crate::config::{Bandit, LearningMode};
use crate::protocol::DecisionId;
use crate::store::{LogSize, Order, SnapshotRecord, SnapshotState, Span, StoreError};

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

/// Moments that lie further ahead than this are of a clock that was ahead, Unix milliseconds.
const AHEAD_MS: i64 = 60_000;

/// Newest decisions among which one is looked for whose prompt was read.
const NEWEST: usize = 100;

/// The task's state; [`Work::run`] is the task.
pub struct Work {
    desk: Option<Desk>,
    orders: mpsc::Receiver<Ordered>,
}

/// What moves between the task and the thread that does the work.
struct Desk {
    shared: Arc<Shared>,
    /// Which judgements the live policy has. Signals are none: a rating of an answer that only had one is news.
    heard: Heard,
    /// Judgements since the last retune.
    new: u64,
    /// When the last retune ended; `None` = none yet, and one is due if the log holds anything.
    retuned: Option<Instant>,
    /// How long the next one waits at least, however much is new.
    rest: Duration,
    /// What the log held when guard rails last looked at it.
    watched: Option<LogSize>,
    /// What it held at the last retune.
    read: Option<LogSize>,
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
    Settle,
    Stop,
    Carry(Ordered),
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, heard: Heard, orders: mpsc::Receiver<Ordered>) -> Self {
        // What was judged before the start is in the log and waits for the first retune.
        Self { desk: Some(Desk::new(shared, heard, None)), orders }
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
                Some(order) = self.orders.recv() => Job::Carry(order),
                count = news.recv_many(&mut ids, BATCH), if !news.is_closed() || !news.is_empty() => match count {
                    0 => continue,
                    _ => Job::TakeIn(std::mem::take(&mut ids)),
                },
                _ = ticks.tick() => match &self.desk {
                    Some(desk) if desk.has_other_settings() => Job::Settle,
                    Some(desk) if desk.is_due() => Job::Retune,
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
        let Some(mut desk) = self.desk.take() else { return };
        let shared = Arc::clone(&desk.shared);
        let budgets = Arc::clone(budgets);
        let done = tokio::task::spawn_blocking(move || {
            desk.work(job, &budgets);
            desk
        });
        self.desk = Some(match done.await {
            Ok(desk) => desk,
            Err(error) => {
                // The policy in force is whole: it is swapped as one. Only what was being worked out is lost.
                tracing::error!(%error, "The learner ended in a panic; the policy stays as it is");
                Desk::new(shared, Heard::until(now_ms()), Some(Instant::now()))
            }
        });
    }
}

impl Desk {
    fn new(shared: Arc<Shared>, heard: Heard, retuned: Option<Instant>) -> Self {
        let bandit = shared.settings.load().bandit;
        Self {
            shared,
            heard,
            new: 1,
            retuned,
            rest: LEAST_REST,
            watched: None,
            read: None,
            kept: None,
            bandit,
            revivals: 0,
        }
    }

    fn is_due(&self) -> bool {
        let settings = self.shared.settings.load();
        let Some(retuned) = self.retuned else { return settings.enabled && self.new > 0 };
        let waited = retuned.elapsed();
        let enough = self.new >= settings.min_feedback && waited >= self.rest;
        settings.enabled && self.new > 0 && (enough || waited >= Duration::from_secs(settings.interval_s))
    }

    fn work(&mut self, job: Job, budgets: &Budgets) {
        let done = match job {
            Job::TakeIn(ids) => self.take_in(&ids).map_err(LearnError::from),
            Job::Retune => {
                // First the live version is judged: one that is to be taken back must not be followed by its own child.
                let watched = self.watch();
                self.retune().and(watched)
            }
            Job::Watch => {
                let settled = self.move_in().and_then(|()| self.set_right());
                let kept = settled.and_then(|()| budgets.keep(&self.shared.store)).and_then(|()| self.follow_head());
                let kept = kept.and_then(|()| self.keep(KEEP_EVERY));
                self.ask_for_second_askings();
                self.watch().and(kept.map_err(LearnError::from))
            }
            Job::Settle => {
                self.settle();
                Ok(())
            }
            Job::Stop => {
                let kept = budgets.keep(&self.shared.store);
                self.keep(Duration::ZERO).and(kept).map_err(LearnError::from)
            }
            Job::Carry(Ordered { command, who, reply }) => {
                let done = self.carry(command, &who);
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

    /// That a question was put again is in the log a while after its answer, and no news tell of it.
    fn ask_for_second_askings(&mut self) {
        let settings = self.shared.settings.load();
        let speaks = settings.reward.asked_again.is_some() && settings.reward.signal_weight > 0.0;
        if speaks && self.read.is_some_and(|read| read != self.shared.store.log_size()) {
            self.new = self.new.max(1);
        }
    }

    /// Moves the live policy by what was said of some decisions.
    fn take_in(&mut self, ids: &[DecisionId]) -> Result<(), StoreError> {
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
            if !self.heard.counted.contains(id) && lesson.heard_at_ms > self.heard.until_ms {
                lessons.push(lesson);
            }
        }
        if lessons.iter().any(|lesson| !lesson.fits(self.shared.live.load().policy.space())) {
            self.follow_head()?;
        }
        let pinned = self.shared.switches.load().pinned.is_some();
        if settings.online && !pinned && !lessons.is_empty() {
            self.learn(&lessons);
        }
        Ok(())
    }

    /// Moves the live policy by judgements that it does not have.
    fn learn(&mut self, lessons: &[Lesson]) {
        self.heard.counted.extend(lessons.iter().map(|lesson| lesson.id));
        let live = retune::take_in(&self.shared.live.load(), lessons);
        self.shared.live.store(Arc::new(live));
    }

    /// Lets the live policy begin anew where the newest prompts were read by another head than it learned beside. What was
    /// judged beside this one before is in the log, and waits for a retune as after a start.
    fn follow_head(&mut self) -> Result<(), StoreError> {
        let (mut newest, mut looked_at) = (None, 0);
        self.shared.store.walk(&Span::default(), Order::Newest, |entry| {
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
            self.heard = Heard::until(until_ms);
            (self.kept, self.retuned, self.new) = (None, None, self.new.max(1));
        }
        Ok(())
    }

    /// What the newest version that was in force beside the same head knew, and until when it had heard: it may have been
    /// there before.
    fn known_beside(&self, anew: &Live) -> Result<Option<(Live, i64)>, StoreError> {
        let store = &self.shared.store;
        for record in store.snapshots()?.iter().filter(|record| record.state == SnapshotState::Promoted) {
            let known = store.policy::<Snapshot>(record.version)?;
            if let Some(mut policy) = known.filter(|policy| policy.space() == anew.policy.space()) {
                policy = live::under(policy, *anew.policy.settings());
                policy.version = anew.policy.version;
                return Ok(Some((Live::new(policy, 0), record.made_at_ms)));
            }
        }
        Ok(None)
    }

    /// Keeps the live policy and what it has taken in, if there is anything new and the last time is so long ago.
    fn keep(&mut self, every: Duration) -> Result<(), StoreError> {
        let live = self.shared.live.load_full();
        let now = (live.policy.version, live.revision, Instant::now());
        let is_due = |(version, revision, at): (u64, u64, Instant)| {
            (version, revision) != (now.0, now.1) && at.elapsed() >= every
        };
        if self.kept.is_none_or(is_due) {
            State::save(&self.shared.store, &live, &self.heard)?;
            self.kept = Some(now);
        }
        Ok(())
    }

    /// A database that broke and was begun anew knows neither the policy in force nor what was switched: both are here.
    fn move_in(&mut self) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let health = store.health();
        if health.revivals == self.revivals {
            return Ok(());
        }
        let live = self.shared.live.load_full();
        let version = live.policy.version;
        if health.failing.is_none() && store.live_version()? != Some(version) {
            self.shared.switches.load().save(store)?;
            let record = SnapshotRecord {
                version,
                made_at_ms: now_ms(),
                promoted_at_ms: None,
                parent: 0,
                replaced: 0,
                origin: "kept".to_owned(),
                state: SnapshotState::Waiting,
                reason: "it was in force when the database was begun anew".to_owned(),
                learned_from: live.policy.learned_from(),
                report: json!(null),
            };
            store.put_snapshot(&record, &live.policy)?;
            live::promote(store, version, None, now_ms())?;
            self.kept = None;
        }
        self.revivals = health.revivals;
        Ok(())
    }

    /// What a clock that was ahead has left behind must not hold everything until it has caught up: nothing came into force,
    /// or was heard, later than now, and no hold lasts for longer than holds do.
    fn set_right(&mut self) -> Result<(), StoreError> {
        let now = now_ms();
        let is_ahead = |at_ms: i64| at_ms > now + AHEAD_MS;
        if is_ahead(self.heard.until_ms) {
            self.heard.until_ms = now;
        }
        let longest = now + self.shared.settings.load().guard.hold_minutes as i64 * 60_000;
        if self.shared.switches.load().hold_until_ms.is_some_and(|until| until > longest) {
            self.switch(|switches| Switches { hold_until_ms: Some(longest), ..switches })?;
        }
        let version = self.shared.live.load().policy.version;
        let record = self.shared.store.snapshot(version)?;
        if let Some(record) = record.filter(|record| record.promoted_at_ms.is_some_and(is_ahead)) {
            tracing::warn!(version, "The clock was ahead when the live version was promoted; it counts from now");
            self.shared.store.update_snapshot(&SnapshotRecord { promoted_at_ms: Some(now), ..record })?;
        }
        Ok(())
    }

    fn has_other_settings(&self) -> bool {
        self.shared.settings.load().bandit != self.bandit
    }

    /// Lets the live policy explore and forget as it is configured now.
    fn settle(&mut self) {
        self.bandit = self.shared.settings.load().bandit;
        let live = self.shared.live.load();
        let policy = live::under(live.policy.clone(), bandit_settings(&self.bandit));
        self.shared.live.store(Arc::new(Live::new(policy, live.revision)));
    }

    /// Takes in what was judged beside this head and the live policy does not have.
    fn catch_up(&mut self, lessons: &[Lesson]) {
        let live = self.shared.live.load_full();
        let lessons = match live.policy.space() {
            "" => retune::of_newest_head(lessons),
            space => retune::of_head(lessons, space),
        };
        let unheard = |lesson: &&Lesson| lesson.signal.is_none() && !self.heard.counted.contains(&lesson.id);
        let (newer, known): (Vec<&Lesson>, Vec<&Lesson>) =
            lessons.iter().filter(unheard).partition(|lesson| lesson.heard_at_ms > self.heard.until_ms);
        let known: Vec<DecisionId> = known.iter().map(|lesson| lesson.id).collect();
        let newer: Vec<Lesson> = newer.into_iter().cloned().collect();
        self.heard.counted.extend(known);
        let pinned = self.shared.switches.load().pinned.is_some();
        if !newer.is_empty() && !pinned && self.shared.settings.load().online {
            self.learn(&newer);
        }
    }

    /// A new policy from the log, and in force if the rule says so.
    fn retune(&mut self) -> Result<Proposal, LearnError> {
        let (began, read_at_ms) = (Instant::now(), now_ms());
        let settings = self.shared.settings.load_full();
        let store = self.shared.store.clone();
        // Whatever comes of it, the next try waits for its time.
        self.retuned = Some(began);
        self.read = Some(store.log_size());
        let collected = lesson::collect(&store, settings.window, &settings.reward)?;
        let lessons = &collected.learned;
        self.follow_head()?;
        self.retuned = Some(began);
        self.catch_up(lessons);
        let live = self.shared.live.load_full();
        let mut proposal =
            retune::propose(&collected, &live.policy, bandit_settings(&settings.bandit), &settings.gate)?;
        self.new = 0;
        if let Some(why) = self.shared.switches.load().frozen(now_ms()) {
            proposal.wait(why);
        } else if proposal.ruling == Ruling::Promote && !self.has_shown_itself(live.policy.version)? {
            proposal.wait("the live version has not shown itself yet");
        }
        if !lessons.is_empty() {
            self.publish(&mut proposal, &live, read_at_ms)?;
        }
        if proposal.ruling == Ruling::Promote && !lessons.is_empty() {
            let judged = lessons.iter().filter(|lesson| lesson.signal.is_none());
            self.heard = Heard { until_ms: read_at_ms, counted: judged.map(|lesson| lesson.id).collect() };
        } else if let Some(oldest) = lessons.first() {
            // What is out of the window is hardly judged again.
            self.heard.counted.retain(|id| *id >= oldest.id);
        }
        self.rest = (began.elapsed() * REST_PER_WORK).max(LEAST_REST);
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        let result = match proposal.ruling {
            Ruling::Promote => format!("version {} took over: {}", proposal.policy.version, proposal.reason),
            Ruling::Wait => format!("version {} waits: {}", proposal.policy.version, proposal.reason),
            Ruling::Refuse => format!("version {} was refused: {}", proposal.policy.version, proposal.reason),
        };
        let result = if lessons.is_empty() { "nothing in the log is judged yet".to_owned() } else { result };
        tracing::info!(lessons = lessons.len(), took_ms, "Retuned: {result}");
        let mut last = self.shared.last.lock();
        (last.at_ms, last.took_ms, last.result) = (Some(now_ms()), took_ms, result);
        drop(last);
        Ok(proposal)
    }

    /// Writes a proposal as a version, and puts it in force if that is its ruling.
    fn publish(&mut self, proposal: &mut Proposal, live: &Live, read_at_ms: i64) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let version = store.next_version()?;
        proposal.policy.version = version;
        let record = SnapshotRecord {
            version,
            // What is heard from here on it does not have.
            made_at_ms: read_at_ms,
            promoted_at_ms: None,
            parent: live.policy.version,
            replaced: 0,
            origin: "retune".to_owned(),
            state: SnapshotState::Waiting,
            reason: proposal.reason.clone(),
            learned_from: proposal.policy.learned_from(),
            report: json!({ "gain": proposal.gain, "ruling": proposal.ruling }),
        };
        store.put_snapshot(&record, &proposal.policy)?;
        if proposal.ruling == Ruling::Promote {
            live::promote(store, version, None, now_ms())?;
            self.shared.live.store(Arc::new(Live::new(proposal.policy.clone(), 0)));
        }
        let now_live = self.shared.live.load().policy.version;
        let spare = [self.shared.switches.load().pinned, self.before(now_live)?].into_iter().flatten();
        let spare: Vec<u64> = [now_live, live.policy.version].into_iter().chain(spare).collect();
        store.prune_snapshots(store.settings().keep_snapshots, &spare)?;
        Ok(())
    }

    /// Takes the live policy back if requests under it do worse than those before.
    fn watch(&mut self) -> Result<(), LearnError> {
        let guard = self.shared.settings.load().guard;
        let store = &self.shared.store;
        let live = self.shared.live.load().policy.version;
        if !guard.enabled || self.shared.switches.load().frozen(now_ms()).is_some() {
            return Ok(());
        }
        let size = store.log_size();
        if self.watched.replace(size) == Some(size) {
            // Nothing has happened since.
            return Ok(());
        }
        let Some(since_ms) = self.tried_since_ms(live)? else { return Ok(()) };
        let back_to = self.before(live)?.map(|version| store.policy::<Snapshot>(version)).transpose()?.flatten();
        let Some(back_to) = back_to else { return Ok(()) };
        let policy = self.shared.live.load_full();
        let tally = || Tally::of(guard.window);
        let (mut before, mut after, mut instead) = (tally(), tally(), tally());
        let mut looked_at = 0;
        store.walk(&Span::default(), Order::Newest, |entry| {
            looked_at += 1;
            if entry.decision.at_ms < since_ms {
                if let Some(part) = before.part(&entry) {
                    before.add(part, 1.0);
                }
            } else if let Some(part) = after.part(&entry) {
                after.add(part, 1.0);
                instead.add(part, guard::weight(&entry, &back_to, &policy.policy));
            }
            !before.is_full() && looked_at < LOOK_AT
        })?;
        let Some(why) = guard::objection(&before, &after, &instead, &guard) else { return Ok(()) };
        let until_ms = now_ms() + (guard.hold_minutes as i64) * 60_000;
        tracing::error!(version = live, why, "A guard rail takes the policy back");
        self.roll_back("tuner", &why, Some(until_ms))
    }

    /// Since when a version is in force, Unix milliseconds; `None` for one that followed no other: it is held to nothing.
    fn tried_since_ms(&self, version: u64) -> Result<Option<i64>, StoreError> {
        let followed = |record: &SnapshotRecord| record.parent > 0 || record.replaced > 0;
        let record = self.shared.store.snapshot(version)?.filter(followed);
        Ok(record.map(|record| record.promoted_at_ms.unwrap_or(record.made_at_ms)))
    }

    /// Whether the live version has made as many choices, of which the end or a judgement is known, as guard rails must see of
    /// it. Were it replaced before, they would begin anew with each version and never speak; what it learns meanwhile it learns online.
    fn has_shown_itself(&self, version: u64) -> Result<bool, StoreError> {
        let guard = self.shared.settings.load().guard;
        let (mode, rollout) = self.shared.mode();
        // What does not act shows nothing.
        if !guard.enabled || mode != LearningMode::Live || rollout <= 0.0 {
            return Ok(true);
        }
        let Some(since_ms) = self.tried_since_ms(version)? else { return Ok(true) };
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

    /// Puts the version before the live one in force.
    fn roll_back(&mut self, who: &str, why: &str, hold_until_ms: Option<i64>) -> Result<(), LearnError> {
        let store = self.shared.store.clone();
        let live = self.shared.live.load().policy.version;
        let target = self.before(live)?.ok_or(LearnError::NothingBefore)?;
        // The hold first: a crash in between must not let the next retune bring the same policy back at once.
        self.switch(|switches| Switches { hold_until_ms, pinned: None, ..switches })?;
        self.put_in_force(target, who, "policy.rollback", why)?;
        if let Some(mut record) = store.snapshot(live)? {
            record.state = SnapshotState::RolledBack;
            record.reason = why.to_owned();
            store.update_snapshot(&record)?;
        }
        Ok(())
    }

    /// The version to go back to from `live`: the one that it replaced, else its parent, else the newest older one that was
    /// in force.
    fn before(&self, live: u64) -> Result<Option<u64>, StoreError> {
        let all = self.shared.store.snapshots()?;
        let of_live = all.iter().find(|record| record.version == live);
        let promoted = |record: &&SnapshotRecord| record.version != live && record.state == SnapshotState::Promoted;
        let named = |version: Option<u64>| all.iter().filter(promoted).find(|it| Some(it.version) == version);
        let replaced = named(of_live.map(|record| record.replaced));
        let parent = || named(of_live.map(|record| record.parent));
        let newest = || all.iter().filter(promoted).find(|record| record.version < live);
        Ok(replaced.or_else(parent).or_else(newest).map(|record| record.version))
    }

    /// Puts a stored version in force.
    fn put_in_force(&mut self, version: u64, who: &str, action: &str, why: &str) -> Result<(), LearnError> {
        let store = &self.shared.store;
        let from = self.shared.live.load().policy.version;
        if version == from {
            // It stays as it is, with all that it has taken in since.
            live::promote(store, version, Some(why.to_owned()), now_ms())?;
        } else {
            let policy = store.policy(version)?.ok_or(LearnError::UnknownVersion(version))?;
            live::promote(store, version, Some(why.to_owned()), now_ms())?;
            let policy = live::under(policy, bandit_settings(&self.bandit));
            self.shared.live.store(Arc::new(Live::new(policy, 0)));
            self.heard = Heard::until(now_ms());
        }
        audit(store, who, action, version, json!({ "from": from, "reason": why }), now_ms());
        // At once: whoever comes back with the version alone would learn what it is not to have.
        self.kept = None;
        Ok(self.keep(Duration::ZERO)?)
    }

    /// Changes the switches, on disk first.
    fn switch(&self, change: impl FnOnce(Switches) -> Switches) -> Result<(), StoreError> {
        let switches = change(**self.shared.switches.load());
        switches.save(&self.shared.store)?;
        self.shared.switches.store(Arc::new(switches));
        Ok(())
    }

    fn carry(&mut self, command: Command, who: &str) -> Result<LearnerStatus, LearnError> {
        match command {
            Command::Retune => {
                let version = self.retune()?.policy.version;
                // Where nothing is judged yet, no version was made.
                if version > 0 {
                    audit(&self.shared.store, who, "policy.retune", version, json!(null), now_ms());
                }
            }
            Command::Promote(version) => {
                self.put_in_force(version, who, "policy.promote", &format!("promoted by {who}"))?;
                self.switch(|switches| Switches { hold_until_ms: None, pinned: None, ..switches })?;
            }
            Command::Pin(version) => {
                self.put_in_force(version, who, "policy.pin", &format!("pinned by {who}"))?;
                self.switch(|switches| Switches { pinned: Some(version), ..switches })?;
            }
            Command::Unpin => {
                self.switch(|switches| Switches { pinned: None, hold_until_ms: None, ..switches })?;
                let live = self.shared.live.load().policy.version;
                audit(&self.shared.store, who, "policy.unpin", live, json!(null), now_ms());
            }
            Command::Rollback => {
                let minutes = self.shared.settings.load().guard.hold_minutes as i64;
                self.roll_back(who, &format!("rolled back by {who}"), Some(now_ms() + minutes * 60_000))?;
            }
            Command::Mode(mode, rollout) => {
                let settings = self.shared.settings.load();
                let configured = Some((settings.mode, settings.rollout));
                let rollout = rollout.unwrap_or(self.shared.mode().1);
                self.switch(|switches| Switches {
                    mode: Some(mode),
                    rollout: Some(rollout),
                    configured,
                    ..switches
                })?;
                let live = self.shared.live.load().policy.version;
                let detail = json!({ "mode": mode, "rollout": rollout });
                audit(&self.shared.store, who, "policy.mode", live, detail, now_ms());
            }
        }
        Ok(self.shared.status())
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
