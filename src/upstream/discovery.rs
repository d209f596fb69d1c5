//! Asks a server which models it has: Ollama's `/api/tags` and `/api/show`, OpenAI's `/models`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{Call, Client, Endpoint, Provider};
use crate::config::{self, Capability};
use crate::protocol::Dialect;

/// How long a server may take for its list. Short: a local server answers at once or is not there.
const PATIENCE: Duration = Duration::from_secs(3);

/// A list of models larger than this is not believed.
const LIMIT: usize = 8 << 20;

/// Context assumed where the server does not tell.
const DEFAULT_CONTEXT: u32 = 8192;

/// What asking a server gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovered {
    /// Its models.
    Models(Vec<Found>),
    /// Nothing, and why.
    Failed(String),
}

/// A model that a server has.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its name there, which is its name here.
    pub name: String,
    context: u32,
    can: Vec<Capability>,
}

impl Found {
    /// The model as if it had been configured: free, and drawn by `auto` only once somebody gives it a weight.
    pub(super) fn settings(&self, provider: &str) -> config::Model {
        config::Model {
            provider: Some(provider.to_owned()),
            upstream: Some(self.name.clone()),
            context: self.context,
            max_output: self.context.min(8192),
            can: self.can.iter().copied().collect(),
            weight: 0.0,
            ..config::Model::default()
        }
    }
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

/// Asks `provider` for its models.
pub async fn discover(client: &Client, provider: &Provider) -> Discovered {
    let body = match get(client, provider, Endpoint::Models, None).await {
        Ok(body) => body,
        Err(reason) => return Discovered::Failed(reason),
    };
    if provider.dialect != Dialect::Ollama {
        let Ok(list) = serde_json::from_slice::<List>(&body) else {
            return Discovered::Failed("its list of models cannot be read".into());
        };
        let found = |listed: Listed| Found { name: listed.id, context: 128_000, can: vec![Capability::Tools] };
        return Discovered::Models(list.data.into_iter().map(found).collect());
    }
    let Ok(tags) = serde_json::from_slice::<Tags>(&body) else {
        return Discovered::Failed("its list of models cannot be read".into());
    };
    let mut models = Vec::new();
    for tag in tags.models {
        let question = serde_json::json!({ "model": tag.name }).to_string();
        let facts = match get(client, provider, Endpoint::Show, Some(question)).await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or(Value::Null),
            Err(_) => Value::Null,
        };
        models.push(Found { context: context(&facts), can: capabilities(&facts), name: tag.name });
    }
    Discovered::Models(models)
}

async fn get(
    client: &Client,
    provider: &Provider,
    endpoint: Endpoint,
    body: Option<String>,
) -> Result<bytes::Bytes, String> {
    let deadline = Instant::now() + PATIENCE;
    let call = Call { endpoint, body: body.map(Into::into), headers: http::HeaderMap::new() };
    let answer = client.send(provider, call, deadline).await.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(format!("it answers with status {}", answer.status()));
    }
    answer.whole(LIMIT, deadline).await.map_err(|error| error.to_string())
}

/// `model_info."<architecture>.context_length"`.
fn context(facts: &Value) -> u32 {
    let info = facts["model_info"].as_object();
    let length = info.and_then(|info| info.iter().find(|(key, _)| key.ends_with(".context_length")));
    length
        .and_then(|(_, value)| value.as_u64())
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(DEFAULT_CONTEXT)
}

/// `capabilities`, and structured output, which Ollama gives every model by its grammar.
fn capabilities(facts: &Value) -> Vec<Capability> {
    let named = facts["capabilities"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let known = named.filter_map(|name| match name {
        "tools" => Some(Capability::Tools),
        "vision" => Some(Capability::Vision),
        "thinking" => Some(Capability::Reasoning),
        _ => None,
    });
    known.chain([Capability::StructuredOutput]).collect()
}
