//! One player, one pass over a stream.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::events::{Event, Events};
use super::hindsight::{Single, best_single};
use super::player::Player;
use super::stream::Stream;
use crate::bandit::{Candidate, Observation, Pacer, PacerSettings, Reward, Tradeoff};

/// The conditions of a pass.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Share of answers that are not rated.
    pub missing: f64,
    /// Requests that go by before a rating arrives.
    pub delay: usize,
    /// Ratings in a batch of learning; the first few are learned from one by one.
    pub batch: usize,
    /// Reward that one US dollar is worth. If it is not zero, or there is a budget, all models must have a price, see
    /// [`Stream::priced`].
    pub tradeoff: Tradeoff,
    /// Budget: mean US dollars per request, kept by a price on top of the trade-off's.
    pub budget_usd: Option<f64>,
    /// Events during the pass.
    pub events: Events,
    /// Seed of everything drawn.
    pub seed: u64,
}

/// Ratings that are learned from one by one before batches begin.
const ONE_BY_ONE: usize = 100;

/// The result of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Index of the prompt.
    pub item: usize,
    /// Index of the chosen model.
    pub arm: usize,
    /// Reward of its answer.
    pub reward: f64,
    /// Cost of its answer in US dollars, else the usual cost of its model; `None` = unknown.
    pub cost_usd: Option<f64>,
    /// Regret: the reward of the best single model of this stretch less its own; `None` = that model was not run on
    /// this prompt.
    pub regret: Option<f64>,
    /// Whether the answer was rated.
    pub rated: bool,
}

/// The result of one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Request by request.
    pub answers: Vec<Answer>,
    /// For each event, the number of ratings until the player followed it; `None` = it never did.
    pub followed: Vec<(Event, Option<usize>)>,
}

impl Trace {
    /// Mean reward.
    pub fn reward(&self) -> f64 {
        self.mean(|answer| answer.reward)
    }

    /// Mean reward over the prompts that the best single model was run on, which are those that regret counts; `None` =
    /// there are none.
    pub fn compared_reward(&self) -> Option<f64> {
        mean(self.answers.iter().filter(|answer| answer.regret.is_some()).map(|answer| answer.reward))
    }

    /// Mean cost in US dollars of the answers whose cost is known; `None` = there are none.
    pub fn cost_usd(&self) -> Option<f64> {
        mean(self.answers.iter().filter_map(|answer| answer.cost_usd))
    }

    /// Share of the answers whose cost is known.
    pub fn cost_known(&self) -> f64 {
        self.mean(|answer| f64::from(u8::from(answer.cost_usd.is_some())))
    }

    /// Regret over all requests that can be compared.
    pub fn regret(&self) -> f64 {
        self.answers.iter().filter_map(|answer| answer.regret).sum()
    }

    fn mean(&self, of: impl Fn(&Answer) -> f64) -> f64 {
        mean(self.answers.iter().map(of)).unwrap_or(0.0)
    }

    /// Regret up to each of `points` equally spaced requests.
    pub fn curve(&self, points: usize) -> Vec<f64> {
        let mut sum = 0.0;
        let sums: Vec<f64> = self
            .answers
            .iter()
            .map(|answer| {
                sum += answer.regret.unwrap_or(0.0);
                sum
            })
            .collect();
        (1..=points).filter_map(|point| sums.get((sums.len() * point / points).saturating_sub(1)).copied()).collect()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The end of each stretch and the best single model in it.
fn references(stream: &Stream, events: &Events) -> Vec<(usize, Option<Single>)> {
    let score = |at, arm| events.score(stream, at, arm);
    let stretches = events.stretches(stream.items.len()).into_iter();
    stretches.map(|(from, until)| (until, best_single(stream.arms.len(), from..until, score))).collect()
}

/// The models that are the best single one in some stretch, and the share of prompts that it was run on.
pub fn compared_with(stream: &Stream, events: &Events) -> (Vec<usize>, f64) {
    let references = references(stream, events);
    let mut arms: Vec<usize> = references.iter().filter_map(|(_, single)| Some((*single)?.arm)).collect();
    arms.sort_unstable();
    arms.dedup();
    let is_run = |at: &usize| {
        let single = references.iter().find(|(until, _)| at < until).and_then(|(_, single)| *single);
        single.is_some_and(|single| events.score(stream, *at, single.arm).is_some())
    };
    let length = stream.items.len();
    (arms, (0..length).filter(is_run).count() as f64 / length.max(1) as f64)
}

/// A rating that has not arrived yet.
struct Pending {
    due: usize,
    item: usize,
    arm: usize,
    reward: Reward,
}

/// Plays `player` over `stream` once.
pub fn play(stream: &Stream, mut player: Player, conditions: &Conditions) -> Trace {
    let mut rng = StdRng::seed_from_u64(conditions.seed);
    let events = &conditions.events;
    let references = references(stream, events);
    let mut pacer = conditions.budget_usd.map(|usd| {
        // One request a second, and a window of a thousand seconds.
        let settings = PacerSettings { budget_usd: usd * 1000.0, window_s: 1000.0 };
        Pacer::new(settings, 0.0, 0.0)
    });
    let mut pending: VecDeque<Pending> = VecDeque::new();
    let mut batch: Vec<Pending> = Vec::new();
    let mut rated = 0;
    let mut answers = Vec::with_capacity(stream.items.len());
    for (at, item) in stream.items.iter().enumerate() {
        let scores: Vec<Option<f32>> = (0..stream.arms.len()).map(|arm| events.score(stream, at, arm)).collect();
        let candidates: Vec<(usize, Candidate<'_>)> = scores
            .iter()
            .enumerate()
            .filter(|(_, score)| score.is_some())
            .map(|(arm, _)| (arm, candidate(stream, events, at, arm)))
            .collect();
        if candidates.is_empty() {
            continue;
        }
        let known: Vec<f64> = candidates.iter().map(|(arm, _)| f64::from(scores[*arm].unwrap_or(0.0))).collect();
        // Where the best model was not run, there is no regret.
        let reference = references.iter().find(|(until, _)| at < *until).and_then(|(_, single)| *single);
        let single = reference.and_then(|it| candidates.iter().position(|(arm, _)| *arm == it.arm));
        let mut tradeoff = conditions.tradeoff;
        if let Some(pacer) = &pacer {
            tradeoff.cost_per_usd += pacer.cost_per_usd(at as f64);
        }
        let context = stream.context(at);
        let Some(chosen) = player.choose(&context, &candidates, &tradeoff, &known, single, &mut rng) else {
            continue;
        };
        let arm = candidates[chosen].0;
        let cost_usd = item.costs[arm].map(f64::from).or(stream.usual_costs[arm]);
        let cost_usd = cost_usd.map(|cost| cost * events.price(at, arm));
        if let Some(pacer) = &mut pacer {
            pacer.spent(cost_usd.unwrap_or(0.0), at as f64);
        }
        let is_rated = rng.random::<f64>() >= conditions.missing;
        let regret = reference.filter(|_| single.is_some()).map(|single| match player {
            Player::BestSingle => 0.0,
            _ => single.level - known[chosen],
        });
        answers.push(Answer { item: at, arm, reward: known[chosen], cost_usd, regret, rated: is_rated });
        if !player.learns() {
            continue;
        }
        if let (true, Ok(reward)) = (is_rated, Reward::new(known[chosen].clamp(0.0, 1.0))) {
            pending.push_back(Pending { due: at + conditions.delay, item: at, arm, reward });
        }
        while pending.front().is_some_and(|first| first.due <= at) {
            batch.extend(pending.pop_front());
        }
        if !batch.is_empty() && (rated < ONE_BY_ONE || batch.len() >= conditions.batch.max(1)) {
            rated += batch.len();
            let learned: Vec<(usize, Observation<'_>)> =
                batch.iter().map(|pending| (pending.arm, observation(stream, pending))).collect();
            player.learn(&learned);
            batch.clear();
        }
    }
    let followed = events
        .all()
        .iter()
        .filter_map(|(when, event)| Some((*event, followed(&answers, *when, *event, events.star())?)))
        .collect();
    Trace { answers, followed }
}

fn candidate<'a>(stream: &'a Stream, events: &Events, at: usize, arm: usize) -> Candidate<'a> {
    Candidate {
        model: &stream.arms[arm],
        prior: stream.items[at].priors.get(arm).copied().unwrap_or(0.5),
        grounds: stream.grounds[arm],
        // A cost can be unknown here only if cost does not count, see `Stream::priced`.
        cost_usd: stream.usual_costs[arm].unwrap_or(0.0) * events.price(at, arm),
        latency_s: None,
        switching_usd: 0.0,
    }
}

fn observation<'a>(stream: &'a Stream, pending: &Pending) -> Observation<'a> {
    let item = &stream.items[pending.item];
    Observation {
        model: &stream.arms[pending.arm],
        context: stream.context(pending.item),
        prior: item.priors.get(pending.arm).copied().unwrap_or(0.5),
        grounds: stream.grounds[pending.arm],
        reward: pending.reward,
        weight: 1.0,
        judged: true,
    }
}

/// Requests in the window over which a share is taken.
const WINDOW: usize = 50;

/// Number of ratings until the best model's share of a window had fallen below a fifth (after a drop), or no other
/// model had a larger one (after it was added or recovered). A raised price does not say where to go, so there is
/// nothing to follow.
fn followed(answers: &[Answer], when: usize, event: Event, star: usize) -> Option<Option<usize>> {
    if event == Event::Price {
        return None;
    }
    let mut shares = std::collections::BTreeMap::<usize, usize>::new();
    let mut ratings = 0;
    let answers = &answers[answers.partition_point(|answer| answer.item < when)..];
    for (at, answer) in answers.iter().enumerate() {
        *shares.entry(answer.arm).or_default() += 1;
        ratings += usize::from(answer.rated);
        if at < WINDOW {
            continue;
        }
        if let Some(count) = shares.get_mut(&answers[at - WINDOW].arm) {
            *count -= 1;
        }
        let own = shares.get(&star).copied().unwrap_or(0);
        let there = match event {
            Event::Drop => own * 5 < WINDOW,
            _ => shares.values().all(|count| *count <= own),
        };
        if there {
            // Of the window, only the requests that were needed to see the change count as waiting.
            return Some(Some(ratings));
        }
    }
    Some(None)
}
