//! The API as two tables: the proxy listener's and the admin listener's.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::error::{Rejection, dialect_of, dialect_of_asker};
use super::middleware::{oversize, request_id};
use super::{admin, api, dashboard};
use crate::codec;
use crate::gateway::Gateway;
use crate::protocol::{ApiError, Dialect, ErrorKind};

/// A path and its handlers.
type Endpoint = (&'static str, MethodRouter<Arc<Gateway>>);

/// A model's name may be `provider/model`, written as it is or with `%2F`.
const ONE_MODEL: &str = "/v1/models/{*name}";

/// The endpoints for clients.
fn of_clients() -> Vec<Endpoint> {
    vec![
        // Chat, in four dialects
        ("/api/chat", api::chat::endpoint(Dialect::Native)),
        ("/v1/chat/completions", api::chat::endpoint(Dialect::OpenAi)),
        ("/v1/responses", api::chat::endpoint(Dialect::Responses)),
        ("/v1/messages", api::chat::endpoint(Dialect::Anthropic)),
        // Beside chat
        ("/v1/messages/count_tokens", api::count_tokens::endpoint(Dialect::Anthropic)),
        ("/v1/responses/input_tokens", api::count_tokens::endpoint(Dialect::Responses)),
        ("/v1/embeddings", post(api::embeddings::embed)),
        ("/v1/models", get(api::models::list)),
        (ONE_MODEL, get(api::models::one)),
        ("/models", get(api::models::overview)),
        ("/api/route", post(api::route::explain)),
        // Reports
        ("/api/outcomes", post(api::outcomes::report)),
        ("/api/feedback", post(api::feedback::give)),
        // Health
        ("/", get(api::health::hello)),
        ("/health", get(api::health::health)),
        ("/ready", get(api::health::ready)),
    ]
}

/// The endpoints for operators.
fn of_operators() -> Vec<Endpoint> {
    vec![
        ("/metrics", get(admin::metrics::metrics)),
        ("/openapi.json", get(admin::openapi::spec)),
        ("/api/admin/models", get(admin::models::list)),
        ("/api/admin/config", get(admin::config::effective)),
        ("/api/admin/requests", get(admin::requests::list)),
        ("/api/admin/requests/stream", get(admin::requests::stream)),
        ("/api/admin/logs", get(admin::logs::list)),
        ("/api/admin/logs/stream", get(admin::logs::stream)),
        ("/api/admin/tokens", get(admin::tokens::list).post(admin::tokens::make)),
        ("/api/admin/tokens/{id}", delete(admin::tokens::revoke)),
        ("/api/admin/chat", post(admin::playground::chat)),
        ("/api/admin/route", post(admin::playground::route)),
        ("/api/admin/feedback", post(admin::playground::feedback)),
        ("/api/admin/models/{name}", patch(admin::models::change)),
        ("/api/admin/models/{name}/drain", post(admin::models::drain)),
        ("/api/admin/models/{name}/reset", post(admin::models::reset)),
        ("/api/admin/models/{name}/test", post(admin::models::test)),
        ("/api/admin/audit", get(admin::audit::list)),
        ("/api/admin/learning", get(admin::learning::show)),
        ("/api/admin/overview", get(admin::overview::overview)),
        ("/api/admin/decisions", get(admin::decisions::list)),
        ("/api/admin/decisions/{id}", get(admin::decisions::explain)),
        ("/api/admin/export", get(admin::export::export)),
        ("/api/admin/policy", get(admin::policy::show)),
        ("/api/admin/policy/retune", post(admin::policy::retune)),
        ("/api/admin/policy/promote", post(admin::policy::promote)),
        ("/api/admin/policy/pin", post(admin::policy::pin)),
        ("/api/admin/policy/unpin", post(admin::policy::unpin)),
        ("/api/admin/policy/rollback", post(admin::policy::rollback)),
        ("/api/admin/policy/mode", put(admin::policy::mode)),
    ]
}

/// Every path but the dashboard's, as it is described: the labels of metrics come from here.
pub static ENDPOINTS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let described = |(path, _): Endpoint| if path == ONE_MODEL { "/v1/models/{name}" } else { path };
    of_clients().into_iter().chain(of_operators()).map(described).collect()
});

/// The router of the proxy listener.
pub fn proxy(gateway: Arc<Gateway>) -> Router {
    let cors = cors(&gateway.live().config.server.cors_origins);
    finish(router(of_clients()), gateway, cors)
}

/// The router of the admin listener.
pub fn admin(gateway: Arc<Gateway>) -> Router {
    let router = router(of_operators())
        .layer(middleware::map_response(no_store))
        .merge(dashboard::routes())
        .route("/health", get(api::health::health))
        .route("/ready", get(api::health::ready));
    finish(router, gateway, None)
}

/// Keeps answers to operators, which may hold prompts, out of caches, and browsers from guessing their type.
async fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn router(endpoints: Vec<Endpoint>) -> Router<Arc<Gateway>> {
    endpoints.into_iter().fold(Router::new(), |router, (path, answer)| router.route(path, answer))
}

/// Adds the middleware that all requests go through, the outermost last.
fn finish(router: Router<Arc<Gateway>>, gateway: Arc<Gateway>, cors: Option<CorsLayer>) -> Router {
    let watch = request_id::Watch { gateway: Arc::clone(&gateway), endpoints: &ENDPOINTS };
    let router = router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(&gateway))
        .layer(middleware::from_fn_with_state(gateway, oversize::layer))
        .layer(middleware::from_fn_with_state(watch, request_id::layer));
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// Paths that Ollama's clients call besides `/api/chat`.
const OF_OLLAMA: [&str; 8] = [
    "/api/embed",
    "/api/embeddings",
    "/api/generate",
    "/api/ps",
    "/api/pull",
    "/api/show",
    "/api/tags",
    "/api/version",
];

/// What the vendors' clients add to their base URL.
const NAMED_BY_CLIENTS: [&str; 4] = ["/chat/completions", "/responses", "/messages", "/embeddings"];

async fn not_found(uri: http::Uri, headers: http::HeaderMap) -> Rejection {
    let path = uri.path();
    Rejection::new(dialect_of_asker(path, &headers), ApiError::new(ErrorKind::NotFound, no_endpoint(path)))
}

/// Why there is nothing at `path`, and what there is instead.
fn no_endpoint(path: &str) -> &'static str {
    let asked = path.trim_end_matches('/');
    let is_one = || !asked.starts_with("/api/admin") && ENDPOINTS.contains(&asked);
    if asked != path && is_one() {
        "there is no such endpoint, but there is one without the slash at the end"
    } else if path.starts_with("/v1/responses/") || path.starts_with("/v1/conversations") {
        "Pointsman keeps no answers: of the Responses API there is POST /v1/responses alone, with the whole input"
    } else if NAMED_BY_CLIENTS.iter().any(|end| asked.ends_with(end)) {
        "there is no such endpoint: OpenAI's clients take http://HOST:PORT/v1 as their base URL, Anthropic's http://HOST:PORT (some with /v1, too)"
    } else if OF_OLLAMA.contains(&asked) {
        codec::NO_OLLAMA
    } else {
        "there is no such endpoint; see /openapi.json on the admin listener"
    }
}

async fn wrong_method(method: http::Method, uri: http::Uri, headers: http::HeaderMap) -> Response {
    use axum::response::IntoResponse;
    let (status, said) = if uri.path() == "/v1/responses" && headers.contains_key(http::header::UPGRADE) {
        // Codex tries a WebSocket first: this status makes it fall back at once, any other only after seven tries.
        (http::StatusCode::UPGRADE_REQUIRED, "there are no WebSockets here: POST to this endpoint".to_owned())
    } else {
        let said = format!("this endpoint does not take {method}; the header `allow` says what it takes");
        (http::StatusCode::METHOD_NOT_ALLOWED, said)
    };
    let error = ApiError::new(ErrorKind::InvalidRequest, said);
    let mut response = Rejection::new(dialect_of(uri.path()), error).into_response();
    *response.status_mut() = status;
    if status == http::StatusCode::UPGRADE_REQUIRED {
        // It has to name what is spoken here (RFC 9110, sections 15.5.22 and 7.8).
        let headers = response.headers_mut();
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_at_a_wrong_address_is_told_the_right_one() {
        for (path, told) in [
            ("/chat/completions", "their base URL"),
            ("/v2/embeddings/", "their base URL"),
            ("/v1/v1/messages", "their base URL"),
            ("/v1/chat/completions/", "without the slash"),
            ("/v1/messages/", "without the slash"),
            ("/v1/responses/", "without the slash"),
            ("/v1/responses/resp_1", "keeps no answers"),
            ("/api/tags/", codec::NO_OLLAMA),
            ("/api/admin/policy/", "openapi.json"),
            ("/", "openapi.json"),
        ] {
            assert!(no_endpoint(path).contains(told), "{path}: {}", no_endpoint(path));
        }
    }
}
