//! The result of `evaluate --policy` for two policies, as a table or as JSON.

use comfy_table::Table;
use serde::Serialize;

use crate::ope::{self, Estimate, Logged, Method};

/// Least support of an estimate: below it more of a policy's choices are outside the decision log than in it, and the
/// importance weights cover too little.
const MIN_SUPPORT: f64 = 0.5;

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Verdicts {
    /// Judged choices.
    choices: usize,
    /// Notes beside the figures.
    notes: Vec<String>,
    /// By each method, one for each policy and one for their difference.
    verdicts: Vec<Verdict>,
}

/// One policy, or a difference, by one method.
#[derive(Debug, Serialize)]
struct Verdict {
    of: String,
    method: Method,
    /// Cut to the possible range; absent = nothing can be estimated.
    estimate: Option<Estimate>,
    /// The value before it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncut: Option<f64>,
    /// The share of the policy's choices that the decision log covers, if that is too little.
    #[serde(skip_serializing_if = "Option::is_none")]
    too_little_support: Option<f64>,
}

impl Verdict {
    fn new(of: &str, method: Method, found: Option<Estimate>, cut: impl Fn(&Estimate) -> Estimate) -> Self {
        // The direct method needs no support: it goes by its model of the rewards.
        let unsupported = found.filter(|it| method != Method::Direct && it.support < MIN_SUPPORT);
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
                [of, method, "too little support".into(), String::new(), String::new(), percent(support)]
            }
            (None, None) => [of, method, "no estimate".into(), String::new(), String::new(), String::new()],
        }
    }
}

impl Verdicts {
    /// Judges two policies on the same decision log.
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
                "There is no estimate where the decision log covers less than {:.0} % of a policy's choices (support). The \
                 direct method then goes by its model of the rewards alone, which nothing has checked.",
                MIN_SUPPORT * 100.0
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
            assert_eq!(verdict.cells()[2] == "too little support", !is_told, "{verdict:?}");
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
