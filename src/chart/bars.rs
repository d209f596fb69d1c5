//! Horizontal bars with a name each: models by score, policies by value.

use super::axis::{Axis, Scale, format_number};
use super::style::COLOURS;
use super::svg::Svg;

const WIDTH: f64 = 640.0;
const TOP: f64 = 34.0;
const ROW: f64 = 22.0;
const RIGHT: f64 = 56.0;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its label.
    pub name: String,
    /// Its length; not finite means "unknown" and draws no bar.
    pub value: f64,
    /// Confidence interval, drawn as a whisker.
    pub interval: Option<(f64, f64)>,
    /// The number of its colour, from 0.
    pub colour: usize,
}

impl Bar {
    /// A bar in the first colour.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, interval: None, colour: 0 }
    }

    /// With a confidence interval.
    pub fn within(mut self, low: f64, high: f64) -> Self {
        self.interval = Some((low, high));
        self
    }

    /// In another colour.
    pub fn coloured(mut self, colour: usize) -> Self {
        self.colour = colour;
        self
    }
}

/// A bar chart, rendered by [`Bars::svg`].
#[derive(Debug, Clone, Default)]
pub struct Bars {
    title: String,
    bars: Vec<Bar>,
    range: Option<(f64, f64)>,
}

impl Bars {
    /// An empty chart.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a bar below the others.
    pub fn with(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// Fixes the axis; without it, it starts at zero and fits the data. A range that does not start at zero
    /// exaggerates: use it only where the whisker is the message.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// The chart as one `<svg>` element.
    pub fn svg(&self) -> String {
        let longest = self.bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0) as f64;
        let left = (longest * 6.6 + 12.0).clamp(40.0, 260.0);
        let bottom = TOP + ROW * self.bars.len() as f64;
        let mut svg = Svg::new(WIDTH, bottom + 26.0, &self.title);
        svg.text("title", (8.0, 18.0), "start", &self.title);
        let ends = self
            .bars
            .iter()
            .flat_map(|bar| [Some(bar.value), bar.interval.map(|i| i.0), bar.interval.map(|i| i.1), Some(0.0)])
            .flatten();
        let axis = Axis::around(ends, Scale::Linear, self.range, WIDTH - left - RIGHT, 5);
        for tick in axis.ticks() {
            let Some(at) = axis.at(*tick) else { continue };
            svg.line("grid", (left + at, TOP), (left + at, bottom));
            svg.text("muted", (left + at, bottom + 16.0), "middle", &format_number(*tick));
        }
        let origin = axis.at(0.0f64.clamp(axis.range().0, axis.range().1)).unwrap_or(0.0);
        for (row, bar) in self.bars.iter().enumerate() {
            draw_bar(&mut svg, bar, &axis, left, origin, TOP + ROW * row as f64);
        }
        svg.finish()
    }
}

fn draw_bar(svg: &mut Svg, bar: &Bar, axis: &Axis, left: f64, origin: f64, top: f64) {
    let middle = top + ROW / 2.0;
    svg.text("", (left - 6.0, middle + 4.0), "end", &clip(&bar.name, room(left)));
    let Some(end) = axis.at(bar.value) else { return };
    let (from, to) = (origin.min(end), origin.max(end));
    let mut title = format!("{}: {}", bar.name, format_number(bar.value));
    let mut label_at = to;
    if let Some((low, high)) = bar.interval {
        title += &format!(" [{}, {}]", format_number(low), format_number(high));
    }
    let colour = bar.colour % COLOURS;
    svg.rect(&format!("f{colour}"), (left + from, top + 3.0), (to - from, ROW - 6.0), &title);
    if let Some((low, high)) = bar.interval
        && let (Some(low), Some(high)) = (axis.at(low), axis.at(high))
    {
        svg.line("whisker", (left + low, middle), (left + high, middle));
        label_at = label_at.max(high);
    }
    svg.text("muted", (left + label_at + 5.0, middle + 4.0), "start", &format_number(bar.value));
}

/// Letters that a name may have left of the bars. A little more, as a name that just fits must not be cut by a rounding
/// error.
fn room(left: f64) -> usize {
    ((left - 12.0) / 6.6 + 1e-6) as usize
}

fn clip(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_start_at_zero_and_show_their_interval() {
        let svg =
            Bars::new("Score").with(Bar::new("gpt-4", 0.8).within(0.75, 0.85)).with(Bar::new("random", 0.5)).svg();
        assert_eq!(svg.matches("<rect").count(), 2);
        assert_eq!(svg.matches("class=\"whisker\"").count(), 1);
        assert!(svg.contains("gpt-4: 0.8 [0.75, 0.85]"));
    }

    #[test]
    fn negative_and_unknown_values_are_drawn_honestly() {
        let svg = Bars::new("Change").with(Bar::new("down", -0.5)).with(Bar::new("unknown", f64::NAN)).svg();
        assert_eq!(svg.matches("<rect").count(), 1);
        assert!(!svg.contains("NaN") && !svg.contains("width=\"-"));
    }

    #[test]
    fn a_name_that_the_margin_was_made_for_is_whole() {
        for length in 5..=37 {
            let name = "n".repeat(length);
            let svg = Bars::new("Score").with(Bar::new(&name, 1.0)).svg();
            assert!(!svg.contains('…') && svg.contains(&format!(">{name}<")), "{length}");
        }
    }

    #[test]
    fn long_names_are_clipped_on_the_axis_but_whole_in_the_hover() {
        let name = "a-model-with-a-name-that-is-much-longer-than-any-margin-could-ever-hold";
        let svg = Bars::new("Score").with(Bar::new(name, 1.0)).svg();
        assert!(svg.contains('…'));
        assert!(svg.contains(&format!("{name}: 1")));
    }
}
