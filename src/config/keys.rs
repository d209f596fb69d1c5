//! Which keys exist: finds unknown ones, and reads what variables and flags mean by theirs.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::check::Problem;
use super::layers::join;
use super::nearest::did_you_mean;
use super::{Config, Deployment, Model, Provider, Rule, When};
use crate::protocol::Price;

/// Stands in the shape for a name that people choose.
const ANY: &str = "*";

/// Every key there is: a sample configuration as JSON, with one entry in each map and list.
fn shape() -> Json {
    let full = Price { cache_read: Some(0.0), cache_write: Some(0.0), ..Price::default() };
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

/// The keys in `table` that do not exist, each with a hint at the most similar one that does.
pub(super) fn unknown_keys(table: &Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(table, &shape(), "", &mut problems);
    problems
}

fn walk(table: &Table, shape: &Json, path: &str, problems: &mut Vec<Problem>) {
    let Some(keys) = shape.as_object() else { return };
    for (key, value) in table {
        let here = join(path, key);
        match keys.get(key).or_else(|| keys.get(ANY)) {
            Some(below) => descend(value, below, &here, problems),
            None => {
                let hint = did_you_mean(key, keys.keys().map(String::as_str));
                problems.push(Problem { path: here, what: format!("unknown key{hint}") });
            }
        }
    }
}

fn descend(value: &Value, shape: &Json, path: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Table(table) => walk(table, shape, path, problems),
        Value::Array(items) => {
            let Some(element) = shape.as_array().and_then(|elements| elements.first()) else { return };
            for (index, item) in items.iter().enumerate() {
                descend(item, element, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
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
