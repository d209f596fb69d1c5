//! Numeric axes: a range, where the ticks stand, and how a number is written.
//!
//! Ticks of a linear axis stand at 1, 2 or 5 times a power of ten (Heckbert, "Nice numbers for graph labels",
//! Graphics Gems, 1990); those of a logarithmic one at powers of ten, or at 1, 2 and 5 times them where fewer than
//! two decades show.

/// How values become positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal steps for equal differences.
    #[default]
    Linear,
    /// Equal steps for equal ratios; values that are not positive are left out of the chart.
    Log,
}

/// A numeric axis of `length` user units.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    length: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis around `values`, widened to round numbers, or exactly `fixed` where given. Without a usable value it
    /// spans 0 to 1 (1 to 10 on a logarithmic scale).
    pub fn around(
        values: impl Iterator<Item = f64>,
        scale: Scale,
        fixed: Option<(f64, f64)>,
        length: f64,
        wanted_ticks: usize,
    ) -> Self {
        let usable = values.filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0));
        let (mut low, mut high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = if scale == Scale::Log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        if let Some(fixed) = fixed.filter(|(from, to)| from < to && (scale == Scale::Linear || *from > 0.0)) {
            (low, high) = fixed;
            let ticks = ticks(scale, low, high, wanted_ticks).into_iter().filter(|t| inside(*t, low, high)).collect();
            return Self { scale, low, high, length, ticks };
        }
        if low == high {
            (low, high) = match scale {
                Scale::Linear => {
                    let room = low.abs().max(1.0) * 0.1;
                    // What is never negative, such as a share, has no place below zero.
                    let below = if low < 0.0 { low - room } else { (low - room).max(0.0) };
                    (below, high + room)
                }
                Scale::Log => (low / 2.0, high * 2.0),
            };
        }
        let mut ticks = ticks(scale, low, high, wanted_ticks);
        if scale == Scale::Linear {
            low = ticks.first().copied().unwrap_or(low).min(low);
            high = ticks.last().copied().unwrap_or(high).max(high);
        } else {
            (low, high) = (low / 1.15, high * 1.15);
            ticks.retain(|t| inside(*t, low, high));
        }
        Self { scale, low, high, length, ticks }
    }

    /// Position of `value` from the axis' low end, clamped to its ends; `None` for a value that the scale cannot show.
    pub fn at(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.scale == Scale::Log && value <= 0.0) {
            return None;
        }
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        Some(share.clamp(0.0, 1.0) * self.length)
    }

    /// Values at the ticks.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// The axis' ends.
    pub fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }
}

fn inside(value: f64, low: f64, high: f64) -> bool {
    let slack = (high - low) * 1e-9;
    value >= low - slack && value <= high + slack
}

fn ticks(scale: Scale, low: f64, high: f64, wanted: usize) -> Vec<f64> {
    match scale {
        Scale::Linear => {
            let step = nice_step((high - low) / wanted.max(1) as f64);
            let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
            // A tick is a whole multiple of the step, so that 0.1 + 0.2 never shows as 0.30000000000000004.
            (first..=last).map(|i| round_to(i as f64 * step, step)).collect()
        }
        Scale::Log => {
            let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
            let factors: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            (first..=last).flat_map(|e| factors.iter().map(move |f| f * 10f64.powi(e))).collect()
        }
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let magnitude = 10f64.powf(rough.log10().floor());
    let factor = rough / magnitude;
    let nice = [1.0, 2.0, 5.0].into_iter().find(|n| factor <= *n + 1e-9).unwrap_or(10.0);
    nice * magnitude
}

fn round_to(value: f64, step: f64) -> f64 {
    let decimals = (-step.log10()).ceil().max(0.0) as i32 + 1;
    let unit = 10f64.powi(decimals);
    (value * unit).round() / unit
}

/// A number for people: four significant digits at most, thousands and millions by letter, tiny ones in powers of
/// ten.
pub fn format_number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "-".into(),
        0.0 => "0".into(),
        s if s >= 1e9 => format!("{}G", trim(value / 1e9, 2)),
        s if s >= 1e6 => format!("{}M", trim(value / 1e6, 2)),
        s if s >= 1e4 => format!("{}k", trim(value / 1e3, 1)),
        s if s >= 100.0 => trim(value, 1),
        s if s >= 1.0 => trim(value, 3),
        s if s >= 1e-3 => trim(value, 4),
        _ => format!("{value:.1e}"),
    }
}

fn trim(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_span_the_data() {
        let axis = Axis::around([0.13, 0.58].into_iter(), Scale::Linear, None, 100.0, 5);
        assert_eq!(axis.ticks(), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!(axis.range(), (0.1, 0.6));
        assert!((axis.at(0.35).unwrap() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn log_axis_spaces_ratios_equally_and_refuses_zero() {
        let axis = Axis::around([1e-4, 1e-2].into_iter(), Scale::Log, Some((1e-4, 1e-2)), 100.0, 5);
        assert!((axis.at(1e-3).unwrap() - 50.0).abs() < 1e-9);
        assert_eq!(axis.at(0.0), None);
        assert_eq!(axis.at(f64::NAN), None);
    }

    #[test]
    fn odd_ranges_still_make_an_axis() {
        for scale in [Scale::Linear, Scale::Log] {
            for values in [vec![], vec![3.0], vec![f64::NAN], vec![f64::INFINITY, 2.0], vec![0.0], vec![-5.0, -5.0]] {
                let axis = Axis::around(values.iter().copied(), scale, None, 100.0, 5);
                let (low, high) = axis.range();
                assert!(low < high && low.is_finite() && high.is_finite(), "{scale:?} {values:?}");
                assert!(!axis.ticks().is_empty() && axis.ticks().len() < 40);
            }
        }
    }

    #[test]
    fn one_value_of_what_is_never_negative_has_no_axis_below_zero() {
        let lowest = |value: f64| Axis::around([value].into_iter(), Scale::Linear, None, 100.0, 5).range().0;
        assert_eq!([0.0, 0.05].map(lowest), [0.0, 0.0]);
        assert!(lowest(3.0) > 2.0 && lowest(-2.0) < -2.0);
    }

    #[test]
    fn numbers_are_written_for_people() {
        let cases =
            [(0.0, "0"), (0.5, "0.5"), (12_345.0, "12.3k"), (2.5e6, "2.5M"), (1.2e-5, "1.2e-5"), (99.0, "99")];
        for (value, text) in cases {
            assert_eq!(format_number(value), text);
        }
        assert_eq!(format_number(f64::NAN), "-");
    }
}
