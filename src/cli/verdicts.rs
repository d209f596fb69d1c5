//! The result of `evaluate --policy` for two policies, as a table or as JSON.

use std::collections::BTreeSet;

use serde::Serialize;

use super::table;
use crate::ope::{self, Doubt, Estimate, Logged, Method};

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
    /// Why the estimate is not to be relied on.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<Doubt>,
    /// Whether the log leaves out more of what the policy does than chance would.
    #[serde(skip)]
    leaves_out: bool,
}

impl Verdict {
    fn new(
        of: &str,
        by: &ope::Settings,
        method: Method,
        found: Option<Estimate>,
        cut: impl Fn(&Estimate) -> Estimate,
    ) -> Self {
        let doubt = found.and_then(|it| it.doubt(by.interval));
        let unsupported = found.filter(|_| doubt == Some(Doubt::Unsupported));
        let estimate = found.filter(|_| unsupported.is_none());
        let shown = estimate.as_ref().map(cut);
        let uncut = estimate.map(|it| it.value).filter(|raw| shown.is_some_and(|shown| shown.value != *raw));
        Self {
            of: of.into(),
            method,
            estimate: shown,
            uncut,
            too_little_support: unsupported.map(|it| it.support),
            doubt,
            leaves_out: method != Method::Direct && estimate.is_some_and(|it| it.leaves_out()),
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let (of, method) = (self.of.clone(), self.method.name().to_owned());
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        match (self.estimate, self.too_little_support) {
            (Some(it), _) => {
                let cut = self.uncut.map(|raw| format!(", cut from {raw:.4}")).unwrap_or_default();
                let value = format!("{:.4} [{:.4}, {:.4}]{cut}", it.value, it.low, it.high);
                let (effective, support) = (format!("{:.0}", it.effective), percent(it.support.min(1.0)));
                let doubt = self.doubt.map(|doubt| doubt.beside(&it)).unwrap_or_default();
                [of, method, value, effective, percent(it.clipped), support, doubt]
            }
            (None, Some(support)) => {
                let why = "too little support".to_owned();
                [of, method, why, String::new(), String::new(), percent(support), String::new()]
            }
            (None, None) => {
                let why = "no estimate".to_owned();
                [of, method, why, String::new(), String::new(), String::new(), String::new()]
            }
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
                Verdict::new(judged, by, method, ope::estimate(one, method, by), Estimate::possible),
                Verdict::new(against, by, method, ope::estimate(other, method, by), Estimate::possible),
                Verdict::new(
                    &format!("{judged} less {against}"),
                    by,
                    method,
                    ope::compare(one, other, method, by),
                    Estimate::possible_difference,
                ),
            ]
        };
        let verdicts: Vec<Verdict> = Method::ALL.into_iter().flat_map(both).collect();
        let notes = notes(&verdicts);
        Self { choices: one.len(), notes, verdicts }
    }

    /// Prints them as a table.
    pub(super) fn print(&self) {
        println!("{} choices; quality per request, 95 % intervals\n", self.choices);
        let mut table = table(&COLUMNS, 2);
        self.verdicts.iter().for_each(|verdict| {
            table.add_row(verdict.cells());
        });
        println!("{table}\n");
        self.notes.iter().for_each(|note| println!("{note}"));
    }
}

/// The columns of the table; the first two are texts.
const COLUMNS: [&str; 7] =
    ["estimate", "method", "value", "effective size", "clipped weights", "support", "not to be relied on"];

/// Which method the gate goes by, and what the figures do not say themselves.
fn notes(verdicts: &[Verdict]) -> Vec<String> {
    let gate = Method::OF_THE_GATE.name();
    let mut notes = vec![format!("Whether a new version takes over (learning.gate) goes by {gate}.")];
    let doubts: BTreeSet<Doubt> = verdicts.iter().filter_map(|verdict| verdict.doubt).collect();
    for doubt in &doubts {
        let direct = match doubt {
            Doubt::Unsupported => {
                " The direct method then goes by its model of the rewards alone, which nothing has checked."
            }
            Doubt::Uncovered | Doubt::Few => "",
        };
        notes.push(format!("{}{direct}", doubt.reason()));
    }
    if verdicts.iter().any(|verdict| verdict.leaves_out) {
        notes.push(
            "Where support is below 100 %, snips takes what the log does not cover to be like what it covers, and \
             doubly_robust goes by its model of the rewards there: nothing has checked either."
                .into(),
        );
    }
    notes
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
        let notes = verdicts.notes.join("\n");
        assert!(notes.contains("goes by doubly_robust") && notes.contains("less than 50 %"), "{notes}");
        assert!(!notes.contains("counts"), "{notes}");
    }

    #[test]
    fn an_estimate_that_is_not_to_be_relied_on_says_so_and_keeps_its_number() {
        // The log has two thirds of what the new policy does.
        let covered = |propensity: f64, target: f64| -> Vec<Logged> { log(propensity, target).repeat(22) };
        let verdicts =
            Verdicts::of(("new", &covered(0.9, 0.6)), ("logged", &covered(0.9, 0.9)), &ope::Settings::default());
        for verdict in &verdicts.verdicts {
            let is_doubted = verdict.method == Method::Ips && verdict.of != "logged";
            let doubt = is_doubted.then_some(Doubt::Uncovered);
            assert_eq!((verdict.doubt, verdict.estimate.is_some()), (doubt, true), "{verdict:?}");
            assert_eq!(verdict.cells()[6], if is_doubted { "33 % counts as 0" } else { "" });
        }
        let notes = verdicts.notes.join("\n");
        assert!(notes.contains("as 0: it is too low") && notes.contains("snips takes what"), "{notes}");
        let json = serde_json::to_value(&verdicts).unwrap();
        assert_eq!((&json["verdicts"][0]["doubt"], &json["verdicts"][1]["doubt"]), (&"uncovered".into(), &().into()));

        // A twentieth of the choices has half of the weight.
        let skewed = || [log(0.09, 0.9)[..5].to_vec(), log(0.9, 0.45), log(0.9, 0.45), log(0.9, 0.45)].concat();
        let of = |interval| {
            let settings = ope::Settings { interval, ..ope::Settings::default() };
            Verdicts::of(("new", &skewed()), ("logged", &covered(0.9, 0.9)[..125]), &settings)
        };
        let few = of(ope::IntervalKind::Student);
        assert_eq!(few.verdicts[0].cells()[6], "too few count");
        assert!(few.notes[1].contains("may be too narrow") && few.notes.len() == 2, "{:?}", few.notes);
        assert_eq!(of(ope::IntervalKind::Betting).notes.len(), 1);
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
