//! `/dashboard/playground`: write a prompt, see which model it would go to and why, send it, watch the answer, rate it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::html as markup;

use super::html;
use super::icons::icon;
use super::layout::Page;
use super::parts::{empty, field};
use super::visitor::Visitor;
use crate::gateway::Gateway;
use crate::protocol::NamedObjective;

/// Sample prompts: one for each kind of task that models differ in.
const SAMPLES: [(&str, &str); 4] = [
    ("Code", "Write a Rust function that merges two sorted vectors in linear time, with a test."),
    (
        "Math",
        "A bat and a ball cost 1.10 together; the bat costs 1.00 more than the ball. What does the ball cost, and why do people get it wrong?",
    ),
    (
        "Translate",
        "Translate into German, politely: \"We would like to move the meeting to Thursday, if that suits you.\"",
    ),
    ("Write", "Write a two-sentence product note for a coffee grinder that is quiet enough for an office."),
];

/// `GET`. The script makes the calls and shows the answers.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let live = gateway.live();
    let body = markup! {
        div.split {
            form.card data-playground autocomplete="off" {
                (field("prompt", "Prompt", "", &markup! {
                    textarea #prompt name="prompt" rows="9" required placeholder="Ask something" {}
                }))
                div.row.samples {
                    span.muted { "Try" }
                    @for (name, text) in SAMPLES { button.small type="button" data-sample=(text) { (name) } }
                }
                div.grid.tight {
                    (field("model", "Model", "", &markup! {
                        select #model name="model" {
                            option value="auto" { "auto" }
                            @for model in live.catalog.models().filter(|model| model.settings.enabled) {
                                option { (model.name) }
                            }
                        }
                    }))
                    (field("objective", "Objective", "", &markup! {
                        select #objective name="objective" {
                            option value="" { "as configured" }
                            @for objective in NamedObjective::ALL { option { (objective.as_str()) } }
                        }
                    }))
                    (field("max_tokens", "Most tokens", "", &markup! {
                        input #max_tokens name="max_tokens" type="number" min="1" value="600" inputmode="numeric";
                    }))
                }
                div.row {
                    button.primary type="submit" { "Send" }
                    button type="button" data-dry-run { "Where would it go?" }
                    button type="button" data-stop hidden { "Stop" }
                    span.hint { kbd { "Ctrl" } " " kbd { "Enter" } " sends" }
                }
            }
            div.stack {
                section.card aria-labelledby="answer-title" {
                    div.card-head { h2 #answer-title { "Answer" } span.muted data-answer-by {} }
                    div.answer data-answer tabindex="0" role="region" aria-label="Answer" aria-live="polite" {
                        (empty("No answer yet", "Send the prompt, and the answer streams in here."))
                    }
                    p.facts data-answer-facts {}
                    div.row.rate data-rate hidden {
                        span { "Was it good?" }
                        button.small type="button" data-thumb="up" aria-label="Good answer" { (icon("up")) "Yes" }
                        button.small type="button" data-thumb="down" aria-label="Bad answer" { (icon("down")) "No" }
                        a data-decision-link href="/dashboard/decisions" { "Why this model?" }
                    }
                }
                section.card aria-labelledby="ranking-title" {
                    div.card-head { h2 #ranking-title { "Ranking" } span.muted data-ranking-reason {} }
                    div data-ranking {
                        (empty("Nothing ranked yet", "A dry run calls no model: it shows who could answer, at which probability and cost."))
                    }
                }
            }
        }
    };
    let lead = "Try a prompt on the real road: the same choice, the same models, the same record.";
    html(Page::new("/dashboard/playground", "Playground", lead).render(&gateway, &visitor, &body))
}
