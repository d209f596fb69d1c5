//! `/dashboard/login`, `/dashboard/logout`: the way in, by password or by one-time link, and the way out.

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
use crate::http::api::body;
use crate::http::middleware::caller;
use crate::http::session::{Denied, Entered};
use crate::http::state::Gateway;
use crate::protocol::{ApiError, ErrorKind};

/// What the login page is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// The page that was wanted.
    next: String,
    /// Whether a session just ended.
    ended: String,
    /// The secret of a one-time link.
    link: String,
}

/// The form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Form {
    user: String,
    password: String,
    next: String,
    csrf: String,
}

/// Where a request to the door comes from, if it may come in at all.
#[derive(Debug)]
pub(super) struct AtTheDoor(IpAddr);

impl FromRequestParts<Arc<Gateway>> for AtTheDoor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Response> {
        admissible(parts, gateway).map(Self).map_err(|error| refused(theme(&parts.headers), &error))
    }
}

/// `GET`: the form; or, by a one-time link, straight in.
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    AtTheDoor(_): AtTheDoor,
    theme: Theme,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    if !asked.link.is_empty()
        && let Some(entered) = gateway.door.follow(&asked.link, Instant::now())
    {
        tracing::info!("Somebody came in by the one-time link");
        return welcome(&gateway, &headers, &entered, "/dashboard");
    }
    if caller::seated(&headers, &gateway).is_some() {
        return Redirect::to(own_path(&asked.next)).into_response();
    }
    announce_link(&gateway, &headers);
    let told = match (asked.link.is_empty(), asked.ended.is_empty()) {
        (false, _) => Some("That link was used already, or is not from this run."),
        (_, false) => Some("Your session has ended. Sign in again to go on."),
        _ => None,
    };
    html(form(&gateway, theme, told, &asked.next))
}

/// `POST`: name and password.
pub(super) async fn enter(
    State(gateway): State<Arc<Gateway>>,
    AtTheDoor(address): AtTheDoor,
    theme: Theme,
    request: Request<Body>,
) -> Response {
    let (head, sent) = request.into_parts();
    let read = async {
        caller::own_page(&head.headers, &Method::POST)?;
        read_form(&gateway, sent).await
    };
    let sent = match read.await {
        Ok(sent) => sent,
        Err(error) => return refused(theme, &error),
    };
    let (door, user, password) = (Arc::clone(&gateway), sent.user, sent.password);
    // A guess is told in the log, also where nobody waits for the answer.
    let tried = tokio::spawn(async move {
        let tried = door.door.enter(address, &user, &password, Instant::now()).await;
        match &tried {
            Ok(entered) => tracing::info!(address = %address, user = entered.session.user, "Somebody signed in"),
            Err(Denied::Wrong) => tracing::warn!(address = %address, "A sign-in failed"),
            Err(_) => {}
        }
        tried
    });
    match tried.await.unwrap_or(Err(Denied::Wrong)) {
        Ok(entered) => welcome(&gateway, &head.headers, &entered, own_path(&sent.next)),
        Err(Denied::Wrong) => {
            let page = form(&gateway, theme, Some("Wrong name or password."), &sent.next);
            (StatusCode::UNAUTHORIZED, html(page)).into_response()
        }
        Err(Denied::Wait(wait)) => {
            let seconds = wait.as_secs_f64().ceil() as u64;
            let told = format!("Too many wrong passwords from your address. Try again in {seconds} s.");
            let page = html(form(&gateway, theme, Some(&told), &sent.next));
            (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds.to_string())], page).into_response()
        }
        Err(Denied::NoPassword) => (StatusCode::UNAUTHORIZED, html(form(&gateway, theme, None, ""))).into_response(),
    }
}

/// `POST /dashboard/logout`.
pub(super) async fn leave(
    State(gateway): State<Arc<Gateway>>,
    AtTheDoor(_): AtTheDoor,
    theme: Theme,
    request: Request<Body>,
) -> Response {
    let (head, sent) = request.into_parts();
    let read = async {
        caller::own_page(&head.headers, &Method::POST)?;
        read_form(&gateway, sent).await
    };
    let sent = match read.await {
        Ok(sent) => sent,
        Err(error) => return refused(theme, &error),
    };
    let outside = Redirect::to("/dashboard/login").into_response();
    let cookie = caller::shown_session(&head.headers);
    let (Some(session), Some(cookie)) = (caller::seated(&head.headers, &gateway), cookie) else { return outside };
    // Signing somebody out by a forged form would be a nuisance, so it wants the token like any other change.
    if session.csrf != sent.csrf {
        let error = ApiError::new(ErrorKind::Permission, "the form is of another session; open the page again");
        return refused(theme, &error);
    }
    gateway.door.leave(cookie);
    let gone = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", caller::session_cookie(&head.headers));
    with_cookie(outside, &gone)
}

/// Reads a form as a query string, which is what a form's body is.
async fn read_form(gateway: &Gateway, sent: Body) -> Result<Form, ApiError> {
    let bytes = body::read_small(sent, &gateway.live().config.limits).await?;
    let wrong = || ApiError::invalid("the form cannot be read");
    let query = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    let uri = format!("/?{query}").parse::<http::Uri>().map_err(|_| wrong())?;
    Query::<Form>::try_from_uri(&uri).map(|Query(form)| form).map_err(|_| wrong())
}

/// Sets the cookie and shows the page that was wanted.
fn welcome(gateway: &Gateway, headers: &HeaderMap, entered: &Entered, next: &str) -> Response {
    let seconds = gateway.door.lifetime().as_secs();
    // Behind a proxy that speaks TLS the cookie must never travel without it.
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let (name, value) = (caller::session_cookie(headers), &entered.cookie);
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    with_cookie(Redirect::to(next).into_response(), &cookie)
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// A page of ours, and no other: what follows the login must not lead elsewhere.
fn own_path(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if plain && (next == "/dashboard" || next.starts_with("/dashboard/") || next.starts_with("/dashboard?")) {
        next
    } else {
        "/dashboard"
    }
}

/// Gives a one-time link where the gateway runs, if one is due: on the terminal alone, as the log is shown on the
/// panel; in a file where lines are for machines, which keep them. Printed from a thread of its own, of which there
/// is one for each link: who reads standard error may stand still.
fn announce_link(gateway: &Gateway, headers: &HeaderMap) {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    if gateway.live().config.telemetry.log_format == LogFormat::Json {
        if let Some(file) = gateway.leave_link(host) {
            tracing::info!(file = %file.display(), "A file holds a link that opens the dashboard once");
        }
        return;
    }
    let Some(link) = gateway.door.new_link() else { return };
    let line = format!("The dashboard opens once by this link: http://{host}/dashboard/login?link={link}");
    let _ = std::thread::Builder::new().name("link".into()).spawn(move || eprintln!("{line}"));
}

fn form(gateway: &Gateway, theme: Theme, told: Option<&str>, next: &str) -> Markup {
    let hours = gateway.door.lifetime().as_secs() / 3600;
    document::bare(
        theme,
        "Sign in",
        markup! {
            main.door id="main" {
                div.door-card {
                    div.door-brand { (icons::logo()) span { "Pointsman" } }
                    @if let Some(told) = told { p.alert role="alert" { (icons::icon("alert")) span { (told) } } }
                    @if gateway.door.has_password() {
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
                        h1 { "Open the panel" }
                        p { "No password is set. A one-time link was printed where the gateway runs; open it here." }
                        @if gateway.live().config.telemetry.log_format == LogFormat::Json {
                            p { "As its log is for machines, the link is in no line, but in dashboard.link in its data directory." }
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
