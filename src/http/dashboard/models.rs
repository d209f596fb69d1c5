//! `/dashboard/models`: every model with its deployments: status, breaker, load, price, weight, and the changes an
//! operator may make.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};
use serde_json::json;

use super::html;
use super::layout::Page;
use super::parts::{badge, count, empty, moment, ms, or_nothing, percent, price, search};
use super::visitor::{Visitor, percent_encoded};
use crate::gateway::Gateway;
use crate::http::admin::models::{self, View};
use crate::upstream::{BreakerState, Status};

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let mut all = models::all(&gateway).models;
    // Callable models first, then enabled ones, each group by name.
    all.sort_by_key(|model| (!model.available, !model.enabled));
    let ready = all.iter().filter(|model| model.available).count();
    let resting = all.iter().filter(|model| model.enabled && !model.available).count();
    let shares: f64 = all.iter().filter(|model| model.available).map(|model| model.weight).sum();
    let body = markup! {
        div.toolbar {
            (search("Find a model", &markup! { input #find type="search" placeholder="Find a model or a backend" data-find="models"; }))
            label.check { input type="checkbox" data-only="ready" data-in="models"; span { "Ready only" } }
        }
        div #models data-live="3000" {
            p.muted {
                (ready) " ready"
                @if resting > 0 { ", " (resting) " that cannot be called now" }
                ", " (all.len() - ready - resting) " switched off"
            }
            @if all.is_empty() {
                (empty("No model yet", "Configure one under [models], or start Ollama: its models are found by themselves."))
            }
            div.models data-group { @for model in &all { (card(model, shares)) } }
            div data-none hidden { (empty("Nothing matches", "Try fewer letters, or show models that are not ready too.")) }
        }
    };
    let lead = "Who can answer, how they are doing, and what they cost. Changes hold at once, survive a restart and are audited.";
    html(Page::new("/dashboard/models", "Models", lead).render(&gateway, &visitor, &body))
}

fn card(model: &View, shares: f64) -> Markup {
    let path = format!("/api/admin/models/{}", percent_encoded(&model.name).replace('/', "%2F"));
    let share = if model.available && shares > 0.0 { Some(model.weight / shares) } else { None };
    let id = |what: &str| format!("{what}-{}", model.name);
    markup! {
        section.card.model data-key=(id("card")) data-row data-ready[model.available] aria-label=(model.name) {
            div.card-head {
                h2 { (model.name) }
                div.row {
                    @if model.discovered { (badge("", "discovered")) }
                    @if model.available { (badge("good", "ready")) }
                    @else if model.enabled { (badge("bad", "unavailable")) }
                    @else { (badge("", "off")) }
                }
            }
            @if let Some(reason) = model.reason.as_ref().filter(|_| model.enabled) { p.hint { "Because " (reason) "." } }
            dl.facts-grid {
                div { dt { "Price in" } dd { (price(model.price.input)) span.muted { " /M" } } }
                div { dt { "Price out" } dd { (price(model.price.output)) span.muted { " /M" } } }
                @if let Some(long) = model.price.long_prompt {
                    div { dt { "Prompts above " (long.above) " tokens" }
                        dd { "in ×" (long.input_factor) ", out ×" (long.output_factor) } }
                }
                div { dt { "Weight" } dd { (model.weight) } }
                div { dt { "Share by weight" } dd { (or_nothing(share, percent)) } }
            }
            @for status in &model.deployments { (deployment(status, &model.name, &path)) }
            div.row.model-actions {
                button.small type="button" data-key=(id("test")) data-api={ "POST " (path) "/test" } { "Test" }
                button.small type="button" data-key=(id("switch")) data-api={ "PATCH " (path) }
                    data-body=(json!({ "enabled": !model.enabled }))
                    data-done={ (model.name) @if model.enabled { " is off." } @else { " is on." } } {
                    @if model.enabled { "Switch off" } @else { "Switch on" }
                }
                details.menu {
                    summary.button.small data-key=(id("edit")) { "Weight and price" }
                    form.menu-box data-api={ "PATCH " (path) } data-changes data-done={ (model.name) " is changed." } {
                        label { "Weight" input name="weight" type="number" step="any" min="0" data-type="number" value=(model.weight) required; }
                        label { "Price in, $ per million tokens"
                            input name="price.input" type="number" step="any" min="0" data-type="number" value=(model.price.input) required; }
                        label { "Price out, $ per million tokens"
                            input name="price.output" type="number" step="any" min="0" data-type="number" value=(model.price.output) required; }
                        div.row { button.primary.small type="submit" { "Save" } }
                    }
                }
                @if model.overridden != Default::default() {
                    button.small.quiet type="button" data-key=(id("back")) data-api={ "PATCH " (path) }
                        data-body=(json!({ "enabled": null, "weight": null, "price": null }))
                        data-done={ (model.name) " is as configured again." } { "As configured" }
                }
            }
        }
    }
}

fn deployment(status: &Status, model: &str, path: &str) -> Markup {
    // Two models may have deployments of one name.
    let id = |what: &str| format!("{what}-{model}-{}", status.name);
    let failures = if status.calls > 0 { Some(status.failures as f64 / status.calls as f64) } else { None };
    let (kind, breaker) = match status.breaker {
        BreakerState::Closed => ("good", "breaker closed"),
        BreakerState::HalfOpen => ("warn", "breaker half open"),
        BreakerState::Open => ("bad", "breaker open"),
    };
    markup! {
        div.place data-key=(id("place")) {
            div.row {
                span class={ "dot " (if status.drained { "warn" } else { kind }) } {}
                strong { (status.name) }
                @if status.drained { (badge("warn", "drained")) }
                @if status.breaker != BreakerState::Closed { (badge(kind, breaker)) } @else { span.hidden { (breaker) } }
            }
            p.place-facts {
                span { (count(status.calls)) " calls" }
                span { (or_nothing(failures, percent)) " failed" }
                span { (or_nothing(status.latency_ms, ms)) " to first token" }
                span { (status.in_flight) " in flight" }
                @if let Some(error) = &status.last_error { span.bad { "last: " (error.kind.as_str()) " " (moment(error.at_ms)) } }
            }
            div.row {
                button.small.quiet type="button" data-key=(id("drain")) data-api={ "POST " (path) "/drain" }
                    data-body=(json!({ "deployment": status.name, "drained": !status.drained }))
                    data-done={ @if status.drained { "It gets calls again." } @else { "It gets no further calls." } } {
                    @if status.drained { "Undrain" } @else { "Drain" }
                }
                @if status.breaker != BreakerState::Closed {
                    button.small.quiet type="button" data-key=(id("reset")) data-api={ "POST " (path) "/reset" }
                        data-body=(json!({ "deployment": status.name })) data-done="The breaker is closed." { "Close the breaker" }
                }
            }
        }
    }
}
