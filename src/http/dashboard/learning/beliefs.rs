//! The card of the policy's beliefs: each model's quality relative to the classifier's prediction.

use maud::{Markup, html as markup};

use crate::bandit::ArmSummary;
use crate::http::dashboard::parts::{Label, badge, count, empty, table_box, whisker};
use crate::ope::signed;

/// The card.
pub(super) fn card(models: &[ArmSummary]) -> Markup {
    let mut sorted: Vec<&ArmSummary> = models.iter().filter(|arm| arm.observations > 0).collect();
    sorted.sort_by(|a, b| b.level.total_cmp(&a.level));
    markup! {
        div.card-head { h2 #beliefs-title { "What it believes" } span.muted { "quality relative to the classifier's prediction, two standard deviations" } }
        @if sorted.is_empty() { (empty("It believes the classifier", "At first the policy is the classifier's predictions; judged answers move it.")) }
        @else { (table_box(Label::By("beliefs-title"), &table(&sorted))) }
    }
}

fn table(sorted: &[&ArmSummary]) -> Markup {
    let widest = sorted.iter().map(|arm| arm.level.abs() + 2.0 * arm.spread).fold(0.05, f64::max);
    markup! {
        table {
            thead { tr { th scope="col" { "Model" } th scope="col" { span.hidden { "Drawn" } } th.num scope="col" { "Better by" } th.num scope="col" { "Judged" } th.num scope="col" { "Shifts" } } }
            tbody {
                @for arm in sorted {
                    tr data-key={ "belief-" (arm.model) } {
                        th scope="row" { (arm.model) }
                        td { (whisker(arm.level, arm.level - 2.0 * arm.spread, arm.level + 2.0 * arm.spread, widest)) }
                        td.num { (signed(arm.level * 100.0, 1)) " ± " (format!("{:.1}", arm.spread * 200.0)) span.muted { " points" } }
                        td.num { (count(arm.observations)) }
                        td.num { @if arm.shifts > 0 { (badge("warn", &arm.shifts.to_string())) } @else { "0" } }
                    }
                }
            }
        }
    }
}
