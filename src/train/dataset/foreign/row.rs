//! From a row's fields to a prompt, models and scores.

use serde_json::{Map, Value};

use super::rows::{INSIDE, LISTS, WIDE};

const PROMPT: [&str; 6] = ["prompt", "query", "question", "origin_query", "input", "user_input"];
const MODEL: [&str; 3] = ["model", "model_name", "llm"];
const SCORE: [&str; 7] = ["score", "performance", "quality", "correct", "reward", "rating", "thumbs"];
const TASK: [&str; 6] = ["task", "task_name", "eval_name", "dataset", "dataset_name", "benchmark"];
const COST: [&str; 5] = ["cost_usd", "cost", "total_cost", "response_cost", "spend"];
const INPUT: [&str; 3] = ["input_tokens", "prompt_tokens", "input_token_num"];
const OUTPUT: [&str; 3] = ["output_tokens", "completion_tokens", "output_token_num"];
/// The prompt of a row, with its labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The text a router would see.
    pub prompt: String,
    /// Benchmark, where named.
    pub task: Option<String>,
    /// Identity. This field and the following are of this project's own records.
    pub id: Option<String>,
    /// Records that share a question.
    pub group: Option<String>,
    /// Collection.
    pub source: Option<String>,
    /// Sub-collection.
    pub origin: Option<String>,
}

/// A score as it is in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scored {
    /// On a scale that is known: stars, thumbs, right and wrong.
    Known(f64),
    /// A number of a column, whose scale depends on the column's other numbers.
    In(&'static str, f64),
}

/// One model's outcome.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// The model.
    pub model: &'a str,
    /// Its score.
    pub score: Scored,
    /// The object that has its cost, tokens and latency, if there is one.
    pub fields: Option<&'a Map<String, Value>>,
}

/// An outcome with its prompt, or why there is none.
pub(super) type Told<'a> = Result<(&'a Asked, Seen<'a>), String>;

/// Calls `visit` with each outcome in a row, or why there is none.
pub(super) fn outcomes(row: &Value, around: &Map<String, Value>, visit: &mut dyn FnMut(Told<'_>)) {
    let Some(row) = row.as_object() else { return visit(Err("it is no object".into())) };
    let list = |name: &&&str| {
        let rows = row.get(**name).and_then(Value::as_array);
        rows.is_some_and(|rows| **name == "records" || rows.first().is_some_and(Value::is_object))
    };
    if let Some(name) = LISTS.iter().find(list) {
        let outside: Map<String, Value> =
            row.iter().filter(|(field, _)| field != name).map(|(field, it)| (field.clone(), it.clone())).collect();
        row[*name].as_array().into_iter().flatten().for_each(|record| outcomes(record, &outside, visit));
        return;
    }
    let Some(text) = prompt(row, around) else {
        let is_own_log = row.get("decision").is_some_and(Value::is_object);
        return visit(Err(if is_own_log { super::OWN_LOG } else { "it has no prompt" }.into()));
    };
    let task = field(row, around, &TASK).and_then(Value::as_str).map(str::to_owned);
    let mut asked = Asked { prompt: text, task, ..Asked::default() };
    let all = |name: &str| row.get(name).and_then(Value::as_object);
    if let Some(outcomes) = all("outcomes").or_else(|| all(WIDE)) {
        if row.contains_key("outcomes") {
            asked = own(row, asked);
        } else if let Some(turns) = python_list(&asked.prompt) {
            asked.prompt = turns.join("\n\n");
        }
        for (model, outcome) in outcomes {
            let Some(fields) = outcome.as_object() else {
                visit(Err("an outcome is no object".into()));
                continue;
            };
            visit(score(fields).map(|score| (&asked, Seen { model, score, fields: Some(fields) })));
        }
    } else if let Some(scores) = all("scores") {
        for (model, value) in scores {
            let score = number(value).map(|value| Scored::In("scores", value)).ok_or("a score is no number".into());
            visit(score.map(|score| (&asked, Seen { model, score, fields: None })));
        }
    } else {
        let model = field(row, around, &MODEL).and_then(Value::as_str).ok_or_else(|| "it names no model".to_owned());
        let seen = model.and_then(|model| Ok(Seen { model, score: score(row)?, fields: Some(row) }));
        visit(seen.map(|seen| (&asked, seen)));
    }
}

/// The prompt, with the labels that this project's own records have.
fn own(row: &Map<String, Value>, asked: Asked) -> Asked {
    let text = |name: &str| match row.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Asked { id: text("id"), group: text("group"), source: text("source"), origin: text("origin"), ..asked }
}

/// A field by any of its names, in this row or in one of the usual objects.
fn inside<'a>(row: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    INSIDE.iter().find_map(|name| {
        let inner = row.get(*name)?.as_object()?;
        // A response holds its usage.
        here(inner, names).or_else(|| here(inner.get("usage")?.as_object()?, names))
    })
}

fn here<'a>(map: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let is_blank = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    names.iter().find_map(|name| map.get(*name).filter(|value| !is_blank(value)))
}

/// A field that may be around the rows, for all of them alike: model, data set, prompt.
fn field<'a>(row: &'a Map<String, Value>, around: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    here(row, names).or_else(|| here(around, names)).or_else(|| inside(row, names))
}

/// A field of this row alone: such fields around the rows are sums and means of all.
fn own_field<'a>(row: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    here(row, names).or_else(|| inside(row, names))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(right) => Some(f64::from(u8::from(*right))),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

/// The score, by any of its names.
fn score(row: &Map<String, Value>) -> Result<Scored, String> {
    let found = SCORE.into_iter().find_map(|name| Some((name, own_field(row, &[name])?)));
    let (name, value) = found.ok_or("it has no score")?;
    let said = match (name, value, value.as_str()) {
        ("thumbs", _, Some("up")) => Some(1.0),
        ("thumbs", _, Some("down")) => Some(0.0),
        (_, Value::Bool(true), _) | (_, _, Some("true" | "True")) => Some(1.0),
        (_, Value::Bool(false), _) | (_, _, Some("false" | "False")) => Some(0.0),
        _ => None,
    };
    let measured = || number(value).filter(|value| value.is_finite());
    let score = match (said, name) {
        (Some(score), _) => Some(Scored::Known(score)),
        (None, "rating") => {
            let stars = measured().map(|stars| (stars - 1.0) / 4.0);
            stars.filter(|score| (0.0..=1.0).contains(score)).map(Scored::Known)
        }
        (None, _) => measured().map(|value| Scored::In(name, value)),
    };
    score.ok_or_else(|| format!("its `{name}` is out of range, or no number"))
}

/// The text a router would see: the prompt, or the last turn of the user.
fn prompt(row: &Map<String, Value>, around: &Map<String, Value>) -> Option<String> {
    let messages = || field(row, around, &["messages"]).and_then(last_turn);
    let text = match field(row, around, &PROMPT) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(turns @ Value::Array(_)) => last_turn(turns).or_else(messages),
        _ => messages(),
    };
    text.filter(|text| !text.trim().is_empty())
}

/// The last user message of a list.
fn last_turn(messages: &Value) -> Option<String> {
    // Some logs keep messages as JSON in a string.
    let parsed: Value;
    let messages = match messages {
        Value::String(text) => {
            parsed = serde_json::from_str(text).ok()?;
            &parsed
        }
        other => other,
    };
    let last = messages.as_array()?.iter().rev().find(|message| message["role"] == "user")?;
    match &last["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}

/// The texts of `['one', "two"]`: RouterBench keeps its prompts as Python prints a list of them.
fn python_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim_start();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|it| "'\"".contains(*it))?;
        let (mut text, mut chars) = (String::new(), rest[1..].chars());
        loop {
            match chars.next()? {
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    it @ ('\\' | '\'' | '"') => text.push(it),
                    other => text.extend(['\\', other]),
                },
                it if it == quote => break,
                it => text.push(it),
            }
        }
        texts.push(text);
        rest = chars.as_str().trim_start();
        rest = if rest.is_empty() { rest } else { rest.strip_prefix(',')?.trim_start() };
    }
    (!texts.is_empty()).then_some(texts)
}

/// Cost, tokens and latency, where the row itself has them.
pub(super) fn extras(row: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value.filter(|value| (0.0..=f64::from(f32::MAX)).contains(value)) {
            found.insert(name.to_owned(), value.into());
        }
    };
    let read = |names: &[&str]| own_field(row, names).and_then(number);
    put("cost_usd", read(&COST));
    put("input_tokens", read(&INPUT));
    put("output_tokens", read(&OUTPUT));
    let seconds = || read(&["response_time"]).or_else(|| Some(end(row)? - begin(row)?));
    put("latency_ms", read(&["latency_ms"]).or_else(|| seconds().map(|seconds| seconds * 1000.0)));
    found
}

fn begin(row: &Map<String, Value>) -> Option<f64> {
    own_field(row, &["startTime", "start_time"]).and_then(instant)
}

fn end(row: &Map<String, Value>) -> Option<f64> {
    own_field(row, &["endTime", "end_time"]).and_then(instant)
}

/// Seconds since an arbitrary origin, from a number of seconds or a time with or without a zone.
fn instant(value: &Value) -> Option<f64> {
    let Value::String(text) = value else { return value.as_f64() };
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let time = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(time.as_millisecond() as f64 / 1000.0)
}
