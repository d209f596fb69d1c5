//! The best single model in hindsight, which regret is measured against.

use std::ops::Range;

/// A model with its mean score over the prompts that it was run on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Single {
    /// Its index.
    pub arm: usize,
    /// Its mean score.
    pub level: f64,
}

/// The best of `arms` models over `prompts`; `score` gives the reward of a model's answer, if it was run. It is the one
/// with the highest mean among the models that were run on at least half of the prompts, because on fewer one can be
/// best by luck; if none was, the one that was run most. `None` = no model was run.
pub(super) fn best_single(
    arms: usize,
    prompts: Range<usize>,
    score: impl Fn(usize, usize) -> Option<f32>,
) -> Option<Single> {
    let length = prompts.len();
    let seen = |arm: usize| {
        let scores: Vec<f64> = prompts.clone().filter_map(|at| score(at, arm)).map(f64::from).collect();
        (scores.len(), Single { arm, level: scores.iter().sum::<f64>() / scores.len().max(1) as f64 })
    };
    let all: Vec<(usize, Single)> = (0..arms).map(seen).filter(|(runs, _)| *runs > 0).collect();
    let by_level = |(_, a): &(usize, Single), (_, b): &(usize, Single)| a.level.total_cmp(&b.level);
    let enough = all.iter().copied().filter(|(runs, _)| runs * 2 >= length).max_by(by_level);
    let most = || all.iter().copied().max_by(|a, b| a.0.cmp(&b.0).then(by_level(a, b)));
    enough.or_else(most).map(|(_, single)| single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_hardly_run_is_not_the_best_unless_nobody_was_run_more() {
        let table: [[Option<f32>; 3]; 4] = [
            [Some(0.5), Some(0.75), Some(1.0)],
            [Some(0.5), Some(0.25), None],
            [Some(0.5), None, None],
            [Some(0.5), None, None],
        ];
        let over = |prompts| best_single(3, prompts, |at, arm| table[at][arm]);
        assert_eq!(over(0..4), Some(Single { arm: 1, level: 0.5 }), "run on half of them");
        assert_eq!(best_single(3, 0..4, |at, arm| table[at][arm].filter(|_| arm == 2)).map(|it| it.arm), Some(2));
        let thirds = |at: usize, arm: usize| (at % 3 == arm && at < 8).then_some([0.9, 0.8, 1.0][arm]);
        assert_eq!(best_single(3, 0..8, thirds).map(|it| it.arm), Some(0), "run most, and better than the other");
        assert_eq!(best_single(3, 0..0, thirds), None);
    }
}
