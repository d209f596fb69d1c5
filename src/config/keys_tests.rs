//! Every key there is, set by a flag and by a variable.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::config::{DEFAULTS, LoadArgs, Loaded, load};

/// Values of keys whose type does not say what else they may be; the first that is not the default is taken. A name
/// that people choose is `*`, the first entry of a list `0`. `hush` must not be shown.
const OTHERS: &[(&str, &[&str])] = &[
    ("server.listen", &["'127.0.0.1:9'"]),
    ("server.data_dir", &["'elsewhere'"]),
    ("server.cors_origins", &["['https://page.example']"]),
    ("admin.listen", &["'127.0.0.1:9'"]),
    ("admin.user", &["'root'"]),
    ("admin.password_env", &["'OTHER'"]),
    ("admin.password_file", &["'secret'"]),
    ("access.auth", &["'required'"]),
    ("access.allow", &["['10.0.0.0/8']"]),
    ("access.deny", &["['10.0.0.0/8']"]),
    ("access.trusted_proxies", &["['10.0.0.0/8']"]),
    ("dispatch.proxy", &["'http://user:hush@proxy.example:3128'"]),
    ("dispatch.no_proxy", &["['near.example']"]),
    ("routing.strategy", &["'weighted'"]),
    ("routing.objective", &["'cost'"]),
    ("routing.seed", &["7"]),
    ("learning.mode", &["'shadow'"]),
    ("learning.reward.truncated", &["0.5"]),
    ("learning.reward.cancelled", &["0.5"]),
    ("learning.bandit.policy", &["'lin_ucb'"]),
    ("learning.bandit.half_life", &["700.0"]),
    ("learning.bandit.floor", &["0.001"]),
    ("classifier.model", &["'small.gguf'"]),
    ("classifier.head", &["'none'"]),
    ("classifier.device", &["'cpu'"]),
    ("classifier.precision", &["'full'"]),
    ("classifier.hub.endpoint", &["'https://hub.example'"]),
    ("classifier.hub.token_env", &["'OTHER'"]),
    ("classifier.hub.token_file", &["'secret'"]),
    ("classifier.hub.cache_dir", &["'elsewhere'"]),
    ("telemetry.log_format", &["'json'"]),
    ("telemetry.log", &["'debug'"]),
    ("telemetry.otlp_endpoint", &["'http://user:hush@traces.example:4318'"]),
    ("telemetry.service_name", &["'other'"]),
    ("providers.*.dialect", &["'ollama'", "'openai'"]),
    ("providers.*.base_url", &["'http://other.example'"]),
    ("providers.*.key_env", &["'OTHER'"]),
    ("providers.*.key_file", &["'secret'"]),
    ("providers.*.headers.*", &["'hush'"]),
    ("providers.*.roots", &["'system'"]),
    ("providers.*.quirks.max_tokens_field", &["'max_tokens'", "'max_completion_tokens'"]),
    ("providers.*.quirks.longest_call_id", &["64"]),
    ("providers.*.quirks.most_tools", &["64"]),
    ("providers.*.quirks.most_stops", &["8"]),
    ("providers.*.quirks.leave_out", &["['user']"]),
    ("providers.*.quirks.cannot", &["['audio']"]),
    ("models.*.provider", &["'openai'", "'deepseek'"]),
    ("models.*.upstream", &["'another'"]),
    ("models.*.deployments.0.provider", &["'anthropic'"]),
    ("models.*.deployments.0.upstream", &["'another'"]),
    ("models.*.price.cache_read", &["0.125"]),
    ("models.*.price.cache_write", &["0.125"]),
    ("models.*.max_output", &["1000"]),
    ("models.*.can", &["['vision']"]),
    ("models.*.refuses", &["['forced_tools']"]),
    ("models.*.like", &["'gpt-4o-mini'"]),
    ("models.*.score", &["0.5"]),
    ("aliases.*", &["'gpt-4o'", "'gpt-4o-mini'"]),
    ("rules.0.name", &["'other'"]),
    ("rules.0.pin", &["'gpt-4o'"]),
    ("rules.0.prefer", &["['gpt-4o']"]),
    ("rules.0.forbid", &["['gpt-4o']"]),
    ("rules.0.weights.*", &["2.0"]),
    ("rules.0.objective", &["'cost'"]),
    ("rules.0.explore", &["true"]),
    ("rules.0.when.keywords", &["['word']"]),
    ("rules.0.when.regex", &["['a+']"]),
    ("rules.0.when.within", &["'everything'"]),
    ("rules.0.when.language", &["['deu']"]),
    ("rules.0.when.script", &["['Latin']"]),
    ("rules.0.when.min_tokens", &["7"]),
    ("rules.0.when.max_tokens", &["7"]),
    ("rules.0.when.has", &["['code']"]),
    ("rules.0.when.task", &["['math']"]),
    ("rules.0.when.token", &["['mine']"]),
    ("rules.0.when.header.*", &["'blue'"]),
    ("rules.0.when.tag.*", &["'blue'"]),
];

/// Least entries of lists, which every key of an entry is set beside.
const ENTRIES: [(&str, &str); 2] =
    [("rules", "name = 'r', explore = false"), ("deployments", "provider = 'deepseek'")];

fn toml(text: &str) -> Value {
    format!("it = {text}").parse::<Table>().unwrap().remove("it").unwrap()
}

fn json(value: &impl serde::Serialize) -> Json {
    serde_json::to_value(value).unwrap()
}

/// The path of every key below `value`, which stands at `path`; lists of tables have one entry, and of all models, say,
/// the first that has the key is taken.
fn paths(value: &Json, path: &[String], found: &mut BTreeMap<String, Vec<String>>) {
    let below = |key: &str| [path, &[key.to_owned()]].concat();
    match value {
        Json::Object(keys) => {
            for (key, value) in keys {
                let sample = match path.last().map(String::as_str) {
                    Some("providers") => "openai",
                    Some("models" | "weights") => "gpt-4o",
                    _ => "team",
                };
                paths(value, &below(if key == ANY { sample } else { key }), found);
            }
        }
        Json::Array(list) if list.first().is_some_and(Json::is_object) => paths(&list[0], &below("0"), found),
        _ => {
            found.entry(general(path)).or_insert_with(|| path.to_vec());
        }
    }
}

/// The path with the names that people choose blanked.
fn general(path: &[String]) -> String {
    let chosen = ["providers", "models", "aliases", "headers", "header", "tag", "weights"];
    let keys = path.iter().enumerate().map(|(at, key)| match at.checked_sub(1).map(|above| path[above].as_str()) {
        Some(above) if chosen.contains(&above) => ANY,
        _ => key.as_str(),
    });
    keys.collect::<Vec<_>>().join(".")
}

/// A valid value of the key other than `old`.
fn other(path: &[String], old: &Json) -> Value {
    let general = general(path);
    let named = OTHERS.iter().find(|(key, _)| *key == general);
    let mut named = named.into_iter().flat_map(|(_, values)| *values).map(|text| toml(text));
    let by_type = || match old {
        Json::Bool(on) => Some(Value::Boolean(!on)),
        Json::Number(number) if number.is_u64() => Some(Value::Integer(number.as_i64()? + 1)),
        Json::Number(number) if number.as_f64() == Some(0.0) => Some(Value::Float(0.5)),
        Json::Number(number) => Some(Value::Float(number.as_f64()? / 2.0)),
        _ => None,
    };
    named.find(|value| json(value) != *old).or_else(by_type).unwrap_or_else(|| panic!("what else may {general} be?"))
}

/// What has to be set where, so that `value` stands at `path`; a list is set as a whole.
fn setting(path: &[String], value: Option<&Value>) -> Option<(Vec<String>, Value)> {
    let Some(index) = path.iter().position(|key| key == "0") else { return Some((path.to_vec(), value?.clone())) };
    let (list, keys) = (&path[..index], &path[index + 1..]);
    let (_, least) = ENTRIES.into_iter().find(|(name, _)| list.last().is_some_and(|key| key == name)).unwrap();
    let Value::Table(mut entry) = toml(&format!("{{ {least} }}")) else { unreachable!() };
    if let (Some(value), Some((last, above))) = (value, keys.split_last()) {
        let mut table = &mut entry;
        for key in above {
            let below = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
            table = below.as_table_mut().unwrap();
        }
        table.insert(last.clone(), value.clone());
    }
    Some((list.to_vec(), Value::Array(vec![Value::Table(entry)])))
}

fn dotted(path: &[String]) -> String {
    path.iter().fold(String::new(), |path, key| join(&path, key))
}

fn by_flag(dir: &Path, setting: Option<(Vec<String>, Value)>) -> Loaded {
    let flag = |(path, value): (Vec<String>, Value)| ("--set".to_owned(), dotted(&path), value.to_string());
    load(&LoadArgs { dir: dir.to_owned(), flags: setting.map(flag).into_iter().collect(), ..LoadArgs::default() })
        .unwrap()
}

fn by_variable(dir: &Path, name: &str, value: &Value) -> Loaded {
    let environment = vec![(name.to_owned(), value.to_string())];
    load(&LoadArgs { dir: dir.to_owned(), environment, ..LoadArgs::default() }).unwrap()
}

#[test]
fn every_key_can_be_set_changes_itself_alone_and_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "hush").unwrap();
    let mut keys = BTreeMap::new();
    paths(&json(&DEFAULTS.parse::<Table>().unwrap()), &[], &mut keys);
    paths(&shape(), &[], &mut keys);
    let unused: Vec<&str> = OTHERS.iter().map(|(key, _)| *key).filter(|key| !keys.contains_key(*key)).collect();
    assert_eq!(unused, [""; 0], "there are no such keys");
    let unset = json(&by_flag(dir.path(), None).config);
    for path in keys.values() {
        let pointer = format!("/{}", path.join("/"));
        let least = setting(path, None);
        let before = if least.is_some() { json(&by_flag(dir.path(), least).config) } else { unset.clone() };
        let old = before.pointer(&pointer).cloned();
        let new = other(path, old.as_ref().unwrap_or(&Json::Null));
        let (place, value) = setting(path, Some(&new)).unwrap();
        let shown_at = dotted(&place);
        let upper = |key: &String| key.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let variable = format!("POINTSMAN__{}", place.iter().map(upper).collect::<Vec<_>>().join("__"));
        for (origin, loaded) in [
            ("--set".to_owned(), by_flag(dir.path(), Some((place.clone(), value.clone())))),
            (format!("${variable}"), by_variable(dir.path(), &variable, &value)),
        ] {
            let mut after = json(&loaded.config);
            assert_eq!(after.pointer(&pointer), Some(&json(&new)), "{pointer} by {origin}");
            assert_ne!(old.as_ref(), Some(&json(&new)), "{pointer}");
            match &old {
                Some(old) => *after.pointer_mut(&pointer).unwrap() = old.clone(),
                None => {
                    let (above, key) = pointer.rsplit_once('/').unwrap();
                    after.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(key);
                }
            }
            assert_eq!(after, before, "{pointer} by {origin} changes something else");
            let shown = loaded.settings.iter().find(|setting| setting.path == shown_at).unwrap();
            assert_eq!(shown.origin.to_string(), origin, "{shown_at}");
            let expected = value.to_string();
            match expected.contains("hush") {
                true => assert!(shown.value.contains("***"), "{shown:?}"),
                false => assert_eq!(shown.value, expected, "{shown_at}"),
            }
            assert!(!format!("{:?}", loaded.settings).contains("hush"), "{shown_at}");
        }
    }
}
