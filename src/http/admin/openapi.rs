//! `GET /openapi.json`: the description of the API (OpenAPI 3.1).

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::http::middleware::caller::Passer;

/// The description, of three files: the clients' endpoints and the basic ones for operators, those for the dashboard,
/// and those of the learned policy. The parameters, headers and answers that several endpoints share are in the first.
static SPEC: LazyLock<Value> = LazyLock::new(|| {
    let mut spec: Value = serde_json::from_str(include_str!("openapi.json")).unwrap_or_default();
    for part in [include_str!("openapi_dashboard.json"), include_str!("openapi_policy.json")] {
        let mut more: Value = serde_json::from_str(part).unwrap_or_default();
        for (into, from) in [("/paths", "/paths"), ("/components/schemas", "/schemas")] {
            let from = more.pointer_mut(from).and_then(Value::as_object_mut).map(std::mem::take);
            if let (Some(known), Some(from)) = (spec.pointer_mut(into).and_then(Value::as_object_mut), from) {
                known.extend(from);
            }
        }
    }
    spec
});

/// The description as JSON.
pub fn described() -> &'static Value {
    &SPEC
}

/// `GET /openapi.json`. The description is written by hand, and a test compares it with the routes.
pub async fn spec(_: Passer) -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| SPEC.to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each `$ref` within `part`.
    fn references<'a>(part: &'a Value, into: &mut Vec<&'a str>) {
        match part {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn what_the_description_refers_to_is_in_it() {
        let mut all = Vec::new();
        references(described(), &mut all);
        assert!(all.len() > 100, "{}", all.len());
        for reference in all {
            let target = reference.strip_prefix('#').and_then(|path| described().pointer(path));
            assert!(target.is_some(), "{reference} is not described");
        }
    }
}
