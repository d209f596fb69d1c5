//! `/dashboard/monitor`: chat requests as they pass, with the phase each is in.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::html as markup;

use super::html;
use super::layout::Page;
use super::parts::{Label, empty, search, table_box};
use super::visitor::Visitor;
use crate::gateway::Gateway;

/// `GET`. The rows come by the stream that the page opens.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let table = markup! {
        table.live {
            thead {
                tr {
                    @for name in ["Came", "Asked for", "Phase", "Status", "Model", "First token", "Total", "Tokens", "Cost"] {
                        th.num[["First token", "Total", "Tokens", "Cost"].contains(&name)] scope="col" { (name) }
                    }
                }
            }
            tbody data-rows {}
        }
    };
    let body = markup! {
        div.toolbar {
            (search("Find", &markup! { input #find type="search" placeholder="Model, token, status" data-monitor-find; }))
            button type="button" aria-pressed="false" data-pause { "Pause" }
            span.muted role="status" data-stream-state { "Connecting" }
        }
        section.card data-monitor="/api/admin/requests/stream" {
            (table_box(Label::Is("Requests"), &table))
            div data-empty { (empty("Waiting for requests", "They appear here the moment they arrive. Try one in the playground.")) }
        }
    };
    let lead =
        format!("Every chat request the moment it arrives: routed, called, answered. {}", of_prompts(&gateway));
    html(Page::new("/dashboard/monitor", "Live requests", &lead).render(&gateway, &visitor, &body))
}

fn of_prompts(gateway: &Gateway) -> &'static str {
    if gateway.live().config.store.prompts {
        "No prompt is shown here; each decision keeps its question (store.prompts)."
    } else {
        "No prompt is shown or kept."
    }
}
