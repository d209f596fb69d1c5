//! `GET /openapi.json`: the API, described (OpenAPI 3.1).

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::http::middleware::caller::Passer;

/// The description: what clients and operators share, what the dashboard added, and the learned policy.
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

/// The description as a value.
pub fn described() -> &'static Value {
    &SPEC
}

/// The description. It is written by hand, and a test holds it against the routes.
pub async fn spec(_: Passer) -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| SPEC.to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
