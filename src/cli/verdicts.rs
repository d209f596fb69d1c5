//! What `evaluate --policy` says of two policies, as a table or as JSON.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use comfy_table::Table;
use serde::Serialize;

use crate::ope::{self, Estimate, Logged, Method};

/// Below this share more of what a policy would do lies outside of the log than in it, and weights speak for too little.
const LEAST_SUPPORT: f64 = 0.5;

/// All that is said.
#[derive(Debug, Serialize)]
pub(super) struct Verdicts {
    /// Judged choices.
    choices: usize,
    /// What has to be said beside the figures.
    notes: Vec<String>,
    /// One for each policy and for their difference, by each method.
    verdicts: Vec<Verdict>,
}

/// One policy, or a difference, by one method.
#[derive(Debug, Serialize)]
struct Verdict {
    of: String,
    method: Method,
    /// Cut to what is possible; absent = it cannot be said.
    estimate: Option<Estimate>,
    /// The value before it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncut: Option<f64>,
    /// How much of what the policy does the log speaks of, where it speaks of too little.
    #[serde(skip_serializing_if = "Option::is_none")]
    too_little_support: Option<f64>,
}

impl Verdict {
    fn new(of: &str, method: Method, found: Option<Estimate>, cut: impl Fn(&Estimate) -> Estimate) -> Self {
        // The direct method goes by its model of the rewards, whatever the log shows.
        let unsupported = found.filter(|it| method != Method::Direct && it.support < LEAST_SUPPORT);
        let estimate = found.filter(|_| unsupported.is_none());
        let shown = estimate.as_ref().map(cut);
        let uncut = estimate.map(|it| it.value).filter(|raw| shown.is_some_and(|shown| shown.value != *raw));
        Self { of: of.into(), method, estimate: shown, uncut, too_little_support: unsupported.map(|it| it.support) }
    }

    fn cells(&self) -> [String; 6] {
        let (of, method) = (self.of.clone(), self.method.name().to_owned());
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        match (self.estimate, self.too_little_support) {
            (Some(it), _) => {
                let cut = self.uncut.map(|raw| format!(", cut from {raw:.4}")).unwrap_or_default();
                let value = format!("{:.4} [{:.4}, {:.4}]{cut}", it.value, it.low, it.high);
                [of, method, value, format!("{:.0}", it.effective), percent(it.clipped), percent(it.support.min(1.0))]
            }
            (None, Some(support)) => {
                [of, method, "the log cannot tell".into(), String::new(), String::new(), percent(support)]
            }
            (None, None) => [of, method, "cannot be said".into(), String::new(), String::new(), String::new()],
        }
    }
}

impl Verdicts {
    /// Judges one policy and another, seen over the same log.
    pub(super) fn of(
        (judged, one): (&str, &[Logged]),
        (against, other): (&str, &[Logged]),
        by: &ope::Settings,
    ) -> Self {
        let both = |method| {
            [
                Verdict::new(judged, method, ope::estimate(one, method, by), Estimate::possible),
                Verdict::new(against, method, ope::estimate(other, method, by), Estimate::possible),
                Verdict::new(
                    &format!("{judged} less {against}"),
                    method,
                    ope::compare(one, other, method, by),
                    Estimate::possible_difference,
                ),
            ]
        };
        let verdicts: Vec<Verdict> = Method::ALL.into_iter().flat_map(both).collect();
        let mut notes = Vec::new();
        if verdicts.iter().any(|verdict| verdict.too_little_support.is_some()) {
            notes.push(format!(
                "The log cannot tell where it speaks of less than {:.0} % of what a policy does (support). The direct method \
                 then says what its model of the rewards expects, and nothing has checked that.",
                LEAST_SUPPORT * 100.0
            ));
        }
        Self { choices: one.len(), notes, verdicts }
    }

    /// Prints them as a table.
    pub(super) fn print(&self) {
        println!("{} choices; quality per request, 95 % intervals\n", self.choices);
        let mut table = Table::new();
        table.set_header(["estimate", "method", "value", "effective size", "clipped weights", "support"]);
        self.verdicts.iter().for_each(|verdict| {
            table.add_row(verdict.cells());
        });
        println!("{table}");
        self.notes.iter().for_each(|note| println!("{note}"));
    }
}

/// Writes `figures` as JSON to a file, or to standard output (`-`).
pub(super) fn write_json(path: &Path, figures: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(figures)?;
    if path == Path::new("-") {
        return Ok(writeln!(std::io::stdout(), "{json}")?);
    }
    std::fs::write(path, json).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ope::Modelled;

    /// A log in which one model was hardly ever chosen, and what a policy is worth that only knows this one.
    fn log(propensity: f64, target: f64) -> Vec<Logged> {
        let modelled = Some(Modelled { chosen: 0.5, value: 0.5 });
        (0..40).map(|at| Logged { propensity, reward: f64::from(at % 2), target, modelled }).collect()
    }

    #[test]
    fn where_the_log_speaks_of_too_little_it_is_said_instead_of_a_verdict() {
        let verdicts = Verdicts::of(("rare", &log(0.9, 0.1)), ("logged", &log(0.9, 0.9)), &ope::Settings::default());
        for verdict in &verdicts.verdicts {
            let is_told = verdict.of == "logged" || verdict.method == Method::Direct;
            assert_eq!(verdict.estimate.is_some(), is_told, "{verdict:?}");
            assert_eq!(verdict.cells()[2] == "the log cannot tell", !is_told, "{verdict:?}");
        }
        assert_eq!(verdicts.notes.len(), 1);
    }

    #[test]
    fn a_difference_lies_within_what_is_possible() {
        let (rich, poor) = (log(0.1, 0.9), log(0.1, 0.1));
        let settings = ope::Settings::default();
        let verdicts = Verdicts::of(("rich", &rich), ("poor", &poor), &settings);
        assert!(ope::compare(&rich, &poor, Method::Ips, &settings).unwrap().value > 1.0);
        for verdict in verdicts.verdicts.iter().filter(|verdict| verdict.of.contains("less")) {
            let estimate = verdict.estimate.unwrap();
            assert!(estimate.low >= -1.0 && estimate.high <= 1.0, "{verdict:?}");
        }
    }
}
