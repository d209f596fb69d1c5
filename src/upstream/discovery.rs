//! Asks a server which models it has: Ollama's `/api/tags` and `/api/show`, OpenAI's and Anthropic's `/models`.
//!
//! A server under load may miss one request for its list and still serve: it counts as gone after two misses in a
//! row, or if it never listed anything. Some servers do one thing at a time (llama-cpp-python): while one works for us,
//! it is no miss that its list does not come in time. Its models and their health stay known, so that a request for
//! one fails because the server is away, not because the model does not exist. A model's known abilities stay, too,
//! while its server does not name them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{Call, CallError, Client, Endpoint, Provider};
use crate::config::{self, Capability};
use crate::protocol::{Dialect, Price};

/// The pause between two rounds over all servers.
pub const DISCOVER_EVERY: Duration = Duration::from_secs(30);

/// How long a server may take for its list. Short: a local server answers at once or is not there.
const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest list of models accepted.
const MAX_LIST_BYTES: usize = 8 << 20;

/// Context assumed where Ollama does not tell it, in tokens.
const DEFAULT_CONTEXT: u32 = 8192;

/// Misses in a row after which a server counts as gone.
const MISSES_UNTIL_GONE: u8 = 2;

/// The result of asking a server for its models.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovered {
    /// Its list of models.
    Models(Vec<ListedModel>),
    /// An answer other than a list, and what it was: the server is there, and its configured models can be called.
    Unlisted(String),
    /// No answer in time.
    Late(String),
    /// No answer in time, while it worked for us.
    Busy,
    /// No answer; the reason.
    Failed(String),
}

/// What is known of a server's models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Its latest list; `None` = it never gave one.
    models: Option<Vec<ListedModel>>,
    /// Misses in a row, counted up to [`MISSES_UNTIL_GONE`], and the reason of the latest.
    missed: Option<(u8, String)>,
    /// What its latest answer was, where that was no list.
    unlisted: Option<String>,
}

impl Listing {
    /// Takes in the result of asking the server again.
    pub fn update(&mut self, found: Discovered) {
        match found {
            Discovered::Models(models) => *self = Self { models: Some(models), ..Self::default() },
            Discovered::Unlisted(reason) => (self.missed, self.unlisted) = (None, Some(reason)),
            // Of one that is gone, calls from before may still hang.
            Discovered::Busy => self.missed = self.missed.take().filter(|(times, _)| *times == MISSES_UNTIL_GONE),
            Discovered::Late(reason) | Discovered::Failed(reason) => {
                let before = self.missed.as_ref().map_or(0, |(times, _)| *times);
                self.missed = Some(((before + 1).min(MISSES_UNTIL_GONE), reason));
            }
        }
    }

    /// Forgets the misses: the server is asked at another address, or in another way, from now on.
    pub fn reset_misses(&mut self) {
        (self.missed, self.unlisted) = (None, None);
    }

    /// Its models, as far as known.
    pub fn models(&self) -> &[ListedModel] {
        self.models.as_deref().unwrap_or_default()
    }

    /// Why it does not list its models, if it does not.
    pub fn silence(&self) -> Option<&str> {
        self.gone().or(self.unlisted.as_deref())
    }

    /// Why the server counts as gone, if it does.
    pub fn gone(&self) -> Option<&str> {
        let (times, reason) = self.missed.as_ref()?;
        (*times == MISSES_UNTIL_GONE || self.models.is_none()).then_some(reason.as_str())
    }
}

/// A model on a server's list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedModel {
    /// Its name there, which is also its name here.
    pub name: String,
    /// In tokens; `None` = it is not told, and so for `max_output`.
    context: Option<u32>,
    max_output: Option<u32>,
    can: Vec<Capability>,
    /// Whether nobody told what it can.
    can_is_guessed: bool,
}

impl ListedModel {
    /// A model of which only the name is known.
    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        Self::shown(name.to_owned(), &Value::Null)
    }

    /// The model that `/api/show` describes by `facts`.
    pub(super) fn shown(name: String, facts: &Value) -> Self {
        let context = context(facts);
        Self {
            name,
            context: Some(context),
            max_output: Some(context.min(8192)),
            can: capabilities(facts),
            // Older servers do not tell it.
            can_is_guessed: !facts["capabilities"].is_array(),
        }
    }

    /// The model as if configured: free of charge, and drawn by `auto` only once an operator gives it a weight. Where
    /// its list does not tell what it can, `default` does, the model of the defaults whose name it takes.
    pub(super) fn settings(&self, provider: &str, default: Option<&config::Model>) -> config::Model {
        let known = default.filter(|_| self.can_is_guessed).cloned().unwrap_or_else(|| config::Model {
            can: self.can.iter().copied().collect(),
            can_is_guessed: self.can_is_guessed,
            ..config::Model::default()
        });
        config::Model {
            provider: Some(provider.to_owned()),
            upstream: Some(self.name.clone()),
            deployments: Vec::new(),
            price: Price::default(),
            context: self.context.unwrap_or(known.context),
            max_output: self.max_output.or(known.max_output),
            weight: 0.0,
            ..known
        }
    }
}

#[derive(Deserialize)]
struct OllamaModels {
    models: Vec<OllamaModel>,
}

#[derive(Deserialize)]
struct OllamaModel {
    name: String,
}

#[derive(Deserialize)]
struct OpenAiModels {
    data: Vec<OpenAiModel>,
}

/// The fields with the context window are read as they come: a strange one must not spoil the list.
#[derive(Deserialize)]
struct OpenAiModel {
    id: String,
    /// llama.cpp: `n_ctx`, of what one request may have.
    #[serde(default)]
    meta: Value,
    /// vLLM, SGLang.
    #[serde(default)]
    max_model_len: Value,
    /// OpenRouter.
    #[serde(default)]
    context_length: Value,
}

impl OpenAiModel {
    /// OpenAI's own list tells names only, and so does Anthropic's; look-alikes may tell the context window, too. What a
    /// model can none of them tells.
    fn listed(self) -> ListedModel {
        let told = [&self.meta["n_ctx"], &self.max_model_len, &self.context_length];
        let mut told = told.into_iter().filter_map(|told| u32::try_from(told.as_u64()?).ok());
        ListedModel {
            context: told.find(|told| *told > 0),
            name: self.id,
            max_output: None,
            can: vec![Capability::Tools],
            can_is_guessed: true,
        }
    }
}

/// Asks `provider` for its models; `known` are those of its previous list.
pub async fn discover(client: &Client, provider: &Provider, known: &[ListedModel]) -> Discovered {
    let body = match get(client, provider, Endpoint::Models, None).await {
        Ok(body) => body,
        Err(missed) => return missed,
    };
    let unreadable = || Discovered::Unlisted("its list of models cannot be read".into());
    if provider.dialect != Dialect::Ollama {
        let Ok(list) = serde_json::from_slice::<OpenAiModels>(&body) else {
            return unreadable();
        };
        let plain = list.data.into_iter().filter(|listed| is_plain(&listed.id));
        return Discovered::Models(plain.map(OpenAiModel::listed).collect());
    }
    let Ok(tags) = serde_json::from_slice::<OllamaModels>(&body) else {
        return unreadable();
    };
    let mut models = Vec::new();
    for tag in tags.models.into_iter().filter(|tag| is_plain(&tag.name)) {
        let question = serde_json::json!({ "model": tag.name }).to_string();
        let answer = get(client, provider, Endpoint::Show, Some(question)).await.ok();
        let facts = answer.and_then(|body| serde_json::from_slice(&body).ok());
        let before = known.iter().find(|model| model.name == tag.name);
        models.push(match (facts, before) {
            (None, Some(before)) => before.clone(),
            (facts, _) => ListedModel::shown(tag.name, &facts.unwrap_or_default()),
        });
    }
    Discovered::Models(models)
}

/// Whether a name is safe to show and not mistaken for another: in a log, on a terminal, in a header, in a list. Models
/// with other names are ignored.
fn is_plain(name: &str) -> bool {
    // Besides control characters: line separators, changes of direction, blanks without width.
    let unseen = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !name.trim().is_empty() && !name.chars().any(|c| c.is_control() || unseen(c))
}

async fn get(
    client: &Client,
    provider: &Provider,
    endpoint: Endpoint,
    body: Option<String>,
) -> Result<bytes::Bytes, Discovered> {
    let failed = |error: CallError| match error {
        CallError::NoEndpoint => Discovered::Unlisted(error.to_string()),
        CallError::Timeout => Discovered::Late(error.to_string()),
        _ => Discovered::Failed(error.to_string()),
    };
    let deadline = Instant::now() + LIST_TIMEOUT;
    let call = Call { endpoint, body: body.map(Into::into), headers: http::HeaderMap::new() };
    let answer = client.send(provider, call, deadline).await.map_err(failed)?;
    match answer.status() {
        200..=299 => answer.whole(MAX_LIST_BYTES, deadline).await.map_err(failed),
        // A server in trouble, or a proxy whose server is gone.
        status @ 500.. => Err(Discovered::Failed(format!("it answers with status {status}"))),
        status => Err(Discovered::Unlisted(format!("it answers with status {status}"))),
    }
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

/// The model's `capabilities`, and structured output, which Ollama's grammar gives to every model.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::upstream::Catalog;

    fn listed() -> Discovered {
        Discovered::Models(vec![ListedModel::named("a")])
    }

    fn after(answers: impl IntoIterator<Item = Discovered>) -> Listing {
        let mut listing = Listing::default();
        answers.into_iter().for_each(|found| listing.update(found));
        listing
    }

    #[test]
    fn names_that_would_not_stand_where_they_are_written_are_none() {
        for name in ["llama3.2", "sp ace", "ünï", "../../etc", "<b>", "模型:7b"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", " ", "evil\r\nx-injected: 1", "a\x1b[31mred", "a\0", "a\u{9b}31m", "a\u{202e}b", "a\u{200b}"]
        {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    #[test]
    fn a_server_that_misses_once_keeps_its_models_and_one_that_misses_twice_is_gone_with_them_known() {
        let miss = || Discovered::Failed("too slow".into());
        assert_eq!(after([miss()]).gone(), Some("too slow"), "it was never there");
        let once = after([listed(), miss()]);
        assert_eq!((once.models().len(), once.gone()), (1, None));
        let twice = after([listed(), miss(), miss()]);
        assert_eq!((twice.models().len(), twice.gone()), (1, Some("too slow")));
        assert_eq!(twice, after([listed(), miss(), miss(), miss()]), "nothing new");
        assert_eq!(after([miss(), miss(), listed()]), after([listed()]));
        assert_eq!(after([listed(), miss(), listed(), miss()]).gone(), None);
    }

    #[test]
    fn a_server_that_works_for_us_misses_nothing() {
        let late = || Discovered::Late("too slow".into());
        assert_eq!(after([listed(), late(), late()]).gone(), Some("too slow"), "it does nothing else");
        assert_eq!(after([listed(), late(), Discovered::Busy, late()]).gone(), None);
        assert_eq!(after([listed(), late(), late(), Discovered::Busy]).gone(), Some("too slow"), "calls hang there");
    }

    #[test]
    fn the_models_of_a_server_that_is_gone_are_listed_as_such() {
        let miss = || Discovered::Failed("too slow".into());
        let unavailable = |listing| {
            let known = BTreeMap::from([("ollama".to_owned(), listing)]);
            let catalog = Catalog::new(&"".parse().unwrap(), &known, None);
            catalog.find("a").unwrap().unavailable(std::time::Instant::now())
        };
        assert_eq!(unavailable(after([listed(), miss()])), None);
        let gone = unavailable(after([listed(), miss(), miss()]));
        assert_eq!(gone.as_deref(), Some("ollama does not answer: too slow"));
    }

    #[test]
    fn who_is_not_asked_any_more_says_nothing() {
        let miss = || Discovered::Failed("too slow".into());
        let known = BTreeMap::from([("ollama".to_owned(), after([listed(), miss(), miss()]))]);
        let settings = "[providers.ollama]\ndiscover = false\n[models.own]\nprovider = 'ollama'\n";
        let catalog = Catalog::new(&settings.parse().unwrap(), &known, None);
        assert_eq!(catalog.find("own").unwrap().unavailable(std::time::Instant::now()), None);
        assert!(catalog.find("a").is_none());
    }

    #[test]
    fn a_server_of_another_name_keeps_its_models() {
        let names = ["ollama", "local"].map(|name| (name.to_owned(), after([listed()])));
        let settings = "[providers.ollama]\nenabled = false\n\
            [providers.local]\ndialect = 'ollama'\nbase_url = 'http://a'\ndiscover = true\n";
        let catalog = Catalog::new(&settings.parse().unwrap(), &BTreeMap::from(names), None);
        let deployments: Vec<&str> = catalog.find("a").unwrap().deployments.iter().map(|it| &*it.name).collect();
        assert_eq!(deployments, ["local/a"]);
    }

    #[test]
    fn a_server_that_answers_without_a_list_is_there() {
        let refusal = || Discovered::Unlisted("it answers with status 404".into());
        assert_eq!(after([refusal(), refusal()]).gone(), None);
        let listing = after([listed(), refusal(), refusal()]);
        assert_eq!((listing.models().len(), listing.gone()), (1, None));
    }

    #[test]
    fn why_there_is_no_list_is_known_until_there_is_one() {
        let refusal = || Discovered::Unlisted("it answers with status 404".into());
        let miss = || Discovered::Failed("too slow".into());
        let silence = |answers: &[Discovered]| after(answers.iter().cloned()).silence().map(str::to_owned);
        assert_eq!(silence(&[]), None);
        assert_eq!(silence(&[refusal()]).as_deref(), Some("it answers with status 404"));
        assert_eq!(silence(&[listed(), miss()]), None, "it may be busy");
        assert_eq!(silence(&[listed(), refusal(), miss()]).as_deref(), Some("it answers with status 404"));
        assert_eq!(silence(&[listed(), miss(), miss()]).as_deref(), Some("too slow"));
        assert_eq!(silence(&[refusal(), listed()]), None);
        let mut elsewhere = after([refusal()]);
        elsewhere.reset_misses();
        assert_eq!(elsewhere.silence(), None);
    }

    #[test]
    fn the_context_window_is_what_a_look_alike_tells() {
        for (told, context) in [
            (serde_json::json!({ "meta": { "n_ctx": 1024, "n_ctx_train": 8192 } }), Some(1024)),
            (serde_json::json!({ "max_model_len": 32_768 }), Some(32_768)),
            (serde_json::json!({ "context_length": 1_000_000 }), Some(1_000_000)),
            (serde_json::json!({ "meta": null, "max_model_len": null, "context_length": "long" }), None),
            (serde_json::json!({ "meta": { "n_ctx": 0 }, "context_length": -1 }), None),
            (serde_json::json!({}), None),
        ] {
            let mut entry = told;
            entry["id"] = "m".into();
            let model: OpenAiModel = serde_json::from_value(entry.clone()).unwrap();
            let listed = model.listed();
            assert_eq!(listed.context, context, "{entry}");
            assert_eq!(listed.settings("x", None).context, context.unwrap_or(128_000), "{entry}");
        }
    }

    #[test]
    fn what_a_list_does_not_tell_of_a_model_the_default_of_its_name_does() {
        let config: config::Config = "".parse().unwrap();
        let default = &config.models["gpt-6-sol"];
        let listed = |entry: Value| serde_json::from_value::<OpenAiModel>(entry).unwrap().listed();
        let by_name = listed(serde_json::json!({ "id": "gpt-6-sol" }));
        let as_it_is = config::Model {
            provider: Some("x".into()),
            upstream: Some("gpt-6-sol".into()),
            price: Price::default(),
            weight: 0.0,
            ..default.clone()
        };
        assert_eq!(by_name.settings("x", Some(default)), as_it_is);
        let cut = listed(serde_json::json!({ "id": "gpt-6-sol", "max_model_len": 32_768 }));
        assert_eq!(cut.settings("x", Some(default)), config::Model { context: 32_768, ..as_it_is });
        let guessed = by_name.settings("x", None);
        assert!(guessed.can_is_guessed && guessed.can == [Capability::Tools].into());
        let told = ListedModel::shown("gpt-6-sol".into(), &serde_json::json!({ "capabilities": ["vision"] }));
        assert_eq!(told.settings("x", Some(default)), told.settings("x", None));
        assert!(!told.settings("x", None).can_is_guessed);
        assert!(ListedModel::named("old").settings("x", None).can_is_guessed, "an older Ollama does not tell it");
    }
}
