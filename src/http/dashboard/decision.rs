//! `/dashboard/decisions/{id}`: one decision, explained: the request, the candidates, the choice and its reasons, the
//! outcome, and the feedback.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maud::{Markup, html as markup};
use serde_json::json;

use super::decisions::{status, verdict_badge};
use super::html;
use super::icons::icon;
use super::layout::Page;
use super::parts::{Label, badge, empty, moment, ms, or_nothing, percent, share_bar, table_box, tone, trouble, usd};
use super::visitor::{Visitor, url_query};
use crate::bandit::Factor;
use crate::gateway::Gateway;
use crate::http::admin::decisions;
use crate::protocol::{ErrorKind, Objective};
use crate::store::{CandidateRecord, DecisionRecord, Entry, FeedbackKind, FeedbackRecord, OutcomeRecord, Thumb};

/// Most models whose predictions are explained beside the chosen one's.
const MAX_OTHERS: usize = 7;

/// `GET`.
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    visitor: Visitor,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    // A path that is not UTF-8 names no decision.
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let found = decisions::one(&gateway, &id).await;
    let (code, body) = match &found {
        Ok(entry) => (StatusCode::OK, whole(entry)),
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::InvalidRequest) => {
            let text = "It may have been deleted by retention.";
            (StatusCode::NOT_FOUND, markup! { section.card { (empty("There is no such decision", text)) } })
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, trouble(&error.message)),
    };
    let title = found.as_ref().map_or("Decision".to_owned(), |entry| entry.decision.chosen.to_string());
    let lead = found.as_ref().map_or("", |entry| entry.decision.reason.as_str());
    let back = markup! { a.button.small href="/dashboard/decisions" { "All decisions" } };
    let page = Page::new("/dashboard/decisions", &title, lead).with_actions(back);
    (code, html(page.render(&gateway, &visitor, &body))).into_response()
}

fn whole(entry: &Entry) -> Markup {
    let decision = &entry.decision;
    markup! {
        div #decision data-live="4000" {
            div.stats {
                (stat("Outcome", &status(entry.outcome.as_ref())))
                (stat("Task", &markup! { (decision.task.as_deref().unwrap_or("not read")) }))
                (stat("Chosen with", &markup! { (or_nothing(decision.propensity, percent)) }))
                (stat("How", &markup! { (badge("", decision.mode.as_str())) @if decision.explored { " " (badge("info", "try-out")) } }))
                (stat("Policy", &markup! {
                    @if decision.policy_version == 0 { "none" } @else { "v" (decision.policy_version) }
                }))
                (stat("Feedback", &match entry.verdict() { Some(verdict) => verdict_badge(verdict), None => markup! { "none yet" } }))
            }
            section.card aria-labelledby="candidates-title" { (candidates(decision)) }
            section.card aria-labelledby="reasons-title" { h2 #reasons-title { "Features that mattered" } (reasons(decision)) }
            div.columns {
                section.card { h2 { "What happened" } (happened(entry)) }
                section.card { h2 { "Feedback" } (feedback(entry)) }
                section.card { h2 { "What was asked" } (asked(decision)) }
            }
        }
    }
}

fn stat(label: &str, value: &Markup) -> Markup {
    markup! { div.stat { p.label { (label) } p.value.plain { (value) } } }
}

fn candidates(decision: &DecisionRecord) -> Markup {
    let mut sorted: Vec<_> = decision.candidates.iter().collect();
    sorted.sort_by(|a, b| b.propensity.total_cmp(&a.propensity).then(b.utility.total_cmp(&a.utility)));
    let table = markup! {
        table {
            thead {
                tr {
                    th scope="col" { "Model" } th scope="col" { span.hidden { "Drawn" } }
                    @for name in ["Probability", "Good answer", "Before learning", "Cost", "Latency", "Utility"] { th.num scope="col" { (name) } }
                }
            }
            tbody {
                @for candidate in sorted {
                    @let chosen = candidate.model == decision.chosen;
                    tr {
                        th scope="row" { (candidate.model) @if chosen { " " (badge("good", "chosen")) } }
                        td { (share_bar(candidate.propensity, if chosen { "" } else { "second" }, &format!("chosen with {}", percent(candidate.propensity)))) }
                        td.num { (percent(candidate.propensity)) }
                        td.num { (percent(candidate.quality)) br; span.muted { (candidate.quality_source) } }
                        td.num { (or_nothing(candidate.prior, percent)) }
                        td.num { (usd(candidate.cost_usd)) }
                        td.num { (or_nothing(candidate.latency_s.map(|seconds| seconds * 1e3), ms)) }
                        td.num { (format!("{:.3}", candidate.utility)) }
                    }
                }
            }
        }
    };
    markup! {
        div.card-head { h2 #candidates-title { "Who could answer" } span.muted { "in order of probability" } }
        (table_box(Label::By("candidates-title"), &table))
        @if !decision.excluded.is_empty() {
            details data-key="excluded" {
                summary.muted data-key="excluded-title" { (decision.excluded.len()) " models fell out before the choice" }
                ul { @for excluded in &decision.excluded { li { strong { (excluded.model) } ": " (excluded.reason) } } }
            }
        }
        @if let Some(shadow) = &decision.shadow {
            p.hint {
                "The policy that only watches (v" (shadow.policy_version) ") would have chosen " strong { (shadow.model) }
                " with " (percent(shadow.propensity)) "."
            }
        }
    }
}

fn happened(entry: &Entry) -> Markup {
    let Some(outcome) = &entry.outcome else {
        let text = if entry.decision.request.dry_run {
            "It was a dry run: the caller makes the call, and may report its outcome."
        } else {
            "The answer is under way."
        };
        return markup! { p.muted { (text) } };
    };
    markup! {
        dl.fields {
            (answered_by(outcome, &entry.decision))
            dt { "Ended" } dd { (status(Some(outcome))) " " (moment(outcome.at_ms)) }
            @if let Some(reason) = outcome.finish_reason { dt { "Because" } dd { (reason.as_str()) } }
            dt { "Calls" } dd { (outcome.attempts) @if outcome.failovers > 0 { ", " (outcome.failovers) " other models asked" } }
            dt { "First token" } dd { (or_nothing(outcome.first_token_ms, ms)) }
            dt { "Whole answer" } dd { (or_nothing(outcome.latency_ms, ms)) }
            @if let Some(usage) = outcome.usage.map(|usage| usage.billed()) {
                dt { "Tokens" } dd { (usage.prompt_tokens()) " in, " (usage.cache_read_tokens) " of them cached; " (usage.output_tokens) " out" }
            }
            dt { "Cost" } dd { (or_nothing(outcome.cost_usd, usd)) }
            @if !outcome.signals.is_empty() {
                dt { "Signs" }
                dd { @for signal in &outcome.signals { (badge("warn", json!(signal).as_str().unwrap_or_default())) " " } }
            }
        }
    }
}

fn answered_by(outcome: &OutcomeRecord, decision: &DecisionRecord) -> Markup {
    let model = outcome.model.as_ref().unwrap_or(&decision.chosen);
    markup! {
        dt { "Answered by" }
        dd {
            strong { (model) }
            @if let Some(backend) = &outcome.backend { " at " (backend) }
            @if *model != decision.chosen { ", in place of " (decision.chosen) }
        }
    }
}

fn feedback(entry: &Entry) -> Markup {
    let id = entry.decision.id;
    let button = |kind: &str, text: &str, field: &str, value: serde_json::Value| {
        let mut body = json!({ "decision_id": id, "source": "dashboard" });
        body[field] = value;
        markup! {
            button.small type="button" data-key={ "rate-" (text) } data-api="POST /api/admin/feedback" data-body=(body)
                data-done="Thank you. It is on disk, and the policy learns from it." {
                @if !kind.is_empty() { (icon(kind)) } (text)
            }
        }
    };
    markup! {
        @if entry.feedback.is_empty() { p.muted { "Nobody has said anything yet." } }
        @else {
            ul.feedback {
                @for feedback in &entry.feedback {
                    li {
                        (said(feedback)) " by " strong { (feedback.source) } " " (moment(feedback.at_ms))
                        @if let Some(comment) = &feedback.comment { p { (comment) } }
                    }
                }
            }
        }
        div.row {
            (button("up", "Good", "thumbs", json!("up")))
            (button("down", "Bad", "thumbs", json!("down")))
            @for stars in 1..=5 { (button("", &format!("{stars} ★"), "rating", json!(stars))) }
        }
    }
}

fn said(feedback: &FeedbackRecord) -> Markup {
    let text = match feedback.kind {
        FeedbackKind::Score(score) => format!("score {score:.2}"),
        FeedbackKind::Rating(stars) => format!("{stars} of 5"),
        FeedbackKind::Thumbs(Thumb::Up) => "thumb up".to_owned(),
        FeedbackKind::Thumbs(Thumb::Down) => "thumb down".to_owned(),
        FeedbackKind::Correct(true) => "right".to_owned(),
        FeedbackKind::Correct(false) => "wrong".to_owned(),
    };
    badge(tone(feedback.kind.value()), &text)
}

fn asked(decision: &DecisionRecord) -> Markup {
    let request = &decision.request;
    let objective = match request.objective {
        Objective::Named(named) => named.as_str().to_owned(),
        Objective::Weights { cost_per_usd, latency_per_s } => {
            format!("{cost_per_usd} per dollar, {latency_per_s} per second")
        }
    };
    markup! {
        dl.fields {
            dt { "When" } dd { (moment(decision.at_ms)) }
            dt { "Model asked for" } dd { @if request.requested.is_empty() { "auto" } @else { (request.requested) } }
            dt { "Objective" } dd { (objective) }
            @if let Some(dialect) = request.dialect { dt { "Dialect" } dd { (dialect.as_str()) @if request.stream { ", streamed" } } }
            dt { "Prompt" } dd { (request.prompt_tokens) " tokens, estimated; turn " (request.turn) @if request.begun_elsewhere { ", the first asked here" } }
            @if let Some(most) = request.max_tokens { dt { "At most" } dd { (most) " tokens of answer" } }
            @if !request.rules.is_empty() { dt { "Rules" } dd { @for rule in &request.rules { (badge("info", rule)) " " } } }
            @if !request.tags.is_empty() { dt { "Tags" } dd { @for (name, value) in &request.tags { (badge("", &format!("{name}: {value}"))) " " } } }
            @if let Some(token) = &request.token { dt { "API token" } dd { a href={ "/dashboard/decisions" (url_query(&[("token", token)])) } { code { (token) } } } }
            @if let Some(conversation) = request.conversation {
                @let print = conversation.to_string();
                dt { "Conversation" } dd { a href={ "/dashboard/decisions" (url_query(&[("conversation", &print)])) } { code { (print) } } }
            }
            dt { "Decision" } dd { code { (decision.id) } }
        }
        @if let Some(prompt) = &decision.prompt { h3 { "The question" } p.prompt { (prompt) } }
        @else { p.hint { "Prompts are not kept (" code { "store.prompts" } " is off); features are, and they are enough to learn from." } }
    }
}

/// The parts of each prediction: the chosen model's with bars, the others' as numbers beside it.
fn reasons(decision: &DecisionRecord) -> Markup {
    let mut others: Vec<&CandidateRecord> =
        decision.candidates.iter().filter(|candidate| !candidate.account.is_empty()).collect();
    others.sort_by(|a, b| b.propensity.total_cmp(&a.propensity).then(b.utility.total_cmp(&a.utility)));
    let Some(chosen) = others.iter().position(|candidate| candidate.model == decision.chosen) else {
        return markup! {
            p.muted {
                @if decision.features.is_empty() { "Nothing was predicted: it was chosen by name, by weight, or without reading the prompt." }
                @else { "This record was made before predictions were explained." }
            }
        };
    };
    let chosen = others.remove(chosen);
    others.truncate(MAX_OTHERS);
    let mut factors: Vec<Factor> = Vec::new();
    for (factor, _) in std::iter::once(&chosen).chain(&others).flat_map(|candidate| candidate.account.parts()) {
        if factor != Factor::Base && !factors.contains(&factor) {
            factors.push(factor);
        }
    }
    factors.sort_by(|a, b| chosen.account.by(*b).abs().total_cmp(&chosen.account.by(*a).abs()).then(a.cmp(b)));
    let widest = factors.iter().map(|factor| chosen.account.by(*factor).abs()).fold(0.01, f64::max);
    let task = decision.task.as_deref();
    let table = markup! {
        table.reasons {
            thead {
                tr {
                    th scope="col" { "What" } th scope="col" { span.hidden { "Drawn" } } th.num scope="col" { (chosen.model) }
                    @for other in &others { th.num scope="col" { (other.model) } }
                }
            }
            tbody {
                tr {
                    th scope="row" { (readable(Factor::Base, task)) } td {}
                    @for candidate in std::iter::once(&chosen).chain(&others) { td.num { (tenths(candidate.account.by(Factor::Base))) } }
                }
                @for factor in &factors {
                    @let by = chosen.account.by(*factor);
                    tr data-factor=(factor.name()) {
                        th scope="row" { (readable(*factor, task)) }
                        td { (moved_bar(by, widest, &format!("{}: {} points", readable(*factor, task), points(by)))) }
                        td.num { (points(by)) }
                        @for other in &others { td.num.muted { (points(other.account.by(*factor))) } }
                    }
                }
                tr.sum {
                    th scope="row" { "Predicted quality" } td {}
                    @for candidate in std::iter::once(&chosen).chain(&others) { td.num { strong { (tenths(candidate.account.total())) } } }
                }
            }
        }
    };
    markup! {
        p.hint {
            "How many points of quality each factor adds to the prediction, from the model's usual quality at the top to the "
            "prediction at the bottom. The column adds up, but for rounding."
        }
        (table_box(Label::By("reasons-title"), &table))
        @if others.len() + 1 < decision.candidates.len() { p.hint { "The " (others.len() + 1) " most probable of " (decision.candidates.len()) " candidates." } }
        @if decision.features.is_empty() {
            p.hint { "The prompt was not read: these are the models' usual values." }
        } @else {
            p.hint { (decision.features.len()) " features, space " code { (decision.feature_space) } "." }
        }
    }
}

/// A factor in words.
fn readable(factor: Factor, task: Option<&str>) -> String {
    match factor {
        Factor::Base => "The model on an average prompt".to_owned(),
        Factor::Task => format!("The task: {}", task.unwrap_or("unknown")),
        Factor::Reading => "What else was read".to_owned(),
        Factor::Length => "Length".to_owned(),
        Factor::Language => "Language and script".to_owned(),
        Factor::Numbers => "Numbers and mathematics".to_owned(),
        Factor::Code => "Code and markup".to_owned(),
        Factor::Form => "Form of the question".to_owned(),
        Factor::Tools => "Tools on offer".to_owned(),
        Factor::Topic => "Words of a topic".to_owned(),
        Factor::Similar => "Similar training prompts".to_owned(),
        Factor::Unfamiliar => "Unlike the training data".to_owned(),
        Factor::Level => "Feedback: the model at large".to_owned(),
        Factor::Kind => "Feedback: at this kind of work".to_owned(),
        Factor::Hardness => "Feedback: by how hard it is".to_owned(),
        Factor::Direction(number) => format!("Feedback: learned direction {number}"),
        Factor::Directions => "Feedback: other directions".to_owned(),
        Factor::Limit => "End of the scale".to_owned(),
    }
}

/// A contribution to the predicted quality, in points.
fn points(by: f64) -> String {
    let tenths = (by * 1000.0).round();
    if tenths == 0.0 { "0".to_owned() } else { format!("{:+.1}", tenths / 10.0) }
}

fn tenths(quality: f64) -> String {
    format!("{:.1} %", quality * 100.0)
}

/// A bar from the middle: to the right for a positive contribution, to the left for a negative one.
fn moved_bar(by: f64, widest: f64, said: &str) -> Markup {
    let length = 50.0 * (by.abs() / widest).clamp(0.0, 1.0);
    let from = if by < 0.0 { 50.0 - length } else { 50.0 };
    markup! {
        svg.bar.moved aria-hidden="true" data-tip=(said) {
            rect.back width="100%" height="100%" rx="4" {}
            rect class={ "fill " (if by < 0.0 { "against" } else { "for" }) } x=(format!("{from:.1}%")) width=(format!("{length:.1}%")) height="100%" {}
            line x1="50%" x2="50%" y1="0" y2="100%" {}
        }
    }
}
