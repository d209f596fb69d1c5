//! Who is good at what: predicted for each task, and as judged.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html as markup};

use crate::http::admin::learning::{Ability, Learning};
use crate::http::dashboard::parts::{Label, badge, empty, percent, table_box};

/// Models in the table.
const MOST_MODELS: usize = 8;

/// The card.
pub(super) fn card(learned: &Learning) -> Markup {
    markup! {
        div.card-head { h2 #ability-title { "Who is good at what" } span.muted { "predicted probability of a good answer; below it, what judged answers were liked" } }
        @if learned.ability.is_empty() { (empty("No task was read yet", "The classifier names a task for each prompt it reads.")) }
        @else { (table_box(Label::By("ability-title"), &table(learned))) }
    }
}

fn table(learned: &Learning) -> Markup {
    let models = models(learned);
    markup! {
        table.ability {
            thead { tr { th scope="col" { "Task" } @for model in &models { th.num scope="col" { (model) } } } }
            tbody {
                @for (task, by_model) in &learned.ability {
                    @let best = by_model.values().map(|ability| ability.predicted).fold(0.0, f64::max);
                    tr {
                        th scope="row" { (task) }
                        @for model in &models { td.num { (cell(by_model.get(*model), best)) } }
                    }
                }
            }
        }
    }
}

/// The models that are spoken of most.
fn models(learned: &Learning) -> BTreeSet<&str> {
    let mut seen = BTreeMap::<&str, u64>::new();
    for (model, ability) in learned.ability.values().flatten() {
        *seen.entry(model).or_default() += ability.considered + 20 * ability.judged;
    }
    let mut models: Vec<(&str, u64)> = seen.into_iter().collect();
    models.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    models.into_iter().take(MOST_MODELS).map(|(model, _)| model).collect()
}

fn cell(ability: Option<&Ability>, best: f64) -> Markup {
    let Some(ability) = ability else { return markup! { span.muted { "–" } } };
    let text = percent(ability.predicted);
    markup! {
        @if ability.predicted >= best - 0.005 { (badge("good", &text)) } @else { (text) }
        br;
        span.muted { @if ability.judged > 0 { (percent(ability.liked)) " of " (ability.judged) } @else { "none" } }
    }
}
