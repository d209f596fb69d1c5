//! Checks of providers.

use crate::config::Provider;
use crate::config::layers::join;
use crate::config::redact::{variable_name_fault, without_credentials};
use crate::protocol::Dialect;

pub(super) fn check_provider(name: &str, provider: &Provider, bad: &mut impl FnMut(String, String)) {
    let path = join("providers", name);
    let url = provider.base_url.parse::<http::Uri>();
    if url.as_ref().is_ok_and(|url| url.query().is_some()) {
        bad(format!("{path}.base_url"), "must not hold a query: paths are added at its end".into());
    }
    match url {
        Ok(url) if !matches!(url.scheme_str(), Some("http" | "https")) => {
            bad(format!("{path}.base_url"), "must begin with http:// or https://".into());
        }
        Ok(url) if url.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            bad(format!("{path}.base_url"), "must not hold a credential; use key_env or key_file".into());
        }
        Ok(_) => {
            if let Some((end, base)) = beyond_base(provider) {
                let base = without_credentials(base);
                bad(
                    format!("{path}.base_url"),
                    format!("must not end with {end}: paths are added at its end; write {base}"),
                );
            }
        }
        Err(error) => bad(format!("{path}.base_url"), format!("is no URL: {error}")),
    }
    // Empty = from no variable.
    let variable = provider.key_env.as_deref().filter(|name| !name.is_empty());
    if let Some(fault) = variable.and_then(variable_name_fault) {
        bad(format!("{path}.key_env"), fault.into());
    }
    for (header, value) in &provider.headers {
        let valid = header.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok();
        if !valid {
            bad(join(&format!("{path}.headers"), header), "is no valid HTTP header".into());
        }
    }
}

/// What a base URL goes on with behind its end, and the URL up to there: people copy the whole address of an endpoint,
/// or the base that another dialect's clients want. Each call would miss.
fn beyond_base(provider: &Provider) -> Option<(&'static str, &str)> {
    // The longer of two that end alike comes first.
    let ends: &[&str] = match provider.dialect {
        Dialect::Anthropic => &["/v1/messages", "/v1"],
        Dialect::Ollama => &["/api/chat", "/api/generate", "/api", "/v1/chat/completions", "/v1"],
        _ => &["/chat/completions", "/completions", "/responses", "/embeddings"],
    };
    let url = provider.base_url.trim_end_matches('/');
    ends.iter().find_map(|end| Some((*end, url.strip_suffix(end)?)))
}
