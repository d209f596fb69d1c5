//! `/dashboard/decisions`: decisions, newest first, with filters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};

use super::html;
use super::layout::Page;
use super::parts::{Label, badge, empty, moment, ms, or_nothing, percent, search, table_box, tone, trouble, usd};
use super::visitor::{PageQuery, Visitor, url_query};
use crate::gateway::Gateway;
use crate::http::admin::decisions::{self, Query};
use crate::store::{Entry, OutcomeRecord, OutcomeStatus, Signal};

/// `GET`.
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    visitor: Visitor,
    PageQuery(query): PageQuery<Query>,
) -> Response {
    let asked = Instant::now();
    let found = decisions::find(&gateway, &query).await;
    let every = every_ms(asked.elapsed());
    let ahead_ms = if query.until_ms.is_none() { decisions::ahead_ms(&gateway).await } else { None };
    let first_page = query.before.is_empty();
    let searched_to_ms = found.as_ref().ok().and_then(|found| found.searched_to_ms);
    let body = markup! {
        (filters(&gateway, &query))
        section #decisions.card data-live=[first_page.then_some(every)] {
            @match &found {
                Err(error) => { (trouble(&error.message)) }
                Ok(found) if found.entries.is_empty() && found.next.is_some() => {
                    (empty("Nothing so far", "The decision log is long, and it is searched in parts."))
                }
                Ok(found) if found.entries.is_empty() => {
                    (empty("No decision here", "Nothing matches the filters, or nothing was asked yet."))
                }
                Ok(found) => { (table_box(Label::Is("Decisions"), &table(&found.entries))) }
            }
            @if let Some(searched_to_ms) = searched_to_ms {
                p.hint { "Searched back to " (moment(searched_to_ms)) "; Older goes on from there." }
            }
            @if let Some(ahead_ms) = ahead_ms {
                p.hint {
                    "A clock that was ahead left entries of up to " (moment(ahead_ms)) ", which are not shown before their time. "
                    a data-key="ahead" href={ "/dashboard/decisions" (url_query(&[("until_ms", &(ahead_ms + 1).to_string())])) } { "Show them" }
                }
            }
            @if let Ok(found) = &found {
                div.pager {
                    @if !first_page { a.button.small href={ "/dashboard/decisions" (query_string(&query, "")) } { "Newest" } } @else { span {} }
                    @if let Some(next) = found.next { a.button.small data-key="older" href={ "/dashboard/decisions" (query_string(&query, &next.to_string())) } { "Older" } }
                }
            }
        }
    };
    let lead = "Every choice of a model: who could have answered, at which probability, and what came of it.";
    html(Page::new("/dashboard/decisions", "Decisions", lead).render(&gateway, &visitor, &body))
}

/// How often the first page is asked for again where that `took` so long: what is rare may take a second to find, and is
/// not to take it every few seconds.
fn every_ms(took: Duration) -> u128 {
    (60 * took.as_millis()).clamp(5_000, 60_000)
}

/// The filters as a query string, with another `before`.
fn query_string(query: &Query, before: &str) -> String {
    let filters = query.filters();
    let pairs = filters.iter().map(|(name, value)| (*name, value.as_str())).chain([("before", before)]);
    url_query(&pairs.collect::<Vec<_>>())
}

/// The filters that have a control of their own in the form; the others come by links.
const CONTROLS: [&str; 6] = ["text", "model", "status", "mode", "explored", "rated"];

fn filters(gateway: &Gateway, query: &Query) -> Markup {
    let live = gateway.live();
    let choice = |name: &str, label: &str, any: &str, value: &str, options: &[(&str, &str)]| {
        markup! {
            label { span.hidden { (label) }
                select name=(name) {
                    option value="" { (any) }
                    // An address may name what is listed no longer, or never was.
                    @if !value.is_empty() && options.iter().all(|(option, _)| *option != value) {
                        option value=(value) selected { (value) }
                    }
                    @for (option, text) in options { option value=(option) selected[*option == value] { (text) } }
                }
            }
        }
    };
    let names: Vec<String> = live.catalog.models().map(|model| model.name.to_string()).collect();
    let models: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    markup! {
        // No autocompletion: a browser that goes back would fill in the last choice, not this page's filters.
        form.toolbar method="get" action="/dashboard/decisions" autocomplete="off" data-filters {
            (search("Text", &markup! { input #find name="text" type="search" value=(query.text) placeholder="Id, reason, rule, tag, comment"; }))
            (choice("model", "Model", "any model", &query.model, &models))
            (choice("status", "Status", "any status", &query.status,
                &[("ok", "ok"), ("error", "any error"), ("cancelled", "cancelled"), ("open", "under way"), ("timeout", "timeout"), ("overloaded", "overloaded"), ("rate_limited", "rate limited"), ("upstream", "upstream")]))
            (choice("mode", "Chosen", "chosen anyhow", &query.mode,
                &[("learned", "learned"), ("weighted", "by weight"), ("sticky", "stayed"), ("named", "by name"), ("imported", "imported")]))
            (choice("explored", "Try-outs", "try-outs or not", &query.explored, &[("true", "try-outs"), ("false", "no try-outs")]))
            (choice("rated", "Feedback", "rated or not", &query.rated, &[("true", "rated"), ("false", "not rated")]))
            @for (name, value) in query.filters().iter().filter(|(name, value)| !CONTROLS.contains(name) && !value.is_empty()) {
                input type="hidden" name=(name) value=(value);
                @if !name.ends_with("_ms") { (badge("info", &format!("{name}: {value}"))) }
            }
            button type="submit" { "Filter" }
            @if *query != Query::default() { a href="/dashboard/decisions" { "Clear" } }
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
            td { (status(outcome)) }
            td { @match entry.verdict() { Some(verdict) => { (verdict_badge(verdict)) } None => { span.muted { "–" } } } }
            td.num { (or_nothing(decision.propensity, percent)) }
            td.num { (or_nothing(outcome.and_then(|outcome| outcome.latency_ms), ms)) }
            td.num { (or_nothing(outcome.and_then(|outcome| outcome.cost_usd), usd)) }
        }
    }
}

/// The badge of how a request ended.
pub(super) fn status(outcome: Option<&OutcomeRecord>) -> Markup {
    let Some(outcome) = outcome else { return badge("info", "under way") };
    match outcome.status {
        OutcomeStatus::Ok => badge("good", "ok"),
        OutcomeStatus::Cancelled if outcome.signals.contains(&Signal::Cancelled) => badge("", "client went away"),
        OutcomeStatus::Cancelled => badge("", "cut off by a shutdown"),
        failed @ OutcomeStatus::Failed(_) => badge("bad", failed.as_str()),
    }
}

/// The badge of all feedback on an answer, in [0, 1].
pub(super) fn verdict_badge(verdict: f64) -> Markup {
    badge(tone(verdict), &percent(verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_takes_a_sixtieth_of_the_time_at_most() {
        let every = |took_ms| every_ms(Duration::from_millis(took_ms));
        assert_eq!([2, 80, 400, 1_000, 5_000].map(every), [5_000, 5_000, 24_000, 60_000, 60_000]);
    }
}
