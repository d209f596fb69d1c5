//! The card that shows which model is good at which task: as predicted, and as judged.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html as markup};

use crate::http::admin::learning::{Ability, Learning};
use crate::http::dashboard::parts::{Label, badge, empty, percent, table_box};

/// Most models in the table.
const MAX_MODELS: usize = 8;

/// The card.
pub(super) fn card(learned: &Learning) -> Markup {
    let (models, all) = models(learned);
    markup! {
        div.card-head { h2 #ability-title { "Who is good at what" } span.muted { "predicted probability of a good answer; below it, what judged answers were liked" } }
        @if learned.ability.is_empty() { (empty("No task was read yet", "The classifier names a task for each prompt it reads.")) }
        @else { (table_box(Label::By("ability-title"), &table(learned, &models))) }
        @if models.len() < all { p.hint { (models.len()) " of " (all) " models: the best at a task, then those that are asked and judged most." } }
    }
}

fn table(learned: &Learning, models: &BTreeSet<&str>) -> Markup {
    markup! {
        table.ability {
            thead { tr { th scope="col" { "Task" } @for model in models { th.num scope="col" { (model) } } } }
            tbody {
                @for (task, by_model) in &learned.ability {
                    @let best = by_model.values().map(|ability| ability.predicted).fold(0.0, f64::max);
                    tr {
                        th scope="row" { (task) }
                        @for model in models { td.num { (cell(by_model.get(*model), best)) } }
                    }
                }
            }
        }
    }
}

/// The models to show: the best at each task, then those considered and judged most; and the number of all.
fn models(learned: &Learning) -> (BTreeSet<&str>, usize) {
    let mut seen = BTreeMap::<&str, u64>::new();
    for (model, ability) in learned.ability.values().flatten() {
        *seen.entry(model).or_default() += ability.considered + 20 * ability.judged;
    }
    let best = |models: &'_ BTreeMap<String, Ability>| {
        models.iter().max_by(|a, b| a.1.predicted.total_cmp(&b.1.predicted)).map(|(model, _)| model.clone())
    };
    let best: BTreeSet<String> = learned.ability.values().filter_map(best).collect();
    let all = seen.len();
    let mut models: Vec<(&str, u64)> = seen.into_iter().collect();
    models.sort_by(|a, b| best.contains(b.0).cmp(&best.contains(a.0)).then(b.1.cmp(&a.1)).then(a.0.cmp(b.0)));
    (models.into_iter().take(MAX_MODELS).map(|(model, _)| model).collect(), all)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_at_a_task_is_among_the_columns() {
        let ability = |considered, predicted| Ability { considered, predicted, ..Ability::default() };
        let mut code: BTreeMap<String, Ability> = (0..20).map(|n| (format!("m{n}"), ability(100, 0.5))).collect();
        code.insert("rare".into(), ability(1, 0.9));
        let learned = Learning { ability: [("code".to_owned(), code)].into(), ..Learning::default() };
        let (shown, all) = models(&learned);
        assert!(shown.contains("rare") && shown.len() == MAX_MODELS && all == 21);
        assert!(card(&learned).into_string().contains("8 of 21 models"));
    }
}
