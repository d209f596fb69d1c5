//! Takes typed fields out of JSON objects, with errors that name the field as the client wrote it.

use serde_json::{Map, Value};

use crate::protocol::ApiError;

/// A JSON object being taken apart; what is left in the end is what nobody knew.
#[derive(Debug)]
pub(super) struct Object {
    path: String,
    map: Map<String, Value>,
}

impl Object {
    /// The object that a whole body is.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid(format!("the body is no valid JSON: {}", position(&error))))?;
        Self::of(value, String::new())
    }

    /// The object at `path`.
    pub(super) fn of(value: Value, path: String) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            other => Err(wrong(&path, "an object", &other)),
        }
    }

    /// The path of a field of this object.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a field; `null` counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Looks at a field without taking it.
    pub(super) fn peek(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.at(key), "a string", &other)),
        }
    }

    pub(super) fn need_string(&mut self, key: &str) -> Result<String, ApiError> {
        self.string(key)?.ok_or_else(|| missing(&self.at(key)))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(wrong(&self.at(key), "a number", &other)),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => {
                let whole = value.as_u64().and_then(|number| u32::try_from(number).ok());
                whole.map(Some).ok_or_else(|| wrong(&self.at(key), "a whole number that is not negative", &value))
            }
        }
    }

    pub(super) fn integer(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(&self.at(key), "a whole number", &value)),
        }
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(&self.at(key), "true or false", &other)),
        }
    }

    pub(super) fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong(&self.at(key), "an array", &other)),
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Object>, ApiError> {
        let path = self.at(key);
        self.take(key).map(|value| Object::of(value, path)).transpose()
    }

    /// An array of strings, or one string.
    pub(super) fn strings(&mut self, key: &str) -> Result<Vec<String>, ApiError> {
        let path = self.at(key);
        let text = |value: Value, path: &str| match value {
            Value::String(text) => Ok(text),
            other => Err(wrong(path, "a string", &other)),
        };
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(at, item)| text(item, &format!("{path}[{at}]"))).collect()
            }
            Some(one) => Ok(vec![text(one, &path)?]),
        }
    }

    /// What nobody took.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map
    }

    /// The object as it came, for what is kept as written.
    pub(super) fn whole(self) -> Value {
        Value::Object(self.map)
    }
}

/// A field that must be there and is not.
pub(super) fn missing(path: &str) -> ApiError {
    ApiError::invalid(format!("{path} is missing")).at(path)
}

/// A field of the wrong kind. The value is not quoted: it may be somebody's prompt.
pub(super) fn wrong(path: &str, wanted: &str, got: &Value) -> ApiError {
    let kind = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let path = if path.is_empty() { "the body" } else { path };
    ApiError::invalid(format!("{path} must be {wanted}, not {kind}")).at(path)
}

/// A field whose value is none of those there are.
pub(super) fn unknown(path: &str, wanted: &str) -> ApiError {
    ApiError::invalid(format!("{path} must be one of {wanted}")).at(path)
}

/// A field that means something the backend's dialect cannot say.
pub(super) fn cannot_carry(field: &str, backend: &str) -> ApiError {
    ApiError::invalid(format!("`{field}` cannot be carried over to a backend that speaks {backend}")).at(field)
}

/// Where parsing failed, without the text around it.
fn position(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "it ends too early".into();
    }
    format!("line {}, column {}", error.line(), error.column())
}
