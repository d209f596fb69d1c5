//! The outcome of a request, reported once, when the answer has really ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::codec::NativeMeta;
use crate::protocol::{ErrorKind, FinishReason, ModelName, OutcomeStatus, Price, Usage, Usd};
use crate::route::Decision;

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The routing decision behind it.
    pub decision: Arc<Decision>,
    /// How the request ended.
    pub status: OutcomeStatus,
    /// The model that answered; failover may have moved on from the chosen one.
    pub model: Option<ModelName>,
    /// Its deployment.
    pub deployment: Option<Arc<str>>,
    /// Its provider.
    pub provider: Option<String>,
    /// Upstream calls made.
    pub calls: u32,
    /// Models that were tried before the one that answered.
    pub failovers: u32,
    /// Failed calls, that of a stream that broke off included, and models that could not be called, in order.
    pub causes: Vec<Setback>,
    /// How many of the conversation's first thoughts the deployment has refused to have back.
    pub refused_thoughts: usize,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Tokens of the answer. What the vendor did not count (it never does, or the stream ended early) is estimated,
    /// since it charges for it all the same.
    pub usage: Option<Usage>,
    /// Cost of all calls, those of `lost` included.
    pub cost: Usd,
    /// Calls that gave no answer and that their vendors charge for, in order.
    pub lost: Vec<Loss>,
    /// Time from the request's arrival to the end.
    pub latency: Duration,
    /// Time from the request's arrival to the first piece of content.
    pub first_token: Option<Duration>,
    /// The answer's id, as the vendor gave it; a few vendors' streams have none.
    pub answer_id: Option<String>,
    /// Why the answer ended.
    pub finish: Option<FinishReason>,
    /// Whether the answer had neither text nor a tool call.
    pub empty: bool,
    /// The answer's text where it had to be JSON; `None` if it did not have to be, called a tool, or was too long to
    /// keep.
    pub must_be_json: Option<String>,
}

impl Outcome {
    /// Tokens charged for the answer; without one, for the latest call that the vendor charges for.
    pub fn any_usage(&self) -> Option<Usage> {
        self.usage.or_else(|| self.lost.last().map(|loss| loss.usage)).map(|usage| usage.billed())
    }

    /// Cost of the calls that gave no answer.
    pub fn lost_cost(&self) -> Usd {
        self.lost.iter().map(|loss| loss.cost).sum()
    }
}

/// A call that gave no answer and that its vendor charges for.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// The model that was called.
    pub model: ModelName,
    /// Its tokens, as far as they are known.
    pub usage: Usage,
    /// Their cost.
    pub cost: Usd,
}

/// Why a model did not answer, or not to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// The model.
    pub model: ModelName,
    /// What kept it from answering.
    pub kind: ErrorKind,
    /// Whether it was called at all; else it rested, or its breaker was open.
    pub called: bool,
}

/// A step of a request, for the live monitor.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// An upstream call begins.
    Calling {
        /// The model.
        model: ModelName,
        /// Its deployment.
        deployment: Arc<str>,
    },
    /// The call failed.
    CallFailed(ErrorKind),
    /// The first piece of content is here; time since the request's arrival.
    Answering(Duration),
}

/// Receives the outcome.
type OnEnd = dyn FnOnce(&Outcome) + Send;

/// Gathers the outcome of one request and reports it exactly once: when it is [ended](Report::end), or when it is
/// dropped, which means that the client went away.
pub struct Report {
    outcome: Outcome,
    started: Instant,
    /// Tokens and price of the call under way, if its vendor charges for it even when it fails.
    charge: Option<(Usage, Usd)>,
    on_end: Option<Box<OnEnd>>,
    on_step: Option<Box<dyn FnMut(Step) + Send>>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl Report {
    /// A report on the request that arrived at `started`; `on_end` receives the outcome.
    pub fn new(decision: Arc<Decision>, started: Instant, on_end: impl FnOnce(&Outcome) + Send + 'static) -> Self {
        let outcome = Outcome {
            decision,
            status: OutcomeStatus::Cancelled,
            model: None,
            deployment: None,
            provider: None,
            calls: 0,
            failovers: 0,
            causes: Vec::new(),
            refused_thoughts: 0,
            streamed: false,
            usage: None,
            cost: Usd::default(),
            lost: Vec::new(),
            latency: Duration::ZERO,
            first_token: None,
            answer_id: None,
            finish: None,
            empty: true,
            must_be_json: None,
        };
        Self { outcome, started, charge: None, on_end: Some(Box::new(on_end)), on_step: None }
    }

    /// Adds a watcher that is told every step.
    pub fn watched(mut self, on_step: impl FnMut(Step) + Send + 'static) -> Self {
        self.on_step = Some(Box::new(on_step));
        self
    }

    /// Tells the watcher, if there is one, that the request has reached `step`.
    pub fn notify(&mut self, step: Step) {
        if let Some(on_step) = &mut self.on_step {
            on_step(step);
        }
    }

    /// The outcome as far as known, to be filled in.
    pub fn outcome_mut(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    /// Notes that the first piece of content is here.
    pub fn first_content(&mut self) {
        if self.outcome.first_token.is_none() {
            let elapsed = self.started.elapsed();
            self.outcome.first_token = Some(elapsed);
            self.notify(Step::Answering(elapsed));
        }
    }

    /// Notes that the vendor charges for `usage` of the call under way, even if it fails.
    pub fn charge_if_lost(&mut self, usage: Usage, price: &Price) {
        self.charge = Some((usage, price.of(&usage)));
    }

    /// Notes that the call under way costs nothing unless its answer is used.
    pub fn clear_charge(&mut self) {
        self.charge = None;
    }

    /// Counts the charge of the call under way as lost: it gave no answer.
    pub fn write_off(&mut self) {
        let Some((usage, cost)) = self.charge.take() else { return };
        let outcome = &mut self.outcome;
        let model = outcome.model.as_ref().unwrap_or(&outcome.decision.chosen).clone();
        outcome.lost.push(Loss { model, usage, cost });
        outcome.cost = outcome.lost_cost();
    }

    /// Sets the answer's tokens, and its cost with all that was lost before it.
    pub fn settle(&mut self, usage: Usage, price: &Price) {
        let outcome = &mut self.outcome;
        outcome.usage = Some(usage);
        outcome.cost = outcome.lost_cost() + price.of(&usage);
    }

    /// The decision's id.
    pub fn decision_id(&self) -> crate::protocol::DecisionId {
        self.outcome.decision.id
    }

    /// What `/api/chat` says about an answer besides its content.
    pub(super) fn native_meta(&self, routing: Value) -> NativeMeta {
        NativeMeta {
            cost_usd: Some(self.outcome.cost.0),
            latency_ms: Some(self.started.elapsed().as_millis() as u64),
            routing,
        }
    }

    /// Reports that the request ended with `status`.
    pub fn end(mut self, status: OutcomeStatus) {
        self.outcome.status = status;
        self.finish();
    }

    fn finish(&mut self) {
        self.write_off();
        if let Some(on_end) = self.on_end.take() {
            self.outcome.latency = self.started.elapsed();
            on_end(&self.outcome);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.finish();
    }
}
