//! A histogram of milliseconds with logarithmic buckets, for quantiles; values can be removed again.
//!
//! Buckets grow by 2 %, so a quantile is right within 1 %.

use std::cmp::Ordering;

/// Ratio of a bucket's size to that of the one before.
const GROWTH: f64 = 1.02;
/// Where the first bucket ends.
const LEAST_MS: f64 = 0.05;

/// Counts by bucket, smallest first; empty buckets are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    counts: Vec<(u16, u32)>,
}

fn bucket(ms: f64) -> u16 {
    // Casts of floats saturate.
    ((ms / LEAST_MS).ln() / GROWTH.ln()).max(0.0) as u16
}

fn middle(bucket: u16) -> f64 {
    LEAST_MS * GROWTH.powf(f64::from(bucket) + 0.5)
}

impl Histogram {
    /// Adds a value, or removes it (`more` = false).
    pub(super) fn note(&mut self, ms: f64, more: bool) {
        let size = bucket(ms);
        match self.counts.binary_search_by_key(&size, |(size, _)| *size) {
            Ok(at) if more => self.counts[at].1 = self.counts[at].1.saturating_add(1),
            Ok(at) if self.counts[at].1 > 1 => self.counts[at].1 -= 1,
            Ok(at) => drop(self.counts.remove(at)),
            Err(at) if more => self.counts.insert(at, (size, 1)),
            Err(_) => {}
        }
    }

    /// Adds another's counts.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.counts.len().max(other.counts.len()));
        let (mut mine, mut theirs) = (self.counts.as_slice(), other.counts.as_slice());
        while let (Some((a, mine_left)), Some((b, theirs_left))) = (mine.split_first(), theirs.split_first()) {
            merged.push(match a.0.cmp(&b.0) {
                Ordering::Less => *a,
                Ordering::Greater => *b,
                Ordering::Equal => (a.0, a.1.saturating_add(b.1)),
            });
            mine = if a.0 <= b.0 { mine_left } else { mine };
            theirs = if b.0 <= a.0 { theirs_left } else { theirs };
        }
        merged.extend_from_slice(mine);
        merged.extend_from_slice(theirs);
        self.counts = merged;
    }

    /// The nearest-rank quantile, milliseconds.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.counts.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut left = ((share * all as f64).ceil() as u64).max(1);
        for (size, count) in &self.counts {
            if left <= u64::from(*count) {
                return Some(middle(*size));
            }
            left -= u64::from(*count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_one_in_a_hundred() {
        let mut all = Histogram::default();
        let mut halves = [Histogram::default(), Histogram::default()];
        for n in 1..=1000u32 {
            all.note(f64::from(n) * 3.0, true);
            halves[n as usize % 2].note(f64::from(n) * 3.0, true);
        }
        for (share, truth) in [(0.5, 1500.0), (0.95, 2850.0), (0.99, 2970.0)] {
            let said = all.quantile(share).unwrap();
            assert!((said / truth - 1.0).abs() < 0.0101, "{share}: {said} for {truth}");
        }
        let [mut one, two] = halves;
        one.merge(&two);
        assert_eq!(one, all);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_taken_out_was_never_there() {
        let mut counts = Histogram::default();
        counts.note(12.0, true);
        let before = counts.clone();
        for ms in [0.0, 0.01, 12.0, 1e9, f64::INFINITY] {
            counts.note(ms, true);
            counts.note(ms, false);
        }
        assert_eq!(counts, before);
    }
}
