//! A caller's report of a call that it made itself, over HTTP or in the program that embeds the gateway.

use std::time::Duration;

use jiff::Timestamp;

use super::conversation::Conversation;
use super::{Gateway, call_bounds};
use crate::protocol::{ApiError, DecisionId, ErrorKind, FinishReason, ModelName, Usage};
use crate::route::Answered;
use crate::store::{Entry, OutcomeRecord, OutcomeStatus, Seen, signals};

/// How long the decision log may take over all steps, each of which has a deadline of its own.
const LOG_TIMEOUT: Duration = Duration::from_secs(15);

/// The outcome of a call that the caller made itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CallReport {
    /// How the call ended.
    pub status: OutcomeStatus,
    /// The model that was called; the chosen one where absent.
    pub model: Option<String>,
    /// From the request to the end, milliseconds.
    pub latency_ms: Option<f64>,
    /// From the request to the first piece of content, milliseconds.
    pub first_token_ms: Option<f64>,
    /// Tokens as the vendor counted them.
    pub usage: Option<Usage>,
    /// The cost in US dollars; by the model's configured price where absent.
    pub cost_usd: Option<f64>,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
}

impl CallReport {
    /// A report of how a call ended, with nothing else known.
    pub fn new(status: OutcomeStatus) -> Self {
        Self {
            status,
            model: None,
            latency_ms: None,
            first_token_ms: None,
            usage: None,
            cost_usd: None,
            finish_reason: None,
        }
    }
}

/// Records the outcome of a dry run's call. A later report about the same decision replaces it.
///
/// # Errors
///
/// `NotFound` when there is no such decision or model, `InvalidRequest` when the gateway made the call itself or a
/// figure is below 0 or more than one call can be, `Unavailable` while the store cannot be read in time.
pub async fn accept(gateway: &Gateway, id: DecisionId, report: CallReport) -> Result<(), ApiError> {
    let accepted = tokio::time::timeout(LOG_TIMEOUT, check_and_record(gateway, id, report)).await;
    accepted.unwrap_or_else(|_| {
        let message = "the decision log takes too long; send the report again, a later one replaces it";
        Err(ApiError::new(ErrorKind::Unavailable, message).after(Duration::from_secs(2)))
    })
}

async fn check_and_record(gateway: &Gateway, id: DecisionId, report: CallReport) -> Result<(), ApiError> {
    let live = gateway.live();
    // One report on a decision at a time, so that a later one sees the earlier one and charges only the difference.
    let _one_at_a_time = gateway.admission.report_on(id).await;
    gateway.flush_log().await?;
    let entry = find(gateway, id).await?;
    if !entry.decision.request.dry_run {
        let message = "the gateway made this call itself and knows how it ended; outcomes are for /api/route";
        return Err(ApiError::invalid(message).at("decision_id"));
    }
    let model = match &report.model {
        None => entry.decision.chosen.clone(),
        Some(name) => {
            let known = live.catalog.find(name).map(|model| model.name.clone());
            known.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such model").at("model"))?
        }
    };
    call_bounds::check(&report, live.catalog.find(model.as_str()).map(|model| &model.settings))?;
    let record = record(id, model, report, |model, usage| {
        live.catalog.find(model.as_str()).map(|model| model.settings.price.of(usage).0)
    });
    let before = entry.outcome.as_ref();
    // The last report counts, as it does where a restart adds up the decision log.
    let more = record.cost_usd.unwrap_or(0.0) - before.and_then(|before| before.cost_usd).unwrap_or(0.0);
    if before.is_none() {
        gateway.observe(&record);
    } else if more > 0.0 {
        // A corrected report is of the same call, so its speed is known; that it cost more is news.
        gateway.budgets.spent(more, record.at_ms as f64 / 1e3);
    }
    let request = &entry.decision.request;
    gateway.owe(request.token.as_deref(), more);
    // A corrected report is of the same answer, and moves the conversation no further.
    let is_correction = before.is_some_and(|before| (before.status, &before.model) == (record.status, &record.model));
    let conversation = Conversation::of_record(request).filter(|_| !is_correction);
    if let (OutcomeStatus::Ok, Some(model), Some(conversation)) = (record.status, &record.model, conversation) {
        let estimated = Usage { input_tokens: u64::from(request.prompt_tokens), ..Usage::default() };
        let answered = Answered { model, deployment: None, refused_thoughts: 0, is_whole: true };
        gateway.note_stay(&conversation, answered, &record.usage.unwrap_or(estimated));
    }
    gateway.recorder.outcome(record);
    Ok(())
}

fn record(
    id: DecisionId,
    model: ModelName,
    report: CallReport,
    price: impl Fn(&ModelName, &Usage) -> Option<f64>,
) -> OutcomeRecord {
    let CallReport { status, finish_reason, usage, .. } = report;
    let seen = Seen { status, finish_reason, empty: false, must_be_json: None };
    OutcomeRecord {
        attempts: 1,
        usage,
        cost_usd: report.cost_usd.or_else(|| price(&model, usage.as_ref()?)),
        latency_ms: report.latency_ms,
        first_token_ms: report.first_token_ms,
        finish_reason,
        signals: signals(&seen),
        model: Some(model),
        ..OutcomeRecord::ended(id, Timestamp::now().as_millisecond(), status)
    }
}

/// The decision's entry, as far as it is written.
async fn find(gateway: &Gateway, id: DecisionId) -> Result<Entry, ApiError> {
    let entry = gateway.with_store(move |store| store.entry(id)).await?;
    entry.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such decision").at("decision_id"))
}
