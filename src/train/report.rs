//! A report as one self-contained HTML page: tables, and charts as inline SVG.

use std::fmt::Write;

use super::evaluate::{Evaluation, RouterFigures, SourceFigures};
use super::fit::Epoch;
use super::recipe::HeadRecipe;
use super::trained::Trained;
use crate::chart::{Bar, Bars, Drawing, Plot, Point, STYLE, Series, escape};
use crate::ope::signed;
use crate::train::metrics::Interval;

/// Styles of the page; charts have their own.
const PAGE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;\
color:light-dark(#1a1a1a,#e8e8e8);background:light-dark(#fff,#16181c);color-scheme:light dark}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid light-dark(#ddd,#333)}\
th:first-child,td:first-child{text-align:left}td{white-space:nowrap}tr.own{font-weight:600}\
.charts{display:flex;flex-wrap:wrap;gap:1rem}.charts svg{max-width:34rem;height:auto}\
.scroll{overflow-x:auto}pre{overflow-x:auto}";

/// The report of a training job.
pub fn training(recipe: &HeadRecipe, trained: &Trained) -> String {
    let description = trained.head.description();
    let mut page = String::new();
    let _ = write!(
        page,
        "<h1>{}</h1><p>Version {}, trained on {}; encoder {}, seed {}. Choices were made on val; test was looked at once, for this \
         report.</p>",
        escape(&description.name),
        escape(&description.version),
        escape(&description.trained_on.join(", ")),
        escape(&description.encoder),
        description.seed,
    );
    push_notes(&mut page, std::slice::from_ref(&trained.in_force.summary));
    push_notes(&mut page, &trained.notes);
    page.push_str(
        "<h2>What was compared on val</h2><div class=scroll><table><tr><th>head</th><th>log-loss</th><th>mean AUROC</th></tr>",
    );
    for one in &trained.compared {
        let auroc = one.auroc.map_or_else(|| "-".to_owned(), |auroc| format!("{auroc:.3}"));
        let (class, note) = if one.chosen { (" class=own", " (chosen)") } else { ("", "") };
        let _ =
            write!(page, "<tr{class}><td>{}{note}</td><td>{:.4}</td><td>{auroc}</td></tr>", one.name, one.log_loss);
    }
    page.push_str("</table></div>");
    push_curve(&mut page, &trained.curve);
    for evaluation in [&trained.test, &trained.val].into_iter().flatten() {
        push_evaluation(&mut page, evaluation);
    }
    if let Ok(recipe) = serde_json::to_string_pretty(recipe) {
        let _ =
            write!(page, "<h2>Recipe</h2><details><summary>show</summary><pre>{}</pre></details>", escape(&recipe));
    }
    wrap(&description.name, &page)
}

/// The trunk's learning curve as a chart.
fn push_curve(page: &mut String, curve: &[Epoch]) {
    if curve.is_empty() {
        return;
    }
    let point = |it: &Epoch| {
        let spread = format!("epoch {}: {:.4}, from {:.4} to {:.4}", it.epoch, it.log_loss, it.lowest, it.highest);
        Point::new(it.epoch as f64, it.log_loss)
            .within(it.lowest, it.highest)
            .saying(format!("{spread} ({} trunks)", it.trunks))
    };
    let series = Series::dotted_line("mean of the trunks", curve.iter().map(point).collect());
    let plot = Plot::new("Learning curve: log-loss on val", "epoch (pass over train)", "log-loss").with(series);
    let _ = write!(
        page,
        "<h2>How the trunk learned</h2><p>Log-loss on val after each pass over train, before calibration: the mean of the \
         trunks that got so far, and a band from the lowest to the highest. Each trunk keeps its best epoch.</p>{}",
        plot.svg()
    );
}

/// The report of a training job as JSON.
pub fn training_json(recipe: &HeadRecipe, trained: &Trained) -> String {
    let report = serde_json::json!({
        "version": trained.head.description().version, "recipe": recipe, "notes": trained.notes,
        "in_force": trained.in_force, "compared": trained.compared, "learning_curve": trained.curve,
        "val": trained.val, "test": trained.test,
    });
    report.to_string()
}

/// The report of an evaluation.
pub fn evaluation(evaluation: &Evaluation) -> String {
    let mut page = format!("<h1>{}</h1>", escape(&evaluation.head));
    push_evaluation(&mut page, evaluation);
    wrap(&evaluation.head, &page)
}

fn wrap(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{}</title><style>{PAGE}{STYLE}</style></head><body>{body}</body></html>\n",
        escape(title)
    )
}

fn push_evaluation(page: &mut String, evaluation: &Evaluation) {
    let prompts = counted(evaluation.prompts, "prompt");
    let _ = write!(page, "<h2>On {} ({prompts})</h2>", escape(&evaluation.split));
    push_notes(page, &evaluation.notes);
    page.push_str(
        "<p>Intervals are 95 %, from drawing prompts again. <b>Gap</b>: share of the way from the best single model to the \
         oracle. <b>Cost</b>: smallest cost at the quality of the best single model whose cost is known, as a share of its \
         cost. <b>APGR</b>: exact; by RouteLLM's eleven points in brackets.</p>",
    );
    for source in &evaluation.sources {
        push_source(page, source);
    }
}

fn push_notes(page: &mut String, notes: &[String]) {
    for note in notes {
        let _ = write!(page, "<p>{}</p>", escape(note));
    }
}

fn push_source(page: &mut String, source: &SourceFigures) {
    let _ = write!(
        page,
        "<h3>{}</h3><p>{}, {}. Best single model by {}: {} ({:.3}); oracle {:.3}.</p>\
         <div class=scroll><table><tr><th>{}</th></tr>",
        escape(&source.source),
        counted(source.prompts, "prompt"),
        counted(source.models.len(), "model"),
        source.best_single_by,
        escape(&source.best_single.name),
        source.best_single.value,
        source.oracle,
        COLUMNS.join("</th><th>"),
    );
    for (at, router) in source.routers.iter().enumerate() {
        let class = if at == 0 { " class=own" } else { "" };
        let _ = write!(page, "<tr{class}>");
        for cell in cells(router) {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
    push_notes(page, &remarks(source));
    push_charts(page, source);
    push_details(page, source);
}

/// A number of things.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Remarks on a source: comparisons that are over fewer prompts, or with another model, than one would expect, or that
/// cannot be made; and what the weight on cost that was chosen on val comes to.
pub fn remarks(source: &SourceFigures) -> Vec<String> {
    let mut remarks = Vec::new();
    let SourceFigures { prompts, compared, best_single, .. } = source;
    if compared < prompts {
        remarks.push(format!(
            "{} was run on {compared} of the {prompts} prompts: oracle, differences and gap are over these.",
            best_single.name
        ));
    }
    let cost = source.routers.iter().find_map(|router| router.cost.as_ref());
    if let Some(cost) = cost.filter(|cost| cost.best_priced.name != best_single.name || cost.prompts != *compared) {
        remarks.push(format!(
            "Cost is against {} ({:.3} on {} prompts), the best model whose cost is known.",
            cost.best_priced.name, cost.best_priced.value, cost.prompts
        ));
    }
    if let Some(cost) = cost.filter(|cost| cost.best_single_cost <= 0.0) {
        remarks.push(format!(
            "{} costs nothing, so no router is as good for less: there is no share of its cost to show.",
            cost.best_priced.name
        ));
    }
    let pair = source.routers.iter().find_map(|router| router.pair.as_ref());
    if let Some(pair) = pair
        && let (Some((_, weak)), Some((_, strong))) = (pair.curve.first(), pair.curve.last())
        && strong <= weak
    {
        remarks.push(format!(
            "{} is not better than {} on these prompts: there is no lead to keep a share of (APGR, CPT).",
            pair.strong, pair.weak
        ));
    }
    for router in &source.routers {
        if let Some(chosen) = router.cost.as_ref().and_then(|cost| cost.with_chosen_weight.as_ref()) {
            remarks.push(format!(
                "{}, with the weight on cost chosen on val: {:.0} % of the best single model's cost at {} [{}, {}]",
                router.name,
                100.0 * chosen.cost_share,
                signed(chosen.difference.value, 3),
                signed(chosen.difference.low, 3),
                signed(chosen.difference.high, 3)
            ));
        }
    }
    remarks
}

/// The columns of a table of routers.
pub const COLUMNS: [&str; 11] = [
    "router",
    "AUROC",
    "log-loss",
    "ECE",
    "score",
    "against best single",
    "gap",
    "AIQ",
    "cost",
    "APGR",
    "CPT 50 / 80 %",
];

/// A router's row under [`COLUMNS`].
pub fn cells(router: &RouterFigures) -> [String; COLUMNS.len()] {
    let figure = |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.3}"));
    let interval = |value: &Interval| {
        format!("{} [{}, {}]", signed(value.value, 3), signed(value.low, 3), signed(value.high, 3))
    };
    // What rounds to zero is no minus zero.
    let percent = |value: f64| format!("{:.0} %", (100.0 * value).round() + 0.0);
    let share = |value: Option<f64>| value.map_or_else(|| "–".into(), percent);
    let pair = router.pair.as_ref();
    let apgr = pair.and_then(|pair| {
        let apgr = pair.apgr.as_ref()?;
        Some(format!("{apgr} ({})", figure(pair.apgr_by_deciles)))
    });
    [
        router.name.clone(),
        figure(router.auroc),
        figure(router.log_loss),
        figure(router.ece),
        format!("{:.3}", router.routed.value),
        interval(&router.against_best_single),
        router.gap_closed.as_ref().map_or_else(|| "–".into(), |gap| share(Some(gap.value))),
        figure(router.cost.as_ref().and_then(|cost| cost.aiq)),
        share(router.cost.as_ref().and_then(|cost| cost.cost_at_best_single)),
        apgr.unwrap_or_else(|| "–".into()),
        pair.map_or_else(|| "–".into(), |pair| format!("{} / {}", share(pair.cpt_50), share(pair.cpt_80))),
    ]
}

fn push_charts(page: &mut String, source: &SourceFigures) {
    page.push_str("<div class=charts>");
    let bins: Vec<(f64, f64, usize)> =
        source.calibration.iter().map(|bin| (bin.predicted, bin.observed, bin.count)).collect();
    page.push_str(&Plot::calibration("Does it come true?", &bins).svg());
    let mut scores = Bars::new("Score of the routed model");
    for (at, router) in source.routers.iter().enumerate() {
        let routed = &router.routed;
        scores = scores
            .with(Bar::new(&router.name, routed.value).within(routed.low, routed.high).coloured(usize::from(at > 0)));
    }
    page.push_str(&scores.svg());
    if source.routers.iter().any(|router| router.cost.is_some()) {
        let mut plot = Plot::new("Quality against cost", "US dollars a prompt", "mean score");
        let costs = source.routers.iter().filter_map(|router| router.cost.as_ref());
        // A logarithm has no place for what costs nothing.
        if costs.flat_map(|cost| &cost.frontier).all(|(usd, _)| *usd > 0.0) {
            plot = plot.log_x();
        }
        for router in &source.routers {
            if let Some(cost) = &router.cost {
                let points = cost.frontier.iter().map(|(x, y)| Point::new(*x, *y)).collect();
                plot = plot.with(Series::dotted_line(&router.name, points));
            }
        }
        if let Some(cost) = source.routers.iter().find_map(|router| router.cost.as_ref()) {
            plot = plot.level(cost.best_priced.value, &cost.best_priced.name);
        }
        page.push_str(&plot.svg());
    }
    if source.routers.iter().any(|router| router.pair.is_some()) {
        let mut plot =
            Plot::new("How many strong calls for how much of the gap", "share of strong calls", "mean score");
        for router in &source.routers {
            if let Some(pair) = &router.pair {
                plot = plot
                    .with(Series::line(&router.name, pair.curve.iter().map(|(x, y)| Point::new(*x, *y)).collect()));
            }
        }
        page.push_str(&plot.svg());
    }
    page.push_str("</div>");
}

fn push_details(page: &mut String, source: &SourceFigures) {
    page.push_str(
        "<details><summary>By model</summary><div class=scroll><table><tr><th>model</th><th>basis</th><th>prompts</th><th>score</th>\
         <th>predicted</th><th>AUROC</th><th>log-loss</th><th>Brier</th><th>ECE</th></tr>",
    );
    for model in &source.models {
        let auroc = model.auroc.map_or_else(|| "–".into(), |auroc| format!("{auroc:.3}"));
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{auroc}</td><td>{:.3}</td><td>{:.3}</td>\
             <td>{:.3}</td></tr>",
            escape(&model.model),
            escape(&model.basis),
            model.prompts,
            model.score,
            model.predicted,
            model.log_loss,
            model.brier,
            model.ece,
        );
    }
    page.push_str(
        "</table></div></details><details><summary>By task</summary><div class=scroll><table><tr><th>task</th><th>prompts</th><th>routed</th>\
         <th>best single</th></tr>",
    );
    for task in &source.tasks {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.3}</td><td>{}</td></tr>",
            escape(&task.task),
            task.prompts,
            task.routed,
            task.best_single.map_or_else(|| "–".into(), |score| format!("{score:.3}"))
        );
    }
    page.push_str("</table></div></details>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::evaluate::{ChosenWeight, CostFigures, Named};

    #[test]
    fn the_page_has_what_the_terminal_says_and_what_costs_nothing_is_drawn() {
        let interval = Interval { value: 0.0, low: -0.01, high: 0.02 };
        let source = |cheapest: f64| SourceFigures {
            source: "s".into(),
            prompts: 1,
            best_single: Named { name: "m".into(), value: 0.5 },
            best_single_by: "train",
            compared: 1,
            oracle: 1.0,
            routers: vec![RouterFigures {
                name: "head".into(),
                auroc: None,
                log_loss: None,
                brier: None,
                ece: None,
                ece_by_model: None,
                routed: interval,
                against_best_single: interval,
                gap_closed: None,
                cost: Some(CostFigures {
                    best_priced: Named { name: "m".into(), value: 0.5 },
                    prompts: 1,
                    aiq: None,
                    best_single_cost: 0.01,
                    cost_at_best_single: None,
                    with_chosen_weight: Some(ChosenWeight { weight: 1.0, cost_share: 0.25, difference: interval }),
                    frontier: vec![(cheapest, 0.4), (0.01, 0.5)],
                }),
                pair: None,
            }],
            models: Vec::new(),
            tasks: Vec::new(),
            calibration: Vec::new(),
        };
        let page = |cheapest: f64| {
            let sources = vec![source(cheapest)];
            evaluation(&Evaluation { head: "h".into(), split: "test".into(), prompts: 1, notes: Vec::new(), sources })
        };
        let (dear, free) = (page(0.001), page(0.0));
        assert!(
            dear.contains("chosen on val: 25 % of the best single model") && dear.contains("(1 prompt)"),
            "{dear}"
        );
        assert_eq!(free.matches("<circle").count(), dear.matches("<circle").count(), "the point at 0 is there");
    }

    #[test]
    fn figures_are_not_broken_and_wide_tables_scroll() {
        let evaluation = Evaluation {
            head: "h".into(),
            split: "test".into(),
            prompts: 1,
            notes: Vec::new(),
            sources: vec![SourceFigures {
                source: "s".into(),
                prompts: 1,
                best_single: Named { name: "m".into(), value: 0.5 },
                best_single_by: "train",
                compared: 1,
                oracle: 1.0,
                routers: Vec::new(),
                models: Vec::new(),
                tasks: Vec::new(),
                calibration: Vec::new(),
            }],
        };
        let page = super::evaluation(&evaluation);
        assert!(page.contains("td{white-space:nowrap}"));
        assert_eq!(page.matches("<table>").count(), page.matches("<div class=scroll><table>").count(), "{page}");
    }

    #[test]
    fn a_gap_that_rounds_to_nothing_is_no_minus_zero() {
        let interval = |value: f64| Interval { value, low: value, high: value };
        let router = |gap: f64| RouterFigures {
            name: "head".into(),
            auroc: None,
            log_loss: None,
            brier: None,
            ece: None,
            ece_by_model: None,
            routed: interval(0.5),
            against_best_single: interval(0.0),
            gap_closed: Some(interval(gap)),
            cost: None,
            pair: None,
        };
        assert_eq!([-0.001, -0.012, 0.25].map(|gap| cells(&router(gap))[6].clone()), ["0 %", "-1 %", "25 %"]);
    }

    #[test]
    fn names_from_the_data_cannot_become_markup() {
        let hostile = Evaluation {
            head: "<script>alert(1)</script>".into(),
            split: "<img src=x>".into(),
            prompts: 0,
            notes: vec!["a & b".into()],
            sources: Vec::new(),
        };
        let page = evaluation(&hostile);
        assert!(!page.contains("<script>") && !page.contains("<img") && page.contains("a &amp; b"));
        assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing from outside");
    }
}
