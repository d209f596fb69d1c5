//! Who can give embeddings: the deployments of a model, or a provider, as far as the rules let the text go there. They
//! are called one after the other until one answers.
//!
//! A deployment is picked as for a chat, by weight and latency, and each is called at most once: nothing waits here,
//! and a client's own retry finds a healthy one. Failures to connect count for the breaker, which chats share; error
//! answers mostly do not, since servers without embeddings say so by any status.
//!
//! A vendor charges for a call that has begun, so it goes on for a client that hangs up; but only for the time of a
//! stream's first piece, and no other deployment is called.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::routing_headers;
use crate::codec::{self, Target};
use crate::config::{self, Rule};
use crate::dispatch::{self, pick};
use crate::gateway::{Gateway, LiveConfig};
use crate::protocol::{ApiError, ChatRequest, Dialect, ErrorKind, Message, Price, Role, RoutingOptions};
use crate::route::{Facts, estimate_tokens};
use crate::store::Token;
use crate::upstream::{Call, CallError, CallVerdict, Deployment, Endpoint, Model, Permit, Provider};

/// Who can be called.
pub(super) enum Embedders {
    /// Deployments of a model of the catalog.
    Listed { model: Arc<Model>, deployments: Vec<Arc<Deployment>> },
    /// A provider, with the id of a model that is not configured.
    Unlisted { provider: Arc<Provider>, id: String },
}

/// The result of all calls.
pub(super) struct Answered {
    /// The last answer.
    pub(super) answer: Result<Bytes, ApiError>,
    /// The provider it is from.
    pub(super) provider: String,
    /// Calls made.
    pub(super) calls: u32,
    /// Why calls failed.
    pub(super) causes: Vec<ErrorKind>,
    /// Failed calls that the vendor charges for: it had begun to work.
    pub(super) lost: u32,
}

/// A call that failed.
struct Failed {
    error: ApiError,
    /// The vendor had begun to work, and charges for the call.
    lost: bool,
    /// The failure may be the deployment's, and count for its breaker.
    accuses: bool,
}

impl Failed {
    /// The failure of a call whose client is gone.
    fn deserted(provider: &Provider) -> Self {
        let message = format!("{}: no answer in time for a client that is gone", provider.name);
        Self { error: ApiError::new(ErrorKind::Timeout, message), lost: true, accuses: false }
    }

    /// The failure as the breaker counts it; `None` = not at all, since the deployment may still serve chats well.
    fn verdict(&self) -> Option<CallVerdict> {
        let verdict = CallVerdict::of(&self.error);
        let is_busy = self.error.kind == ErrorKind::Overloaded;
        let is_bad = matches!(verdict, CallVerdict::Bad(_) | CallVerdict::InVain(_)) && !is_busy;
        (self.accuses || !is_bad).then_some(verdict)
    }
}

impl Embedders {
    /// Who serves the model of this name, which is `model` where there is such a one. Of `provider/model` that provider's
    /// deployments alone are meant, of the name of a deployment that one.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InvalidRequest` where no provider of the model has embeddings; that of `unready` where none can be
    /// called now.
    pub(super) fn of(live: &LiveConfig, name: &str, model: Option<Arc<Model>>) -> Result<Self, ApiError> {
        if let Some(model) = model {
            let provider = live.catalog.names().provider_in(name);
            let is_exact = model.deployments.iter().any(|deployment| *deployment.name == *name);
            let is_meant = |deployment: &Deployment| match provider {
                None => true,
                Some(_) if is_exact => *deployment.name == *name,
                Some(provider) => deployment.provider.name == provider,
            };
            let gives = |deployment: &&Arc<Deployment>| {
                deployment.provider.url(Endpoint::Embeddings).is_some() && is_meant(deployment)
            };
            let deployments: Vec<Arc<Deployment>> = model.deployments.iter().filter(gives).cloned().collect();
            if deployments.is_empty() {
                let message = format!("no provider of `{}` gives embeddings", model.name);
                return Err(ApiError::invalid(message).at("model"));
            }
            let now = Instant::now();
            if !model.ready(now).any(|ready| is_among(&deployments, ready)) {
                return Err(unready(&model, &deployments, now));
            }
            return Ok(Self::Listed { model, deployments });
        }
        let named = name.split_once('/').and_then(|(provider, id)| Some((live.catalog.provider(provider)?, id)));
        let (provider, id) = named.ok_or_else(|| {
            let message = if live.catalog.names().leaves_choice(name) {
                format!("`{name}` chooses among models for chats; name a model that gives embeddings")
            } else {
                format!("there is no model `{name}`; write provider/model-id for one that is not configured")
            };
            ApiError::new(ErrorKind::NotFound, message).at("model")
        })?;
        match &provider.unusable {
            Some(reason) => Err(ApiError::new(ErrorKind::Unavailable, format!("{}: {reason}", provider.name))),
            None => Ok(Self::Unlisted { provider: Arc::clone(provider), id: id.to_owned() }),
        }
    }

    /// The name for metrics and log lines: the model's; where it is not configured the provider's, since clients can
    /// make up any number of names.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Listed { model, .. } => model.name.as_str(),
            Self::Unlisted { provider, .. } => &provider.name,
        }
    }

    /// The model's price; 0 where it is not configured.
    pub(super) fn price(&self) -> Price {
        match self {
            Self::Listed { model, .. } => model.settings.price,
            Self::Unlisted { .. } => Price::default(),
        }
    }

    /// Leaves out deployments that a rule keeps the text from: by forbidding the model, or by a pin to a model that
    /// their provider does not serve. (A pin names a chat model; for embeddings it means which providers may see the
    /// text.)
    ///
    /// # Errors
    ///
    /// `Permission` where none is left; `InvalidRequest` where a rule has to read the text and cannot.
    pub(super) fn keep_to_rules(
        &mut self,
        live: &LiveConfig,
        body: &Value,
        bytes: &[u8],
        token: Option<&Token>,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let keeps = |rule: &&Rule| rule.pin.is_some() || !rule.forbid.is_empty();
        let mut routing = RoutingOptions::default();
        routing_headers::merge(headers, &mut routing)?;
        if !live.config.rules.iter().any(|rule| keeps(&rule)) {
            return Ok(());
        }
        let mut texts = Vec::new();
        let fields = body.as_object().into_iter().flatten().filter(|(field, _)| *field != "model");
        fields.for_each(|(_, value)| gather(value, &mut texts));
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        let messages = vec![Message::text(Role::User, texts.join("\n"))];
        let request = ChatRequest { model, messages, routing, ..ChatRequest::default() };
        let ids = token_ids(&body["input"]);
        let tokens = estimate_tokens(&request).saturating_add(ids);
        let name = token.map(|token| token.name.as_str());
        let facts = Facts::new(&request, request.needs(), tokens, name, headers).with_body(Some(bytes));
        if ids > 0
            && let Some(rule) = live.rules.match_unread(&facts).filter(keeps).find(|rule| rule.when.reads())
        {
            let message = format!("the rule `{}` has to read the text: send no token ids", rule.name);
            return Err(ApiError::invalid(message).at("input"));
        }
        let verdict = live.rules.apply(&facts);
        let kept = |rule: &str, from: &str| {
            let message = format!("the rule `{rule}` does not let this go to {from}");
            Err(ApiError::new(ErrorKind::Permission, message).at("model"))
        };
        if let Self::Listed { model, .. } = self
            && let Some(rule) = verdict.forbid.get(model.name.as_str())
        {
            return kept(rule, self.name());
        }
        let (Some(pin), Some(hit)) = (&verdict.pin, verdict.hits.last()) else { return Ok(()) };
        let homes = live.catalog.find(pin).map(|home| home.deployments.as_slice()).unwrap_or_default();
        let is_home = |provider: &Provider| homes.iter().any(|home| home.provider.name == provider.name);
        let left = match self {
            Self::Listed { deployments, .. } => {
                deployments.retain(|deployment| is_home(&deployment.provider));
                !deployments.is_empty()
            }
            Self::Unlisted { provider, .. } => is_home(provider),
        };
        if left { Ok(()) } else { kept(hit, self.name()) }
    }

    /// Sends `body` to one after the other until one answers, or says that the request itself is wrong. Once `gone` is
    /// cancelled the client is gone: the call under way then has the time of a stream's first piece.
    pub(super) async fn ask(
        &self,
        gateway: &Gateway,
        live: &LiveConfig,
        body: &Bytes,
        gone: &CancellationToken,
    ) -> Answered {
        let settings = &live.config.dispatch;
        let total = tokio::time::Instant::now() + Duration::from_millis(settings.total_timeout_ms);
        let mut tried = Vec::new();
        let nobody = match self {
            Self::Listed { model, deployments } => unready(model, deployments, Instant::now()),
            Self::Unlisted { .. } => {
                ApiError::new(ErrorKind::Unavailable, format!("{}: nobody is ready", self.name()))
            }
        };
        let (provider, causes) = (self.name().to_owned(), Vec::new());
        let mut so_far = Answered { answer: Err(nobody), provider, calls: 0, causes, lost: 0 };
        let mut soonest: Option<Duration> = None;
        let mut deserted = std::pin::pin!(async {
            gone.cancelled().await;
            tokio::time::sleep(Duration::from_millis(settings.first_byte_timeout_ms)).await;
        });
        let is_on = |calls: u32| calls < settings.max_attempts && tokio::time::Instant::now() < total;
        while is_on(so_far.calls) && !gone.is_cancelled() {
            let Some((provider, id, permit)) = self.next(&mut tried) else { break };
            so_far.calls += 1;
            so_far.provider.clone_from(&provider.name);
            let answer = tokio::select! {
                answer = call(gateway, settings, &provider, &id, body, total) => answer,
                () = &mut deserted => Err(Failed::deserted(&provider)),
            };
            if let Some(mut permit) = permit {
                let (now, at_ms) = (Instant::now(), Timestamp::now().as_millisecond());
                match answer.as_ref().map_err(Failed::verdict) {
                    Ok(_) => permit.settle_good(now, at_ms),
                    Err(Some(verdict)) => permit.settle(&verdict, now, at_ms),
                    Err(None) => {}
                }
            }
            match answer {
                Ok(answer) => {
                    so_far.answer = Ok(answer);
                    break;
                }
                Err(Failed { mut error, lost, .. }) => {
                    so_far.lost += u32::from(lost);
                    so_far.causes.push(error.kind);
                    let is_wrong = error.kind.is_requests_fault();
                    if !is_wrong {
                        soonest = soonest.into_iter().chain(error.retry_after).min();
                        error.retry_after = soonest;
                    }
                    so_far.answer = Err(error);
                    if is_wrong {
                        break;
                    }
                }
            }
        }
        so_far
    }

    /// The next to call: the provider, the model's id there, and the breaker's permit, which unlisted models have none
    /// of.
    fn next(&self, tried: &mut Vec<Arc<str>>) -> Option<(Arc<Provider>, String, Option<Permit>)> {
        let (model, deployments) = match self {
            Self::Listed { model, deployments } => (model, deployments),
            Self::Unlisted { .. } if !tried.is_empty() => return None,
            Self::Unlisted { provider, id } => {
                tried.push(provider.name.as_str().into());
                return Some((Arc::clone(provider), id.clone(), None));
            }
        };
        loop {
            let now = Instant::now();
            let fresh =
                |deployment: &Deployment| is_among(deployments, deployment) && !tried.contains(&deployment.name);
            let deployment = pick(model, None, &[], &fresh, now, &mut rand::random::<f64>)?;
            tried.push(deployment.name.clone());
            if let Some(permit) = deployment.admit(now) {
                return Some((Arc::clone(&deployment.provider), deployment.upstream.clone(), Some(permit)));
            }
        }
    }
}

fn is_among(deployments: &[Arc<Deployment>], deployment: &Deployment) -> bool {
    deployments.iter().any(|other| other.name == deployment.name)
}

/// The error where none of these deployments can be called now, with the time when one can.
fn unready(model: &Model, deployments: &[Arc<Deployment>], now: Instant) -> ApiError {
    let available_in =
        deployments.iter().filter_map(|deployment| deployment.available_in(now)).min_by_key(|(wait, _)| *wait);
    let message = match (model.unavailable(now), available_in) {
        (Some(why), _) => format!("{}: {why}", model.name),
        (None, Some((_, why))) => format!("{}: {}", model.name, why.as_str()),
        (None, None) => format!("no provider of `{}` gives embeddings now", model.name),
    };
    let kind = available_in.map_or(ErrorKind::Unavailable, |(_, refused)| refused.kind());
    let mut error = ApiError::new(kind, message);
    error.retry_after = available_in.map(|(wait, _)| wait);
    error
}

/// The number of tokens that are sent as ids.
fn token_ids(input: &Value) -> u32 {
    match input {
        Value::Array(items) => items.iter().map(token_ids).fold(0, u32::saturating_add),
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// Collects all texts of a body, whichever field a look-alike has them in (`input`, `messages`).
fn gather<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| gather(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| gather(field, texts)),
        _ => {}
    }
}

async fn call(
    gateway: &Gateway,
    settings: &config::Dispatch,
    provider: &Provider,
    id: &str,
    body: &Bytes,
    total: tokio::time::Instant,
) -> Result<Bytes, Failed> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(settings.whole_answer_timeout_ms);
    let deadline = deadline.min(total);
    let target = Target::new(Dialect::OpenAi, &provider.quirks, id);
    let body = codec::passthrough_request(&target, body, false).map_err(|error| Failed {
        error,
        lost: false,
        accuses: false,
    })?;
    let call = Call { endpoint: Endpoint::Embeddings, body: Some(body), headers: HeaderMap::new() };
    let failed = |error: CallError, lost: bool| {
        let accuses = !error.is_ours();
        Failed { error: ApiError::from(error).told_by(&provider.name), lost, accuses }
    };
    let refused = |error: ApiError, lost: bool| Failed {
        error: dispatch::attributed_to(error, &provider.name, provider.secrets()),
        lost,
        accuses: false,
    };
    let answer = gateway.dispatcher.client().send(provider, call, deadline).await;
    let answer = answer.map_err(|error| {
        let at_work = matches!(error, CallError::Timeout);
        failed(error, at_work)
    })?;
    let (status, good, wait) = (answer.status(), answer.is_success(), answer.retry_after());
    let limit = config::mebibytes(settings.max_answer_mb);
    let bytes = answer.whole(limit, deadline).await.map_err(|error| failed(error, good))?;
    if !good {
        let error = codec::decode_error(Dialect::OpenAi, status, &bytes, wait);
        return Err(refused(error, false));
    }
    match codec::check_embeddings(&bytes) {
        Ok(()) => Ok(bytes),
        // An error in an answer of status 200 means that no work was begun.
        Err((error, is_told)) => Err(refused(error, !is_told)),
    }
}
