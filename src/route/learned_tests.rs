//! The learned choice, as a request would meet it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::HeaderMap;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::*;
use crate::bandit::{Grounds, Observation, Reward, Settings};
use crate::config::Config;
use crate::protocol::{DecisionId, Dialect, Message, Part, Role, Tool};
use crate::route::{Plan, Question, Rules, plan};
use crate::upstream::Catalog;

/// A dear model, a cheap one, and one by name only.
const WORLD: &str = "
[providers.open]
base_url = 'http://127.0.0.1:1'
[models.dear]
provider = 'open'
price = { input = 5.0, output = 10.0, cache_read = 0.5 }
[models.cheap]
provider = 'open'
price = { input = 0.1, output = 0.4 }
[models.silent]
provider = 'open'
weight = 0.0
";

struct World {
    policy: Snapshot,
    known: BTreeSet<ModelName>,
    speeds: Speeds,
    lengths: Lengths,
    unjudged: u64,
    config: String,
}

impl World {
    fn new(config: &str) -> Self {
        let policy = Snapshot::new(Settings::default()).unwrap();
        Self {
            policy,
            known: BTreeSet::new(),
            speeds: Speeds::default(),
            lengths: Lengths::default(),
            unjudged: 0,
            config: format!("{WORLD}{config}"),
        }
    }

    /// Feedback on a model, many times over.
    fn judge(&mut self, model: &str, reward: f64) {
        let model = ModelName::from(model);
        let one = Observation {
            model: &model,
            context: Context::default(),
            prior: 0.5,
            grounds: Grounds::Nothing,
            reward: Reward::new(reward).unwrap(),
            weight: 1.0,
            judged: true,
        };
        self.policy.learn(std::iter::repeat_n(one, 200));
        self.known.insert(model);
    }

    fn ask(&self, request: &ChatRequest, stay: Option<Stay>, acts: bool, seed: u64) -> Plan {
        let config: Config = self.config.parse().unwrap();
        let catalog = Catalog::new(&config, &BTreeMap::new(), None);
        let rules = Rules::new(&config.rules, &catalog);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut chance = || rng.random::<f64>();
        let prior = |_: &str| Estimate::default();
        let learned = Learned {
            policy: &self.policy,
            revision: 0,
            known: &self.known,
            reading: Err(&Missed::Disabled),
            prior: &prior,
            unjudged: self.unjudged,
            budget_price: 0.0,
            speeds: &self.speeds,
            lengths: &self.lengths,
            acts,
        };
        let mut question = Question {
            request,
            client: Dialect::Native,
            body: None,
            id: DecisionId(Uuid::nil()),
            token: None,
            allowed: None,
            headers: &HeaderMap::new(),
            now: Instant::now(),
            patience: Duration::ZERO,
            chance: &mut chance,
            stay,
            learned: Some(learned),
        };
        plan(&catalog, &rules, &config.routing, &mut question).unwrap()
    }
}

fn request() -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, "hello")], ..ChatRequest::default() }
}

fn calm() -> ChatRequest {
    let mut request = request();
    request.routing.explore = Some(false);
    request
}

fn on(model: &str) -> Option<Stay> {
    Some(Stay {
        model: ModelName::from(model),
        deployment: None,
        refused_thoughts: 0,
        cached_tokens: 10_000,
        at: Instant::now(),
    })
}

fn chosen(plan: &Plan) -> &str {
    plan.decision.chosen.as_str()
}

#[test]
fn after_many_choices_that_nobody_judged_few_are_try_outs() {
    let mut world = World::new("");
    let mut tried = |unjudged: u64| {
        world.unjudged = unjudged;
        let plans: Vec<Plan> = (0..200).map(|seed| world.ask(&request(), None, true, seed)).collect();
        let count = plans.iter().filter(|plan| plan.decision.explored).count();
        assert!(plans.iter().all(|plan| plan.decision.explore), "the log knows what else could have been chosen");
        let of_dear = |plan: &Plan| {
            plan.decision.candidates.iter().find(|it| it.model.as_str() == "dear").map_or(0.0, |it| it.propensity)
        };
        let propensity = of_dear(&plans[0]);
        assert!(plans.iter().all(|plan| of_dear(plan) == propensity));
        (propensity, count)
    };
    let (often, many) = tried(0);
    assert!(often > 0.3 && many > 60, "{often} {many}");
    assert_eq!(tried(500), (often, many));
    let (rarely, few) = tried(5_000);
    assert!((rarely - often / 10.0).abs() < 1e-4 && few < 20, "{rarely} {few}");
    world.judge("dear", 0.5);
    world.unjudged = 5_000;
    assert_eq!(world.policy.curiosity(world.unjudged), 1.0, "two hundred judgements buy patience");
}

#[test]
fn between_equals_money_decides_and_between_unequals_feedback() {
    let mut world = World::new("");
    assert_eq!(chosen(&world.ask(&calm(), None, true, 1)), "cheap");
    world.judge("dear", 0.95);
    world.judge("cheap", 0.2);
    let plan = world.ask(&calm(), None, true, 1);
    assert_eq!(chosen(&plan), "dear");
    let decision = &plan.decision;
    assert_eq!((decision.mode, decision.propensity, decision.explored), (Mode::Learned, 1.0, false));
    let names: Vec<&str> = plan.candidates.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["dear", "cheap"], "failover goes by utility, and a weight of 0 stays out");
    let prediction = decision.candidates[0].prediction.clone().unwrap();
    assert!(prediction.quality > 0.8 && prediction.judged && prediction.source == "learned");
    assert_eq!((prediction.prior, prediction.basis.as_str()), (0.5, "default"));
}

#[test]
fn the_objective_weighs_money_against_quality() {
    let mut world = World::new("");
    world.judge("dear", 0.6);
    world.judge("cheap", 0.5);
    let ask = |model: &str| ChatRequest { model: model.into(), ..calm() };
    assert_eq!(chosen(&world.ask(&ask("auto:quality"), None, true, 1)), "dear");
    assert_eq!(chosen(&world.ask(&ask("auto:cost"), None, true, 1)), "cheap");
}

#[test]
fn try_outs_come_as_often_as_their_propensity_says_unless_forbidden() {
    let world = World::new("");
    let plans: Vec<Plan> = (0..1500).map(|seed| world.ask(&request(), None, true, seed)).collect();
    let dear = plans.iter().filter(|plan| chosen(plan) == "dear").count() as f64 / 1500.0;
    let said = |plan: &Plan| {
        let all = &plan.decision.candidates;
        all.iter().find(|candidate| candidate.model.as_str() == "dear").unwrap().propensity
    };
    assert!((dear - said(&plans[0])).abs() < 0.05, "{dear} against {}", said(&plans[0]));
    assert!(plans.iter().all(|plan| plan.decision.explore));
    let ruled = World::new("[[rules]]\nname = 'calm'\nexplore = false\n");
    let quiet = World::new("[routing]\nexplore = false\n");
    for world in [ruled, quiet] {
        let plan = world.ask(&request(), None, true, 3);
        assert!(!plan.decision.explore && plan.decision.propensity == 1.0);
    }
}

#[test]
fn a_conversation_stays_unless_switching_pays() {
    let mut world = World::new("");
    let plan = world.ask(&request(), on("dear"), true, 1);
    assert_eq!((chosen(&plan), plan.decision.mode), ("dear", Mode::Sticky), "a cent is not worth the cache");
    let cost = |plan: &Plan| {
        let mut all = plan.decision.candidates.iter();
        all.find(|it| it.model.as_str() == "dear").unwrap().cost_usd
    };
    let mut long = request();
    long.messages = vec![Message::text(Role::User, "word ".repeat(8000))];
    assert!(cost(&world.ask(&long, on("dear"), true, 1)) < cost(&world.ask(&long, None, true, 1)), "read from cache");
    world.judge("dear", 0.1);
    world.judge("cheap", 0.9);
    let plan = world.ask(&request(), on("dear"), true, 1);
    assert_eq!((chosen(&plan), plan.decision.mode), ("cheap", Mode::Learned));
    assert!(!plan.decision.explore, "no try-outs in a conversation under way");
}

/// A long conversation on `dear`, of which the vendor showed so many tokens to be cached.
fn long_on_dear(world: &World, cached_tokens: u64) -> Plan {
    let mut long = ChatRequest { model: "auto:cost".into(), ..request() };
    long.messages = vec![Message::text(Role::User, "word ".repeat(16_000))];
    let stay = on("dear").map(|stay| Stay { cached_tokens, ..stay });
    world.ask(&long, stay, true, 1)
}

fn considered(plan: &Plan, model: &str) -> (f64, Prediction) {
    let all = &plan.decision.candidates;
    let it = all.iter().find(|candidate| candidate.model.as_str() == model).unwrap();
    (it.cost_usd, it.prediction.clone().unwrap())
}

#[test]
fn a_conversation_leaves_a_cache_that_costs_more_than_a_cheaper_model_without() {
    let mut world = World::new("");
    let plan = long_on_dear(&world, 1_000_000);
    let (dear, stays) = considered(&plan, "dear");
    let (cheap, leaves) = considered(&plan, "cheap");
    assert!(dear > cheap && stays.cached_usd.unwrap() > 0.05, "{dear} {cheap} {stays:?}");
    assert_eq!((leaves.cached_usd, leaves.switching_usd), (None, 0.0), "its price has no word of a cache in it");
    assert_eq!((chosen(&plan), plan.decision.mode), ("cheap", Mode::Learned));
    let full = dear + stays.cached_usd.unwrap();
    world.config = world.config.replace("input = 0.1, output = 0.4", "input = 5.0, output = 10.0");
    let plan = long_on_dear(&world, 1_000_000);
    assert_eq!((chosen(&plan), plan.decision.mode), ("dear", Mode::Sticky));
    assert!((considered(&plan, "cheap").0 - full).abs() < 1e-9, "who leaves reads all anew, and pays nothing else");
    assert!(plan.decision.reason.contains("cached"), "{}", plan.decision.reason);
}

#[test]
fn what_a_cache_would_have_saved_is_known_of_a_model_that_the_conversation_is_not_on() {
    let mut world = World::new("");
    world.config = world.config.replace("output = 0.4", "output = 0.4, cache_read = 0.01");
    let plan = long_on_dear(&world, 10_000);
    let (_, stays) = considered(&plan, "dear");
    let (_, leaves) = considered(&plan, "cheap");
    let saved = |of: f64| of * (0.1 - 0.01) / (5.0 - 0.5);
    assert!((leaves.cacheable_usd.unwrap() - saved(stays.cached_usd.unwrap())).abs() < 1e-12, "{leaves:?}");
    assert_eq!(stays.cacheable_usd, None);
    assert_eq!(considered(&world.ask(&request(), None, true, 1), "cheap").1.cacheable_usd, None);
}

#[test]
fn what_no_answer_showed_to_be_cached_is_not_priced_so() {
    let mut world = World::new("");
    world.config = world.config.replace("input = 0.1, output = 0.4", "input = 5.0, output = 10.0");
    let plan = long_on_dear(&world, 0);
    let (cost, stays) = considered(&plan, "dear");
    assert!((cost - considered(&plan, "cheap").0).abs() < 1e-12);
    assert_eq!((chosen(&plan), plan.decision.mode, stays.cached_usd), ("dear", Mode::Sticky, Some(0.0)));
    assert!(!plan.decision.reason.contains("cached"), "{}", plan.decision.reason);
}

#[test]
fn who_pays_for_filling_a_cache_pays_for_the_next_too() {
    let mut world = World::new("");
    world.config = world.config.replace("output = 0.4", "output = 0.4, cache_write = 0.6");
    assert_eq!(considered(&long_on_dear(&world, 10_000), "cheap").1.switching_usd, 0.0, "this one fills by itself");
    world.config = world.config.replace("cache_read = 0.5", "cache_read = 0.5, cache_write = 6.25");
    let (_, leaves) = considered(&long_on_dear(&world, 10_000), "cheap");
    assert!((leaves.switching_usd - 0.005).abs() < 1e-9, "{leaves:?}");
    assert_eq!(considered(&long_on_dear(&world, 0), "cheap").1.switching_usd, 0.0);
}

#[test]
fn what_is_marked_for_claude_is_priced_as_written_to_its_cache() {
    let mut world = World::new(
        "[providers.claude]
        dialect = 'anthropic'
        base_url = 'http://127.0.0.1:1'
        [models.claude]
        provider = 'claude'
        can = ['tools']
        price = { input = 2.0, output = 10.0, cache_read = 0.1, cache_write = 2.5 }",
    );
    world.config = world.config.replace("price = { input = 5.0", "can = ['tools']\nprice = { input = 5.0");
    world.config = world.config.replace("cache_read = 0.5", "cache_read = 0.5, cache_write = 6.25");
    let mut long = ChatRequest { messages: vec![Message::text(Role::User, "word ".repeat(16_000))], ..request() };
    // The prompt's price, and what is said of the cache; `cached` = tokens of it that the conversation's model has.
    let claude = |world: &World, request: &ChatRequest, stay: Option<(&str, u64)>| {
        let stay = stay.and_then(|(model, cached_tokens)| Some(Stay { cached_tokens, ..on(model)? }));
        let plan = world.ask(request, stay, true, 1);
        let (cost, it) = considered(&plan, "claude");
        let answer = (it.output_tokens as u64) as f64 * 10.0 / 1e6;
        let tokens = f64::from(plan.decision.prompt_tokens);
        (tokens, (cost - answer) * 1e6, it)
    };
    let is = |price: f64, expected: f64| assert!((price - expected).abs() < 1e-3, "{price}, not {expected}");
    let (tokens, price, _) = claude(&world, &long, None);
    is(price, tokens * 2.0);
    let (_, price, it) = claude(&world, &long, Some(("dear", 10_000)));
    is(price, tokens * 2.0);
    assert_eq!((it.cacheable_usd, it.switching_usd), (Some(0.019), 0.0), "nothing of a chat is written");
    long.tools.push(Tool::new("f", serde_json::json!({})));
    let (tokens, price, _) = claude(&world, &long, None);
    is(price, tokens * 2.5);
    let (_, price, it) = claude(&world, &long, Some(("claude", 10_000)));
    is(price, 10_000.0 * 0.1 + (tokens - 10_000.0) * 2.5);
    is(it.cached_usd.unwrap() * 1e6, 10_000.0 * 2.4);
    let (_, price, it) = claude(&world, &long, Some(("dear", 10_000)));
    is(price, tokens * 2.5);
    is(it.cacheable_usd.unwrap() * 1e6, 10_000.0 * 2.4);
    assert_eq!(it.switching_usd, 0.0, "filling its cache is in its price");
    let named = ChatRequest { model: "claude".into(), ..long.clone() };
    let plan = world.ask(&named, None, true, 1);
    let it = &plan.decision.candidates[0];
    is((it.cost_usd - it.answer_tokens as f64 * 10.0 / 1e6) * 1e6, tokens * 2.5);
    world.config =
        world.config.replace("dialect = 'anthropic'", "dialect = 'anthropic'\nquirks.cache_markers = false");
    is(claude(&world, &long, None).1, tokens * 2.0);
}

#[test]
fn inside_a_tool_loop_nothing_moves() {
    let mut world = World::new("");
    world.judge("dear", 0.1);
    world.judge("cheap", 0.9);
    world.config = world.config.replace("price = { input = 0.1", "can = ['tools']\nprice = { input = 0.1");
    world.config = world.config.replace("price = { input = 5.0", "can = ['tools']\nprice = { input = 5.0");
    let mut request = request();
    let result = Part::ToolResult { call_id: "1".into(), content: Vec::new(), is_error: false, cache_control: None };
    request.messages.push(Message { role: Role::User, parts: vec![result], name: None });
    assert_eq!(chosen(&world.ask(&request, on("dear"), true, 1)), "dear");
    assert!(!world.ask(&request, None, true, 1).decision.explore);
}

#[test]
fn a_policy_that_watches_says_what_it_would_have_done_and_the_weights_choose() {
    let mut world = World::new("");
    world.policy.version = 7;
    world.judge("dear", 0.1);
    world.judge("cheap", 0.9);
    let plans: Vec<Plan> = (0..400).map(|seed| world.ask(&calm(), None, false, seed)).collect();
    let dear = plans.iter().filter(|plan| chosen(plan) == "dear").count();
    assert!((150..250).contains(&dear), "{dear} of 400 by equal weights");
    for plan in &plans {
        let shadow = plan.decision.shadow.as_ref().unwrap();
        assert_eq!(shadow.model.as_str(), "cheap");
        assert_eq!((shadow.policy_version, plan.decision.policy_version), (7, 0));
        assert_eq!((plan.decision.mode, plan.decision.propensity), (Mode::Weighted, 0.5));
    }
}

#[test]
fn rules_stand_above_the_policy() {
    let mut prefer = World::new("[[rules]]\nname = 'r'\nprefer = ['dear']\n");
    prefer.policy.version = 7;
    let plan = prefer.ask(&request(), None, true, 1);
    assert_eq!((chosen(&plan), plan.decision.propensity, plan.decision.mode), ("dear", 1.0, Mode::Named));
    assert_eq!(plan.decision.policy_version, 0);
    let pin = World::new("[[rules]]\nname = 'r'\npin = 'silent'\n");
    let plan = pin.ask(&request(), None, true, 1);
    assert_eq!((chosen(&plan), plan.decision.mode), ("silent", Mode::Named));
    assert!(plan.decision.features.is_none());
}

#[test]
fn a_model_that_talks_longer_than_expected_is_expected_to_cost_more() {
    let world = World::new("");
    let cost = |world: &World| {
        let plan = world.ask(&request(), None, true, 1);
        plan.decision.candidates.iter().find(|candidate| candidate.model.as_str() == "dear").unwrap().cost_usd
    };
    let before = cost(&world);
    let dear = ModelName::from("dear");
    for _ in 0..100 {
        let expected = Expected {
            tokens: f64::from(USUAL_ANSWER_TOKENS),
            bounded: false,
            most: f64::INFINITY,
            space: "".into(),
        };
        world.lengths.observe(&dear, &expected, 3 * u64::from(USUAL_ANSWER_TOKENS), false);
    }
    let after = cost(&world);
    assert!(after > 2.5 * before && after < 3.0 * before, "{before} became {after}");
}

/// As the end of an answer has it learned.
fn end(world: &World, plan: &Plan, came: u64) {
    world.lengths.observe(&"dear".into(), &considered(plan, "dear").1.expected, came, false);
}

#[test]
fn with_many_answers_under_way_the_expected_length_settles() {
    let world = World::new("");
    let mut under_way = std::collections::VecDeque::new();
    let mut told = Vec::new();
    for number in 0..600 {
        let plan = world.ask(&request(), None, true, number);
        told.push(considered(&plan, "dear").1.output_tokens);
        under_way.push_back(plan);
        if number >= 200 {
            end(&world, &under_way.pop_front().unwrap(), 228);
        }
    }
    assert_eq!(told[200], f64::from(USUAL_ANSWER_TOKENS));
    assert!(told.iter().all(|tokens| (227.0..=400.0).contains(tokens)), "{told:?}");
    assert!(told[599] < 240.0, "{}", told[599]);
}

#[test]
fn what_a_request_allows_says_nothing_of_how_long_answers_are() {
    let world = World::new("");
    let brief = ChatRequest { max_tokens: Some(5), ..request() };
    for number in 0..100 {
        let plan = world.ask(&brief, None, true, number);
        let told = considered(&plan, "dear").1.output_tokens;
        assert!(if number == 0 { told == 5.0 } else { (2.0..5.0).contains(&told) }, "{number}: {told}");
        end(&world, &plan, 2);
    }
    let long = world.ask(&request(), None, true, 1);
    assert_eq!(considered(&long, "dear").1.output_tokens, f64::from(USUAL_ANSWER_TOKENS));
}

#[test]
fn a_prediction_adds_up_to_what_was_compared() {
    let mut world = World::new("");
    world.judge("dear", 1.0);
    world.judge("cheap", 0.2);
    let plan = world.ask(&request(), None, true, 1);
    for candidate in &plan.decision.candidates {
        let prediction = candidate.prediction.as_ref().unwrap();
        assert!((prediction.account.total() - prediction.quality).abs() < 1e-4, "{prediction:?}");
    }
    let moved = |model: &str| {
        let all = &plan.decision.candidates;
        let it = all.iter().find(|candidate| candidate.model.as_str() == model).unwrap();
        it.prediction.as_ref().unwrap().account.by(crate::bandit::Factor::Level)
    };
    assert!(moved("dear") > 0.2 && moved("cheap") < -0.1, "{} {}", moved("dear"), moved("cheap"));
}
