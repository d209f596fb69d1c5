//! A provider ready to be called: the URLs of its endpoints, and the headers that every call carries.

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use crate::codec::Secrets;
use crate::config::{self, Quirks, Roots};
use crate::protocol::Dialect;

/// The version of the Messages API we speak (Anthropic, "Versions").
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// An endpoint of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Chat.
    Chat,
    /// Chat in OpenAI's other dialect.
    Responses,
    /// Counting a prompt's tokens (Anthropic's Messages, OpenAI's Responses).
    CountTokens,
    /// Embeddings (OpenAI's form; Ollama has it too, beside its own).
    Embeddings,
    /// The list of models.
    Models,
    /// Facts about one model (Ollama).
    Show,
}

impl Endpoint {
    const ALL: [Self; 6] =
        [Self::Chat, Self::Responses, Self::CountTokens, Self::Embeddings, Self::Models, Self::Show];
}

/// A provider, ready to be called.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// The wire format it speaks.
    pub dialect: Dialect,
    /// How it differs from its dialect.
    pub quirks: Quirks,
    /// Which certificate authorities are trusted.
    pub roots: Roots,
    /// Why it cannot be called; `None` = it can.
    pub unusable: Option<String>,
    base_url: String,
    /// Endpoint URLs, parsed once.
    urls: Vec<(Endpoint, reqwest::Url)>,
    headers: HeaderMap,
    secrets: Secrets,
}

impl Provider {
    /// Prepares a provider as configured.
    pub fn new(name: &str, settings: &config::Provider) -> Self {
        let headers = headers(settings);
        let mut provider = Self {
            name: name.to_owned(),
            dialect: settings.dialect,
            quirks: settings.quirks.clone(),
            roots: settings.roots,
            unusable: unusable(settings),
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            urls: Vec::new(),
            secrets: secrets(&headers),
            headers,
        };
        let parsed = |endpoint: Endpoint| Some((endpoint, provider.url(endpoint)?.parse().ok()?));
        provider.urls = Endpoint::ALL.into_iter().filter_map(parsed).collect();
        provider
    }

    /// An endpoint's URL, parsed.
    pub(super) fn parsed_url(&self, endpoint: Endpoint) -> Option<&reqwest::Url> {
        self.urls.iter().find(|(known, _)| *known == endpoint).map(|(_, url)| url)
    }

    /// Host and port of its chat endpoint.
    pub fn server(&self) -> Option<(&str, u16)> {
        let url = self.parsed_url(Endpoint::Chat)?;
        Some((url.host_str()?, url.port_or_known_default()?))
    }

    /// An endpoint's URL; `None` where the provider has no such endpoint.
    pub fn url(&self, endpoint: Endpoint) -> Option<String> {
        let path = match (self.dialect, endpoint) {
            (Dialect::OpenAi, Endpoint::Chat) => "/chat/completions",
            (Dialect::OpenAi, Endpoint::Responses) => "/responses",
            (Dialect::OpenAi, Endpoint::CountTokens) => "/responses/input_tokens",
            (Dialect::OpenAi, Endpoint::Embeddings) => "/embeddings",
            (Dialect::OpenAi, Endpoint::Models) => "/models",
            (Dialect::Anthropic, Endpoint::Chat) => "/v1/messages",
            (Dialect::Anthropic, Endpoint::CountTokens) => "/v1/messages/count_tokens",
            (Dialect::Anthropic, Endpoint::Models) => "/v1/models",
            (Dialect::Ollama, Endpoint::Chat) => "/api/chat",
            (Dialect::Ollama, Endpoint::Embeddings) => "/v1/embeddings",
            (Dialect::Ollama, Endpoint::Models) => "/api/tags",
            (Dialect::Ollama, Endpoint::Show) => "/api/show",
            _ => return None,
        };
        Some(format!("{}{path}", self.base_url))
    }

    /// Whether both reach the same server, with the same key and headers and in the same way.
    pub fn reaches_same_server_as(&self, other: &Self) -> bool {
        let how = |provider: &Self| (provider.dialect, provider.roots);
        self.base_url == other.base_url && self.headers == other.headers && how(self) == how(other)
    }

    /// Whether both are one server: asked in two dialects, as Ollama can be, or twice in the same way.
    pub(super) fn is_another_door_of(&self, other: &Self) -> bool {
        let (Some(here), Some(there)) = (self.parsed_url(Endpoint::Chat), other.parsed_url(Endpoint::Chat)) else {
            return false;
        };
        let loopback = |url: &reqwest::Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_same_host = here.host_str() == there.host_str() || (loopback(here) && loopback(there));
        let is_same_server = is_same_host && here.port_or_known_default() == there.port_or_known_default();
        let is_same_way = here.path() == there.path() && self.headers == other.headers;
        is_same_server && (self.dialect != other.dialect || is_same_way)
    }

    /// Headers of every call, the key among them (marked sensitive, so that debug output hides it).
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Header values that must be hidden when the vendor's error messages repeat them.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}

fn unusable(settings: &config::Provider) -> Option<String> {
    if !settings.enabled {
        return Some("its provider is disabled".into());
    }
    if settings.lacks_key() {
        let variable = settings.key_env.as_deref().unwrap_or_default();
        return Some(match &settings.key_file {
            Some(file) => format!("no key: {} is empty", file.display()),
            None => format!("no key: set {variable}"),
        });
    }
    None
}

/// Parts of words that mark a header's name as a secret's (`apikey`, `x-authn`, `passwd`). The values of other headers
/// may be common words, which must stay readable in error messages.
const SECRET_WORDS: [&str; 9] =
    ["auth", "cookie", "credential", "key", "pass", "pwd", "secret", "signature", "token"];

/// Words that hold such a part and mark no secret.
const HARMLESS_WORDS: [&str; 8] =
    ["author", "authority", "authors", "bypass", "keyword", "keywords", "passthrough", "portkey"];

fn names_a_secret(name: &HeaderName) -> bool {
    let mut words = name.as_str().split(['-', '_']).filter(|word| !HARMLESS_WORDS.contains(word));
    words.any(|word| SECRET_WORDS.iter().any(|secret| word.contains(secret)))
}

/// The values of the key and of configured headers with a secret's name.
fn secrets(headers: &HeaderMap) -> Secrets {
    let secret = headers.iter().filter(|(name, value)| value.is_sensitive() && names_a_secret(name));
    Secrets::of_headers(secret.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))))
}

fn headers(settings: &config::Provider) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Without this header the vendor may answer in any coding (RFC 9110, section 12.5.3).
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if settings.dialect == Dialect::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    if let Some(key) = &settings.key {
        let (name, text) = match settings.dialect {
            Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.expose_secret().to_owned()),
            _ => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
        };
        if let Ok(mut value) = HeaderValue::try_from(text) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    for (name, value) in &settings.headers {
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_and_never_shown() {
        let settings = config::Provider {
            base_url: "https://example.com/v1/".into(),
            key_env: Some("KEY".into()),
            key: Some("sk-hush-hush".to_owned().into()),
            ..config::Provider::default()
        };
        let provider = Provider::new("x", &settings);
        assert_eq!(provider.headers()[AUTHORIZATION], "Bearer sk-hush-hush");
        assert!(!format!("{provider:?}").contains("hush"));
        assert_eq!(provider.url(Endpoint::Chat).unwrap(), "https://example.com/v1/chat/completions");
        assert!(provider.unusable.is_none());
        assert_eq!(format!("{:?}", provider.secrets()), "Secrets(1)");
        let headers =
            [("x-title", "assistant"), ("x-api-token", "a secret"), ("http-referer", "https://example.com")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let provider = Provider::new("x", &config::Provider { headers, ..settings });
        assert_eq!(format!("{:?}", provider.secrets()), "Secrets(2)", "a client may read the word `assistant`");
        let names_a_secret = |name| names_a_secret(&HeaderName::from_static(name));
        for name in ["x-api-key", "apikey", "ocp-apim-subscription-key", "x-portkey-api-key", "cookie", "x_token"] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in
            ["x-authentication", "x-authn", "x-oauth2", "x-passwd", "passcode", "x-secrets", "x-key1", "tokens"]
        {
            assert!(names_a_secret(name), "{name}");
        }
        for name in ["x-portkey-provider", "x-title", "x-author", "x-passthrough", "http-referer"] {
            assert!(!names_a_secret(name), "{name}");
        }
    }

    #[test]
    fn without_its_key_it_says_which_variable_to_set() {
        let settings = config::Provider { key_env: Some("OPENAI_API_KEY".into()), ..config::Provider::default() };
        assert_eq!(Provider::new("x", &settings).unusable.unwrap(), "no key: set OPENAI_API_KEY");
    }
}
