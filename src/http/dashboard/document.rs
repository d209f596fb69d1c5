//! The HTML document around whatever is shown, and the pages that need no more than it: for who is not in.

use maud::{DOCTYPE, Markup, html};

use super::theme::Theme;
use super::{assets, icons};

/// A document without the way around.
pub(super) fn bare(theme: Theme, title: &str, body: Markup) -> Markup {
    document(theme, title, None, &body)
}

/// A page that says one thing.
pub(super) fn notice(theme: Theme, title: &str, text: &str) -> Markup {
    let body = html! {
        main.door id="main" {
            div.door-card {
                div.door-brand { (icons::logo()) span { "Pointsman" } }
                h1 { (title) }
                p { (text) }
            }
        }
    };
    bare(theme, title, body)
}

/// The document itself; `csrf` is the token of a session, where there is one.
pub(super) fn document(theme: Theme, title: &str, csrf: Option<&str>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme.chosen()] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(csrf) = csrf { meta name="csrf" content=(csrf); }
                title { (title) " · Pointsman" }
                link rel="icon" href=(assets::icon()) type="image/svg+xml";
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
            }
            body { (body) }
        }
    }
}
