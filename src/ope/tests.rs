//! The estimators against worlds in which the truth is known.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick(&mut self, shares: &[f64]) -> usize {
        let mut left = self.unit();
        shares
            .iter()
            .position(|share| {
                left -= share;
                left < 0.0
            })
            .unwrap_or(shares.len() - 1)
    }
}

/// Two kinds of request, three models; what each earns on each.
const WORLD: [[f64; 3]; 2] = [[0.9, 0.6, 0.3], [0.2, 0.5, 0.8]];
/// The judged policy knows the kinds.
const JUDGED: [[f64; 3]; 2] = [[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]];

fn truth() -> f64 {
    (0..2).map(|kind| (0..3).map(|arm| 0.5 * JUDGED[kind][arm] * WORLD[kind][arm]).sum::<f64>()).sum()
}

/// A log of `n` requests by `behavior`; the reward model is off by `bias`.
fn log(n: usize, behavior: &[[f64; 3]; 2], bias: f64, seed: u64) -> Vec<Logged> {
    let mut dice = Dice(seed);
    (0..n)
        .map(|_| {
            let kind = usize::from(dice.unit() < 0.5);
            let arm = dice.pick(&behavior[kind]);
            let reward = f64::from(dice.unit() < WORLD[kind][arm]);
            let value = (0..3).map(|arm| JUDGED[kind][arm] * (WORLD[kind][arm] + bias)).sum();
            let modelled = Some(Modelled { chosen: WORLD[kind][arm] + bias, value });
            Logged { propensity: behavior[kind][arm], reward, target: JUDGED[kind][arm], modelled }
        })
        .collect()
}

const UNIFORM: [[f64; 3]; 2] = [[1.0 / 3.0; 3]; 2];
/// Nearly always the first, whatever comes.
const SKEWED: [[f64; 3]; 2] = [[0.94, 0.03, 0.03]; 2];

/// Over many repetitions: mean error, and how often the interval held.
fn repeat(behavior: &[[f64; 3]; 2], method: Method, bias: f64, kind: IntervalKind) -> (f64, f64) {
    let settings = Settings { interval: kind, ..Settings::default() };
    // Betting looks for its ends by bisection, which takes its time.
    let repetitions = if kind == IntervalKind::Betting { 60 } else { 400 };
    let (mut error, mut held) = (0.0, 0.0);
    for seed in 0..repetitions {
        let log = log(2000, behavior, bias, seed * 7919 + 13);
        let estimate = estimate(&log, method, &settings).unwrap();
        error += (estimate.value - truth()) / repetitions as f64;
        held += f64::from(u8::from(estimate.low <= truth() && truth() <= estimate.high)) / repetitions as f64;
    }
    (error, held)
}

#[test]
fn intervals_hold_as_often_as_they_say_also_under_a_skewed_log() {
    for behavior in [&UNIFORM, &SKEWED] {
        for method in [Method::Ips, Method::Snips, Method::DoublyRobust] {
            let (error, held) = repeat(behavior, method, -0.1, IntervalKind::Student);
            assert!(error.abs() < 0.015, "{method:?}: bias {error}");
            assert!((0.92..=0.99).contains(&held), "{method:?}: coverage {held}");
        }
    }
}

#[test]
fn guaranteed_intervals_hold_at_least_as_often() {
    let (_, held) = repeat(&SKEWED, Method::Ips, 0.0, IntervalKind::Betting);
    // Of 60 repetitions, 54 are less than chance would leave of a promise of 57.
    assert!(held >= 0.9, "{held}");
}

#[test]
fn a_wrong_model_fools_the_direct_method_and_not_the_doubly_robust_one() {
    let (direct, _) = repeat(&UNIFORM, Method::Direct, -0.1, IntervalKind::Student);
    let (robust, _) = repeat(&UNIFORM, Method::DoublyRobust, -0.1, IntervalKind::Student);
    assert!((direct + 0.1).abs() < 0.01, "{direct}");
    assert!(robust.abs() < 0.01, "{robust}");
}

#[test]
fn comparing_on_the_same_requests_is_surer_than_apart() {
    let log = log(2000, &UNIFORM, 0.0, 5);
    let uniform: Vec<Logged> = log.iter().map(|logged| Logged { target: logged.propensity, ..*logged }).collect();
    let settings = Settings::default();
    let difference = compare(&log, &uniform, Method::Snips, &settings).unwrap();
    let alone = estimate(&log, Method::Snips, &settings).unwrap();
    let base = estimate(&uniform, Method::Snips, &settings).unwrap();
    assert!((difference.value - (alone.value - base.value)).abs() < 1e-9);
    assert!(difference.low > 0.0, "{difference:?}");
    assert!(difference.high - difference.low < (alone.high - alone.low) + (base.high - base.low));
    let same = compare(&log, &log, Method::DoublyRobust, &settings).unwrap();
    assert_eq!((same.value, same.low, same.high), (0.0, 0.0, 0.0));
}

#[test]
fn clipping_and_effective_size_are_told() {
    let log = log(3000, &SKEWED, 0.0, 9);
    let settings = Settings { clip: 5.0, ..Settings::default() };
    let estimate = estimate(&log, Method::Ips, &settings).unwrap();
    assert!(estimate.clipped > 0.01 && estimate.clipped < 0.05, "{estimate:?}");
    assert!(estimate.effective < 2000.0 && estimate.largest_weight > 20.0);
    assert!(estimate.value < truth(), "clipping loses reward");
}

#[test]
fn what_cannot_be_estimated_is_not() {
    let settings = Settings::default();
    assert!(estimate(&[], Method::Ips, &settings).is_none());
    let logged = Logged { propensity: 0.5, reward: 1.0, target: 0.0, modelled: None };
    assert!(estimate(&[logged], Method::DoublyRobust, &settings).is_none());
    assert!(estimate(&[logged], Method::Snips, &settings).is_none());
    assert!(estimate(&[Logged { propensity: 0.0, ..logged }], Method::Ips, &settings).is_none());
    let modelled = [Logged { modelled: Some(Modelled { chosen: 0.5, value: 0.7 }), ..logged }; 30];
    for method in [Method::Ips, Method::Snips, Method::DoublyRobust] {
        assert!(estimate(&modelled, method, &settings).is_none(), "{method:?} of what was never done");
    }
    let told = estimate(&modelled, Method::Direct, &settings).unwrap();
    assert!((told.value - 0.7).abs() < 1e-9, "the model may say what it likes: {told:?}");
}

#[test]
fn a_log_that_never_shows_what_the_policy_does_says_so() {
    // Always the first model, by chance nearly sure of it; the judged policy would nearly always take the other.
    let logged =
        Logged { propensity: 0.98, reward: 1.0, target: 0.02, modelled: Some(Modelled { chosen: 0.9, value: 0.4 }) };
    let log = [logged; 50];
    let settings = Settings::default();
    let seen = estimate(&log, Method::Ips, &settings).unwrap();
    assert!(seen.support < 0.03 && seen.effective > 49.0, "{seen:?}");
    assert!(estimate(&log, Method::Snips, &settings).is_none(), "all weights are alike, and all of another policy's");
    let own = log.map(|logged| Logged { target: logged.propensity, ..logged });
    let difference = compare(&log, &own, Method::DoublyRobust, &settings).unwrap();
    assert!(difference.support < 0.03 && estimate(&own, Method::Snips, &settings).unwrap().support > 0.99);
    let settings = Settings { interval: IntervalKind::Betting, ..settings };
    let seen = estimate(&log, Method::Ips, &settings).unwrap();
    assert!(seen.high > 1.0, "what was not drawn may weigh as much as the clip: {seen:?}");
    assert!(estimate(&own, Method::Snips, &settings).is_none(), "there is no guarantee for it");
}

#[test]
fn where_policies_agree_they_do_not_differ() {
    let mut log = log(400, &UNIFORM, 0.0, 5);
    // They disagree on one request, of which the model of the rewards knew what would come.
    log[7].modelled = Some(Modelled { chosen: log[7].reward, value: 0.5 });
    let mut other = log.clone();
    other[7].target = 40.0 * other[7].propensity;
    let same = compare(&log, &other, Method::DoublyRobust, &Settings::default()).unwrap();
    assert_eq!((same.value, same.low, same.high), (0.0, 0.0, 0.0), "{same:?}");
}

#[test]
fn what_is_known_of_each_request_is_part_of_the_difference() {
    let log = log(400, &UNIFORM, 0.0, 6);
    let other: Vec<Logged> = log.iter().map(|logged| Logged { target: logged.propensity, ..*logged }).collect();
    let with = |known: &[f64]| compare_beside(&log, &other, known, Method::Snips, &Settings::default()).unwrap();
    let width = |estimate: Estimate| estimate.high - estimate.low;
    let (plain, even) = (with(&[]), with(&[0.1; 400]));
    assert!((even.value - plain.value - 0.1).abs() < 1e-9 && (width(even) - width(plain)).abs() < 1e-9);
    let uneven: Vec<f64> = (0..400).map(|at| if at % 100 == 0 { 10.0 } else { 0.0 }).collect();
    let uneven = with(&uneven);
    assert!((uneven.value - even.value).abs() < 1e-9 && width(uneven) > width(even) + 0.1, "{uneven:?}");
}

#[test]
fn what_is_shown_is_possible_and_still_holds_the_truth() {
    // One lucky answer of a model that the log hardly ever chose: the weights sum to more than requests.
    let logged = |propensity, reward| Logged { propensity, reward, target: 1.0, modelled: None };
    let log: Vec<Logged> = (0..20).map(|at| logged(if at == 0 { 0.05 } else { 0.9 }, 1.0)).collect();
    let raw = estimate(&log, Method::Ips, &Settings::default()).unwrap();
    assert!(raw.value > 1.0, "{raw:?}");
    let shown = raw.possible();
    assert!((0.0..=1.0).contains(&shown.low) && shown.low <= shown.value && shown.value <= shown.high, "{shown:?}");
    assert!(shown.high <= 1.0 && (shown.requests, shown.effective) == (raw.requests, raw.effective));
}
