//! The table of what each off-policy estimator says of each version.

use std::collections::BTreeSet;

use maud::{Markup, html as markup};
use serde::Deserialize;

use crate::http::dashboard::parts::{Label, percent, table_box};
use crate::ope::{Doubt, Estimate, IntervalKind, Method, signed};
use crate::store::SnapshotRecord;

/// One estimator's values for a version.
struct Estimated<'a> {
    record: &'a SnapshotRecord,
    method: Method,
    /// Utility over the version that was live; absent in older records.
    gain: Option<Estimate>,
    new: Option<Estimate>,
    live: Option<Estimate>,
}

impl Estimated<'_> {
    /// Its estimates, each with what is wrong with it. The gate's intervals are never guaranteed ones.
    fn all_doubts(&self) -> impl Iterator<Item = (Estimate, Doubt)> {
        let all = [self.gain, self.new, self.live].into_iter().flatten();
        all.filter_map(|it| Some((it, it.doubt(IntervalKind::Student)?)))
    }

    /// What is not to be relied on here, in a few words.
    fn doubt(&self) -> Option<String> {
        let (estimate, doubt) = self.all_doubts().min_by_key(|(_, doubt)| *doubt)?;
        Some(doubt.beside(&estimate))
    }
}

/// What is not to be relied on anywhere in the table.
fn doubts(all: &[Estimated<'_>]) -> BTreeSet<Doubt> {
    all.iter().flat_map(Estimated::all_doubts).map(|(_, doubt)| doubt).collect()
}

fn estimated(record: &SnapshotRecord) -> Vec<Estimated<'_>> {
    let list = |name: &str| -> Vec<Estimate> {
        let found = record.report.get("gain").and_then(|gain| gain.get(name));
        found.and_then(|found| Vec::deserialize(found).ok()).unwrap_or_default()
    };
    let (gained, new, live) = (list("methods"), list("new"), list("live"));
    let of = |all: &[Estimate], method: Method| all.iter().find(|one| one.method == method).copied();
    [Method::Ips, Method::Snips, Method::DoublyRobust]
        .map(|method| Estimated {
            record,
            method,
            gain: of(&gained, method),
            new: of(&new, method),
            live: of(&live, method),
        })
        .into_iter()
        .filter(|one| one.gain.is_some() || one.new.is_some())
        .collect()
}

/// The gain of each version by each estimator, and the quality of both policies; empty where no record has any.
pub(super) fn details(versions: &[SnapshotRecord]) -> Markup {
    let all: Vec<Estimated<'_>> = versions.iter().flat_map(estimated).collect();
    markup! {
        @if !all.is_empty() {
            details.estimators data-key="estimators" {
                summary.muted data-key="estimators-title" { "All estimators" }
                (table_box(Label::Is("All estimators"), &table(&all)))
                p.hint { "Gain in utility over the version that was live; quality of either policy's answers. Effective is the sample size that importance weights leave, clipped the share of them that was cut off, support their mean: the share of a policy's choices that the decision log covers. A quality outside 0 to 1 is shown cut to that range; point at it for the estimate. The gate goes by doubly robust." }
                @for doubt in doubts(&all) { p.hint { (doubt.reason()) } }
            }
        }
    }
}

fn table(all: &[Estimated<'_>]) -> Markup {
    markup! {
        table {
            thead {
                tr {
                    th scope="col" { "Version" } th scope="col" { "Method" }
                    @for name in ["Gain", "New policy", "Live policy", "Effective", "Clipped", "Support"] { th.num scope="col" { (name) } }
                }
            }
            tbody { @for one in all { (row(one)) } }
        }
    }
}

fn row(one: &Estimated<'_>) -> Markup {
    markup! {
        tr {
            th scope="row" { "v" (one.record.version) }
            td {
                span { (method(one.method)) }
                @if let Some(doubt) = one.doubt() { br; span.muted { (doubt) } }
            }
            (gained(one.gain))
            (quality(one.new))
            (quality(one.live))
            @match one.gain.or(one.new) {
                Some(shown) => {
                    td.num { (format!("{:.0}", shown.effective)) " of " (shown.requests) }
                    td.num { (percent(shown.clipped)) }
                    td.num { (percent(shown.support)) }
                }
                None => { td {} td {} td {} }
            }
        }
    }
}

fn gained(found: Option<Estimate>) -> Markup {
    markup! {
        td.num {
            @match found {
                Some(it) => {
                    (signed(it.value, 4)) br;
                    span.muted { (signed(it.low, 4)) " to " (signed(it.high, 4)) }
                }
                None => { "–" }
            }
        }
    }
}

fn quality(found: Option<Estimate>) -> Markup {
    let raw = found.map(|it| format!("as estimated: {:.3}, {:.3} to {:.3}", it.value, it.low, it.high));
    let shown = found.map(|it| it.possible());
    let cut = raw.filter(|_| shown != found);
    markup! {
        td.num title=[cut] {
            @match shown {
                Some(it) => {
                    (format!("{:.3}", it.value)) br;
                    span.muted { (format!("{:.3}", it.low)) " to " (format!("{:.3}", it.high)) }
                }
                None => { "–" }
            }
        }
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Ips => "IPS",
        Method::Snips => "SNIPS",
        Method::Direct => "direct",
        Method::DoublyRobust => "doubly robust",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::versions;
    use super::*;
    use crate::store::SnapshotState;

    fn record(report: serde_json::Value) -> SnapshotRecord {
        SnapshotRecord {
            version: 7,
            made_at_ms: 0,
            promoted_at_ms: None,
            parent: 6,
            replaced: 6,
            origin: "retune".into(),
            state: SnapshotState::Promoted,
            reason: String::new(),
            learned_from: 100,
            report,
        }
    }

    #[test]
    fn what_is_not_to_be_relied_on_says_so_on_the_page() {
        let of = |support: f64| {
            let estimate = |method: &str| {
                json!({ "method": method, "value": 0.3, "low": 0.2, "high": 0.4, "requests": 880, "effective": 600.0,
                    "clipped": 0.0, "largest_weight": 3.0, "support": support })
            };
            let methods = json!([estimate("ips"), estimate("snips"), estimate("doubly_robust")]);
            details(&[record(json!({ "gain": { "methods": methods } }))]).into_string()
        };
        let (part, whole, little) = (of(0.59), of(0.99), of(0.3));
        assert_eq!(part.matches("41 % counts as 0").count(), 1, "{part}");
        assert!(part.contains("IPS counts what the decision log does not cover"), "{part}");
        assert!(!whole.contains("counts as 0") && whole.contains("The gate goes by doubly robust"), "{whole}");
        assert_eq!(little.matches(">too little support<").count(), 3, "{little}");
    }

    #[test]
    fn every_estimator_is_shown_as_far_as_the_record_has_it() {
        let estimate = |method: &str, value: f64| {
            json!({ "method": method, "value": value, "low": value - 0.1, "high": value + 0.1, "requests": 80,
                "effective": 41.0, "clipped": 0.05, "largest_weight": 3.0 })
        };
        let each =
            |value: f64| json!([estimate("ips", value), estimate("snips", value), estimate("doubly_robust", value)]);
        let gain = json!({ "choices": 80, "mean": 0.01, "lower": -0.1, "upper": 0.12 });
        let first = record(json!({ "gain": gain }));
        assert_eq!(versions::gain(&first), Some((0.01, -0.1, 0.12, 80)));
        assert_eq!(details(&[first]).into_string(), "", "a record of the first programs has one number");
        let mut with = gain.clone();
        with["new"] = each(0.8);
        with["live"] = each(0.7);
        let page = details(&[record(json!({ "gain": with }))]).into_string();
        assert!(page.contains("SNIPS") && page.contains("0.800") && page.contains("41 of 80"), "{page}");
        assert!(!page.contains("title=\"as estimated"), "{page}");
        with["new"] = json!([estimate("ips", 1.05)]);
        let page = details(&[record(json!({ "gain": with }))]).into_string();
        assert!(page.contains("as estimated: 1.050, 0.950 to 1.150") && page.contains(">1.000<"), "{page}");
        with["new"] = each(0.8);
        with["methods"] = each(0.123);
        let page = details(&[record(json!({ "gain": with })), record(serde_json::Value::Null)]).into_string();
        for text in ["IPS", "SNIPS", "doubly robust", "+0.1230", "+0.0230", "0.700", "5.0 %"] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
    }
}
