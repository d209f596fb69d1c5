//! Which deployment of a model gets the next call.
//!
//! Two are drawn by weight, and the first is taken unless the second would answer in less than half the time (the
//! "power of two choices" with peak-EWMA as load: Mitzenmacher 2001). So weights are shares as long as all is well,
//! and traffic moves away from a slow place before it fails. A place of weight 0 stands by: it is called where no
//! other is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::upstream::{Deployment, Model};

/// How much better the second must look.
const CLEARLY: f64 = 0.5;

/// A healthy deployment of `model` that `carries` the request, if possible none of those in `tried`.
pub fn pick(
    model: &Model,
    tried: &[String],
    carries: &dyn Fn(&Deployment) -> bool,
    now: Instant,
    chance: &mut dyn FnMut() -> f64,
) -> Option<Arc<Deployment>> {
    let ready: Vec<&Arc<Deployment>> = model.ready(now).filter(|place| carries(place)).collect();
    let fresh: Vec<&Arc<Deployment>> = ready.iter().filter(|place| !tried.contains(&place.name)).copied().collect();
    let mut pool = if fresh.is_empty() { ready } else { fresh };
    if pool.iter().any(|place| place.weight > 0.0) {
        pool.retain(|place| place.weight > 0.0);
    }
    let first = draw(&mut pool, chance)?;
    let Some(second) = draw(&mut pool, chance) else { return Some(Arc::clone(first)) };
    let better = second.wait(now) < first.wait(now) * CLEARLY;
    Some(Arc::clone(if better { second } else { first }))
}

/// The place among `these` whose rest is over first, and how long that takes: what is left to be waited for when
/// nothing can be picked.
pub(super) fn rested(
    model: &Model,
    these: &dyn Fn(&Deployment) -> bool,
    now: Instant,
) -> Option<(Arc<Deployment>, Duration)> {
    let usable = model.deployments.iter().filter(|place| place.provider.unusable.is_none() && these(place));
    let resting = usable.filter_map(|place| Some((Arc::clone(place), place.rest(now)?)));
    resting.min_by_key(|(_, rest)| *rest)
}

/// Takes one out of the pool, with a probability proportional to its weight.
fn draw<'a>(pool: &mut Vec<&'a Arc<Deployment>>, chance: &mut dyn FnMut() -> f64) -> Option<&'a Arc<Deployment>> {
    let total: f64 = pool.iter().map(|place| place.weight).sum();
    let mut left = chance() * total;
    let at = pool.iter().position(|place| {
        left -= place.weight;
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
    use crate::upstream::{Catalog, Verdict};

    /// With the places `a/x` and `a/y`.
    fn weighing(x: f64, y: f64) -> Arc<Model> {
        let places = format!(
            "[providers.a]\nbase_url = 'http://a'\n[models.m]\ndeployments = [\
             {{ provider = 'a', upstream = 'x', weight = {x:?} }}, {{ provider = 'a', upstream = 'y', weight = {y:?} }}]"
        );
        let config: Config = places.parse().unwrap();
        Arc::clone(Catalog::new(&config, &BTreeMap::new(), None).find("m").unwrap())
    }

    fn model() -> Arc<Model> {
        weighing(3.0, 1.0)
    }

    fn share_of_x(model: &Model) -> f64 {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut chance = || rng.random::<f64>();
        let picks = (0..4000).filter_map(|_| pick(model, &[], &|_| true, Instant::now(), &mut chance));
        picks.filter(|place| place.upstream == "x").count() as f64 / 4000.0
    }

    fn answer_in(model: &Model, upstream: &str, latency: Duration) {
        let place = model.deployments.iter().find(|place| place.upstream == upstream).unwrap();
        let mut permit = place.admit(Instant::now()).unwrap();
        permit.settle(&Verdict::Good(latency), Instant::now(), 0);
    }

    #[test]
    fn a_place_that_cannot_carry_the_request_is_not_asked() {
        let model = model();
        let mut chance = || 0.0;
        let carries = |place: &Deployment| place.name == "a/y";
        let place = pick(&model, &[], &carries, Instant::now(), &mut chance).unwrap();
        assert_eq!(place.name, "a/y");
        assert!(pick(&model, &[], &|_| false, Instant::now(), &mut chance).is_none());
    }

    #[test]
    fn weights_are_shares_while_all_is_well() {
        let model = model();
        answer_in(&model, "x", Duration::from_millis(100));
        answer_in(&model, "y", Duration::from_millis(100));
        assert!((share_of_x(&model) - 0.75).abs() < 0.03);
    }

    #[test]
    fn a_slow_place_is_left() {
        let model = model();
        answer_in(&model, "x", Duration::from_millis(900));
        answer_in(&model, "y", Duration::from_millis(100));
        assert!(share_of_x(&model) < 0.01);
    }

    #[test]
    fn a_place_of_weight_0_stands_by() {
        let model = weighing(1.0, 0.0);
        answer_in(&model, "x", Duration::from_millis(900));
        answer_in(&model, "y", Duration::from_millis(100));
        assert!((share_of_x(&model) - 1.0).abs() < 1e-9);
        let mut half = || 0.5;
        let place = pick(&model, &["a/x".into()], &|_| true, Instant::now(), &mut half).unwrap();
        assert_eq!(place.upstream, "y", "once the other has failed");
        let small = weighing(1.0, 1e-9);
        answer_in(&small, "x", Duration::from_millis(100));
        answer_in(&small, "y", Duration::from_millis(100));
        assert!((share_of_x(&small) - 1.0).abs() < 1e-9, "a small share is small");
    }

    #[test]
    fn of_the_places_that_rest_the_first_to_be_done_is_waited_for() {
        let model = model();
        let now = Instant::now();
        assert!(rested(&model, &|_| true, now).is_none(), "nobody rests");
        for (place, seconds) in model.deployments.iter().zip([9, 1]) {
            let verdict = Verdict::Rest(ErrorKind::Overloaded, Some(Duration::from_secs(seconds)));
            place.admit(now).unwrap().settle(&verdict, now, 0);
        }
        let (place, rest) = rested(&model, &|_| true, now).unwrap();
        assert_eq!((place.upstream.as_str(), rest), ("y", Duration::from_secs(1)));
        assert_eq!(rested(&model, &|place| place.name == "a/x", now).unwrap().1, Duration::from_secs(9));
        assert!(rested(&model, &|_| false, now).is_none());
    }

    #[test]
    fn a_tried_place_is_avoided_while_there_is_another() {
        let model = model();
        let mut half = || 0.5;
        let place = pick(&model, &["a/x".into()], &|_| true, Instant::now(), &mut half).unwrap();
        assert_eq!(place.upstream, "y");
        assert!(pick(&model, &["a/x".into(), "a/y".into()], &|_| true, Instant::now(), &mut half).is_some());
    }
}
