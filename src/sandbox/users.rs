//! Simulated users: who asks what next, whether they like the answer, and whether and when they rate it.
//!
//! A [`World`] is a pure function of its seed. `visit(n)` is the n-th question: a kind of user and a prompt.
//! `chance(visit, model)` is the true probability that this user likes this model's answer, which a demo may use to
//! compute regret and a learner never sees. `verdict(visit, model)` is one draw from it, with a rating if the user
//! gives one: late, coarse, and more likely from annoyed users, as in life. The draw for a visit uses one number for
//! all models (common random numbers), so a better model never loses by luck.
//!
//! The world may change on the way ([`Drift`]): a model gets worse, more expensive or starts to fail. Changes happen at
//! a visit, not at a time, so that a fast machine and a slow one see the same world. Latency does not enter the
//! verdict: it is part of the routing objective.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::prompts::{self, Prompt, Task};
use super::skill::{self, Skill};

/// A kind of user.
#[derive(Debug, Clone, PartialEq)]
pub struct Taste {
    /// Name on the dashboard.
    pub name: &'static str,
    /// Weight among the kinds: how many of the visits are theirs.
    pub share: f64,
    /// Logit added to every verdict: negative means hard to please.
    pub mildness: f64,
    /// Factors on how often prompts of a task are drawn; 1 where absent.
    pub asks: BTreeMap<Task, f64>,
    /// Logits for families of models, given by name prefix, whose style they like or dislike.
    pub fancies: Vec<(&'static str, f64)>,
    /// Probability that a user who likes the answer rates it.
    pub rates: f64,
    /// Probability that a user who does not like the answer rates it.
    pub complains: f64,
    /// Mean of the exponentially distributed delay of a rating, in seconds.
    pub delay_s: f64,
    /// The form of the ratings.
    pub scale: Scale,
}

/// The form in which a user rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Up or down.
    Thumbs,
    /// One to five.
    Stars,
    /// Right or wrong, by users who check.
    Correct,
}

/// A rating as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rating {
    /// Up or down.
    Thumbs(bool),
    /// One to five.
    Stars(u8),
    /// Right or wrong.
    Correct(bool),
}

/// A change in the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The model that changes, by the gateway's name.
    pub model: String,
    /// The first visit that sees the change.
    pub from: u64,
    /// What changes.
    pub change: Change,
}

/// A change of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Logit added to every verdict.
    Skill(f64),
    /// Factor on the price.
    Price(f64),
    /// Share of calls that fail.
    Failures(f64),
}

/// One question by one user.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// Its number, from 0.
    pub number: u64,
    /// Index into [`World::tastes`].
    pub taste: usize,
    /// The prompt.
    pub prompt: &'static Prompt,
}

/// What a user makes of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Whether the user liked the answer, rated or not.
    pub liked: bool,
    /// The rating, if one is given, and the seconds until it comes.
    pub rating: Option<(Rating, f64)>,
}

/// The users, their tastes, and the models' abilities.
#[derive(Debug, Clone)]
pub struct World {
    /// The seed of everything random.
    pub seed: u64,
    /// The kinds of users.
    pub tastes: Vec<Taste>,
    /// The models' true abilities, by the gateway's names; others get [`Skill::of_unknown`].
    pub skills: BTreeMap<String, Skill>,
    /// The changes on the way.
    pub drift: Vec<Drift>,
}

impl World {
    /// A world in which nothing changes.
    pub fn steady(seed: u64) -> Self {
        Self { seed, tastes: tastes(), skills: skill::builtin(), drift: Vec::new() }
    }

    /// The demo's world of `visits` questions: one model degrades half-way, another's price triples at two thirds.
    pub fn demo(seed: u64, visits: u64) -> Self {
        let drift = vec![
            Drift { model: "gpt-6-luna".into(), from: visits / 2, change: Change::Skill(-2.0) },
            Drift { model: "gpt-6-luna".into(), from: visits / 2, change: Change::Failures(0.05) },
            Drift { model: "claude-haiku-5-5".into(), from: visits * 2 / 3, change: Change::Price(3.0) },
        ];
        Self { drift, ..Self::steady(seed) }
    }

    /// The n-th question.
    pub fn visit(&self, number: u64) -> Visit {
        let dice = Dice::new(self.seed).about(number);
        let taste = weighted(self.tastes.iter().map(|taste| taste.share), dice.about("taste").unit());
        let asks = self.tastes.get(taste).map(|taste| &taste.asks);
        let weight = |prompt: &Prompt| asks.and_then(|asks| asks.get(&prompt.task)).copied().unwrap_or(1.0);
        let prompts = prompts::all();
        let prompt = &prompts[weighted(prompts.iter().map(weight), dice.about("prompt").unit())];
        Visit { number, taste, prompt }
    }

    /// The true probability that the user likes the answer of `model`.
    pub fn chance(&self, visit: &Visit, model: &str) -> f64 {
        let Prompt { task, language, difficulty, .. } = visit.prompt;
        let able = match self.skills.get(model) {
            Some(skill) => skill.logit(*task, language, *difficulty),
            None => Skill::of_unknown(model).logit(*task, language, *difficulty),
        };
        let liking = self.tastes.get(visit.taste).map_or(0.0, |taste| {
            let fancy: f64 =
                taste.fancies.iter().filter(|(family, _)| model.starts_with(family)).map(|(_, f)| f).sum();
            taste.mildness + fancy
        });
        let drift = self.sum(visit.number, model, |change| match change {
            Change::Skill(logits) => Some(logits),
            _ => None,
        });
        1.0 / (1.0 + (-(able + liking + drift)).exp())
    }

    /// The user's verdict on the answer of `model`.
    pub fn verdict(&self, visit: &Visit, model: &str) -> Verdict {
        let dice = Dice::new(self.seed).about(visit.number);
        let liked = dice.about("liking").unit() < self.chance(visit, model);
        let rating = self.tastes.get(visit.taste).and_then(|taste| {
            let speaks = if liked { taste.rates } else { taste.complains };
            let stars = dice.about("stars").below(if liked { 2 } else { 3 }) as u8;
            let rating = match taste.scale {
                Scale::Thumbs => Rating::Thumbs(liked),
                Scale::Correct => Rating::Correct(liked),
                Scale::Stars => Rating::Stars(if liked { 4 + stars } else { 1 + stars }),
            };
            dice.about("speaks").happens(speaks).then(|| (rating, dice.about("delay").exponential(taste.delay_s)))
        });
        Verdict { liked, rating }
    }

    /// The model whose answer the user most probably likes: the oracle of quality.
    pub fn best<'m>(&self, visit: &Visit, models: &[&'m str]) -> Option<&'m str> {
        models.iter().copied().max_by(|a, b| self.chance(visit, a).total_cmp(&self.chance(visit, b)))
    }

    /// The factor on the price of `model` at this visit.
    pub fn price_factor(&self, number: u64, model: &str) -> f64 {
        self.product(number, model, |change| match change {
            Change::Price(factor) => Some(factor),
            _ => None,
        })
    }

    /// The share of calls to `model` that fail at this visit.
    pub fn failure_rate(&self, number: u64, model: &str) -> f64 {
        let rate = self.sum(number, model, |change| match change {
            Change::Failures(rate) => Some(rate),
            _ => None,
        });
        rate.clamp(0.0, 1.0)
    }

    fn changes<'w>(&'w self, number: u64, model: &'w str) -> impl Iterator<Item = Change> + 'w {
        let seen = move |drift: &&Drift| drift.model == model && drift.from <= number;
        self.drift.iter().filter(seen).map(|drift| drift.change)
    }

    fn sum(&self, number: u64, model: &str, pick: impl Fn(Change) -> Option<f64>) -> f64 {
        self.changes(number, model).filter_map(pick).sum()
    }

    fn product(&self, number: u64, model: &str, pick: impl Fn(Change) -> Option<f64>) -> f64 {
        self.changes(number, model).filter_map(pick).product()
    }
}

/// The index at the share `at` (0 to 1) of the total weight.
fn weighted(weights: impl Iterator<Item = f64> + Clone, at: f64) -> usize {
    let total: f64 = weights.clone().sum();
    let mut left = at * total;
    let mut last = 0;
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
        last = index;
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

fn tastes() -> Vec<Taste> {
    use Task::*;
    let user = |name, share, mildness, asks: &[(Task, f64)], fancies: &[(&'static str, f64)], scale| Taste {
        name,
        share,
        mildness,
        asks: asks.iter().copied().collect(),
        fancies: fancies.to_vec(),
        rates: 0.35,
        complains: 0.45,
        delay_s: 8.0,
        scale,
    };
    let engineer = [(Code, 4.0), (Debug, 4.0), (Tools, 2.0), (Writing, 0.2), (Chat, 0.5)];
    let student = [(Math, 4.0), (Reasoning, 3.0), (Knowledge, 2.0), (Tools, 0.2)];
    let office = [(Summary, 3.0), (Extraction, 3.0), (Translation, 3.0), (Writing, 2.0), (Code, 0.1), (Debug, 0.1)];
    let analyst = [(Analysis, 5.0), (Extraction, 2.0), (Code, 1.5), (Chat, 0.3)];
    let casual = [(Chat, 6.0), (Writing, 2.0), (Knowledge, 2.0), (Analysis, 0.2), (Debug, 0.1)];
    vec![
        user("engineer", 0.30, -0.2, &engineer, &[("claude", 0.3)], Scale::Thumbs),
        user("student", 0.20, 0.0, &student, &[("deepseek-r", 0.2)], Scale::Correct),
        user("office", 0.20, 0.2, &office, &[("gpt", 0.2)], Scale::Stars),
        user("analyst", 0.15, -0.3, &analyst, &[], Scale::Stars),
        user("casual", 0.15, 0.4, &casual, &[("claude", 0.2), ("deepseek-r", -0.5)], Scale::Thumbs),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [&str; 6] =
        ["claude-opus-5-5", "claude-haiku-5-5", "gpt-6-luna", "gpt-4o", "deepseek-v3.1", "deepseek-r1"];

    #[test]
    fn the_same_seed_is_the_same_world() {
        let (one, two, other) = (World::demo(1, 500), World::demo(1, 500), World::demo(2, 500));
        let story = |world: &World| -> Vec<(String, bool)> {
            let visits = (0..200).map(|n| world.visit(n));
            visits.map(|visit| (visit.prompt.id.clone(), world.verdict(&visit, "gpt-4o").liked)).collect()
        };
        assert_eq!(story(&one), story(&two));
        assert_ne!(story(&one), story(&other));
    }

    #[test]
    fn verdicts_come_as_often_as_their_chance_says() {
        let world = World::steady(5);
        for model in MODELS {
            let (mut liked, mut expected) = (0.0, 0.0);
            for n in 0..4000 {
                let visit = world.visit(n);
                liked += f64::from(world.verdict(&visit, model).liked);
                expected += world.chance(&visit, model);
            }
            // Four standard deviations of a mean of 4000 coin tosses.
            assert!((liked - expected).abs() / 4000.0 < 0.032, "{model}: {liked} of {expected}");
        }
    }

    #[test]
    fn a_model_that_is_better_for_a_visit_is_never_disliked_where_the_worse_is_liked() {
        let world = World::steady(9);
        for n in 0..500 {
            let visit = world.visit(n);
            let mut ranked = MODELS.to_vec();
            ranked.sort_by(|a, b| world.chance(&visit, a).total_cmp(&world.chance(&visit, b)));
            let liked: Vec<bool> = ranked.iter().map(|model| world.verdict(&visit, model).liked).collect();
            assert!(liked.is_sorted(), "{liked:?}");
        }
    }

    #[test]
    fn routing_pays_in_this_world() {
        let world = World::steady(1);
        let visits: Vec<Visit> = (0..3000).map(|n| world.visit(n)).collect();
        let mean = |pick: &dyn Fn(&Visit) -> &'static str| {
            visits.iter().map(|visit| world.chance(visit, pick(visit))).sum::<f64>() / visits.len() as f64
        };
        let cheap = ["claude-haiku-5-5", "gpt-6-luna", "gpt-4o", "deepseek-v3.1", "deepseek-r1"];
        let oracle = mean(&|visit| world.best(visit, &cheap).unwrap());
        let best_single = cheap.iter().map(|model| mean(&|_| model)).fold(0.0, f64::max);
        assert!(oracle > best_single + 0.03, "oracle {oracle:.3}, best single {best_single:.3}");
        let opus = mean(&|_| "claude-opus-5-5");
        assert!(oracle > opus - 0.05, "oracle of the cheap {oracle:.3}, opus {opus:.3}");
    }

    #[test]
    fn some_rate_late_and_many_never() {
        let world = World::steady(3);
        let verdicts: Vec<Verdict> = (0..3000).map(|n| world.verdict(&world.visit(n), "gpt-4o-mini")).collect();
        let delays: Vec<f64> = verdicts.iter().filter_map(|verdict| Some(verdict.rating?.1)).collect();
        let share = delays.len() as f64 / verdicts.len() as f64;
        assert!((0.33..0.47).contains(&share), "{share}");
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!((6.5..9.5).contains(&mean), "{mean}");
        for verdict in verdicts {
            let agrees = match verdict.rating {
                None => true,
                Some((Rating::Thumbs(up), _)) => up == verdict.liked,
                Some((Rating::Correct(right), _)) => right == verdict.liked,
                Some((Rating::Stars(stars), _)) => (1..=5).contains(&stars) && (stars >= 4) == verdict.liked,
            };
            assert!(agrees, "{verdict:?}");
        }
    }

    #[test]
    fn the_world_changes_when_it_should_and_only_there() {
        let world = World::demo(1, 900);
        let steady = World::steady(1);
        for n in [0, 449, 450, 899] {
            let visit = world.visit(n);
            let (now, before) = (world.chance(&visit, "gpt-6-luna"), steady.chance(&visit, "gpt-6-luna"));
            assert_eq!(now < before - 0.01, n >= 450, "visit {n}: {before} to {now}");
            assert_eq!(world.chance(&visit, "gpt-4o"), steady.chance(&visit, "gpt-4o"));
            assert_eq!(world.failure_rate(n, "gpt-6-luna") > 0.0, n >= 450);
        }
        assert_eq!(world.price_factor(599, "claude-haiku-5-5"), 1.0);
        assert_eq!(world.price_factor(600, "claude-haiku-5-5"), 3.0);
    }

    #[test]
    fn weights_of_nought_are_never_drawn() {
        let weights = [0.0, 2.0, 0.0, 1.0, 0.0];
        for step in 0..100 {
            let index = weighted(weights.iter().copied(), f64::from(step) / 100.0);
            assert_eq!(index, if step < 67 { 1 } else { 3 }, "{step}");
        }
    }
}
