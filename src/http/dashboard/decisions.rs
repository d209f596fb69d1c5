//! `/dashboard/decisions`: choices, newest first, by whatever tells them apart.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};

use super::html;
use super::layout::Page;
use super::parts::{Label, badge, empty, moment, ms, or_nothing, percent, table_box, trouble, usd};
use super::visitor::{Asked, Visitor, url_query};
use crate::http::admin::decisions::{self, Wish};
use crate::http::state::Gateway;
use crate::store::{Entry, OutcomeStatus};

/// `GET`.
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    visitor: Visitor,
    Asked(wish): Asked<Wish>,
) -> Response {
    let found = decisions::find(&gateway, &wish).await;
    let ahead_ms = if wish.until_ms.is_none() { decisions::ahead_ms(&gateway).await } else { None };
    let first_page = wish.before.is_empty();
    let body = markup! {
        (filters(&gateway, &wish))
        section #decisions.card data-live=[first_page.then_some("5000")] {
            @match &found {
                Err(error) => { (trouble(&error.message)) }
                Ok(found) if found.entries.is_empty() && found.next.is_some() => {
                    (empty("Nothing so far", "The log is long, and it is searched in parts: Older goes on from here."))
                }
                Ok(found) if found.entries.is_empty() => {
                    (empty("No decision here", "Nothing matches the filters, or nothing was asked yet."))
                }
                Ok(found) => { (table_box(Label::Is("Decisions"), &table(&found.entries))) }
            }
            @if let Some(ahead_ms) = ahead_ms {
                p.hint {
                    "A clock that was ahead left entries of up to " (moment(ahead_ms)) ", which are not shown before their time. "
                    a data-key="ahead" href={ "/dashboard/decisions" (url_query(&[("until_ms", &(ahead_ms + 1).to_string())])) } { "Show them" }
                }
            }
            @if let Ok(found) = &found {
                div.pager {
                    @if !first_page { a.button.small href={ "/dashboard/decisions" (query(&wish, "")) } { "Newest" } } @else { span {} }
                    @if let Some(next) = found.next { a.button.small data-key="older" href={ "/dashboard/decisions" (query(&wish, &next.to_string())) } { "Older" } }
                }
            }
        }
    };
    let lead = "Every choice of a model: who could have answered, at which probability, and what came of it.";
    html(Page::new("/dashboard/decisions", "Decisions", lead).render(&gateway, &visitor, &body))
}

/// The filters as a query, from another place on.
fn query(wish: &Wish, before: &str) -> String {
    let number = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
    url_query(&[
        ("from_ms", &number(wish.from_ms)),
        ("until_ms", &number(wish.until_ms)),
        ("text", &wish.text),
        ("model", &wish.model),
        ("status", &wish.status),
        ("mode", &wish.mode),
        ("task", &wish.task),
        ("token", &wish.token),
        ("conversation", &wish.conversation),
        ("policy_version", &wish.policy_version),
        ("explored", &wish.explored),
        ("rated", &wish.rated),
        ("before", before),
    ])
}

fn filters(gateway: &Gateway, wish: &Wish) -> Markup {
    let live = gateway.live();
    let choice = |name: &str, label: &str, any: &str, value: &str, options: &[(&str, &str)]| {
        markup! {
            label { span.hidden { (label) }
                select name=(name) {
                    option value="" { (any) }
                    @for (option, text) in options { option value=(option) selected[*option == value] { (text) } }
                }
            }
        }
    };
    let names: Vec<String> = live.catalog.models().map(|model| model.name.to_string()).collect();
    let models: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    markup! {
        // A browser that goes back fills in what was chosen last, not what the page before was filtered by.
        form.toolbar method="get" action="/dashboard/decisions" autocomplete="off" data-filters {
            label.search for="find" {
                (super::icons::icon("search"))
                span.hidden { "Text" }
                input #find name="text" type="search" value=(wish.text) placeholder="Id, reason, rule, tag, comment";
            }
            (choice("model", "Model", "any model", &wish.model, &models))
            (choice("status", "Status", "any status", &wish.status,
                &[("ok", "ok"), ("error", "any error"), ("cancelled", "client went away"), ("open", "under way"), ("timeout", "timeout"), ("overloaded", "overloaded"), ("rate_limited", "rate limited"), ("upstream", "upstream")]))
            (choice("mode", "Chosen", "chosen anyhow", &wish.mode,
                &[("learned", "learned"), ("weighted", "by weight"), ("sticky", "stayed"), ("named", "by name"), ("imported", "imported")]))
            (choice("explored", "Try-outs", "try-outs or not", &wish.explored, &[("true", "try-outs"), ("false", "no try-outs")]))
            (choice("rated", "Feedback", "rated or not", &wish.rated, &[("true", "rated"), ("false", "not rated")]))
            @for (name, value) in [("task", &wish.task), ("token", &wish.token), ("conversation", &wish.conversation), ("policy_version", &wish.policy_version)] {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); (badge("info", &format!("{name}: {value}"))) }
            }
            @for (name, moment) in [("from_ms", wish.from_ms), ("until_ms", wish.until_ms)] {
                @if let Some(moment) = moment { input type="hidden" name=(name) value=(moment); }
            }
            button type="submit" { "Filter" }
            @if *wish != Wish::default() { a href="/dashboard/decisions" { "Clear" } }
        }
    }
}

fn table(entries: &[Entry]) -> Markup {
    markup! {
        table.decisions {
            thead {
                tr {
                    @for name in ["When", "Model", "Task", "Chosen", "Status", "Feedback"] { th scope="col" { (name) } }
                    @for name in ["Chance", "Latency", "Cost"] { th.num scope="col" { (name) } }
                }
            }
            tbody { @for entry in entries { (row(entry)) } }
        }
    }
}

fn row(entry: &Entry) -> Markup {
    let decision = &entry.decision;
    let outcome = entry.outcome.as_ref();
    let answered = outcome.and_then(|outcome| outcome.model.as_ref()).unwrap_or(&decision.chosen);
    markup! {
        tr.link data-key={ "row-" (decision.id) } {
            td { (moment(decision.at_ms)) }
            th scope="row" {
                a href={ "/dashboard/decisions/" (decision.id) } data-key=(decision.id) { (answered) }
                @if *answered != decision.chosen { br; span.muted { "instead of " (decision.chosen) } }
            }
            td { @match &decision.task { Some(task) => { (task) } None => { span.muted { "–" } } } }
            td {
                (badge("", decision.mode.as_str()))
                @if decision.explored { " " (badge("info", "try-out")) }
                @if decision.request.dry_run { " " (badge("", "dry run")) }
            }
            td { (status(outcome.map(|outcome| outcome.status))) }
            td { @match entry.verdict() { Some(verdict) => { (verdict_badge(verdict)) } None => { span.muted { "–" } } } }
            td.num { (or_nothing(decision.propensity, percent)) }
            td.num { (or_nothing(outcome.and_then(|outcome| outcome.latency_ms), ms)) }
            td.num { (or_nothing(outcome.and_then(|outcome| outcome.cost_usd), usd)) }
        }
    }
}

/// How a request ended.
pub(super) fn status(status: Option<OutcomeStatus>) -> Markup {
    match status {
        None => badge("info", "under way"),
        Some(OutcomeStatus::Ok) => badge("good", "ok"),
        Some(OutcomeStatus::Cancelled) => badge("", "client went away"),
        Some(failed @ OutcomeStatus::Failed(_)) => badge("bad", failed.as_str()),
    }
}

/// What people made of an answer.
pub(super) fn verdict_badge(verdict: f64) -> Markup {
    let kind = match verdict {
        verdict if verdict >= 0.6 => "good",
        verdict if verdict >= 0.4 => "warn",
        _ => "bad",
    };
    badge(kind, &percent(verdict))
}
