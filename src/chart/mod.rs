//! Small charts as SVG text: lines with confidence bands, points, calibration and cost-quality curves, bars.
//!
//! Training reports, replay and the dashboard draw with it. A chart is a value that is filled and then rendered to
//! one `<svg>` element; nothing here reads a clock, a file or the network. Colours are CSS variables of [`STYLE`],
//! which the page embeds once, so charts follow the page into light and dark; every mark carries a `<title>`, so a
//! pointer resting on it shows the value and a screen reader can read it out.
//!
//! [`Plot`] has two numeric axes (linear or logarithmic); [`Bars`] has one, with a name for each bar;
//! [`Columns`] are stacked over time. What it leaves out: interaction beyond hovering.
//!
//! A page that is too narrow for a whole chart scrolls it, and then shows title and keys ([`Drawing::keys`]) by
//! itself: in the chart they have the classes `title` and `key`, to be hidden there.

mod axis;
mod bars;
mod columns;
mod legend;
mod plot;
mod style;
mod svg;

pub use axis::{Scale, format_number};
pub use bars::{Bar, Bars};
pub use columns::{Column, Columns};
pub use plot::{Plot, Point, Series};
pub use style::STYLE;
pub use svg::escape;

/// A filled chart.
pub trait Drawing {
    /// The chart as one `<svg>` element.
    fn svg(&self) -> String;

    /// The legend's entries: the number of the colour (class `f0` and so on), and the name of what has it.
    fn keys(&self) -> Vec<(usize, &str)>;
}
