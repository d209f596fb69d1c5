//! Whether a new policy may take over: its estimated gain over the live one on the choices in the log, with an
//! interval.
//!
//! Pure off-policy evaluation. Every judged choice that was sampled (its propensity is known) is evidence about another
//! policy; where too few are judged, the signals of unjudged answers are the evidence instead ([`evidence`]). For each
//! choice the new and the live policy give their probabilities ([`ope::Logged`]), and the two are compared on the same
//! choices ([`ope::compare`], doubly robust): where they agree the difference is exactly 0, whatever the rewards, so
//! the interval is narrow when little changes. Differences of cost and latency are computed, not estimated, and added
//! to each choice's.
//!
//! The reward model is cross-fitted: two models, each fitted to one half of the evidence and asked about the other
//! ([`CrossFit`]). Of actions that the log hardly ever took, the estimate would rest on the reward model alone: then
//! the new policy waits (low [`Gain::support`]). The rule looks at the interval's lower end, not at the mean.
//!
//! A policy looks better than it is on judgements that it was trained on. Where the live policy has learned from a
//! judgement too, both sides are flattered alike. Where it has not ([`Knowledge`]), the new policy is replaced by one
//! trained without one half of the judgements that the live one has not seen. So the estimate is nearer to the gain
//! from half of the unseen judgements than to what the whole log seems to promise.

use std::collections::HashSet;

use serde::Serialize;

use super::cross_fit::CrossFit;
use super::lesson::{Evidence, Lesson, SampledChoice};
use super::trained_on::TrainedOn;
use crate::bandit::{Candidate, Snapshot};
use crate::config::Gate;
use crate::ope::{self, Estimate, Logged, Method, signed};
use crate::protocol::DecisionId;

/// What a new policy would gain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// The kind of evidence.
    pub rests_on: Evidence,
    /// Whether it is recorded which judgements the live policy was trained on; where not, the live policy alone may
    /// look better than it is.
    #[serde(skip)]
    pub is_fair: bool,
    /// Choices that the gain is estimated from.
    pub choices: usize,
    /// Utility gained per choice.
    pub mean: f64,
    /// Lower end of the gain's interval.
    pub lower: f64,
    /// Upper end of the gain's interval.
    pub upper: f64,
    /// Share of these choices that would go to another model.
    pub moved: f64,
    /// Effective sample size after importance weighting.
    pub effective: f64,
    /// Share of importance weights that were clipped.
    pub clipped: f64,
    /// How much of what the policies do the log covers, see [`Estimate::support`]: the lower of the two policies', or
    /// the new one's where the live one has learned from nothing.
    pub support: f64,
    /// The gain by each method: IPS, SNIPS, doubly robust. The rule goes by the last.
    pub methods: Vec<Estimate>,
    /// Estimated quality of the new policy's answers, by each method.
    pub new: Vec<Estimate>,
    /// Estimated quality of the live policy's answers, by each method.
    pub live: Vec<Estimate>,
}

/// The answers to estimate a gain from: judged ones alone, since answers with a signal are all bad and would bias them.
/// Where fewer than `least` judged choices exist and signals teach anything: all unjudged answers, with a signal or
/// without.
pub fn evidence<'a>(learned: &'a [Lesson], unjudged: &'a [Lesson], least: usize) -> (Evidence, Vec<&'a Lesson>) {
    let judged: Vec<&Lesson> = learned.iter().filter(|lesson| lesson.signal.is_none()).collect();
    let choices = judged.iter().filter(|lesson| lesson.choice.is_some()).count();
    if choices < least && judged.len() < learned.len() {
        (Evidence::Signals, unjudged.iter().collect())
    } else {
        (Evidence::Judgements, judged)
    }
}

/// Which judgements in the log the live policy has learned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge {
    /// The answers that its version was trained on. `None` where that was not recorded: then it counts as having
    /// learned from none of them: a takeover that comes a little late does less harm than one by a policy that only
    /// looked better.
    pub trained_on: Option<TrainedOn>,
    /// Judgements learnable after this moment (Unix milliseconds) were taken in online...
    pub since_ms: i64,
    /// ...this many of them, in the order in which they became learnable.
    pub judgements: u64,
}

impl Knowledge {
    /// Of a policy that was trained on nothing and has taken in this many judgements online.
    pub fn only_since(judgements: u64) -> Self {
        Self { trained_on: Some(TrainedOn::default()), since_ms: i64::MIN, judgements }
    }

    /// Which of `lessons` the live policy has not learned from.
    pub(super) fn unseen(&self, rests_on: Evidence, lessons: &[&Lesson]) -> HashSet<DecisionId> {
        let knows = |id| self.trained_on.as_ref().is_some_and(|trained_on| trained_on.has(rests_on, id));
        let mut unseen: Vec<&Lesson> = lessons.iter().copied().filter(|lesson| !knows(lesson.id)).collect();
        if rests_on == Evidence::Judgements {
            // A stable sort: of two that became learnable at once, the older decision comes first.
            unseen.sort_by_key(|lesson| lesson.learnable_at_ms);
            let from = unseen.partition_point(|lesson| lesson.learnable_at_ms <= self.since_ms);
            let taken_in = usize::try_from(self.judgements).unwrap_or(usize::MAX).min(unseen.len() - from);
            unseen.drain(from..from + taken_in);
        }
        unseen.into_iter().map(|lesson| lesson.id).collect()
    }
}

/// The gate's decision on a new policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It takes over.
    Promote,
    /// The evidence does not decide; it waits for more.
    Wait,
    /// It is worse.
    Refuse,
}

/// Estimates the gain of `new`, which was trained on `learned`, over `live`, which has learned what `knowledge` says;
/// `None` where the evidence allows no estimate.
pub fn gain(
    (rests_on, lessons): (Evidence, &[&Lesson]),
    (live, knowledge): (&Snapshot, &Knowledge),
    (new, learned): (&Snapshot, &[Lesson]),
    gate: &Gate,
) -> Option<Gain> {
    let (mut by_live, mut by_new, mut savings, mut moved) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    let rewards = CrossFit::of_rewards(lessons.iter().copied(), *new.settings())?;
    let unseen = knowledge.unseen(rests_on, lessons);
    let unflattered = CrossFit::of_policy(learned, &unseen, *new.settings())?;
    for lesson in lessons {
        let Some(drawn) = &lesson.choice else { continue };
        let new = if unseen.contains(&lesson.id) { unflattered.without(lesson.id) } else { new };
        let Some(compared) = compare(lesson, drawn, live, new, &rewards) else { continue };
        by_live.push(compared.live);
        by_new.push(compared.new);
        savings.push(compared.savings);
        moved += compared.moved;
    }
    let settings = ope::Settings { clip: gate.clip, confidence: gate.confidence, ..ope::Settings::default() };
    let compared = |method| ope::compare_beside(&by_new, &by_live, &savings, method, &settings);
    let difference = compared(Method::OF_THE_GATE)?;
    let methods = [Method::Ips, Method::Snips, Method::DoublyRobust];
    let each =
        |log: &[Logged]| methods.into_iter().filter_map(|method| ope::estimate(log, method, &settings)).collect();
    let of_new: Vec<Estimate> = each(&by_new);
    // A live policy that has learned from nothing may never have chosen (beside an imported log, say): then the log
    // need not cover what it would do.
    let alone = of_new.iter().find(|one| one.method == Method::OF_THE_GATE).filter(|_| live.learned_from() == 0);
    let support = alone.map_or(difference.support, |one| one.support);
    Some(Gain {
        rests_on,
        is_fair: knowledge.trained_on.is_some(),
        choices: by_new.len(),
        moved: moved / by_new.len().max(1) as f64,
        mean: difference.value,
        lower: difference.low,
        upper: difference.high,
        effective: difference.effective,
        clipped: difference.clipped,
        support,
        methods: methods.into_iter().filter_map(compared).collect(),
        new: of_new,
        live: each(&by_live),
    })
}

/// Most that one choice's difference in cost and latency counts for: the distance from a useless to a perfect answer.
const MAX_SAVINGS: f64 = 1.0;

/// One logged choice under both policies.
struct Compared {
    live: Logged,
    new: Logged,
    /// Expected cost and latency that the new policy saves, in utility.
    savings: f64,
    /// Probability that the new policy moves to other models (total variation distance).
    moved: f64,
}

fn compare(
    lesson: &Lesson,
    drawn: &SampledChoice,
    live: &Snapshot,
    new: &Snapshot,
    rewards: &CrossFit,
) -> Option<Compared> {
    let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|logged| logged.candidate()).collect();
    let context = lesson.context();
    // Only the probabilities are used; which model is drawn does not matter.
    let by_live = live.choose(&context, &candidates, &drawn.tradeoff, true, 0.0)?;
    let by_new = new.choose(&context, &candidates, &drawn.tradeoff, true, 0.0)?;
    let expected = rewards.expected(lesson, &candidates);
    let propensity = drawn.candidates.get(drawn.chosen)?.propensity;
    let logged = |shares: &[f64]| Logged::of(propensity, lesson.reward.value(), drawn.chosen, shares, &expected);
    let (by_live_logged, by_new_logged) = (logged(&by_live.propensities)?, logged(&by_new.propensities)?);
    let less = |at: usize| by_live.propensities[at] - by_new.propensities[at];
    let savings: f64 = candidates.iter().enumerate().map(|(at, it)| less(at) * drawn.tradeoff.burden(it)).sum();
    // A request's own objective may weigh a cent more than all other choices together.
    let savings = savings.clamp(-MAX_SAVINGS, MAX_SAVINGS);
    if !savings.is_finite() || by_live.propensities.iter().chain(&by_new.propensities).any(|share| share.is_nan()) {
        return None;
    }
    let moved = (0..candidates.len()).map(|at| less(at).abs()).sum::<f64>() / 2.0;
    Some(Compared { live: by_live_logged, new: by_new_logged, savings, moved })
}

/// Support below which a new policy waits: the unchecked reward model would speak for the rest.
const LEAST_SUPPORT: f64 = 0.8;

/// Share of moved choices below which support does not matter.
const LITTLE_MOVED: f64 = 0.05;

/// Share of moved choices that is none.
const SAME_CHOICES: f64 = 0.000_1;

/// Support from which a gain whose whole interval is above 0 is believed, given an effective sample of
/// `SURE_CHOICES x min_choices`: after traffic has moved, half of the log is of another time, and a log of one model
/// alone never covers everything.
const SURE_SUPPORT: f64 = 0.5;
const SURE_CHOICES: f64 = 3.0;

/// The ruling on a gain, and its reason as a sentence.
pub fn rule(gain: Option<&Gain>, gate: &Gate) -> (Ruling, String) {
    let choices = gain.map_or(0, |gain| gain.choices);
    let Some(Gain { rests_on, is_fair, moved, mean, lower, upper, support, effective, .. }) =
        gain.filter(|_| choices >= gate.min_choices)
    else {
        let why = format!("{choices} judged choices are too few to say (learning.gate.min_choices)");
        return (Ruling::Wait, why);
    };
    let by = match rests_on {
        Evidence::Judgements => "",
        Evidence::Signals => "by signals alone ",
    };
    let [mean, low, high] = [*mean, *lower, *upper].map(|value| signed(value, 4));
    let interval = if *moved < SAME_CHOICES && low == high {
        // What it has of the judgements, the live version has learned as they came.
        format!("{by}it would choose as the live version does in all of {choices} choices")
    } else {
        format!("{by}a gain of {mean} ({low} to {high}) over {choices} choices")
    };
    let is_sure = *lower > 0.0 && *support >= SURE_SUPPORT && *effective >= SURE_CHOICES * gate.min_choices as f64;
    if *support < LEAST_SUPPORT && *moved >= LITTLE_MOVED && !is_sure {
        (Ruling::Wait, format!("the decision log covers {:.0} % of what it would do: {interval}", support * 100.0))
    } else if *lower >= -gate.tolerance {
        (Ruling::Promote, interval)
    } else if !is_fair {
        let why = "what the live version was trained on was not recorded, so it looks better than it is";
        (Ruling::Wait, format!("{why}: {interval}"))
    } else if *upper < 0.0 && *rests_on == Evidence::Judgements {
        (Ruling::Refuse, format!("it is worse: {interval}"))
    } else {
        (Ruling::Wait, format!("too uncertain: {interval}"))
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
