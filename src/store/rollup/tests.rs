//! The sums against the log itself, added up by hand.

use serde_json::json;

use super::ratio::{Ratio, Ratios};
use super::*;
use crate::config;
use crate::protocol::ModelName;
use crate::store::record::{DecisionRecord, Entry, FeedbackKind, FeedbackRecord, OutcomeRecord, OutcomeStatus};
use crate::store::{Order, Span, Store, StoreError};

/// A moment on no bucket's edge.
const NOW: i64 = 1_764_000_123_456;

fn id(at_ms: i64, number: u64) -> DecisionId {
    DecisionId(uuid::Uuid::from_u128((at_ms as u128) << 80 | 7 << 76 | u128::from(number)))
}

fn decision(at_ms: i64, number: u64) -> DecisionRecord {
    let models = ["a", "b", "c"];
    let candidates: Vec<_> = models
        .iter()
        .enumerate()
        .filter(|(at, _)| !number.is_multiple_of(20) || *at != 2)
        .map(|(at, model)| {
            json!({ "model": model, "prior": 0.5, "quality": 0.5 + 0.125 * at as f64, "quality_source": "head",
                "cost_usd": 0.001 * (at + 1) as f64, "utility": 0.5, "propensity": 0.3 })
        })
        .collect();
    serde_json::from_value(json!({
        "id": id(at_ms, number), "at_ms": at_ms, "chosen": models[number as usize % 3], "candidates": candidates,
        "task": (!number.is_multiple_of(4)).then(|| ["code", "chat"][number as usize % 2]),
        "request": { "dry_run": number.is_multiple_of(11) }, "explored": number.is_multiple_of(5),
    }))
    .unwrap()
}

fn outcome(id: DecisionId, number: u64, model: &str) -> OutcomeRecord {
    let failed = number.is_multiple_of(13);
    serde_json::from_value(json!({
        "id": id, "at_ms": NOW, "model": model, "status": if failed { json!({ "failed": "overloaded" }) } else { json!("ok") },
        "failovers": number % 2, "cost_usd": 0.0015 * (1 + number % 3) as f64, "latency_ms": 20.0 + number as f64,
        "first_token_ms": 5.0 + (number % 50) as f64, "usage": { "input_tokens": 10, "output_tokens": number },
    }))
    .unwrap()
}

fn said(id: DecisionId, source: &str, score: f64) -> FeedbackRecord {
    let kind = FeedbackKind::Score(score);
    FeedbackRecord { source: source.into(), ..FeedbackRecord::of(id, format!("{source}-{score}"), kind, NOW) }
}

fn append(store: &Store, decisions: &[DecisionRecord], outcomes: &[OutcomeRecord], feedback: &mut [FeedbackRecord]) {
    store.append(decisions, outcomes, feedback).unwrap();
}

/// The truth: every entry of the log, looked at one by one.
fn check(store: &Store) {
    let mut entries: Vec<Entry> = Vec::new();
    store
        .walk(&Span::default(), Order::Oldest, |entry| {
            entries.push(entry);
            true
        })
        .unwrap();
    for window in Window::ALL {
        let found = store.summary(window, NOW + 1);
        let seen: Vec<&Entry> =
            entries.iter().filter(|entry| entry.decision.at_ms >= window.from_ms(NOW + 1)).collect();
        let acted: Vec<&&Entry> = seen.iter().filter(|entry| !entry.decision.request.dry_run).collect();
        let sums = &found.total.sums;
        assert_eq!(sums.requests, acted.len() as u64, "{window:?}");
        assert_eq!(sums.dry_runs, (seen.len() - acted.len()) as u64);
        let answered: Vec<&&Entry> =
            seen.iter().filter(|entry| !entry.decision.request.dry_run || entry.outcome.is_some()).collect();
        assert_eq!(sums.answers(), answered.len() as u64);
        assert_eq!(sums.explored, answered.iter().filter(|entry| entry.decision.explored).count() as u64);
        let ends: Vec<&OutcomeRecord> = seen.iter().filter_map(|entry| entry.outcome.as_ref()).collect();
        let failed = |end: &&&OutcomeRecord| matches!(end.status, OutcomeStatus::Failed(_));
        assert_eq!(sums.errors, ends.iter().filter(failed).count() as u64);
        assert_eq!(sums.failovers, ends.iter().filter(|end| end.failovers > 0).count() as u64);
        assert_eq!(
            sums.output_tokens,
            ends.iter().filter_map(|end| end.usage).map(|it| it.output_tokens).sum::<u64>()
        );
        let spent: f64 = ends.iter().filter_map(|end| end.cost_usd).sum();
        assert!((sums.cost_usd - spent).abs() < 1e-9);
        let verdicts: Vec<f64> = seen.iter().filter_map(|entry| entry.verdict()).collect();
        assert_eq!(sums.rated, verdicts.len() as u64);
        assert!((sums.verdicts - verdicts.iter().sum::<f64>()).abs() < 1e-9);

        let (_, bucket) = window.lengths();
        let over_time: u64 = found.models_over_time.values().flat_map(BTreeMap::values).sum();
        assert_eq!(over_time, sums.answers());
        for (from, requests) in found.buckets.iter().map(|(from, it)| (from, it.sums.requests + it.sums.dry_runs)) {
            let inside = seen.iter().filter(|entry| (*from..from + bucket).contains(&entry.decision.at_ms)).count();
            assert_eq!(requests, inside as u64);
        }
        for model in ["a", "b", "c"] {
            let name = ModelName::from(model);
            let whose = |entry: &Entry| {
                entry.outcome.as_ref().and_then(|end| end.model.clone()).unwrap_or(entry.decision.chosen.clone())
                    == name
            };
            let requests = acted.iter().filter(|entry| whose(entry)).count() as u64;
            assert_eq!(found.models.get(model).map_or(0, |it| it.sums.requests), requests, "{model}, {window:?}");
        }
        for task in ["code", "chat"] {
            let count = seen.iter().filter(|entry| entry.decision.task.as_deref() == Some(task)).count() as u64;
            assert_eq!(found.tasks.get(task).copied().unwrap_or(0), count);
        }
        singles(&found, &seen);
    }
}

/// The spend against the alternatives, from the costs themselves instead of running sums.
fn singles(found: &Summary, seen: &[&Entry]) {
    let (mut all, mut priced) = (BTreeMap::<u32, (f64, Vec<f64>, f64, Ratio)>::new(), 0.0);
    let models = ["a", "b", "c"];
    for entry in seen {
        let Some(end) = &entry.outcome else { continue };
        let Some(spent) = end.cost_usd else { continue };
        priced += 1.0;
        let model = end.model.as_ref().unwrap_or(&entry.decision.chosen);
        for candidate in &entry.decision.candidates {
            let number = models.iter().position(|name| candidate.model == ModelName::from(*name)).unwrap() as u32;
            let one = all.entry(number).or_default();
            one.0 += 1.0;
            one.1.push(candidate.cost_usd);
            one.2 += candidate.quality;
            if candidate.model == *model && end.failovers == 0 {
                one.3.note(candidate.cost_usd, spent, 1.0);
            }
        }
    }
    let ratios = Ratios::new(all.iter().map(|(model, one)| (*model, &one.3)));
    let served = all.values().map(|one| one.0).fold(0.0, f64::max);
    all.retain(|_, one| one.0 >= 0.9 * served);
    let names: Vec<&str> = all.keys().map(|number| models[*number as usize]).collect();
    assert_eq!(found.single_models.keys().collect::<Vec<_>>(), names);
    for (number, (count, costs, quality, _)) in all {
        let model = models[number as usize];
        let one = &found.single_models[model];
        let share = priced / count;
        let squares: f64 = costs.iter().map(|cost| cost * cost).sum();
        let (cost, error) = ratios.cost(number, costs.iter().sum::<f64>() * share, squares * share);
        assert!((one.cost_usd - cost).abs() < 1e-9, "{model}");
        assert!((one.cost_error_usd - error).abs() < 1e-6, "{model}");
        assert!((one.quality.unwrap() - quality / count).abs() < 1e-6);
    }
}

/// Decisions over `span_ms`, most with outcomes, some with one or two opinions, in the order of a busy day.
fn fill(store: &Store, count: u64, span_ms: i64) {
    let mut late: Vec<(DecisionId, u64)> = Vec::new();
    for number in 0..count {
        let at_ms = NOW - span_ms + span_ms * number as i64 / count as i64;
        let one = decision(at_ms, number);
        late.push((one.id, number));
        append(store, &[one], &[], &mut []);
        if number % 7 == 3 {
            let (id, number) = late.remove(late.len() / 2);
            let model = if number.is_multiple_of(9) { "b" } else { ["a", "b", "c"][number as usize % 3] };
            let mut opinions = vec![said(id, "u", 0.5)];
            if number.is_multiple_of(2) {
                opinions.extend([said(id, "judge", 1.0), said(id, "u", 0.25)]);
            }
            append(store, &[], &[outcome(id, number, model)], &mut opinions);
        }
    }
    for (id, number) in late.into_iter().filter(|(_, number)| !number.is_multiple_of(17)) {
        append(store, &[], &[outcome(id, number, "a")], &mut []);
        // Told again, otherwise: the last word counts.
        if number.is_multiple_of(19) {
            append(store, &[], &[outcome(id, number + 1, "c")], &mut []);
        }
    }
}

#[test]
fn sums_are_those_of_the_log_at_any_time() {
    let store = Store::in_memory().unwrap();
    fill(&store, 600, 50 * MINUTE_MS);
    check(&store);
    assert_eq!(store.summary(Window::Hour, NOW + 1).complete_since_ms, None);
}

#[test]
fn models_that_clients_name_say_nothing_of_the_others() {
    let store = Store::in_memory().unwrap();
    let put = |number: u64, named: bool| {
        let mut one = decision(NOW - MINUTE_MS, number * 20 + 1);
        if named {
            one.candidates.truncate(1);
            (one.candidates[0].prior, one.candidates[0].quality) = (None, 0.5);
        }
        one.request.dry_run = false;
        let end = outcome(one.id, 1, "a");
        append(&store, &[one], &[end], &mut []);
    };
    (0..100).for_each(|number| put(number, false));
    let before = store.summary(Window::Hour, NOW + 1).single_models;
    (100..150).for_each(|number| put(number, true));
    let after = store.summary(Window::Hour, NOW + 1).single_models;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    for (model, one) in after {
        assert!((one.quality.unwrap() - before[&model].quality.unwrap()).abs() < 1e-9, "{model}");
        assert!((one.cost_usd / before[&model].cost_usd - 1.5).abs() < 1e-9, "{model}");
    }
}

#[test]
fn what_nobody_predicted_is_no_prediction() {
    let store = Store::in_memory().unwrap();
    for number in 0..6 {
        // As where weights choose: of the answer's cost something is expected, of its worth nothing.
        let mut one = decision(NOW - MINUTE_MS, number * 20 + 1);
        one.candidates.iter_mut().for_each(|candidate| (candidate.prior, candidate.quality) = (None, 0.5));
        one.request.dry_run = false;
        let end = outcome(one.id, 1, "a");
        append(&store, &[one], &[end], &mut []);
    }
    let singles = store.summary(Window::Hour, NOW + 1).single_models;
    assert_eq!(singles.values().map(|one| one.quality).collect::<Vec<_>>(), [None; 3]);
    assert!(singles.values().all(|one| one.cost_usd > 0.0), "{singles:?}");
}

#[test]
fn a_model_that_a_conversation_was_never_on_would_have_had_its_prompt_cached_too() {
    let store = Store::in_memory().unwrap();
    for number in 0..20 {
        let mut one = decision(NOW - MINUTE_MS, number * 20 + 1);
        one.request.dry_run = false;
        // The conversation is on `a`. `b` is its twin, but for what is cached.
        one.candidates.truncate(2);
        let [a, b] = &mut one.candidates[..] else { unreachable!() };
        (a.cost_usd, a.cached_usd) = (0.001, Some(0.009));
        (b.cost_usd, b.cacheable_usd) = (0.010, Some(0.009));
        let mut end = outcome(one.id, 1, "a");
        end.cost_usd = Some(0.001);
        append(&store, &[one], &[end], &mut []);
    }
    let singles = store.summary(Window::Hour, NOW + 1).single_models;
    for model in ["a", "b"] {
        assert!((singles[model].cost_usd - 0.02).abs() < 1e-9, "{singles:?}");
    }
}

#[test]
fn an_entry_of_the_future_hides_nothing_of_now() {
    let store = Store::in_memory().unwrap();
    fill(&store, 100, 50 * MINUTE_MS);
    let before = store.summary(Window::Hour, NOW + 1);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    append(&store, &[decision(now_ms + 30 * 24 * 60 * MINUTE_MS, 7)], &[], &mut []);
    append(&store, &[decision(now_ms, 8)], &[], &mut []);
    assert_eq!(store.summary(Window::TenMinutes, now_ms + 1).total.sums.requests, 1);
    assert_eq!(before.total.sums.requests + before.total.sums.dry_runs, 100);
}

#[test]
fn entries_that_are_no_longer_recent_may_still_change() {
    let store = Store::in_memory().unwrap();
    let old = decision(NOW - 2 * 60 * MINUTE_MS, 1);
    append(&store, std::slice::from_ref(&old), &[], &mut []);
    let crowd: Vec<DecisionRecord> = (0..RECENT as u64 + 10).map(|n| decision(NOW - MINUTE_MS, n + 2)).collect();
    append(&store, &crowd, &[], &mut []);
    assert_eq!(store.rollup().recent.len(), RECENT);
    assert!(!store.rollup().recent.contains_key(&old.id));
    let mut opinions = [said(old.id, "u", 0.5), said(old.id, "v", 1.0)];
    append(&store, &[], &[outcome(old.id, 1, "b")], &mut opinions);
    append(&store, &[], &[outcome(old.id, 2, "c")], &mut [said(old.id, "u", 0.0)]);
    check(&store);
    assert_eq!(store.summary(Window::Day, NOW + 1).total.sums.verdicts, 0.5);
}

#[test]
fn a_log_that_is_found_is_added_up_while_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), &config::Store::default(), 0).unwrap().0;
    let store = open();
    fill(&store, 700, 6 * 24 * 60 * MINUTE_MS);
    store.flush().unwrap();
    drop(store);
    let store = open();
    assert!(store.summary(Window::Week, NOW + 1).complete_since_ms.is_some(), "nothing is added up yet");
    // One go, then news of entries before it and behind it, then the rest.
    let mut goes = 0;
    store.catch_up(|_| std::mem::replace(&mut goes, 1) > 0).unwrap();
    let since = store.summary(Window::Week, NOW + 1).complete_since_ms.unwrap();
    assert!(since > NOW - 6 * 24 * 60 * MINUTE_MS);
    assert_eq!(store.health().complete_since_ms, Some(since));
    let mut news = Vec::new();
    store
        .walk(&Span::default(), Order::Newest, |entry| {
            news.push((entry.decision.id, news.len() as u64));
            true
        })
        .unwrap();
    for (id, number) in [news[3], news[650]] {
        append(&store, &[], &[outcome(id, number, "b")], &mut [said(id, "late", 1.0)]);
    }
    append(&store, &[decision(NOW, 9_000)], &[], &mut []);
    assert!(store.catch_up(|_| false).unwrap() > 0);
    assert_eq!(store.summary(Window::Week, NOW + 1).complete_since_ms, None);
    assert_eq!(store.health().complete_since_ms, None);
    check(&store);
}

#[test]
fn what_comes_before_entries_of_the_future_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), &config::Store::default(), 0).unwrap().0;
    let store = open();
    (0..300)
        .for_each(|number| append(&store, &[decision(NOW + 60 * MINUTE_MS + number, number as u64)], &[], &mut []));
    store.flush().unwrap();
    drop(store);
    let store = open();
    let mut goes = 0;
    store.catch_up(|_| std::mem::replace(&mut goes, 1) > 0).unwrap();
    let one = decision(NOW, 1_002);
    append(&store, std::slice::from_ref(&one), &[outcome(one.id, 1, "b")], &mut [said(one.id, "user", 1.0)]);
    store.catch_up(|_| false).unwrap();
    let found = store.summary(Window::Hour, NOW + 1).total.sums;
    assert_eq!((found.requests, found.rated), (1, 1));
}

#[test]
fn what_no_window_shows_is_let_go() {
    let store = Store::in_memory().unwrap();
    fill(&store, 900, 30 * 24 * 60 * MINUTE_MS);
    check(&store);
    for (cells, window) in store.rollup().levels.iter().zip(Window::ALL) {
        let (length, bucket) = window.lengths();
        assert!(cells.len() as i64 <= length / bucket + SPARE, "{window:?}: {} cells", cells.len());
    }
}

#[test]
fn the_newest_entries_are_at_hand() {
    let store = Store::in_memory().unwrap();
    fill(&store, 40, 10 * MINUTE_MS);
    let (mut count, mut judged, mut last) = (0, 0, i64::MAX);
    store.glance(|glance| {
        assert!(glance.at_ms <= last, "newest first");
        last = glance.at_ms;
        count += 1;
        judged += u64::from(glance.verdict.is_some());
        assert!(glance.predictions().any(|(model, quality)| model == "a" && quality == 0.5));
    });
    assert_eq!(count, 40);
    assert_eq!(judged, store.summary(Window::Hour, NOW + 1).total.sums.rated);
}

#[test]
fn a_database_that_was_replaced_on_the_way_is_counted_anew() {
    let store = Store::in_memory().unwrap();
    let one = decision(NOW, 1);
    append(&store, std::slice::from_ref(&one), &[outcome(one.id, 1, "b")], &mut [said(one.id, "user", 1.0)]);
    assert_eq!((store.next_version().unwrap(), store.next_version().unwrap()), (1, 2));
    store.note_failure(&StoreError::Down("test".into()));
    assert!(store.revive(NOW));
    assert_eq!((store.log_size().bytes, store.newest_ms().unwrap()), (0, None));
    let mut seen = 0;
    store.glance(|_| seen += 1);
    assert_eq!(seen, 0, "what is gone is in no sum");
    assert_eq!(store.next_version().unwrap(), 3, "a version means one policy as long as the process runs");
}

#[test]
fn a_clock_that_was_ahead_for_a_while_pushes_out_nothing_of_later() {
    let mut rollup = Rollup::new(None);
    let hours = |hours: i64| 1_000_000_000_000 + hours * 3_600_000;
    rollup.look_from(hours(3), hours(3));
    rollup.look_from(hours(0), hours(0));
    assert_eq!(rollup.newest_ms, hours(0));
    rollup.look_from(hours(9), hours(1));
    assert_eq!(rollup.newest_ms, hours(1), "an entry of tomorrow");
}

#[test]
fn a_clock_that_was_ahead_costs_nothing_that_is_shown_once_it_is_right() {
    let mut rollup = Rollup::new(None);
    let mut number = 0;
    let mut note = |at_ms: i64| {
        number += 1;
        let mut one = decision(at_ms, number);
        one.request.dry_run = false;
        let fact = Fact::of_decision(&one, &mut rollup.names);
        rollup.note_at(&fact, true, at_ms);
    };
    let hour = 60 * MINUTE_MS;
    let year = 365 * 24 * hour;
    (0..30 * 24).for_each(|back| note(NOW - (30 * 24 - back) * hour));
    // Two days long it stands a year ahead.
    (0..2 * 24 * 6).for_each(|on| note(NOW + year + on * hour / 6));
    let later = NOW + 2 * 24 * hour;
    (0..60).for_each(|on| note(later + on * 10_000));
    let until_ms = later + 600_000;
    for (cells, window) in rollup.levels.iter().zip(Window::ALL) {
        let from_ms = window.from_ms(until_ms);
        let shown = cell::sum_up(cells.range(from_ms..until_ms), &rollup.names);
        let wanted = 60 + (0..30 * 24).filter(|back| NOW - (30 * 24 - back) * hour >= from_ms).count();
        assert_eq!(shown.total.sums.requests, wanted as u64, "{window:?}");
    }
}

#[test]
fn a_start_before_the_clock_is_set_costs_nothing_that_is_shown_once_it_is() {
    let hour = 60 * MINUTE_MS;
    // A month of entries, and more of them than are kept as facts, in the hours that a wrong clock may not know yet.
    let back = |number: i64| if number < 6_000 { number * 1_000 } else { (number - 6_000) * hour };
    for behind_ms in [2 * hour, 365 * 24 * hour] {
        let mut rollup = Rollup::new(None);
        let names = &mut Names::default();
        for number in 0..6_000 + 30 * 24 {
            let mut one = decision(NOW - back(number), number as u64);
            one.request.dry_run = false;
            let fact = Fact::of_decision(&one, names);
            // As the walk finds them: newest first.
            rollup.note_at(&fact, true, NOW - behind_ms);
            rollup.keep_at(one.id, fact, NOW - behind_ms);
        }
        let mut one = decision(NOW + 1_000, 0);
        one.request.dry_run = false;
        let fact = Fact::of_decision(&one, names);
        rollup.note_at(&fact, true, NOW + 1_000);
        rollup.keep_at(one.id, fact, NOW + 1_000);
        for (cells, window) in rollup.levels.iter().zip(Window::ALL) {
            let from_ms = window.from_ms(NOW + 2_000);
            let shown = cell::sum_up(cells.range(from_ms..NOW + 2_000), names);
            let wanted = 1 + (0..6_000 + 30 * 24).filter(|number| NOW - back(*number) >= from_ms).count();
            assert_eq!(shown.total.sums.requests, wanted as u64, "{window:?}, {behind_ms} ms behind");
        }
        assert_eq!(rollup.recent.len(), RECENT, "{behind_ms} ms behind");
        let (first, _) = rollup.recent.first_key_value().unwrap();
        assert!(*first >= id(NOW - 5_000_000, 0), "the newest are kept, {behind_ms} ms behind");
    }
}
