//! What stands around the marks of more than one kind of chart: the legend below, and the grid of the y axis.

use super::axis::{Axis, format_number};
use super::style::COLOURS;
use super::svg::Svg;

/// Height of a row of the legend.
const ROW: f64 = 18.0;

/// A legend below a chart.
#[derive(Debug)]
pub(super) struct Legend<'a> {
    /// Row, offset, number and name of each entry.
    entries: Vec<(usize, f64, usize, &'a str)>,
}

impl<'a> Legend<'a> {
    /// The legend of what has these names, broken into rows by estimated text width; what has none is left out.
    pub fn new(names: impl Iterator<Item = &'a str>, width: f64) -> Self {
        let (mut row, mut offset) = (0, 0.0);
        let mut entries = Vec::new();
        for (index, name) in named(names) {
            let wide = 30.0 + 6.8 * name.chars().count() as f64;
            if offset > 0.0 && offset + wide > width {
                (row, offset) = (row + 1, 0.0);
            }
            entries.push((row, offset, index, name));
            offset += wide;
        }
        Self { entries }
    }

    /// Its height.
    pub fn height(&self) -> f64 {
        self.entries.last().map_or(0, |entry| entry.0 + 1) as f64 * ROW
    }

    /// Draws it from a left edge and the first row's baseline on.
    pub fn draw(&self, svg: &mut Svg, left: f64, first: f64) {
        for &(row, offset, index, name) in &self.entries {
            let line = first + row as f64 * ROW;
            svg.rect(&format!("key f{}", index % COLOURS), (left + offset, line - 9.0), (10.0, 10.0), "");
            svg.text("key", (left + offset + 15.0, line), "start", name);
        }
    }
}

/// The legend's entries as [`Drawing::keys`](super::Drawing::keys) gives them.
pub(super) fn keys<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    named(names).map(|(index, name)| (index % COLOURS, name)).collect()
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = (usize, &'a str)> {
    names.enumerate().filter(|(_, name)| !name.is_empty())
}

/// Draws the grid of a y axis that stands on `bottom`, between two edges, with its numbers.
pub(super) fn grid(svg: &mut Svg, y: &Axis, bottom: f64, (left, right): (f64, f64)) {
    for tick in y.ticks() {
        let Some(at) = y.at(*tick) else { continue };
        svg.line("grid", (left, bottom - at), (right, bottom - at));
        svg.text("muted", (left - 6.0, bottom - at + 4.0), "end", &format_number(*tick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_legends_break_into_rows() {
        let names: Vec<String> = (0..12).map(|number| format!("a rather long series name {number}")).collect();
        let legend = Legend::new(names.iter().map(String::as_str), 560.0);
        assert!(legend.height() >= 4.0 * ROW);
        assert!(legend.entries.iter().all(|entry| entry.1 < 560.0));
    }
}
