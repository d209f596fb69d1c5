//! The demo's report: the routing compared with its alternatives, over the whole run and part by part.

use comfy_table::{CellAlignment, Table};

use super::PARTS;
use crate::sandbox::score::{Score, Sums};

/// The tables, with an explanation.
pub(super) fn table(parts: &[Score]) -> String {
    let Some(whole) = sum(parts) else { return "Nobody came.".to_owned() };
    let oracle = whole.oracle.reward;
    let mut table = Table::new();
    table.set_header(["", "liked", "cost", "reward", "regret", "regret / visit"]);
    let mut add = |name: &str, sums: &Sums| {
        let regret = oracle - sums.reward;
        table.add_row([
            name.to_owned(),
            format!("{:.1} %", 100.0 * sums.liked / sums.visits.max(1.0)),
            format!("${:.4}", sums.cost_usd),
            format!("{:.1}", sums.reward),
            format!("{regret:.1}"),
            format!("{:.3}", regret / sums.visits.max(1.0)),
        ]);
    };
    add("Pointsman", &whole.routed);
    add("a random model", &whole.random);
    if let Some((model, sums)) = whole.best_single() {
        add(&format!("always {model} (best single)"), &sums);
    }
    add("an oracle", &whole.oracle);
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }

    let mut progress = Table::new();
    progress.set_header([
        "part of the run",
        "Pointsman",
        "random",
        "best single",
        "oracle",
        "of the way from random to oracle",
    ]);
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.routed.visits > 0.0) {
        let mean = |sums: &Sums| format!("{:.3}", sums.reward / sums.visits.max(1.0));
        // The best single model of the whole run, also in each part: it is known only afterwards.
        let single = whole.best_single().and_then(|(model, _)| part.single.get(model)).copied().unwrap_or_default();
        progress.add_row([
            format!("{} of {PARTS}", index + 1),
            mean(&part.routed),
            mean(&part.random),
            mean(&single),
            mean(&part.oracle),
            part.gap_closed().map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        ]);
    }
    let meaning = "reward = probability that the user likes the answer, less its cost by the objective `balanced`; \
                   regret = what the oracle earned more.\nAll rows are computed for the same visits from the simulated \
                   users' true tastes, which the gateway never sees.";
    format!("{table}\n\nReward per visit:\n{progress}\n\n{meaning}")
}

/// The score of all parts together.
fn sum(parts: &[Score]) -> Option<Score> {
    let mut all = parts.first()?.clone();
    for part in parts.iter().skip(1) {
        all.absorb(part);
    }
    (all.routed.visits > 0.0).then_some(all)
}
