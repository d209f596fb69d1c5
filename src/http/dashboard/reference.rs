//! `/dashboard/api`: the API's description, for reading.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html as markup};
use serde_json::Value;

use super::html;
use super::layout::Page;
use super::parts::{empty, search};
use super::visitor::Visitor;
use crate::gateway::Gateway;
use crate::http::admin::openapi;

/// `GET`.
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, visitor: Visitor) -> Response {
    let spec = openapi::described();
    let operations = || {
        let paths = spec["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(method, what)| (path.as_str(), method.as_str(), what))
        })
    };
    let is_admin = |what: &Value| what["servers"].is_array();
    let body = markup! {
        div.toolbar {
            (search("Find an endpoint", &markup! { input #find type="search" placeholder="Find an endpoint" data-find="operations"; }))
            a.button href="/openapi.json" { "openapi.json" }
        }
        div #operations {
            @for (title, admin) in [("For clients: the proxy listener", false), ("For operators: the admin listener", true)] {
                section.card data-group {
                    h2 { (title) }
                    @for (path, method, what) in operations().filter(|(_, _, what)| is_admin(what) == admin) {
                        (operation(spec, path, method, what))
                    }
                }
            }
            div data-none hidden { (empty("Nothing matches", "Try a part of a path, or a word of what it does.")) }
        }
    };
    let lead = "Everything the gateway and this dashboard can do, as one API. Tokens go into Authorization: Bearer, or x-api-key.";
    html(Page::new("/dashboard/api", "API reference", lead).render(&gateway, &visitor, &body))
}

fn operation(spec: &Value, path: &str, method: &str, what: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let body = what.pointer("/requestBody/content/application~1json/schema");
    markup! {
        details.operation data-row {
            summary {
                span class={ "method " (method) } { (method.to_uppercase()) }
                code { (path) }
                span { (text(&what["summary"])) }
            }
            @if let Some(description) = what["description"].as_str() { p { (description) } }
            @if let Some(parameters) = what["parameters"].as_array() {
                h3 { "Parameters" }
                dl.fields {
                    @for parameter in parameters.iter().map(|parameter| follow(spec, parameter)) {
                        dt { code { (text(&parameter["name"])) } " " span.muted { "in " (text(&parameter["in"])) } }
                        dd { (text(&parameter["description"])) }
                    }
                }
            }
            @if let Some(schema) = body { h3 { "Body" } (shape(spec, schema)) }
            h3 { "Answers" }
            dl.fields {
                @for (status, answer) in what["responses"].as_object().into_iter().flatten() {
                    dt { code { (status) } }
                    dd { (text(&follow(spec, answer)["description"])) }
                }
            }
        }
    }
}

/// The fields of a schema, one level deep.
fn shape(spec: &Value, schema: &Value) -> Markup {
    let schema = follow(spec, schema);
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    markup! {
        dl.fields {
            @for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                @let field = follow(spec, field);
                dt {
                    code { (name) } " " span.muted { (kind(field)) }
                    @if required.contains(&name.as_str()) { " " span.needed { "needed" } }
                }
                dd { (field["description"].as_str().unwrap_or_default()) }
            }
        }
    }
}

/// The target of a `$ref` within the description, or the part itself.
fn follow<'a>(spec: &'a Value, part: &'a Value) -> &'a Value {
    let target = part["$ref"].as_str().and_then(|path| spec.pointer(path.strip_prefix('#')?));
    target.unwrap_or(part)
}

fn kind(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}
