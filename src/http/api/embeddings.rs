//! `POST /v1/embeddings`: passes through to a provider that has them, with only `model` changed, where the rules let the
//! text go there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{body, wishes};
use crate::codec::{self, Target};
use crate::config::{self, Rule};
use crate::dispatch;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Chatter;
use crate::http::middleware::limit::{Amount, Taken};
use crate::http::middleware::request_id::ToldLater;
use crate::http::state::{Gateway, Live};
use crate::http::to_the_end;
use crate::protocol::{ApiError, ChatRequest, Dialect, ErrorKind, Message, Price, RequestId, Role, Usage, Usd};
use crate::store::Token;
use crate::telemetry::Ended;
use crate::upstream::{Availability, Call, Endpoint, Model, Provider};

/// Passes embeddings through. The model is one of the catalog, or `provider/model-id` for any other.
pub async fn embed(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejection> {
    let live = gateway.live();
    let run = async {
        let permit = gateway.admit()?;
        let token = caller.token.as_deref();
        gateway.limiter.enter(token, &live.config.limits, Instant::now())?;
        let bytes = body::read(body, &live.config.limits).await?;
        let estimated = u32::try_from(bytes.len() / 4).unwrap_or(u32::MAX);
        let mut taken = gateway.limiter.take(token, &live.config.limits, estimated, Instant::now())?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|_| ApiError::invalid("the body is no valid JSON"))?;
        let model = value["model"].as_str().ok_or_else(|| ApiError::invalid("model is missing").at("model"))?;
        live.allow(token, model)?;
        let place = Place::of(&live, model)?;
        place.check_rules(&live, &value, token, &headers)?;
        let target = Target::new(Dialect::OpenAi, &place.provider.quirks, &place.upstream);
        let body = codec::passthrough_request(&target, &bytes, false)?;
        // The vendor charges for it, whoever hangs up meanwhile.
        let asker = (caller.request_id.clone(), token.map_or_else(|| "-".to_owned(), |token| token.name.clone()));
        let answer = to_the_end(async move {
            gateway.metrics.began();
            let began = Instant::now();
            let answer = call(&gateway, &live, &place.provider, body).await;
            let spent = answer.as_ref().map(|answer| settle(&gateway, &mut taken, estimated, place.price(), answer));
            tell(&gateway, &place, &asker, began.elapsed(), spent);
            drop(permit);
            // Whose fault it is the log and the metrics know; the client's it is not.
            answer.map_err(|error| ApiError { kind: dispatch::told(error.kind), ..error })
        });
        let mut response = match answer.await {
            Ok(bytes) => {
                let mut response = bytes.into_response();
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => Rejection::new(Dialect::OpenAi, error).into_response(),
        };
        response.extensions_mut().insert(ToldLater);
        Ok(response)
    };
    run.await.map_err(|error: ApiError| Rejection::new(Dialect::OpenAi, error))
}

/// Who is asked.
struct Place {
    provider: Arc<Provider>,
    /// The model's id there.
    upstream: String,
    /// The model of the catalog, where it is one.
    model: Option<Arc<Model>>,
}

impl Place {
    /// Who serves the model; where `provider/model-id` is the place of one of the catalog, what holds for that holds for it.
    fn of(live: &Live, name: &str) -> Result<Self, ApiError> {
        let listed = live.catalog.find(name);
        let served = || live.catalog.models().find(|model| model.deployments.iter().any(|place| place.name == name));
        if let Some(model) = listed.or_else(served) {
            let now = Instant::now();
            let place = model.ready(now).find(|place| {
                place.provider.url(Endpoint::Embeddings).is_some() && (listed.is_some() || place.name == name)
            });
            let place = place.ok_or_else(|| match model.availability(now) {
                Availability::Unavailable(why) => unavailable(format!("{name}: {why}")),
                Availability::Available => unavailable(format!("no provider of `{name}` gives embeddings now")),
            })?;
            let provider = Arc::clone(&place.provider);
            return Ok(Self { provider, upstream: place.upstream.clone(), model: Some(Arc::clone(model)) });
        }
        let named = name.split_once('/').and_then(|(provider, id)| Some((live.catalog.provider(provider)?, id)));
        let (provider, id) = named.ok_or_else(|| {
            let message =
                format!("there is no model `{name}`; write provider/model-id for one that is not configured");
            ApiError::new(ErrorKind::NotFound, message).at("model")
        })?;
        match &provider.unusable {
            Some(reason) => Err(unavailable(format!("{}: {reason}", provider.name))),
            None => Ok(Self { provider: Arc::clone(provider), upstream: id.to_owned(), model: None }),
        }
    }

    /// What no model of the catalog stands for has no price.
    fn price(&self) -> Price {
        self.model.as_ref().map(|model| model.settings.price).unwrap_or_default()
    }

    /// Refuses what a rule keeps from here: by forbidding the model, or by a pin to one that this provider does not serve
    /// (a pin is to a model that chats, so of embeddings it says who may see the text).
    fn check_rules(
        &self,
        live: &Live,
        body: &Value,
        token: Option<&Token>,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let keeps = |rule: &&Rule| rule.pin.is_some() || !rule.forbid.is_empty();
        if !live.config.rules.iter().any(|rule| keeps(&rule)) {
            return Ok(());
        }
        if is_tokens(&body["input"])
            && let Some(rule) = live.config.rules.iter().filter(keeps).find(|rule| rule.when.reads())
        {
            let message = format!("the rule `{}` has to read the text: send no token ids", rule.name);
            return Err(ApiError::invalid(message).at("input"));
        }
        let mut texts = Vec::new();
        let fields = body.as_object().into_iter().flatten().filter(|(field, _)| *field != "model");
        fields.for_each(|(_, value)| gather(value, &mut texts));
        let mut request =
            ChatRequest { messages: vec![Message::text(Role::User, texts.join("\n"))], ..ChatRequest::default() };
        wishes::merge(headers, &mut request.routing)?;
        let verdict = live.verdict(&request, token, headers);
        let forbidding = self.model.as_ref().and_then(|model| verdict.forbid.get(model.name.as_str()));
        let strays = |pin: &String| {
            let home = live.catalog.find(pin);
            !home.is_some_and(|home| home.deployments.iter().any(|place| place.provider.name == self.provider.name))
        };
        let pinning = verdict.hits.last().filter(|_| verdict.pin.as_ref().is_some_and(strays));
        match forbidding.or(pinning.map(|hit| &hit.name)) {
            None => Ok(()),
            Some(rule) => {
                let message = format!("the rule `{rule}` does not let this go to {}", self.provider.name);
                Err(ApiError::new(ErrorKind::Permission, message).at("model"))
            }
        }
    }
}

fn unavailable(message: String) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, message)
}

/// Whether texts are sent as the numbers of their tokens.
fn is_tokens(input: &Value) -> bool {
    match input {
        Value::Array(items) => items.iter().any(|item| item.is_number() || is_tokens(item)),
        _ => false,
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

/// Puts accounts right by what the vendor counted: tokens, and their price.
fn settle(gateway: &Gateway, taken: &mut Taken, estimated: u32, price: Price, answer: &[u8]) -> (Usage, Usd) {
    // Some servers never count.
    let counted = serde_json::from_slice(answer).map(|Counted { usage }| usage.prompt_tokens).ok();
    let tokens = counted.filter(|tokens| *tokens > 0).unwrap_or_else(|| u64::from(estimated));
    let usage = Usage { input_tokens: tokens, ..Usage::default() };
    let cost = price.of(&usage);
    taken.settle(Amount { tokens, cost_usd: cost.0 });
    gateway.budgets.spent(cost.0, Timestamp::now().as_millisecond() as f64 / 1e3);
    (usage, cost)
}

/// Tells log and metrics of a call that was made.
fn tell(
    gateway: &Gateway,
    place: &Place,
    (request_id, token): &(RequestId, String),
    latency: Duration,
    spent: Result<(Usage, Usd), &ApiError>,
) {
    let status = spent.as_ref().map_or_else(|error| error.kind.as_str(), |_| "ok");
    // Of one that is not configured only its provider: clients make up names without end.
    let model = place.model.as_ref().map_or(place.provider.name.as_str(), |model| model.name.as_str());
    let (usage, cost) = spent.ok().unzip();
    gateway.metrics.ended(&Ended {
        dialect: "embeddings",
        model,
        status,
        mode: "named",
        latency,
        first_token: None,
        usage,
        cost: cost.unwrap_or_default(),
        calls: 1,
        failovers: 0,
        causes: (status != "ok").then_some((model, status)).into_iter().collect(),
    });
    tracing::info!(
        request.id = %request_id,
        token.name = token,
        dialect = "embeddings",
        model,
        provider = place.provider.name,
        status,
        tokens.input = usage.map_or(0, |usage| usage.input_tokens),
        cost_usd = cost.unwrap_or_default().0,
        latency_ms = latency.as_secs_f64() * 1e3,
        "{}",
        if status == "ok" { "Embedded a text" } else { "Failed to embed a text" }
    );
}

/// As much of an answer as is counted.
#[derive(Deserialize)]
struct Counted {
    usage: CountedTokens,
}

#[derive(Deserialize)]
struct CountedTokens {
    prompt_tokens: u64,
}

async fn call(gateway: &Gateway, live: &Live, provider: &Provider, body: Bytes) -> Result<Bytes, ApiError> {
    let settings = &live.config.dispatch;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(settings.first_byte_timeout_ms);
    let limit = config::mebibytes(settings.max_answer_mb);
    let call = Call { endpoint: Endpoint::Embeddings, body: Some(body), headers: HeaderMap::new() };
    let told = |error: crate::upstream::CallError| error.told(&provider.name);
    let answer = gateway.dispatcher.client().send(provider, call, deadline).await.map_err(told)?;
    let (status, good, wait) = (answer.status(), answer.is_success(), answer.retry_after());
    let bytes = answer.whole(limit, deadline).await.map_err(told)?;
    if !good {
        return Err(dispatch::named(codec::decode_error(Dialect::OpenAi, status, &bytes, wait), &provider.name));
    }
    Ok(bytes)
}
