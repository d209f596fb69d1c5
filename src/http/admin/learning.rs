//! `GET /api/admin/learning`: how well the learning works, by the decision log: how answers were liked over time,
//! whether predictions come true, and which model is good at what.
//!
//! Only the newest decisions are read, which the store keeps in memory: a long log takes no longer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Operator;
use crate::protocol::ApiError;
use crate::store::{Glance, Store};

/// Most points of the curve.
const MAX_POINTS: usize = 30;

/// Bins of the calibration.
const BINS: usize = 10;

/// Consecutive judged answers: one point of the curve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stretch {
    /// When the first was decided, Unix milliseconds.
    pub from_ms: i64,
    /// When the last was decided, Unix milliseconds.
    pub until_ms: i64,
    /// Judged answers.
    pub judged: u64,
    /// Mean judgement, in [0, 1].
    pub liked: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end of its 95 % interval.
    pub high: f64,
    /// Mean probability of a good answer that was predicted for them.
    pub predicted: f64,
    /// The version of the policy that chose most of them.
    pub policy_version: u64,
}

/// Judged answers with about the same prediction: one bin of the calibration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Judged answers.
    pub judged: u64,
    /// Mean prediction.
    pub predicted: f64,
    /// Mean judgement.
    pub liked: f64,
}

/// One model at one task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Ability {
    /// Decisions in which the model was a candidate.
    pub considered: u64,
    /// Mean probability of a good answer that was predicted for it, by the policies that chose.
    pub predicted: f64,
    /// Judged answers of the model.
    pub judged: u64,
    /// Mean judgement of those; 0 if there are none.
    pub liked: f64,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
pub struct Learning {
    /// Judged answers, oldest first.
    pub curve: Vec<Stretch>,
    /// Predictions against judgements, lowest prediction first; empty bins are left out.
    pub calibration: Vec<Bin>,
    /// How good models are, by task, then by model.
    pub ability: BTreeMap<String, BTreeMap<String, Ability>>,
    /// Decisions read.
    pub looked_at: u64,
}

/// One judged answer.
#[derive(Debug, Clone, Copy)]
struct Judged {
    at_ms: i64,
    verdict: f64,
    predicted: f64,
    policy_version: u64,
}

/// Computes the answer from the newest entries of the decision log.
pub fn read(store: &Store) -> Learning {
    let mut learning = Learning::default();
    let mut judged = Vec::new();
    store.glance(|glance| {
        learning.looked_at += 1;
        judged.extend(note(&glance, &mut learning.ability));
    });
    judged.reverse();
    for model in learning.ability.values_mut().flat_map(BTreeMap::values_mut) {
        model.predicted /= model.considered.max(1) as f64;
        model.liked /= model.judged.max(1) as f64;
    }
    learning.curve = curve(&judged);
    learning.calibration = calibrate(&judged);
    learning
}

fn note(glance: &Glance<'_>, ability: &mut BTreeMap<String, BTreeMap<String, Ability>>) -> Option<Judged> {
    // Without a task nothing was predicted: the model was chosen by name or by weight.
    if let Some(task) = glance.task {
        if !ability.contains_key(task) {
            ability.insert(task.to_owned(), BTreeMap::new());
        }
        for (model, quality) in glance.predictions() {
            let Some(models) = ability.get_mut(task) else { continue };
            if !models.contains_key(model) {
                models.insert(model.to_owned(), Ability::default());
            }
            let Some(model_ability) = models.get_mut(model) else { continue };
            model_ability.considered += 1;
            model_ability.predicted += quality;
            if let Some(verdict) = glance.verdict.filter(|_| glance.answered == Some(model)) {
                model_ability.judged += 1;
                model_ability.liked += verdict;
            }
        }
    }
    let (_, predicted) = glance.predictions().find(|(model, _)| glance.answered == Some(model))?;
    Some(Judged { at_ms: glance.at_ms, verdict: glance.verdict?, predicted, policy_version: glance.policy_version })
}

/// Splits the judged answers into stretches of one length, from the newest back: if one is shorter it is the oldest,
/// not the last, which shows how answers are liked now.
fn curve(judged: &[Judged]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = judged.rchunks(judged.len().div_ceil(MAX_POINTS).max(5)).map(stretch).collect();
    stretches.reverse();
    stretches
}

fn stretch(judged: &[Judged]) -> Stretch {
    let count = judged.len().max(1) as f64;
    let mean = |value: fn(&Judged) -> f64| judged.iter().map(value).sum::<f64>() / count;
    let liked = mean(|answer| answer.verdict);
    let (low, high) = interval(judged, liked * count);
    let mut versions = BTreeMap::<u64, usize>::new();
    for answer in judged {
        *versions.entry(answer.policy_version).or_default() += 1;
    }
    Stretch {
        from_ms: judged.first().map_or(0, |answer| answer.at_ms),
        until_ms: judged.last().map_or(0, |answer| answer.at_ms),
        judged: judged.len() as u64,
        liked,
        low,
        high,
        predicted: mean(|answer| answer.predicted),
        policy_version: versions.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(version, _)| version),
    }
}

/// The 95 % interval of a mean judgement: the normal one after adding two liked and two disliked answers (Agresti and
/// Coull, The American Statistician 52, 1998), so that a few equal judgements do not pass for certainty.
fn interval(judged: &[Judged], sum: f64) -> (f64, f64) {
    let count = judged.len() as f64 + 4.0;
    let mean = (sum + 2.0) / count;
    let squares: f64 = judged.iter().map(|answer| answer.verdict.powi(2)).sum();
    let variance = ((squares + 2.0) / count - mean * mean).max(0.0);
    let half = 1.96 * (variance / count).sqrt();
    ((mean - half).max(0.0), (mean + half).min(1.0))
}

fn calibrate(judged: &[Judged]) -> Vec<Bin> {
    let mut bins = [Bin::default(); BINS];
    for answer in judged {
        let at = ((answer.predicted * BINS as f64) as usize).min(BINS - 1);
        let bin = &mut bins[at];
        bin.judged += 1;
        bin.predicted += answer.predicted;
        bin.liked += answer.verdict;
    }
    let mean = |bin: Bin| {
        let count = bin.judged as f64;
        Bin { judged: bin.judged, predicted: bin.predicted / count, liked: bin.liked / count }
    };
    bins.into_iter().filter(|bin| bin.judged > 0).map(mean).collect()
}

/// `GET /api/admin/learning`.
pub async fn show(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Result<Json<Learning>, Native> {
    Ok(Json(known(&gateway).await?))
}

/// Computes the answer off the threads that serve connections.
///
/// # Errors
///
/// `Unavailable` while the store is down.
pub async fn known(gateway: &Gateway) -> Result<Learning, ApiError> {
    gateway.with_store(|store| Ok(read(store))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(verdict: f64, predicted: f64) -> Judged {
        Judged { at_ms: 0, verdict, predicted, policy_version: 3 }
    }

    #[test]
    fn predictions_that_come_true_lie_on_the_diagonal() {
        let answers: Vec<Judged> = (0..100).map(|n| judged(f64::from(n % 4 != 0), 0.75)).collect();
        let bins = calibrate(&answers);
        assert_eq!((bins.len(), bins[0].judged), (1, 100));
        assert!((bins[0].predicted - bins[0].liked).abs() < 1e-9);
    }

    #[test]
    fn a_stretch_says_how_sure_it_is() {
        let answers: Vec<Judged> = (0..100).map(|n| judged(f64::from(n % 2), 0.5)).collect();
        let stretch = stretch(&answers);
        assert_eq!((stretch.liked, stretch.policy_version), (0.5, 3));
        // 1.96 * 0.5 / sqrt(104).
        assert!((stretch.low - 0.4039).abs() < 1e-4 && (stretch.high - 0.5961).abs() < 1e-4, "{stretch:?}");
    }

    #[test]
    fn five_of_one_mind_are_no_certainty() {
        for (verdict, low, high) in [(0.0, 0.0, 0.49), (1.0, 0.51, 1.0)] {
            let stretch = stretch(&[judged(verdict, 0.5); 5]);
            assert!((stretch.low - low).abs() < 0.01 && (stretch.high - high).abs() < 0.01, "{stretch:?}");
        }
        // Answers that are all half liked say more about their mean than answers that are liked or not at all.
        let half = stretch(&[judged(0.5, 0.5); 100]);
        assert!(half.low > 0.45 && half.high < 0.55, "{half:?}");
    }

    #[test]
    fn the_last_stretch_is_no_single_answer() {
        let answers: Vec<Judged> = [0.0; 5].into_iter().chain([1.0]).map(|verdict| judged(verdict, 0.5)).collect();
        let told: Vec<(u64, f64)> = curve(&answers).iter().map(|stretch| (stretch.judged, stretch.liked)).collect();
        assert_eq!(told, [(1, 0.0), (5, 0.2)]);
        let many: Vec<Judged> = (0..1000).map(|n| judged(f64::from(n % 2), 0.5)).collect();
        assert_eq!(curve(&many).last().map(|stretch| stretch.judged), Some(34));
        assert_eq!(curve(&many).iter().map(|stretch| stretch.judged).sum::<u64>(), 1000);
    }

    #[test]
    fn an_empty_log_teaches_nothing_and_breaks_nothing() {
        let learning = read(&Store::in_memory().unwrap());
        assert!(learning.curve.is_empty() && learning.calibration.is_empty() && learning.ability.is_empty());
    }
}
