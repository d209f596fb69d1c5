//! `/api/admin/models`: every model with the health of its deployments, and the changes an operator may make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::parameters::Named;
use crate::config::{ModelOverride, fault_of_weight, faults_of_price};
use crate::gateway::Gateway;
use crate::http::api::{self, body};
use crate::http::error::Native;
use crate::http::middleware::caller::{Caller, Operator};
use crate::http::to_the_end;
use crate::protocol::{ApiError, Dialect, ErrorKind, Price};
use crate::upstream::{Deployment, Model, Status};

/// How long a test's answer may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One model.
#[derive(Debug, Serialize)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Whether it can be called now.
    pub available: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Whether the model is switched on.
    pub enabled: bool,
    /// Its share under the strategy `weighted`.
    pub weight: f64,
    /// US dollars per million tokens.
    pub price: Price,
    /// Whether a server lists it and it is not configured.
    pub discovered: bool,
    /// Operators' changes of it.
    pub overridden: ModelOverride,
    /// Its deployments and their health.
    pub deployments: Vec<Status>,
}

/// All models.
#[derive(Debug, Serialize)]
pub struct List {
    /// By name.
    pub models: Vec<View>,
}

/// All models with their health.
pub fn all(gateway: &Gateway) -> List {
    let live = gateway.live();
    let now = Instant::now();
    List { models: live.catalog.models().map(|model| view(gateway, model, now)).collect() }
}

fn view(gateway: &Gateway, model: &Model, now: Instant) -> View {
    let reason = model.unavailable(now);
    View {
        name: model.name.to_string(),
        available: reason.is_none(),
        reason,
        enabled: model.settings.enabled,
        weight: model.settings.weight,
        price: model.settings.price,
        discovered: model.discovered,
        overridden: gateway.live().config.overrides.of(model.name.as_str()).cloned().unwrap_or_default(),
        deployments: model.deployments.iter().map(|deployment| deployment.status(now)).collect(),
    }
}

/// `GET`: every model.
pub async fn list(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<List> {
    Json(all(&gateway))
}

/// A change: absent fields stay as they are, `null` goes back to the configured value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default, deserialize_with = "given")]
    enabled: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    weight: Option<Option<f64>>,
    #[serde(default, deserialize_with = "given")]
    price: Option<Option<Price>>,
}

/// Reads a field that is there: `null` becomes `Some(None)`, absent is `None`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// `PATCH /api/admin/models/{name}`: switches a model on or off, changes its weight or its price. Survives a restart.
pub async fn change(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Named(name): Named,
    sent: Body,
) -> Result<Json<View>, Native> {
    let bytes = body::read(sent, &gateway.live().config.limits).await?;
    let change = body::json(&bytes)?;
    Ok(Json(to_the_end(async move { apply(&gateway, &caller, &name, change).await }).await?))
}

async fn apply(gateway: &Arc<Gateway>, caller: &Caller, name: &str, change: Change) -> Result<View, ApiError> {
    let model = find(gateway, name)?;
    if let Some(fault) = change.weight.flatten().and_then(fault_of_weight) {
        return Err(ApiError::invalid(fault).at("weight"));
    }
    if let Some((key, fault)) = change.price.flatten().and_then(|price| faults_of_price(&price).next()) {
        return Err(ApiError::invalid(fault).at(format!("price.{key}")));
    }
    let in_force = model.settings.price;
    let name = model.name.to_string();
    let old =
        json!({ "enabled": model.settings.enabled, "weight": model.settings.weight, "price": model.settings.price });
    gateway
        .override_model(&name, |known| {
            known.enabled = change.enabled.unwrap_or(known.enabled);
            known.weight = change.weight.unwrap_or(known.weight);
            known.price = change.price.map_or(known.price, |price| price.map(|price| with_rest(price, in_force)));
        })
        .await?;
    let model = find(gateway, &name)?;
    let new =
        json!({ "enabled": model.settings.enabled, "weight": model.settings.weight, "price": model.settings.price });
    gateway.note(caller.act("model.change", name, json!({ "before": old, "after": new }))).await;
    Ok(view(gateway, &model, Instant::now()))
}

/// `price`, with the cache and long prompts' prices in force where it has none.
fn with_rest(price: Price, in_force: Price) -> Price {
    Price {
        cache_read: price.cache_read.or(in_force.cache_read),
        cache_write: price.cache_write.or(in_force.cache_write),
        long_prompt: price.long_prompt.or(in_force.long_prompt),
        ..price
    }
}

/// The body of drain and reset: which deployment; all of the model's if absent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(default)]
    deployment: Option<String>,
    #[serde(default = "yes")]
    drained: bool,
}

fn yes() -> bool {
    true
}

/// `POST /api/admin/models/{name}/drain`: sends a deployment no more calls, or calls again. Survives a restart.
pub async fn drain(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Named(name): Named,
    sent: Body,
) -> Result<Json<View>, Native> {
    let (model, which, deployments) = choose(&gateway, &name, sent).await?;
    let drained =
        to_the_end(async move { drain_deployments(&gateway, &caller, &model, which.drained, &deployments).await });
    Ok(Json(drained.await?))
}

async fn drain_deployments(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    model: &Model,
    drained: bool,
    deployments: &[Arc<Deployment>],
) -> Result<View, ApiError> {
    let name = model.name.as_str();
    gateway
        .override_model(name, |known| {
            for deployment in deployments {
                if drained {
                    known.drained.insert(deployment.name.to_string());
                } else {
                    known.drained.remove(&*deployment.name);
                }
            }
        })
        .await?;
    let names: Vec<&str> = deployments.iter().map(|deployment| &*deployment.name).collect();
    let detail = json!({ "deployments": names, "drained": drained });
    gateway.note(caller.act("deployment.drain", name, detail)).await;
    Ok(view(gateway, &*find(gateway, name)?, Instant::now()))
}

/// `POST /api/admin/models/{name}/reset`: closes a deployment's breaker and ends its rest.
pub async fn reset(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Named(name): Named,
    sent: Body,
) -> Result<Json<View>, Native> {
    let (model, _, deployments) = choose(&gateway, &name, sent).await?;
    let before: Vec<Status> = deployments.iter().map(|deployment| deployment.status(Instant::now())).collect();
    let before: Vec<_> = before.iter().map(|status| (&status.name, status.breaker.as_str())).collect();
    let act = caller.act("breaker.reset", model.name.as_str(), json!({ "before": before }));
    let done = to_the_end(async move {
        deployments.iter().for_each(|deployment| deployment.reset());
        gateway.note(act).await;
        Ok(view(&gateway, &model, Instant::now()))
    });
    Ok(Json(done.await?))
}

/// The result of a test.
#[derive(Debug, Serialize)]
pub struct Tested {
    /// Whether an answer came.
    ok: bool,
    /// The result in words.
    message: String,
    /// The deployment that answered.
    deployment: Option<String>,
    /// From the request to the whole answer, milliseconds.
    latency_ms: f64,
}

/// `POST /api/admin/models/{name}/test`: asks the model one short question, on the road that all requests take.
pub async fn test(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    Named(name): Named,
) -> Result<Json<Tested>, Native> {
    let model = find(&gateway, &name)?;
    let question = json!({
        "model": model.name,
        "messages": [{ "role": "user", "content": "Answer with the word ready." }],
        "max_tokens": 64,
        "routing": { "failover": false, "tags": { "source": "test" } },
    });
    let begun = Instant::now();
    let asked = async {
        let sent = Body::from(question.to_string());
        let response = api::chat::chat(Arc::clone(&gateway), Dialect::Native, caller, HeaderMap::new(), sent).await;
        let deployment = response.headers().get("x-pointsman-backend").and_then(|value| value.to_str().ok());
        let (deployment, good) = (deployment.map(str::to_owned), response.status().is_success());
        let bytes = body::read(response.into_body(), &gateway.live().config.limits).await?;
        Ok::<_, ApiError>((deployment, good, bytes))
    };
    let Ok(answered) = tokio::time::timeout(TEST_TIMEOUT, asked).await else {
        let message = format!("{name} did not answer in {} s", TEST_TIMEOUT.as_secs());
        return Err(ApiError::new(ErrorKind::Timeout, message).into());
    };
    let (deployment, ok, bytes) = answered?;
    let latency_ms = begun.elapsed().as_secs_f64() * 1e3;
    let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = if ok {
        format!("{} answered in {latency_ms:.0} ms.", deployment.as_deref().unwrap_or(&name))
    } else {
        told["error"]["message"].as_str().unwrap_or("it did not answer").to_owned()
    };
    Ok(Json(Tested { ok, message, deployment, latency_ms }))
}

async fn choose(
    gateway: &Gateway,
    name: &str,
    sent: Body,
) -> Result<(Arc<Model>, Which, Vec<Arc<Deployment>>), ApiError> {
    let bytes = body::read(sent, &gateway.live().config.limits).await?;
    let which: Which = if bytes.is_empty() { Which { deployment: None, drained: true } } else { body::json(&bytes)? };
    let model = find(gateway, name)?;
    let wanted =
        |deployment: &&Arc<Deployment>| which.deployment.as_ref().is_none_or(|wanted| **wanted == *deployment.name);
    let deployments: Vec<Arc<Deployment>> = model.deployments.iter().filter(wanted).cloned().collect();
    if deployments.is_empty() {
        return Err(ApiError::invalid(format!("`{name}` has no such deployment")).at("deployment"));
    }
    Ok((model, which, deployments))
}

fn find(gateway: &Gateway, name: &str) -> Result<Arc<Model>, ApiError> {
    let live = gateway.live();
    let unknown = || ApiError::new(ErrorKind::NotFound, format!("there is no model `{name}`"));
    live.catalog.find(name).cloned().ok_or_else(unknown)
}
