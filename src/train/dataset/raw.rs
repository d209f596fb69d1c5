//! A line as it is written, parsed leniently: texts may be numbers, scores may be true or false, and null means absent.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A line.
#[derive(Deserialize)]
#[serde(expecting = "an object with `prompt` and `outcomes`")]
pub(super) struct RawRecord {
    #[serde(default, deserialize_with = "text")]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub source: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub task: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub group: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub origin: Option<String>,
    pub prompt: String,
    #[serde(default, deserialize_with = "outcomes")]
    pub outcomes: Option<BTreeMap<String, Option<RawOutcome>>>,
}

/// One model's entry in `outcomes`.
#[derive(Deserialize)]
#[serde(expecting = "an object with `score`")]
pub(super) struct RawOutcome {
    #[serde(default, deserialize_with = "score")]
    pub score: Option<f64>,
    pub cost_usd: Option<f64>,
    pub input_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    pub latency_ms: Option<f64>,
}

/// Parses a line. The flag says whether it held NaN or Infinity, which Python writes and JSON does not have: they are
/// taken as null.
pub(super) fn parse(line: &[u8]) -> serde_json::Result<(RawRecord, bool)> {
    let first = match serde_json::from_slice(line) {
        Err(error) if error.is_syntax() => error,
        read => return read.map(|record| (record, false)),
    };
    match without_odd_numbers(line) {
        Some(line) => serde_json::from_slice(&line).map(|record| (record, true)),
        None => Err(first),
    }
}

/// Whether a line is truncated.
pub(super) fn is_cut(line: &[u8]) -> bool {
    let in_a_letter = std::str::from_utf8(line).is_err_and(|error| error.error_len().is_none());
    in_a_letter || serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// The line with null for each NaN and Infinity outside of texts; `None` where there is none.
fn without_odd_numbers(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let (mut at, mut quoted, mut found) = (0, false, false);
    while at < line.len() {
        let odd = [b"-Infinity".as_slice(), b"Infinity", b"NaN"].into_iter().find(|odd| line[at..].starts_with(odd));
        if let Some(odd) = odd.filter(|_| !quoted) {
            out.extend_from_slice(b"null");
            at += odd.len();
            found = true;
            continue;
        }
        let length = if quoted && line[at] == b'\\' { 2 } else { 1 };
        quoted ^= line[at] == b'"';
        out.extend(line[at..].iter().take(length));
        at += length;
    }
    found.then_some(out)
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) if number.is_f64() => Ok(number.as_f64().map(|number| number.to_string())),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(unexpected(&other, "a string")),
    }
}

/// The error of a value in place of what is wanted.
fn unexpected<E: Error>(value: &Value, wanted: &str) -> E {
    let found = match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(_) => Unexpected::Other("a number"),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    E::invalid_type(found, &wanted)
}

/// Models with their entries; each has a name, and one entry.
fn outcomes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, Option<RawOutcome>>>, D::Error> {
    struct Models;
    impl<'de> Visitor<'de> for Models {
        type Value = Option<BTreeMap<String, Option<RawOutcome>>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with an entry for each model")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut models = BTreeMap::new();
            while let Some(model) = map.next_key::<String>()? {
                if model.trim().is_empty() {
                    return Err(A::Error::custom("`outcomes` has a model without a name"));
                }
                if models.contains_key(&model) {
                    return Err(A::Error::custom(format_args!("`outcomes` has the model `{model}` twice")));
                }
                models.insert(model, map.next_value()?);
            }
            Ok(Some(models))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    from.deserialize_any(Models)
}

fn score<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(f64::from(u8::from(value)))),
        Value::Number(number) => Ok(number.as_f64()),
        other => Err(unexpected(&other, "a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_null_outside_of_texts() {
        let line = br#"{"prompt":"NaN \" NaN","outcomes":{"m":{"score":1,"latency_ms":NaN,"cost_usd":-Infinity}}}"#;
        let (record, odd) = parse(line).unwrap();
        let outcome = record.outcomes.as_ref().unwrap()["m"].as_ref().unwrap();
        assert!(odd && record.prompt == "NaN \" NaN");
        assert_eq!((outcome.score, outcome.latency_ms, outcome.cost_usd), (Some(1.0), None, None));
    }

    #[test]
    fn a_line_that_ends_early_is_cut_and_a_wrong_one_is_not() {
        for cut in [&br#"{"prompt":"a"#[..], br#"{"prompt":"a","outcomes":{"#, b"{\"prompt\":\"\xc3"] {
            assert!(is_cut(cut));
        }
        assert!(!is_cut(br#"{"prompt":}"#) && !is_cut(br#"{"prompt":1}"#));
    }
}
