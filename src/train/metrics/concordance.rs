//! AUROC and its generalisation to graded outcomes.

/// The probability that of two cases with different outcomes the one with the better outcome has the higher
/// prediction; equal predictions count half.
///
/// With outcomes 0 and 1 it is the area under the ROC curve (Hanley and McNeil, Radiology 1982); with graded outcomes
/// it is Harrell's concordance index. `None` if all outcomes are equal. Takes time n log n.
pub fn concordance(cases: &[(f32, f32)]) -> Option<f64> {
    // Cases enter a counting tree by rank of prediction, in groups of equal outcome from worst to best. What already
    // is in the tree is worse than what enters, so counting below and equal gives the won and the tied pairs.
    let mut predictions: Vec<f32> = cases.iter().map(|case| case.0).collect();
    predictions.sort_by(f32::total_cmp);
    predictions.dedup();
    let rank = |p: f32| predictions.partition_point(|other| other.total_cmp(&p).is_lt());
    let mut order: Vec<(f32, usize)> = cases.iter().map(|(p, outcome)| (*outcome, rank(*p))).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));

    let mut tree = Counts::new(predictions.len());
    let (mut won, mut pairs, mut seen) = (0.0, 0.0, 0u64);
    for group in order.chunk_by(|a, b| a.0 == b.0) {
        for (_, rank) in group {
            let (below, up_to) = (tree.below(*rank), tree.below(rank + 1));
            won += below as f64 + 0.5 * (up_to - below) as f64;
            pairs += seen as f64;
        }
        group.iter().for_each(|(_, rank)| tree.add(*rank));
        seen += group.len() as u64;
    }
    (pairs > 0.0).then(|| won / pairs)
}

/// A Fenwick tree: counts with fast prefix sums.
struct Counts(Vec<u64>);

impl Counts {
    fn new(size: usize) -> Self {
        Self(vec![0; size + 1])
    }

    fn add(&mut self, index: usize) {
        let mut at = index + 1;
        while at < self.0.len() {
            self.0[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    /// How many stand at an index lower than `end`.
    fn below(&self, end: usize) -> u64 {
        let (mut at, mut sum) = (end, 0);
        while at > 0 {
            sum += self.0[at];
            at &= at - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_pairs_and_halves_ties() {
        // Positives .8 .4, negatives .4 .2: pairs .8>.4, .8>.2, .4=.4 (half), .4>.2: 3.5 of 4.
        assert_eq!(concordance(&[(0.8, 1.0), (0.4, 1.0), (0.4, 0.0), (0.2, 0.0)]), Some(0.875));
        assert_eq!(concordance(&[(0.1, 1.0), (0.9, 0.0)]), Some(0.0));
        assert_eq!(concordance(&[(0.5, 1.0), (0.5, 0.0), (0.5, 0.0)]), Some(0.5));
    }

    #[test]
    fn graded_outcomes_count_every_unequal_pair() {
        // Outcomes .2 < .5 < .9; predictions order them 1, 3, 2: of three pairs one is wrong.
        let value = concordance(&[(1.0, 0.2), (3.0, 0.5), (2.0, 0.9)]).unwrap();
        assert!((value - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn one_kind_of_outcome_has_no_concordance() {
        assert_eq!(concordance(&[(0.3, 1.0), (0.6, 1.0)]), None);
        assert_eq!(concordance(&[]), None);
    }
}
