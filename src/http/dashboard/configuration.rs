//! `/dashboard/configuration`: every value in force, where it was set, and which differ from the defaults.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};

use super::html;
use super::layout::Page;
use super::parts::{Label, badge, empty, search, table_box};
use super::visitor::Visitor;
use crate::gateway::Gateway;
use crate::http::admin::config;

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let config::Effective { settings, errors } = config::all(&gateway);
    let mut sections: Vec<(&str, Vec<&config::Value>)> = Vec::new();
    for setting in &settings {
        let section = setting.path.split('.').next().unwrap_or_default();
        match sections.last_mut() {
            Some((name, values)) if *name == section => values.push(setting),
            _ => sections.push((section, vec![setting])),
        }
    }
    let changed = settings.iter().filter(|setting| setting.origin != "default").count();
    let body = markup! {
        @if !errors.is_empty() { (refused(&errors)) }
        div.toolbar {
            (search("Find a setting", &markup! { input #find type="search" placeholder="Find a setting" data-find="settings"; }))
            label.check { input type="checkbox" data-only="changed" data-in="settings"; span { "Changed only" } }
            span.muted { (settings.len()) " values, " (changed) " changed" }
        }
        div #settings {
            @for (name, values) in sections {
                details.card open data-group {
                    summary { h2 { (name) } span.muted { (values.len()) } }
                    (table_box(Label::Is(&format!("Settings of {name}")), &table(&values)))
                }
            }
            div data-none hidden { (empty("Nothing matches", "Try fewer letters, or show unchanged settings too.")) }
        }
    };
    let lead =
        "Every value in force and who set it. Edit the file, or send SIGHUP: live sections change without a restart.";
    html(Page::new("/dashboard/configuration", "Configuration", lead).render(&gateway, &visitor, &body))
}

/// What is wrong with a changed file: without it an operator sees old values, and no reason.
fn refused(errors: &[String]) -> Markup {
    markup! {
        div.alert role="alert" {
            (super::icons::icon("alert"))
            div {
                span { "The changed configuration is wrong. The old one stays in force, until a restart, which would fail:" }
                ul { @for error in errors { li { (error) } } }
            }
        }
    }
}

fn table(settings: &[&config::Value]) -> Markup {
    markup! {
        table.settings {
            thead { tr { th scope="col" { "Key" } th scope="col" { "Value" } th scope="col" { "Set by" } } }
            tbody {
                @for setting in settings {
                    tr data-row data-changed[setting.origin != "default"] {
                        td { code { (setting.path) } }
                        td { code.value { (setting.value) } }
                        td {
                            @if setting.origin == "default" { span.muted { "default" } }
                            @else { (badge("info", &setting.origin)) }
                        }
                    }
                }
            }
        }
    }
}
