//! What the sandbox changes about providers of its user's own: with it, no server but the sandbox is called.

use toml::{Table, Value};

use super::layers::{Layers, Origin, join};

/// Names of providers whose address is not the sandbox's: through them, other servers would be called.
pub(super) fn outside(layers: &Layers) -> Vec<String> {
    let Some(providers) = layers.table().get("providers").and_then(Value::as_table) else { return Vec::new() };
    let address = |provider: &Value| {
        let url = provider.get("base_url")?.as_str()?.parse::<http::Uri>().ok()?;
        url.authority().map(|authority| authority.as_str().to_owned())
    };
    let played = |name: &str| layers.origin(&join(&join("providers", name), "base_url")) == Origin::Sandbox;
    let own: Vec<_> =
        providers.iter().filter(|(name, _)| played(name)).filter_map(|(_, provider)| address(provider)).collect();
    let elsewhere = |provider: &Value| address(provider).is_none_or(|address| !own.contains(&address));
    providers.iter().filter(|(_, provider)| elsewhere(provider)).map(|(name, _)| name.clone()).collect()
}

/// What the sandbox sets on a provider outside it: the address of the sandbox's vendor that speaks the same dialect,
/// and the sandbox's key. Without such a vendor the provider is disabled.
pub(super) fn replacement(layers: &Layers, name: &str) -> Table {
    let providers = layers.table().get("providers").and_then(Value::as_table);
    let set = |name: &str, key: &str| providers?.get(name)?.get(key);
    let vendor = set(name, "dialect").and_then(Value::as_str).unwrap_or("openai");
    if layers.origin(&join(&join("providers", vendor), "base_url")) != Origin::Sandbox {
        return Table::from_iter([("enabled".to_owned(), Value::Boolean(false))]);
    }
    let laid = [("base_url", set(vendor, "base_url")), ("key_env", set("openai", "key_env"))];
    laid.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).collect()
}
