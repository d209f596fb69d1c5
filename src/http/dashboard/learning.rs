//! `/dashboard/learning`: the policy in force and those before it, what each is estimated to be worth, whether
//! predictions come true, which model is good at what; and what an operator may do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html as markup};
use serde::Deserialize;
use serde_json::json;

use super::html;
use super::layout::Page;
use super::parts::{badge, chart, count, empty, moment, percent, trouble};
use super::visitor::Visitor;
use crate::bandit::ArmSummary;
use crate::chart::{Plot, Point, Series};
use crate::config::LearningMode;
use crate::http::admin::learning::{self, Ability, Learning};
use crate::http::state::Gateway;
use crate::ope::{Estimate, Method};
use crate::store::{SnapshotRecord, SnapshotState};
use crate::tuner::LearnerStatus;

/// Versions on the page.
const SHOWN: usize = 15;

/// Models in the table of abilities.
const MOST_MODELS: usize = 8;

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let (versions, learned) = tokio::join!(gateway.read_store(|store| store.snapshots()), learning::known(&gateway));
    let body = markup! {
        div #learning data-live="4000" {
            @match (&versions, &learned) {
                (Ok(versions), Ok(learned)) => { (whole(&gateway, versions, learned)) }
                (Err(error), _) | (_, Err(error)) => { (trouble(&error.message)) }
            }
        }
    };
    let actions = markup! {
        button.primary type="button" data-api="POST /api/admin/policy/retune" data-then="retuned" { "Retune now" }
        button.danger type="button" data-api="POST /api/admin/policy/rollback"
            data-ask="Put the version before the live one in force, and let nothing new take over for a while?"
            data-done="The version before is in force again." { "Roll back" }
    };
    let lead = "The policy learns from every judged answer. A new version takes over only if it is shown not to fall behind.";
    let page = Page::new("/dashboard/learning", "Learning", lead).with_actions(actions);
    html(page.render(&gateway, &visitor, &body))
}

fn whole(gateway: &Gateway, versions: &[SnapshotRecord], learned: &Learning) -> Markup {
    let status = &gateway.learner.status();
    markup! {
        (state(gateway, status, learned))
        div.columns {
            section.card {
                @if learned.curve.is_empty() {
                    h2 { "How answers were liked" }
                    (empty("Nothing was judged yet", "The curve begins with the first feedback: by /api/feedback, in the playground, or on a decision."))
                } @else { (chart("How answers were liked", &curve(learned))) }
            }
            section.card {
                @if learned.calibration.is_empty() {
                    h2 { "Do predictions come true?" }
                    (empty("Nothing to compare yet", "Each judged answer is held against what was predicted of it."))
                } @else { (chart("Do predictions come true?", &calibration(learned))) }
            }
        }
        section.card aria-labelledby="versions-title" { (table(versions, status)) }
        div.columns {
            section.card aria-labelledby="beliefs-title" { (beliefs(&status.models)) }
            section.card aria-labelledby="steer-title" { (steer(status)) }
        }
        section.card aria-labelledby="ability-title" { (abilities(learned)) }
    }
}

fn state(gateway: &Gateway, status: &LearnerStatus, learned: &Learning) -> Markup {
    let classifier = gateway.classifier.status();
    let judged: u64 = learned.curve.iter().map(|stretch| stretch.judged).sum();
    let last = learned.curve.last();
    let stat = |label: &str, value: Markup, sub: Markup| {
        markup! { div.stat { p.label { (label) } p.value.plain { (value) } p.sub { (sub) } } }
    };
    markup! {
        div.stats {
            (stat("In force", markup! { "version " (status.live) @if status.pinned.is_some() { " " (badge("warn", "pinned")) } },
                markup! { "from " (count(status.learned_from)) " judgements, " (count(status.revision)) " since" }))
            (stat("Acts", match status.mode {
                LearningMode::Live if status.rollout >= 1.0 => markup! { "on everything" },
                LearningMode::Live => markup! { "on " (percent(status.rollout)) },
                LearningMode::Shadow => markup! { "only watches" },
            }, markup! { @if status.enabled { "and goes on learning" } @else { "learning is off" } }))
            (stat("Liked lately", markup! { @match last { Some(last) => { (percent(last.liked)) } None => { "–" } } },
                markup! { "of the last judged, " (count(judged)) " in all" }))
            (stat("Last retune", markup! { @match status.last_retune.at_ms { Some(at_ms) => { (moment(at_ms)) } None => { "none yet" } } },
                markup! { (count(status.last_retune.new)) " judgements wait for the next" }))
            (stat("Classifier", markup! { (classifier.state) },
                markup! { @match &classifier.reason { Some(reason) => { (reason) } None => { (classifier.cached) " prompts remembered" } } }))
        }
        @if !status.last_retune.result.is_empty() { p.muted { "The last retune: " (status.last_retune.result) "." } }
        @if let Some(until) = status.hold_until_ms.filter(|until| *until > Timestamp::now().as_millisecond()) {
            div.alert.warn role="status" {
                (super::icons::icon("alert"))
                span { "A policy was taken back. No new one takes over for " ((until - Timestamp::now().as_millisecond()) / 60_000 + 1) " minutes." }
            }
        }
    }
}

fn clock(at_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::system();
    Timestamp::from_millisecond(at_ms)
        .map(|at| at.to_zoned(zone).strftime("%H:%M:%S").to_string())
        .unwrap_or_default()
}

fn curve(learned: &Learning) -> Plot {
    let mut judged = 0.0;
    let mut liked = Vec::new();
    let mut predicted = Vec::new();
    for stretch in &learned.curve {
        judged += stretch.judged as f64;
        let (low, high) = ((stretch.liked - stretch.error).max(0.0), (stretch.liked + stretch.error).min(1.0));
        let said = format!(
            "{} to {}\nliked {} [{}, {}]\npredicted {}\npolicy v{}",
            clock(stretch.from_ms),
            clock(stretch.until_ms),
            percent(stretch.liked),
            percent(low),
            percent(high),
            percent(stretch.predicted),
            stretch.policy_version
        );
        liked.push(Point::new(judged, stretch.liked).within(low, high).saying(said.clone()));
        predicted.push(Point::new(judged, stretch.predicted).saying(said));
    }
    Plot::new("How answers were liked", "judged answers", "share liked, 95 % band")
        .with(Series::dotted_line("liked", liked))
        .with(Series::line("predicted", predicted))
}

fn calibration(learned: &Learning) -> Plot {
    let bins: Vec<(f64, f64, usize)> =
        learned.calibration.iter().map(|bin| (bin.predicted, bin.liked, bin.judged as usize)).collect();
    Plot::calibration("Do predictions come true?", &bins)
}

/// What a version's report says it would gain: estimate and interval.
fn gain(record: &SnapshotRecord) -> Option<(f64, f64, f64, u64)> {
    let gain = record.report.get("gain")?;
    let number = |name: &str| gain.get(name)?.as_f64().filter(|value| value.abs() < 1e6);
    Some((number("mean")?, number("lower")?, number("upper")?, gain.get("choices")?.as_u64()?))
}

fn table(versions: &[SnapshotRecord], status: &LearnerStatus) -> Markup {
    let (live, pinned) = (status.live, status.pinned);
    let widest = versions
        .iter()
        .take(SHOWN)
        .filter_map(gain)
        .map(|(_, low, high, _)| low.abs().max(high.abs()))
        .fold(0.02, f64::max);
    markup! {
        div.card-head { h2 #versions-title { "Versions" } span.muted { "gain over the version that was live, points of utility per choice, doubly robust" } }
        div #versions.table-box tabindex="0" role="region" aria-labelledby="versions-title" {
            table {
                thead {
                    tr {
                        @for name in ["Version", "Made", "State", "Estimated gain and interval"] { th scope="col" { (name) } }
                        th.num scope="col" { "Gain" } th.num scope="col" { "Learned from" }
                        th scope="col" { "Why" } th scope="col" { span.hidden { "Do" } }
                    }
                }
                tbody {
                    @for record in versions.iter().take(SHOWN) {
                        @let is_live = record.version == live;
                        tr {
                            th scope="row" { "v" (record.version) }
                            td { (moment(record.made_at_ms)) br; span.muted { (record.origin) } }
                            td {
                                @if is_live { (badge("good", "live")) }
                                @else {
                                    @match record.state {
                                        SnapshotState::Waiting => { (badge("", "waiting")) }
                                        SnapshotState::Promoted => { (badge("", "was live")) }
                                        SnapshotState::RolledBack => { (badge("warn", "taken back")) }
                                    }
                                }
                                @if pinned == Some(record.version) { " " (badge("warn", "pinned")) }
                            }
                            @match gain(record) {
                                Some((mean, low, high, choices)) => {
                                    td { (whisker(mean, low, high, widest)) }
                                    td.num { (format!("{mean:+.4}")) br; span.muted { (format!("{low:+.3} to {high:+.3}, n {choices}")) } }
                                }
                                None => { td { span.muted { "not estimated" } } td.num { "–" } }
                            }
                            td.num { (count(record.learned_from)) }
                            td.why { (record.reason) }
                            td.end {
                                @let key = |what: &str| format!("{what}-{}", record.version);
                                @if !is_live {
                                    button.small type="button" data-key=(key("promote")) data-api="POST /api/admin/policy/promote"
                                        data-body=(json!({ "version": record.version })) data-done={ "Version " (record.version) " is in force." }
                                        data-ask={ "Put version " (record.version) " in force?" } { "Promote" }
                                    " "
                                }
                                @if pinned == Some(record.version) {
                                    button.small type="button" data-key=(key("unpin")) data-api="POST /api/admin/policy/unpin"
                                        data-done="Versions may change again." { "Unpin" }
                                } @else {
                                    button.small type="button" data-key=(key("pin")) data-api="POST /api/admin/policy/pin"
                                        data-body=(json!({ "version": record.version })) data-done={ "Version " (record.version) " is pinned." }
                                        data-ask={ "Put version " (record.version) " in force, and let no other take over?" } { "Pin" }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if versions.len() > SHOWN { p.hint { "The newest " (SHOWN) " of " (versions.len()) "." } }
        (estimators(&versions[..versions.len().min(SHOWN)]))
    }
}

/// What one estimator says of a version.
struct Estimated<'a> {
    record: &'a SnapshotRecord,
    method: Method,
    /// Over the live one; absent in records that are older than that.
    gain: Option<Estimate>,
    new: Option<Estimate>,
    live: Option<Estimate>,
}

fn estimated(record: &SnapshotRecord) -> Vec<Estimated<'_>> {
    let list = |name: &str| -> Vec<Estimate> {
        let found = record.report.get("gain").and_then(|gain| gain.get(name));
        found.and_then(|found| Vec::deserialize(found).ok()).unwrap_or_default()
    };
    let (gained, new, live) = (list("methods"), list("new"), list("live"));
    let of = |all: &[Estimate], method: Method| all.iter().find(|one| one.method == method).copied();
    [Method::Ips, Method::Snips, Method::DoublyRobust]
        .map(|method| Estimated {
            record,
            method,
            gain: of(&gained, method),
            new: of(&new, method),
            live: of(&live, method),
        })
        .into_iter()
        .filter(|one| one.gain.is_some() || one.new.is_some())
        .collect()
}

/// The gain of each version by each estimator, and what each says of either policy.
fn estimators(versions: &[SnapshotRecord]) -> Markup {
    let all: Vec<Estimated<'_>> = versions.iter().flat_map(estimated).collect();
    let gained = |found: Option<Estimate>| {
        markup! {
            td.num {
                @match found {
                    Some(it) => {
                        (format!("{:+.4}", it.value)) br;
                        span.muted { (format!("{:+.4}", it.low)) " to " (format!("{:+.4}", it.high)) }
                    }
                    None => { "–" }
                }
            }
        }
    };
    let quality = |found: Option<Estimate>| {
        let raw = found.map(|it| format!("as estimated: {:.3}, {:.3} to {:.3}", it.value, it.low, it.high));
        let shown = found.map(|it| it.possible());
        let cut = raw.filter(|_| shown != found);
        markup! {
            td.num title=[cut] {
                @match shown {
                    Some(it) => {
                        (format!("{:.3}", it.value)) br;
                        span.muted { (format!("{:.3}", it.low)) " to " (format!("{:.3}", it.high)) }
                    }
                    None => { "–" }
                }
            }
        }
    };
    markup! {
        @if !all.is_empty() {
            details.estimators data-key="estimators" {
                summary.muted data-key="estimators-title" { "All estimators" }
                div.table-box tabindex="0" role="region" aria-label="All estimators" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Version" } th scope="col" { "Method" }
                                @for name in ["Gain", "New policy", "Live policy", "Effective", "Clipped", "Support"] { th.num scope="col" { (name) } }
                            }
                        }
                        tbody {
                            @for one in &all {
                                tr {
                                    th scope="row" { "v" (one.record.version) }
                                    td { (method(one.method)) }
                                    (gained(one.gain))
                                    (quality(one.new))
                                    (quality(one.live))
                                    @match one.gain.or(one.new) {
                                        Some(shown) => {
                                            td.num { (format!("{:.0}", shown.effective)) " of " (shown.requests) }
                                            td.num { (percent(shown.clipped)) }
                                            td.num { (percent(shown.support)) }
                                        }
                                        None => { td {} td {} td {} }
                                    }
                                }
                            }
                        }
                    }
                }
                p.hint { "Gain in utility over the version that was live; quality of either policy's answers. Effective is the sample size that importance weights leave, clipped the share of them that was cut off, support their mean: how much of what a policy does the log speaks of. A quality outside 0 to 1 is shown cut to it; point at it for what was estimated." }
            }
        }
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Ips => "IPS",
        Method::Snips => "SNIPS",
        Method::Direct => "direct",
        Method::DoublyRobust => "doubly robust",
    }
}

/// An estimate with its interval around zero.
fn whisker(mean: f64, low: f64, high: f64, widest: f64) -> Markup {
    let at = |value: f64| format!("{:.1}%", 50.0 + 48.0 * (value / widest).clamp(-1.0, 1.0));
    let said = format!("{mean:+.4} [{low:+.4}, {high:+.4}]");
    let kind = if low >= 0.0 {
        "good"
    } else if high < 0.0 {
        "bad"
    } else {
        ""
    };
    markup! {
        svg class={ "whisker-box " (kind) } aria-hidden="true" data-tip=(said) {
            line.zero x1="50%" x2="50%" y1="0" y2="100%" {}
            line.reach x1=(at(low)) x2=(at(high)) y1="50%" y2="50%" {}
            circle cx=(at(mean)) cy="50%" r="4" {}
        }
    }
}

fn beliefs(models: &[ArmSummary]) -> Markup {
    let mut sorted: Vec<&ArmSummary> = models.iter().filter(|arm| arm.observations > 0).collect();
    sorted.sort_by(|a, b| b.level.total_cmp(&a.level));
    let widest = sorted.iter().map(|arm| arm.level.abs() + 2.0 * arm.spread).fold(0.05, f64::max);
    markup! {
        div.card-head { h2 #beliefs-title { "What it believes" } span.muted { "quality beyond the classifier's guess, two standard deviations" } }
        @if sorted.is_empty() { (empty("It believes the classifier", "On day one it is the classifier; judged answers move it.")) }
        @else {
            div.table-box tabindex="0" role="region" aria-labelledby="beliefs-title" {
                table {
                    thead { tr { th scope="col" { "Model" } th scope="col" { span.hidden { "Drawn" } } th.num scope="col" { "Better by" } th.num scope="col" { "Judged" } th.num scope="col" { "Shifts" } } }
                    tbody {
                        @for arm in sorted {
                            tr {
                                th scope="row" { (arm.model) }
                                td { (whisker(arm.level, arm.level - 2.0 * arm.spread, arm.level + 2.0 * arm.spread, widest)) }
                                td.num { (format!("{:+.1} ± {:.1}", arm.level * 100.0, arm.spread * 200.0)) span.muted { " points" } }
                                td.num { (count(arm.observations)) }
                                td.num { @if arm.shifts > 0 { (badge("warn", &arm.shifts.to_string())) } @else { "0" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn steer(status: &LearnerStatus) -> Markup {
    let settings = json!(status.settings);
    markup! {
        div.card-head { h2 #steer-title { "Steer" } }
        form.grid data-api="PUT /api/admin/policy/mode" data-done="It acts so from now on." {
            div.field {
                label for="mode" { "The policy" }
                select #mode name="mode" {
                    option value="live" selected[status.mode == LearningMode::Live] { "acts" }
                    option value="shadow" selected[status.mode == LearningMode::Shadow] { "only watches (shadow)" }
                }
                p.hint { "In the shadow the weights choose; what the policy would have chosen is kept with each decision." }
            }
            div.field {
                label for="rollout" { "On a share of the conversations" }
                input #rollout name="rollout" type="number" min="0" max="1" step="0.05" value=(status.rollout) data-type="number" required;
                p.hint { "1 = all of them; the weights choose for the others." }
            }
            div.field { button.primary type="submit" { "Apply" } }
        }
        details data-key="settings" {
            summary.muted data-key="settings-title" { "How it explores and forgets" }
            dl.fields {
                @for (name, value) in settings.as_object().into_iter().flatten() {
                    dt { code { (name) } } dd { code { (value) } }
                }
            }
        }
    }
}

fn abilities(learned: &Learning) -> Markup {
    let mut seen = BTreeMap::<&str, u64>::new();
    for (model, ability) in learned.ability.values().flatten() {
        *seen.entry(model).or_default() += ability.considered + 20 * ability.judged;
    }
    let mut models: Vec<(&str, u64)> = seen.into_iter().collect();
    models.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let models: BTreeSet<&str> = models.into_iter().take(MOST_MODELS).map(|(model, _)| model).collect();
    markup! {
        div.card-head { h2 #ability-title { "Who is good at what" } span.muted { "predicted probability of a good answer; below it, what judged answers were liked" } }
        @if learned.ability.is_empty() { (empty("No task was read yet", "The classifier names a task for each prompt it reads.")) }
        @else {
            div.table-box tabindex="0" role="region" aria-labelledby="ability-title" {
                table.ability {
                    thead { tr { th scope="col" { "Task" } @for model in &models { th.num scope="col" { (model) } } } }
                    tbody {
                        @for (task, by_model) in &learned.ability {
                            @let best = by_model.values().map(|ability| ability.predicted).fold(0.0, f64::max);
                            tr {
                                th scope="row" { (task) }
                                @for model in &models { td.num { (cell(by_model.get(*model), best)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(ability: Option<&Ability>, best: f64) -> Markup {
    let Some(ability) = ability else { return markup! { span.muted { "–" } } };
    let text = percent(ability.predicted);
    markup! {
        @if ability.predicted >= best - 0.005 { (badge("good", &text)) } @else { (text) }
        br;
        span.muted { @if ability.judged > 0 { (percent(ability.liked)) " of " (ability.judged) } @else { "none" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(report: serde_json::Value) -> SnapshotRecord {
        SnapshotRecord {
            version: 7,
            made_at_ms: 0,
            promoted_at_ms: None,
            parent: 6,
            replaced: 6,
            origin: "retune".into(),
            state: SnapshotState::Promoted,
            reason: String::new(),
            learned_from: 100,
            report,
        }
    }

    #[test]
    fn every_estimator_is_shown_as_far_as_the_record_has_it() {
        let told = |method: &str, value: f64| {
            json!({ "method": method, "value": value, "low": value - 0.1, "high": value + 0.1, "requests": 80,
                "effective": 41.0, "clipped": 0.05, "largest_weight": 3.0 })
        };
        let each = |value: f64| json!([told("ips", value), told("snips", value), told("doubly_robust", value)]);
        let gain = json!({ "choices": 80, "mean": 0.01, "lower": -0.1, "upper": 0.12 });
        let first = record(json!({ "gain": gain }));
        assert_eq!(self::gain(&first), Some((0.01, -0.1, 0.12, 80)));
        assert_eq!(estimators(&[first]).into_string(), "", "a record of the first programs has one number");
        let mut with = gain.clone();
        with["new"] = each(0.8);
        with["live"] = each(0.7);
        let page = estimators(&[record(json!({ "gain": with }))]).into_string();
        assert!(page.contains("SNIPS") && page.contains("0.800") && page.contains("41 of 80"), "{page}");
        assert!(!page.contains("title=\"as estimated"), "{page}");
        with["new"] = json!([told("ips", 1.05)]);
        let page = estimators(&[record(json!({ "gain": with }))]).into_string();
        assert!(page.contains("as estimated: 1.050, 0.950 to 1.150") && page.contains(">1.000<"), "{page}");
        with["new"] = each(0.8);
        with["methods"] = each(0.123);
        let page = estimators(&[record(json!({ "gain": with })), record(serde_json::Value::Null)]).into_string();
        for text in ["IPS", "SNIPS", "doubly robust", "+0.1230", "+0.0230", "0.700", "5.0 %"] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
    }
}
