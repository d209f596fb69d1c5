//! Which keys exist: takes out unknown ones, and reads what variables and flags mean by theirs.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::check::Problem;
use super::layers::{join, parent};
use super::nearest::{did_you_mean, nearest};
use super::{Config, Deployment, Model, Provider, Rule, When};
use crate::protocol::{LongPrompt, Price};

/// Stands in the shape for a name that people choose.
const ANY: &str = "*";

/// Every key there is: a sample configuration as JSON, with one entry in each map and list.
fn shape() -> Json {
    let full = Price {
        cache_read: Some(0.0),
        cache_write: Some(0.0),
        long_prompt: Some(LongPrompt::default()),
        ..Price::default()
    };
    let deployment = Deployment { provider: String::new(), upstream: None, weight: 1.0 };
    let model = Model { price: full, deployments: vec![deployment], ..Model::default() };
    let provider = Provider { headers: [(ANY.into(), String::new())].into(), ..Provider::default() };
    let any = [(ANY.to_owned(), String::new())];
    let when = When { header: any.clone().into(), tag: any.clone().into(), ..When::default() };
    let rule = Rule { when, weights: [(ANY.into(), 1.0)].into(), ..Rule::default() };
    let config = Config {
        providers: [(ANY.into(), provider)].into(),
        models: [(ANY.into(), model)].into(),
        aliases: any.into(),
        rules: vec![rule],
        ..Config::default()
    };
    serde_json::to_value(config).unwrap_or_default()
}

/// Keys that do not exist.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Each with a hint at the most similar key that does.
    pub(super) problems: Vec<Problem>,
    /// The similar keys, or what is below them. Those that had no value have theirs now.
    pub(super) meant: Vec<String>,
    /// Those that are similar to no key.
    pub(super) lost: Vec<String>,
}

/// Takes the keys that do not exist out of `table`. Their values take the place of the most similar key, so that
/// nothing is found missing there.
pub(super) fn take_unknown(table: &mut Table) -> Unknown {
    let mut unknown = Unknown::default();
    walk(table, &shape(), "", &mut unknown);
    unknown
}

fn walk(table: &mut Table, shape: &Json, path: &str, unknown: &mut Unknown) {
    let Some(keys) = shape.as_object() else { return };
    let written: Vec<String> = table.keys().cloned().collect();
    for key in written {
        let here = join(path, &key);
        if let Some(below) = keys.get(&key).or_else(|| keys.get(ANY)) {
            let Some(value) = table.get_mut(&key) else { continue };
            let misshapen = match &*value {
                // Where a name has one value: of `gpt-4.1 = "gpt-4o"`, say.
                Value::Table(inner) if !keys.contains_key(&key) && !is_compound(below) => {
                    let hint = inner.iter().next().map(|(next, value)| in_quotes(&key, next, value, below));
                    Some(format!("is a table where one value is meant{}", hint.unwrap_or_default()))
                }
                // serde would take it for the table's values, in an order that nobody knows.
                Value::Array(_) if below.is_object() => {
                    Some("is a list where a table is meant, each value with its key".to_owned())
                }
                _ => None,
            };
            match misshapen {
                None => descend(value, below, &here, unknown),
                Some(what) => {
                    unknown.problems.push(Problem { path: here.clone(), what });
                    unknown.lost.push(here);
                    table.remove(&key);
                }
            }
            continue;
        }
        let names = || keys.keys().map(String::as_str);
        let hint = match (nearest(&key, names()), table.get(&key)) {
            (None, Some(value)) => meant_elsewhere(path, &key, value, shape),
            _ => did_you_mean(&key, names()),
        };
        unknown.problems.push(Problem { path: here.clone(), what: format!("unknown key{hint}") });
        match (table.remove(&key), nearest(&key, names())) {
            (Some(mut value), Some(near)) => {
                descend(&mut value, &keys[near], &here, unknown);
                fill(table, near, value, &join(path, near), &mut unknown.meant);
            }
            _ => unknown.lost.push(here),
        }
    }
}

/// Whether values of this shape have others below them.
fn is_compound(shape: &Json) -> bool {
    shape.is_object() || shape.is_array()
}

/// A hint at what an unknown key may mean that is similar to none of `shape`.
fn meant_elsewhere(path: &str, key: &str, value: &Value, shape: &Json) -> String {
    let in_section = |section| parent(path) == Some(section);
    if (in_section("models") || in_section("providers")) && value.is_table() {
        let name = path.split_once('.').map_or(path, |(_, name)| name.trim_matches('"'));
        return if is_cut_name(value, shape) { in_quotes(name, key, value, shape) } else { String::new() };
    }
    match key {
        "url" | "endpoint" | "api_base" if in_section("providers") => "; did you mean `base_url`?".into(),
        "api_key" | "apikey" if in_section("providers") => {
            "; put the key into .env, and the name it has there into `key_env`".into()
        }
        _ if path.is_empty() => {
            let sections = shape.as_object().into_iter().flatten().filter(|(_, keys)| keys.get(key).is_some());
            let meant: Vec<String> = sections.map(|(section, _)| format!("`{section}.{key}`")).collect();
            if meant.is_empty() { String::new() } else { format!("; did you mean {}?", meant.join(" or ")) }
        }
        _ => String::new(),
    }
}

/// Whether what is below a key looks like what is meant below a name that the key is the end of: it has keys of that, or
/// holds nothing but another such table.
fn is_cut_name(value: &Value, shape: &Json) -> bool {
    let Some(table) = value.as_table() else { return false };
    let known = || shape.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    table.is_empty()
        || table.keys().any(|key| nearest(key, known()).is_some())
        || table.len() == 1 && table.values().all(|below| is_cut_name(below, shape))
}

/// The hint to quote a name with dots, which TOML reads as a table in a table.
fn in_quotes(name: &str, next: &str, value: &Value, shape: &Json) -> String {
    let (mut name, mut value) = (format!("{name}.{next}"), value);
    // Several dots: tables that hold nothing but another one.
    while let Some((next, below)) = value.as_table().filter(|table| table.len() == 1).and_then(|it| it.iter().next())
        && (shape.get(next).is_none() && below.is_table() || !is_compound(shape))
    {
        name = format!("{name}.{next}");
        value = below;
    }
    format!("; TOML takes a dot for a step: a name that has one needs quotes, as in \"{name}\"")
}

fn descend(value: &mut Value, shape: &Json, path: &str, unknown: &mut Unknown) {
    match value {
        Value::Table(table) => walk(table, shape, path, unknown),
        Value::Array(items) => {
            let Some(element) = shape.as_array().and_then(|elements| elements.first()) else { return };
            for (index, item) in items.iter_mut().enumerate() {
                descend(item, element, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Sets `key` where it is vacant, or what is vacant below it; `meant` notes whose values these are.
fn fill(table: &mut Table, key: &str, value: Value, path: &str, meant: &mut Vec<String>) {
    match (table.get_mut(key), value) {
        (Some(Value::Table(below)), Value::Table(values)) => {
            values.into_iter().for_each(|(key, value)| fill(below, &key, value, &join(path, &key), meant));
        }
        (standing, value) => {
            meant.push(path.to_owned());
            if standing.is_none() {
                table.insert(key.to_owned(), value);
            }
        }
    }
}

/// The path that a variable means, whose `segments` are upper case with `_` for other characters (`GPT_4O`): each as
/// the existing key that is spelled so, else in lower case.
pub(super) fn path_of_variable(table: &Table, segments: &[String]) -> Vec<String> {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    let shape = shape();
    let (mut shape, mut table) = (Some(&shape), Some(table));
    let mut path = Vec::new();
    for segment in segments {
        let wanted = plain(segment);
        let in_table = table.and_then(|table| table.keys().find(|key| plain(key) == wanted).cloned());
        let in_shape = || {
            let keys = shape.and_then(Json::as_object)?;
            keys.keys().find(|key| plain(key) == wanted).cloned()
        };
        let key = in_table.or_else(in_shape).unwrap_or_else(|| segment.to_ascii_lowercase());
        table = table.and_then(|table| table.get(&key)).and_then(Value::as_table);
        shape = shape.and_then(|shape| shape.get(&key).or_else(|| shape.get(ANY)));
        path.push(key);
    }
    path
}

/// The `text` of a variable or a flag as the type that stands at `path`: `123` may be a name, and `a,b` a list.
pub(super) fn typed(path: &[String], text: &str, guessed: Value) -> Value {
    let shape = shape();
    let mut at = Some(&shape);
    for key in path {
        at = at.and_then(|shape| shape.get(key).or_else(|| shape.get(ANY)));
    }
    match (at, guessed) {
        (Some(Json::String(_)), Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => {
            Value::String(text.to_owned())
        }
        // An empty text is no list: an unset variable must not open what a file closes.
        (Some(Json::Array(_)), Value::String(list)) if list.split(',').any(|part| !part.trim().is_empty()) => {
            let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        (_, guessed) => guessed,
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
