//! Walks a plan's models until one answers.
//!
//! **Worst case.** One request makes at most `dispatch.max_attempts` upstream calls, at most
//! `dispatch.attempts_per_model` of them to one model (or one to each of its places, where it has more of them), and
//! takes at most `dispatch.total_timeout_ms` until a whole answer is here or a stream begins, which then has
//! `dispatch.stream_timeout_ms` of its own. A call to a place that already failed this request waits first (for as
//! long as its vendor asked, up to `dispatch.max_retry_after_ms`), and is paid from the retry budget shared by all
//! requests; moving on to another place or model is free, since it does not press on the one that is down. A place
//! that rests because of others is waited for where no other candidate is left.
//!
//! **What moves on.** A broken connection, a vendor that does not take the call in time, an overload, a rate limit, a
//! fault of the upstream: another deployment, the same one after a pause, then the next model. What asking again
//! there would not mend (an answer that had begun and is not ready in time, or is not the call that it had to be, an
//! id that the vendor does not know, a refused key, a spent quota): another deployment, under another key if it is the
//! key's fault, then the next model.
//! A prompt too long for one model: only models with a larger context; where it should have fitted by far, that
//! place's window is not what it is declared to be, and the next place is asked. A request that is wrong in itself:
//! nowhere, the client is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Deadlines, Failed, attempt, may_think};
use super::job::{Cause, Failure, Job, Reply};
use super::outcome::{Report, Step};
use super::reply::Answering;
use super::{blame, pick, tee};
use crate::codec;
use crate::config;
use crate::protocol::{ApiError, ErrorKind, ModelName, OutcomeStatus};
use crate::route::Excluded;
use crate::route::Plan;
use crate::upstream::{Backoff, Client, Deployment, Model, Permit, Refused, RetryBudget, Verdict};

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

    /// Ends all streams, each with an error event that says why, and whatever would become an answer.
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
    /// When no model answered, told in the report too; when all is closed before one did.
    pub async fn run(
        &self,
        plan: &Plan,
        job: &Job,
        settings: &config::Dispatch,
        report: Report,
    ) -> Result<Reply, Failure> {
        tokio::select! {
            biased;
            reply = self.walk(plan, job, settings, report) => reply,
            () = self.closing.cancelled() => Err(Failure { error: tee::closed(), causes: Vec::new(), lasting: false }),
        }
    }

    async fn walk(
        &self,
        plan: &Plan,
        job: &Job,
        settings: &config::Dispatch,
        report: Report,
    ) -> Result<Reply, Failure> {
        self.budget.deposit(std::time::Instant::now());
        let mut walk = Walk::new(self, job, settings, report);
        let mut failovers = 0;
        for (at, model) in plan.candidates.iter().enumerate() {
            if !walk.may_fit(model) {
                continue;
            }
            walk.last = !plan.candidates[at + 1..].iter().any(|later| walk.may_fit(later));
            walk.report.so_far().failovers = failovers;
            match walk.try_model(model).await {
                Found::Answer(permit, attempted) => {
                    let answering = Answering { model, job, settings, closing: self.closing.clone() };
                    return Ok(answering.reply(permit, attempted, walk.report));
                }
                Found::GiveUp => break,
                Found::Nothing => failovers += 1,
            }
        }
        let lasting = walk.is_lasting(plan);
        let failure = Failure { lasting, ..summarise(walk.calls, walk.causes, &plan.away) };
        walk.report.end(OutcomeStatus::Failed(failure.error.kind));
        Err(failure)
    }
}

/// What trying a model gave.
enum Found {
    Answer(Permit, Attempted),
    Nothing,
    GiveUp,
}

/// One request on its way, and what it has been through.
struct Walk<'a> {
    client: &'a Client,
    budget: &'a RetryBudget,
    job: &'a Job,
    settings: &'a config::Dispatch,
    /// When it is over.
    total: Instant,
    report: Report,
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

impl<'a> Walk<'a> {
    fn new(dispatcher: &'a Dispatcher, job: &'a Job, settings: &'a config::Dispatch, report: Report) -> Self {
        Self {
            client: &dispatcher.client,
            budget: &dispatcher.budget,
            job,
            settings,
            total: Instant::now() + Duration::from_millis(settings.total_timeout_ms),
            report,
            calls: 0,
            causes: Vec::new(),
            last: false,
            too_small: 0,
            tried: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Whether a model's context is larger than those the prompt was too long for.
    fn may_fit(&self, model: &Model) -> bool {
        model.settings.context > self.too_small
    }

    /// Calls a model's places, one after another, until one answers or asking on would be in vain.
    async fn try_model(&mut self, model: &Arc<Model>) -> Found {
        let calls = self.calls;
        let rounds_of_one = self.settings.attempts_per_model;
        let places = u32::try_from(model.deployments.len()).unwrap_or(u32::MAX);
        for round in 0..rounds_of_one.max(places) {
            if self.calls >= self.settings.max_attempts || Instant::now() >= self.total {
                return Found::GiveUp;
            }
            let Some((place, rest)) = self.next_place(model) else { break };
            let again = self.tried.contains(&place.name);
            if again && round >= rounds_of_one {
                break;
            }
            // The same place again: only if retries are not too many already.
            if again && !self.budget.withdraw(std::time::Instant::now()) {
                return Found::Nothing;
            }
            if again || !rest.is_zero() {
                let Some(pause) = self.pause(rest, round) else { return Found::GiveUp };
                tokio::time::sleep(pause).await;
            }
            let Some(permit) = place.admit(std::time::Instant::now()) else { continue };
            let failed = match self.call(model, &place, permit).await {
                Ok((permit, attempted)) => return Found::Answer(permit, attempted),
                Err(failed) => failed,
            };
            if let Some(found) = self.learn_from(model, &place, failed) {
                return found;
            }
        }
        if self.calls == calls {
            self.fail(model, unready(model));
        }
        Found::Nothing
    }

    /// The place to call next, and how long its vendor's rest still takes.
    fn next_place(&self, model: &Model) -> Option<(Arc<Deployment>, Duration)> {
        let request = &self.job.request;
        let carries = |place: &Deployment| {
            let dialect = place.provider.dialect;
            let able = codec::obstacle(self.job.dialect, dialect, request).is_none()
                && codec::refused_part(self.job.dialect, dialect, &place.provider.quirks, request).is_none();
            able && !self.left.contains(&place.name)
        };
        let now = std::time::Instant::now();
        let ready = pick::pick(model, &self.tried, &carries, now, &mut rand::random::<f64>);
        ready.map(|place| (place, Duration::ZERO)).or_else(|| {
            let worth = |place: &Deployment| carries(place) && (self.last || self.tried.contains(&place.name));
            // Beyond that the next candidate is better.
            let patience = Duration::from_millis(self.settings.max_retry_after_ms);
            pick::rested(model, &worth, now).filter(|(_, rest)| *rest <= patience)
        })
    }

    /// How long to wait for a rest to be over, or before asking again; `None` = the walk would be over first.
    fn pause(&self, rest: Duration, round: u32) -> Option<Duration> {
        let backoff = Backoff {
            first: Duration::from_millis(self.settings.backoff_ms),
            longest: Duration::from_millis(self.settings.backoff_max_ms),
        };
        // Not all at once who wait for the same.
        let pause = rest + backoff.pause(round.saturating_sub(1), rand::random());
        (Instant::now() + pause < self.total).then_some(pause)
    }

    /// Makes one call, and tells the place how it went.
    async fn call(
        &mut self,
        model: &Model,
        place: &Deployment,
        mut permit: Permit,
    ) -> Result<(Permit, Attempted), Failed> {
        self.calls += 1;
        self.tried.push(place.name.clone());
        self.note_place(model, place);
        let job = self.job;
        let thinks = may_think(model, &job.request);
        let deadlines = Deadlines::new(self.settings, job.request.stream, thinks, self.total);
        match attempt(self.client, model, place, job, deadlines, &mut self.report).await {
            Ok(attempted) => {
                self.report.spare();
                if attempted.speaks() {
                    let now = std::time::Instant::now();
                    permit.settle(&Verdict::Good(permit.age(now)), now, job.at_ms);
                } else {
                    permit.lives();
                }
                Ok((permit, attempted))
            }
            Err(failed) => {
                self.report.lose();
                let verdict = if failed.no_call { Verdict::Unrelated } else { Verdict::of(&failed.error) };
                permit.settle(&verdict, std::time::Instant::now(), job.at_ms);
                Err(failed)
            }
        }
    }

    /// What a failed call means for the calls to come: where they would be in vain, and whether this model is done
    /// with.
    fn learn_from(&mut self, model: &Model, place: &Deployment, failed: Failed) -> Option<Found> {
        let Failed { error, too_slow, no_call } = failed;
        if place.check(std::time::Instant::now()) == Err(Refused::Breaker) {
            // A vendor's words may quote the prompt; these are ours.
            let why = if error.kind == ErrorKind::Connection { error.message.as_str() } else { error.kind.as_str() };
            tracing::warn!(
                model = model.name.as_str(),
                deployment = place.name.as_str(),
                why,
                "A deployment keeps failing and is left alone for a while"
            );
        }
        tracing::debug!(
            model = model.name.as_str(),
            deployment = place.name.as_str(),
            error.kind = error.kind.as_str(),
            "An upstream call failed"
        );
        self.report.step(Step::CallFailed(error.kind));
        let step = next(&error);
        self.fail(model, error);
        match step {
            Next::GiveUp => return Some(Found::GiveUp),
            Next::Larger if !fits_by_far(self.job, model) => {
                self.too_small = self.too_small.max(model.settings.context);
                return Some(Found::Nothing);
            }
            Next::Larger | Next::Elsewhere => self.left.push(place.name.clone()),
            Next::OtherKey => {
                let same_key = model.deployments.iter().filter(|other| other.provider.name == place.provider.name);
                self.left.extend(same_key.map(|other| other.name.clone()));
            }
            Next::Retry if too_slow || no_call => self.left.push(place.name.clone()),
            Next::Retry => {}
        }
        None
    }

    /// Whether asking again at once would end the same way: all were asked whom this request may be drawn to, and each
    /// holds against us what time does not mend.
    fn is_lasting(&self, plan: &Plan) -> bool {
        let now = std::time::Instant::now();
        let was_asked = |model: &ModelName| self.causes.iter().any(|cause| cause.model == *model);
        let is_away = |place: &Arc<Deployment>| !self.tried.contains(&place.name) && place.back(now).is_some();
        plan.away.is_empty()
            && plan.decision.candidates.iter().all(|candidate| was_asked(&candidate.model))
            && self.causes.iter().all(|cause| blame::is_lasting(cause.error.kind))
            && !plan.candidates.iter().flat_map(|model| &model.deployments).any(is_away)
    }

    /// Told at once: the client may go away before the walk is over.
    fn fail(&mut self, model: &Model, error: ApiError) {
        self.report.so_far().causes.push((model.name.clone(), error.kind));
        self.causes.push(Cause { model: model.name.clone(), error });
    }

    fn note_place(&mut self, model: &Model, place: &Deployment) {
        let so_far = self.report.so_far();
        so_far.calls = self.calls;
        so_far.model = Some(model.name.clone());
        so_far.deployment = Some(place.name.clone());
        so_far.provider = Some(place.provider.name.clone());
        so_far.backend_dialect = Some(place.provider.dialect);
        self.report.step(Step::Calling { model: model.name.clone(), deployment: place.name.clone() });
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

/// What the client is told when nobody answered: the common kind of all causes, or a bad gateway; and who was not
/// asked, being `away`.
fn summarise(calls: u32, causes: Vec<Cause>, away: &[Excluded]) -> Failure {
    let Some(last) = causes.last() else {
        let error = ApiError::new(ErrorKind::Unavailable, "no model could be tried in time");
        return Failure { error, causes, lasting: false };
    };
    // The request itself was at fault: what the vendor said is what the client needs.
    if matches!(next(&last.error), Next::GiveUp) {
        return Failure { error: last.error.clone(), causes, lasting: false };
    }
    let first = causes[0].error.kind;
    let kind = match first {
        _ if causes.iter().any(|cause| cause.error.kind != first) => ErrorKind::Upstream,
        kind => blame::client_kind(kind),
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
    Failure { error, causes, lasting: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(calls: u32, kinds: &[ErrorKind]) -> String {
        let cause = |kind: &ErrorKind| Cause { model: "m".into(), error: ApiError::new(*kind, kind.as_str()) };
        let causes = kinds.iter().map(cause).collect();
        summarise(calls, causes, &[]).error.message
    }

    #[test]
    fn who_was_not_asked_is_told_of() {
        let away = [Excluded { model: "b".into(), reason: "its vendor asked for a rest".into() }];
        let told = |kind| {
            let error = ApiError::new(kind, "a: no");
            summarise(1, vec![Cause { model: "a".into(), error }], &away).error.message
        };
        assert_eq!(told(ErrorKind::Overloaded), "a: no; not asked: b: its vendor asked for a rest");
        assert_eq!(told(ErrorKind::InvalidRequest), "a: no", "the others would say the same");
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
}
