//! The one writer of the decision log: a bounded queue in front of a thread.
//!
//! Decisions and outcomes are handed over without waiting: when the queue is full, or the database is down, they are
//! dropped and counted, and the answer they belong to goes on. A feedback waits for its acknowledgement, which comes
//! after it is on disk: the thread takes all that waits in the queue, writes it, flushes once, and acknowledges all
//! feedback of the round together. So many feedbacks at once cost one flush.
//!
//! When the database fails, the thread closes it, tries to reopen it every two seconds, counts the records lost
//! meanwhile, and answers feedback with "unavailable": the sender tries again, and the feedback's id makes that safe.
//!
//! A round has no more records than there is room for on the disk. Where their prompts find none, they are written without
//! them. A disk that is too full for the records, too, is no longer a failure once rounds have been written for two
//! seconds, and at once where there is some more room than it needs. At the edge that comes and goes, so the log tells that
//! it is over, and that it is there again, only after a minute without a refusal.
//!
//! A panic while writing (sled asserts on damage) loses and counts that round, as if the database had failed; the
//! thread goes on.
//!
//! The queue keeps order, so a feedback that arrives right behind its decision finds it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::protocol::DecisionId;
use crate::store::{
    Compacted, Compactor, DecisionRecord, FeedbackRecord, MOST_FEEDBACK, OutcomeRecord, Salt, Store, StoreError,
    Stored,
};

/// Most changed decisions that wait to be learned from. Those that do not fit are learned at the next retune.
const MAX_CHANGED: usize = 4096;

/// Most records written at once.
const MAX_BATCH: usize = 2048;

/// Most bytes written at once, where that is more than one record: where prompts are kept, 2048 records may have 128 MB,
/// and a multiple must be free on the disk.
const MAX_BYTES: usize = 512 << 10;

/// Most bytes of prompts that wait to be written. Beyond them decisions are recorded without theirs: while a disk hangs,
/// a full queue of prompts would take half a gigabyte.
const MAX_PROMPT_BYTES: usize = 32 << 20;

/// How long the thread waits for a record before it looks at the database and the compaction.
const IDLE: Duration = Duration::from_millis(250);

/// How long records gather once the first is there. A round wakes the database's own threads some dozen times, so a
/// round for each record would cost more than the request itself. A round with a feedback is written at once.
const GATHER: Duration = Duration::from_millis(64);

/// How often the queue is emptied while records gather. The thread sleeps instead of waiting on the queue, so that
/// senders need not wake it for each record.
const NAP: Duration = Duration::from_millis(4);

/// How often settled records are moved into blocks.
const COMPACT_EVERY: Duration = Duration::from_secs(5);
/// Pause before another try where a reader was in the way.
const COMPACT_RETRY: Duration = Duration::from_millis(500);
/// Pause before the next slice where there is more to move.
const COMPACT_MORE: Duration = Duration::from_millis(100);

/// Longest wait for the thread to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two log lines about prompts that find no room.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// How often a database that is down is reopened, and how long a disk must take records to be no failure any more.
const REVIVE_EVERY: Duration = Duration::from_secs(2);

/// How long a disk must take records until the log tells of it.
const STEADY: Duration = Duration::from_secs(60);

/// The acknowledgement that a feedback is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// It was stored.
    Stored,
    /// A feedback with this id was stored before.
    Duplicate,
}

/// Why a feedback was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// There is no such decision.
    #[error("there is no such decision")]
    Unknown,
    /// The decision was rated as often as it can be.
    #[error("the decision has {MOST_FEEDBACK} feedbacks, and takes no more")]
    TooMany,
    /// Its value is out of range, or its id empty or too long.
    #[error("{0}")]
    Invalid(&'static str),
    /// The store cannot take it now; it is safe to send it again with the same id.
    #[error("the store cannot take it now: {0}")]
    Unavailable(String),
}

/// The writer's figures since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecorderStatus {
    /// Records waiting.
    pub queued: usize,
    /// Decisions written.
    pub decisions: u64,
    /// Outcomes written.
    pub outcomes: u64,
    /// Feedbacks written.
    pub feedback: u64,
    /// Decisions and outcomes dropped because the queue was full.
    pub dropped: u64,
    /// Decisions and outcomes lost because the database was down.
    pub lost: u64,
}

enum Command {
    Decision(Box<DecisionRecord>),
    Outcome(Box<OutcomeRecord>),
    Feedback(Box<FeedbackRecord>, oneshot::Sender<Result<Ack, FeedbackError>>),
    /// Answers when all that came before is on disk.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// Writes what waits, and ends.
    Close,
}

#[derive(Default)]
struct Figures {
    queued: AtomicUsize,
    /// Bytes of the prompts among what is queued.
    prompt_bytes: AtomicUsize,
    decisions: AtomicU64,
    outcomes: AtomicU64,
    feedback: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
}

/// The handle to the decision log's writer; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: SyncSender<Command>,
    keep_prompts: bool,
    durable: bool,
    salt: Salt,
    figures: Arc<Figures>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// The writer's thread. [`Writer::close`] writes what waits and ends it.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Command>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Writes what waits, flushes, and ends the thread. Later records are dropped and counted. Blocks, for ten seconds
    /// at most: a database whose files are gone may never answer.
    pub fn close(self) {
        self.close_within(CLOSE_TIMEOUT);
    }

    fn close_within(self, limit: Duration) {
        let until = Instant::now() + limit;
        // The queue may be full, and is being emptied.
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Command::Close)
            && Instant::now() < until
        {
            std::thread::sleep(NAP);
        }
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(NAP);
        }
        if !self.thread.is_finished() {
            tracing::error!("The store's writer hangs; what waits in its queue is lost");
        } else if self.thread.join().is_err() {
            tracing::error!("The store's writer ended in a panic");
        }
    }
}

impl Command {
    /// Bytes of the record, roughly, and those of its prompt among them.
    fn bytes(&self) -> (usize, usize) {
        match self {
            Self::Decision(record) => (record.bytes(), prompt_bytes(record)),
            Self::Outcome(record) => (record.bytes(), 0),
            Self::Feedback(record, _) => (record.bytes(), 0),
            Self::Flush(_) | Self::Close => (0, 0),
        }
    }
}

impl Recorder {
    /// Starts the thread that writes to `store`. The receiver gets the decisions from which there is something to
    /// learn: those that were judged, whose outcome has a signal, or whose outcome came after a judgement.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(store: Store) -> std::io::Result<(Self, Writer, mpsc::Receiver<DecisionId>)> {
        let settings = store.settings();
        let capacity = settings.queue.max(1);
        let keep_prompts = settings.prompts;
        let (durable, salt) = (store.is_durable(), store.salt());
        let (queue, commands) = sync_channel(capacity);
        let (changed, changes) = mpsc::channel(MAX_CHANGED);
        let figures = Arc::new(Figures::default());
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn({
            let figures = Arc::clone(&figures);
            let compact_at = Instant::now() + COMPACT_EVERY;
            move || {
                Loop::new(store, figures, changed, compact_at).run(&commands);
            }
        })?;
        let recorder = Self { queue: queue.clone(), keep_prompts, durable, salt, figures };
        Ok((recorder, Writer { queue, thread }, changes))
    }

    /// Hands over a decision. Never waits; drops and counts it when the queue is full.
    pub fn decision(&self, mut record: DecisionRecord) {
        if !self.keep_prompts {
            record.prompt = None;
        }
        let bytes = prompt_bytes(&record);
        let fits = self.figures.prompt_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_PROMPT_BYTES;
        if !fits {
            record.prompt = None;
        }
        let is_queued = self.offer(Command::Decision(Box::new(record)));
        if !(fits && is_queued) {
            self.figures.prompt_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Hands over an outcome. Never waits; drops and counts it when the queue is full.
    pub fn outcome(&self, record: OutcomeRecord) {
        self.offer(Command::Outcome(Box::new(record)));
    }

    /// Hands over a feedback and waits until it is on disk.
    ///
    /// # Errors
    /// When there is no such decision, the value or id is invalid, or the store cannot take it now. A store in memory
    /// takes none, since an acknowledged feedback must survive the process.
    pub async fn feedback(&self, record: FeedbackRecord) -> Result<Ack, FeedbackError> {
        if let Some(fault) = record.fault() {
            return Err(FeedbackError::Invalid(fault));
        }
        if !self.durable {
            return Err(FeedbackError::Unavailable("its directory cannot be written".to_owned()));
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Feedback(Box::new(record), reply)).map_err(FeedbackError::Unavailable)?;
        answer.await.unwrap_or_else(|_| Err(FeedbackError::Unavailable("its writer has stopped".to_owned())))
    }

    /// Waits until everything handed over so far is on disk.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Flush(reply)).map_err(StoreError::Down)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Down("its writer has stopped".to_owned())))
    }

    /// The secret behind the log's fingerprints.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Whether prompts are stored; where not, callers need not copy them.
    pub fn keeps_prompts(&self) -> bool {
        self.keep_prompts
    }

    /// The writer's figures.
    pub fn status(&self) -> RecorderStatus {
        let figures = &self.figures;
        RecorderStatus {
            queued: figures.queued.load(Ordering::Relaxed),
            decisions: figures.decisions.load(Ordering::Relaxed),
            outcomes: figures.outcomes.load(Ordering::Relaxed),
            feedback: figures.feedback.load(Ordering::Relaxed),
            dropped: figures.dropped.load(Ordering::Relaxed),
            lost: figures.lost.load(Ordering::Relaxed),
        }
    }

    fn offer(&self, command: Command) -> bool {
        let is_queued = self.ask(command).is_ok();
        self.figures.dropped.fetch_add(u64::from(!is_queued), Ordering::Relaxed);
        is_queued
    }

    fn ask(&self, command: Command) -> Result<(), String> {
        // Counted before it is sent: the writer may be quicker than this thread.
        self.figures.queued.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(command).map_err(|error| {
            self.figures.queued.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => "its queue is full".to_owned(),
                TrySendError::Disconnected(_) => "it is shut down".to_owned(),
            }
        })
    }
}

fn prompt_bytes(record: &DecisionRecord) -> usize {
    record.prompt.as_ref().map_or(0, String::len)
}

/// The commands of one round of the writer.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "hundreds gather: moved out of their boxes they would be copied with the list's growth"
)]
struct Round {
    decisions: Vec<Box<DecisionRecord>>,
    outcomes: Vec<Box<OutcomeRecord>>,
    feedback: Vec<FeedbackRecord>,
    replies: Vec<oneshot::Sender<Result<Ack, FeedbackError>>>,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Bytes of the records, roughly.
    bytes: usize,
    /// Bytes of the prompts among them.
    prompt_bytes: usize,
    close: bool,
}

impl Round {
    fn take(&mut self, command: Command) {
        let (bytes, prompt_bytes) = command.bytes();
        self.bytes += bytes;
        self.prompt_bytes += prompt_bytes;
        match command {
            Command::Decision(record) => self.decisions.push(record),
            Command::Outcome(record) => self.outcomes.push(record),
            Command::Feedback(record, reply) => {
                self.feedback.push(*record);
                self.replies.push(reply);
            }
            Command::Flush(reply) => self.flushes.push(reply),
            Command::Close => self.close = true,
        }
    }

    /// Whether there is no place for another command, where there is room for `room` bytes of records without their
    /// prompts. The first always has one.
    fn is_full_for(&self, command: &Command, room: usize) -> bool {
        let (bytes, prompt_bytes) = command.bytes();
        let (all, prompts) = (self.bytes + bytes, self.prompt_bytes + prompt_bytes);
        self.bytes > 0 && bytes > 0 && (all > MAX_BYTES || all - prompts > room)
    }

    /// Whether a caller waits for the round to be written.
    fn is_awaited(&self) -> bool {
        self.close || !(self.feedback.is_empty() && self.flushes.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.decisions.is_empty() && self.outcomes.is_empty() && !self.is_awaited()
    }
}

/// Takes commands until there are [`MAX_BATCH`] or they have [`MAX_BYTES`] or all that there is `room` for, a caller
/// waits for the disk, or [`GATHER`] is over. Returns one that has no place in the round any more.
fn gather(round: &mut Round, commands: &Receiver<Command>, room: usize) -> Option<Command> {
    let until = Instant::now() + GATHER;
    let mut taken = 1;
    loop {
        while taken < MAX_BATCH
            && let Ok(command) = commands.try_recv()
        {
            if round.is_full_for(&command, room) {
                return Some(command);
            }
            round.take(command);
            taken += 1;
        }
        if taken >= MAX_BATCH || round.is_awaited() || round.is_empty() || Instant::now() >= until {
            return None;
        }
        std::thread::sleep(NAP);
    }
}

struct Loop {
    store: Store,
    figures: Arc<Figures>,
    /// Gets the decisions from which there is something to learn.
    changed: mpsc::Sender<DecisionId>,
    /// When the database last failed, or failed to reopen; `None` while it works.
    down_since: Option<Instant>,
    /// When a round last found no room.
    refused_at: Option<Instant>,
    /// Whether the log tells that the database failed, and not yet that it is back.
    is_told: bool,
    /// When it was last told that prompts find no room.
    told_at: Option<Instant>,
    /// Present once compaction has begun.
    compactor: Option<Compactor>,
    /// When compaction is due.
    compact_at: Instant,
}

impl Loop {
    fn new(store: Store, figures: Arc<Figures>, changed: mpsc::Sender<DecisionId>, compact_at: Instant) -> Self {
        let (down_since, refused_at, is_told, told_at, compactor) = (None, None, false, None, None);
        Self { store, figures, changed, down_since, refused_at, is_told, told_at, compactor, compact_at }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        let mut next = None;
        loop {
            let mut round = Round::default();
            match next.take().map_or_else(|| commands.recv_timeout(IDLE), Ok) {
                Ok(first) => round.take(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => round.close = true,
            }
            // Where there is none at all, all records are refused, however few at once.
            let room = self.store.room_for().unwrap_or(MAX_BYTES);
            next = gather(&mut round, commands, room);
            let close = round.close;
            let records = (round.decisions.len() + round.outcomes.len()) as u64;
            // sled asserts on damaged data.
            if catch_unwind(AssertUnwindSafe(|| self.write(round))).is_err() {
                self.figures.lost.fetch_add(records, Ordering::Relaxed);
                self.note_panic();
            }
            self.tell_if_back();
            if close {
                if let Err(error) = self.store.flush() {
                    tracing::error!(%error, "The decision log could not be flushed at the end");
                }
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| self.compact_if_due())).is_err() {
                (self.compactor, self.compact_at) = (None, Instant::now() + COMPACT_EVERY);
                self.note_panic();
            }
        }
    }

    fn note_panic(&mut self) {
        self.note_down(&StoreError::Down("its writer panicked".to_owned()));
    }

    /// Moves some settled records into blocks.
    fn compact_if_due(&mut self) {
        // Also while records find no room: where only a large round was refused there may be some for it.
        if Instant::now() < self.compact_at {
            return;
        }
        let step = match &mut self.compactor {
            Some(compactor) => compactor.step(&self.store, jiff::Timestamp::now().as_millisecond()),
            None => Compactor::resume(&self.store).map(|compactor| {
                self.compactor = Some(compactor);
                Compacted::More
            }),
        };
        let pause = match step {
            Ok(Compacted::Done) => COMPACT_EVERY,
            Ok(Compacted::Busy) => COMPACT_RETRY,
            Ok(Compacted::More) => COMPACT_MORE,
            // New records may still fit, and can wait for it.
            Err(StoreError::Full) => COMPACT_EVERY,
            Err(error) => {
                self.note_down(&error);
                COMPACT_EVERY
            }
        };
        self.compact_at = Instant::now() + pause;
    }

    /// Writes one round, flushes if a caller waits for it, and answers the callers.
    fn write(&mut self, mut round: Round) {
        let (decisions, outcomes) = (round.decisions.len() as u64, round.outcomes.len() as u64);
        let count = round.decisions.len() + round.outcomes.len() + round.feedback.len() + round.flushes.len();
        self.figures.queued.fetch_sub(count, Ordering::Relaxed);
        self.figures.prompt_bytes.fetch_sub(round.prompt_bytes, Ordering::Relaxed);
        self.revive_if_due();
        if count == 0 {
            return;
        }
        if round.prompt_bytes > 0 {
            self.leave_out_prompts_without_room(&mut round);
        }
        let must_flush = !(round.feedback.is_empty() && round.flushes.is_empty());
        let done = self.store.append(&round.decisions, &round.outcomes, &mut round.feedback).and_then(|stored| {
            if must_flush {
                self.store.flush()?;
            }
            Ok(stored)
        });
        match done {
            Ok(stored) => {
                self.note_written();
                self.figures.decisions.fetch_add(decisions, Ordering::Relaxed);
                self.figures.outcomes.fetch_add(outcomes, Ordering::Relaxed);
                let new = stored.iter().filter(|it| **it == Stored::New).count() as u64;
                let judged = round.feedback.iter().zip(&stored).filter(|(_, stored)| **stored == Stored::New);
                let judged = judged.map(|(feedback, _)| feedback.decision);
                let ended = round.outcomes.iter();
                let ended = ended.filter(|it| !it.signals.is_empty() || self.store.is_judged(it.id)).map(|it| it.id);
                for id in judged.chain(ended) {
                    // Without a learner, or without room, the next retune reads the whole log.
                    let _later = self.changed.try_send(id);
                }
                self.figures.feedback.fetch_add(new, Ordering::Relaxed);
                for (reply, stored) in round.replies.into_iter().zip(stored) {
                    // The caller may have left; the record is stored all the same.
                    let _gone = reply.send(verdict(stored));
                }
                round.flushes.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
            }
            Err(error) => {
                self.figures.lost.fetch_add(decisions + outcomes, Ordering::Relaxed);
                let why = error.to_string();
                for reply in round.replies {
                    let _gone = reply.send(Err(FeedbackError::Unavailable(why.clone())));
                }
                for reply in round.flushes {
                    let _gone = reply.send(Err(error.clone()));
                }
                self.note_down(&error);
            }
        }
    }

    /// Where there is no room for a round with its prompts there may still be some for all the rest of it.
    fn leave_out_prompts_without_room(&mut self, round: &mut Round) {
        if self.store.find_room_for_records(round.bytes).is_ok() {
            return;
        }
        round.decisions.iter_mut().for_each(|record| record.prompt = None);
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!(
                "The disk with the decision log has too little room for prompts: decisions are written without theirs"
            );
        }
    }

    /// A store that was down for want of room is back once all rounds of two seconds have found some.
    fn note_written(&mut self) {
        if self.down_since.is_some() && self.has_room_for(REVIVE_EVERY) {
            self.store.note_room();
            self.down_since = None;
        }
    }

    /// Whether no round was refused for want of room for so long.
    fn has_room_for(&self, time: Duration) -> bool {
        self.refused_at.is_none_or(|at| at.elapsed() >= time)
    }

    fn note_down(&mut self, error: &StoreError) {
        let is_full = matches!(error, StoreError::Full);
        if is_full {
            self.refused_at = Some(Instant::now());
        }
        if self.down_since.is_none() {
            if !(is_full && self.is_told) {
                let dir = self.store.place();
                tracing::error!(%error, dir = %dir.display(), "The store failed; answers go on, and records are dropped and counted until it is back");
                self.is_told = true;
            }
            self.store.note_failure(error);
            self.down_since = Some(Instant::now());
        }
    }

    fn tell_if_back(&mut self) {
        if self.is_told && self.down_since.is_none() && self.has_room_for(STEADY) {
            self.is_told = false;
            tracing::info!("The store is back");
        }
    }

    fn revive_if_due(&mut self) {
        if self.down_since.is_some_and(|since| since.elapsed() >= REVIVE_EVERY) {
            self.down_since = if self.store.revive(jiff::Timestamp::now().as_millisecond()) {
                self.refused_at = None;
                None
            } else {
                Some(Instant::now())
            };
        }
    }
}

/// The answer to a feedback's sender.
fn verdict(stored: Stored) -> Result<Ack, FeedbackError> {
    match stored {
        Stored::UnknownDecision => Err(FeedbackError::Unknown),
        Stored::TooMany => Err(FeedbackError::TooMany),
        Stored::New => Ok(Ack::Stored),
        Stored::Duplicate => Ok(Ack::Duplicate),
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
