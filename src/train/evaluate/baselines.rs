//! The routers that a head has to beat.

use super::tfidf::Tfidf;
use super::{Judged, Router};
use crate::classifier::head::{Head, Matrix, sigmoid};
use crate::classifier::stats::TextStats;
use crate::train::dataset::{Dataset, Record, Split};

/// All baselines that the data allows, and what has to be said about those it does not.
pub fn baselines(judged: Judged<'_>) -> (Vec<Router>, Vec<String>) {
    let dataset = judged.dataset;
    let mut routers = vec![constant(judged, "random", |_, _| 0.5)];
    if !dataset.has(Split::Train) {
        let note = "The data has no train: prompt length, task mean and TF-IDF are left out, and the best single model is \
                    the one that is best on the judged prompts.";
        return (routers, vec![note.to_owned()]);
    }
    let means = Means::of(dataset);
    routers.push(constant(judged, "best single", |_, outcome| means.arm(outcome)));
    routers.push(by_length(judged));
    routers.push(constant(judged, "task mean", |record, outcome| means.task(record, outcome)));
    routers.push(by_words(judged));
    (routers, Vec::new())
}

/// The nearest training prompts' outcomes alone, where the head's memory has the model. `pooled` has a row for each judged
/// record.
pub fn neighbours(judged: Judged<'_>, head: &Head, pooled: &Matrix) -> Router {
    let description = head.description();
    let parts = head.parts();
    let arm = |arm: u32| {
        let arm = &judged.dataset.arms[arm as usize];
        description.arm(&format!("{}/{}", judged.dataset.sources[arm.source as usize], arm.model))
    };
    let arms: Vec<Option<usize>> = (0..judged.dataset.arms.len() as u32).map(arm).collect();
    let places: Vec<usize> = (0..judged.rows.len()).collect();
    let quality = crate::train::fit::in_parallel(&places, |at| {
        let (at, record) = (*at, &judged.dataset.records[judged.rows[*at]]);
        let x = parts.input.of(pooled.row(at), &TextStats::of(&record.prompt));
        let key = parts.input.key(&x, &parts.trunk.latent(&x));
        let near = parts.memory.nearest(&key, description.recall.neighbours, None);
        let opinions = parts.memory.opinions(&near, description.recall.sharpness, description.arms.len());
        let of = |outcome: &crate::train::dataset::Outcome| {
            arms[outcome.arm as usize]
                .map_or(0.5, |arm| sigmoid(description.recall.log_odds(opinions[arm], description.arms[arm].mean)))
        };
        record.outcomes.iter().map(of).collect()
    });
    Router { name: "kNN on our features".into(), quality, calibrated: true }
}

fn constant(judged: Judged<'_>, name: &str, of: impl Fn(&Record, &crate::train::dataset::Outcome) -> f32) -> Router {
    let row = |row: &usize| {
        let record = &judged.dataset.records[*row];
        record.outcomes.iter().map(|outcome| of(record, outcome)).collect()
    };
    Router { name: name.into(), quality: judged.rows.iter().map(row).collect(), calibrated: name != "random" }
}

/// Means over the training prompts.
struct Means {
    arms: Vec<(f64, f64)>,
    /// By task and arm.
    tasks: std::collections::HashMap<(u32, u32), (f64, f64)>,
}

impl Means {
    fn of(dataset: &Dataset) -> Self {
        let mut means = Self { arms: vec![(0.0, 0.0); dataset.arms.len()], tasks: std::collections::HashMap::new() };
        for record in dataset.of(Split::Train) {
            for outcome in &record.outcomes {
                for sum in [
                    &mut means.arms[outcome.arm as usize],
                    means.tasks.entry((record.task, outcome.arm)).or_default(),
                ] {
                    sum.0 += f64::from(outcome.score);
                    sum.1 += 1.0;
                }
            }
        }
        means
    }

    fn arm(&self, outcome: &crate::train::dataset::Outcome) -> f32 {
        let (sum, count) = self.arms[outcome.arm as usize];
        if count > 0.0 { (sum / count) as f32 } else { 0.5 }
    }

    /// Drawn towards the arm's mean, as if that had been seen three times.
    fn task(&self, record: &Record, outcome: &crate::train::dataset::Outcome) -> f32 {
        let (sum, count) = self.tasks.get(&(record.task, outcome.arm)).copied().unwrap_or_default();
        ((sum + 3.0 * f64::from(self.arm(outcome))) / (count + 3.0)) as f32
    }
}

/// For each model a logistic regression on the logarithm of the prompt's length, by Newton's method.
fn by_length(judged: Judged<'_>) -> Router {
    let dataset = judged.dataset;
    let length = |record: &Record| (record.prompt.len() as f64).ln_1p() / 5.0 - 1.0;
    let mut cases: Vec<Vec<(f64, f64)>> = vec![Vec::new(); dataset.arms.len()];
    for record in dataset.of(Split::Train) {
        let length = length(record);
        record.outcomes.iter().for_each(|o| cases[o.arm as usize].push((length, f64::from(o.score))));
    }
    let lines: Vec<(f64, f64)> = cases.iter().map(|cases| line(cases)).collect();
    let mut router = constant(judged, "prompt length", |record, outcome| {
        let (level, slope) = lines[outcome.arm as usize];
        sigmoid((level + slope * length(record)) as f32)
    });
    router.calibrated = true;
    router
}

/// Level and slope of a logistic regression with a light ridge.
fn line(cases: &[(f64, f64)]) -> (f64, f64) {
    let (mut level, mut slope) = (0.0, 0.0);
    for _ in 0..12 {
        let (mut g, mut h) = ([0.0, slope], [1e-6, 0.0, 1.0]);
        for (x, y) in cases {
            let p = 1.0 / (1.0 + f64::exp(-(level + slope * x)));
            let weight = (p * (1.0 - p)).max(1e-6);
            g[0] += p - y;
            g[1] += (p - y) * x;
            h[0] += weight;
            h[1] += weight * x;
            h[2] += weight * x * x;
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        if determinant.abs() < 1e-12 {
            break;
        }
        // Where length tells all, full steps would overshoot.
        level -= ((h[2] * g[0] - h[1] * g[1]) / determinant).clamp(-2.0, 2.0);
        slope -= ((h[0] * g[1] - h[1] * g[0]) / determinant).clamp(-2.0, 2.0);
    }
    (level.clamp(-15.0, 15.0), slope.clamp(-15.0, 15.0))
}

fn by_words(judged: Judged<'_>) -> Router {
    let mut quality = vec![Vec::new(); judged.rows.len()];
    for source in 0..judged.dataset.sources.len() as u32 {
        let own = |at: &usize| judged.dataset.records[judged.rows[*at]].source == source;
        let rows: Vec<usize> = (0..judged.rows.len()).filter(own).collect();
        if rows.is_empty() {
            continue;
        }
        let fitted = Tfidf::fit(judged.dataset, source);
        for row in rows {
            let record = &judged.dataset.records[judged.rows[row]];
            quality[row] =
                fitted.as_ref().map_or_else(|| vec![0.5; record.outcomes.len()], |fitted| fitted.predictions(record));
        }
    }
    Router { name: "TF-IDF logistic".into(), quality, calibrated: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::{Arm, Outcome};

    /// Prompts about apples go well with the first model, about pears with the second; apples are short.
    fn data() -> Dataset {
        let mut records = Vec::new();
        for at in 0..60u32 {
            let apples = at % 2 == 0;
            let outcome = |arm: u32, good: bool| Outcome {
                arm,
                score: f32::from(u8::from(good)),
                cost_usd: None,
                input_tokens: None,
                output_tokens: None,
                latency_ms: None,
            };
            let prompt = if apples { format!("apples {at}") } else { format!("tell me about pears number {at}") };
            records.push(Record {
                id: format!("{at}").into(),
                source: 0,
                task: u32::from(apples),
                split: if at < 50 { Split::Train } else { Split::Test },
                prompt: prompt.into(),
                group: u64::from(at),
                origin: None,
                outcomes: [outcome(0, apples), outcome(1, !apples)].into(),
                weight: 1.0,
            });
        }
        let arm = |model: &str| Arm { source: 0, model: model.into() };
        Dataset {
            sources: vec!["s".into()],
            tasks: vec!["p".into(), "a".into()],
            arms: vec![arm("x"), arm("y")],
            records,
            left_out: 0,
        }
    }

    #[test]
    fn each_baseline_learns_what_it_can_see() {
        let dataset = data();
        let rows: Vec<usize> = (50..60).collect();
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 };
        let (routers, notes) = baselines(judged);
        assert!(notes.is_empty());
        let names: Vec<&str> = routers.iter().map(|router| router.name.as_str()).collect();
        assert_eq!(names, ["random", "best single", "prompt length", "task mean", "TF-IDF logistic"]);
        for router in &routers[2..] {
            for (at, row) in rows.iter().enumerate() {
                let apples = row % 2 == 0;
                let [x, y] = router.quality[at][..] else { panic!("two models") };
                assert_eq!(x > y, apples, "{} on row {row}: {x} {y}", router.name);
            }
        }
        assert!((routers[1].quality[0][0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn without_train_what_needs_it_is_left_out_and_said() {
        let mut dataset = data();
        dataset.records.retain(|record| record.split == Split::Test);
        let rows: Vec<usize> = (0..10).collect();
        let (routers, notes) = baselines(Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 });
        assert_eq!(routers.len(), 1);
        assert!(notes[0].contains("no train"));
    }
}
