//! Reading JSON objects field by field, with errors that name the field as the client wrote it.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::protocol::{ApiError, Dialect};

/// Reads a token count in whatever form vendors write it: look-alikes have floats (12.0), text ("12"), negative numbers
/// (which count as 0) and null. An answer that is good and paid for must not fail for that. `None` = it is no number.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Number(number) if number.is_u64() => return Ok(number.as_u64()),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // A cast of a float saturates.
    Ok(number.map(|number: f64| number as u64))
}

/// Reads a text in whatever form look-alikes write it: null for none, or a number for an id.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}

/// A JSON object that is taken apart; the fields left in the end are the unknown ones.
#[derive(Debug)]
pub(super) struct Object {
    /// Path from the body's root; empty for the body itself.
    path: String,
    /// A `Vec`: objects have few fields, and a scan beats hashing.
    fields: Vec<(String, Value)>,
}

impl Object {
    /// Parses a body, which must be an object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            ApiError::invalid(format!("the body is no valid JSON: {}", parse_problem(body, &error)))
        })?;
        Self::of(value, String::new())
    }

    /// A value that must be an object; `path` is where it stands.
    pub(super) fn of(value: Value, path: String) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { path, fields: map.into_iter().collect() }),
            other => Err(wrong_type(&path, "an object", &other)),
        }
    }

    /// The path of a field of this object.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a field; `null` counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(name, _)| name == key)?;
        Some(self.fields.remove(at).1).filter(|value| !value.is_null())
    }

    /// Looks at a field without taking it.
    pub(super) fn peek(&self, key: &str) -> Option<&Value> {
        let (_, value) = self.fields.iter().find(|(name, _)| name == key)?;
        Some(value).filter(|value| !value.is_null())
    }

    /// Takes a field if `read` understands it; else the field stays, to be kept as written.
    pub(super) fn understood<T>(&mut self, key: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let understood = self.peek(key).and_then(read)?;
        self.take(key);
        Some(understood)
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.at(key), "a string", &other)),
        }
    }

    pub(super) fn need_string(&mut self, key: &str) -> Result<String, ApiError> {
        self.string(key)?.ok_or_else(|| missing(&self.at(key)))
    }

    pub(super) fn need_object(&mut self, key: &str) -> Result<Object, ApiError> {
        self.object(key)?.ok_or_else(|| missing(&self.at(key)))
    }

    /// What a part or a block says that it is. The field stays, for those of unknown kinds.
    pub(super) fn kind(&mut self) -> Result<String, ApiError> {
        match self.peek("type") {
            Some(Value::String(kind)) => Ok(kind.clone()),
            _ => self.need_string("type"),
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(wrong_type(&self.at(key), "a number", &other)),
        }
    }

    /// Takes a whole number that is not negative. Any other number stays, to be kept as written: only the backend knows
    /// what it means (-1 = no bound).
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, ApiError> {
        self.numeric(key, |value| whole(value).and_then(|number| u32::try_from(number).ok()))
    }

    /// Takes a whole number; any other number stays, to be kept as written.
    pub(super) fn integer(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        self.numeric(key, |value| {
            value.as_i64().or_else(|| whole(value).and_then(|number| i64::try_from(number).ok()))
        })
    }

    fn numeric<T>(&mut self, key: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>, ApiError> {
        match self.peek(key) {
            Some(value) if !value.is_number() => Err(wrong_type(&self.at(key), "a whole number", value)),
            _ => Ok(self.understood(key, read)),
        }
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(&self.at(key), "true or false", &other)),
        }
    }

    pub(super) fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_type(&self.at(key), "an array", &other)),
        }
    }

    /// Takes `messages`, an array that must not be empty.
    pub(super) fn messages(&mut self) -> Result<Vec<Value>, ApiError> {
        let values = self.array("messages")?.ok_or_else(|| missing("messages"))?;
        if values.is_empty() {
            return Err(ApiError::invalid("messages must not be empty").at("messages"));
        }
        Ok(values)
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Object>, ApiError> {
        let path = self.at(key);
        self.take(key).map(|value| Object::of(value, path)).transpose()
    }

    /// Takes a JSON schema. No vendor takes a text, a number or a list for one; but PHP writes an empty object as a list.
    pub(super) fn schema(&mut self, key: &str) -> Result<Option<Value>, ApiError> {
        match self.take(key) {
            Some(other) if !other.is_object() && !other.is_boolean() && !is_empty(&other) => {
                Err(wrong_type(&self.at(key), "an object", &other))
            }
            schema => Ok(schema),
        }
    }

    /// Takes an array of strings, or one string.
    pub(super) fn strings(&mut self, key: &str) -> Result<Vec<String>, ApiError> {
        let path = self.at(key);
        let text = |value: Value, path: &str| match value {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(path, "a string", &other)),
        };
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(at, item)| text(item, &format!("{path}[{at}]"))).collect()
            }
            Some(one) => Ok(vec![text(one, &path)?]),
        }
    }

    /// The fields that were not taken; `null` counts as absent.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    /// Adds the fields that were not taken to `leftovers`, by their paths; null and empty ones are skipped.
    pub(super) fn leave(mut self, leftovers: &mut Map<String, Value>) {
        let left = std::mem::take(&mut self.fields).into_iter().filter(|(_, value)| !is_empty(value));
        leftovers.extend(left.map(|(key, value)| (self.at(&key), value)));
    }

    /// All fields that were not taken, for an object that is kept as written.
    pub(super) fn whole(self) -> Value {
        Value::Object(self.fields.into_iter().collect())
    }
}

/// Adds the fields of one object to another.
pub(super) fn extend(object: &mut Value, fields: Value) {
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
}

/// Whether a value is null or empty.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A number that is whole and not negative, in either spelling: JSON makes no difference between 1 and 1.0.
pub(super) fn whole(value: &Value) -> Option<u64> {
    // Beyond 2^53 an f64 skips whole numbers.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

/// Bytes of a text in JSON, with escapes and without quotes.
pub(super) fn escaped_len(text: &str) -> usize {
    let letter = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        // As `\u0001`.
        ..b' ' => 6,
        _ => 1,
    };
    text.bytes().map(letter).sum()
}

/// The error for a required field that is absent.
pub(super) fn missing(path: &str) -> ApiError {
    ApiError::invalid(format!("{path} is missing")).at(path)
}

/// The error for a field of the wrong type. The value is not quoted: it may be somebody's prompt.
pub(super) fn wrong_type(path: &str, wanted: &str, got: &Value) -> ApiError {
    let kind = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    if path.is_empty() {
        return ApiError::invalid(format!("the body must be {wanted}, not {kind}"));
    }
    ApiError::invalid(format!("{path} must be {wanted}, not {kind}")).at(path)
}

/// The error for a number that is fractional, negative or too large.
pub(super) fn not_a_count(path: &str) -> ApiError {
    ApiError::invalid(format!("{path} must be a whole number, not negative and not too large")).at(path)
}

/// The error for a value that is not among the known ones.
pub(super) fn unknown_value(path: &str, wanted: &str) -> ApiError {
    ApiError::invalid(format!("{path} must be one of {wanted}")).at(path)
}

/// The error for a field whose meaning the backend's dialect cannot say.
pub(super) fn cannot_carry(field: &str, backend: Dialect) -> ApiError {
    let whose = match backend {
        Dialect::OpenAi | Dialect::Responses => "OpenAI's",
        Dialect::Anthropic => "Anthropic's",
        Dialect::Ollama => "Ollama's",
        Dialect::Native => "our own",
    };
    let refusal = format!("`{field}` cannot be carried over to a backend that speaks {whose} dialect");
    ApiError::invalid(refusal).at(field)
}

/// What is wrong with a body, and where. The text around it is not quoted.
fn parse_problem(body: &[u8], error: &serde_json::Error) -> String {
    if body.trim_ascii().is_empty() {
        return "it is empty".into();
    }
    if error.is_eof() {
        return "it ends too early".into();
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    // serde_json has no error category for this.
    if error.to_string().starts_with("recursion limit") {
        return format!("it is nested too deeply at {place}");
    }
    match std::str::from_utf8(body) {
        Err(error) => format!("byte {} is not UTF-8", error.valid_up_to() + 1),
        Ok(_) => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_long_as_json_writes_it() {
        let all: String = ('\0'..='\u{3ff}').chain(['\u{2028}', '\u{1f600}']).collect();
        for text in all.split("").chain([all.as_str()]) {
            assert_eq!(escaped_len(text) + 2, Value::from(text).to_string().len(), "{text:?}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_told_why_without_being_quoted() {
        let deep = ["[".repeat(5_000), "]".repeat(5_000)].concat();
        for (body, why) in [
            (&b" \r\n"[..], "it is empty"),
            (b"{\"secret\": ", "it ends too early"),
            (b"{\"secret\", 1}", "line 1, column 10"),
            (b"{\"secret\": \"\xff\"}", "byte 13 is not UTF-8"),
            (b"\x1f\x8b\x08\x00", "byte 2 is not UTF-8"),
            (deep.as_bytes(), "it is nested too deeply at line 1, column 128"),
        ] {
            let error = Object::parse(body).unwrap_err();
            assert_eq!(error.message, format!("the body is no valid JSON: {why}"));
        }
        let error = Object::parse(b"[]").unwrap_err();
        assert_eq!((error.message.as_str(), error.param), ("the body must be an object, not an array", None));
    }
}
