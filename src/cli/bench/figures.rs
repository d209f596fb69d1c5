//! Figures of many samples: rate and quantiles.

use std::time::Duration;

use super::load::Sample;

/// Samples of one kind of run, taken in slices.
#[derive(Debug, Default)]
pub(super) struct Figures {
    first: Vec<Duration>,
    whole: Vec<Duration>,
    elapsed: Duration,
}

impl Figures {
    /// Adds a slice that took `elapsed`.
    pub(super) fn add(&mut self, samples: &[Sample], elapsed: Duration) {
        self.first.extend(samples.iter().map(|sample| sample.first));
        self.whole.extend(samples.iter().map(|sample| sample.whole));
        self.elapsed += elapsed;
    }

    /// The number of answers.
    pub(super) fn count(&self) -> usize {
        self.whole.len()
    }

    /// Answers per second.
    pub(super) fn per_second(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// A quantile of the time to the whole answer, milliseconds.
    pub(super) fn whole_ms(&mut self, share: f64) -> f64 {
        quantile_ms(&mut self.whole, share)
    }

    /// A quantile of the time to the first byte of the body, milliseconds.
    pub(super) fn first_ms(&mut self, share: f64) -> f64 {
        quantile_ms(&mut self.first, share)
    }
}

/// The nearest-rank quantile.
fn quantile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let rank = (share * times.len() as f64).ceil() as usize;
    times.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sample = |ms| Sample { first: Duration::from_millis(ms), whole: Duration::from_millis(2 * ms) };
        let samples: Vec<Sample> = (1..=100).rev().map(sample).collect();
        let mut figures = Figures::default();
        figures.add(&samples, Duration::from_secs(10));
        assert_eq!((figures.first_ms(0.5), figures.first_ms(0.99)), (50.0, 99.0));
        assert_eq!((figures.whole_ms(0.5), figures.per_second()), (100.0, 10.0));
        assert_eq!(Figures::default().whole_ms(0.5), 0.0);
    }
}
