//! The card of the policy's versions: the estimated gain of each, and an operator's commands.

use maud::{Markup, html as markup};
use serde_json::json;

use super::estimators;
use crate::http::dashboard::parts::{Label, badge, count, moment, table_box, whisker};
use crate::ope::signed;
use crate::store::{SnapshotRecord, SnapshotState};
use crate::tuner::LearnerStatus;

/// Most versions on the page.
const MAX_SHOWN: usize = 15;

/// The card.
pub(super) fn card(versions: &[SnapshotRecord], status: &LearnerStatus) -> Markup {
    let shown = &versions[..versions.len().min(MAX_SHOWN)];
    markup! {
        div.card-head { h2 #versions-title { "Versions" } span.muted { "gain over the version that was live, points of utility per choice, doubly robust" } }
        (table_box(Label::By("versions-title"), &table(shown, status)))
        @if versions.len() > MAX_SHOWN { p.hint { "The newest " (MAX_SHOWN) " of " (versions.len()) "." } }
        (estimators::details(shown))
    }
}

/// The estimated gain in a version's report: mean, lower and upper bound, number of choices.
pub(super) fn gain(record: &SnapshotRecord) -> Option<(f64, f64, f64, u64)> {
    let gain = record.report.get("gain")?;
    let number = |name: &str| gain.get(name)?.as_f64().filter(|value| value.abs() < 1e6);
    Some((number("mean")?, number("lower")?, number("upper")?, gain.get("choices")?.as_u64()?))
}

fn table(versions: &[SnapshotRecord], status: &LearnerStatus) -> Markup {
    let reach = |(_, low, high, _): (f64, f64, f64, u64)| low.abs().max(high.abs());
    let widest = versions.iter().filter_map(gain).map(reach).fold(0.02, f64::max);
    markup! {
        table #versions {
            thead {
                tr {
                    @for name in ["Version", "Made", "State", "Estimated gain and interval"] { th scope="col" { (name) } }
                    th.num scope="col" { "Gain" } th.num scope="col" { "Learned from" }
                    th scope="col" { "Why" } th scope="col" { span.hidden { "Do" } }
                }
            }
            tbody { @for record in versions { (row(record, status, widest)) } }
        }
    }
}

fn row(record: &SnapshotRecord, status: &LearnerStatus, widest: f64) -> Markup {
    let is_live = record.version == status.live;
    let is_pinned = status.pinned == Some(record.version);
    markup! {
        tr data-key={ "version-" (record.version) } {
            th scope="row" { "v" (record.version) }
            td { (moment(record.made_at_ms)) br; span.muted { (record.origin) } }
            td {
                @if is_live { (badge("good", "live")) }
                @else {
                    @match record.state {
                        SnapshotState::Waiting => { (badge("", "waiting")) }
                        SnapshotState::Promoted => { (badge("", "was live")) }
                        SnapshotState::RolledBack => { (badge("warn", "rolled back")) }
                    }
                }
                @if is_pinned { " " (badge("warn", "pinned")) }
            }
            (gain_cells(record, widest))
            td.num { (count(record.learned_from)) }
            td.why { (record.reason) }
            td.end { (buttons(record.version, is_live, is_pinned)) }
        }
    }
}

/// The estimated gain, drawn and written.
fn gain_cells(record: &SnapshotRecord, widest: f64) -> Markup {
    let Some((mean, low, high, choices)) = gain(record) else {
        return markup! { td { span.muted { "not estimated" } } td.num { "–" } };
    };
    markup! {
        td { (whisker(mean, low, high, widest)) }
        td.num { (signed(mean, 4)) br; span.muted { (signed(low, 3)) " to " (signed(high, 3)) ", n " (choices) } }
    }
}

fn buttons(version: u64, is_live: bool, is_pinned: bool) -> Markup {
    let key = |what: &str| format!("{what}-{version}");
    markup! {
        @if !is_live {
            button.small type="button" data-key=(key("promote")) data-api="POST /api/admin/policy/promote"
                data-body=(json!({ "version": version })) data-done={ "Version " (version) " is in force." }
                data-ask={ "Put version " (version) " in force?" } { "Promote" }
            " "
        }
        @if is_pinned {
            button.small type="button" data-key=(key("unpin")) data-api="POST /api/admin/policy/unpin"
                data-done="Versions may change again." { "Unpin" }
        } @else {
            button.small type="button" data-key=(key("pin")) data-api="POST /api/admin/policy/pin"
                data-body=(json!({ "version": version })) data-done={ "Version " (version) " is pinned." }
                data-ask={ "Put version " (version) " in force, and let no other take over?" } { "Pin" }
        }
    }
}
