//! Routing inside another program, without HTTP.
//!
//! [`Pointsman`] is the gateway without its listeners: the same configuration, the same catalog, rules, classifier,
//! policy and decision log, and the same background tasks that learn from what is reported. The program asks which
//! model a request should go to, makes the call itself, and reports its outcome.
//!
//! Where there is no model to read prompts, or no directory that can be written, it starts all the same and says so by
//! `tracing`: the program should set a subscriber, or look at [`Pointsman::health`].
//!
//! ```
//! use pointsman::config::LoadArgs;
//! use pointsman::protocol::{ChatRequest, Message, Role, Usage};
//! use pointsman::store::{FeedbackKind, OutcomeStatus, Thumb};
//! use pointsman::{CallReport, Pointsman};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! // Keys make models eligible; nobody is called here. Usually the environment is the process's own.
//! let environment = [("OPENAI_API_KEY", "sk-..."), ("ANTHROPIC_API_KEY", "sk-ant-...")];
//! let data_dir = format!("'{}'", dir.path().display());
//! let pointsman = Pointsman::start(LoadArgs {
//!     dir: dir.path().to_owned(),
//!     file: None,
//!     environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
//!     flags: vec![("example".to_owned(), "server.data_dir".to_owned(), data_dir)],
//!     sandbox: None,
//! })?;
//!
//! let request = ChatRequest {
//!     model: "auto:cost".to_owned(),
//!     messages: vec![Message::text(Role::User, "Why is the sky blue?")],
//!     ..ChatRequest::default()
//! };
//! let plan = pointsman.route(&request).await?;
//! let decision = &plan.decision;
//! println!("{}: {} ({:.0} %)", decision.chosen, decision.reason, decision.propensity * 100.0);
//! assert_eq!(plan.candidates[0].name, decision.chosen);
//!
//! // ... call `plan.candidates` in order until one answers, and report what happened:
//! let mut report = CallReport::new(OutcomeStatus::Ok);
//! report.latency_ms = Some(812.0);
//! report.usage = Some(Usage { input_tokens: 14, output_tokens: 120, ..Usage::default() });
//! pointsman.report_outcome(decision.id, report).await?;
//! pointsman.report_feedback(decision.id, FeedbackKind::Thumbs(Thumb::Up)).await?;
//!
//! pointsman.shutdown().await;
//! # Ok(())
//! # }
//! ```

use http::HeaderMap;
use jiff::Timestamp;

use crate::app::{Engine, StartError};
use crate::config::{self, LoadArgs};
use crate::gateway::call_report::{self, CallReport};
use crate::gateway::{fresh_id, health};
use crate::protocol::{ApiError, ChatRequest, DecisionId};
use crate::route::Plan;
use crate::store::{FeedbackKind, FeedbackRecord};
use crate::tuner::{Ack, FeedbackError};

/// A gateway without listeners, for another program.
#[derive(Debug)]
pub struct Pointsman {
    engine: Engine,
}

impl Pointsman {
    /// Loads the configuration as `serve` would, opens the decision log, and starts the tasks that learn from it.
    /// Within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the configuration is wrong, or another process has the data directory: see [`StartError`].
    pub fn start(args: LoadArgs) -> Result<Self, StartError> {
        let loaded = config::load(&args)?;
        let engine = Engine::start(args, loaded)?;
        engine.gateway.set_ready(true);
        Ok(Self { engine })
    }

    /// Which models a request should go to, in the order to try them, and why. The decision goes to the decision log.
    ///
    /// # Errors
    ///
    /// When no model can serve it.
    pub async fn route(&self, request: &ChatRequest) -> Result<Plan, ApiError> {
        let gateway = &self.engine.gateway;
        let live = gateway.live();
        gateway.dry_run(&live, request, &HeaderMap::new(), None).await
    }

    /// Reports the outcome of a call. A later report about the same decision replaces it.
    ///
    /// # Errors
    ///
    /// When there is no such decision, or the decision log cannot be read now.
    pub async fn report_outcome(&self, decision: DecisionId, report: CallReport) -> Result<(), ApiError> {
        call_report::accept(&self.engine.gateway, decision, report).await
    }

    /// Reports what somebody thinks of an answer; returns once that is on disk.
    ///
    /// # Errors
    ///
    /// When there is no such decision, the value is out of range, or the decision log cannot take it now.
    pub async fn report_feedback(&self, decision: DecisionId, kind: FeedbackKind) -> Result<Ack, FeedbackError> {
        let now_ms = Timestamp::now().as_millisecond();
        let record = FeedbackRecord::of(decision, fresh_id().to_string(), kind, now_ms);
        self.engine.gateway.recorder.feedback(record).await
    }

    /// The answer of `GET /health`.
    pub fn health(&self) -> serde_json::Value {
        health::report(&self.engine.gateway)
    }

    /// Ends the tasks, and writes the records that still wait for the decision log.
    pub async fn shutdown(self) {
        self.engine.stop().await;
    }
}
