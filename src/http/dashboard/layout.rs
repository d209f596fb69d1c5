//! The layout of all pages for signed-in visitors: the navigation and the top of the page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::document::document;
use super::icons;
use super::parts::{empty, trouble};
use super::visitor::Visitor;
use crate::gateway::{Gateway, health};

/// The navigation's entries in order: path, title, icon. A title without a path begins a group.
const NAVIGATION: [(&str, &str, &str); 14] = [
    ("", "Watch", ""),
    ("/dashboard", "Overview", "overview"),
    ("/dashboard/monitor", "Live requests", "monitor"),
    ("/dashboard/logs", "Logs", "logs"),
    ("", "Route", ""),
    ("/dashboard/decisions", "Decisions", "decisions"),
    ("/dashboard/learning", "Learning", "learning"),
    ("/dashboard/models", "Models", "models"),
    ("/dashboard/playground", "Playground", "playground"),
    ("", "Manage", ""),
    ("/dashboard/tokens", "API tokens", "tokens"),
    ("/dashboard/configuration", "Configuration", "configuration"),
    ("/dashboard/audit", "Audit", "audit"),
    ("/dashboard/api", "API reference", "api"),
];

/// A page before its body is known.
pub(super) struct Page<'a> {
    /// The path of its navigation entry; a sub-page has its parent's.
    pub(super) path: &'a str,
    /// Its title.
    pub(super) title: &'a str,
    /// One sentence below the title.
    pub(super) lead: &'a str,
    /// Buttons to the right of the title.
    pub(super) actions: Markup,
}

impl<'a> Page<'a> {
    /// A page with a title and a sentence, without buttons.
    pub(super) fn new(path: &'a str, title: &'a str, lead: &'a str) -> Self {
        Self { path, title, lead, actions: html! {} }
    }

    /// Adds buttons to the right of the title.
    pub(super) fn with_actions(mut self, actions: Markup) -> Self {
        self.actions = actions;
        self
    }

    /// The whole page around `body`.
    pub(super) fn render(self, gateway: &Gateway, visitor: &Visitor, body: &Markup) -> Markup {
        let lost = lost(gateway);
        let inner = html! {
            a.skip href="#main" { "Skip to the content" }
            (navigation(self.path, gateway, visitor, lost.is_some()))
            main #main tabindex="-1" {
                header.head {
                    div {
                        h1 { (self.title) }
                        @if !self.lead.is_empty() { p.lead { (self.lead) } }
                    }
                    div.head-actions { (self.actions) }
                }
                div #lost data-live="" { @if let Some(lost) = &lost { (trouble(lost)) } }
                (body)
            }
            div #toasts.toasts role="status" aria-live="polite" {}
            div #tip.tip role="tooltip" hidden {}
            dialog #ask.ask aria-labelledby="ask-text" {
                form method="dialog" {
                    p #ask-text {}
                    div.row {
                        button value="" { "Cancel" }
                        button.primary #ask-yes value="yes" { "Do it" }
                    }
                }
            }
        };
        document(visitor.theme, self.title, Some(&visitor.session.csrf), &inner)
    }
}

/// What is wrong with the decision log where it keeps nothing, in the words of `/health`.
fn lost(gateway: &Gateway) -> Option<String> {
    let store = health::store_line(&gateway.store.health());
    let status = store["status"].as_str().filter(|_| store["durable"] == false)?;
    Some(format!("The decision log is {status}."))
}

/// `GET` of a path under `/dashboard` that has no page.
pub(super) async fn nowhere(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let body = html! {
        section.card { (empty("Nothing is at this address", "Every page is in the navigation.")) }
    };
    let page = Page::new("", "There is no such page", "").render(&gateway, &visitor, &body);
    (StatusCode::NOT_FOUND, super::html(page)).into_response()
}

fn navigation(path: &str, gateway: &Gateway, visitor: &Visitor, loses: bool) -> Markup {
    let ready = gateway.is_ready();
    html! {
        aside.side {
            div.brand {
                a href="/dashboard" { (icons::logo()) span { "Pointsman" } }
                button.menu type="button" aria-label="Menu" aria-expanded="false" aria-controls="way" data-menu {
                    (icons::icon("menu"))
                }
            }
            nav #way aria-label="Pages" {
                @for (to, title, icon) in NAVIGATION {
                    @if to.is_empty() {
                        p.group { (title) }
                    } @else {
                        a href=(to) aria-current=[(to == path).then_some("page")] {
                            (icons::icon(icon)) span { (title) }
                        }
                    }
                }
                div.side-foot {
                    p.state #state data-live="" {
                        span.dot.good[ready && !loses].warn[ready && loses].bad[!ready] {}
                        @if ready { "Serving" } @else { "Draining" }
                        span.version { "v" (env!("CARGO_PKG_VERSION")) }
                    }
                    div.row {
                        button.quiet type="button" data-theme-toggle { (icons::icon("theme")) span { "Theme" } }
                        form method="post" action="/dashboard/logout" {
                            input type="hidden" name="csrf" value=(visitor.session.csrf);
                            button.quiet type="submit" { (icons::icon("out")) span { "Sign out" } }
                        }
                    }
                }
            }
        }
    }
}
