//! Measuring routers on the prompts of each source.

use std::collections::BTreeMap;

use super::{
    ChosenWeight, CostFigures, DRAWS, Evaluation, Judged, ModelFigures, Named, PairFigures, Router, RouterFigures,
    SourceFigures, TaskFigures,
};
use crate::train::dataset::{Outcome, Record, Split};
use crate::train::metrics::{
    Frontier, PairCurve, bootstrap, brier, calibration_bins, concordance, expected_calibration_error, log_loss,
};

const BINS: usize = 15;
/// Share of the prompts that a model must have been run on to count as the best single one.
const ENOUGH: f64 = 0.5;

/// Judges all `routers`, the first of which is the head; `basis` says of each arm what its predictions rest on. `val`
/// holds the same routers' predictions on val, with val's records, for choosing weights; `None` where there is no
/// such split.
pub fn judge(
    head: &str,
    judged: Judged<'_>,
    routers: &[Router],
    val: Option<(Judged<'_>, &[Router])>,
    basis: &dyn Fn(u32) -> String,
) -> Evaluation {
    let mut sources = Vec::new();
    for source in 0..judged.dataset.sources.len() as u32 {
        let of_source = |judged: Judged<'_>| -> Vec<usize> {
            let own = |at: &usize| judged.dataset.records[judged.rows[*at]].source == source;
            (0..judged.rows.len()).filter(own).collect()
        };
        let rows = of_source(judged);
        if rows.is_empty() {
            continue;
        }
        let val = val.map(|(val, routers)| (val, of_source(val), routers)).filter(|(_, rows, _)| !rows.is_empty());
        let judge = SourceJudge::new(judged, source, rows);
        let speaks = |router: &&Router| judge.rows.iter().all(|row| !router.quality[*row].is_empty());
        let figures = routers.iter().filter(speaks).map(|router| {
            let val = val.as_ref().and_then(|(val, rows, routers)| {
                let same = routers.iter().find(|other| other.name == router.name)?;
                Some((SourceJudge::new(*val, source, rows.clone()).with_best(&judge), same))
            });
            judge.router(router, val)
        });
        let figures: Vec<RouterFigures> = figures.collect();
        let (models, calibration) = routers.first().map(|router| judge.models(router, basis)).unwrap_or_default();
        sources.push(SourceFigures {
            source: judged.dataset.sources[source as usize].clone(),
            prompts: judge.rows.len(),
            best_single: Named { name: judge.model(judge.best), value: judge.mean_of(judge.best) },
            best_single_by: judge.best_by,
            compared: judge.rows_of(judge.best).len(),
            oracle: mean(judge.rows_of(judge.best).iter().map(|row| best_score(judge.record(*row)))),
            routers: figures,
            models,
            tasks: routers.first().map(|router| judge.tasks(router)).unwrap_or_default(),
            calibration,
        });
    }
    let split = judged.split.to_string();
    Evaluation { head: head.to_owned(), split, prompts: judged.rows.len(), notes: Vec::new(), sources }
}

/// Judges routers on the prompts of one source.
struct SourceJudge<'a> {
    judged: Judged<'a>,
    /// Indices into `judged.rows`.
    rows: Vec<usize>,
    /// Arms with an outcome on these rows.
    arms: Vec<u32>,
    /// The best single model. All comparisons with it are over the prompts that it was run on.
    best: u32,
    best_by: &'static str,
    /// The best single model among those with a cost.
    best_priced: Option<u32>,
    /// Mean cost of each arm that has costs, on train if it has any there: what is known before a call.
    expected_cost: BTreeMap<u32, f64>,
}

/// The outcome of a choice for one prompt: score, and cost in US dollars.
#[derive(Clone, Copy)]
struct Choice {
    score: f64,
    cost: f64,
}

impl<'a> SourceJudge<'a> {
    fn new(judged: Judged<'a>, source: u32, rows: Vec<usize>) -> Self {
        let own: Vec<&Record> = rows.iter().map(|row| &judged.dataset.records[judged.rows[*row]]).collect();
        let train: Vec<&Record> = judged.dataset.of_source(source, Split::Train).collect();
        let arms: Vec<u32> =
            judged.dataset.arms_of(source).into_iter().filter(|arm| coverage(&own, *arm) > 0.0).collect();
        let by_train = arms.iter().any(|arm| coverage(&train, *arm) > 0.0);
        let (known, best_by) = if by_train { (&train, "train") } else { (&own, "the judged prompts") };
        let mean = |records: &[&Record], arm: u32, of: &dyn Fn(&Outcome) -> Option<f32>| {
            let values: Vec<f64> =
                records.iter().filter_map(|record| record.outcome(arm)).filter_map(of).map(f64::from).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let cost = |arm: u32| {
            let of = |records| mean(records, arm, &|outcome| outcome.cost_usd);
            of(known).or_else(|| of(&own))
        };
        let expected_cost: BTreeMap<u32, f64> = arms.iter().filter_map(|arm| Some((*arm, cost(*arm)?))).collect();
        // A model that was run on a few prompts only may look best because these were easy.
        let enough = |arm: u32| coverage(known, arm).min(coverage(&own, arm)).min(ENOUGH);
        let rank = |arm: u32| (enough(arm), mean(known, arm, &|outcome| Some(outcome.score)).unwrap_or(-1.0));
        let most = |arms: &mut dyn Iterator<Item = u32>| {
            arms.map(|arm| (rank(arm), arm))
                .max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
                .map(|(_, arm)| arm)
        };
        let best = most(&mut arms.iter().copied()).unwrap_or(0);
        let best_priced = most(&mut expected_cost.keys().copied());
        Self { judged, rows, arms, best, best_by, best_priced, expected_cost }
    }

    /// Takes over the best single models and the expected costs of another judge.
    fn with_best(mut self, other: &SourceJudge<'_>) -> Self {
        (self.best, self.best_priced) = (other.best, other.best_priced);
        self.expected_cost.clone_from(&other.expected_cost);
        self
    }

    fn record(&self, row: usize) -> &'a Record {
        &self.judged.dataset.records[self.judged.rows[row]]
    }

    fn model(&self, arm: u32) -> String {
        self.judged.dataset.arms[arm as usize].model.clone()
    }

    fn mean_of(&self, arm: u32) -> f64 {
        let scores: Vec<f64> =
            self.rows.iter().filter_map(|row| self.record(*row).outcome(arm)).map(|o| f64::from(o.score)).collect();
        scores.iter().sum::<f64>() / scores.len().max(1) as f64
    }

    /// Rows that a model was run on.
    fn rows_of(&self, arm: u32) -> Vec<usize> {
        self.rows.iter().copied().filter(|row| self.record(*row).outcome(arm).is_some()).collect()
    }

    /// The outcome of the model with the highest prediction less `weight` times its expected cost; where several are
    /// equal, their mean.
    fn choose(&self, router: &Router, row: usize, weight: f64) -> Option<Choice> {
        let record = self.record(row);
        let mut valued: Vec<(f64, &Outcome)> = Vec::with_capacity(record.outcomes.len());
        for (outcome, quality) in record.outcomes.iter().zip(&router.quality[row]) {
            match self.expected_cost.get(&outcome.arm) {
                Some(cost) => valued.push((f64::from(*quality) - weight * cost, outcome)),
                // A model of unknown cost takes part only where cost does not matter.
                None if weight == 0.0 => valued.push((f64::from(*quality), outcome)),
                None => {}
            }
        }
        let highest = valued.iter().map(|(value, _)| *value).fold(f64::NEG_INFINITY, f64::max);
        let equal: Vec<&Outcome> = valued.iter().filter(|(value, _)| *value >= highest).map(|(_, o)| *o).collect();
        (!equal.is_empty()).then(|| Choice {
            score: mean(equal.iter().map(|outcome| f64::from(outcome.score))),
            cost: mean(equal.iter().map(|outcome| self.cost_of(outcome))),
        })
    }

    /// What an outcome cost, or else what its model is expected to; NaN where no cost of it is known.
    fn cost_of(&self, outcome: &Outcome) -> f64 {
        let expected = || self.expected_cost.get(&outcome.arm).copied();
        outcome.cost_usd.map(f64::from).or_else(expected).unwrap_or(f64::NAN)
    }

    fn router(&self, router: &Router, val: Option<(SourceJudge<'_>, &Router)>) -> RouterFigures {
        let choices: Vec<f64> = self
            .rows
            .iter()
            .map(|row| self.choose(router, *row, 0.0).map_or(f64::NAN, |choice| choice.score))
            .collect();
        // Prompts on which the best single model was not run cannot be compared with it.
        let best: Vec<f64> = self
            .rows
            .iter()
            .map(|row| self.record(*row).outcome(self.best).map_or(f64::NAN, |outcome| f64::from(outcome.score)))
            .collect();
        let oracle: Vec<f64> = self.rows.iter().map(|row| best_score(self.record(*row))).collect();
        let draw =
            |of: &dyn Fn(&[u32]) -> f64| bootstrap(self.rows.len(), DRAWS, self.judged.seed, |counts| of(counts));
        let routed = draw(&|counts| weighted(counts, |at| choices[at]));
        let against = draw(&|counts| weighted(counts, |at| choices[at] - best[at]));
        let gap = draw(&|counts| {
            weighted(counts, |at| choices[at] - best[at]) / weighted(counts, |at| oracle[at] - best[at])
        });
        let by_arm = self.cases(router);
        let all: Vec<(f32, f32)> = by_arm.values().flatten().copied().collect();
        let areas: Vec<f64> = by_arm.values().filter_map(|cases| concordance(cases)).collect();
        let if_calibrated = |figure: f64| router.calibrated.then_some(figure);
        let ece = |cases: &[(f32, f32)]| expected_calibration_error(&calibration_bins(cases, BINS));
        RouterFigures {
            name: router.name.clone(),
            auroc: (!areas.is_empty()).then(|| mean(areas.iter().copied())),
            log_loss: if_calibrated(log_loss(&all)),
            brier: if_calibrated(brier(&all)),
            ece: if_calibrated(ece(&all)),
            ece_by_model: if_calibrated(mean(by_arm.values().map(|cases| ece(cases)))),
            routed,
            against_best_single: against,
            gap_closed: gap.value.is_finite().then_some(gap),
            cost: self.cost(router, val),
            pair: self.pair(router),
        }
    }

    /// Prediction and score by arm.
    fn cases(&self, router: &Router) -> BTreeMap<u32, Vec<(f32, f32)>> {
        let mut by_arm: BTreeMap<u32, Vec<(f32, f32)>> = BTreeMap::new();
        for row in &self.rows {
            for (outcome, quality) in self.record(*row).outcomes.iter().zip(&router.quality[*row]) {
                by_arm.entry(outcome.arm).or_default().push((*quality, outcome.score));
            }
        }
        by_arm
    }

    /// Mean cost and score at a weight over some rows.
    fn point(&self, router: &Router, rows: &[usize], weight: f64) -> (f64, f64) {
        let chosen: Vec<Choice> = rows.iter().filter_map(|row| self.choose(router, *row, weight)).collect();
        (mean(chosen.iter().map(|choice| choice.cost)), mean(chosen.iter().map(|choice| choice.score)))
    }

    fn weights(&self) -> Vec<f64> {
        // From weights at which cost hardly matters to weights at which nothing else does.
        let dearest = self.expected_cost.values().copied().fold(0.0, f64::max).max(1e-12);
        (0..=60).map(|step| 10f64.powf(-3.0 + 0.1 * f64::from(step)) / dearest).collect()
    }

    fn cost(&self, router: &Router, val: Option<(SourceJudge<'_>, &Router)>) -> Option<CostFigures> {
        let best = self.best_priced.filter(|_| self.expected_cost.len() > 1)?;
        // The best priced model was run on these rows, so the others are measured on them too.
        let rows = self.rows_of(best);
        let single =
            |judge: &SourceJudge<'_>, row: &usize| judge.record(*row).outcome(best).map(|o| f64::from(o.score));
        let best_score = mean(rows.iter().filter_map(|row| single(self, row)));
        // By the same costs as choices: where some are missing, whoever always takes this model pays its cost.
        let best_cost = mean(rows.iter().filter_map(|row| self.record(*row).outcome(best)).map(|o| self.cost_of(o)));
        let weights = self.weights();
        // Where predictions are equal, any weight at all decides; without one it is the router's own choice that counts.
        let all = std::iter::once(0.0).chain(weights.iter().copied());
        let frontier = Frontier::over(all.map(|weight| self.point(router, &rows, weight)));
        let low = self.expected_cost.values().copied().fold(f64::INFINITY, f64::min);
        let high = self.expected_cost.values().copied().fold(0.0, f64::max);
        // Of a model that costs nothing there is no share.
        let is_share = |_: &f64| best_cost > 0.0;
        let with_chosen_weight = val.and_then(|(val, same)| {
            let val_rows = val.rows_of(best);
            let target = mean(val_rows.iter().filter_map(|row| single(&val, row)));
            // The strongest weight that still reaches the best single model on val.
            let reaches = |weight: &f64| val.point(same, &val_rows, *weight).1 >= target;
            let weight = weights.iter().copied().rev().find(reaches)?;
            let chosen: Vec<Option<Choice>> = rows.iter().map(|row| self.choose(router, *row, weight)).collect();
            let difference = bootstrap(rows.len(), DRAWS, self.judged.seed, |counts| {
                weighted(counts, |at| match (chosen[at], single(self, &rows[at])) {
                    (Some(choice), Some(score)) => choice.score - score,
                    _ => f64::NAN,
                })
            });
            let cost = mean(chosen.iter().flatten().map(|choice| choice.cost));
            let cost_share = Some(cost / best_cost).filter(is_share)?;
            Some(ChosenWeight { weight, cost_share, difference })
        });
        Some(CostFigures {
            best_priced: Named { name: self.model(best), value: best_score },
            prompts: rows.len(),
            aiq: frontier.aiq(low, high),
            best_single_cost: best_cost,
            cost_at_best_single: frontier.cost_of(best_score).map(|cost| cost / best_cost).filter(is_share),
            with_chosen_weight,
            frontier: frontier.points().to_vec(),
        })
    }

    fn pair(&self, router: &Router) -> Option<PairFigures> {
        let [one, other] = self.arms[..] else { return None };
        let (strong, weak) = if self.best == one { (one, other) } else { (other, one) };
        let case = |row: &usize| {
            let record = self.record(*row);
            let quality = |arm: u32| {
                let at = record.outcomes.iter().position(|outcome| outcome.arm == arm)?;
                Some((router.quality[*row][at], record.outcomes[at].score))
            };
            let ((p, strong), (q, weak)) = (quality(strong)?, quality(weak)?);
            Some((p - q, strong, weak))
        };
        let mut cases: Vec<(f32, f32, f32)> = self.rows.iter().filter_map(case).collect();
        cases.sort_by(|a, b| b.0.total_cmp(&a.0));
        let curve = PairCurve::new(&cases);
        let apgr = bootstrap(cases.len(), DRAWS, self.judged.seed, |counts| {
            let counted: Vec<_> = cases.iter().copied().zip(counts.iter().copied()).collect();
            PairCurve::from_sorted(&counted).apgr().unwrap_or(f64::NAN)
        });
        // A model may be the best on train and not on these prompts: then there is no lead to keep a share of.
        let leads = curve.strong() > curve.weak();
        let of_lead = |figure: Option<f64>| figure.filter(|_| leads);
        Some(PairFigures {
            strong: self.model(strong),
            weak: self.model(weak),
            apgr: (leads && apgr.value.is_finite()).then_some(apgr),
            apgr_by_deciles: of_lead(curve.apgr_by_deciles()),
            cpt_50: of_lead(curve.cpt(0.5)),
            cpt_80: of_lead(curve.cpt(0.8)),
            cpt_by_deciles: (of_lead(curve.cpt_by_deciles(0.5)), of_lead(curve.cpt_by_deciles(0.8))),
            curve: thinned(curve.points()),
        })
    }

    fn models(
        &self,
        router: &Router,
        basis: &dyn Fn(u32) -> String,
    ) -> (Vec<ModelFigures>, Vec<crate::train::metrics::Bin>) {
        let by_arm = self.cases(router);
        let figures = by_arm.iter().map(|(arm, cases)| ModelFigures {
            model: self.model(*arm),
            basis: basis(*arm),
            prompts: cases.len(),
            score: mean(cases.iter().map(|case| f64::from(case.1))),
            predicted: mean(cases.iter().map(|case| f64::from(case.0))),
            auroc: concordance(cases),
            log_loss: log_loss(cases),
            brier: brier(cases),
            ece: expected_calibration_error(&calibration_bins(cases, BINS)),
        });
        let all: Vec<(f32, f32)> = by_arm.values().flatten().copied().collect();
        (figures.collect(), calibration_bins(&all, BINS))
    }

    fn tasks(&self, router: &Router) -> Vec<TaskFigures> {
        let mut by_task: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for row in &self.rows {
            by_task.entry(&self.judged.dataset.tasks[self.record(*row).task as usize]).or_default().push(*row);
        }
        let figures = by_task.into_iter().map(|(task, rows)| {
            let single = |row: &usize| self.record(*row).outcome(self.best).map(|outcome| f64::from(outcome.score));
            let compared: Vec<usize> = rows.iter().copied().filter(|row| single(row).is_some()).collect();
            let looked_at = if compared.is_empty() { &rows } else { &compared };
            let routed = looked_at.iter().filter_map(|row| self.choose(router, *row, 0.0)).map(|choice| choice.score);
            TaskFigures {
                task: task.to_owned(),
                prompts: looked_at.len(),
                routed: mean(routed),
                best_single: (!compared.is_empty()).then(|| mean(compared.iter().filter_map(single))),
            }
        });
        figures.collect()
    }
}

/// Share of records that a model was run on; 0 for no records.
fn coverage(records: &[&Record], arm: u32) -> f64 {
    let run = records.iter().filter(|record| record.outcome(arm).is_some()).count();
    run as f64 / records.len().max(1) as f64
}

fn best_score(record: &Record) -> f64 {
    record.outcomes.iter().map(|outcome| f64::from(outcome.score)).fold(0.0, f64::max)
}

/// The mean; NaN for no values.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

/// Mean of `value` over the drawn prompts; prompts whose value is not finite do not count.
pub(in crate::train) fn weighted(counts: &[u32], value: impl Fn(usize) -> f64) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let value = value(at);
        if value.is_finite() {
            sum += value * f64::from(*count);
            total += f64::from(*count);
        }
    }
    sum / total
}

/// At most a hundred points of a curve, the ends among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(100).max(1);
    let mut kept: Vec<(f64, f64)> = points.iter().step_by(step).copied().collect();
    if let (Some(last), Some(end)) = (kept.last().copied(), points.last())
        && last != *end
    {
        kept.push(*end);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::{Arm, Dataset};

    /// Four prompts, two models: `dear` costs ten times as much, and only the first two prompts tell them apart.
    fn data() -> Dataset {
        let outcome = |arm: u32, score: f32| Outcome {
            arm,
            score,
            cost_usd: Some(if arm == 0 { 0.01 } else { 0.001 }),
            ..Outcome::default()
        };
        let scores = [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)];
        let records = scores.iter().enumerate().map(|(at, (dear, cheap))| Record {
            id: format!("{at}").into(),
            source: 0,
            task: (at / 2) as u32,
            split: Split::Test,
            prompt: "?".into(),
            group: at as u64,
            origin: None,
            outcomes: [outcome(0, *dear), outcome(1, *cheap)].into(),
            weight: 1.0,
        });
        let arm = |model: &str| Arm { source: 0, model: model.into() };
        Dataset {
            sources: vec!["s".into()],
            tasks: vec!["t".into(), "u".into()],
            arms: vec![arm("dear"), arm("cheap")],
            records: records.collect(),
            ..Dataset::default()
        }
    }

    fn figures(quality: [[f32; 2]; 4]) -> SourceFigures {
        let dataset = data();
        let rows = [0, 1, 2, 3];
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 };
        let router =
            Router { name: "r".into(), quality: quality.iter().map(|row| row.to_vec()).collect(), calibrated: true };
        judge("h", judged, &[router], None, &|_| "learned".into()).sources.remove(0)
    }

    #[test]
    fn a_router_that_knows_closes_the_gap_and_pays_less() {
        let source = figures([[0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.9, 0.1]]);
        assert_eq!((source.best_single.name.as_str(), source.best_single.value), ("dear", 0.75));
        assert_eq!(source.oracle, 1.0);
        let router = &source.routers[0];
        assert_eq!(router.routed.value, 1.0, "of equal predictions it may take either");
        assert_eq!(router.gap_closed.unwrap().value, 1.0);
        assert_eq!(router.auroc, Some(1.0));
        let cost = router.cost.as_ref().unwrap();
        // Cheap on the second and third prompt: (.01 + .001 + .001 + .01) / 4 at score 1, on a line from (0.001,
        // 0.5).
        assert!((cost.frontier.last().unwrap().0 - 0.0055).abs() < 1e-6, "{:?}", cost.frontier);
        assert!(cost.cost_at_best_single.unwrap() < 0.4);
        assert_eq!(router.pair.as_ref().unwrap().strong, "dear");
        assert!(router.pair.as_ref().unwrap().apgr.unwrap().value > 1.0);
    }

    #[test]
    fn a_router_that_always_takes_the_best_single_model_closes_nothing() {
        let source = figures([[0.8, 0.1]; 4]);
        let router = &source.routers[0];
        assert_eq!(router.against_best_single.value, 0.0);
        assert_eq!(router.gap_closed.unwrap().value, 0.0);
        assert_eq!(router.auroc, Some(0.5));
        assert_eq!(source.models[0].predicted, f64::from(0.8f32));
        assert_eq!(source.tasks.len(), 2);
        assert_eq!((source.tasks[0].routed, source.tasks[1].routed), (0.5, 1.0));
        assert_eq!(source.tasks[0].best_single, Some(0.5));
    }

    #[test]
    fn a_model_run_on_a_few_easy_prompts_is_not_the_best_and_comparisons_keep_to_what_was_run() {
        let run = |arms: [&[u32]; 4]| {
            let mut dataset = data();
            for (record, arms) in dataset.records.iter_mut().zip(arms) {
                record.outcomes = record.outcomes.iter().filter(|it| arms.contains(&it.arm)).copied().collect();
            }
            dataset
        };
        let figures = |dataset: &Dataset, rows: &[usize]| {
            let judged = Judged { dataset, split: Split::Test, rows, seed: 1 };
            let quality = rows.iter().map(|row| vec![0.5; dataset.records[*row].outcomes.len()]).collect();
            let router = Router { name: "r".into(), quality, calibrated: true };
            judge("h", judged, &[router], None, &|_| "learned".into()).sources.remove(0)
        };
        // `cheap` was run where it is right alone.
        let best = figures(&run([&[0], &[0, 1], &[0], &[0]]), &[0, 1, 2, 3]).best_single;
        assert_eq!((best.name.as_str(), best.value), ("dear", 0.75));

        let dataset = run([&[0], &[0, 1], &[0], &[1]]);
        let source = figures(&dataset, &[0, 1, 2, 3]);
        assert_eq!((source.best_single.name.as_str(), source.compared, source.prompts), ("dear", 3, 4));
        assert_eq!((source.best_single.value, source.oracle), (2.0 / 3.0, 1.0));
        let router = &source.routers[0];
        assert!((router.gap_closed.unwrap().value - 0.5).abs() < 1e-9, "{:?}", router.gap_closed);
        let cost = router.cost.as_ref().unwrap();
        assert_eq!((cost.best_priced.name.as_str(), cost.prompts), ("dear", 3));
        let by_task: Vec<(usize, Option<f64>)> = source.tasks.iter().map(|it| (it.prompts, it.best_single)).collect();
        assert_eq!(by_task, [(2, Some(0.5)), (1, Some(1.0))]);

        // Where nothing but `cheap` is judged, `dear` is no model of the source.
        let source = figures(&dataset, &[3]);
        assert_eq!((source.best_single.name.as_str(), source.models.len(), source.oracle), ("cheap", 1, 0.0));
    }

    /// The figures of a router that knows the scores, with the same prompts as val.
    fn priced(dataset: &Dataset, rows: &[usize]) -> SourceFigures {
        let judged = Judged { dataset, split: Split::Test, rows, seed: 1 };
        let quality = |row: &usize| dataset.records[*row].outcomes.iter().map(|outcome| outcome.score).collect();
        let routers = [Router { name: "r".into(), quality: rows.iter().map(quality).collect(), calibrated: true }];
        let val = Judged { split: Split::Val, ..judged };
        judge("h", judged, &routers, Some((val, &routers)), &|_| "learned".into()).sources.remove(0)
    }

    #[test]
    fn of_a_model_that_costs_nothing_there_is_no_share() {
        let mut dataset = data();
        let rows = [0, 1, 2, 3];
        let chosen = priced(&dataset, &rows).routers[0].cost.clone().unwrap();
        assert!(chosen.cost_at_best_single.is_some() && chosen.with_chosen_weight.is_some());
        for outcome in dataset.records.iter_mut().flat_map(|record| record.outcomes.iter_mut()) {
            outcome.cost_usd = Some(if outcome.arm == 0 { 0.0 } else { 0.001 });
        }
        let source = priced(&dataset, &rows);
        let cost = source.routers[0].cost.as_ref().unwrap();
        assert_eq!((cost.best_priced.name.as_str(), cost.best_single_cost), ("dear", 0.0));
        assert!(cost.cost_at_best_single.is_none() && cost.with_chosen_weight.is_none() && cost.aiq.is_some());
        let remarks = crate::train::report::remarks(&source);
        assert!(remarks.iter().any(|it| it.contains("dear costs nothing")), "{remarks:?}");
    }

    #[test]
    fn who_always_takes_the_best_single_model_pays_its_cost_also_where_costs_are_missing() {
        let mut dataset = data();
        // Judged prompts cost three times as much as those of train, where that is known.
        dataset.records[0].split = Split::Train;
        (dataset.records[1].outcomes[0].score, dataset.records[1].outcomes[1].score) = (1.0, 0.0);
        for (at, record) in dataset.records.iter_mut().enumerate().skip(1) {
            record
                .outcomes
                .iter_mut()
                .for_each(|it| it.cost_usd = it.cost_usd.map(|usd| usd * 3.0).filter(|_| at != 2));
        }
        let rows = [1, 2, 3];
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 };
        let routers = [Router { name: "r".into(), quality: vec![vec![0.9, 0.1]; 3], calibrated: true }];
        let val = Judged { split: Split::Val, ..judged };
        let source = judge("h", judged, &routers, Some((val, &routers)), &|_| "learned".into()).sources.remove(0);
        let cost = source.routers[0].cost.as_ref().unwrap();
        assert!((cost.best_single_cost - 0.07 / 3.0).abs() < 1e-6, "{cost:?}");
        assert!((cost.frontier.last().unwrap().0 - cost.best_single_cost).abs() < 1e-9, "{cost:?}");
        let share = cost.with_chosen_weight.as_ref().unwrap().cost_share;
        assert!((share - 1.0).abs() < 1e-9, "{cost:?}");
    }

    #[test]
    fn costs_that_train_lacks_are_those_of_the_judged_prompts() {
        let mut dataset = data();
        for record in dataset.records.iter_mut().step_by(2) {
            record.split = Split::Train;
            record.outcomes.iter_mut().for_each(|outcome| outcome.cost_usd = None);
        }
        let cost = priced(&dataset, &[1, 3]).routers[0].cost.clone().unwrap();
        assert!((cost.best_single_cost - 0.01).abs() < 1e-6 && cost.cost_at_best_single.is_some(), "{cost:?}");
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &[1, 3], seed: 1 };
        let notes = crate::train::notes::of_train(judged, 0).join("\n");
        assert_eq!(
            notes,
            "Of the 2 models of s, 2 without a cost on train are taken to cost what they do on the judged prompts: dear, cheap."
        );
        // One that train does not have at all.
        for record in dataset.records.iter_mut().step_by(2) {
            record.outcomes = record.outcomes.iter().filter(|outcome| outcome.arm == 1).copied().collect();
        }
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &[1, 3], seed: 1 };
        let notes = crate::train::notes::of_train(judged, 0).join("\n");
        assert!(
            notes.starts_with("Of the 2 models of s, 1 not in train cannot be the best single model: dear."),
            "{notes}"
        );
        assert_eq!(priced(&dataset, &[1, 3]).best_single.name, "cheap");
    }

    #[test]
    fn a_model_that_is_the_best_on_train_alone_has_no_lead() {
        let mut dataset = data();
        dataset.records[0].split = Split::Train;
        let source = priced(&dataset, &[1, 2]);
        assert_eq!(source.best_single.name, "dear");
        let pair = source.routers[0].pair.as_ref().unwrap();
        assert!(pair.apgr.is_none() && pair.apgr_by_deciles.is_none() && pair.cpt_50.is_none(), "{pair:?}");
        let remarks = crate::train::report::remarks(&source);
        assert!(remarks.iter().any(|it| it.starts_with("dear is not better than cheap")), "{remarks:?}");
    }

    #[test]
    fn equal_predictions_are_a_random_draw() {
        let router = figures([[0.5, 0.5]; 4]).routers.remove(0);
        assert_eq!(router.routed.value, 0.625);
        let cost = router.cost.unwrap();
        let drawn = cost.frontier.last().unwrap();
        assert!((drawn.0 - 0.0055).abs() < 1e-6 && drawn.1 == 0.625, "not the cheapest alone: {:?}", cost.frontier);
    }
}
