//! The demo's users in a simulation without HTTP: what the shipped learner makes of their ratings.

#![allow(clippy::unwrap_used)] // a panic here is the failure report

use std::collections::VecDeque;

use pointsman::bandit::{Candidate, Context, Grounds, Observation, Reward, Settings, Snapshot, Tradeoff};
use pointsman::protocol::{ModelName, Price, Usage};
use pointsman::sandbox::dice::Dice;
use pointsman::sandbox::score::{Scale, Score};
use pointsman::sandbox::users::Rating;
use pointsman::sandbox::{Task, World};

/// The demo's models: what the shipped head says of each on average, and the price of a million tokens in and out.
const CAST: [(&str, f64, f64, f64); 7] = [
    ("claude-haiku-5-5", 0.87, 0.1, 0.5),
    ("claude-opus-5-5", 0.96, 4.0, 20.0),
    ("claude-sonnet-5-5", 0.93, 2.0, 10.0),
    ("deepseek-r1", 0.85, 0.28, 0.42),
    ("deepseek-v3.1", 0.84, 0.28, 0.42),
    ("gpt-4o", 0.77, 2.5, 10.0),
    ("gpt-6-luna", 0.85, 0.1, 0.5),
];

const VISITS: u64 = 9000;

/// Visits in a second: what a rating's delay is counted by.
const PACE: f64 = 50.0;

const COST_PER_USD: f64 = 8.0;

fn usage() -> Usage {
    Usage { input_tokens: 60, output_tokens: 260, ..Usage::default() }
}

/// A rating on its way.
struct Pending {
    due: u64,
    model: usize,
    task: Task,
    reward: f64,
}

fn worth(rating: Rating) -> f64 {
    match rating {
        Rating::Thumbs(good) | Rating::Correct(good) => f64::from(u8::from(good)),
        Rating::Stars(stars) => (f64::from(stars) - 1.0) / 4.0,
    }
}

/// Plays the demo's world once: the score of all visits, that of the last quarter, and the try-outs' share in it.
fn play(seed: u64, settings: Settings) -> (Score, Score, f64) {
    let world = World::demo(seed, VISITS);
    let names = CAST.map(|(name, ..)| ModelName::new(name));
    let price = |input, output| Price { input, output, ..Price::default() };
    let prices = CAST.map(|(_, _, input, output)| price(input, output));
    let by_name = names.iter().zip(prices).map(|(name, price)| (name.as_str().to_owned(), price));
    let mut whole = Score::new(Scale { prices: by_name.collect(), cost_per_usd: COST_PER_USD });
    let mut late = whole.clone();
    let mut policy = Snapshot::new(settings).unwrap();
    let (dice, mut try_outs) = (Dice::new(seed).about("draw"), 0.0);
    let mut pending: VecDeque<Pending> = VecDeque::new();
    for number in 0..VISITS {
        // As the gateway does: what came in meanwhile is learned at once.
        if number % 20 == 0 {
            let (due, rest): (Vec<Pending>, _) = pending.into_iter().partition(|pending| pending.due <= number);
            pending = rest.into();
            policy.learn(due.iter().map(|it| Observation {
                model: &names[it.model],
                context: Context { kind: it.task.as_str(), ..Context::default() },
                prior: CAST[it.model].1,
                grounds: Grounds::Likened,
                reward: Reward::new(it.reward).unwrap(),
                weight: 1.0,
                judged: true,
            }));
        }
        let visit = world.visit(number);
        let task = visit.prompt.task;
        let candidates: Vec<Candidate<'_>> = (0..CAST.len())
            .map(|at| Candidate {
                model: &names[at],
                prior: CAST[at].1,
                grounds: Grounds::Likened,
                cost_usd: prices[at].of(&usage()).0 * world.price_factor(number, CAST[at].0),
                latency_s: None,
                switching_usd: 0.0,
            })
            .collect();
        let context = Context { kind: task.as_str(), ..Context::default() };
        let tradeoff = Tradeoff { cost_per_usd: COST_PER_USD, latency_per_s: 0.0 };
        let choice = policy.choose(&context, &candidates, &tradeoff, true, dice.about(number).unit()).unwrap();
        let fails = dice.about("failure").about(number).happens(world.failure_rate(number, CAST[choice.chosen].0));
        let model = choice.order[usize::from(fails)];
        whole.add(&world, &visit, Some(CAST[model].0), &usage());
        if number * 4 >= VISITS * 3 {
            late.add(&world, &visit, Some(CAST[model].0), &usage());
            try_outs += f64::from(u8::from(choice.explored)) * 4.0 / VISITS as f64;
        }
        if let Some((rating, delay_s)) = world.verdict(&visit, CAST[model].0).rating {
            let due = number + (delay_s * PACE) as u64;
            pending.push_back(Pending { due, model, task, reward: worth(rating) });
        }
    }
    (whole, late, try_outs)
}

#[test]
fn the_learner_overtakes_the_best_single_model_at_half_of_its_cost() {
    let (mut routed, mut single, mut ahead_late) = (0.0, 0.0, 0.0);
    for seed in 1..=5 {
        let (whole, late, try_outs) = play(seed, Settings::default());
        let (name, best) = whole.best_single().unwrap();
        let ahead = (late.routed.reward - late.single[name].reward) / late.routed.visits;
        println!("seed {seed}: {:?} against {name} {best:?}; {ahead:+.4} late; try-outs {try_outs:.3}", whole.routed);
        assert!(ahead > 0.0, "seed {seed}: {ahead:.4} ahead in the last quarter");
        assert!(whole.routed.cost_usd < 0.65 * best.cost_usd, "seed {seed}");
        assert!(try_outs < 0.15, "seed {seed}: {try_outs:.3} of the last quarter are try-outs");
        (routed, single, ahead_late) = (routed + whole.routed.reward, single + best.reward, ahead_late + ahead / 5.0);
    }
    // What learning cost at first is won back by the end.
    assert!(routed > single, "{routed:.0} against {single:.0} in all");
    assert!(ahead_late > 0.015, "{ahead_late:.4} ahead in the last quarter");
}

#[test]
fn what_a_model_is_good_at_is_learned_by_the_kind_of_work() {
    let learned = Settings::default();
    let blind = Settings { kind: 1e-6, weak_kind: 1e-6, common_kind: 1e-6, ..learned };
    let late = |settings| {
        let gaps = (1..=3).map(|seed| play(seed, settings).1.gap_closed().unwrap());
        gaps.sum::<f64>() / 3.0
    };
    let (with, without) = (late(learned), late(blind));
    assert!(with > 0.72 && without < 0.6, "of the way from random to oracle: {with:.2} with, {without:.2} without");
}
