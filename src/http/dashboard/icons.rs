//! Icons, as inline SVG: one stroke width, the text's colour, hidden from screen readers.

use maud::{Markup, html};

/// An icon by name; an unknown name draws a dot.
pub(super) fn icon(name: &str) -> Markup {
    let path = match name {
        "overview" => "M4 19V11M10 19V5M16 19v-6M21 19H3",
        "monitor" => "M3 12h4l3-7 4 14 3-7h4",
        "logs" => "M4 6h16M4 11h10M4 16h13M4 21h7",
        "decisions" => "M4 20c8 0 4-15 15-15M15 2l4 3-3 4M4 20c7 0 9-3 15-3M15 13l4 4-4 3",
        "learning" => "M3 19c5 0 5-12 10-12 3 0 4 3 8 3M3 4v15h18",
        "models" => "M4 7l8-4 8 4-8 4zM4 12l8 4 8-4M4 17l8 4 8-4",
        "playground" => "M5 4h14a2 2 0 012 2v9a2 2 0 01-2 2h-7l-5 4v-4H5a2 2 0 01-2-2V6a2 2 0 012-2zM8 9h8M8 12h5",
        "api" => "M8 7l-5 5 5 5M16 7l5 5-5 5M14 4l-4 16",
        "tokens" => "M14.5 9.5a4 4 0 10-3.2 3.9L13 15h2v2h2v2h3v-3l-5.6-5.6M8.5 8.5h.01",
        "configuration" => "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
        "audit" => "M8 3h8v3H8zM6 5H5v16h14V5h-1M9 12l2 2 4-4",
        "alert" => "M12 4l9 16H3zM12 10v4M12 17h.01",
        "out" => "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
        "theme" => {
            "M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4M12 8a4 4 0 100 8z"
        }
        "menu" => "M4 7h16M4 12h16M4 17h16",
        "up" => "M7 11v9H4v-9zM7 12l4-8c2 0 3 1 2.600 3L13 10h6l-1.500 8c-.2 1-1 2-2 2H7",
        "down" => "M7 13V4H4v9zM7 12l4 8c2 0 3-1 2.600-3L13 14h6l-1.500-8c-.2-1-1-2-2-2H7",
        "search" => "M10.500 4a6.500 6.500 0 100 13 6.500 6.500 0 000-13zM15.500 15.500L20 20",
        "empty" => "M4 13l3-8h10l3 8v6H4zM4 13h5l1 3h4l1-3h5",
        _ => "M12 11v2",
    };
    html! {
        svg.icon viewBox="0 0 24 24" aria-hidden="true" focusable="false" { path d=(path) {} }
    }
}

/// The logo: a track that splits in two.
pub(super) fn logo() -> Markup {
    html! {
        svg.logo viewBox="0 0 32 32" aria-hidden="true" focusable="false" {
            rect width="32" height="32" rx="8" {}
            path.main d="M16 27V16M16 16C16 10 9 11 9 5" {}
            path.side d="M16 16c0-6 7-5 7-11" {}
        }
    }
}
