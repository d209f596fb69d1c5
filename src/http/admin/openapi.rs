//! `GET /openapi.json`: the API, described (OpenAPI 3.1).

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// The description.
const SPEC: &str = include_str!("openapi.json");

/// The description as it is: it is not generated, and a test holds it against the routes.
pub async fn spec() -> Response {
    ([(CONTENT_TYPE, "application/json")], SPEC).into_response()
}
