//! Stacked columns over time: a total and its parts.

use super::Drawing;
use super::axis::{Axis, Scale, format_number};
use super::legend::{Legend, grid, keys};
use super::style::COLOURS;
use super::svg::Svg;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 26.0;

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name, shown on hover: a moment, mostly.
    pub name: String,
    /// The label below it, if any.
    pub tick: Option<String>,
    /// Height of each layer, from the bottom; a layer that is not finite or negative is not drawn.
    pub layers: Vec<f64>,
}

/// A chart of stacked columns, rendered by [`Drawing::svg`].
#[derive(Debug, Clone, Default)]
pub struct Columns {
    title: String,
    unit: String,
    layers: Vec<String>,
    columns: Vec<Column>,
}

impl Columns {
    /// An empty chart; `unit` follows the numbers shown on hover, `layers` names the layers from the bottom.
    pub fn new(title: impl Into<String>, unit: impl Into<String>, layers: Vec<String>) -> Self {
        Self { title: title.into(), unit: unit.into(), layers, columns: Vec::new() }
    }

    /// Adds a column to the right of the others.
    pub fn with(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    fn draw(&self, svg: &mut Svg, column: &Column, left: f64, width: f64, y: &Axis, bottom: f64) {
        let mut below = 0.0;
        for (layer, height) in usable(column) {
            let (Some(from), Some(to)) = (y.at(below), y.at(below + height)) else { continue };
            below += height;
            let name = self.layers.get(layer).map_or("", String::as_str);
            let text = format!("{}\n{name}: {} {}", column.name, format_number(height), self.unit);
            svg.rect(&format!("f{}", layer % COLOURS), (left, bottom - to), (width, to - from), text.trim());
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(String::as_str)
    }
}

impl Drawing for Columns {
    fn svg(&self) -> String {
        let legend = Legend::new(self.names(), WIDTH - LEFT - RIGHT);
        let mut svg = Svg::new(WIDTH, HEIGHT + legend.height(), &self.title);
        svg.text("title", (LEFT, 18.0), "start", &self.title);
        let bottom = HEIGHT - BOTTOM;
        let highest = self.columns.iter().map(|column| usable(column).map(|(_, height)| height).sum::<f64>());
        let y = Axis::around(highest.chain([0.0]), Scale::Linear, None, bottom - TOP, 4);
        grid(&mut svg, &y, bottom, (LEFT, WIDTH - RIGHT));
        let step = (WIDTH - LEFT - RIGHT) / self.columns.len().max(1) as f64;
        let width = (step * 0.78).min(46.0);
        for (at, column) in self.columns.iter().enumerate() {
            let middle = LEFT + step * (at as f64 + 0.5);
            self.draw(&mut svg, column, middle - width / 2.0, width, &y, bottom);
            if let Some(tick) = &column.tick {
                svg.text("muted", (middle, bottom + 16.0), "middle", tick);
            }
        }
        svg.line("axis", (LEFT, bottom), (WIDTH - RIGHT, bottom));
        legend.draw(&mut svg, LEFT, HEIGHT + 4.0);
        svg.finish()
    }

    fn keys(&self) -> Vec<(usize, &str)> {
        keys(self.names())
    }
}

/// Layers that have a height.
fn usable(column: &Column) -> impl Iterator<Item = (usize, f64)> + '_ {
    column.layers.iter().copied().enumerate().filter(|(_, height)| height.is_finite() && *height > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_stand_on_each_other_and_say_what_they_are() {
        let column = Column { name: "12:00".into(), tick: Some("12:00".into()), layers: vec![3.0, f64::NAN, 1.0] };
        let layers = vec!["gpt-4o".into(), "other".into(), "haiku <b>".into()];
        let svg = Columns::new("Requests", "requests", layers).with(column).svg();
        assert_eq!(svg.matches("<rect").count(), 2 + 3, "two layers and three legend entries");
        assert!(svg.contains("12:00\ngpt-4o: 3 requests") && svg.contains("haiku &lt;b&gt;: 1 requests"));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_is_still_a_chart() {
        let svg = Columns::new("Requests", "", Vec::new()).svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"));
    }
}
