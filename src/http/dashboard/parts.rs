//! Parts that many pages use: numbers with units, badges, tables, charts, placeholders.

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::icons;
use crate::chart::{Drawing, format_number};
use crate::ope::signed;

/// Stands in place of a missing value.
pub(super) const NOTHING: &str = "–";

/// An amount in US dollars: cents where they count, more digits where it is tiny.
pub(super) fn usd(value: f64) -> String {
    match value.abs() {
        0.0 => "$0".to_owned(),
        size if size >= 10_000.0 => format!("${}", format_number(value)),
        size if size >= 1.0 => format!("${value:.2}"),
        size if size >= 0.01 => format!("${value:.4}"),
        _ => format!("${value:.6}"),
    }
}

/// Milliseconds, as seconds from one on.
pub(super) fn ms(value: f64) -> String {
    match value {
        value if value >= 10_000.0 => format!("{:.1} s", value / 1e3),
        value if value >= 1_000.0 => format!("{:.2} s", value / 1e3),
        value if value >= 10.0 => format!("{value:.0} ms"),
        value => format!("{value:.1} ms"),
    }
}

/// A value that may be missing.
pub(super) fn or_nothing(value: Option<f64>, write: impl Fn(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| NOTHING.to_owned(), write)
}

/// A count, in thousands from ten of them on.
pub(super) fn count(value: u64) -> String {
    if value < 10_000 { value.to_string() } else { format_number(value as f64) }
}

/// A share of one as a percentage.
pub(super) fn percent(value: f64) -> String {
    let hundred = value * 100.0;
    match hundred.abs() {
        0.0 => "0 %".to_owned(),
        size if size < 10.0 => format!("{hundred:.1} %"),
        _ => format!("{hundred:.0} %"),
    }
}

/// A time in this machine's zone, in the form that `strftime` reads.
pub(super) fn written(at_ms: i64, form: &str) -> String {
    let zone = jiff::tz::TimeZone::system();
    Timestamp::from_millisecond(at_ms).map(|at| at.to_zoned(zone).strftime(form).to_string()).unwrap_or_default()
}

/// A moment: the script shows the time that has passed since, with the moment itself on hover.
pub(super) fn moment(at_ms: i64) -> Markup {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let exact = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(at.to_string()) title=(exact) data-ago=(at_ms) { (exact) } }
}

/// A small label; `kind` is `good`, `warn`, `bad`, `info` or empty.
pub(super) fn badge(kind: &str, text: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (text) } }
}

/// A placeholder where there is nothing yet: what would be here, and how to get it.
pub(super) fn empty(title: &str, text: &str) -> Markup {
    html! { div.empty { (icons::icon("empty")) p.empty-title { (title) } p { (text) } } }
}

/// The class of a badge for a quality or a judgement in [0, 1].
pub(super) fn tone(value: f64) -> &'static str {
    match value {
        value if value >= 0.6 => "good",
        value if value >= 0.4 => "warn",
        _ => "bad",
    }
}

/// An error in one part of a page.
pub(super) fn trouble(text: &str) -> Markup {
    html! { div.alert role="alert" { (icons::icon("alert")) span { (text) } } }
}

/// A price in US dollars, rounded to a millionth, which hides the digits of binary fractions.
pub(super) fn price(value: f64) -> String {
    format!("${}", (value * 1e6).round() / 1e6)
}

/// A chart, in a box that scrolls on screens too narrow for it. Its title and legend stand above the box, so that they
/// are always seen.
pub(super) fn chart(label: &str, chart: &impl Drawing) -> Markup {
    html! {
        div.chart-head aria-hidden="true" {
            p { (label) }
            ul.chart {
                @for (colour, name) in chart.keys() {
                    li {
                        svg viewBox="0 0 10 10" { rect class=(format!("f{colour}")) width="10" height="10" rx="2" {} }
                        (name)
                    }
                }
            }
        }
        div.chart-box tabindex="0" role="region" aria-label=(label) { (PreEscaped(chart.svg())) }
    }
}

/// The name of a part of a page, for screen readers.
pub(super) enum Label<'a> {
    /// The heading with this id.
    By(&'a str),
    /// These words.
    Is(&'a str),
}

/// A table, in a box that scrolls on screens narrower than the table.
pub(super) fn table_box(label: Label<'_>, table: &Markup) -> Markup {
    let (by, is) = match label {
        Label::By(id) => (Some(id), None),
        Label::Is(words) => (None, Some(words)),
    };
    html! { div.table-box tabindex="0" role="region" aria-labelledby=[by] aria-label=[is] { (table) } }
}

/// An estimate with its interval around zero; the ends of the box are `widest` away from it.
pub(super) fn whisker(mean: f64, low: f64, high: f64, widest: f64) -> Markup {
    let at = |value: f64| format!("{:.1}%", 50.0 + 48.0 * (value / widest).clamp(-1.0, 1.0));
    let said = format!("{} [{}, {}]", signed(mean, 4), signed(low, 4), signed(high, 4));
    let kind = if low >= 0.0 {
        "good"
    } else if high < 0.0 {
        "bad"
    } else {
        ""
    };
    html! {
        svg class={ "whisker-box " (kind) } aria-hidden="true" data-tip=(said) {
            line.zero x1="50%" x2="50%" y1="0" y2="100%" {}
            line.reach x1=(at(low)) x2=(at(high)) y1="50%" y2="50%" {}
            circle cx=(at(mean)) cy="50%" r="4" {}
        }
    }
}

/// A bar as long as a share of one; `kind` is a second class, `said` the tooltip.
pub(super) fn share_bar(share: f64, kind: &str, said: &str) -> Markup {
    let width = format!("{:.1}%", share.clamp(0.0, 1.0) * 100.0);
    html! {
        svg.bar aria-hidden="true" data-tip=(said) {
            rect.back width="100%" height="100%" rx="4" {}
            rect class={ "fill " (kind) } width=(width) height="100%" rx="4" {}
        }
    }
}

/// The box that a page is searched by; `input` has the id `find`.
pub(super) fn search(label: &str, input: &Markup) -> Markup {
    html! { label.search for="find" { (icons::icon("search")) span.hidden { (label) } (input) } }
}

/// A field of a form with its label and a hint.
pub(super) fn field(id: &str, label: &str, hint: &str, control: &Markup) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            (control)
            @if !hint.is_empty() { p.hint { (hint) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_their_units() {
        assert_eq!([usd(0.0), usd(0.000_123), usd(0.0512), usd(12.3)], ["$0", "$0.000123", "$0.0512", "$12.30"]);
        assert_eq!([ms(3.21), ms(87.4), ms(1234.0), ms(61_000.0)], ["3.2 ms", "87 ms", "1.23 s", "61.0 s"]);
        assert_eq!([percent(0.0), percent(0.034), percent(0.5)], ["0 %", "3.4 %", "50 %"]);
        assert_eq!(or_nothing(Some(f64::NAN), ms), NOTHING);
        assert_eq!([count(9_999), count(12_300)], ["9999", "12.3k"]);
        assert_eq!([price(0.1 * 3.0), price(15.0)], ["$0.3", "$15"]);
    }

    #[test]
    fn text_of_others_is_escaped() {
        let hostile = "<script>alert(1)</script>\"'&";
        let page = html! { (badge("good", hostile)) (empty(hostile, hostile)) (trouble(hostile)) }.into_string();
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 4);
    }
}
