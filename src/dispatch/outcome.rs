//! What happened, told once, when the answer really ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::{Dialect, ErrorKind, FinishReason, ModelName, Usage, Usd};
use crate::route::Decision;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The client has the whole answer.
    Ok,
    /// The client has an error, or an answer that broke off.
    Failed(ErrorKind),
    /// The client went away.
    Cancelled,
}

impl Status {
    /// The status in logs and metrics: `ok`, `cancelled`, or the error's code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => kind.as_str(),
            Self::Cancelled => "cancelled",
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The choice it came of.
    pub decision: Arc<Decision>,
    /// How it ended.
    pub status: Status,
    /// The model that answered; failover may have moved on from the chosen one.
    pub model: Option<ModelName>,
    /// Its deployment.
    pub deployment: Option<String>,
    /// Its provider.
    pub provider: Option<String>,
    /// The dialect its provider speaks.
    pub backend_dialect: Option<Dialect>,
    /// Upstream calls made.
    pub calls: u32,
    /// Models that were tried before the one that answered.
    pub failovers: u32,
    /// What failed on the way, in order.
    pub causes: Vec<(ModelName, ErrorKind)>,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Tokens, where the vendor said so. Of a stream that ended early those it had not counted yet are estimated: it
    /// charges for them all the same.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Usd,
    /// From the request's arrival to the end.
    pub latency: Duration,
    /// From the request's arrival to the first piece of content.
    pub first_token: Option<Duration>,
    /// Why the answer ended.
    pub finish: Option<FinishReason>,
    /// Whether the answer had neither text nor a tool call.
    pub empty: bool,
    /// The answer's text where it had to be JSON; absent where it need not, called a tool, or grew too long to keep.
    pub must_be_json: Option<String>,
}

/// A step of a request on its way, for those who watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// An upstream is asked.
    Calling {
        /// The model.
        model: ModelName,
        /// Its deployment.
        deployment: String,
    },
    /// That call failed.
    CallFailed(ErrorKind),
    /// The first piece of content is here, so long after the request's arrival.
    Answering(Duration),
}

/// Who hears how a request ended.
type Tell = dyn FnOnce(&Outcome) + Send;

/// Gathers the outcome of one request and tells it exactly once: when it is [ended](Report::end), or when it is
/// dropped, which means that the client went away.
pub struct Report {
    outcome: Outcome,
    started: Instant,
    tell: Option<Box<Tell>>,
    watch: Option<Box<dyn FnMut(Step) + Send>>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl Report {
    /// A report on the request that arrived at `started`; `tell` hears the end.
    pub fn new(decision: Arc<Decision>, started: Instant, tell: impl FnOnce(&Outcome) + Send + 'static) -> Self {
        let outcome = Outcome {
            decision,
            status: Status::Cancelled,
            model: None,
            deployment: None,
            provider: None,
            backend_dialect: None,
            calls: 0,
            failovers: 0,
            causes: Vec::new(),
            streamed: false,
            usage: None,
            cost: Usd::default(),
            latency: Duration::ZERO,
            first_token: None,
            finish: None,
            empty: true,
            must_be_json: None,
        };
        Self { outcome, started, tell: Some(Box::new(tell)), watch: None }
    }

    /// With somebody who hears every step on the way.
    pub fn watched(mut self, watch: impl FnMut(Step) + Send + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// It is a step further.
    pub fn step(&mut self, step: Step) {
        if let Some(watch) = &mut self.watch {
            watch(step);
        }
    }

    /// What is known so far.
    pub fn so_far(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    /// The first piece of content is here.
    pub fn first_content(&mut self) {
        if self.outcome.first_token.is_none() {
            let elapsed = self.started.elapsed();
            self.outcome.first_token = Some(elapsed);
            self.step(Step::Answering(elapsed));
        }
    }

    /// The decision's id.
    pub fn decision_id(&self) -> crate::protocol::DecisionId {
        self.outcome.decision.id
    }

    /// Time since the request arrived.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells how it ended.
    pub fn end(mut self, status: Status) {
        self.outcome.status = status;
        self.tell();
    }

    fn tell(&mut self) {
        if let Some(tell) = self.tell.take() {
            self.outcome.latency = self.started.elapsed();
            tell(&self.outcome);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.tell();
    }
}
