//! The card that sets whether the policy acts, and on which share of the conversations.

use maud::{Markup, html as markup};
use serde_json::json;

use crate::config::LearningMode;
use crate::tuner::LearnerStatus;

/// The card.
pub(super) fn card(status: &LearnerStatus) -> Markup {
    let settings = json!(status.settings);
    markup! {
        div.card-head { h2 #steer-title { "Steer" } }
        form.grid data-api="PUT /api/admin/policy/mode" data-done="The change is in force." {
            div.field {
                label for="mode" { "The policy" }
                select #mode name="mode" {
                    option value="live" selected[status.mode == LearningMode::Live] { "acts" }
                    option value="shadow" selected[status.mode == LearningMode::Shadow] { "only watches (shadow)" }
                }
                p.hint { "In shadow mode the weights choose; the policy's own choice is stored with each decision." }
            }
            div.field {
                label for="rollout" { "On a share of the conversations" }
                input #rollout name="rollout" type="number" min="0" max="1" step="any" value=(status.rollout) data-type="number" required;
                p.hint { "1 = all of them; the weights choose for the others." }
            }
            div.field { button.primary type="submit" { "Apply" } }
        }
        details data-key="settings" {
            summary.muted data-key="settings-title" { "How it explores and forgets" }
            dl.fields {
                @for (name, value) in settings.as_object().into_iter().flatten() {
                    dt { code { (name) } } dd { code { (value) } }
                }
            }
        }
    }
}
