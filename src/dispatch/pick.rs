//! Chooses the deployment of a model that gets the next call.
//!
//! Two are drawn by weight, and the first is taken unless the second is expected to answer in less than half the time
//! (the "power of two choices": Mitzenmacher 2001). So weights are shares as long as all is
//! well, and traffic moves away from a slow deployment before it fails. A deployment of weight 0 stands by: it is
//! called where no other is ready. A conversation under way takes the place of the first draw: it goes on where it was
//! answered last ([`Home`]), since only that account has its prompt in the vendor's cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::route::Stay;
use crate::upstream::{Deployment, Model};

/// The second is taken when its expected wait is less than this share of the first's.
const SWITCH_BELOW: f64 = 0.5;

/// The same where the first is at home: one answer may well take twice as long as another, and a move costs the cache.
const LEAVE_BELOW: f64 = 0.25;

/// The same where the conversation's thoughts would be lost, too, however many calls are in flight there: only one that
/// answers nobody looks as slow as that.
const LEAVE_THOUGHTS_BELOW: f64 = 0.08;

/// Where a conversation was answered last.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// The deployment's name.
    pub deployment: &'a str,
    /// Whether nobody else can read what the conversation brings back: its model's thoughts, sealed for that account. While
    /// it answers it is not left then.
    pub holds_thoughts: bool,
    /// See [`Stay::refused_thoughts`].
    pub refused_thoughts: usize,
}

impl<'a> Home<'a> {
    /// Where a conversation with that `stay` was answered, if this gateway made the call.
    pub fn of(stay: &'a Stay, holds_thoughts: impl FnOnce() -> bool) -> Option<Self> {
        let deployment = stay.deployment.as_deref()?;
        Some(Self { deployment, holds_thoughts: holds_thoughts(), refused_thoughts: stay.refused_thoughts })
    }
}

/// How many times slower than the other one's a deployment's answers may make it look. They may have been longer, or
/// have waited for each other: one that held the last crowd of them would rest while the other gets all of the next.
/// Played through, one that is slow by itself gets hardly more calls than without the bound; with a bound of four, two
/// callers at once send it twice as many.
const MOST_TIMES_SLOWER: f64 = 5.0;

/// A healthy deployment of `model` that `carries` the request, preferably none of those in `tried`, and else the one at
/// `home`.
pub fn pick(
    model: &Model,
    home: Option<Home<'_>>,
    tried: &[Arc<str>],
    carries: &dyn Fn(&Deployment) -> bool,
    now: Instant,
    chance: &mut dyn FnMut() -> f64,
) -> Option<Arc<Deployment>> {
    let ready: Vec<&Arc<Deployment>> = model.ready(now).filter(|deployment| carries(deployment)).collect();
    let fresh: Vec<&Arc<Deployment>> =
        ready.iter().filter(|deployment| !tried.contains(&deployment.name)).copied().collect();
    let mut pool = if fresh.is_empty() { ready } else { fresh };
    if pool.iter().any(|deployment| deployment.weight > 0.0) {
        pool.retain(|deployment| deployment.weight > 0.0);
    }
    let at_home = home.and_then(|home| pool.iter().position(|deployment| *deployment.name == *home.deployment));
    let first = match at_home {
        Some(at) => pool.swap_remove(at),
        None => draw(&mut pool, chance)?,
    };
    let Some(second) = draw(&mut pool, chance) else { return Some(Arc::clone(first)) };
    let holds_thoughts = at_home.is_some() && home.is_some_and(|home| home.holds_thoughts);
    let [wait_first, wait_second] = expected_waits_s([first, second], !holds_thoughts, now);
    // Of one that was never asked nothing is known.
    let below = match at_home {
        Some(_) if second.latency().is_none() => 0.0,
        Some(_) if holds_thoughts => LEAVE_THOUGHTS_BELOW,
        Some(_) => LEAVE_BELOW,
        None => SWITCH_BELOW,
    };
    Some(Arc::clone(if wait_second < wait_first * below { second } else { first }))
}

/// How long each of two deployments would take for one more call, in seconds, with the calls that they have in flight
/// held against their weights if `crowds` count: otherwise the heavier one, which rightly has more of them, would pass for
/// the slower.
/// Neither passes for faster than the faster one was: a latency that fades while nobody asks would make the lighter
/// one, which rightly rests longer, the faster. Nor does either pass for [`MOST_TIMES_SLOWER`] than the other and more,
/// but for calls that are without an answer.
fn expected_waits_s(pair: [&Arc<Deployment>; 2], crowds: bool, now: Instant) -> [f64; 2] {
    let in_flight: usize = pair.iter().map(|deployment| deployment.in_flight()).sum();
    let weight: f64 = pair.iter().map(|deployment| deployment.weight).sum();
    let measured_s = pair.map(|deployment| deployment.latency().map_or(0.0, |latency| latency.as_secs_f64()));
    let now_s = pair.map(|deployment| deployment.latency_s(now));
    let least_s = measured_s[0].min(measured_s[1]).max(now_s[0].max(now_s[1]) / MOST_TIMES_SLOWER);
    pair.map(|deployment| {
        let share = if weight > 0.0 { deployment.weight / weight } else { 0.5 };
        let fair = if crowds { in_flight as f64 * share } else { deployment.in_flight() as f64 };
        deployment.expected_wait_s(fair, least_s, now)
    })
}

/// The `usable` deployment whose vendor's pause ends first, and the time left: the one to wait for when [`pick`]
/// finds none.
pub(super) fn first_rested(
    model: &Model,
    usable: &dyn Fn(&Deployment) -> bool,
    now: Instant,
) -> Option<(Arc<Deployment>, Duration)> {
    let callable =
        model.deployments.iter().filter(|deployment| deployment.provider.unusable.is_none() && usable(deployment));
    let resting = callable.filter_map(|deployment| Some((Arc::clone(deployment), deployment.rest_left(now)?)));
    resting.min_by_key(|(_, rest)| *rest)
}

/// Takes a random deployment out of the pool, with a probability proportional to its weight.
fn draw<'a>(pool: &mut Vec<&'a Arc<Deployment>>, chance: &mut dyn FnMut() -> f64) -> Option<&'a Arc<Deployment>> {
    let total: f64 = pool.iter().map(|deployment| deployment.weight).sum();
    let mut left = chance() * total;
    let at = pool.iter().position(|deployment| {
        left -= deployment.weight;
        left < 0.0
    });
    if pool.is_empty() { None } else { Some(pool.swap_remove(at.unwrap_or(pool.len() - 1))) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::config::Config;
    use crate::protocol::ErrorKind;
    use crate::upstream::{CallVerdict, Catalog};

    /// With the deployments `a/x` and `a/y`.
    fn weighing(x: f64, y: f64) -> Arc<Model> {
        let deployments = format!(
            "[providers.a]\nbase_url = 'http://a'\n[models.m]\ndeployments = [\
             {{ provider = 'a', upstream = 'x', weight = {x:?} }}, {{ provider = 'a', upstream = 'y', weight = {y:?} }}]"
        );
        let config: Config = deployments.parse().unwrap();
        Arc::clone(Catalog::new(&config, &BTreeMap::new(), None).find("m").unwrap())
    }

    fn model() -> Arc<Model> {
        weighing(3.0, 1.0)
    }

    fn share_of_x(model: &Model) -> f64 {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut chance = || rng.random::<f64>();
        let picks = (0..4000).filter_map(|_| pick(model, None, &[], &|_| true, Instant::now(), &mut chance));
        picks.filter(|deployment| deployment.upstream == "x").count() as f64 / 4000.0
    }

    fn answer_in(model: &Model, upstream: &str, latency: Duration) {
        let deployment = model.deployments.iter().find(|deployment| deployment.upstream == upstream).unwrap();
        let mut permit = deployment.admit(Instant::now()).unwrap();
        permit.settle(&CallVerdict::Good(latency), Instant::now(), 0);
    }

    #[test]
    fn a_deployment_that_cannot_carry_the_request_is_not_asked() {
        let model = model();
        let mut chance = || 0.0;
        let carries = |deployment: &Deployment| *deployment.name == *"a/y";
        let deployment = pick(&model, None, &[], &carries, Instant::now(), &mut chance).unwrap();
        assert_eq!(&*deployment.name, "a/y");
        assert!(pick(&model, None, &[], &|_| false, Instant::now(), &mut chance).is_none());
    }

    #[test]
    fn a_conversation_goes_on_where_it_was_while_that_is_not_much_slower() {
        let model = model();
        let mut rng = SmallRng::seed_from_u64(7);
        let mut stays = |model: &Model, deployment: &str, holds_thoughts: bool, tried: &[Arc<str>]| {
            let mut chance = || rng.random::<f64>();
            let home = Some(Home { deployment, holds_thoughts, refused_thoughts: 0 });
            let picks = (0..200).filter_map(|_| pick(model, home, tried, &|_| true, Instant::now(), &mut chance));
            picks.filter(|picked| *picked.name == *deployment).count()
        };
        answer_in(&model, "y", Duration::from_millis(250));
        assert_eq!(stays(&model, "a/y", false, &[]), 200, "the other was never asked");
        answer_in(&model, "x", Duration::from_millis(100));
        assert_eq!(stays(&model, "a/y", false, &[]), 200, "whatever its weight");
        assert_eq!(stays(&model, "a/y", true, &["a/y".into()]), 0, "not where it just failed");
        (0..9).for_each(|_| answer_in(&model, "y", Duration::from_millis(900)));
        assert_eq!(stays(&model, "a/y", false, &[]), 0, "not where it is slow");
        assert_eq!(stays(&model, "a/y", true, &[]), 200, "unless only there it is understood");
        assert_eq!(stays(&weighing(1.0, 0.0), "a/y", true, &[]), 0, "what stands by keeps nobody");
        assert_eq!(stays(&model, "a/z", true, &[]), 0, "what is gone keeps nobody");
    }

    #[test]
    fn weights_are_shares_while_all_is_well() {
        let model = model();
        answer_in(&model, "x", Duration::from_millis(100));
        answer_in(&model, "y", Duration::from_millis(100));
        assert!((share_of_x(&model) - 0.75).abs() < 0.03);
    }

    #[test]
    fn weights_are_shares_of_calls_in_flight_too() {
        for (x, y, clients) in [(3.0, 1.0, 16), (9.0, 1.0, 4), (9.0, 1.0, 16), (1.0, 1.0, 16)] {
            let model = weighing(x, y);
            let mut rng = SmallRng::seed_from_u64(3);
            let mut chance = || rng.random::<f64>();
            let now = Instant::now();
            let mut open = std::collections::VecDeque::new();
            let mut of_x = 0;
            for _ in 0..4000 {
                if open.len() == clients {
                    let mut permit: crate::upstream::Permit = open.pop_front().unwrap();
                    permit.settle(&CallVerdict::Good(Duration::from_millis(150)), now, 0);
                }
                let picked = pick(&model, None, &[], &|_| true, now, &mut chance).unwrap();
                of_x += usize::from(picked.upstream == "x");
                open.push_back(picked.admit(now).unwrap());
            }
            let (share, fair) = (of_x as f64 / 4000.0, x / (x + y));
            assert!((share - fair).abs() < 0.05, "{x}:{y} with {clients} clients: {share:.3}");
        }
    }

    #[test]
    fn a_slow_deployment_is_left() {
        let model = model();
        answer_in(&model, "x", Duration::from_millis(900));
        answer_in(&model, "y", Duration::from_millis(100));
        assert!(share_of_x(&model) < 0.01);
    }

    /// The share of calls that `x` gets of so many clients, each of which asks again at once; `x` takes ten times as long
    /// as `y`.
    fn share_of_slow(clients: usize) -> f64 {
        let model = weighing(1.0, 1.0);
        let mut rng = SmallRng::seed_from_u64(11);
        let mut now = Instant::now();
        let mut open: Vec<(Instant, Duration, crate::upstream::Permit)> = Vec::new();
        let mut of_x = 0;
        for _ in 0..4000 {
            if open.len() == clients {
                let next = (0..clients).min_by_key(|at| open[*at].0).unwrap();
                let (ends, latency, mut permit) = open.swap_remove(next);
                now = ends;
                permit.settle(&CallVerdict::Good(latency), now, 0);
            }
            let picked = pick(&model, None, &[], &|_| true, now, &mut || rng.random::<f64>()).unwrap();
            let is_slow = picked.upstream == "x";
            of_x += usize::from(is_slow);
            let latency = Duration::from_millis(if is_slow { 5000 } else { 500 }).mul_f64(0.5 + rng.random::<f64>());
            open.push((now + latency, latency, picked.admit(now).unwrap()));
        }
        of_x as f64 / 4000.0
    }

    #[test]
    fn a_slow_deployment_is_left_by_many_clients_too() {
        for (clients, most) in [(1, 0.06), (2, 0.05), (4, 0.05), (16, 0.05)] {
            let share = share_of_slow(clients);
            assert!(share < most, "{clients} clients: {share:.3}");
        }
    }

    #[test]
    fn who_held_the_last_crowd_is_not_spared_by_the_next() {
        let (mut at_one, mut lesser) = (0, 0);
        for seed in 0..1000 {
            let model = weighing(1.0, 1.0);
            let begin = Instant::now();
            // Six long answers at one, then short ones at the other, then six at once.
            let crowd = |upstream: &str, latency: Duration, calls: usize, now: Instant| {
                let found = model.deployments.iter().find(|deployment| deployment.upstream == upstream).unwrap();
                for _ in 0..calls {
                    found.admit(now).unwrap().settle(&CallVerdict::Good(latency), now, 0);
                }
            };
            crowd("x", Duration::from_secs(4), 6, begin);
            crowd("y", Duration::from_millis(150), 20, begin + Duration::from_secs(3));
            let now = begin + Duration::from_secs(3);
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut chance = || rng.random::<f64>();
            let mut next = || pick(&model, None, &[], &|_| true, now, &mut chance).unwrap().admit(now).unwrap();
            let calls: Vec<_> = (0..6).map(|_| next()).collect();
            let of_x = calls.iter().filter(|permit| permit.deployment().upstream == "x").count();
            at_one += usize::from(of_x % 6 == 0);
            lesser += of_x.min(6 - of_x);
        }
        assert!(at_one < 100, "of 1000 crowds {at_one} are at one");
        assert!(lesser > 1200, "on average {} of six are at the lesser one", lesser as f64 / 1000.0);
    }

    /// Calls one after another, `every` apart, each answered within 200 ms; the share that `x` gets.
    fn share_one_by_one(model: &Model, calls: u32, every: Duration) -> f64 {
        let mut rng = SmallRng::seed_from_u64(5);
        let mut chance = || rng.random::<f64>();
        let begin = Instant::now();
        let picks = (0..calls).map(|number| {
            let now = begin + every * number;
            let picked = pick(model, None, &[], &|_| true, now, &mut chance).unwrap();
            let latency = Duration::from_millis(200);
            picked.admit(now).unwrap().settle(&CallVerdict::Good(latency), now + latency, 0);
            picked.upstream == "x"
        });
        f64::from(picks.map(u32::from).sum::<u32>()) / f64::from(calls)
    }

    #[test]
    fn weights_are_shares_where_there_is_little_traffic() {
        for (x, y, every) in [(9.0, 1.0, 12), (99.0, 1.0, 1), (3.0, 1.0, 60)] {
            let (share, fair) = (share_one_by_one(&weighing(x, y), 2000, Duration::from_secs(every)), x / (x + y));
            assert!((share - fair).abs() < 0.03, "{x}:{y}, one each {every} s: {share:.3}");
        }
    }

    #[test]
    fn weights_are_about_shares_where_answers_differ_in_length() {
        for (x, y, least) in [(99.0, 1.0, 0.93), (9.0, 1.0, 0.78)] {
            let model = weighing(x, y);
            let mut rng = SmallRng::seed_from_u64(5);
            let mut now = Instant::now();
            let mut of_x = 0;
            for _ in 0..4000 {
                let picked = pick(&model, None, &[], &|_| true, now, &mut || rng.random::<f64>()).unwrap();
                of_x += usize::from(picked.upstream == "x");
                // Lognormal, with a median of 3 s.
                let (one, two) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
                let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
                let latency = Duration::from_secs_f64(3.0 * normal.exp());
                let mut permit = picked.admit(now).unwrap();
                now += latency;
                permit.settle(&CallVerdict::Good(latency), now, 0);
                now += Duration::from_millis(500);
            }
            let share = of_x as f64 / 4000.0;
            assert!(share > least, "{x}:{y}: {share:.3}");
        }
    }

    #[test]
    fn a_deployment_that_answers_nobody_is_left() {
        let model = weighing(99.0, 1.0);
        answer_in(&model, "x", Duration::from_millis(200));
        answer_in(&model, "y", Duration::from_millis(200));
        let begin = Instant::now();
        let hanging = model.deployments.iter().find(|deployment| deployment.upstream == "x").unwrap();
        let _calls: Vec<_> = (0..23).map(|_| hanging.admit(begin).unwrap()).collect();
        let mut chance = || 0.5;
        let asked_at = |seconds: u64, chance: &mut dyn FnMut() -> f64| {
            let now = begin + Duration::from_secs(seconds);
            pick(&model, None, &[], &|_| true, now, chance).unwrap().upstream.clone()
        };
        assert_eq!(asked_at(0, &mut chance), "x");
        assert!([1, 3, 6].iter().all(|seconds| asked_at(*seconds, &mut chance) == "y"));
        assert_eq!(asked_at(20, &mut chance), "x", "to show itself");
        let _another = hanging.admit(begin + Duration::from_secs(20)).unwrap();
        assert!([20, 22, 28].iter().all(|seconds| asked_at(*seconds, &mut chance) == "y"));
    }

    #[test]
    fn thoughts_are_given_up_where_their_account_answers_nobody() {
        let model = weighing(1.0, 1.0);
        answer_in(&model, "x", Duration::from_millis(200));
        answer_in(&model, "y", Duration::from_millis(200));
        let begin = Instant::now();
        let hanging = model.deployments.iter().find(|deployment| deployment.upstream == "x").unwrap();
        let home = Some(Home { deployment: "a/x", holds_thoughts: true, refused_thoughts: 0 });
        let mut asked = Vec::new();
        let _calls: Vec<_> = (0..6)
            .map(|call| {
                let now = begin + Duration::from_millis(700 * call);
                asked.push(pick(&model, home, &[], &|_| true, now, &mut || 0.5).unwrap().upstream.clone());
                hanging.admit(now).unwrap()
            })
            .collect();
        assert_eq!((asked[0].as_str(), asked[5].as_str()), ("x", "y"), "{asked:?}");
    }

    #[test]
    fn thoughts_are_not_given_up_for_a_crowd() {
        let model = weighing(1.0, 1.0);
        (0..9).for_each(|_| answer_in(&model, "x", Duration::from_millis(900)));
        answer_in(&model, "y", Duration::from_millis(100));
        let crowded = model.deployments.iter().find(|deployment| deployment.upstream == "x").unwrap();
        let now = Instant::now();
        let _calls: Vec<_> = (0..9).map(|_| crowded.admit(now).unwrap()).collect();
        let asked = |holds_thoughts: bool| {
            let home = Some(Home { deployment: "a/x", holds_thoughts, refused_thoughts: 0 });
            pick(&model, home, &[], &|_| true, now, &mut || 0.5).unwrap().upstream.clone()
        };
        assert_eq!((asked(true).as_str(), asked(false).as_str()), ("x", "y"));
    }

    #[test]
    fn a_deployment_whose_callers_give_up_is_left() {
        let model = weighing(99.0, 1.0);
        answer_in(&model, "y", Duration::from_millis(100));
        let hanging = model.deployments.iter().find(|deployment| deployment.upstream == "x").unwrap();
        drop(hanging.admit(Instant::now() - Duration::from_secs(2)).unwrap());
        assert!(share_of_x(&model) < 0.01, "though it was never measured");
        let later = Instant::now() + Duration::from_secs(15);
        assert_eq!(pick(&model, None, &[], &|_| true, later, &mut || 0.5).unwrap().upstream, "x", "to show itself");
    }

    #[test]
    fn a_deployment_of_weight_0_stands_by() {
        let model = weighing(1.0, 0.0);
        answer_in(&model, "x", Duration::from_millis(900));
        answer_in(&model, "y", Duration::from_millis(100));
        assert!((share_of_x(&model) - 1.0).abs() < 1e-9);
        let mut half = || 0.5;
        let deployment = pick(&model, None, &["a/x".into()], &|_| true, Instant::now(), &mut half).unwrap();
        assert_eq!(deployment.upstream, "y", "once the other has failed");
        let small = weighing(1.0, 1e-9);
        answer_in(&small, "x", Duration::from_millis(100));
        answer_in(&small, "y", Duration::from_millis(100));
        assert!((share_of_x(&small) - 1.0).abs() < 1e-9, "a small share is small");
    }

    #[test]
    fn of_the_deployments_that_rest_the_first_to_be_done_is_waited_for() {
        let model = model();
        let now = Instant::now();
        assert!(first_rested(&model, &|_| true, now).is_none(), "nobody rests");
        for (deployment, seconds) in model.deployments.iter().zip([9, 1]) {
            let verdict = CallVerdict::Rest(ErrorKind::Overloaded, Some(Duration::from_secs(seconds)));
            deployment.admit(now).unwrap().settle(&verdict, now, 0);
        }
        let (deployment, rest) = first_rested(&model, &|_| true, now).unwrap();
        assert_eq!((deployment.upstream.as_str(), rest), ("y", Duration::from_secs(1)));
        assert_eq!(
            first_rested(&model, &|deployment| *deployment.name == *"a/x", now).unwrap().1,
            Duration::from_secs(9)
        );
        assert!(first_rested(&model, &|_| false, now).is_none());
    }

    #[test]
    fn a_tried_deployment_is_avoided_while_there_is_another() {
        let model = model();
        let mut half = || 0.5;
        let deployment = pick(&model, None, &["a/x".into()], &|_| true, Instant::now(), &mut half).unwrap();
        assert_eq!(deployment.upstream, "y");
        assert!(pick(&model, None, &["a/x".into(), "a/y".into()], &|_| true, Instant::now(), &mut half).is_some());
    }
}
