//! Logarithms of the standard normal distribution function, from a table.
//!
//! Thompson propensities need thousands of values within microseconds. A table with linear interpolation is wrong by
//! less than 1e-4. That makes no logged propensity wrong: the choice is drawn from the very probabilities that the
//! table gives.

use std::sync::LazyLock;

/// Entries per unit.
const STEPS: f64 = 64.0;
/// The table ends at this many standard deviations.
pub(super) const REACH: f64 = 6.0;
const ENTRIES: usize = (2.0 * REACH * STEPS) as usize + 2;

/// `ln F` at `-REACH`, `-REACH + 1/STEPS`, ...: Simpson's rule over the density, entry to entry, from the left tail on.
static LOG_BELOW: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let step = 1.0 / STEPS;
    // The tail left of the table: density / |x|, the first term of its asymptotic series, less the second.
    let mut total = density(REACH) / REACH * (1.0 - 1.0 / (REACH * REACH));
    (0..ENTRIES)
        .map(|at| {
            let left = -REACH + at as f64 * step;
            let below: f64 = total;
            total += step / 6.0 * (density(left) + 4.0 * density(left + step / 2.0) + density(left + step));
            below.min(1.0).ln()
        })
        .collect()
});

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// A handle to the table, taken once per choice.
#[derive(Clone, Copy)]
pub(super) struct Normal(&'static [f64]);

impl Normal {
    pub(super) fn new() -> Self {
        Self(&LOG_BELOW)
    }

    /// Logarithm of the probability of a value below `x`; flat beyond [`REACH`].
    pub(super) fn log_below(self, x: f64) -> f64 {
        let at = ((x + REACH) * STEPS).clamp(0.0, (ENTRIES - 2) as f64);
        // By way of i32: converting to u64 takes several instructions, and this line is most of the cost of choosing.
        let entry = at as i32;
        let (low, high) = (self.0[entry as usize], self.0[entry as usize + 1]);
        low + (high - low) * (at - f64::from(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_agrees_with_the_books() {
        let normal = Normal::new();
        for (x, below) in [(0.0, 0.5), (1.0, 0.841_345), (-1.96, 0.024_998), (2.575_8, 0.995), (9.0, 1.0)] {
            assert!((normal.log_below(x).exp() - below).abs() < 1e-4, "{x}: {}", normal.log_below(x).exp());
        }
        assert!((normal.log_below(-5.0) - 2.866_5e-7_f64.ln()).abs() < 1e-2);
    }
}
