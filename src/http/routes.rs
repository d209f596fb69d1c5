//! The API as two tables: the proxy's listener, and the admin's.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, patch, post, put};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::error::{Rejection, dialect_of};
use super::middleware::request_id;
use super::state::Gateway;
use super::{admin, api, dashboard};
use crate::protocol::{ApiError, ErrorKind};

/// Every path there is: labels of metrics come from here.
pub const ENDPOINTS: [&str; 43] = [
    "/api/chat",
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/{name}",
    "/models",
    "/api/route",
    "/api/outcomes",
    "/api/feedback",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/api/admin/models",
    "/api/admin/config",
    "/api/admin/requests",
    "/api/admin/requests/stream",
    "/api/admin/logs",
    "/api/admin/logs/stream",
    "/api/admin/tokens",
    "/api/admin/tokens/{id}",
    "/api/admin/chat",
    "/api/admin/route",
    "/api/admin/feedback",
    "/api/admin/models/{name}",
    "/api/admin/models/{name}/drain",
    "/api/admin/models/{name}/reset",
    "/api/admin/models/{name}/test",
    "/api/admin/audit",
    "/api/admin/learning",
    "/api/admin/overview",
    "/api/admin/decisions",
    "/api/admin/decisions/{id}",
    "/api/admin/export",
    "/api/admin/policy",
    "/api/admin/policy/retune",
    "/api/admin/policy/promote",
    "/api/admin/policy/pin",
    "/api/admin/policy/unpin",
    "/api/admin/policy/rollback",
    "/api/admin/policy/mode",
];

/// What clients talk to.
pub fn proxy(gateway: Arc<Gateway>) -> Router {
    let cors = cors(&gateway.live().config.server.cors_origins);
    let router = Router::new()
        // Chat, in three dialects
        .route("/api/chat", post(api::chat::native))
        .route("/v1/chat/completions", post(api::chat::openai))
        .route("/v1/messages", post(api::chat::anthropic))
        .route("/v1/messages/count_tokens", post(api::count_tokens::count))
        // Beside chat
        .route("/v1/embeddings", post(api::embeddings::embed))
        .route("/v1/models", get(api::models::list))
        .route("/v1/models/{name}", get(api::models::one))
        .route("/models", get(api::models::overview))
        .route("/api/route", post(api::route::explain))
        // What came of it
        .route("/api/outcomes", post(api::outcomes::report))
        .route("/api/feedback", post(api::feedback::give))
        // How it is
        .route("/health", get(api::health::health))
        .route("/ready", get(api::health::ready));
    finish(router, gateway, cors)
}

/// What operators talk to.
pub fn admin(gateway: Arc<Gateway>) -> Router {
    let router = Router::new()
        .route("/metrics", get(admin::metrics::metrics))
        .route("/openapi.json", get(admin::openapi::spec))
        .route("/api/admin/models", get(admin::models::list))
        .route("/api/admin/config", get(admin::config::effective))
        .route("/api/admin/requests", get(admin::requests::list))
        .route("/api/admin/requests/stream", get(admin::requests::stream))
        .route("/api/admin/logs", get(admin::logs::list))
        .route("/api/admin/logs/stream", get(admin::logs::stream))
        .route("/api/admin/tokens", get(admin::tokens::list).post(admin::tokens::make))
        .route("/api/admin/tokens/{id}", delete(admin::tokens::revoke))
        .route("/api/admin/chat", post(admin::playground::chat))
        .route("/api/admin/route", post(admin::playground::route))
        .route("/api/admin/feedback", post(admin::playground::feedback))
        .route("/api/admin/models/{name}", patch(admin::models::change))
        .route("/api/admin/models/{name}/drain", post(admin::models::drain))
        .route("/api/admin/models/{name}/reset", post(admin::models::reset))
        .route("/api/admin/models/{name}/test", post(admin::models::test))
        .route("/api/admin/audit", get(admin::audit::list))
        .route("/api/admin/learning", get(admin::learning::show))
        .route("/api/admin/overview", get(admin::overview::overview))
        .route("/api/admin/decisions", get(admin::decisions::list))
        .route("/api/admin/decisions/{id}", get(admin::decisions::explain))
        .route("/api/admin/export", get(admin::export::export))
        .route("/api/admin/policy", get(admin::policy::show))
        .route("/api/admin/policy/retune", post(admin::policy::retune))
        .route("/api/admin/policy/promote", post(admin::policy::promote))
        .route("/api/admin/policy/pin", post(admin::policy::pin))
        .route("/api/admin/policy/unpin", post(admin::policy::unpin))
        .route("/api/admin/policy/rollback", post(admin::policy::rollback))
        .route("/api/admin/policy/mode", put(admin::policy::mode))
        .merge(dashboard::routes())
        .route("/health", get(api::health::health))
        .route("/ready", get(api::health::ready));
    finish(router, gateway, None)
}

/// What all requests go through, outermost last.
fn finish(router: Router<Arc<Gateway>>, gateway: Arc<Gateway>, cors: Option<CorsLayer>) -> Router {
    let router = router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(&gateway))
        .layer(middleware::from_fn_with_state(gateway, request_id::layer));
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

async fn not_found(uri: http::Uri) -> Rejection {
    let path = uri.path();
    let message = if path.contains("/responses") {
        "the Responses API is not spoken here: use /v1/chat/completions"
    } else if ["/chat/completions", "/messages"].iter().any(|end| path.ends_with(end)) {
        "there is no such endpoint: OpenAI's clients take http://HOST:PORT/v1 as their base URL, Anthropic's http://HOST:PORT"
    } else {
        "there is no such endpoint; see /openapi.json on the admin listener"
    };
    Rejection::new(dialect_of(path), ApiError::new(ErrorKind::NotFound, message))
}

async fn wrong_method(method: http::Method, uri: http::Uri) -> axum::response::Response {
    use axum::response::IntoResponse;
    let said = format!("this endpoint does not take {method}; the header `allow` says what it takes");
    let error = ApiError::new(ErrorKind::InvalidRequest, said);
    let mut response = Rejection::new(dialect_of(uri.path()), error).into_response();
    *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse().ok()))
    };
    Some(
        CorsLayer::new()
            .allow_origin(origin)
            .allow_methods(tower_http::cors::Any)
            // By name: the Fetch standard leaves `authorization` out of `*`.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(tower_http::cors::Any),
    )
}
