//! How much is tried out where nobody judges.
//!
//! A try-out gives away quality or money to learn which model is better, and only a judgement tells that. Without any
//! the beliefs stay as wide as they began, and most choices among models of weak priors would be try-outs for ever. So
//! once choices have gone unjudged for long, fewer of them may be try-outs: with probability [`curiosity`] a choice is
//! drawn as ever, and else it is the best by utility. Both are known when the choice is made, so propensities stay exact.
//!
//! A part of the choices, and not narrower draws in all of them: whatever the policy is, the price of trying falls as the
//! part does, and every model keeps a share that later estimates can rest on; its speed and the length of its answers,
//! which need no judgement, are still seen.

/// Unjudged choices in a row before try-outs become fewer. Where one answer in a hundred is judged, one run in a hundred
/// and fifty is longer, and by little.
const PATIENCE: f64 = 500.0;

/// What each judgement learned so far adds to that; a signal adds nothing, since it comes whether anybody judges or not.
/// Judgements may come late and many at once (an evaluation every night): where one in a hundred answers or more is
/// judged, the run between two batches is never longer than this.
const PER_JUDGEMENT: f64 = 100.0;

/// Share of the choices that may be try-outs, after `unjudged` choices in a row without a judgement, and `judged` ones
/// before: 1 within the patience, then as large a part as that is of the run.
pub(super) fn curiosity(unjudged: u64, judged: u64) -> f64 {
    let patience = PATIENCE + PER_JUDGEMENT * judged as f64;
    (patience / (unjudged as f64).max(1.0)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_judges_try_outs_become_rare_and_the_first_judgement_brings_them_back() {
        assert_eq!([0, 1, 500].map(|unjudged| curiosity(unjudged, 0)), [1.0; 3]);
        assert_eq!([1_000, 5_000, 50_000].map(|unjudged| curiosity(unjudged, 0)), [0.5, 0.1, 0.01]);
        assert_eq!(curiosity(0, 1), 1.0);
        let all: f64 = (0..10_000).map(|unjudged| curiosity(unjudged, 0)).sum();
        assert!(all < 2_000.0, "{all} of 10,000 choices drawn as ever");
    }

    /// The choices drawn as ever of `count`, where a share of the answers is judged, and is told `every` choices at once.
    fn drawn(count: u64, share: f64, every: u64) -> f64 {
        let (mut unjudged, mut judged, mut waiting, mut sum) = (0, 0, 0, 0.0);
        let mut draw = 7_u64;
        for number in 1..=count {
            sum += curiosity(unjudged, judged);
            unjudged += 1;
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            waiting += u64::from((draw >> 11) as f64 / ((1_u64 << 53) as f64) < share);
            if waiting > 0 && number.is_multiple_of(every) {
                (unjudged, judged, waiting) = (0, judged + waiting, 0);
            }
        }
        sum / count as f64
    }

    #[test]
    fn where_some_are_judged_all_is_tried_out_as_ever() {
        for share in [0.3, 0.1, 0.03, 0.01] {
            assert_eq!(drawn(50_000, share, 1), 1.0, "{share}");
        }
        // One in a thousand: only before the first ones.
        let few = drawn(50_000, 0.001, 1);
        assert!(few > 0.85, "{few}");
        // Batches of ten thousand answers: only before the first.
        for share in [0.3, 0.01] {
            let batches = drawn(100_000, share, 10_000);
            assert!(batches > 0.915, "{share}: {batches}");
            assert!((batches * 100_000.0 - drawn(10_000, share, 10_000) * 10_000.0 - 90_000.0).abs() < 1e-6);
        }
    }
}
