//! Walks a plan's models until one answers.
//!
//! **Worst case.** One request makes at most `dispatch.max_attempts` upstream calls, at most `dispatch.attempts_per_model` of
//! them to one model (or one to each of its places, where it has more of them), and takes at most `dispatch.total_timeout_ms`
//! until a whole answer is here or a stream begins, which then has `dispatch.stream_timeout_ms` of its own. A call to a place
//! that already failed this request waits first (for as long as its vendor asked, up to `dispatch.max_retry_after_ms`), and is
//! paid from the retry budget shared by all requests; moving on to another place or model is free, since it does not press on
//! the one that is down. A place that rests because of others is waited for where no other candidate is left.
//!
//! **What moves on.** A broken connection, a vendor that does not take the call in time, an overload, a rate limit, a fault of
//! the upstream: another deployment, the same one after a pause, then the next model. What asking again there would not
//! mend (an answer that had begun and is not ready in time, an id that the vendor does not know, a refused key, a spent quota):
//! another deployment, under another key if it is the key's fault, then the next model. A prompt too long for one model: only
//! models with a larger context; where it should have fitted by far, that place's window is not what it is declared to be, and the
//! next place is asked. A request that is wrong in itself: nowhere, the client is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::HeaderMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Deadlines, Whole, attempt, may_think};
use super::outcome::{Report, Status, Step};
use super::tee::Tee;
use super::{blame, pick, usage};
use crate::codec::{self, AnswerMeta, NativeMeta};
use crate::config;
use crate::protocol::{ApiError, ChatRequest, Dialect, ErrorKind, ModelName, Part};
use crate::route::Plan;
use crate::upstream::{Backoff, Client, Deployment, Model, Permit, Refused, RetryBudget, Verdict};

/// What is to be answered.
#[derive(Debug)]
pub struct Job {
    /// The request.
    pub request: ChatRequest,
    /// About how many tokens its prompt has.
    pub prompt_tokens: u32,
    /// The request as the client sent it.
    pub body: Bytes,
    /// The client's dialect.
    pub dialect: Dialect,
    /// Client headers that a vendor of the same dialect should see (`anthropic-beta`).
    pub headers: HeaderMap,
    /// Now, in Unix milliseconds.
    pub at_ms: i64,
    /// What `/api/chat` says of the routing.
    pub routing: serde_json::Value,
}

/// An answer on its way to the client.
pub struct Reply {
    /// The model that answers.
    pub model: ModelName,
    /// The deployment that answers.
    pub deployment: String,
    /// Request fields that could not be carried over.
    pub dropped: Vec<String>,
    /// The answer in the client's dialect.
    pub body: ReplyBody,
}

/// A body, whole or as it comes.
pub enum ReplyBody {
    /// Whole.
    Whole(Bytes),
    /// As it comes. Dropping it ends the call at the vendor.
    Stream(BoxStream<'static, Result<Bytes, std::convert::Infallible>>),
}

/// One thing that failed.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The model.
    pub model: ModelName,
    /// What went wrong, the deployment named.
    pub error: ApiError,
}

/// No model answered.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What the client is told.
    pub error: ApiError,
    /// What failed, in order.
    pub causes: Vec<Cause>,
}

/// Makes calls, for all requests.
#[derive(Debug)]
pub struct Dispatcher {
    client: Client,
    budget: RetryBudget,
    /// Streams end once this is over.
    closing: CancellationToken,
}

/// What to do after a failed attempt.
enum Next {
    /// Tell the client.
    GiveUp,
    /// Another place of the model, or the same after a pause; then the next model.
    Retry,
    /// Another place of the model, never this one; then the next model.
    Elsewhere,
    /// Another place of the model under another key; then the next model.
    OtherKey,
    /// A place with a larger context.
    Larger,
}

fn next(error: &ApiError) -> Next {
    match error.kind {
        ErrorKind::InvalidRequest | ErrorKind::ContentFilter => Next::GiveUp,
        ErrorKind::ContextOverflow => Next::Larger,
        ErrorKind::RateLimited
        | ErrorKind::Overloaded
        | ErrorKind::Timeout
        | ErrorKind::Connection
        | ErrorKind::Upstream => Next::Retry,
        ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::Quota => Next::OtherKey,
        // How large a body may be says nothing of tokens: a proxy in between may have set it.
        ErrorKind::TooLarge | ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Internal => Next::Elsewhere,
    }
}

/// What one request has been through.
struct Walk {
    calls: u32,
    causes: Vec<Cause>,
    /// No other candidate will be tried after this one.
    last: bool,
    /// A prompt did not fit a context of so many tokens.
    too_small: u32,
    tried: Vec<String>,
    /// Places where asking (again) would be in vain.
    left: Vec<String>,
}

impl Dispatcher {
    /// A dispatcher that calls through `client`.
    pub fn new(client: Client, settings: &config::Dispatch) -> Self {
        Self { client, budget: RetryBudget::new(settings.retry_budget), closing: CancellationToken::new() }
    }

    /// Ends all streams, each with an error event that says why, and whatever would become one.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Takes over new settings.
    pub fn configure(&self, settings: &config::Dispatch) {
        self.budget.configure(settings.retry_budget);
    }

    /// The connections, for calls that are not chat.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Answers `job` by one of the plan's models. The report ends with the answer, or here when there is none.
    ///
    /// # Errors
    ///
    /// When no model answered; told in the report too.
    pub async fn run(
        &self,
        plan: &Plan,
        job: &Job,
        settings: &config::Dispatch,
        mut report: Report,
    ) -> Result<Reply, Failure> {
        let total = Instant::now() + Duration::from_millis(settings.total_timeout_ms);
        let mut walk =
            Walk { calls: 0, causes: Vec::new(), last: false, too_small: 0, tried: Vec::new(), left: Vec::new() };
        self.budget.deposit(std::time::Instant::now());
        let mut failovers = 0;
        for (at, model) in plan.candidates.iter().enumerate() {
            if model.settings.context <= walk.too_small {
                continue;
            }
            walk.last = plan.candidates[at + 1..].iter().all(|later| later.settings.context <= walk.too_small);
            report.so_far().failovers = failovers;
            match self.try_model(model, job, settings, total, &mut walk, &mut report).await {
                Found::Answer(permit, attempted) => {
                    return Ok(answer(model, permit, attempted, job, settings, report, self.closing.clone()));
                }
                Found::GiveUp => break,
                Found::Nothing => failovers += 1,
            }
        }
        let failure = summarise(walk);
        report.end(Status::Failed(failure.error.kind));
        Err(failure)
    }

    async fn try_model(
        &self,
        model: &Arc<Model>,
        job: &Job,
        settings: &config::Dispatch,
        total: Instant,
        walk: &mut Walk,
        report: &mut Report,
    ) -> Found {
        let backoff = Backoff {
            first: Duration::from_millis(settings.backoff_ms),
            longest: Duration::from_millis(settings.backoff_max_ms),
        };
        let patience = Duration::from_millis(settings.max_retry_after_ms);
        let calls = walk.calls;
        let places = u32::try_from(model.deployments.len()).unwrap_or(u32::MAX);
        for round in 0..settings.attempts_per_model.max(places) {
            if walk.calls >= settings.max_attempts || Instant::now() >= total {
                return Found::GiveUp;
            }
            let carries = |place: &Deployment| {
                let dialect = place.provider.dialect;
                let able = codec::obstacle(job.dialect, dialect, &job.request).is_none()
                    && codec::refused_part(dialect, &place.provider.quirks, &job.request).is_none();
                able && !walk.left.contains(&place.name)
            };
            let now = std::time::Instant::now();
            let ready = pick::pick(model, &walk.tried, &carries, now, &mut rand::random::<f64>);
            let found = ready.map(|place| (place, Duration::ZERO)).or_else(|| {
                let worth = |place: &Deployment| carries(place) && (walk.last || walk.tried.contains(&place.name));
                // Beyond that the next candidate is better.
                pick::rested(model, &worth, now).filter(|(_, rest)| *rest <= patience)
            });
            let Some((place, rest)) = found else { break };
            let again = walk.tried.contains(&place.name);
            if again && round >= settings.attempts_per_model {
                break;
            }
            // The same place again: only if retries are not too many already.
            if again && !self.budget.withdraw(std::time::Instant::now()) {
                return Found::Nothing;
            }
            if again || !rest.is_zero() {
                // Not all at once who wait for the same.
                let pause = rest + backoff.pause(round.saturating_sub(1), rand::random());
                if Instant::now() + pause >= total {
                    return Found::GiveUp;
                }
                tokio::time::sleep(pause).await;
            }
            let Some(mut permit) = place.admit(std::time::Instant::now()) else { continue };
            walk.calls += 1;
            report.so_far().calls = walk.calls;
            walk.tried.push(place.name.clone());
            note_place(report, model, &place);
            let deadlines = Deadlines::new(settings, job.request.stream, may_think(model, &job.request), total);
            let failed = match attempt(&self.client, model, &place, job, deadlines, report).await {
                Ok(attempted) => {
                    report.spare();
                    if attempted.speaks() {
                        let now = std::time::Instant::now();
                        permit.settle(&Verdict::Good(permit.age(now)), now, job.at_ms);
                    } else {
                        permit.lives();
                    }
                    return Found::Answer(permit, attempted);
                }
                Err(failed) => failed,
            };
            report.lose();
            let error = failed.error;
            let now = std::time::Instant::now();
            permit.settle(&Verdict::of(&error), now, job.at_ms);
            if place.check(now) == Err(Refused::Breaker) {
                // A vendor's words may quote the prompt; these are ours.
                let why =
                    if error.kind == ErrorKind::Connection { error.message.as_str() } else { error.kind.as_str() };
                tracing::warn!(model = %model.name, deployment = %place.name, why, "A deployment keeps failing and is left alone for a while");
            }
            tracing::debug!(model = %model.name, deployment = %place.name, error.kind = error.kind.as_str(), "An upstream call failed");
            report.step(Step::CallFailed(error.kind));
            let step = next(&error);
            walk.fail(model, error, report);
            match step {
                Next::GiveUp => return Found::GiveUp,
                Next::Larger if !fits_by_far(job, model) => {
                    walk.too_small = walk.too_small.max(model.settings.context);
                    return Found::Nothing;
                }
                Next::Larger | Next::Elsewhere => walk.left.push(place.name.clone()),
                Next::OtherKey => {
                    let same_key =
                        model.deployments.iter().filter(|other| other.provider.name == place.provider.name);
                    walk.left.extend(same_key.map(|other| other.name.clone()));
                }
                Next::Retry if failed.too_slow => walk.left.push(place.name.clone()),
                Next::Retry => {}
            }
        }
        if walk.calls == calls {
            walk.fail(model, unready(model), report);
        }
        Found::Nothing
    }
}

/// Whether a prompt has room to spare in a model's declared window, even if its tokens were counted badly.
fn fits_by_far(job: &Job, model: &Model) -> bool {
    job.prompt_tokens < model.settings.context / 2
}

/// Why a model could not even be asked, and when it can.
fn unready(model: &Model) -> ApiError {
    let now = std::time::Instant::now();
    let back = model.back(now);
    let last = || model.deployments.iter().filter_map(|place| place.status(now).last_error).max_by_key(|it| it.at_ms);
    let (kind, why) = match back {
        Some((_, Refused::Resting)) => (ErrorKind::RateLimited, Refused::Resting.as_str().to_owned()),
        _ => {
            let last = last().map(|it| format!(" (last error: {})", it.kind.as_str())).unwrap_or_default();
            (ErrorKind::Unavailable, format!("no place is healthy{last}"))
        }
    };
    let mut error = ApiError::new(kind, format!("{}: {why}", model.name));
    error.retry_after = back.map(|(wait, _)| wait);
    error
}

impl Attempted {
    /// Whether the answer is here, or has begun; else it only lives.
    fn speaks(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Stream(opened) => opened.due.is_none(),
        }
    }
}

/// What trying a model gave.
enum Found {
    Answer(Permit, Attempted),
    Nothing,
    GiveUp,
}

impl Walk {
    /// Told at once: the client may go away before the walk is over.
    fn fail(&mut self, model: &Model, error: ApiError, report: &mut Report) {
        report.so_far().causes.push((model.name.clone(), error.kind));
        self.causes.push(Cause { model: model.name.clone(), error });
    }
}

fn note_place(report: &mut Report, model: &Model, place: &Deployment) {
    let so_far = report.so_far();
    so_far.model = Some(model.name.clone());
    so_far.deployment = Some(place.name.clone());
    so_far.provider = Some(place.provider.name.clone());
    so_far.backend_dialect = Some(place.provider.dialect);
    report.step(Step::Calling { model: model.name.clone(), deployment: place.name.clone() });
}

/// What the client is told when nobody answered: the common kind of all causes, or a bad gateway.
fn summarise(walk: Walk) -> Failure {
    let Walk { calls, causes, .. } = walk;
    let Some(last) = causes.last() else {
        let error = ApiError::new(ErrorKind::Unavailable, "no model could be tried in time");
        return Failure { error, causes };
    };
    // The request itself was at fault: what the vendor said is what the client needs.
    if matches!(next(&last.error), Next::GiveUp) {
        return Failure { error: last.error.clone(), causes };
    }
    let first = causes[0].error.kind;
    let kind = match first {
        _ if causes.iter().any(|cause| cause.error.kind != first) => ErrorKind::Upstream,
        kind => blame::told(kind),
    };
    let told: Vec<&str> = causes.iter().map(|cause| cause.error.message.as_str()).collect();
    let message = if causes.len() == 1 {
        told.concat()
    } else {
        let after = match calls {
            0 => String::new(),
            1 => " after 1 call".to_owned(),
            calls => format!(" after {calls} calls"),
        };
        format!("no model answered{after}: {}", told.join("; "))
    };
    let mut error = ApiError::new(kind, message);
    error.retry_after = causes.iter().filter_map(|cause| cause.error.retry_after).min();
    Failure { error, causes }
}

fn answer(
    model: &Arc<Model>,
    permit: Permit,
    attempted: Attempted,
    job: &Job,
    settings: &config::Dispatch,
    report: Report,
    closing: CancellationToken,
) -> Reply {
    let deployment = permit.deployment().name.clone();
    let meta = AnswerMeta {
        id: answer_id(job.dialect, &report),
        model: model.name.to_string(),
        created: job.at_ms / 1000,
        native: None,
    };
    let (dropped, body) = match attempted {
        Attempted::Whole(whole) => whole_answer(model, *whole, job, meta, report),
        Attempted::Stream(mut opened) => {
            let dropped = std::mem::take(&mut opened.dropped);
            let deadlines = Deadlines::of_stream(settings, opened.due);
            let tee = Tee::new(Arc::clone(model), permit, *opened, job, deadlines, meta, report).until(closing);
            (dropped, ReplyBody::Stream(tee.into_stream()))
        }
    };
    Reply { model: model.name.clone(), deployment, dropped, body }
}

/// The answer's id, in the form the client's dialect gives ids.
fn answer_id(dialect: Dialect, report: &Report) -> String {
    let id = report.decision_id();
    match dialect {
        Dialect::OpenAi => format!("chatcmpl-{}", id.0.as_simple()),
        Dialect::Anthropic => format!("msg_{}", id.0.as_simple()),
        Dialect::Ollama | Dialect::Native => id.to_string(),
    }
}

fn whole_answer(
    model: &Model,
    whole: Whole,
    job: &Job,
    mut meta: AnswerMeta,
    mut report: Report,
) -> (Vec<String>, ReplyBody) {
    let response = whole.response;
    report.settle(usage::of_whole(&response, job.prompt_tokens), &model.settings.price);
    let so_far = report.so_far();
    so_far.finish = Some(response.finish_reason);
    so_far.empty = !response.parts.iter().any(says_something);
    so_far.must_be_json = json_text(job, &response.parts);
    report.first_content();
    let body = match whole.raw {
        Some(raw) => raw,
        None => {
            meta.native = Some(NativeMeta {
                cost_usd: Some(report.so_far().cost.0),
                latency_ms: Some(report.elapsed().as_millis() as u64),
                routing: job.routing.clone(),
            });
            codec::encode_response(job.dialect, &response, &meta)
        }
    };
    report.end(Status::Ok);
    (whole.dropped, ReplyBody::Whole(body))
}

/// The text of an answer that had to be JSON and called no tool.
fn json_text(job: &Job, parts: &[Part]) -> Option<String> {
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    if job.request.response_format.is_none() || calls {
        return None;
    }
    let text = parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    Some(text.collect())
}

fn says_something(part: &Part) -> bool {
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => !text.trim().is_empty(),
        Part::ToolCall { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(calls: u32, kinds: &[ErrorKind]) -> String {
        let cause = |kind: &ErrorKind| Cause { model: "m".into(), error: ApiError::new(*kind, kind.as_str()) };
        let causes = kinds.iter().map(cause).collect();
        summarise(Walk { calls, causes, last: true, too_small: 0, tried: Vec::new(), left: Vec::new() }).error.message
    }

    #[test]
    fn only_calls_that_were_made_are_counted() {
        use ErrorKind::{Timeout, Unavailable};
        assert_eq!(told(0, &[Unavailable, Unavailable]), "no model answered: unavailable; unavailable");
        assert_eq!(told(1, &[Unavailable, Timeout]), "no model answered after 1 call: unavailable; timeout");
        assert_eq!(
            told(2, &[Timeout, Timeout, Unavailable]),
            "no model answered after 2 calls: timeout; timeout; unavailable"
        );
    }
}
