//! Writing SVG text: escaping, and numbers short enough for a page with many marks.

use std::fmt::Write;

/// An `<svg>` element under construction. All text that enters goes through [`escape`].
pub(super) struct Svg {
    out: String,
}

impl Svg {
    /// Opens an element of `width` x `height` user units that scales with its container; `label` is what a screen
    /// reader says.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        let mut out = String::with_capacity(4096);
        let _ = write!(
            out,
            r#"<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">"#,
            short(width),
            short(height),
            escape(label)
        );
        Self { out }
    }

    /// A straight stroke.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = write!(
            self.out,
            r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            short(from.0),
            short(from.1),
            short(to.0),
            short(to.1)
        );
    }

    /// An open or, with `close`, a closed path through `points`.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], close: bool, title: &str) {
        if points.is_empty() {
            return;
        }
        let _ = write!(self.out, r#"<path class="{class}" d=""#);
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(self.out, "{}{} {}", if index == 0 { "M" } else { "L" }, short(*x), short(*y));
        }
        let _ = write!(self.out, r#"{}">{}</path>"#, if close { "Z" } else { "" }, title_tag(title));
    }

    /// A dot with `title` shown on hover.
    pub fn dot(&mut self, class: &str, at: (f64, f64), radius: f64, title: &str) {
        let _ = write!(
            self.out,
            r#"<circle class="{class}" cx="{}" cy="{}" r="{}">{}</circle>"#,
            short(at.0),
            short(at.1),
            short(radius),
            title_tag(title)
        );
    }

    /// A rectangle with `title` shown on hover.
    pub fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), title: &str) {
        let _ = write!(
            self.out,
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}" rx="2">{}</rect>"#,
            short(at.0),
            short(at.1),
            short(size.0.max(0.0)),
            short(size.1.max(0.0)),
            title_tag(title)
        );
    }

    /// Text; `anchor` is SVG's `text-anchor`.
    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: &str, text: &str) {
        let _ = write!(
            self.out,
            r#"<text class="{class}" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            short(at.0),
            short(at.1),
            escape(text)
        );
    }

    /// Text turned a quarter to the left, for the y axis.
    pub fn vertical_text(&mut self, class: &str, at: (f64, f64), text: &str) {
        let (x, y) = (short(at.0), short(at.1));
        let _ = write!(
            self.out,
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{}</text>"#,
            escape(text)
        );
    }

    /// The finished element.
    pub fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

fn title_tag(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) }
}

/// Text made safe for element content and double-quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML 1.0 allows no other control characters, not even escaped.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate with one decimal, or none where it is a whole number.
fn short(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded == 0.0 { "0".into() } else { format!("{rounded}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_its_element() {
        let mut svg = Svg::new(10.0, 10.0, "a \"b\"");
        svg.text("muted", (0.0, 0.0), "start", "</text><script>alert('x')&\u{1}");
        let out = svg.finish();
        assert!(out.contains("aria-label=\"a &quot;b&quot;\""));
        assert!(out.contains("&lt;/text&gt;&lt;script&gt;alert(&#39;x&#39;)&amp; </text>"));
        assert!(!out.contains("<script>"));
    }

    #[test]
    fn coordinates_are_short_and_never_minus_zero() {
        assert_eq!(short(12.345), "12.3");
        assert_eq!(short(-0.01), "0");
        assert_eq!(short(7.0), "7");
    }
}
