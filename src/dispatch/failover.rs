//! Walks a plan's models until one answers.
//!
//! **Worst case.** One request makes at most `dispatch.max_attempts` upstream calls, at most
//! `dispatch.attempts_per_model` of them to one model (or one to each of its deployments, where it has more of them),
//! and takes at most `dispatch.total_timeout_ms` until a whole answer is here or a stream begins, which then has
//! `dispatch.stream_timeout_ms` of its own. A repeated call to a deployment that already failed this request waits
//! first (as long as its vendor asked, up to `dispatch.max_retry_after_ms`), and is paid from the retry budget shared
//! by all requests; moving on to another deployment or model is free, since it puts no load on the one that is down.
//! A deployment that pauses because of other requests is waited for where no other candidate is left. A call that
//! OpenAI's Responses refuses and Chat Completions may take counts as one, see [`super::attempt`].
//!
//! **Failover.** A broken connection, a vendor that does not take the call in time, an overload, a rate limit, a
//! fault of the upstream: another deployment, the same one after a pause, then the next model. What a retry there
//! would not mend (an answer that had begun and is not ready in time, or that lacks the demanded tool call; an id
//! that the vendor does not know, what another account has sealed or keeps, a refused key, a spent quota): another
//! deployment, under another key if the key is the cause, then the next model. A prompt too long for one model: only
//! models with a larger context; but where it should have fitted by far, the deployment's context is smaller than
//! declared, and the model's next deployment is asked. A field that one model does not take: another deployment, then
//! the next model. A request that is wrong in itself: no failover, the client is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Attempted, Deadlines, Failed, may_think};
use super::job::{Cause, Failure, Job, Reply};
use super::outcome::{Report, Setback, Step};
use super::pick::Home;
use super::reply::Answering;
use super::{pick, tee, vendor_error};
use crate::codec::{self, Forcing};
use crate::config;
use crate::protocol::{ApiError, Dialect, ErrorKind, ModelName, OutcomeStatus};
use crate::route::Excluded;
use crate::route::Plan;
use crate::upstream::{Backoff, CallVerdict, Client, Deployment, Model, Permit, Refused, RetryBudget};

/// Makes the upstream calls of all requests.
#[derive(Debug)]
pub struct Dispatcher {
    client: Client,
    budget: RetryBudget,
    /// Cancelled at shutdown: all streams end then.
    closing: CancellationToken,
}

/// What to do after a failed attempt.
enum Next {
    /// No further call: tell the client.
    GiveUp,
    /// Another deployment of the model, or the same after a pause; then the next model.
    Retry,
    /// Another deployment of the model, never this one; then the next model.
    Elsewhere,
    /// Another deployment of the model under another key; then the next model.
    OtherKey,
    /// Another model, with a larger context.
    LargerContext,
}

fn next(error: &ApiError) -> Next {
    match error.kind {
        ErrorKind::InvalidRequest if error.by_model => Next::Elsewhere,
        ErrorKind::InvalidRequest | ErrorKind::ContentFilter => Next::GiveUp,
        ErrorKind::ContextOverflow => Next::LargerContext,
        ErrorKind::RateLimited
        | ErrorKind::Overloaded
        | ErrorKind::Timeout
        | ErrorKind::Connection
        | ErrorKind::Upstream => Next::Retry,
        ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::Quota => Next::OtherKey,
        // A limit on the body's bytes says nothing about tokens: a proxy in between may have set it.
        ErrorKind::TooLarge
        | ErrorKind::SlowBody
        | ErrorKind::NotFound
        | ErrorKind::Unavailable
        | ErrorKind::Internal => Next::Elsewhere,
    }
}

impl Dispatcher {
    /// A dispatcher that calls through `client`.
    pub fn new(client: Client, settings: &config::Dispatch) -> Self {
        Self { client, budget: RetryBudget::new(settings.retry_budget), closing: CancellationToken::new() }
    }

    /// Ends all streams, each with an error event that says why, and all requests that have no answer yet.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Whether all that ends unfinished now was cut off by the shutdown.
    pub fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Takes over new settings.
    pub fn configure(&self, settings: &config::Dispatch) {
        self.budget.configure(settings.retry_budget);
    }

    /// The HTTP client, for calls that are not chat.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Answers `job` with one of the plan's models. The report ends with the answer, or here when there is none.
    ///
    /// # Errors
    ///
    /// When no model answered (the report says so, too), or when the gateway shuts down before one did.
    pub async fn run(
        &self,
        plan: &Plan,
        job: &Job,
        settings: &config::Dispatch,
        report: Report,
    ) -> Result<Reply, Failure> {
        tokio::select! {
            biased;
            reply = Walk::new(self, plan, job, settings, report).run() => reply,
            () = self.closing.cancelled() => Err(Failure { error: tee::shutting_down(), lasting: false }),
        }
    }
}

/// The result of trying one model.
enum Tried {
    Answered(Permit, Attempted),
    NoAnswer,
    GiveUp,
}

/// One request on its way through the plan, and what has happened to it.
struct Walk<'a> {
    dispatcher: &'a Dispatcher,
    plan: &'a Plan,
    job: &'a Job,
    home: Option<Home<'a>>,
    settings: &'a config::Dispatch,
    /// When the walk must be over.
    total: Instant,
    report: Report,
    calls: u32,
    causes: Vec<Cause>,
    /// No other candidate will be tried after this one.
    last: bool,
    /// The request demands a call, nobody could be made to make it, and now models are told to in words.
    in_words: bool,
    /// Largest context, in tokens, that the prompt did not fit.
    overflowed: u32,
    tried: Vec<Arc<str>>,
    /// Deployments where a (further) call would be in vain.
    ruled_out: Vec<Arc<str>>,
}

impl<'a> Walk<'a> {
    fn new(
        dispatcher: &'a Dispatcher,
        plan: &'a Plan,
        job: &'a Job,
        settings: &'a config::Dispatch,
        report: Report,
    ) -> Self {
        Self {
            dispatcher,
            plan,
            job,
            home: plan.stay.as_ref().and_then(|stay| Home::of(stay, || codec::returns_what_is_sealed(&job.request))),
            settings,
            total: Instant::now() + Duration::from_millis(settings.total_timeout_ms),
            report,
            calls: 0,
            causes: Vec::new(),
            last: false,
            in_words: false,
            overflowed: 0,
            tried: Vec::new(),
            ruled_out: Vec::new(),
        }
    }

    /// Tries the candidates in order, and ends the report where none answers.
    async fn run(mut self) -> Result<Reply, Failure> {
        self.dispatcher.budget.deposit(std::time::Instant::now());
        let Self { plan, job, settings, .. } = self;
        let mut failovers = 0;
        let rounds: &[bool] = if job.request.must_call() { &[false, true] } else { &[false] };
        let turns = rounds.iter().flat_map(|in_words| (0..plan.candidates.len()).map(|at| (*in_words, at)));
        for (in_words, at) in turns {
            self.in_words = in_words;
            let model = &plan.candidates[at];
            if !self.is_turn(model) {
                continue;
            }
            self.last = !plan.candidates[at + 1..].iter().any(|later| self.is_turn(later));
            self.report.outcome_mut().failovers = failovers;
            match self.try_model(model).await {
                Tried::Answered(permit, attempted) => {
                    let closing = self.dispatcher.closing.clone();
                    let answering = Answering { model, job, settings, closing };
                    return Ok(answering.reply(permit, attempted, self.report));
                }
                Tried::GiveUp => break,
                Tried::NoAnswer => failovers += 1,
            }
        }
        let lasting = self.is_lasting();
        let error = summarise(self.calls, &self.causes, &plan.away);
        self.report.end(OutcomeStatus::Failed(error.kind));
        Err(Failure { error, lasting })
    }

    /// Whether the model is asked in this round: its context is larger than those the prompt did not fit, and a call
    /// that is demanded can be had of it in this round's way.
    fn is_turn(&self, model: &Model) -> bool {
        let (client, request) = (self.job.dialect, &self.job.request);
        let can_be_told = |deployment: &Arc<Deployment>| {
            let forcing = model.forcing_at(deployment, client, request);
            forcing == Forcing::InWords && self.says(deployment) && !self.tried.contains(&deployment.name)
        };
        let is_way = if self.in_words {
            model.deployments.iter().any(can_be_told)
        } else {
            let (now, patience) = (std::time::Instant::now(), self.patience());
            model.forcing(client, request, now, patience, &|it| self.says(it)) != Forcing::InWords
        };
        is_way && model.settings.context > self.overflowed
    }

    /// The longest pause of a vendor that is waited for: after a longer one the next candidate is better.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.settings.max_retry_after_ms)
    }

    /// Calls the model's deployments, one after another, until one answers or further calls would be in vain.
    async fn try_model(&mut self, model: &Arc<Model>) -> Tried {
        let calls = self.calls;
        let rounds_of_one = self.settings.attempts_per_model;
        let deployments = u32::try_from(model.deployments.len()).unwrap_or(u32::MAX);
        for round in 0..rounds_of_one.max(deployments) {
            if self.calls >= self.settings.max_attempts || Instant::now() >= self.total {
                return Tried::GiveUp;
            }
            let Some((deployment, rest)) = self.next_deployment(model) else { break };
            let again = self.tried.contains(&deployment.name);
            if again && round >= rounds_of_one {
                break;
            }
            // A retry at the same deployment: only within the retry budget.
            if again && !self.dispatcher.budget.withdraw(std::time::Instant::now()) {
                return Tried::NoAnswer;
            }
            if again || !rest.is_zero() {
                let Some(pause) = self.pause(rest, round) else { return Tried::GiveUp };
                tokio::time::sleep(pause).await;
            }
            let Some(permit) = deployment.admit(std::time::Instant::now()) else { continue };
            let failed = match self.call(model, &deployment, permit).await {
                Ok((permit, attempted)) => return Tried::Answered(permit, attempted),
                Err(failed) => failed,
            };
            if let Some(found) = self.learn_from(model, &deployment, failed) {
                return found;
            }
        }
        if self.calls == calls || self.misses_account(model) {
            self.record_failure(model, unready(model), false);
        }
        Tried::NoAnswer
    }

    /// Whether the model's last answer was of an account that another's things may have been sent to, and there is another
    /// that takes no call now: that is no mistake of the client's, who may ask again.
    fn misses_account(&self, model: &Model) -> bool {
        let now = std::time::Instant::now();
        let comes_back = |deployment: &Deployment| match deployment.available_in(now) {
            Some((_, Refused::Breaker(Some(kind)))) => !vendor_error::is_lasting(kind),
            refused => refused.is_some(),
        };
        let is_away = |deployment: &Arc<Deployment>| {
            !self.tried.contains(&deployment.name) && comes_back(deployment) && self.says(deployment)
        };
        let last = self.causes.last().filter(|cause| cause.model == model.name);
        last.is_some_and(|cause| codec::may_be_for_another_account(&cause.error))
            && model.deployments.iter().any(is_away)
    }

    /// Whether the request can be said to the deployment, as far as it was not found otherwise.
    fn says(&self, deployment: &Deployment) -> bool {
        let (client, request) = (self.job.dialect, &self.job.request);
        let (dialect, quirks) = (deployment.provider.dialect, &deployment.provider.quirks);
        let passes = || deployment.passes_to_responses(client, request, std::time::Instant::now());
        (codec::obstacle(client, dialect, request).is_none() || passes())
            && codec::refused_part(client, dialect, quirks, request).is_none()
            && !self.ruled_out.contains(&deployment.name)
    }

    /// The deployment to call next, and the time left of the pause that its vendor asked for.
    fn next_deployment(&self, model: &Model) -> Option<(Arc<Deployment>, Duration)> {
        let now = std::time::Instant::now();
        let carries = |deployment: &Deployment| {
            let forcing = model.forcing_at(deployment, self.job.dialect, &self.job.request);
            let is_way = if self.in_words { forcing == Forcing::InWords } else { forcing.is_sure() };
            is_way && self.says(deployment)
        };
        let ready = pick::pick(model, self.home, &self.tried, &carries, now, &mut rand::random::<f64>);
        ready.map(|deployment| (deployment, Duration::ZERO)).or_else(|| {
            let worth =
                |deployment: &Deployment| carries(deployment) && (self.last || self.tried.contains(&deployment.name));
            pick::first_rested(model, &worth, now).filter(|(_, rest)| *rest <= self.patience())
        })
    }

    /// How long to wait before the next call, the vendor's pause included; `None` = longer than the walk may take.
    fn pause(&self, rest: Duration, round: u32) -> Option<Duration> {
        let backoff = Backoff {
            first: Duration::from_millis(self.settings.backoff_ms),
            longest: Duration::from_millis(self.settings.backoff_max_ms),
        };
        // Jitter also after a vendor's pause: all requests that wait for it must not come back together.
        let pause = rest + backoff.pause(round.saturating_sub(1), rand::random());
        (Instant::now() + pause < self.total).then_some(pause)
    }

    /// Makes one call, and reports its result to the deployment.
    async fn call(
        &mut self,
        model: &Model,
        deployment: &Deployment,
        mut permit: Permit,
    ) -> Result<(Permit, Attempted), Failed> {
        self.calls += 1;
        self.tried.push(deployment.name.clone());
        self.note_deployment(model, deployment);
        let job = self.job;
        permit.asks(job.body.clone());
        let thinks = may_think(model, &job.request);
        let deadlines = Deadlines::new(self.settings, job.request.stream, thinks, self.total);
        let home = self.home.filter(|home| refuses_as_at(home, model, deployment));
        let refused_thoughts = home.map_or(0, |home| home.refused_thoughts);
        let attempt = Attempt::new(model, deployment, job, deadlines).without_thoughts(refused_thoughts);
        match attempt.run(&self.dispatcher.client, &mut self.report).await {
            Ok(attempted) => {
                self.report.clear_charge();
                if attempted.has_begun() {
                    permit.settle_good(std::time::Instant::now(), job.at_ms);
                } else {
                    permit.responds();
                }
                Ok((permit, attempted))
            }
            Err(failed) => {
                self.report.write_off();
                let verdict =
                    if failed.error.by_model { CallVerdict::Unrelated } else { CallVerdict::of(&failed.error) };
                permit.settle(&verdict, std::time::Instant::now(), job.at_ms);
                Err(failed)
            }
        }
    }

    /// Takes a failed call into account: which deployments to leave out from now on, and whether to end with this
    /// model.
    fn learn_from(&mut self, model: &Model, deployment: &Deployment, failed: Failed) -> Option<Tried> {
        let Failed { error, too_slow } = failed;
        let by_model = error.by_model;
        if matches!(deployment.check(std::time::Instant::now()), Err(Refused::Breaker(_))) {
            // A vendor's words may quote the prompt; those of a connection error are ours.
            let why = if error.kind == ErrorKind::Connection { error.message.as_str() } else { error.kind.as_str() };
            tracing::warn!(
                model = model.name.as_str(),
                deployment = &*deployment.name,
                why,
                "A deployment keeps failing and is left alone for a while"
            );
        }
        tracing::debug!(
            model = model.name.as_str(),
            deployment = &*deployment.name,
            error.kind = error.kind.as_str(),
            "An upstream call failed"
        );
        self.report.notify(Step::CallFailed(error.kind));
        let step = next(&error);
        self.record_failure(model, error, true);
        match step {
            Next::GiveUp => return Some(Tried::GiveUp),
            Next::LargerContext if !fits_by_far(self.job, model) => {
                self.overflowed = self.overflowed.max(model.settings.context);
                return Some(Tried::NoAnswer);
            }
            Next::LargerContext | Next::Elsewhere => self.ruled_out.push(deployment.name.clone()),
            Next::OtherKey => {
                let same_key =
                    model.deployments.iter().filter(|other| other.provider.name == deployment.provider.name);
                self.ruled_out.extend(same_key.map(|other| other.name.clone()));
            }
            Next::Retry if too_slow || by_model => self.ruled_out.push(deployment.name.clone()),
            Next::Retry => {}
        }
        None
    }

    /// Whether the same request would fail in the same way if sent again at once: every candidate was asked, and time
    /// mends none of their errors.
    fn is_lasting(&self) -> bool {
        let (plan, now) = (self.plan, std::time::Instant::now());
        let was_asked = |model: &ModelName| self.causes.iter().any(|cause| cause.model == *model);
        let is_away = |deployment: &Arc<Deployment>| {
            !self.tried.contains(&deployment.name) && deployment.available_in(now).is_some()
        };
        plan.away.is_empty()
            && plan.decision.candidates.iter().all(|candidate| was_asked(&candidate.model))
            && self.causes.iter().all(|cause| vendor_error::is_lasting(cause.error.kind))
            && !plan.candidates.iter().flat_map(|model| &model.deployments).any(is_away)
    }

    /// Recorded in the report at once, as the client may go away before the walk is over.
    fn record_failure(&mut self, model: &Model, error: ApiError, called: bool) {
        self.report.outcome_mut().causes.push(Setback { model: model.name.clone(), kind: error.kind, called });
        self.causes.push(Cause { model: model.name.clone(), error });
    }

    fn note_deployment(&mut self, model: &Model, deployment: &Deployment) {
        let outcome = self.report.outcome_mut();
        outcome.calls = self.calls;
        outcome.model = Some(model.name.clone());
        outcome.deployment = Some(deployment.name.clone());
        outcome.provider = Some(deployment.provider.name.clone());
        self.report.notify(Step::Calling { model: model.name.clone(), deployment: deployment.name.clone() });
    }
}

/// Whether a deployment refuses the thoughts that were refused at `home`: the same one does, and any that speaks
/// Anthropic's dialect, where they are bound to the conversation and not to an account.
fn refuses_as_at(home: &Home<'_>, model: &Model, deployment: &Deployment) -> bool {
    let is_anthropics = |it: &Deployment| it.provider.dialect == Dialect::Anthropic;
    let at_home = model.deployments.iter().find(|it| *it.name == *home.deployment);
    *home.deployment == *deployment.name || is_anthropics(deployment) && at_home.is_some_and(|it| is_anthropics(it))
}

/// Whether the prompt fits the model's declared context even if its tokens were badly underestimated.
fn fits_by_far(job: &Job, model: &Model) -> bool {
    job.prompt_tokens < model.settings.context / 2
}

/// Why the model could not even be called, and when it can be.
fn unready(model: &Model) -> ApiError {
    let now = std::time::Instant::now();
    let available_in = model.available_in(now);
    let last = || {
        model.deployments.iter().filter_map(|deployment| deployment.status(now).last_error).max_by_key(|it| it.at_ms)
    };
    let why = match available_in {
        Some((_, refused @ Refused::Resting(_))) => refused.as_str().to_owned(),
        _ => {
            let last = last().map(|it| format!(" (last error: {})", it.kind.as_str())).unwrap_or_default();
            format!("no deployment is healthy{last}")
        }
    };
    let kind = available_in.map_or(ErrorKind::Unavailable, |(_, refused)| refused.kind());
    let mut error = ApiError::new(kind, why).told_by(&model.name);
    error.retry_after = available_in.map(|(wait, _)| wait);
    error
}

/// The error for the client when no model answered: the kind that all causes share, else a bad gateway. The message
/// also names the models that were `away` and so not asked.
fn summarise(calls: u32, causes: &[Cause], away: &[Excluded]) -> ApiError {
    let Some(last) = causes.last() else {
        return ApiError::new(ErrorKind::Unavailable, "no model could be tried in time");
    };
    // The request itself was at fault, for whatever model: the client needs the vendor's message as it is. What one model
    // does not take is no mistake where another was only not to be had.
    let is_at_fault = |cause: &Cause| cause.error.kind.is_requests_fault();
    let is_everybodys = !last.error.by_model || away.is_empty() && causes.iter().all(is_at_fault);
    if is_at_fault(last) && is_everybodys {
        return last.error.clone();
    }
    let first = causes[0].error.kind;
    let kind = match first {
        _ if first.is_requests_fault() || causes.iter().any(|cause| cause.error.kind != first) => ErrorKind::Upstream,
        kind => kind.for_client(),
    };
    let messages: Vec<&str> = causes.iter().map(|cause| cause.error.message.as_str()).collect();
    let mut message = if causes.len() == 1 {
        messages.concat()
    } else {
        let after = match calls {
            0 => String::new(),
            1 => " after 1 call".to_owned(),
            calls => format!(" after {calls} calls"),
        };
        format!("no model answered{after}: {}", messages.join("; "))
    };
    if !away.is_empty() {
        let away: Vec<String> = away.iter().map(|Excluded { model, reason }| format!("{model}: {reason}")).collect();
        message = format!("{message}; not asked: {}", away.join("; "));
    }
    let mut error = ApiError::new(kind, message);
    error.retry_after = causes.iter().filter_map(|cause| cause.error.retry_after).min();
    error
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::upstream::Catalog;

    fn message(calls: u32, kinds: &[ErrorKind]) -> String {
        let cause = |kind: &ErrorKind| Cause { model: "m".into(), error: ApiError::new(*kind, kind.as_str()) };
        let causes: Vec<Cause> = kinds.iter().map(cause).collect();
        summarise(calls, &causes, &[]).message
    }

    #[test]
    fn who_was_not_asked_is_told_of() {
        let away = [Excluded { model: "b".into(), reason: "its vendor asked for a pause".into() }];
        let told = |kind| {
            let error = ApiError::new(kind, "a: no");
            summarise(1, &[Cause { model: "a".into(), error }], &away).message
        };
        assert_eq!(told(ErrorKind::Overloaded), "a: no; not asked: b: its vendor asked for a pause");
        assert_eq!(told(ErrorKind::InvalidRequest), "a: no", "the others would say the same");
    }

    #[test]
    fn what_one_model_does_not_take_is_no_mistake_where_another_may_be_back_soon() {
        let cause = |kind, by_model| {
            let error = ApiError { by_model, ..ApiError::new(kind, "no") };
            Cause { model: "m".into(), error }
        };
        let pick = || cause(ErrorKind::InvalidRequest, true);
        let over = || cause(ErrorKind::Overloaded, false);
        let kind = |causes: &[Cause], away: &[Excluded]| summarise(2, causes, away).kind;
        let away = [Excluded { model: "b".into(), reason: "its vendor asked for a pause".into() }];
        assert_eq!(kind(&[over(), pick()], &[]), ErrorKind::Upstream);
        assert_eq!(kind(&[pick(), over()], &[]), ErrorKind::Upstream);
        assert_eq!(kind(&[pick()], &away), ErrorKind::Upstream);
        assert_eq!(kind(&[pick(), pick()], &[]), ErrorKind::InvalidRequest);
        assert_eq!(kind(&[over(), cause(ErrorKind::InvalidRequest, false)], &away), ErrorKind::InvalidRequest);
    }

    #[test]
    fn only_calls_that_were_made_are_counted() {
        use ErrorKind::{Timeout, Unavailable};
        assert_eq!(message(0, &[Unavailable, Unavailable]), "no model answered: unavailable; unavailable");
        assert_eq!(message(1, &[Unavailable, Timeout]), "no model answered after 1 call: unavailable; timeout");
        assert_eq!(
            message(2, &[Timeout, Timeout, Unavailable]),
            "no model answered after 2 calls: timeout; timeout; unavailable"
        );
    }

    #[test]
    fn what_one_claude_refuses_of_a_conversation_another_account_refuses_too() {
        let provider = |name: &str, dialect: &str| {
            format!("[providers.{name}]\ndialect = '{dialect}'\nbase_url = 'http://127.0.0.1:1'\n")
        };
        let at = |name: &str| format!("{{ provider = '{name}', upstream = 'x' }}");
        let providers = [provider("a", "anthropic"), provider("b", "anthropic"), provider("c", "openai")].concat();
        let deployments = ["a", "b", "c"].map(at).join(", ");
        let config: Config = format!("{providers}[models.m]\ndeployments = [{deployments}]\n").parse().unwrap();
        let catalog = Catalog::new(&config, &BTreeMap::new(), None);
        let model = catalog.find("m").unwrap();
        let refuses = |home: &str| {
            let home = Home { deployment: home, holds_thoughts: true, refused_thoughts: 2 };
            model.deployments.iter().map(|it| refuses_as_at(&home, model, it)).collect::<Vec<_>>()
        };
        assert_eq!(refuses("a/x"), [true, true, false]);
        assert_eq!(refuses("c/x"), [false, false, true], "OpenAI seals them for an account");
        assert_eq!(refuses("another/model"), [false; 3]);
    }
}
