//! `/dashboard/login`, `/dashboard/logout`: sign-in by password or one-time link, and sign-out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{RETRY_AFTER, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use maud::{Markup, html as markup};
use serde::Deserialize;

use super::theme::{Theme, theme};
use super::visitor::{admissible, refused};
use super::{document, html, icons};
use crate::config::LogFormat;
use crate::gateway::Gateway;
use crate::gateway::sign_in::{Denied, SignedIn};
use crate::http::api::body;
use crate::http::middleware::caller;
use crate::protocol::{ApiError, ErrorKind};

/// The query of the login page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoginQuery {
    /// The page to show after sign-in.
    next: String,
    /// Not empty if a session has just ended.
    ended: String,
    /// The secret of a one-time link.
    link: String,
}

/// The form of sign-in and sign-out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Form {
    user: String,
    password: String,
    next: String,
    csrf: String,
}

/// The address of a visitor who is not signed in yet, but may do so.
#[derive(Debug)]
pub(super) struct BeforeSignIn(IpAddr);

impl FromRequestParts<Arc<Gateway>> for BeforeSignIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Response> {
        admissible(parts, gateway).map(Self).map_err(|error| refused(theme(&parts.headers), &error))
    }
}

/// `GET /dashboard/login`: the form; or, with a one-time link, the sign-in itself.
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    BeforeSignIn(_): BeforeSignIn,
    theme: Theme,
    Query(query): Query<LoginQuery>,
    headers: HeaderMap,
) -> Response {
    if !query.link.is_empty()
        && let Some(signed_in) = gateway.sign_in.with_link(&query.link, Instant::now())
    {
        tracing::info!("Somebody signed in by the one-time link");
        return start_session(&gateway, &headers, &signed_in, "/dashboard");
    }
    if caller::signed_in(&headers, &gateway).is_some() {
        return Redirect::to(own_path(&query.next)).into_response();
    }
    announce_link(&gateway, &headers);
    let notice = match (query.link.is_empty(), query.ended.is_empty()) {
        (false, _) => Some("That link was used already, or is not from this run."),
        (_, false) => Some("Your session has ended. Sign in again to go on."),
        _ => None,
    };
    html(form(&gateway, theme, notice, &query.next))
}

/// `POST /dashboard/login`: name and password.
pub(super) async fn enter(
    State(gateway): State<Arc<Gateway>>,
    BeforeSignIn(address): BeforeSignIn,
    theme: Theme,
    request: Request<Body>,
) -> Response {
    let (headers, sent) = match own_form(&gateway, request).await {
        Ok(sent) => sent,
        Err(error) => return refused(theme, &error),
    };
    let (shared, user, password) = (Arc::clone(&gateway), sent.user, sent.password);
    // In a task of its own, so that a guess is logged even if the client hangs up.
    let tried = tokio::spawn(async move {
        let tried = shared.sign_in.with_password(address, &user, &password, Instant::now()).await;
        match &tried {
            Ok(signed_in) => tracing::info!(address = %address, user = signed_in.session.user, "Somebody signed in"),
            Err(Denied::Wrong) => tracing::warn!(address = %address, "A sign-in failed"),
            Err(_) => {}
        }
        tried
    });
    match tried.await.unwrap_or(Err(Denied::Wrong)) {
        Ok(signed_in) => start_session(&gateway, &headers, &signed_in, own_path(&sent.next)),
        Err(Denied::Wrong) => {
            let page = form(&gateway, theme, Some("Wrong name or password."), &sent.next);
            (StatusCode::UNAUTHORIZED, html(page)).into_response()
        }
        Err(Denied::Wait(wait)) => {
            let seconds = wait.as_secs_f64().ceil() as u64;
            let notice = format!("Too many wrong passwords from your address. Try again in {seconds} s.");
            let page = html(form(&gateway, theme, Some(&notice), &sent.next));
            (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds.to_string())], page).into_response()
        }
        Err(Denied::NoPassword) => (StatusCode::UNAUTHORIZED, html(form(&gateway, theme, None, ""))).into_response(),
    }
}

/// `POST /dashboard/logout`.
pub(super) async fn leave(
    State(gateway): State<Arc<Gateway>>,
    BeforeSignIn(_): BeforeSignIn,
    theme: Theme,
    request: Request<Body>,
) -> Response {
    let (headers, sent) = match own_form(&gateway, request).await {
        Ok(sent) => sent,
        Err(error) => return refused(theme, &error),
    };
    let to_login = Redirect::to("/dashboard/login").into_response();
    let cookie = caller::sent_session(&headers);
    let (Some(session), Some(cookie)) = (caller::signed_in(&headers, &gateway), cookie) else { return to_login };
    // A forged form that signs somebody out would be a nuisance, so the CSRF token is required as for any change.
    if session.csrf != sent.csrf {
        let error = ApiError::new(ErrorKind::Permission, "the form is of another session; open the page again");
        return refused(theme, &error);
    }
    gateway.sign_in.sign_out(cookie);
    let gone = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", caller::session_cookie(&headers));
    with_cookie(to_login, &gone)
}

/// The headers and the form that a page of our own sends; the body has the format of a query string.
async fn own_form(gateway: &Gateway, request: Request<Body>) -> Result<(HeaderMap, Form), ApiError> {
    let (head, sent) = request.into_parts();
    caller::own_page(&head.headers, &Method::POST)?;
    let bytes = body::read_small(sent, &gateway.live().config.limits).await?;
    let wrong = || ApiError::invalid("the form cannot be read");
    let query = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    let uri = format!("/?{query}").parse::<http::Uri>().map_err(|_| wrong())?;
    let Query(form) = Query::<Form>::try_from_uri(&uri).map_err(|_| wrong())?;
    Ok((head.headers, form))
}

/// Sets the session cookie and redirects to the page that was wanted.
fn start_session(gateway: &Gateway, headers: &HeaderMap, signed_in: &SignedIn, next: &str) -> Response {
    let seconds = gateway.sign_in.lifetime().as_secs();
    // Behind a proxy that speaks TLS the cookie must never travel without it.
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let (name, value) = (caller::session_cookie(headers), &signed_in.cookie);
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    with_cookie(Redirect::to(next).into_response(), &cookie)
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// The page to show after sign-in, if it is one of the dashboard: sign-in must not redirect elsewhere.
fn own_path(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if plain && (next == "/dashboard" || next.starts_with("/dashboard/") || next.starts_with("/dashboard?")) {
        next
    } else {
        "/dashboard"
    }
}

/// Gives out a one-time link where the gateway runs, if one is due. With text logs it is printed to standard error, not
/// logged, as the dashboard shows log lines; with JSON logs, which machines store, it is left in a file. It is printed
/// from a thread of its own, one per link: the reader of standard error may stand still.
fn announce_link(gateway: &Gateway, headers: &HeaderMap) {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    if gateway.live().config.telemetry.log_format == LogFormat::Json {
        if let Some(file) = gateway.leave_link(host) {
            tracing::info!(file = %file.display(), "A file holds a link that opens the dashboard once");
        }
        return;
    }
    let Some(link) = gateway.sign_in.new_link() else { return };
    let line = format!("The dashboard opens once by this link: http://{host}/dashboard/login?link={link}");
    let _ = std::thread::Builder::new().name("link".into()).spawn(move || eprintln!("{line}"));
}

fn form(gateway: &Gateway, theme: Theme, notice: Option<&str>, next: &str) -> Markup {
    let hours = gateway.sign_in.lifetime().as_secs() / 3600;
    document::bare(
        theme,
        "Sign in",
        markup! {
            main.bare id="main" {
                div.bare-card {
                    div.bare-brand { (icons::logo()) span { "Pointsman" } }
                    @if let Some(notice) = notice { p.alert role="alert" { (icons::icon("alert")) span { (notice) } } }
                    @if gateway.sign_in.has_password() {
                        h1 { "Sign in" }
                        form method="post" action="/dashboard/login" {
                            input type="hidden" name="next" value=(next);
                            label for="user" { "Name" }
                            input #user name="user" autocomplete="username" required autocapitalize="none"
                                spellcheck="false";
                            label for="password" { "Password" }
                            input #password name="password" type="password" autocomplete="current-password" required;
                            button.primary.wide type="submit" { "Sign in" }
                        }
                        p.hint { "A session lasts " (hours) " hours." }
                    } @else {
                        h1 { "Open the dashboard" }
                        p { "No password is set. A one-time link was printed where the gateway runs; open it here." }
                        @if gateway.live().config.telemetry.log_format == LogFormat::Json {
                            p { "With JSON log lines the link is not printed: it is in the file dashboard.link in the data directory." }
                        }
                        p.hint {
                            "To sign in with a password instead, start the gateway with "
                            code { "POINTSMAN_ADMIN_PASSWORD" } " set, or with a hash made by "
                            code { "pointsman password" } " in " code { "admin.password_file" } "."
                        }
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_leads_nowhere_else() {
        assert_eq!(own_path("/dashboard/logs?level=warn"), "/dashboard/logs?level=warn");
        for elsewhere in ["", "//evil.example", "https://evil.example", "/dashboardx", "/\\evil", "/dashboard/\nx"] {
            assert_eq!(own_path(elsewhere), "/dashboard", "{elsewhere:?}");
        }
    }
}
