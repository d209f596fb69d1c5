//! Resolves secrets: from the file or the variable that the configuration names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::stamp::Stamped;
use super::{Admin, Hub, Password, Provider};

/// Resolves the providers' keys, and notes their files in `files`; what is wrong with them goes to `errors`.
pub(super) fn resolve_keys(
    providers: &mut BTreeMap<String, Provider>,
    variables: &BTreeMap<String, String>,
    dir: &Path,
    files: &mut Vec<Stamped>,
    errors: &mut Vec<String>,
) {
    for (name, provider) in providers {
        let variable = provider.key_env.as_deref();
        files.extend(provider.key_file.as_ref().map(|file| Stamped::new(dir.join(file))));
        let key = secret(&format!("providers.{name}.key"), variable, provider.key_file.as_deref(), variables, dir);
        provider.key = key.map_err(|error| errors.push(error)).ok().flatten();
    }
}

/// Resolves the hub's token, and what the hub's usual variables (`HF_HOME`...) say about cache, address and offline
/// mode.
pub(super) fn resolve_hub(hub: &mut Hub, variables: &BTreeMap<String, String>, dir: &Path, errors: &mut Vec<String>) {
    let given = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let token = secret("classifier.hub.token", Some(&hub.token_env), hub.token_file.as_deref(), variables, dir);
    hub.token = token.map_err(|error| errors.push(error)).ok().flatten();
    if hub.cache_dir.is_none() {
        hub.cache_dir = given("HF_HUB_CACHE").map(PathBuf::from).or_else(|| {
            let home = given("HF_HOME").map(PathBuf::from);
            home.or_else(|| given("HOME").map(|home| Path::new(home).join(".cache/huggingface")))
                .map(|it| it.join("hub"))
        });
    }
    if hub.endpoint == Hub::default().endpoint
        && let Some(endpoint) = given("HF_ENDPOINT")
    {
        hub.endpoint = endpoint.trim_end_matches('/').to_owned();
    }
    let on = |value: &String| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str());
    hub.offline |= given("HF_HUB_OFFLINE").is_some_and(on);
}

/// A secret from a file, else from a variable; refused if no HTTP header could carry it.
fn secret(
    key: &str,
    variable: Option<&str>,
    file: Option<&Path>,
    variables: &BTreeMap<String, String>,
    dir: &Path,
) -> Result<Option<SecretString>, String> {
    let text = match file {
        Some(file) => {
            let path = dir.join(file);
            let read = std::fs::read_to_string(&path);
            Some(read.map_err(|error| format!("{key}_file: {}: {error}", path.display()))?)
        }
        None => variable.and_then(|variable| variables.get(variable)).cloned(),
    };
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.parse::<http::HeaderValue>().is_err()) {
        let source = match (file, variable) {
            (Some(file), _) => format!("{key}_file: {}", file.display()),
            (None, variable) => format!("{key}_env: {}", variable.unwrap_or_default()),
        };
        return Err(format!("{source} holds a line break or another character that no HTTP header can carry"));
    }
    Ok(text.map(SecretString::from))
}

/// The dashboard's password: the file's hash, else the variable's text.
pub(super) fn resolve_password(
    admin: &Admin,
    variables: &BTreeMap<String, String>,
    dir: &Path,
    errors: &mut Vec<String>,
) -> Option<Password> {
    if let Some(file) = &admin.password_file {
        let path = dir.join(file);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| errors.push(format!("admin.password_file: {}: {error}", path.display())));
        return Some(Password::Hash(SecretString::from(text.ok()?.trim().to_owned())));
    }
    let text = variables.get(&admin.password_env).filter(|text| !text.is_empty());
    text.map(|text| Password::Plain(SecretString::from(text.clone())))
}
