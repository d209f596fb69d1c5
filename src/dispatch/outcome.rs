//! What happened, told once, when the answer really ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::{Dialect, ErrorKind, FinishReason, ModelName, OutcomeStatus, Price, Usage, Usd};
use crate::route::Decision;

/// What happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The choice it came of.
    pub decision: Arc<Decision>,
    /// How it ended.
    pub status: OutcomeStatus,
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
    /// Tokens of the answer. What the vendor did not count (it never does, or the stream ended early) is estimated:
    /// it charges for them all the same. Where there is no answer, those of the last call that failed at a price.
    pub usage: Option<Usage>,
    /// What it cost, `lost` included.
    pub cost: Usd,
    /// What calls cost that gave no answer.
    pub lost: Usd,
    /// From the request's arrival to the end.
    pub latency: Duration,
    /// From the request's arrival to the first piece of content.
    pub first_token: Option<Duration>,
    /// The answer's id, as the vendor gave it; streams of few vendors begin without.
    pub answer_id: Option<String>,
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
    /// Tokens, and their price, of a call under way that its vendor charges for whatever becomes of it.
    risk: Option<(Usage, Usd)>,
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
            status: OutcomeStatus::Cancelled,
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
            lost: Usd::default(),
            latency: Duration::ZERO,
            first_token: None,
            answer_id: None,
            finish: None,
            empty: true,
            must_be_json: None,
        };
        Self { outcome, started, risk: None, tell: Some(Box::new(tell)), watch: None }
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

    /// A call is under way that its vendor charges for whatever becomes of it: for so many tokens so far.
    pub fn risk(&mut self, usage: Usage, price: &Price) {
        self.risk = Some((usage, price.of(&usage)));
    }

    /// The vendor will not charge for the call under way, or for no other reason than its answer.
    pub fn spare(&mut self) {
        self.risk = None;
    }

    /// The call under way came to nothing: what it put at risk is lost.
    pub fn lose(&mut self) {
        let Some((usage, cost)) = self.risk.take() else { return };
        let so_far = &mut self.outcome;
        so_far.usage = Some(usage);
        so_far.lost += cost;
        so_far.cost = so_far.lost;
    }

    /// The tokens of the answer, and what it cost with all that was lost before it.
    pub fn settle(&mut self, usage: Usage, price: &Price) {
        let so_far = &mut self.outcome;
        so_far.usage = Some(usage);
        so_far.cost = so_far.lost + price.of(&usage);
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
    pub fn end(mut self, status: OutcomeStatus) {
        self.outcome.status = status;
        self.tell();
    }

    fn tell(&mut self) {
        self.lose();
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
