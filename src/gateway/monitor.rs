//! Chat requests as they pass, for the dashboard: the last [`MAX_REQUESTS`], and every step of those under way.
//!
//! Bounded on both sides: old requests make room, and a watcher that is too slow is told how many events it missed. No
//! part of a prompt or an answer is in here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::dispatch::{Outcome, Step};
use crate::protocol::{ApiError, DecisionId, Dialect, ModelName, OutcomeStatus};
use crate::route::Decision;

/// Most requests that are remembered.
pub const MAX_REQUESTS: usize = 200;

/// Events that a watcher may be behind before it misses some.
const MAX_LAG: usize = 1024;

/// The phase a request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A model is being chosen.
    Routing,
    /// A model was chosen.
    Routed,
    /// A vendor is being called.
    Calling,
    /// A call failed; whether and where to try again is being decided.
    Retrying,
    /// The answer is on its way to the client.
    Answering,
    /// The request has ended, well or not.
    Ended,
}

/// One request, as known so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passing {
    /// The request's number since the gateway started.
    pub seq: u64,
    /// When it came, in Unix milliseconds.
    pub at_ms: i64,
    /// The phase it is in.
    pub phase: Phase,
    /// The client's dialect.
    pub dialect: &'static str,
    /// The model as the client wrote it.
    pub requested: String,
    /// The name of the API token it came with.
    pub token: Option<String>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The id of its decision.
    pub decision_id: Option<DecisionId>,
    /// How the model was chosen.
    pub mode: Option<&'static str>,
    /// The model that is called, or answered.
    pub model: Option<ModelName>,
    /// The deployment that is called, or answered.
    pub deployment: Option<String>,
    /// Upstream calls so far.
    pub calls: u32,
    /// The error code of the last failed call.
    pub failure: Option<&'static str>,
    /// How it ended: `ok`, `cancelled`, or an error's code.
    pub status: Option<&'static str>,
    /// From arrival to the first piece of the answer, milliseconds.
    pub first_token_ms: Option<f64>,
    /// From arrival to the end, milliseconds.
    pub latency_ms: Option<f64>,
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// The cost in US dollars.
    pub cost_usd: Option<f64>,
}

#[derive(Debug)]
struct Inner {
    rows: Mutex<Rows>,
    live: broadcast::Sender<Arc<Passing>>,
}

#[derive(Debug, Default)]
struct Rows {
    /// Consecutive numbers, oldest first.
    rows: VecDeque<Passing>,
    next: u64,
}

/// The last requests, those under way among them.
#[derive(Debug, Clone)]
pub struct Monitor {
    inner: Arc<Inner>,
}

impl Default for Monitor {
    fn default() -> Self {
        let live = broadcast::Sender::new(MAX_LAG);
        Self { inner: Arc::new(Inner { rows: Mutex::default(), live }) }
    }
}

/// What is known of a request when it arrives.
#[derive(Debug, Clone)]
pub struct Arrival<'a> {
    /// The client's dialect.
    pub dialect: Dialect,
    /// The model as the client wrote it.
    pub requested: &'a str,
    /// The name of the API token.
    pub token: Option<&'a str>,
    /// Whether the answer is streamed.
    pub stream: bool,
}

impl Monitor {
    /// Notes a request that has arrived.
    pub fn arrive(&self, arrival: &Arrival<'_>) -> Ticket {
        let mut rows = self.inner.rows.lock();
        let seq = rows.next;
        rows.next += 1;
        if rows.rows.len() >= MAX_REQUESTS {
            rows.rows.pop_front();
        }
        let row = Passing {
            seq,
            at_ms: Timestamp::now().as_millisecond(),
            phase: Phase::Routing,
            dialect: arrival.dialect.as_str(),
            requested: if arrival.requested.is_empty() { "auto".into() } else { shortened(arrival.requested) },
            token: arrival.token.map(str::to_owned),
            stream: arrival.stream,
            decision_id: None,
            mode: None,
            model: None,
            deployment: None,
            calls: 0,
            failure: None,
            status: None,
            first_token_ms: None,
            latency_ms: None,
            input_tokens: None,
            output_tokens: None,
            cost_usd: None,
        };
        self.inner.publish(&row);
        rows.rows.push_back(row);
        drop(rows);
        let ended = AtomicBool::new(false);
        Ticket { row: Arc::new(RowHandle { inner: Arc::clone(&self.inner), seq, ended }) }
    }

    /// The last requests, oldest first.
    pub fn recent(&self) -> Vec<Passing> {
        self.inner.rows.lock().rows.iter().cloned().collect()
    }

    /// The last requests, oldest first, and every step from now on.
    pub fn watch(&self) -> (Vec<Passing>, broadcast::Receiver<Arc<Passing>>) {
        // Subscribed under the lock, so that no step is missed in between.
        let rows = self.inner.rows.lock();
        (rows.rows.iter().cloned().collect(), self.inner.live.subscribe())
    }
}

impl Inner {
    fn publish(&self, row: &Passing) {
        if self.live.receiver_count() > 0 {
            // An error means that the last watcher just left.
            let _ = self.live.send(Arc::new(row.clone()));
        }
    }
}

/// Updates one request's row. When its last clone is dropped before an end was noted, the client went away before a
/// model was called.
#[derive(Debug, Clone)]
pub struct Ticket {
    row: Arc<RowHandle>,
}

#[derive(Debug)]
struct RowHandle {
    inner: Arc<Inner>,
    seq: u64,
    ended: AtomicBool,
}

impl Drop for RowHandle {
    fn drop(&mut self) {
        if !*self.ended.get_mut() {
            self.change(|row| {
                row.phase = Phase::Ended;
                row.status = Some(OutcomeStatus::Cancelled.as_str());
            });
        }
    }
}

impl Ticket {
    /// Notes that a model was chosen.
    pub fn routed(&self, decision: &Decision) {
        self.row.change(|row| {
            row.phase = Phase::Routed;
            row.decision_id = Some(decision.id);
            row.mode = Some(decision.mode.as_str());
            row.model = Some(decision.chosen.clone());
        });
    }

    /// Notes that no model could be chosen.
    pub fn refused(&self, error: &ApiError) {
        self.row.ended.store(true, Ordering::Relaxed);
        self.row.change(|row| {
            row.phase = Phase::Ended;
            row.status = Some(error.kind.as_str());
        });
    }

    /// Notes a step of the dispatch.
    pub fn step(&self, step: &Step) {
        self.row.change(|row| match step {
            Step::Calling { model, deployment } => {
                row.phase = Phase::Calling;
                row.calls += 1;
                row.model = Some(model.clone());
                row.deployment = Some(deployment.to_string());
            }
            Step::CallFailed(kind) => {
                row.phase = Phase::Retrying;
                row.failure = Some(kind.as_str());
            }
            Step::Answering(elapsed) => {
                row.phase = Phase::Answering;
                row.first_token_ms = Some(ms(*elapsed));
            }
        });
    }

    /// Notes the outcome.
    pub fn ended(&self, outcome: &Outcome) {
        self.row.ended.store(true, Ordering::Relaxed);
        self.row.change(|row| {
            row.phase = Phase::Ended;
            row.status = Some(outcome.status.as_str());
            row.latency_ms = Some(ms(outcome.latency));
            row.first_token_ms = outcome.first_token.map(ms);
            row.calls = outcome.calls;
            if let Some(usage) = outcome.any_usage() {
                row.input_tokens = Some(usage.prompt_tokens());
                row.output_tokens = Some(usage.output_tokens);
                row.cost_usd = Some(outcome.cost.0);
            }
        });
    }
}

impl RowHandle {
    fn change(&self, change: impl FnOnce(&mut Passing)) {
        let mut rows = self.inner.rows.lock();
        let first = rows.rows.front().map_or(0, |row| row.seq);
        let at = self.seq.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(row) = at.and_then(|at| rows.rows.get_mut(at)) {
            change(row);
            self.inner.publish(row);
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The first 120 characters: a client's text may be of any length.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorKind;

    fn arrive(monitor: &Monitor) -> Ticket {
        monitor.arrive(&Arrival { dialect: Dialect::Native, requested: "", token: None, stream: false })
    }

    #[test]
    fn steps_reach_their_row_and_those_who_watch() {
        let monitor = Monitor::default();
        let ticket = arrive(&monitor);
        let _other = arrive(&monitor);
        let (rows, mut live) = monitor.watch();
        assert_eq!((rows.len(), rows[0].phase, rows[0].requested.as_str()), (2, Phase::Routing, "auto"));
        ticket.step(&Step::Calling { model: "m".into(), deployment: "p/m".into() });
        ticket.step(&Step::CallFailed(ErrorKind::Timeout));
        ticket.step(&Step::Answering(Duration::from_millis(7)));
        let phases: Vec<Phase> = std::iter::from_fn(|| Some(live.try_recv().ok()?.phase)).collect();
        assert_eq!(phases, [Phase::Calling, Phase::Retrying, Phase::Answering]);
        let row = &monitor.recent()[0];
        assert_eq!((row.calls, row.failure, row.first_token_ms), (1, Some("timeout"), Some(7.0)));
    }

    #[test]
    fn old_requests_make_room_and_their_steps_go_nowhere() {
        let monitor = Monitor::default();
        let first = arrive(&monitor);
        (0..MAX_REQUESTS).for_each(|_| drop(arrive(&monitor)));
        first.step(&Step::Answering(Duration::ZERO));
        let rows = monitor.recent();
        assert_eq!((rows.len(), rows[0].seq), (MAX_REQUESTS, 1));
        assert!(rows.iter().all(|row| row.phase == Phase::Ended));
    }

    #[test]
    fn who_goes_away_before_a_model_was_asked_is_not_waited_for() {
        let monitor = Monitor::default();
        let (ticket, refused) = (arrive(&monitor), arrive(&monitor));
        let steps = ticket.clone();
        drop(ticket);
        assert_eq!(monitor.recent()[0].phase, Phase::Routing, "somebody has it still");
        drop(steps);
        refused.refused(&ApiError::invalid("x"));
        drop(refused);
        let ends: Vec<_> = monitor.recent().iter().map(|row| (row.phase, row.status)).collect();
        assert_eq!(ends, [(Phase::Ended, Some("cancelled")), (Phase::Ended, Some("invalid_request"))]);
    }
}
