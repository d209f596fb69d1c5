//! The HTML document around every page, and the bare pages for visitors who are not signed in.

use maud::{DOCTYPE, Markup, html};

use super::theme::Theme;
use super::{assets, icons};

/// A document without the navigation.
pub(super) fn bare(theme: Theme, title: &str, body: Markup) -> Markup {
    document(theme, title, None, &body)
}

/// A bare page with one message.
pub(super) fn notice(theme: Theme, title: &str, text: &str) -> Markup {
    let body = html! {
        main.bare id="main" {
            div.bare-card {
                div.bare-brand { (icons::logo()) span { "Pointsman" } }
                h1 { (title) }
                p { (text) }
            }
        }
    };
    bare(theme, title, body)
}

/// The document; `csrf` is the session's CSRF token, where there is a session.
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
