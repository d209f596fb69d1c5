//! `/dashboard/audit`: who changed what, when, and the values before.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};

use super::html;
use super::layout::Page;
use super::parts::{Label, badge, empty, moment, table_box, trouble};
use super::visitor::Visitor;
use crate::gateway::Gateway;
use crate::http::admin::audit;
use crate::store::AuditRecord;

/// Most acts on the page.
const MAX_SHOWN: usize = 200;

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let acts = audit::last(&gateway, MAX_SHOWN).await;
    let body = markup! {
        section #acts.card data-live="10000" {
            @match &acts {
                Err(error) => { (trouble(&error.message)) }
                Ok(acts) if acts.acts.is_empty() => {
                    (empty("Nothing was changed yet", "Changes of models, tokens and the policy are noted here, with who made them."))
                }
                Ok(acts) => { (table_box(Label::Is("Acts"), &table(&acts.acts))) }
            }
        }
    };
    let lead = "Every change by an operator, and every one that the tuner made by itself.";
    html(Page::new("/dashboard/audit", "Audit", lead).render(&gateway, &visitor, &body))
}

fn table(acts: &[AuditRecord]) -> Markup {
    markup! {
        table {
            thead { tr { @for name in ["When", "Who", "What", "To what", "Particulars"] { th scope="col" { (name) } } } }
            tbody { @for act in acts { (row(act)) } }
        }
    }
}

fn row(act: &AuditRecord) -> Markup {
    let by_itself = act.who == "tuner";
    markup! {
        tr {
            td { (moment(act.at_ms)) }
            td { (badge(if by_itself { "info" } else { "" }, &act.who)) }
            td.whole { code { (act.action) } }
            th scope="row" { (act.subject) }
            td.long { code.muted { (act.detail) } }
        }
    }
}
