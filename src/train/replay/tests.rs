//! Replays over made-up streams in which right and wrong are known.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::bandit::{Grounds, Settings, Tradeoff};
use crate::protocol::ModelName;

/// Two kinds of prompt, told by one feature; the first model is good at one kind, the second at the other, the third
/// at neither but cheap.
fn stream(length: usize) -> Stream {
    stream_of(length, [[0.9, 0.3, 0.4], [0.3, 0.8, 0.4]])
}

/// For each kind of prompt, how often each model is right.
fn stream_of(length: usize, chances: [[f64; 3]; 2]) -> Stream {
    let mut rng = StdRng::seed_from_u64(1);
    let items = (0..length)
        .map(|_| {
            let kind = usize::from(rng.random::<bool>());
            let won = |chance: f64, rng: &mut StdRng| Some(f32::from(u8::from(rng.random::<f64>() < chance)));
            Item {
                features: vec![if kind == 0 { 1.0 } else { -1.0 }],
                kind: String::new(),
                priors: vec![],
                scores: chances[kind].iter().map(|chance| won(*chance, &mut rng)).collect(),
                costs: vec![Some(0.01), Some(0.01), Some(0.001)],
            }
        })
        .collect();
    Stream {
        source: "made up".into(),
        arms: ["one", "two", "three"].map(ModelName::from).to_vec(),
        space: "kind".into(),
        grounds: vec![Grounds::Nothing; 3],
        usual_costs: vec![Some(0.01), Some(0.01), Some(0.001)],
        items,
        first: 0,
        notes: vec![],
    }
}

fn conditions(stream: &Stream, events: &[Event]) -> Conditions {
    Conditions {
        missing: 0.0,
        delay: 0,
        batch: 10,
        tradeoff: Tradeoff::default(),
        budget_usd: None,
        events: Events::over(stream, events),
        seed: 7,
    }
}

fn learned() -> Player {
    Player::learned(Settings::default()).unwrap()
}

#[test]
fn the_order_of_players_is_what_it_must_be() {
    let stream = stream(3000);
    let conditions = conditions(&stream, &[]);
    let reward = |player| play(&stream, player, &conditions).reward();
    let (random, single, oracle) = (reward(Player::Random), reward(Player::BestSingle), reward(Player::Oracle));
    let (context, blind) = (reward(learned()), reward(Player::Blind(Blind::new(3, 0.1))));
    assert!(random < blind && blind < single && single < context && context < oracle);
    let regret = play(&stream, learned(), &conditions).regret();
    assert!(regret < -200.0, "the prompt's kind is worth about a quarter of a point each: {regret}");
}

#[test]
fn a_run_is_the_same_every_time_and_another_with_another_seed() {
    let stream = stream(500);
    let one = conditions(&stream, &[]);
    let other = Conditions { seed: 8, ..one.clone() };
    assert_eq!(play(&stream, learned(), &one), play(&stream, learned(), &one));
    assert_ne!(play(&stream, learned(), &one), play(&stream, learned(), &other));
}

#[test]
fn missing_and_late_ratings_slow_learning_and_do_not_stop_it() {
    let stream = stream(3000);
    let full = conditions(&stream, &[]);
    let poor = Conditions { missing: 0.7, delay: 100, ..full.clone() };
    let with = play(&stream, learned(), &poor);
    let rated = with.answers.iter().filter(|answer| answer.rated).count() as f64 / 3000.0;
    assert!((rated - 0.3).abs() < 0.05);
    assert!(with.reward() > play(&stream, Player::BestSingle, &full).reward());
    let never = Conditions { missing: 1.0, ..full };
    let without = play(&stream, learned(), &never);
    assert!(without.regret() > with.regret() + 300.0);
}

#[test]
fn a_drop_is_left_and_a_newcomer_adopted_within_150_ratings() {
    let stream = stream_of(4000, [[0.9, 0.6, 0.5], [0.85, 0.65, 0.5]]);
    for event in [Event::Drop, Event::New] {
        let waits: Vec<Option<usize>> = (0..5)
            .map(|seed| {
                let conditions = Conditions { seed, ..conditions(&stream, &[event]) };
                play(&stream, learned(), &conditions).followed[0].1
            })
            .collect();
        let soon = waits.iter().filter(|wait| wait.is_some_and(|wait| wait <= 150)).count();
        assert!(soon >= 4, "{event:?}: {waits:?}");
    }
}

#[test]
fn what_dropped_is_found_again_once_it_recovers_and_costs_little_until_then() {
    let mut stream = stream_of(4000, [[0.9, 0.6, 0.5], [0.85, 0.65, 0.5]]);
    stream.grounds = vec![Grounds::Fitted; 3];
    stream.items.iter_mut().for_each(|item| item.priors = vec![0.87, 0.62, 0.5]);
    let star = 0;
    let mut waits: Vec<usize> = (0..5)
        .map(|seed| {
            let conditions = Conditions { seed, ..conditions(&stream, &[Event::Drop, Event::Recover]) };
            let trace = play(&stream, learned(), &conditions);
            let share = |from: usize, until: usize| {
                let own = trace.answers[from..until].iter().filter(|answer| answer.arm == star).count();
                own as f64 / (until - from) as f64
            };
            assert!(share(0, 1333) > 0.98, "it was known to be the best");
            assert!(share(1600, 2666) < 0.08, "while it is bad it is only looked at: {}", share(1600, 2666));
            trace.followed[1].1.unwrap_or(usize::MAX)
        })
        .collect();
    waits.sort_unstable();
    assert!(waits[3] <= 400, "{waits:?}");
}

#[test]
fn a_newcomer_is_not_there_before_and_a_drop_is_over_when_it_recovers() {
    let stream = stream(900);
    let events = Events::over(&stream, &[Event::New, Event::Drop, Event::Recover]);
    let star = events.star();
    let at = |at: usize| events.score(&stream, at, star);
    assert_eq!(at(0), None);
    let good = (450..675).find(|it| stream.items[*it].scores[star] == Some(1.0)).unwrap();
    assert_eq!(at(good), Some(0.4));
    let good = (675..900).find(|it| stream.items[*it].scores[star] == Some(1.0)).unwrap();
    assert_eq!(at(good), Some(1.0));
    assert_eq!(events.stretches(900), [(0, 225), (225, 450), (450, 675), (675, 900)]);
}

#[test]
fn a_budget_that_is_never_reached_changes_nothing() {
    let stream = stream(1500);
    let cost_weight = Tradeoff { cost_per_usd: 60.0, latency_per_s: 0.0 };
    let free = Conditions { tradeoff: cost_weight, ..conditions(&stream, &[]) };
    let ample = Conditions { budget_usd: Some(1000.0), ..free.clone() };
    assert_eq!(play(&stream, learned(), &ample).cost_usd(), play(&stream, learned(), &free).cost_usd());
}

#[test]
fn a_budget_is_held_and_a_price_is_felt() {
    let stream = stream(6000);
    let conditions = Conditions { budget_usd: Some(0.005), ..conditions(&stream, &[]) };
    let trace = play(&stream, learned(), &conditions);
    assert!((trace.cost_usd().unwrap() / 0.005 - 1.0).abs() < 0.05, "{:?}", trace.cost_usd());
    let tradeoff = Tradeoff { cost_per_usd: 20.0, latency_per_s: 0.0 };
    let calm = Conditions { tradeoff, budget_usd: None, ..conditions.clone() };
    let dear = Conditions { events: Events::over(&stream, &[Event::Price]), ..calm.clone() };
    let star = dear.events.star();
    let share =
        |trace: &Trace| trace.answers[3000..].iter().filter(|answer| answer.arm == star).count() as f64 / 3000.0;
    let (before, after) = (play(&stream, learned(), &calm), play(&stream, learned(), &dear));
    assert!(share(&after) < share(&before) / 2.0, "{} {}", share(&before), share(&after));
}

#[test]
fn a_report_sums_up_runs() {
    let stream = stream(400);
    let traces: Vec<Trace> = (0..4)
        .map(|seed| play(&stream, learned(), &Conditions { seed, ..conditions(&stream, &[Event::Drop]) }))
        .collect();
    let line = report("thompson".into(), &traces, Some(0.01));
    assert!(line.reward.low < line.reward.mean && line.reward.mean < line.reward.high);
    assert_eq!(line.curve.len(), 100);
    assert!((line.curve[99].mean - line.regret.mean).abs() < 1e-9);
    assert!(line.budget_error.is_some_and(|error| error.mean.abs() < 1.0));
    assert_eq!(line.followed[0].0, "drop");
}

/// Whole numbers of ten prompts: the first model was run on six of them, the second on all, the third on two and best
/// there.
fn partial() -> Stream {
    let mut stream = stream(10);
    for (at, item) in stream.items.iter_mut().enumerate() {
        item.scores = vec![(at < 6).then_some(0.75), Some(0.5), (at < 2).then_some(1.0)];
        item.costs = vec![(at != 0).then_some(0.5), None, Some(0.25)];
    }
    stream.usual_costs = vec![Some(0.5), None, Some(0.25)];
    stream
}

#[test]
fn the_best_single_model_is_compared_where_it_was_run_and_nowhere_else() {
    let stream = partial();
    let conditions = conditions(&stream, &[]);
    let single = play(&stream, Player::BestSingle, &conditions);
    assert_eq!((single.answers.len(), single.reward(), single.regret()), (6, 0.75, 0.0));
    let oracle = play(&stream, Player::Oracle, &conditions);
    assert_eq!(oracle.answers.len(), 10);
    assert_eq!(oracle.regret(), -0.5, "a quarter more on each of two prompts, and nothing on the last four");
    assert_eq!(oracle.compared_reward(), Some((2.0 * 1.0 + 4.0 * 0.75) / 6.0));
    assert_eq!(compared_with(&stream, &conditions.events), (vec![0], 0.6));
    let line = report("oracle".into(), &[oracle.clone(), oracle], None);
    assert!(line.compared_reward.is_some());
}

#[test]
fn an_unknown_cost_is_unknown_and_no_price() {
    let stream = partial();
    let oracle = play(&stream, Player::Oracle, &conditions(&stream, &[]));
    assert_eq!(oracle.cost_known(), 0.6);
    assert_eq!(oracle.cost_usd(), Some((2.0 * 0.25 + 4.0 * 0.5) / 6.0));
    let priced = stream.clone().priced();
    assert_eq!(priced.arms, ["one", "three"].map(ModelName::from));
    assert_eq!((priced.items.len(), priced.items[0].scores.len()), (6, 2), "what only the second answered is gone");
    assert!(priced.notes[0].contains("two"));
    assert_eq!(priced.supposed_costs(), 1);
    assert_eq!(stream.supposed_costs(), 1, "of a model without any cost none is supposed");
    let unpriced = Stream { usual_costs: vec![None; 3], ..stream };
    let items = unpriced.items.iter().map(|item| Item { costs: vec![None; 3], ..item.clone() }).collect();
    let trace = play(&Stream { items, ..unpriced.clone() }, learned(), &conditions(&unpriced, &[]));
    let line = report("thompson".into(), &[trace.clone(), trace], None);
    assert_eq!((line.cost_usd, line.cost_known), (None, 0.0));
}

#[test]
fn what_rounds_to_zero_is_no_minus_zero() {
    let told = |mean: f64, low: f64, high: f64| Spread { mean, low, high }.to_string();
    assert_eq!(told(-0.000_01, -0.000_049, 0.000_01), "0.0000 [0.0000, 0.0000]");
    assert_eq!(told(-0.000_06, f64::NAN, f64::NAN), "-0.0001");
    assert_eq!(told(120.4, -0.4, 241.2), "120 [0, 241]");
}
