//! Checks of providers.

use crate::config::Provider;
use crate::config::layers::join;
use crate::config::redact::{variable_name_fault, without_credentials};
use crate::protocol::Dialect;

pub(super) fn check_provider(name: &str, provider: &Provider, bad: &mut impl FnMut(String, String)) {
    let path = join("providers", name);
    let url = provider.base_url.parse::<http::Uri>();
    if url.as_ref().is_ok_and(|url| url.query().is_some() || provider.base_url.contains('#')) {
        bad(format!("{path}.base_url"), "must hold no query and no fragment: paths are added at its end".into());
    }
    match url {
        Ok(url) if !has_sound_port(&url) => bad(format!("{path}.base_url"), NO_PORT.into()),
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

/// What is wrong with an address for which [`has_sound_port`] does not hold.
pub(super) const NO_PORT: &str = "its port must be a number up to 65535";

/// Whether a port, if there is one, is a port: `http::Uri` takes any digits.
pub(super) fn has_sound_port(url: &http::Uri) -> bool {
    let Some(authority) = url.authority() else { return true };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    // An address of IPv6 has colons of its own.
    let behind = host.rsplit(']').next().unwrap_or_default();
    !behind.contains(':') || authority.port_u16().is_some()
}

/// The endpoint that a base URL ends with, and the URL up to there: people copy the whole address. Each call would miss.
fn beyond_base(provider: &Provider) -> Option<(&'static str, &str)> {
    ending(
        provider,
        match provider.dialect {
            Dialect::Anthropic => &["/v1/messages"],
            Dialect::Ollama => &["/api/chat", "/api/generate", "/v1/chat/completions"],
            _ => &["/chat/completions"],
        },
    )
}

/// An end of a base URL by which each call would most likely miss, although a proxy may really have it, and the URL up
/// to there: the base that clients of another dialect want, say.
pub(in crate::config) fn unlikely_end(provider: &Provider) -> Option<(&'static str, &str)> {
    ending(
        provider,
        match provider.dialect {
            Dialect::Anthropic => &["/v1"],
            Dialect::Ollama => &["/api", "/v1"],
            _ => &["/completions", "/responses", "/embeddings"],
        },
    )
}

fn ending<'a>(provider: &'a Provider, ends: &[&'static str]) -> Option<(&'static str, &'a str)> {
    let url = provider.base_url.trim_end_matches('/');
    ends.iter().find_map(|end| Some((*end, url.strip_suffix(end)?)))
}
