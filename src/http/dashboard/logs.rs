//! `/dashboard/logs`: the last log lines, live, by level and text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::html as markup;

use super::html;
use super::layout::Page;
use super::parts::search;
use super::visitor::Visitor;
use crate::gateway::Gateway;
use crate::telemetry::LEVELS;

/// `GET`. The lines come by the stream that the page opens.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let filter = gateway.live().config.telemetry.log.clone();
    let body = markup! {
        form.toolbar data-log-wish {
            label { span.hidden { "Level" }
                select name="level" {
                    @for level in LEVELS.iter().take(4) {
                        option value=(level) selected[*level == "info"] { (level) @if *level != "error" { " and worse" } }
                    }
                    option value="" { "everything" }
                }
            }
            (search("Text", &markup! { input #find name="text" type="search" placeholder="Text in message or fields"; }))
            button type="button" aria-pressed="false" data-pause { "Pause" }
            button type="button" data-clear { "Clear" }
            span.muted role="status" data-stream-state { "Connecting" }
        }
        section.card.log data-logs="/api/admin/logs/stream" tabindex="0" role="log" aria-label="Log lines" {
            ol data-lines {}
            p.muted.log-empty data-empty { "No line matches yet." }
        }
        p.hint { "The filter of log lines is " code { "telemetry.log = \"" (filter) "\"" } ". They never hold prompts, answers or keys." }
    };
    let lead = "Log lines as they are written, the newest at the end.";
    html(Page::new("/dashboard/logs", "Logs", lead).render(&gateway, &visitor, &body))
}
