//! Whether a new policy may take over: what it would have gained on the choices in the log, with an interval.
//!
//! Pure. Every judged choice that was left to chance says something of another policy; where too few are judged and signals
//! speak, every choice does by what it shows of them ([`evidence`]). Both policies, the new one and the
//! live one, are asked what they would have done ([`ope::Logged`]), and compared on the same choices ([`ope::compare`], doubly
//! robust): where they agree the difference is exactly 0, whatever the rewards, so the interval is narrow when little
//! changes. What cost and time take away of each request is known without estimating, and is part of its difference.
//!
//! What rewards to expect is asked of two models, each fitted to every other judgement, so that none is asked about what it
//! has seen ([`CrossFit`]). Of a policy that does what the log hardly ever did they alone would speak: then it waits. The rule
//! looks at the lower end, not at the mean.
//!
//! Whoever has learned from the log that it is measured on is flattered. Where the live policy has learned from a judgement,
//! too, that is so on both sides. Where it has not ([`Knowledge`]), the new one is asked as it would be without: as learned from
//! all but half of such news. So the gain is rather that of half the news than of what the log seems to promise.

use std::collections::HashSet;

use serde::Serialize;

use super::cross_fit::CrossFit;
use super::lesson::{Evidence, Lesson, SampledChoice};
use super::trained_on::TrainedOn;
use crate::bandit::{Candidate, Snapshot};
use crate::config::Gate;
use crate::ope::{self, Estimate, Logged, Method, Modelled};
use crate::protocol::DecisionId;

/// What a new policy would gain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// What it rests on.
    pub rests_on: Evidence,
    /// Whether it is known which of them the live policy has learned from: where not, it alone may know them by heart.
    #[serde(skip)]
    pub is_fair: bool,
    /// Choices it is estimated from.
    pub choices: usize,
    /// Utility gained per choice.
    pub mean: f64,
    /// Lower end of its interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Share of these choices that would go to another model.
    pub moved: f64,
    /// Choices' worth of information: importance weights waste the rest.
    pub effective: f64,
    /// Share of importance weights that were cut off.
    pub clipped: f64,
    /// How much of what both policies do the log speaks of, see [`Estimate::support`]; of what the new one does, where the
    /// live one has learned from nothing.
    pub support: f64,
    /// The same gain by each method: IPS, SNIPS, doubly robust. The rule goes by the last.
    pub methods: Vec<Estimate>,
    /// How good the new policy's answers would have been, by each method.
    pub new: Vec<Estimate>,
    /// The same of the live one.
    pub live: Vec<Estimate>,
}

/// The answers to estimate a gain from. Judged ones, beside which answers with a signal would stand for the bad ones alone.
/// Where there are fewer than `least` and signals teach anything: all that nobody judged, with a signal or without.
pub fn evidence<'a>(learned: &'a [Lesson], unjudged: &'a [Lesson], least: usize) -> (Evidence, Vec<&'a Lesson>) {
    let judged: Vec<&Lesson> = learned.iter().filter(|lesson| lesson.signal.is_none()).collect();
    let choices = judged.iter().filter(|lesson| lesson.choice.is_some()).count();
    if choices < least && judged.len() < learned.len() {
        (Evidence::Signals, unjudged.iter().collect())
    } else {
        (Evidence::Judgements, judged)
    }
}

/// How much of the log the live policy has learned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge {
    /// What its version was made of. `None` where nobody noted that: then it counts as knowing nothing of it, since what takes
    /// over a little later does less harm than what looks better than it is.
    pub trained_on: Option<TrainedOn>,
    /// Of what was said since then, Unix milliseconds...
    pub since_ms: i64,
    /// ...it has taken in so many judgements, in the order in which they were taken_in.
    pub judgements: u64,
}

impl Knowledge {
    /// It has learned from none of it but what it has taken in since.
    pub fn only_since(judgements: u64) -> Self {
        Self { trained_on: Some(TrainedOn::default()), since_ms: i64::MIN, judgements }
    }

    /// Which of `lessons` are news to it.
    pub(super) fn unseen(&self, rests_on: Evidence, lessons: &[&Lesson]) -> HashSet<DecisionId> {
        let knows = |id| self.trained_on.as_ref().is_some_and(|trained_on| trained_on.has(rests_on, id));
        let mut news: Vec<&Lesson> = lessons.iter().copied().filter(|lesson| !knows(lesson.id)).collect();
        if rests_on == Evidence::Judgements {
            // A sort that is stable: of two heard at once the older came first.
            news.sort_by_key(|lesson| lesson.learnable_at_ms);
            let from = news.partition_point(|lesson| lesson.learnable_at_ms <= self.since_ms);
            let taken_in = usize::try_from(self.judgements).unwrap_or(usize::MAX).min(news.len() - from);
            news.drain(from..from + taken_in);
        }
        news.into_iter().map(|lesson| lesson.id).collect()
    }
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

/// Estimates what `new`, which was made of `learned`, would have gained over `live`, which has learned as far as `knowledge`;
/// `None` where the log says nothing of it.
pub fn gain(
    (rests_on, lessons): (Evidence, &[&Lesson]),
    (live, knowledge): (&Snapshot, &Knowledge),
    (new, learned): (&Snapshot, &[Lesson]),
    gate: &Gate,
) -> Option<Gain> {
    let (mut by_live, mut by_new, mut relief, mut moved) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    let expected = CrossFit::of_rewards(lessons.iter().copied(), *new.settings())?;
    let news = knowledge.unseen(rests_on, lessons);
    let unflattered = CrossFit::of_policy(learned, &news, *new.settings())?;
    for lesson in lessons {
        let Some(drawn) = &lesson.choice else { continue };
        let new = if news.contains(&lesson.id) { unflattered.without(lesson.id) } else { new };
        let Some(seen) = look(lesson, drawn, live, new, expected.without(lesson.id)) else { continue };
        by_live.push(seen.live);
        by_new.push(seen.new);
        relief.push(seen.relief);
        moved += seen.moved;
    }
    let settings = ope::Settings { clip: gate.clip, confidence: gate.confidence, ..ope::Settings::default() };
    let compared = |method| ope::compare_beside(&by_new, &by_live, &relief, method, &settings);
    let difference = compared(Method::DoublyRobust)?;
    let methods = [Method::Ips, Method::Snips, Method::DoublyRobust];
    let each =
        |log: &[Logged]| methods.into_iter().filter_map(|method| ope::estimate(log, method, &settings)).collect();
    let of_new: Vec<Estimate> = each(&by_new);
    // Who has learned from nothing may never have chosen, as beside a log that was imported: what it would do has no claim
    // to be spoken of.
    let alone = of_new.iter().find(|one| one.method == Method::DoublyRobust).filter(|_| live.learned_from() == 0);
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

/// The way from a useless to a perfect answer: no choice's cost and time count for more.
const WHOLE: f64 = 1.0;

/// One choice as both policies see it.
struct Seen {
    live: Logged,
    new: Logged,
    /// How much less the new one's cost and time take away.
    relief: f64,
    /// Probability that goes to other models (the distance in total variation).
    moved: f64,
}

fn look(
    lesson: &Lesson,
    drawn: &SampledChoice,
    live: &Snapshot,
    new: &Snapshot,
    expected: &Snapshot,
) -> Option<Seen> {
    let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|way| way.candidate()).collect();
    let context = lesson.context();
    // The draw itself is of no interest, its probabilities are.
    let by_live = live.choose(&context, &candidates, &drawn.tradeoff, true, 0.0)?;
    let by_new = new.choose(&context, &candidates, &drawn.tradeoff, true, 0.0)?;
    let expected: Vec<f64> = candidates.iter().map(|candidate| expected.quality(&context, candidate)).collect();
    let quality = |at: usize| expected[at];
    let propensity = drawn.candidates.get(drawn.chosen)?.propensity;
    if propensity.is_nan() || propensity <= 0.0 {
        return None;
    }
    let logged = |shares: &[f64]| Logged {
        propensity,
        reward: lesson.reward.value(),
        target: shares[drawn.chosen],
        modelled: Some(Modelled {
            chosen: quality(drawn.chosen),
            value: shares.iter().enumerate().map(|(at, share)| share * quality(at)).sum(),
        }),
    };
    let less = |at: usize| by_live.propensities[at] - by_new.propensities[at];
    let relief: f64 = candidates.iter().enumerate().map(|(at, it)| less(at) * drawn.tradeoff.burden(it)).sum();
    // One request's own weights may make a cent outweigh all other choices together.
    let relief = relief.clamp(-WHOLE, WHOLE);
    if !relief.is_finite() || by_live.propensities.iter().chain(&by_new.propensities).any(|share| share.is_nan()) {
        return None;
    }
    let moved = (0..candidates.len()).map(|at| less(at).abs()).sum::<f64>() / 2.0;
    Some(Seen { live: logged(&by_live.propensities), new: logged(&by_new.propensities), relief, moved })
}

/// Where the log speaks of less of what a policy does, models of rewards speak for the rest, and nobody has checked them.
const LEAST_SUPPORT: f64 = 0.8;

/// Where so little moves, hardly anything needs to be spoken of.
const LITTLE: f64 = 0.05;

/// A gain beyond doubt is believed where the log speaks of no more than this, on the worth of so many times the choices that are asked for:
/// after traffic has moved, half of the log is of another time, and a log of one model alone never speaks of all.
const SURE_SUPPORT: f64 = 0.5;
const SURE_CHOICES: f64 = 3.0;

/// What the rule says, and why, as a sentence.
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
    let interval = format!("{by}a gain of {mean:+.4} ({lower:+.4} to {upper:+.4}) over {choices} choices");
    let is_sure = *lower > 0.0 && *support >= SURE_SUPPORT && *effective >= SURE_CHOICES * gate.min_choices as f64;
    if *support < LEAST_SUPPORT && *moved >= LITTLE && !is_sure {
        (Ruling::Wait, format!("the log speaks of {:.0} % of what it would do: {interval}", support * 100.0))
    } else if *lower >= -gate.tolerance {
        (Ruling::Promote, interval)
    } else if !is_fair {
        let why = "what the live version was made of was not noted, so it looks better than it is";
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
