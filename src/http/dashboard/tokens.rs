//! `/dashboard/tokens`: makes, lists and revokes API tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};

use super::html;
use super::layout::Page;
use super::parts::{Label, badge, empty, field, moment, table_box};
use super::visitor::Visitor;
use crate::gateway::Gateway;
use crate::http::admin::tokens::{self, Shown};
use crate::store::{Scope, limits_in_words};

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let all = tokens::all(&gateway).tokens;
    let live = gateway.live();
    let body = markup! {
        section #tokens.card data-live="10000" {
            @if all.is_empty() {
                (empty("No token yet", "Until one exists, only this machine is served. Once one exists, every call needs one."))
            } @else { (table_box(Label::Is("API tokens"), &table(&all))) }
        }
        section.card {
            h2 { "Make a token" }
            form.grid data-api="POST /api/admin/tokens" data-then="token" autocomplete="off" {
                (field("name", "Name", "What its owner is called; rules may refer to it.", &markup! {
                    input #name name="name" required maxlength="80" placeholder="billing-service";
                }))
                fieldset.field {
                    legend { "Scopes" }
                    @for scope in Scope::ALL {
                        label.check {
                            input type="checkbox" name="scopes" value=(scope.as_str()) data-type="list"
                                checked[scope != Scope::Admin];
                            span { (scope.as_str()) }
                        }
                    }
                }
                (field("models", "Only these models", "None chosen = all.", &markup! {
                    select #models name="models" multiple size="4" data-type="list" {
                        @for model in live.catalog.models() { option { (model.name) } }
                    }
                }))
                (field("rpm", "Requests per minute", "Empty = as configured, 0 = no limit.", &markup! {
                    input #rpm name="requests_per_minute" type="number" min="0" inputmode="numeric" data-type="number";
                }))
                (field("tpm", "Tokens per minute", "Empty = as configured, 0 = no limit.", &markup! {
                    input #tpm name="tokens_per_minute" type="number" min="0" inputmode="numeric" data-type="number";
                }))
                (field("spend", "US dollars per day", "Empty = as configured, 0 = no limit.", &markup! {
                    input #spend name="usd_per_day" type="number" min="0" step="any" inputmode="decimal" data-type="number";
                }))
                div.field.end { button.primary type="submit" { "Make the token" } }
            }
            div #made.made hidden {
                p { strong { "This is the only time the token is shown." } " Copy it now; only its hash is kept." }
                div.row { code #made-text {} button type="button" data-copy="made-text" { "Copy" } }
            }
        }
    };
    let lead = "Tokens let clients in. Only their hashes are kept, so a lost one is revoked and made anew.";
    html(Page::new("/dashboard/tokens", "API tokens", lead).render(&gateway, &visitor, &body))
}

fn table(tokens: &[Shown]) -> Markup {
    markup! {
        table {
            thead {
                tr {
                    @for name in ["Name", "Scopes", "Models", "Limits", "Made"] { th scope="col" { (name) } }
                    th scope="col" { span.hidden { "Revoke" } }
                }
            }
            tbody { @for token in tokens { (row(token)) } }
        }
    }
}

fn row(token: &Shown) -> Markup {
    let limits = limits_in_words(token.requests_per_minute, token.tokens_per_minute, token.usd_per_day);
    markup! {
        tr data-key={ "row-" (token.id) } {
            th scope="row" { (token.name) " " code.muted { (token.id) } }
            td { @for scope in &token.scopes { (badge(if *scope == Scope::Admin { "warn" } else { "" }, scope.as_str())) " " } }
            td.long { @match &token.models { Some(models) => { (models.join(", ")) } None => { span.muted { "all" } } } }
            td { @if limits.is_empty() { span.muted { "as configured" } } @else { (limits.join(", ")) } }
            td { (moment(token.created_ms)) }
            td.end {
                button.danger.small type="button" data-key={ "revoke-" (token.id) } data-api={ "DELETE /api/admin/tokens/" (token.id) }
                    data-ask={ "Revoke the token " (token.name) "? Clients that use it are refused from then on." }
                    data-done="The token is revoked." { "Revoke" }
            }
        }
    }
}
