//! Players: the learned policy, and the policies that it has to beat.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::bandit::{Candidate, Context, Observation, Reward, Settings, SettingsError, Snapshot, Tradeoff};

/// A player.
#[derive(Debug, Clone)]
pub enum Player {
    /// A policy of this gateway, learning as it goes.
    Learned(Box<Snapshot>),
    /// The classifier alone: such a policy that neither learns nor explores.
    Frozen(Box<Snapshot>),
    /// Uniformly random choice.
    Random,
    /// Epsilon-greedy over mean rewards, without context.
    Blind(Blind),
    /// The best single model in hindsight.
    BestSingle,
    /// The oracle: for each prompt the model that did best.
    Oracle,
}

impl Player {
    /// A learned policy.
    ///
    /// # Errors
    ///
    /// Settings out of range.
    pub fn learned(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self::Learned(Box::new(Snapshot::new(settings)?)))
    }

    /// The classifier alone.
    ///
    /// # Errors
    ///
    /// Settings out of range.
    pub fn frozen(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self::Frozen(Box::new(Snapshot::new(settings)?)))
    }

    /// Its name in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Learned(snapshot) => snapshot.settings().policy.name().to_owned(),
            Self::Frozen(_) => "frozen head".into(),
            Self::Random => "random".into(),
            Self::Blind(_) => "epsilon-greedy without context".into(),
            Self::BestSingle => "best single in hindsight".into(),
            Self::Oracle => "oracle".into(),
        }
    }

    /// Index into `candidates` of the chosen one; `None` = this player makes no choice here. `known` are the true
    /// rewards, which only players with hindsight use, and `single` is the candidate that is best in hindsight, if it
    /// is among them.
    pub(super) fn choose(
        &self,
        context: &Context<'_>,
        candidates: &[(usize, Candidate<'_>)],
        tradeoff: &Tradeoff,
        known: &[f64],
        single: Option<usize>,
        rng: &mut StdRng,
    ) -> Option<usize> {
        let chance = rng.random();
        Some(match self {
            Self::Learned(snapshot) | Self::Frozen(snapshot) => {
                let only: Vec<Candidate<'_>> = candidates.iter().map(|(_, candidate)| *candidate).collect();
                let explore = matches!(self, Self::Learned(_));
                snapshot.choose(context, &only, tradeoff, explore, chance).map_or(0, |choice| choice.chosen)
            }
            Self::Random => rng.random_range(0..candidates.len()),
            Self::Blind(blind) => blind.choose(candidates, rng),
            Self::BestSingle => single?,
            Self::Oracle => {
                let gains: Vec<f64> =
                    candidates.iter().zip(known).map(|((_, it), known)| tradeoff.utility(*known, it)).collect();
                best(&gains)
            }
        })
    }

    /// Learns from feedback: arms by index, with their observations.
    pub(super) fn learn(&mut self, feedback: &[(usize, Observation<'_>)]) {
        match self {
            Self::Learned(snapshot) => snapshot.learn(feedback.iter().map(|(_, observation)| *observation)),
            Self::Blind(blind) => feedback.iter().for_each(|(arm, it)| blind.learn(*arm, it.reward)),
            Self::Frozen(_) | Self::Random | Self::BestSingle | Self::Oracle => {}
        }
    }

    /// Whether the player learns from feedback.
    pub(super) fn learns(&self) -> bool {
        matches!(self, Self::Learned(_) | Self::Blind(_))
    }
}

fn best(values: &[f64]) -> usize {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0)
}

/// Epsilon-greedy over plain means. Each model is tried once before means are compared.
#[derive(Debug, Clone)]
pub struct Blind {
    epsilon: f64,
    counts: Vec<f64>,
    sums: Vec<f64>,
}

impl Blind {
    /// A player over `arms` models that explores a share `epsilon` of the time.
    pub fn new(arms: usize, epsilon: f64) -> Self {
        Self { epsilon, counts: vec![0.0; arms], sums: vec![0.0; arms] }
    }

    fn choose(&self, candidates: &[(usize, Candidate<'_>)], rng: &mut impl Rng) -> usize {
        if rng.random::<f64>() < self.epsilon {
            return rng.random_range(0..candidates.len());
        }
        let mean = |(arm, _): &(usize, Candidate<'_>)| {
            if self.counts[*arm] == 0.0 { f64::INFINITY } else { self.sums[*arm] / self.counts[*arm] }
        };
        best(&candidates.iter().map(mean).collect::<Vec<_>>())
    }

    fn learn(&mut self, arm: usize, reward: Reward) {
        self.counts[arm] += 1.0;
        self.sums[arm] += reward.value();
    }
}
