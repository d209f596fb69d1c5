//! How to explore: from beliefs about utilities to a probability for each candidate.
//!
//! Every policy gives its probabilities *exactly*; the choice is one draw from them. Thompson sampling, which usually
//! draws without knowing its probabilities, computes them by numerical integration over its beliefs ([`thompson`]).

use serde::{Deserialize, Serialize};

use super::normal::{Normal, REACH};

/// The exploration policies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PolicyKind {
    /// Always the best by expected utility.
    Greedy,
    /// The best; with probability `epsilon` any at random (Sutton and Barto, "Reinforcement Learning", section 2.2).
    EpsilonGreedy {
        /// Share of requests chosen at random.
        epsilon: f64,
    },
    /// The best by expected utility plus `width` standard deviations (Li and others, "A Contextual-Bandit Approach to
    /// Personalized News Article Recommendation", 2010).
    LinUcb {
        /// How many standard deviations of optimism.
        width: f64,
    },
    /// Each with the probability that it is the best under the beliefs (Thompson 1933; Agrawal and Goyal 2013 for
    /// linear ones), with spreads multiplied by `scale`.
    Thompson {
        /// 1 = as uncertain as the posterior says; less explores less.
        scale: f64,
    },
    /// Inverse to the gap behind the best: `1 / (K + gamma x gap)`, the best takes the rest (Abe and Long 1999;
    /// SquareCB of Foster and Rakhlin 2020), with `gamma = gain x sqrt(K x observations)`.
    InverseGap {
        /// How fast exploration fades.
        gain: f64,
    },
}

impl PolicyKind {
    /// The policy's name on the command line, in configuration and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::EpsilonGreedy { .. } => "epsilon_greedy",
            Self::LinUcb { .. } => "lin_ucb",
            Self::Thompson { .. } => "thompson",
            Self::InverseGap { .. } => "inverse_gap",
        }
    }

    /// The policy of that name, with the parameters that did best in `pointsman replay`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// One of each.
    pub const ALL: [Self; 5] = [
        Self::Greedy,
        Self::EpsilonGreedy { epsilon: 0.05 },
        Self::LinUcb { width: 0.7 },
        Self::Thompson { scale: 0.4 },
        Self::InverseGap { gain: 4.0 },
    ];

    /// Whether the parameters are in range.
    pub(super) fn is_sound(self) -> bool {
        match self {
            Self::Greedy => true,
            Self::EpsilonGreedy { epsilon } => (0.0..=1.0).contains(&epsilon),
            Self::LinUcb { width: size } | Self::Thompson { scale: size } | Self::InverseGap { gain: size } => {
                size.is_finite() && size >= 0.0
            }
        }
    }

    /// Probabilities over candidates whose utilities have these means and standard deviations; they sum to 1.
    /// `seen` is the number of observations that the beliefs rest on.
    pub(super) fn probabilities(self, means: &[f64], spreads: &[f64], seen: f64) -> Vec<f64> {
        let count = means.len() as f64;
        let best = best(means);
        let mut shares = vec![0.0; means.len()];
        match self {
            Self::Greedy => shares[best] = 1.0,
            Self::EpsilonGreedy { epsilon } => {
                shares.fill(epsilon / count);
                shares[best] += 1.0 - epsilon;
            }
            Self::LinUcb { width } => {
                let upper_bounds: Vec<f64> =
                    means.iter().zip(spreads).map(|(mean, spread)| mean + width * spread).collect();
                shares[self::best(&upper_bounds)] = 1.0;
            }
            Self::Thompson { scale } => thompson(means, spreads, scale, &mut shares),
            Self::InverseGap { gain } => {
                let gamma = gain * (count * seen.max(1.0)).sqrt();
                for (share, mean) in shares.iter_mut().zip(means) {
                    *share = 1.0 / (count + gamma * (means[best] - mean));
                }
                shares[best] = 0.0;
                shares[best] = 1.0 - shares.iter().sum::<f64>();
            }
        }
        shares
    }
}

/// Index of the largest; the first of equals.
pub(super) fn best(values: &[f64]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

/// Points at which the distribution of the best draw is evaluated.
const GRID: usize = 64;
/// The grid ends this many standard deviations from the means.
const TAIL: f64 = 4.5;

/// Probability of each candidate to have the largest of independent normal draws.
///
/// The largest draw lies below `t` with probability `F(t) = prod F_k(t)`. Between two points of a grid `ln F` grows by
/// the sum of what each `ln F_k` grows by, so each candidate gets its share of that growth times the mass of the
/// interval. Shares are positive and sum to one whatever the grid, and exact in the limit of a fine one.
fn thompson(means: &[f64], spreads: &[f64], scale: f64, shares: &mut [f64]) {
    let spread = |at: usize| (scale * spreads[at]).max(1e-9);
    let ends = |sign: f64| {
        (0..means.len()).map(move |at| means[at] + sign * TAIL * spread(at)).fold(f64::NEG_INFINITY, f64::max)
    };
    let (low, high) = (ends(-1.0), ends(1.0));
    let step = (high - low) / (GRID - 1) as f64;
    // A candidate that cannot reach the lower end is never the best.
    let able = (0..means.len()).filter(|at| means[*at] + REACH * spread(*at) > low);
    let normal = Normal::new();
    let mut racers: Vec<Racer> = able.map(|at| Racer::at(low, at, means[at], 1.0 / spread(at), normal)).collect();
    let mut mass_before = racers.iter().map(|racer| racer.log_below).sum::<f64>().exp();
    // The mass below the grid goes to the candidate with the best mean.
    shares[best(means)] = mass_before;
    let mut log_mass_of_done = 0.0;
    for point in 1..GRID {
        let t = low + step * point as f64;
        let (mut log_mass, mut growth) = (log_mass_of_done, 0.0);
        for racer in &mut racers {
            let now = normal.log_below((t - racer.mean) * racer.slope);
            racer.grown = now - racer.log_below;
            racer.log_below = now;
            log_mass += now;
            growth += racer.grown;
        }
        let mass = log_mass.exp();
        if growth > 0.0 {
            let weight = (mass - mass_before) / growth;
            racers.iter().for_each(|racer| shares[racer.at] += weight * racer.grown);
        }
        mass_before = mass;
        // A candidate that surely lies below `t` grows no more.
        racers.retain(|racer| {
            let done = racer.mean + REACH / racer.slope < t;
            log_mass_of_done += if done { racer.log_below } else { 0.0 };
            !done
        });
    }
    let total: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
}

/// A candidate that may have the largest draw, at a point of the grid.
struct Racer {
    /// Index of the candidate.
    at: usize,
    mean: f64,
    /// 1 / standard deviation.
    slope: f64,
    /// `ln F_k` at the point.
    log_below: f64,
    /// Growth of `ln F_k` since the point before.
    grown: f64,
}

impl Racer {
    fn at(t: f64, at: usize, mean: f64, slope: f64, normal: Normal) -> Self {
        Self { at, mean, slope, log_below: normal.log_below((t - mean) * slope), grown: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thompson_says_what_drawing_would_show() {
        let (means, spreads) = ([0.70, 0.65, 0.5, 0.1], [0.02, 0.1, 0.3, 0.05]);
        let said = PolicyKind::Thompson { scale: 1.0 }.probabilities(&means, &spreads, 10.0);
        // Normal draws from sums of twelve uniform ones: close enough for two digits.
        let mut state = 1u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut won = [0.0; 4];
        let draws = 40_000;
        for _ in 0..draws {
            let drawn: Vec<f64> =
                (0..4).map(|at| means[at] + spreads[at] * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)).collect();
            won[best(&drawn)] += 1.0 / f64::from(draws);
        }
        for (said, won) in said.iter().zip(won) {
            assert!((said - won).abs() < 0.012, "said {said}, drawn {won}");
        }
    }

    #[test]
    fn thompson_is_the_sum_over_the_grid_that_it_says_it_is() {
        // As the definition reads, candidate by candidate.
        let plainly = |means: &[f64], spreads: &[f64]| {
            let end = |sign: f64| {
                means.iter().zip(spreads).map(|(m, s)| m + sign * TAIL * s).fold(f64::NEG_INFINITY, f64::max)
            };
            let (low, high) = (end(-1.0), end(1.0));
            let below = |at: usize, point: usize| {
                let t = low + (high - low) / (GRID - 1) as f64 * point as f64;
                Normal::new().log_below((t - means[at]) / spreads[at])
            };
            let able: Vec<usize> = (0..means.len()).filter(|at| means[*at] + REACH * spreads[*at] > low).collect();
            let log_mass = |point: usize| able.iter().map(|at| below(*at, point)).sum::<f64>();
            let mut shares = vec![0.0; means.len()];
            shares[best(means)] = log_mass(0).exp();
            for point in 1..GRID {
                let growth = |at: usize| below(at, point) - below(at, point - 1);
                let all: f64 = able.iter().map(|at| growth(*at)).sum();
                let mass = log_mass(point).exp() - log_mass(point - 1).exp();
                able.iter().filter(|_| all > 0.0).for_each(|at| shares[*at] += mass * growth(*at) / all);
            }
            let total: f64 = shares.iter().sum();
            shares.iter().map(|share| share / total).collect::<Vec<_>>()
        };
        for count in [1, 2, 7, 50] {
            let means: Vec<f64> = (0..count).map(|at| 0.5 + 0.3 * f64::from(at * 37 % 50) / 50.0).collect();
            let spreads: Vec<f64> = (0..count).map(|at| 0.001 + 0.02 * f64::from(at * 11 % 7)).collect();
            let said = PolicyKind::Thompson { scale: 1.0 }.probabilities(&means, &spreads, 10.0);
            let plain = plainly(&means, &spreads);
            assert!(said.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-12), "{said:?} is not {plain:?}");
        }
    }

    #[test]
    fn thompson_without_doubt_is_greedy() {
        let said = PolicyKind::Thompson { scale: 0.0 }.probabilities(&[0.3, 0.5, 0.4], &[0.1, 0.1, 0.1], 0.0);
        assert!(said[1] > 0.999_999, "{said:?}");
    }

    #[test]
    fn inverse_gaps_explore_less_the_more_was_seen() {
        let policy = PolicyKind::InverseGap { gain: 1.0 };
        let (few, many) =
            (policy.probabilities(&[0.5, 0.4], &[0.0; 2], 1.0), policy.probabilities(&[0.5, 0.4], &[0.0; 2], 1e6));
        assert!(few[1] > 0.4 && many[1] < 0.01);
    }
}
