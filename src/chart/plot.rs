//! Charts with two numeric axes: learning curves, cost against quality, calibration.

use super::Drawing;
use super::axis::{Axis, Scale, format_number};
use super::legend::{Legend, grid, keys};
use super::style::COLOURS;
use super::svg::Svg;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;

/// One measured point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Position along the x axis.
    pub x: f64,
    /// Position along the y axis.
    pub y: f64,
    /// Confidence interval of `y`: drawn as a band under the line.
    pub interval: Option<(f64, f64)>,
    /// Shown on hover, before the numbers.
    pub label: Option<String>,
    /// Shown on hover, in place of everything else.
    pub hover: Option<String>,
    /// Area of the dot relative to the largest, 0..1; counts in a calibration chart.
    pub weight: Option<f64>,
}

impl Point {
    /// A bare point.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, interval: None, label: None, hover: None, weight: None }
    }

    /// With a confidence interval of its `y`.
    pub fn within(mut self, low: f64, high: f64) -> Self {
        self.interval = Some((low, high));
        self
    }

    /// With the text shown on hover.
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        self.hover = Some(text.into());
        self
    }

    /// With a label.
    pub fn named(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    /// With a dot on each point.
    Dotted,
}

/// Points that belong together and share a colour.
#[derive(Debug, Clone)]
pub struct Series {
    name: String,
    kind: Kind,
    points: Vec<Point>,
}

impl Series {
    /// Points joined by a line; their intervals become a band.
    pub fn line(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self { name: name.into(), kind: Kind::Line, points }
    }

    /// Dots joined by a line.
    pub fn dotted_line(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self { name: name.into(), kind: Kind::Dotted, points }
    }
}

/// A chart with two numeric axes, filled step by step and rendered by [`Drawing::svg`].
#[derive(Debug, Clone, Default)]
pub struct Plot {
    title: String,
    x_label: String,
    y_label: String,
    x_scale: Scale,
    x_range: Option<(f64, f64)>,
    y_range: Option<(f64, f64)>,
    series: Vec<Series>,
    levels: Vec<(f64, String)>,
    moments: Vec<(f64, String)>,
    x_ticks: Vec<(f64, String)>,
    diagonal: bool,
}

impl Plot {
    /// An empty chart with its title and the axes' names.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self { title: title.into(), x_label: x_label.into(), y_label: y_label.into(), ..Self::default() }
    }

    /// A reliability diagram: for each bin its mean prediction, its observed mean and how many cases it holds
    /// (Niculescu-Mizil and Caruana, ICML 2005). A calibrated predictor lies on the diagonal.
    pub fn calibration(title: impl Into<String>, bins: &[(f64, f64, usize)]) -> Self {
        let largest = bins.iter().map(|bin| bin.2).max().unwrap_or(1).max(1);
        let points = bins
            .iter()
            .filter(|bin| bin.2 > 0)
            .map(|&(predicted, observed, count)| Point {
                weight: Some(count as f64 / largest as f64),
                ..Point::new(predicted, observed).named(format!("{count} cases"))
            })
            .collect();
        let mut plot = Self::new(title, "predicted", "observed").with(Series::dotted_line("", points));
        plot.diagonal = true;
        plot.x_range = Some((0.0, 1.0));
        plot.y_range = Some((0.0, 1.0));
        plot
    }

    /// Adds a series.
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Adds a dashed horizontal line with a name, such as "best single model".
    pub fn level(mut self, y: f64, name: impl Into<String>) -> Self {
        self.levels.push((y, name.into()));
        self
    }

    /// Adds a dashed vertical line with a name, such as an event.
    pub fn moment(mut self, x: f64, name: impl Into<String>) -> Self {
        self.moments.push((x, name.into()));
        self
    }

    /// Fixes the ends of the x axis.
    pub fn between(mut self, low: f64, high: f64) -> Self {
        self.x_range = Some((low, high));
        self
    }

    /// Puts these marks on the x axis in place of numbers: moments, names.
    pub fn x_ticks(mut self, ticks: Vec<(f64, String)>) -> Self {
        self.x_ticks = ticks;
        self
    }

    /// Makes the x axis logarithmic.
    pub fn log_x(mut self) -> Self {
        self.x_scale = Scale::Log;
        self
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let ys = points()
            .flat_map(|p| [Some(p.y), p.interval.map(|i| i.0), p.interval.map(|i| i.1)])
            .flatten()
            .chain(self.levels.iter().map(|level| level.0));
        let x = Axis::around(points().map(|p| p.x), self.x_scale, self.x_range, WIDTH - LEFT - RIGHT, 6);
        let y = Axis::around(ys, Scale::Linear, self.y_range, HEIGHT - TOP - BOTTOM, 5);
        (x, y)
    }

    fn draw_grid(&self, svg: &mut Svg, x: &Axis, y: &Axis) {
        let bottom = HEIGHT - BOTTOM;
        grid(svg, y, bottom, (LEFT, WIDTH - RIGHT));
        let own: Vec<(f64, String)> = x.ticks().iter().map(|tick| (*tick, format_number(*tick))).collect();
        for (tick, text) in if self.x_ticks.is_empty() { &own } else { &self.x_ticks } {
            let Some(at) = x.at(*tick) else { continue };
            svg.line("grid", (LEFT + at, TOP), (LEFT + at, bottom));
            svg.text("muted", (LEFT + at, bottom + 16.0), "middle", text);
        }
        svg.line("axis", (LEFT, bottom), (WIDTH - RIGHT, bottom));
        svg.text("muted", ((LEFT + WIDTH - RIGHT) / 2.0, bottom + 34.0), "middle", &self.x_label);
        svg.vertical_text("muted", (14.0, (TOP + bottom) / 2.0), &self.y_label);
        if self.diagonal {
            svg.line("ref", (LEFT, bottom), (WIDTH - RIGHT, TOP));
        }
    }

    fn draw_levels(&self, svg: &mut Svg, y: &Axis) {
        let bottom = HEIGHT - BOTTOM;
        for (value, name) in &self.levels {
            let Some(at) = y.at(*value) else { continue };
            svg.line("ref", (LEFT, bottom - at), (WIDTH - RIGHT, bottom - at));
            let text = format!("{name} {}", format_number(*value));
            svg.text("muted", (WIDTH - RIGHT - 4.0, bottom - at - 4.0), "end", &text);
        }
    }

    fn draw_moments(&self, svg: &mut Svg, x: &Axis) {
        for (value, name) in &self.moments {
            let Some(at) = x.at(*value) else { continue };
            svg.line("ref", (LEFT + at, TOP), (LEFT + at, HEIGHT - BOTTOM));
            svg.text("muted", (LEFT + at + 4.0, TOP + 10.0), "start", name);
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|series| series.name.as_str())
    }
}

impl Drawing for Plot {
    fn svg(&self) -> String {
        let legend = Legend::new(self.names(), WIDTH - LEFT - RIGHT);
        let mut svg = Svg::new(WIDTH, HEIGHT + legend.height(), &self.title);
        svg.text("title", (LEFT, 20.0), "start", &self.title);
        let (x, y) = self.axes();
        self.draw_grid(&mut svg, &x, &y);
        self.draw_levels(&mut svg, &y);
        self.draw_moments(&mut svg, &x);
        for (index, series) in self.series.iter().enumerate() {
            draw_series(&mut svg, series, index % COLOURS, &x, &y);
        }
        legend.draw(&mut svg, LEFT, HEIGHT);
        svg.finish()
    }

    fn keys(&self) -> Vec<(usize, &str)> {
        keys(self.names())
    }
}

fn draw_series(svg: &mut Svg, series: &Series, colour: usize, x: &Axis, y: &Axis) {
    let bottom = HEIGHT - BOTTOM;
    let place = |px: f64, py: f64| Some((LEFT + x.at(px)?, bottom - y.at(py)?));
    let upper = series.points.iter().filter_map(|p| place(p.x, p.interval?.1));
    let lower = series.points.iter().rev().filter_map(|p| place(p.x, p.interval?.0));
    let band: Vec<_> = upper.chain(lower).collect();
    svg.path(&format!("band f{colour}"), &band, true, "");
    let line: Vec<_> = series.points.iter().filter_map(|p| place(p.x, p.y)).collect();
    svg.path(&format!("line s{colour}"), &line, false, &series.name);
    // A long line gets no dots: they would hide it and swell the page. A short one gets small ones to hover.
    if series.kind == Kind::Line && series.points.len() > 80 {
        return;
    }
    let radius = if series.kind == Kind::Line { 2.5 } else { 4.5 };
    for point in &series.points {
        let Some(at) = place(point.x, point.y) else { continue };
        let radius = point.weight.map_or(radius, |weight| 2.0 + 8.0 * weight.clamp(0.0, 1.0).sqrt());
        svg.dot(&format!("dot f{colour}"), at, radius, &hover(series, point));
    }
}

fn hover(series: &Series, point: &Point) -> String {
    if let Some(text) = &point.hover {
        return text.clone();
    }
    let name = point.label.as_deref().unwrap_or(&series.name);
    let gap = if name.is_empty() { "" } else { ": " };
    let interval = point
        .interval
        .map(|(low, high)| format!(" [{}, {}]", format_number(low), format_number(high)))
        .unwrap_or_default();
    format!("{name}{gap}x {}, y {}{interval}", format_number(point.x), format_number(point.y))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str, what: &str) -> usize {
        text.matches(what).count()
    }

    #[test]
    fn a_line_with_intervals_has_a_band_and_tells_its_values() {
        let points = vec![Point::new(0.0, 0.5).within(0.4, 0.6), Point::new(10.0, 0.7).within(0.6, 0.8)];
        let plot = Plot::new("Learning", "step", "reward").with(Series::line("tuned", points));
        let svg = plot.level(0.9, "oracle").moment(5.0, "drop").svg();
        assert_eq!(count(&svg, "class=\"band f0\""), 1);
        assert_eq!(count(&svg, "class=\"line s0\""), 1);
        assert!(svg.contains("<title>tuned: x 10, y 0.7 [0.6, 0.8]</title>"));
        assert!(svg.contains("oracle 0.9"));
        assert!(svg.contains("x1=\"344\" y1=\"36\" x2=\"344\" y2=\"312\"") && svg.contains(">drop</text>"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }

    #[test]
    fn calibration_draws_the_diagonal_and_skips_empty_bins() {
        let svg = Plot::calibration("Calibration", &[(0.1, 0.2, 10), (0.5, 0.5, 0), (0.9, 0.8, 40)]).svg();
        assert_eq!(count(&svg, "<circle"), 2);
        assert!(svg.contains("40 cases"));
        assert!(svg.contains("x1=\"64\" y1=\"312\" x2=\"624\" y2=\"36\""));
    }

    #[test]
    fn a_log_axis_leaves_out_what_has_no_place() {
        let points = vec![Point::new(0.0, 1.0), Point::new(0.01, 0.8).named("cheap"), Point::new(1.0, 0.9)];
        let svg = Plot::new("Cost", "usd", "score").log_x().with(Series::dotted_line("models", points)).svg();
        assert_eq!(count(&svg, "<circle"), 2);
        assert!(svg.contains("cheap: x 0.01, y 0.8"));
    }

    #[test]
    fn an_empty_plot_is_still_an_svg_without_nan() {
        let svg = Plot::new("Nothing yet", "x", "y").with(Series::line("none", vec![])).svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
