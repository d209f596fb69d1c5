//! `/dashboard`: traffic, errors, latency, cost compared with other strategies, shares by model, feedback.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html as markup};
use serde::Deserialize;

use super::html;
use super::icons::icon;
use super::layout::Page;
use super::parts::{
    Label, badge, chart, count, empty, ms, or_nothing, percent, share_bar, table_box, trouble, usd, written,
};
use super::visitor::{PageQuery, Visitor};
use crate::chart::{Column, Columns, Plot, Point, Series};
use crate::gateway::{Gateway, now_s};
use crate::http::admin::overview::{self, Alternative, Overview, Window};
use crate::store::{Bucket, Order, SingleModel, Span, Summary, Sums};
use crate::tuner::BudgetStatus;

/// Models with a colour of their own in a chart; the others are drawn as one.
const MAX_COLOURED: usize = 7;

/// A model whose predicted quality is within this of the best may really be the best: a model is used, and so judged,
/// where it is good, and its quality on other requests is hardly known.
const QUALITY_MARGIN: f64 = 0.1;

/// With more models than this that may be the best, a range of their costs would say nothing.
const MAX_BEST_MODELS: usize = 4;

/// `GET`.
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    visitor: Visitor,
    PageQuery(query): PageQuery<Query>,
) -> Response {
    let oldest = oldest(&gateway).await;
    let window = query.window.unwrap_or_else(|| fitting(oldest));
    let found = overview::sum_up(&gateway, window).await;
    let body = markup! {
        div #overview data-live="3000" {
            @match &found {
                Err(error) => { (trouble(&error.message)) }
                Ok(found) => { (whole(&gateway, found, oldest)) }
            }
        }
    };
    let tabs = markup! {
        nav.tabs aria-label="Stretch of time" {
            @for each in Window::ALL {
                a href={ "/dashboard?window=" (each.as_str()) } aria-current=[(each == window).then_some("true")] {
                    (each.as_str())
                }
            }
        }
    };
    let lead = "What the gateway does, what it costs, and what it would have cost otherwise.";
    html(Page::new("/dashboard", "Overview", lead).with_actions(tabs).render(&gateway, &visitor, &body))
}

/// The query of the page.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    /// How far back.
    window: Option<Window>,
}

/// When the oldest decision in the log was made, Unix milliseconds.
async fn oldest(gateway: &Gateway) -> Option<i64> {
    let found = gateway.with_store(|store| {
        let mut oldest = None;
        store.walk(&Span::default(), Order::Oldest, |entry| {
            oldest = Some(entry.decision.at_ms);
            false
        })?;
        Ok(oldest)
    });
    found.await.ok().flatten()
}

/// The default window: an hour; ten minutes while the decision log is not older than that, so that a first run fills
/// its charts.
fn fitting(oldest: Option<i64>) -> Window {
    let (short, _) = Window::TenMinutes.lengths();
    let is_young = |at_ms: i64| Timestamp::now().as_millisecond() - at_ms <= short;
    if oldest.is_some_and(is_young) { Window::TenMinutes } else { Window::Hour }
}

/// The minutes of the window in which there was a decision log; at least one, so that a rate can be computed.
fn minutes(from_ms: i64, until_ms: i64, oldest: Option<i64>) -> f64 {
    let from_ms = oldest.map_or(from_ms, |oldest| oldest.max(from_ms));
    ((until_ms - from_ms) as f64 / 60_000.0).max(1.0)
}

fn whole(gateway: &Gateway, found: &Overview, oldest: Option<i64>) -> Markup {
    let total = &found.summary.total;
    let sums = &total.sums;
    let share = |part: u64| part as f64 / sums.answers().max(1) as f64;
    let refused: u64 = found.refused.values().sum();
    let failed = (sums.errors + refused) as f64 / (sums.answers() + refused).max(1) as f64;
    let minutes = minutes(found.from_ms, found.until_ms, oldest);
    let opinion = if sums.rated > 0 { Some(sums.verdicts / sums.rated as f64) } else { None };
    markup! {
        @if let Some(since) = found.summary.complete_since_ms {
            p.hint { "There are more requests than can be added up: figures are complete since " (super::parts::moment(since)) "." }
        }
        @if refused > 0 { (outage(refused, &found.refused)) }
        div.stats.eight {
            (stat("Requests", &count(sums.answers()), &format!("{:.1} per minute, {} in flight{}", sums.answers() as f64 / minutes, gateway.metrics.in_flight(), reported(sums))))
            (stat("Errors", &percent(failed), &format!("{} failed, {} cancelled; {} failovers", count(sums.errors + refused), count(sums.cancelled), count(sums.failovers))))
            (stat("Latency", &or_nothing(total.p50_ms, ms), &format!("p95 {}, p99 {}", or_nothing(total.p95_ms, ms), or_nothing(total.p99_ms, ms))))
            (stat("First token", &or_nothing(total.first_token_p50_ms, ms), &format!("p95 {}", or_nothing(total.first_token_p95_ms, ms))))
            (stat("Spent", &usd(sums.cost_usd), &cost_compared(found)))
            (stat("Tokens", &count(sums.input_tokens + sums.output_tokens), &format!("{} in, {} out", count(sums.input_tokens), count(sums.output_tokens))))
            (stat("Feedback", &or_nothing(opinion, percent), &format!("liked, of {} rated answers", count(sums.rated))))
            (stat("Try-outs", &percent(share(sums.explored)), &format!("{} answers, to learn of the model", count(sums.explored))))
        }
        @let budgets = gateway.budgets.status(now_s());
        @if !budgets.is_empty() { section.card aria-labelledby="budget-title" { (budget(&budgets)) } }
        @if sums.answers() == 0 {
            section.card {
                (empty("No request in this stretch", "Point a client at the proxy, or send a prompt in the playground. Everything shows up here within seconds."))
            }
        } @else {
            section.card { (chart("Requests by model over time", &traffic(found))) }
            div.columns {
                section.card { (chart("Latency over time, ms", &latency(found))) }
                section.card { (chart("Liked answers and errors over time, shares", &liked(found))) }
            }
            div.columns {
                section.card aria-labelledby="spend-title" { (spend(found)) }
                section.card aria-labelledby="models-title" { (models(found)) }
            }
            @if !found.summary.tasks.is_empty() {
                section.card aria-labelledby="tasks-title" { (tasks(&found.summary.tasks)) }
            }
        }
    }
}

/// Requests that no model could answer: a model that is down for long is called no more, and shows in no other figure.
fn outage(all: u64, refused: &BTreeMap<String, u64>) -> Markup {
    let mut most: Vec<(&String, &u64)> = refused.iter().collect();
    most.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let named: Vec<String> = most.iter().take(5).map(|(name, count)| format!("{name} {count}")).collect();
    let more = if most.len() > named.len() { ", and others" } else { "" };
    let were = if all == 1 { "was" } else { "were" };
    markup! {
        div.alert.warn role="status" {
            (icon("alert"))
            span {
                (count(all)) " more " (were) " refused, as no model could answer: " (named.join(", ")) (more) ". "
                a href="/dashboard/models" { "How the models are doing" }
            }
        }
    }
}

/// The number of requests that their callers made themselves and reported.
fn reported(sums: &Sums) -> String {
    if sums.reported > 0 { format!("; {} reported by /api/outcomes", count(sums.reported)) } else { String::new() }
}

fn stat(label: &str, value: &str, sub: &str) -> Markup {
    markup! { div.stat { p.label { (label) } p.value { (value) } p.sub { (sub) } } }
}

/// The cost compared with always using the best single model, or one of those that may be the best.
fn cost_compared(found: &Overview) -> String {
    let spent = found.summary.total.sums.cost_usd;
    let beside = |cost: f64| {
        if cost <= 0.0 {
            // Nothing can be a percentage of 0.
            return format!("{} more", usd(spent));
        }
        match 1.0 - spent / cost {
            change if change <= -10.0 => format!("{:.0} times more", -change),
            change => format!("{} {}", percent(change.abs()), if change >= 0.0 { "less" } else { "more" }),
        }
    };
    let best = found.best_single.as_ref().and_then(|best| best.would_be.quality);
    let Some(best) = best else { return "nothing to compare with yet".to_owned() };
    let is_near = |it: &SingleModel| it.quality.is_some_and(|quality| quality >= best - QUALITY_MARGIN);
    let near = found.summary.single_models.iter().filter(|(_, it)| is_near(it));
    let mut costs: Vec<(f64, &str)> = near.map(|(model, it)| (it.cost_usd, model.as_str())).collect();
    costs.sort_by(|a, b| a.0.total_cmp(&b.0));
    match costs[..] {
        [] => "nothing to compare with yet".to_owned(),
        [(cost, model)] => format!("{} than always {model}", beside(cost)),
        _ if costs.len() > MAX_BEST_MODELS => format!("{} models may be the best to compare with", costs.len()),
        [(least, _), .., (most, _)] => {
            let (least, most) = (beside(least), beside(most));
            let range = if least == most { least } else { format!("{least} to {most}") };
            format!("{range} than always one of the {} best", costs.len())
        }
    }
}

/// The time axis of a chart: the beginnings of all buckets, and their labels.
struct Clock {
    starts: Vec<i64>,
    bucket_ms: i64,
}

impl Clock {
    fn new(found: &Overview) -> Self {
        let step = usize::try_from(found.bucket_ms).unwrap_or(1).max(1);
        Self { starts: (found.from_ms..found.until_ms).step_by(step).collect(), bucket_ms: found.bucket_ms }
    }

    /// A moment's label in the machine's time zone: hours and minutes, with the day where buckets are long.
    fn name(&self, at_ms: i64) -> String {
        let form = match self.bucket_ms {
            0..60_000 => "%H:%M:%S",
            60_000..7_200_000 => "%H:%M",
            7_200_000..40_000_000 => "%a %H:%M",
            _ => "%b %-d %H:%M",
        };
        written(at_ms, form)
    }

    /// The time zone's short name at the end of the window: the viewer may be in another.
    fn zone(&self) -> String {
        written(self.starts.last().copied().unwrap_or_default(), "%Z")
    }

    /// About six labelled moments.
    fn ticks(&self) -> Vec<(f64, String)> {
        let every = self.starts.len().div_ceil(6).max(1);
        self.starts.iter().step_by(every).map(|at| (*at as f64, self.name(*at))).collect()
    }

    fn tick(&self, index: usize) -> Option<String> {
        let every = self.starts.len().div_ceil(8).max(1);
        // A label below the last columns would stick out.
        let fits = index + every / 4 < self.starts.len();
        (index.is_multiple_of(every) && fits).then(|| self.name(self.starts.get(index).copied().unwrap_or_default()))
    }
}

fn traffic(found: &Overview) -> Columns {
    let clock = Clock::new(found);
    let answers = found.summary.models.iter().map(|(model, bucket)| (model, bucket.sums.answers()));
    let mut busiest: Vec<(&String, u64)> = answers.filter(|(_, answers)| *answers > 0).collect();
    busiest.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut names: Vec<String> = busiest.iter().take(MAX_COLOURED).map(|(model, _)| (*model).clone()).collect();
    let more = busiest.len() > MAX_COLOURED;
    if more {
        names.push("other models".to_owned());
    }
    let title = format!("Requests by the model that answered; times in {}", clock.zone());
    let mut chart = Columns::new(title, "requests", names.clone());
    for (index, start) in clock.starts.iter().enumerate() {
        let mut layers = vec![0.0; names.len()];
        for (model, requests) in found.summary.models_over_time.get(start).into_iter().flatten() {
            let layer = names.iter().position(|name| name == model).or_else(|| more.then_some(MAX_COLOURED));
            if let Some(height) = layer.and_then(|layer| layers.get_mut(layer)) {
                *height += *requests as f64;
            }
        }
        chart = chart.with(Column { name: clock.name(*start), tick: clock.tick(index), layers });
    }
    chart
}

fn line(
    found: &Overview,
    name: &str,
    value: impl Fn(&Bucket) -> Option<f64>,
    write: impl Fn(f64) -> String,
) -> Series {
    let clock = Clock::new(found);
    let point = |(start, bucket): (&i64, &Bucket)| {
        let y = value(bucket).filter(|y| y.is_finite())?;
        let said = format!("{}\n{name}: {}", clock.name(*start), write(y));
        Some(Point::new(*start as f64, y).saying(said))
    };
    Series::dotted_line(name, found.summary.buckets.iter().filter_map(point).collect())
}

fn latency(found: &Overview) -> Plot {
    let clock = Clock::new(found);
    Plot::new("Latency, ms", clock.zone(), "ms")
        .between(found.from_ms as f64, found.until_ms as f64)
        .x_ticks(clock.ticks())
        .with(line(found, "p50", |bucket| bucket.p50_ms, ms))
        .with(line(found, "p95", |bucket| bucket.p95_ms, ms))
        .with(line(found, "first token p50", |bucket| bucket.first_token_p50_ms, ms))
}

fn liked(found: &Overview) -> Plot {
    let clock = Clock::new(found);
    let share = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
    Plot::new("Liked answers and errors, shares", clock.zone(), "share")
        .between(found.from_ms as f64, found.until_ms as f64)
        .x_ticks(clock.ticks())
        .with(line(found, "liked, of rated", |bucket| share(bucket.sums.verdicts, bucket.sums.rated), percent))
        .with(line(found, "failed", |bucket| share(bucket.sums.errors as f64, bucket.sums.answers()), percent))
}

fn spend(found: &Overview) -> Markup {
    let spent = found.summary.total.sums.cost_usd;
    let rated = &found.summary.total.sums;
    let highest = [&found.best_single, &found.cheapest]
        .into_iter()
        .flatten()
        .map(|other| other.would_be.cost_usd + other.would_be.cost_error_usd)
        .fold(spent, f64::max);
    let scale = |value: f64| if highest > 0.0 { value / highest } else { 0.0 };
    let other = |title: &str, other: &Alternative| {
        let would_be = &other.would_be;
        let low = (would_be.cost_usd - would_be.cost_error_usd).max(0.0);
        let high = would_be.cost_usd + would_be.cost_error_usd;
        markup! {
            tr {
                th scope="row" { (title) br; span.muted { (other.model) } }
                td { (share_bar(scale(would_be.cost_usd), "second", &format!("{} [{}, {}]", usd(would_be.cost_usd), usd(low), usd(high)))) }
                td.num { (usd(would_be.cost_usd)) br; span.muted { (usd(low)) " to " (usd(high)) } }
                td.num { (or_nothing(would_be.quality, percent)) }
            }
        }
    };
    let predicted = predicted_quality(&found.summary).filter(|value| *value > 0.0);
    let table = markup! {
        table {
            thead { tr { th scope="col" { "Strategy" } th scope="col" { "" span.hidden { "Drawn" } } th.num scope="col" { "Cost" } th.num scope="col" { "Good answers" } } }
            tbody {
                tr {
                    th scope="row" { "As it was routed" }
                    td { (share_bar(scale(spent), "", &usd(spent))) }
                    td.num { (usd(spent)) }
                    td.num {
                        @if rated.rated > 0 { (percent(rated.verdicts / rated.rated as f64)) br; span.muted { "rated" } }
                        @else { (or_nothing(predicted, percent)) }
                    }
                }
                @if let Some(best) = &found.best_single { (other("Always the predicted best", best)) }
                @if let Some(cheapest) = &found.cheapest { (other("Always the cheapest", cheapest)) }
            }
        }
    };
    markup! {
        div.card-head { h2 #spend-title { "Spend against the alternatives" } span.muted { "95 % intervals" } }
        (table_box(Label::By("spend-title"), &table))
        p.hint { "The cost of the other strategies is predicted for each request and corrected by what was really spent. Their share of good answers is as predicted when each request came; of two within ten points either may be the better. Embeddings are not in it: they are no decisions." }
    }
}

/// The mean predicted quality of the models that answered, by their numbers of answers; `None` without any prediction.
fn predicted_quality(summary: &Summary) -> Option<f64> {
    let (mut good, mut answered) = (0.0, 0.0);
    for (model, bucket) in &summary.models {
        let Some(quality) = summary.single_models.get(model).and_then(|single| single.quality) else { continue };
        let answers = bucket.sums.answers() as f64;
        (good, answered) = (good + quality * answers, answered + answers);
    }
    (answered > 0.0).then(|| good / answered)
}

/// A price in quality per US dollar in words: how much of an answer a cent is worth.
fn cent(quality_per_usd: f64) -> String {
    match quality_per_usd / 100.0 {
        part if part <= 1.0 => format!("{} of an answer", percent(part)),
        _ => "more than an answer".to_owned(),
    }
}

/// The card of the budgets: how spending stands, and its effect on the choice.
fn budget(budgets: &[BudgetStatus]) -> Markup {
    let length = |window_s: f64| if window_s < 86_400.0 { "an hour" } else { "a day" };
    let standing = |budget: &BudgetStatus| match budget.ahead_usd {
        ahead if ahead > 0.0 => format!("{} ahead of its rate", usd(ahead)),
        behind => format!("{} left of what might have been spent by now", usd(behind.abs())),
    };
    let table = markup! {
        table {
            thead { tr { th scope="col" { "Budget" } th scope="col" { "Spending is" } th.num scope="col" { "Adds to what a cent counts" } } }
            tbody {
                @for each in budgets {
                    tr data-key={ "budget-" (each.window_s) } {
                        th scope="row" { (usd(each.budget_usd)) " " (length(each.window_s)) }
                        td { (standing(each)) }
                        td.num { (cent(each.cost_per_usd)) }
                    }
                }
            }
        }
    };
    markup! {
        h2 #budget-title { "Budget" }
        (table_box(Label::By("budget-title"), &table))
        p.hint { "While spending is ahead of its rate, cheaper models are preferred: a model that costs a cent more must be likelier to answer well by what all budgets add, on top of what the objective asks." }
    }
}

fn models(found: &Overview) -> Markup {
    let answers = found.summary.total.sums.answers().max(1) as f64;
    let answered = |(_, bucket): &(&String, &Bucket)| bucket.sums.answers() + bucket.sums.rated > 0;
    let mut rows: Vec<(&String, &Bucket)> = found.summary.models.iter().filter(answered).collect();
    rows.sort_by(|a, b| b.1.sums.answers().cmp(&a.1.sums.answers()).then(a.0.cmp(b.0)));
    let table = markup! {
        table {
            thead {
                tr {
                    th scope="col" { "Model" } th scope="col" { span.hidden { "Drawn" } }
                    @for name in ["Share", "Liked", "Failed", "p50", "Spent"] { th.num scope="col" { (name) } }
                }
            }
            tbody {
                @for (model, bucket) in rows {
                    @let sums = &bucket.sums;
                    @let share = sums.answers() as f64 / answers;
                    @let refused = found.refused.get(model).copied().unwrap_or(0);
                    @let failed = (sums.errors + refused) as f64 / (sums.answers() + refused).max(1) as f64;
                    tr data-key={ "model-" (model) } {
                        th scope="row" { a href={ "/dashboard/decisions" (super::visitor::url_query(&[("model", model)])) } { (model) } }
                        td { (share_bar(share, "", &format!("{} requests", sums.answers()))) }
                        td.num { (percent(share)) }
                        td.num { (or_nothing((sums.rated > 0).then(|| sums.verdicts / sums.rated as f64), percent)) }
                        td.num {
                            @if failed > 0.0 { (badge("bad", &percent(failed))) } @else { "0 %" }
                        }
                        td.num { (or_nothing(bucket.p50_ms, ms)) }
                        td.num { (usd(sums.cost_usd)) }
                    }
                }
            }
        }
    };
    markup! {
        div.card-head { h2 #models-title { "Share by model" } a href="/dashboard/models" { "All models" } }
        (table_box(Label::By("models-title"), &table))
    }
}

fn tasks(tasks: &BTreeMap<String, u64>) -> Markup {
    let all = tasks.values().sum::<u64>().max(1) as f64;
    let mut rows: Vec<(&String, &u64)> = tasks.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    markup! {
        h2 #tasks-title { "What is asked" }
        div.tasks {
            @for (task, requests) in rows {
                a href={ "/dashboard/decisions" (super::visitor::url_query(&[("task", task)])) } {
                    span { (task) } span.muted { (percent(*requests as f64 / all)) }
                    (share_bar(*requests as f64 / all, "", &format!("{requests} requests")))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_time_in_which_there_was_a_log() {
        const HOUR: i64 = 3_600_000;
        let told = |oldest: Option<i64>| minutes(10 * HOUR, 11 * HOUR, oldest);
        assert_eq!([None, Some(0), Some(10 * HOUR + HOUR / 2)].map(told), [60.0, 60.0, 30.0]);
        assert_eq!(told(Some(11 * HOUR - 1)), 1.0, "the first request is no flood");
    }

    #[test]
    fn how_a_budget_stands_is_told() {
        let status =
            |window_s, ahead_usd, cost_per_usd| BudgetStatus { window_s, budget_usd: 5.0, ahead_usd, cost_per_usd };
        let told = budget(&[status(3600.0, 0.5, 8.0), status(86_400.0, 0.0, 200.0)]).into_string();
        for part in ["an hour", "$0.5000 ahead of its rate", "8.0 % of an answer", "a day", "more than an answer"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("$-") && !told.contains("-$"), "nothing left is no debt: {told}");
    }

    #[test]
    fn no_tick_sticks_out_of_a_chart() {
        for (buckets, ticks) in [(57, 7), (60, 8), (3, 3)] {
            let clock = Clock { starts: (0..buckets).collect(), bucket_ms: 10_800_000 };
            assert_eq!((0..buckets as usize).filter_map(|index| clock.tick(index)).count(), ticks, "{buckets}");
        }
    }

    #[test]
    fn who_is_called_by_name_only_takes_nothing_from_the_share_of_good_answers() {
        let mut summary = Summary::default();
        assert_eq!(predicted_quality(&summary), None);
        let (quality, cost_usd, cost_error_usd) = (Some(0.94), 0.1, 0.0);
        summary.single_models.insert("a".into(), SingleModel { quality, cost_usd, cost_error_usd });
        for model in ["a", "by name only"] {
            summary.models.entry(model.into()).or_default().sums.requests = 10;
        }
        assert!((predicted_quality(&summary).unwrap() - 0.94).abs() < 1e-12);
    }

    #[test]
    fn what_was_spent_is_told_beside_all_that_may_be_the_best() {
        let told = |models: &[(&str, f64, f64)]| {
            let single = |(model, quality, cost_usd): &(&str, f64, f64)| {
                let quality = Some(*quality);
                ((*model).to_owned(), SingleModel { quality, cost_usd: *cost_usd, cost_error_usd: 0.0 })
            };
            let mut summary = Summary { single_models: models.iter().map(single).collect(), ..Summary::default() };
            summary.total.sums.cost_usd = 0.75;
            let best_single = models.first().map(single).map(|(model, would_be)| Alternative { model, would_be });
            let (window, cheapest) = (Window::Hour, None);
            let refused = BTreeMap::new();
            let (from_ms, until_ms, bucket_ms) = (0, 1, 1);
            cost_compared(&Overview { window, from_ms, until_ms, bucket_ms, summary, best_single, cheapest, refused })
        };
        assert_eq!(told(&[]), "nothing to compare with yet");
        assert_eq!(told(&[("free", 0.7, 0.0)]), "$0.7500 more than always free");
        let one_free = [("free", 0.7, 0.0), ("dear", 0.65, 1.0)];
        assert_eq!(told(&one_free), "$0.7500 more to 25 % less than always one of the 2 best");
        let both_free = [("free", 0.7, 0.0), ("too", 0.65, 0.0)];
        assert_eq!(told(&both_free), "$0.7500 more than always one of the 2 best");
        assert_eq!(told(&[("next to free", 0.7, 0.01)]), "74 times more than always next to free");
        assert_eq!(told(&[("dear", 0.9, 1.0), ("cheap", 0.7, 0.1)]), "25 % less than always dear");
        let three = [("mid", 0.7, 0.5), ("dear", 0.65, 1.5), ("cheap", 0.4, 0.1)];
        assert_eq!(told(&three), "50 % more to 50 % less than always one of the 2 best");
        let five = ["a", "b", "c", "d", "e"].map(|name| (name, 0.7, 1.0));
        assert_eq!(told(&five), "5 models may be the best to compare with");
    }
}
