//! Who gives embeddings: the places of a model, or a provider; as far as the rules let the text go there, and one
//! after the other until one answers.
//!
//! A place is picked as for a chat, by weight and by how long it takes, and each is asked at most once: nothing waits
//! here, and a client's own retry comes to a place that is well. Its breaker, which is the chats' too, hears how the
//! call went; not of what it answers: a server that gives no embeddings says so by whatever status.
//!
//! A vendor charges for what it was asked, so who hangs up is answered all the same; but in time, and by nobody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::wishes;
use crate::codec::{self, Target};
use crate::config::{self, Rule};
use crate::dispatch::{self, pick};
use crate::http::state::{Gateway, Live};
use crate::protocol::{ApiError, ChatRequest, Dialect, ErrorKind, Message, Price, Role, RoutingOptions};
use crate::route::{Facts, estimate_tokens};
use crate::store::Token;
use crate::upstream::{Availability, Call, CallError, CallVerdict, Deployment, Endpoint, Model, Permit, Provider};

/// Who may be asked.
pub(super) enum Embedders {
    /// Places of a model of the catalog.
    Listed { model: Arc<Model>, places: Vec<Arc<Deployment>> },
    /// A provider, by an id that is not configured.
    Unlisted { provider: Arc<Provider>, id: String },
}

/// What asking came to.
pub(super) struct Answered {
    /// The last answer.
    pub(super) answer: Result<Bytes, ApiError>,
    /// The provider it is from.
    pub(super) provider: String,
    /// Calls made.
    pub(super) calls: u32,
    /// What failed on the way.
    pub(super) causes: Vec<ErrorKind>,
    /// Calls among them that a vendor charges for all the same: it was at work.
    pub(super) lost: u32,
}

/// A call that failed.
struct Failed {
    error: ApiError,
    /// Its vendor was at work.
    lost: bool,
    /// It may speak against the place.
    accuses: bool,
}

impl Failed {
    /// Of a call that nobody waited for any more.
    fn deserted(provider: &Provider) -> Self {
        let message = format!("{}: no answer in time for a client that is gone", provider.name);
        Self { error: ApiError::new(ErrorKind::Timeout, message), lost: true, accuses: false }
    }

    /// What it says of the place; `None` = nothing, it may chat well all the same.
    fn verdict(&self) -> Option<CallVerdict> {
        let verdict = CallVerdict::of(&self.error);
        let is_busy = self.error.kind == ErrorKind::Overloaded;
        let is_bad = matches!(verdict, CallVerdict::Bad(_) | CallVerdict::InVain(_)) && !is_busy;
        (self.accuses || !is_bad).then_some(verdict)
    }
}

impl Embedders {
    /// Who serves the model of this name; where `provider/model-id` is the place of one of the catalog, what holds
    /// for that holds for it.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InvalidRequest` where nobody ever gives any; `Unavailable` where nobody can be asked now.
    pub(super) fn of(live: &Live, name: &str) -> Result<Self, ApiError> {
        let listed = live.catalog.find(name);
        let served = || live.catalog.models().find(|model| model.deployments.iter().any(|place| place.name == name));
        if let Some(model) = listed.or_else(served) {
            let gives = |place: &&Arc<Deployment>| {
                place.provider.url(Endpoint::Embeddings).is_some() && (listed.is_some() || place.name == name)
            };
            let places: Vec<Arc<Deployment>> = model.deployments.iter().filter(gives).cloned().collect();
            if places.is_empty() {
                let message = format!("no provider of `{}` gives embeddings", model.name);
                return Err(ApiError::invalid(message).at("model"));
            }
            let now = Instant::now();
            if !model.ready(now).any(|ready| is_among(&places, ready)) {
                return Err(unready(model, &places, now));
            }
            return Ok(Self::Listed { model: Arc::clone(model), places });
        }
        let named = name.split_once('/').and_then(|(provider, id)| Some((live.catalog.provider(provider)?, id)));
        let (provider, id) = named.ok_or_else(|| {
            let message =
                format!("there is no model `{name}`; write provider/model-id for one that is not configured");
            ApiError::new(ErrorKind::NotFound, message).at("model")
        })?;
        match &provider.unusable {
            Some(reason) => Err(ApiError::new(ErrorKind::Unavailable, format!("{}: {reason}", provider.name))),
            None => Ok(Self::Unlisted { provider: Arc::clone(provider), id: id.to_owned() }),
        }
    }

    /// The model's name; of one that is not configured only its provider: clients make up names without end.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Listed { model, .. } => model.name.as_str(),
            Self::Unlisted { provider, .. } => &provider.name,
        }
    }

    /// What no model of the catalog stands for has no price.
    pub(super) fn price(&self) -> Price {
        match self {
            Self::Listed { model, .. } => model.settings.price,
            Self::Unlisted { .. } => Price::default(),
        }
    }

    /// Leaves out whom a rule keeps the text from: by forbidding the model, or by a pin to one that a provider does
    /// not serve (a pin is to a model that chats, so of embeddings it says who may see the text).
    ///
    /// # Errors
    ///
    /// `Permission` where nobody is left; `InvalidRequest` where the text cannot be read and has to be.
    pub(super) fn keep_to_rules(
        &mut self,
        live: &Live,
        body: &Value,
        bytes: &[u8],
        token: Option<&Token>,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let keeps = |rule: &&Rule| rule.pin.is_some() || !rule.forbid.is_empty();
        let mut routing = RoutingOptions::default();
        wishes::merge(headers, &mut routing)?;
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
            Self::Listed { places, .. } => {
                places.retain(|place| is_home(&place.provider));
                !places.is_empty()
            }
            Self::Unlisted { provider, .. } => is_home(provider),
        };
        if left { Ok(()) } else { kept(hit, self.name()) }
    }

    /// Asks one after the other for what `body` wants, until one answers, or says that the request is wrong in
    /// itself. Once `gone` is cancelled nobody waits for it: the call under way has the time of a stream's first
    /// piece.
    pub(super) async fn ask(
        &self,
        gateway: &Gateway,
        live: &Live,
        body: &Bytes,
        gone: &CancellationToken,
    ) -> Answered {
        let settings = &live.config.dispatch;
        let total = tokio::time::Instant::now() + Duration::from_millis(settings.total_timeout_ms);
        let mut tried = Vec::new();
        let nobody = match self {
            Self::Listed { model, places } => unready(model, places, Instant::now()),
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
                let now = Instant::now();
                let good = CallVerdict::Good(permit.age(now));
                let verdict = answer.as_ref().map_or_else(Failed::verdict, |_| Some(good));
                if let Some(verdict) = verdict {
                    permit.settle(&verdict, now, Timestamp::now().as_millisecond());
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

    /// The next to ask: a provider, the model's id there, and leave to call it, where its health is known.
    fn next(&self, tried: &mut Vec<String>) -> Option<(Arc<Provider>, String, Option<Permit>)> {
        let (model, places) = match self {
            Self::Listed { model, places } => (model, places),
            Self::Unlisted { .. } if !tried.is_empty() => return None,
            Self::Unlisted { provider, id } => {
                tried.push(provider.name.clone());
                return Some((Arc::clone(provider), id.clone(), None));
            }
        };
        loop {
            let now = Instant::now();
            let fresh = |place: &Deployment| is_among(places, place) && !tried.contains(&place.name);
            let place = pick(model, &[], &fresh, now, &mut rand::random::<f64>)?;
            tried.push(place.name.clone());
            if let Some(permit) = place.admit(now) {
                return Some((Arc::clone(&place.provider), place.upstream.clone(), Some(permit)));
            }
        }
    }
}

fn is_among(places: &[Arc<Deployment>], place: &Deployment) -> bool {
    places.iter().any(|other| other.name == place.name)
}

/// Why none of these places of a model can be asked now, and when one can.
fn unready(model: &Model, places: &[Arc<Deployment>], now: Instant) -> ApiError {
    let available_in = places.iter().filter_map(|place| place.available_in(now)).min_by_key(|(wait, _)| *wait);
    let message = match (model.availability(now), available_in) {
        (Availability::Unavailable(why), _) => format!("{}: {why}", model.name),
        (Availability::Available, Some((_, why))) => format!("{}: {}", model.name, why.as_str()),
        (Availability::Available, None) => format!("no provider of `{}` gives embeddings now", model.name),
    };
    let kind = available_in.map_or(ErrorKind::Unavailable, |(_, refused)| refused.kind());
    let mut error = ApiError::new(kind, message);
    error.retry_after = available_in.map(|(wait, _)| wait);
    error
}

/// How many texts' tokens are sent as their numbers.
fn token_ids(input: &Value) -> u32 {
    match input {
        Value::Array(items) => items.iter().map(token_ids).fold(0, u32::saturating_add),
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// All texts of a body, wherever look-alikes have them (`input`, `messages`).
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
    let told = |error: CallError, lost: bool| {
        let accuses = !matches!(error, CallError::NoDescriptor(_));
        Failed { error: error.attributed_to(&provider.name), lost, accuses }
    };
    let refused = |error: ApiError, lost: bool| Failed {
        error: dispatch::attributed_to(error, &provider.name, provider.secrets()),
        lost,
        accuses: false,
    };
    let answer = gateway.dispatcher.client().send(provider, call, deadline).await;
    let answer = answer.map_err(|error| {
        let at_work = matches!(error, CallError::Timeout);
        told(error, at_work)
    })?;
    let (status, good, wait) = (answer.status(), answer.is_success(), answer.retry_after());
    let limit = config::mebibytes(settings.max_answer_mb);
    let bytes = answer.whole(limit, deadline).await.map_err(|error| told(error, good))?;
    if !good {
        let error = codec::decode_error(Dialect::OpenAi, status, &bytes, wait);
        return Err(refused(error, false));
    }
    match codec::check_embeddings(&bytes) {
        Ok(()) => Ok(bytes),
        // A refusal told with status 200 has begun nothing.
        Err((error, is_told)) => Err(refused(error, !is_told)),
    }
}
