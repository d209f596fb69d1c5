//! Values that have a form of their own: addresses of the web, weights of objectives, names of headers.

use super::Config;
use super::layers::join;
use crate::protocol::Objective;

pub(super) fn check_values(config: &Config, bad: &mut impl FnMut(String, String)) {
    for (index, origin) in config.server.cors_origins.iter().enumerate() {
        if origin != "*" && !is_origin(origin) {
            let what = format!(
                "`{origin}` is no origin: write scheme://host or scheme://host:port, in lower case, and no more"
            );
            bad(format!("server.cors_origins[{index}]"), what);
        }
    }
    for (name, provider) in &config.providers {
        let url = provider.base_url.parse::<http::Uri>();
        if url.is_ok_and(|url| url.query().is_some()) {
            bad(
                format!("{}.base_url", join("providers", name)),
                "must not hold a query: paths are added at its end".into(),
            );
        }
    }
    // Empty = none: an unset variable is no address.
    if let Some(proxy) = config.dispatch.proxy.as_ref().filter(|proxy| !proxy.is_empty()) {
        let url = proxy.parse::<http::Uri>();
        if !url.is_ok_and(|url| url.scheme_str() == Some("http") && url.authority().is_some()) {
            bad(
                "dispatch.proxy".into(),
                "must be an address as in http://proxy.example:3128; leave it out for none".into(),
            );
        }
    }
    // Empty = nowhere, likewise.
    if let Some(endpoint) = config.telemetry.otlp_endpoint.as_ref().filter(|endpoint| !endpoint.is_empty()) {
        let url = endpoint.parse::<http::Uri>();
        if !url.is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()) {
            bad(
                "telemetry.otlp_endpoint".into(),
                "must be an address as in http://localhost:4318; leave it out for none".into(),
            );
        }
    }
    let hub = config.classifier.hub.endpoint.parse::<http::Uri>();
    if !hub.is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()) {
        bad("classifier.hub.endpoint".into(), "must begin with http:// or https://".into());
    }
    for (name, model) in &config.models {
        if model.upstream.as_deref() == Some("") {
            bad(
                format!("{}.upstream", join("models", name)),
                "must not be empty; leave it out for the model's name".into(),
            );
        }
        if let Some(like) = model.like.as_ref().filter(|like| !config.knows_model(like) && !config.discovers()) {
            bad(format!("{}.like", join("models", name)), format!("there is no model `{like}`"));
        }
    }
    for (index, rule) in config.rules.iter().enumerate() {
        let when = &rule.when;
        if when.min_tokens.zip(when.max_tokens).is_some_and(|(least, most)| least > most) {
            bad(
                format!("rules[{index}].when.min_tokens"),
                "is more than max_tokens: no prompt is so long and so short".into(),
            );
        }
        for header in when.header.keys().filter(|name| name.parse::<http::HeaderName>().is_err()) {
            bad(join(&format!("rules[{index}].when.header"), header), "is no name of an HTTP header".into());
        }
        check_objective(&format!("rules[{index}].objective"), rule.objective, bad);
    }
    check_objective("routing.objective", Some(config.routing.objective), bad);
    let bandit = &config.learning.bandit;
    if bandit.floor.is_some_and(|floor| !(0.0..1.0).contains(&floor)) {
        bad("learning.bandit.floor".into(), "must be 0 or more, and less than 1".into());
    }
    if bandit.half_life.is_some_and(|half_life| !(half_life.is_finite() && half_life > 0.0)) {
        bad("learning.bandit.half_life".into(), "must be more than 0; leave it out for the learner's own".into());
    }
}

fn check_objective(path: &str, objective: Option<Objective>, bad: &mut impl FnMut(String, String)) {
    let Some(Objective::Weights { cost_per_usd, latency_per_s }) = objective else { return };
    if [cost_per_usd, latency_per_s].iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        bad(path.to_owned(), "cost_per_usd and latency_per_s must be 0 or more".into());
    }
}

/// As browsers write it (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let letters =
        |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    let authority = rest.parse::<http::uri::Authority>();
    !scheme.is_empty()
        && letters(scheme)
        && authority.is_ok_and(|known| known.as_str() == rest.to_ascii_lowercase() && !rest.contains('@'))
}
