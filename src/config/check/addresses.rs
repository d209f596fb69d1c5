//! Checks of addresses, but for those of providers.

use std::net::SocketAddr;

use super::provider::{NO_PORT, has_sound_port};
use crate::config::Config;

pub(super) fn check_addresses(config: &Config, bad: &mut impl FnMut(String, String)) {
    for (index, origin) in config.server.cors_origins.iter().enumerate() {
        if origin != "*" && !is_origin(origin) {
            let what = format!(
                "`{origin}` is no origin: write scheme://host or scheme://host:port, in lower case, and no more; \
                 only `*` alone stands for others, and for any"
            );
            bad(format!("server.cors_origins[{index}]"), what);
        }
    }
    let (proxy, admin) = (config.server.listen, config.admin.listen);
    // Linux gives [::] the addresses of IPv4, too.
    let is_wide =
        |one: SocketAddr, other: SocketAddr| one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    let meet = proxy.ip() == admin.ip() || is_wide(proxy, admin) || is_wide(admin, proxy);
    if config.admin.enabled && proxy.port() == admin.port() && proxy.port() != 0 && meet {
        bad("admin.listen".into(), format!("{admin} is taken by server.listen = {proxy}: give it another port"));
    }
    // Empty = none: an unset variable is no address.
    if let Some(proxy) = config.dispatch.proxy.as_ref().filter(|proxy| !proxy.is_empty()) {
        let url = proxy.parse::<http::Uri>();
        if url.as_ref().is_ok_and(|url| !has_sound_port(url)) {
            bad("dispatch.proxy".into(), NO_PORT.into());
        }
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
}

/// Whether `text` is an origin as browsers write it (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let letters =
        |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    let authority = rest.parse::<http::uri::Authority>();
    !scheme.is_empty()
        && letters(scheme)
        && !rest.contains('*')
        && authority.is_ok_and(|known| known.as_str() == rest.to_ascii_lowercase() && !rest.contains('@'))
}
