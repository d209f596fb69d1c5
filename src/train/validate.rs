//! A trial of off-policy estimates on data where the true values are known.
//!
//! On recorded outcomes every policy's value can be computed. So a log is drawn with one policy, another policy is
//! estimated from it, and its true value is compared with the interval, a few hundred times over. The evaluated policy
//! is a learned one; the logs are made by a policy that explores evenly, and by one that nearly always takes the same
//! model.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::replay::Stream;
use crate::bandit::{Candidate, Observation, Reward, Settings, SettingsError, Snapshot, Tradeoff};
use crate::ope::{self, Doubt, Logged, Method};

/// The policy that makes a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Logging {
    /// Half by the judged policy, half uniformly.
    Even,
    /// Nine times in ten the same model, the rest uniformly.
    Skewed,
}

/// How one method did on one kind of log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// How the log was made.
    pub logging: Logging,
    /// The method.
    pub method: Method,
    /// The judged policy's true value.
    pub truth: f64,
    /// Logs from which the method could estimate nothing; the figures below are over the others, and NaN where there
    /// are none.
    pub silent: usize,
    /// Mean of estimates less truth.
    pub bias: f64,
    /// Root of the mean squared error.
    pub error: f64,
    /// Share of intervals that held the truth.
    pub coverage: f64,
    /// Mean width of the intervals.
    pub width: f64,
    /// Mean effective sample size.
    pub effective: f64,
    /// Share of the estimates that are not to be relied on ([`ope::Estimate::doubt`]).
    pub doubted: f64,
    /// Coverage of the others; absent where there are none.
    pub relied_on_coverage: Option<f64>,
    /// Why, the gravest first.
    pub doubts: Vec<Doubt>,
}

/// The trial's size.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Logs drawn.
    pub repetitions: usize,
    /// Requests of each.
    pub requests: usize,
    /// The seed of everything drawn.
    pub seed: u64,
}

/// Tries all methods on `stream`. The judged policy learns from its first half and is judged on the second.
///
/// # Errors
///
/// Settings out of range.
pub fn validate(stream: &Stream, settings: Settings, trial: &Trial) -> Result<Vec<Verdict>, SettingsError> {
    let half = stream.items.len() / 2;
    let mut rng = StdRng::seed_from_u64(trial.seed);
    let mut judged = Snapshot::new(settings)?;
    judged.learn((0..half).filter_map(|at| {
        let able: Vec<usize> = able(stream, at);
        let arm = *able.get(rng.random_range(0..able.len().max(1)))?;
        observation(stream, at, arm)
    }));
    let population: Vec<Prompt> = (half..stream.items.len()).filter_map(|at| prompt(stream, &judged, at)).collect();
    let truth = population.iter().map(Prompt::value).sum::<f64>() / population.len().max(1) as f64;
    let favourite = favourite(stream, &population);
    let mut verdicts = Vec::new();
    for logging in [Logging::Even, Logging::Skewed] {
        let mut tallies = Method::ALL.map(|method| Repeated { method, ..Repeated::new() });
        for _ in 0..trial.repetitions {
            let log = draw(stream, &population, logging, favourite, trial.requests, settings, &mut rng)?;
            for tally in &mut tallies {
                tally.take(&log, truth);
            }
        }
        verdicts.extend(tallies.into_iter().map(|tally| tally.verdict(logging, truth, trial.repetitions)));
    }
    Ok(verdicts)
}

/// A prompt as the trial needs it.
struct Prompt {
    at: usize,
    arms: Vec<usize>,
    scores: Vec<f64>,
    /// The judged policy's probabilities.
    targets: Vec<f64>,
}

impl Prompt {
    fn value(&self) -> f64 {
        self.targets.iter().zip(&self.scores).map(|(share, score)| share * score).sum()
    }
}

fn able(stream: &Stream, at: usize) -> Vec<usize> {
    (0..stream.arms.len()).filter(|arm| stream.items[at].scores[*arm].is_some()).collect()
}

fn candidates<'a>(stream: &'a Stream, arms: &[usize], at: usize) -> Vec<Candidate<'a>> {
    arms.iter()
        .map(|arm| Candidate {
            model: &stream.arms[*arm],
            prior: stream.items[at].priors.get(*arm).copied().unwrap_or(0.5),
            grounds: stream.grounds[*arm],
            cost_usd: 0.0,
            latency_s: None,
            switching_usd: 0.0,
        })
        .collect()
}

fn observation(stream: &Stream, at: usize, arm: usize) -> Option<Observation<'_>> {
    Some(Observation {
        model: &stream.arms[arm],
        context: stream.context(at),
        prior: stream.items[at].priors.get(arm).copied().unwrap_or(0.5),
        grounds: stream.grounds[arm],
        reward: Reward::new(f64::from(stream.items[at].scores[arm]?).clamp(0.0, 1.0)).ok()?,
        weight: 1.0,
        judged: true,
    })
}

fn prompt(stream: &Stream, judged: &Snapshot, at: usize) -> Option<Prompt> {
    let arms = able(stream, at);
    let choice =
        judged.choose(&stream.context(at), &candidates(stream, &arms, at), &Tradeoff::default(), true, 0.0)?;
    let scores = arms.iter().map(|arm| f64::from(stream.items[at].scores[*arm].unwrap_or(0.0))).collect();
    Some(Prompt { at, arms, scores, targets: choice.propensities })
}

/// The model that the judged policy takes second most often: a log of it says little about the judged policy.
fn favourite(stream: &Stream, population: &[Prompt]) -> usize {
    let mut shares = vec![0.0; stream.arms.len()];
    for prompt in population {
        prompt.arms.iter().zip(&prompt.targets).for_each(|(arm, share)| shares[*arm] += share);
    }
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    order.get(1).or(order.first()).copied().unwrap_or(0)
}

/// The logging policy's probabilities on one prompt.
fn behavior(prompt: &Prompt, logging: Logging, favourite: usize) -> Vec<f64> {
    let even = 1.0 / prompt.arms.len() as f64;
    let named = prompt.arms.iter().position(|arm| *arm == favourite);
    match (logging, named) {
        (Logging::Even, _) => prompt.targets.iter().map(|target| 0.5 * target + 0.5 * even).collect(),
        (Logging::Skewed, Some(named)) => {
            (0..prompt.arms.len()).map(|at| 0.1 * even + 0.9 * f64::from(u8::from(at == named))).collect()
        }
        (Logging::Skewed, None) => vec![even; prompt.arms.len()],
    }
}

/// A log of `requests` prompts drawn with replacement, with a reward model that was learned on the other half of the
/// log.
fn draw(
    stream: &Stream,
    population: &[Prompt],
    logging: Logging,
    favourite: usize,
    requests: usize,
    settings: Settings,
    rng: &mut StdRng,
) -> Result<Vec<Logged>, SettingsError> {
    let mut drawn: Vec<(usize, usize, f64)> = Vec::with_capacity(requests);
    for _ in 0..requests {
        let which = rng.random_range(0..population.len());
        let shares = behavior(&population[which], logging, favourite);
        let mut left: f64 = rng.random();
        let chosen = shares.iter().position(|share| {
            left -= share;
            left < 0.0
        });
        let chosen = chosen.unwrap_or(shares.len() - 1);
        drawn.push((which, chosen, shares[chosen]));
    }
    // Without drift detection: the halves are not streams in time.
    let settings = Settings { half_life: None, drift: None, ..settings };
    let mut models = [Snapshot::new(settings)?, Snapshot::new(settings)?];
    for (side, model) in models.iter_mut().enumerate() {
        let part = drawn.iter().enumerate().filter(|(at, _)| at % 2 != side);
        model.learn(part.filter_map(|(_, (which, chosen, _))| {
            let prompt = &population[*which];
            observation(stream, prompt.at, prompt.arms[*chosen])
        }));
    }
    Ok(drawn
        .iter()
        .enumerate()
        .filter_map(|(at, (which, chosen, propensity))| {
            let prompt = &population[*which];
            let candidates = candidates(stream, &prompt.arms, prompt.at);
            let expect = |candidate| models[at % 2].quality(&stream.context(prompt.at), candidate);
            let expected: Vec<f64> = candidates.iter().map(expect).collect();
            Logged::of(*propensity, prompt.scores[*chosen], *chosen, &prompt.targets, &expected)
        })
        .collect())
}

/// A method's estimates from log after log.
struct Repeated {
    method: Method,
    errors: Vec<f64>,
    held: usize,
    /// Estimates to rely on, and how many of their intervals held.
    sound: (usize, usize),
    doubts: BTreeSet<Doubt>,
    width: f64,
    effective: f64,
}

impl Repeated {
    fn new() -> Self {
        Self {
            method: Method::Ips,
            errors: Vec::new(),
            held: 0,
            sound: (0, 0),
            doubts: BTreeSet::new(),
            width: 0.0,
            effective: 0.0,
        }
    }

    fn take(&mut self, log: &[Logged], truth: f64) {
        let settings = ope::Settings::default();
        let Some(estimate) = ope::estimate(log, self.method, &settings) else { return };
        self.errors.push(estimate.value - truth);
        let held = usize::from(estimate.low <= truth && truth <= estimate.high);
        self.held += held;
        match estimate.doubt(settings.interval) {
            Some(doubt) => _ = self.doubts.insert(doubt),
            None => self.sound = (self.sound.0 + 1, self.sound.1 + held),
        }
        self.width += estimate.high - estimate.low;
        self.effective += estimate.effective;
    }

    fn verdict(self, logging: Logging, truth: f64, repetitions: usize) -> Verdict {
        let n = self.errors.len() as f64;
        Verdict {
            logging,
            method: self.method,
            truth,
            silent: repetitions - self.errors.len(),
            bias: self.errors.iter().sum::<f64>() / n,
            error: (self.errors.iter().map(|error| error * error).sum::<f64>() / n).sqrt(),
            coverage: self.held as f64 / n,
            width: self.width / n,
            effective: self.effective / n,
            doubted: 1.0 - self.sound.0 as f64 / n,
            relied_on_coverage: (self.sound.0 > 0).then(|| self.sound.1 as f64 / self.sound.0 as f64),
            doubts: self.doubts.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay::Item;
    use super::*;
    use crate::bandit::Grounds;
    use crate::protocol::ModelName;

    #[test]
    fn logs_that_say_nothing_are_told_apart() {
        let tally = |logs: &[Vec<Logged>]| {
            let mut tally = Repeated { method: Method::Ips, ..Repeated::new() };
            logs.iter().for_each(|log| tally.take(log, 0.25));
            tally.verdict(Logging::Even, 0.25, logs.len())
        };
        let logged = Logged { propensity: 0.5, reward: 0.75, target: 0.5, modelled: None };
        let all = tally(&[vec![logged; 5], vec![logged; 5]]);
        let some = tally(&[vec![logged; 5], Vec::new(), vec![logged; 5], Vec::new()]);
        assert_eq!((all.silent, some.silent), (0, 2));
        assert!((some.bias - 0.5).abs() < 1e-9, "{some:?}");
        assert_eq!((all.bias, all.error, all.width), (some.bias, some.error, some.width));
    }

    #[test]
    fn estimates_that_are_not_to_be_relied_on_are_counted_apart() {
        let tally = |logs: &[Vec<Logged>]| {
            let mut tally = Repeated { method: Method::Ips, ..Repeated::new() };
            logs.iter().for_each(|log| tally.take(log, 0.75));
            tally.verdict(Logging::Skewed, 0.75, logs.len())
        };
        let logged = |propensity, target| Logged { propensity, reward: 0.75, target, modelled: None };
        let whole = vec![logged(0.5, 0.5); 200];
        // A quarter of what the policy does is not in the log, so the interval misses.
        let part = [vec![logged(0.5, 0.5); 150], vec![logged(0.5, 0.0); 50]].concat();
        let mixed = tally(&[whole.clone(), part]);
        assert_eq!((mixed.doubted, mixed.relied_on_coverage, mixed.coverage), (0.5, Some(1.0), 0.5), "{mixed:?}");
        assert_eq!(mixed.doubts, [Doubt::Uncovered]);
        let sound = tally(&[whole]);
        assert_eq!((sound.doubted, sound.relied_on_coverage, sound.doubts.len()), (0.0, Some(1.0), 0));
    }

    #[test]
    fn weighted_methods_are_unbiased_and_their_intervals_hold() {
        let mut rng = StdRng::seed_from_u64(2);
        let items = (0..4000)
            .map(|_| {
                let side = if rng.random::<bool>() { 1.0_f32 } else { -1.0 };
                let mut won = |chance: f32| Some(f32::from(u8::from(rng.random::<f32>() < chance)));
                let scores = vec![won(0.5 + 0.3 * side), won(0.5 - 0.2 * side), won(0.4)];
                Item { features: vec![side], kind: String::new(), priors: vec![], scores, costs: vec![None; 3] }
            })
            .collect();
        let stream = Stream {
            source: "made up".into(),
            arms: ["one", "two", "three"].map(ModelName::from).to_vec(),
            space: "side".into(),
            grounds: vec![Grounds::Nothing; 3],
            usual_costs: vec![None; 3],
            items,
            first: 0,
            notes: vec![],
        };
        let trial = Trial { repetitions: 100, requests: 1500, seed: 3 };
        let verdicts = validate(&stream, Settings::default(), &trial).unwrap();
        assert_eq!(verdicts.len(), 8);
        for verdict in verdicts.iter().filter(|verdict| verdict.method != Method::Direct) {
            assert!(verdict.bias.abs() < 0.02, "{verdict:?}");
            assert!((0.88..=1.0).contains(&verdict.coverage), "{verdict:?}");
        }
    }
}
