//! Whether a new policy may take over: what it would have gained on the choices in the log, with an interval.
//!
//! Pure. Every judged choice that was left to chance says something of another policy. For each, the *difference* between
//! new and live policy is estimated doubly robustly (Dudik, Langford and Li, "Doubly Robust Policy Evaluation and Learning",
//! 2011):
//!
//! `d = sum_a (new(a) - live(a)) u(a) + (new(A) - live(A)) / p(A) (r - q(A))`
//!
//! with `u(a)` the expected utility of a model by what both policies believe, `A` the model that was chosen with
//! probability `p(A)`, `r` the reward and `q(A)` what was expected of it. Where the two policies agree the difference is
//! exactly 0, whatever the rewards, so the interval is narrow when little changes: estimating both values on their own and
//! subtracting would drown it in the noise that they share.
//!
//! The rule looks at the lower end, not at the mean. Both policies have learned from the log they are measured on, the live
//! one too, so what that flatters is flattered on both sides.

use serde::Serialize;

use super::lesson::{Drawn, Lesson};
use crate::bandit::{Candidate, Snapshot};
use crate::config::Gate;

/// What a new policy would gain, in points of utility per choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Gain {
    /// Choices it is estimated from.
    pub choices: usize,
    /// The estimate.
    pub mean: f64,
    /// Lower end of its interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Choices' worth of information: importance weights waste the rest.
    pub effective: f64,
    /// Importance weights that were cut off.
    pub clipped: usize,
}

/// What is to become of a new policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It takes over.
    Promote,
    /// Nobody can say yet; it waits.
    Wait,
    /// It is worse.
    Refuse,
}

/// Estimates what `new` would have gained over `live`.
pub fn gain(lessons: &[Lesson], live: &Snapshot, new: &Snapshot, gate: &Gate) -> Gain {
    let mut sum = 0.0;
    let mut squares = 0.0;
    let (mut weights, mut weights_squared) = (0.0, 0.0);
    let mut gain = Gain::default();
    for (lesson, drawn) in lessons.iter().filter_map(|lesson| Some((lesson, lesson.choice.as_ref()?))) {
        let Some(step) = compare(lesson, drawn, live, new) else { continue };
        gain.choices += 1;
        gain.clipped += usize::from(step.ratio.abs() > gate.clip);
        let difference = step.expected + step.ratio.clamp(-gate.clip, gate.clip) * step.surprise;
        sum += difference;
        squares += difference * difference;
        weights += step.weight;
        weights_squared += step.weight * step.weight;
    }
    let count = gain.choices as f64;
    if gain.choices < 2 {
        return Gain { lower: f64::MIN, upper: f64::MAX, ..gain };
    }
    gain.mean = sum / count;
    let variance = (squares / count - gain.mean * gain.mean).max(0.0) * count / (count - 1.0);
    let reach = quantile(0.5 + gate.confidence.clamp(0.0, 0.9999) / 2.0) * (variance / count).sqrt();
    gain.lower = gain.mean - reach;
    gain.upper = gain.mean + reach;
    gain.effective = if weights_squared > 0.0 { weights * weights / weights_squared } else { 0.0 };
    gain
}

/// What one choice says.
struct Step {
    /// Expected difference.
    expected: f64,
    /// `(new - live) / p` of the chosen model.
    ratio: f64,
    /// Reward less expectation.
    surprise: f64,
    /// `new / p` of the chosen model.
    weight: f64,
}

fn compare(lesson: &Lesson, drawn: &Drawn, live: &Snapshot, new: &Snapshot) -> Option<Step> {
    let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|way| way.candidate()).collect();
    let context = lesson.context();
    // The draw itself is of no interest, its probabilities are.
    let by_live = live.choose(&context, &candidates, &drawn.tradeoff, true, 0.0)?;
    let by_new = new.choose(&context, &candidates, &drawn.tradeoff, true, 0.0)?;
    let quality = |at: usize| f64::midpoint(by_live.qualities[at], by_new.qualities[at]);
    let propensity = drawn.candidates.get(drawn.chosen)?.propensity;
    if propensity.is_nan() || propensity <= 0.0 {
        return None;
    }
    let difference = |at: usize| by_new.propensities[at] - by_live.propensities[at];
    let utility = |at: usize| drawn.tradeoff.utility(quality(at), &candidates[at]);
    Some(Step {
        expected: (0..candidates.len()).map(|at| difference(at) * utility(at)).sum(),
        ratio: difference(drawn.chosen) / propensity,
        surprise: lesson.reward.value() - quality(drawn.chosen),
        weight: by_new.propensities[drawn.chosen] / propensity,
    })
}

/// What the rule says, and why, as a sentence.
pub fn rule(gain: &Gain, gate: &Gate) -> (Ruling, String) {
    let Gain { choices, mean, lower, upper, .. } = *gain;
    if choices < gate.min_choices {
        let why = format!("{choices} judged choices are too few to say (learning.gate.min_choices)");
        return (Ruling::Wait, why);
    }
    let interval = format!("a gain of {mean:+.4} ({lower:+.4} to {upper:+.4}) over {choices} choices");
    if lower >= -gate.tolerance {
        (Ruling::Promote, interval)
    } else if upper < 0.0 {
        (Ruling::Refuse, format!("it is worse: {interval}"))
    } else {
        (Ruling::Wait, format!("too uncertain: {interval}"))
    }
}

/// The quantile of the standard normal distribution (Acklam's rational approximation, good to 1e-9 relative).
fn quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if share > 0.975_75 {
        let q = (-2.0 * (1.0 - share).ln()).sqrt();
        return -polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    }
    let q = share - 0.5;
    let r = q * q;
    q * polynomial(&A, r) / (polynomial(&B, r) * r + 1.0)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
