//! `/dashboard/learning`: the policy in force and earlier versions with their estimated gain, whether predictions come
//! true, which model is good at what; and an operator's commands.

mod abilities;
mod beliefs;
mod estimators;
mod steer;
mod versions;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html as markup};

use super::html;
use super::icons::icon;
use super::layout::Page;
use super::parts::{badge, chart, count, empty, moment, percent, trouble, written};
use super::visitor::Visitor;
use crate::chart::{Plot, Point, Series};
use crate::config::LearningMode;
use crate::gateway::Gateway;
use crate::http::admin::learning::{self, Learning};
use crate::store::{RECENT, SnapshotRecord};
use crate::tuner::LearnerStatus;

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let (versions, learned) = tokio::join!(gateway.with_store(|store| store.snapshots()), learning::known(&gateway));
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
                } @else {
                    (chart("How answers were liked", &curve(learned)))
                    (reach_told(learned))
                }
            }
            section.card {
                @if learned.calibration.is_empty() {
                    h2 { "Do predictions come true?" }
                    (empty("Nothing to compare yet", "Each judged answer is compared with its prediction."))
                } @else {
                    (chart("Do predictions come true?", &calibration(learned)))
                    (reach_told(learned))
                }
            }
        }
        section.card aria-labelledby="versions-title" { (versions::card(versions, status)) }
        div.columns {
            section.card aria-labelledby="beliefs-title" { (beliefs::card(&status.models)) }
            section.card aria-labelledby="steer-title" { (steer::card(status)) }
        }
        section.card aria-labelledby="ability-title" { (abilities::card(learned)) (reach_told(learned)) }
    }
}

/// The decisions that the page is based on, where those are not all.
fn reach(learned: &Learning) -> Option<String> {
    (learned.looked_at >= RECENT as u64).then(|| format!("among the newest {} decisions", learned.looked_at))
}

fn reach_told(learned: &Learning) -> Markup {
    markup! { @if let Some(reach) = reach(learned) { p.hint { "Judged answers " (reach) "." } } }
}

fn state(gateway: &Gateway, status: &LearnerStatus, learned: &Learning) -> Markup {
    let classifier = gateway.classifier.status();
    let judged: u64 = learned.curve.iter().map(|stretch| stretch.judged).sum();
    // `learned_from` includes the judgements since the version was made, which `revision` counts.
    let made_of = status.learned_from.saturating_sub(status.revision);
    let last = learned.curve.last();
    let stat = |label: &str, value: Markup, sub: Markup| {
        markup! { div.stat { p.label { (label) } p.value.plain { (value) } p.sub { (sub) } } }
    };
    markup! {
        div.stats {
            (stat("In force", markup! { "version " (status.live) @if status.pinned.is_some() { " " (badge("warn", "pinned")) } },
                markup! { "from " (count(made_of)) " judgements and signals, " (count(status.revision)) " since" }))
            (stat("Acts", match status.mode {
                LearningMode::Live if status.rollout >= 1.0 => markup! { "on everything" },
                LearningMode::Live => markup! { "on " (percent(status.rollout)) },
                LearningMode::Shadow => markup! { "only watches" },
            }, markup! { @if status.enabled { "and goes on learning" } @else { "learning is off" } }))
            (stat("Liked lately", markup! { @match last { Some(last) => { (percent(last.liked)) } None => { "–" } } },
                markup! {
                    @match last { Some(last) => { "of the last " (last.judged) " judged; " } None => {} }
                    (count(judged)) " " (reach(learned).unwrap_or_else(|| "in all".to_owned()))
                }))
            (stat("Last retune", markup! { @match status.last_retune.at_ms { Some(at_ms) => { (moment(at_ms)) } None => { "none yet" } } },
                markup! { (waiting(status.last_retune.new)) " for the next" }))
            (stat("Classifier", markup! { (gateway.classifier.state_word()) },
                markup! {
                    @match (&classifier.reason, classifier.in_time) {
                        (Some(reason), _) => { (reason) }
                        (None, Some(share)) => { (percent(share)) " of the last prompts read in time" }
                        (None, None) => { (classifier.cached) " prompts remembered" }
                    }
                }))
        }
        @if let Some(share) = classifier.in_time.filter(|share| *share < 0.5) {
            div.alert.warn role="status" {
                (icon("alert"))
                span {
                    "Only " (percent(share)) " of the last prompts were read in time; the others were routed without "
                    "reading. The machine is too busy, or classifier.budget_ms is too short for it."
                }
            }
        }
        @if !status.last_retune.result.is_empty() { p.muted { "The last retune: " (status.last_retune.result) "." } }
        @if status.curiosity < 1.0 {
            p.muted {
                "Nobody judged the last " (count(status.unjudged)) " choices, so only " (percent(status.curiosity))
                " of the choices may be try-outs; all of them again once somebody judges."
            }
        }
        @if let Some(until) = status.hold_until_ms.filter(|until| *until > Timestamp::now().as_millisecond()) {
            div.alert.warn role="status" {
                (icon("alert"))
                span { "A policy was rolled back. No new one takes over for " ((until - Timestamp::now().as_millisecond()) / 60_000 + 1) " minutes." }
                @if status.pinned.is_none() {
                    button.small type="button" data-key="release" data-api="POST /api/admin/policy/unpin"
                        data-done="Versions may change again." { "End the hold" }
                }
            }
        }
    }
}

/// How many judgements the next retune will find.
fn waiting(new: u64) -> String {
    match new {
        0 => "no judgement waits".to_owned(),
        1 => "1 judgement waits".to_owned(),
        new => format!("{} judgements wait", count(new)),
    }
}

fn clock(at_ms: i64) -> String {
    written(at_ms, "%H:%M:%S %Z")
}

fn curve(learned: &Learning) -> Plot {
    let mut judged = 0.0;
    let mut liked = Vec::new();
    let mut predicted = Vec::new();
    for stretch in &learned.curve {
        judged += stretch.judged as f64;
        let (low, high) = (stretch.low, stretch.high);
        let said = format!(
            "{} to {}\nliked {} [{}, {}]\npredicted {}\n{}",
            clock(stretch.from_ms),
            clock(stretch.until_ms),
            percent(stretch.liked),
            percent(low),
            percent(high),
            percent(stretch.predicted),
            match stretch.policy_version {
                0 => "chosen without the policy".to_owned(),
                version => format!("policy v{version}"),
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_retune_is_counted_in_words() {
        let told = ["no judgement waits", "1 judgement waits", "2 judgements wait"];
        assert_eq!([0, 1, 2].map(waiting), told);
    }

    #[test]
    fn what_the_page_rests_on_is_said_where_it_is_not_all() {
        let learned = |looked_at| Learning { looked_at, ..Learning::default() };
        assert_eq!(reach(&learned(12)), None);
        assert_eq!(reach(&learned(RECENT as u64)).as_deref(), Some("among the newest 5000 decisions"));
        assert!(reach_told(&learned(RECENT as u64)).into_string().contains("Judged answers among the newest"));
    }
}
