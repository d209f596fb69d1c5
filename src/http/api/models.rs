//! Lists of models: OpenAI's (or Anthropic's, for its clients), and our own with status.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::gateway::{Gateway, LiveConfig};
use crate::http::error::{Rejection, is_anthropics};
use crate::http::middleware::caller::{Caller, Chatter};
use crate::protocol::{ApiError, Dialect, ErrorKind, RequestedModel};
use crate::upstream::Model;

/// `GET /v1/models`: the models that can be called now, `auto` first; in Anthropic's format for clients of its SDK.
pub async fn list(State(gateway): State<Arc<Gateway>>, Chatter(caller): Chatter, headers: HeaderMap) -> Json<Value> {
    let live = gateway.live();
    let names = askable(&live, &caller);
    let anthropic = is_anthropics(&headers);
    let data: Vec<Value> = names.iter().map(|name| listed(&live, name, anthropic)).collect();
    if anthropic {
        return Json(json!({ "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last() }));
    }
    Json(json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{name}`: one entry of that list, by any name that a chat may ask for.
pub async fn one(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Rejection> {
    let live = gateway.live();
    let anthropic = is_anthropics(&headers);
    // A path that is not UTF-8 names no model.
    let known = name.as_ref().ok().and_then(|Path(name)| entry_of(&live, name));
    let Some(known) = known.filter(|known| askable(&live, &caller).contains(known)) else {
        let dialect = if anthropic { Dialect::Anthropic } else { Dialect::OpenAi };
        let error = ApiError::new(ErrorKind::NotFound, "no such model can be called now: `GET /models` says why");
        return Err(Rejection::new(dialect, error.at("model")));
    };
    Ok(Json(listed(&live, known, anthropic)))
}

/// The entry of the list that a name means: a model's, or `auto`, whichever objective it has.
fn entry_of<'a>(live: &'a LiveConfig, name: &str) -> Option<&'a str> {
    match RequestedModel::parse(live.catalog.names().unaliased(name)).ok()? {
        RequestedModel::Auto(_) => Some("auto"),
        RequestedModel::Model(name) => Some(live.catalog.find(&name)?.name.as_str()),
    }
}

/// The names that this caller can ask for now.
fn askable<'a>(live: &'a LiveConfig, caller: &'a Caller) -> Vec<&'a str> {
    let now = Instant::now();
    let usable = |model: &&Arc<Model>| model.unavailable(now).is_none();
    let names = allowed(live, caller).filter(usable).map(|model| model.name.as_str());
    std::iter::once("auto").chain(names).collect()
}

fn listed(live: &LiveConfig, name: &str, anthropic: bool) -> Value {
    if anthropic {
        let created = "1970-01-01T00:00:00Z";
        // Those that can no longer be called are not on the list.
        let lifecycle = "active";
        return json!({
            "type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": lifecycle,
        });
    }
    let deployment = live.catalog.find(name).and_then(|model| model.deployments.first());
    let owner = deployment.map_or("pointsman", |deployment| deployment.provider.name.as_str());
    json!({ "id": name, "object": "model", "created": 0, "owned_by": owner })
}

/// `GET /models`: every model, with its status and, where it cannot be called, the reason.
pub async fn overview(State(gateway): State<Arc<Gateway>>, Chatter(caller): Chatter) -> Json<Value> {
    let live = gateway.live();
    let now = Instant::now();
    let models: Vec<Value> = allowed(&live, &caller).map(|model| entry(model, &live, now)).collect();
    Json(json!({ "models": models }))
}

fn allowed<'a>(live: &'a LiveConfig, caller: &'a Caller) -> impl Iterator<Item = &'a Arc<Model>> {
    let only = caller.token.as_deref().and_then(|token| token.models.as_ref());
    let only = only.map(|names| live.catalog.selection(names));
    live.catalog.models().filter(move |model| only.as_ref().is_none_or(|only| only.has(model)))
}

fn entry(model: &Model, live: &LiveConfig, now: Instant) -> Value {
    let reason = model.unavailable(now);
    let status = if reason.is_none() { "available" } else { "unavailable" };
    let aliases = live.catalog.names().aliases().iter().filter(|(_, target)| **target == model.name);
    let aliases: Vec<&str> = aliases.map(|(alias, _)| alias.as_str()).collect();
    let providers: Vec<&str> = model.deployments.iter().map(|deployment| deployment.provider.name.as_str()).collect();
    json!({
        "name": model.name,
        "status": status,
        "reason": reason,
        "aliases": aliases,
        "providers": providers,
        "price": model.settings.price,
        "context": model.settings.context,
        "max_output": model.settings.max_output,
        "can": model.settings.can,
        "weight": model.settings.weight,
        "discovered": model.discovered,
        "latency_ms": model.latency().map(|latency| latency.as_secs_f64() * 1e3),
    })
}
