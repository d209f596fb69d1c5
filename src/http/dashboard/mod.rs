//! The dashboard for operators: pages rendered here, on the admin listener.
//!
//! A page shows what the admin API answers, by the same functions, and changes things by calling it: a form or a
//! button names the call (`data-api`), and `assets/core.js` makes it with the session's cookie and token. A part of a
//! page that changes by itself (`data-live`) is updated by fetching the whole page again and replacing what differs: an
//! element is kept as long as its `id`, `data-key` or `href` stays the same. Nothing comes from elsewhere: styles and
//! scripts are in the binary, and the content security policy allows nothing else.
//!
//! [`login`] signs visitors in, [`visitor`] identifies them. [`document`] is around every page, [`layout`] around those
//! for signed-in visitors, [`parts`] has what many pages use; otherwise there is one page per file.

mod assets;
mod audit;
mod configuration;
mod decision;
mod decisions;
mod document;
mod icons;
mod layout;
mod learning;
mod login;
mod logs;
mod models;
mod monitor;
mod overview;
mod parts;
mod playground;
mod reference;
mod theme;
mod tokens;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::gateway::Gateway;

/// The content security policy: scripts, styles and images from this origin only, connections to it only, nothing
/// inline, no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All pages.
pub fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/", get(async || Redirect::to("/dashboard")))
        .route("/dashboard/", get(async || Redirect::to("/dashboard")))
        .route("/dashboard/login", get(login::page).post(login::enter))
        .route("/dashboard/logout", post(login::leave))
        .route("/dashboard", get(overview::page))
        .route("/dashboard/decisions", get(decisions::page))
        .route("/dashboard/decisions/{id}", get(decision::page))
        .route("/dashboard/monitor", get(monitor::page))
        .route("/dashboard/logs", get(logs::page))
        .route("/dashboard/learning", get(learning::page))
        .route("/dashboard/models", get(models::page))
        .route("/dashboard/audit", get(audit::page))
        .route("/dashboard/playground", get(playground::page))
        .route("/dashboard/tokens", get(tokens::page))
        .route("/dashboard/configuration", get(configuration::page))
        .route("/dashboard/api", get(reference::page))
        .route("/dashboard/assets/{name}", get(assets::serve))
        .route("/dashboard/{*path}", get(layout::nowhere))
        .layer(middleware::map_response(guarded))
}

/// Adds the security headers that every page has.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Markup as an HTTP answer.
fn html(markup: maud::Markup) -> Response {
    axum::response::Html(markup.into_string()).into_response()
}
