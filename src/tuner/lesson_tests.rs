//! What counts as a lesson, and what does not.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::protocol::DecisionId;
use crate::store::{
    DecisionRecord, FeedbackKind, FeedbackRecord, Fingerprint, OutcomeRecord, OutcomeStatus, Signal, Thumb,
};
use crate::tuner::gate::Knowledge;

/// A decision between two models with equal chances, of which the first was chosen.
pub(in crate::tuner) fn decision(number: u64) -> DecisionRecord {
    let candidate = |model: &str| {
        json!({ "model": model, "prior": 0.5, "quality": 0.5, "quality_source": "head", "cost_usd": 0.001, "utility": 0.5,
            "propensity": 0.5 })
    };
    serde_json::from_value(json!({
        "id": DecisionId(Uuid::from_u64_pair((number << 16) | 0x7000, 1 << 63)), "at_ms": number, "features": [1.0, -1.0],
        "feature_space": "test", "candidates": [candidate("a"), candidate("b")], "chosen": "a", "propensity": 0.5,
        "policy_version": 1, "tradeoff": Tradeoff::default(), "explore": true, "mode": "learned",
    }))
    .unwrap()
}

pub(in crate::tuner) fn outcome(decision: &DecisionRecord) -> OutcomeRecord {
    OutcomeRecord {
        model: Some(decision.chosen.clone()),
        attempts: 1,
        cost_usd: Some(0.001),
        latency_ms: Some(5.0),
        ..OutcomeRecord::ended(decision.id, decision.at_ms + 1, OutcomeStatus::Ok)
    }
}

pub(in crate::tuner) fn feedback(decision: &DecisionRecord, id: &str, kind: FeedbackKind) -> FeedbackRecord {
    FeedbackRecord::of(decision.id, id, kind, decision.at_ms + 2)
}

fn entry() -> Entry {
    let decision = decision(1);
    let outcome = outcome(&decision);
    Entry { decision, outcome: Some(outcome), feedback: Vec::new() }
}

fn judged(kind: FeedbackKind) -> Entry {
    let mut entry = entry();
    entry.feedback.push(feedback(&entry.decision, "f", kind));
    entry
}

fn lesson(entry: &Entry) -> Option<Lesson> {
    Lesson::of(entry, false, &RewardMap::default())
}

#[test]
fn missing_feedback_is_missing_and_not_zero() {
    assert_eq!(lesson(&entry()), None);
    let lesson = lesson(&judged(FeedbackKind::Thumbs(Thumb::Down))).unwrap();
    assert_eq!((lesson.reward.value(), lesson.weight, lesson.prior), (0.0, 1.0, 0.5));
    assert!(lesson.choice.is_some());
}

#[test]
fn an_outage_teaches_nothing_of_quality() {
    let mut failed = judged(FeedbackKind::Rating(1));
    if let Some(outcome) = &mut failed.outcome {
        outcome.status = OutcomeStatus::Failed(crate::protocol::ErrorKind::Overloaded);
        outcome.signals = vec![Signal::Error];
    }
    assert_eq!(lesson(&failed), None);
}

#[test]
fn after_a_failover_the_answer_is_the_answering_models() {
    let mut moved = judged(FeedbackKind::Score(0.8));
    if let Some(outcome) = &mut moved.outcome {
        outcome.model = Some(ModelName::from("b"));
    }
    let lesson = lesson(&moved).unwrap();
    assert_eq!((lesson.model.as_str(), lesson.choice), ("b", None));
}

#[test]
fn early_feedback_counts_for_the_chosen_model() {
    let mut early = judged(FeedbackKind::Correct(true));
    early.outcome = None;
    assert_eq!(lesson(&early).unwrap().model.as_str(), "a");
}

#[test]
fn signals_count_where_nobody_judged_and_as_the_map_says() {
    let mut silent = entry();
    if let Some(outcome) = &mut silent.outcome {
        outcome.signals = vec![Signal::Truncated, Signal::FormatViolated];
    }
    let bad = lesson(&silent).unwrap();
    assert_eq!((bad.reward.value(), bad.weight, bad.signal), (0.0, 0.5, Some(Signal::FormatViolated)));
    let map = RewardMap { format_violated: None, truncated: Some(0.6), ..RewardMap::default() };
    assert_eq!(Lesson::of(&silent, false, &map).unwrap().reward.value(), 0.6);
    assert_eq!(Lesson::of(&entry(), true, &map).unwrap().reward.value(), 0.2);
    silent.feedback = judged(FeedbackKind::Score(1.0)).feedback;
    assert_eq!(lesson(&silent).unwrap().reward.value(), 1.0, "who judged knows better");
}

#[test]
fn a_choice_that_could_not_have_gone_otherwise_says_nothing_of_other_policies() {
    let mut sticky = judged(FeedbackKind::Score(1.0));
    sticky.decision.mode = Mode::Sticky;
    sticky.decision.explore = false;
    assert_eq!(lesson(&sticky).unwrap().choice, None);
}

#[test]
fn one_candidate_alone_is_no_choice() {
    let mut only = judged(FeedbackKind::Score(1.0));
    only.decision.candidates.truncate(1);
    only.decision.candidates[0].propensity = 1.0;
    let lesson = lesson(&only).unwrap();
    assert_eq!((lesson.model.as_str(), lesson.choice), ("a", None), "it is learned from all the same");
}

#[test]
fn who_gave_up_waiting_or_only_asked_which_model_complains_of_nothing() {
    let mut cancelled = entry();
    if let Some(outcome) = &mut cancelled.outcome {
        (outcome.status, outcome.signals) = (OutcomeStatus::Cancelled, vec![Signal::Cancelled]);
    }
    let mut dry_run = Entry { outcome: None, ..entry() };
    dry_run.decision.request.dry_run = true;
    for entry in [cancelled, dry_run] {
        assert_eq!(Lesson::of(&entry, true, &RewardMap::default()), None);
    }
}

/// A log in which of every hundred answers of `a` so many are empty, and so many of every hundred of `b`, which has
/// every tenth request.
fn unrated(count: u64, empty: [u64; 2]) -> Lessons {
    let map = RewardMap::default();
    let mut collected = Collected::new(&map, 20_000);
    for number in (1..=count).rev() {
        let mut decision = decision(number);
        let is_b = number.is_multiple_of(10);
        decision.chosen = ModelName::from(if is_b { "b" } else { "a" });
        (decision.candidates[0].propensity, decision.candidates[1].propensity) = (0.9, 0.1);
        let nth = if is_b { number / 10 } else { number - number / 10 };
        let mut outcome = outcome(&decision);
        outcome.signals.extend((nth % 100 < empty[usize::from(is_b)]).then_some(Signal::Empty));
        collected.take(&Entry { decision, outcome: Some(outcome), feedback: Vec::new() }, None);
    }
    collected.finish()
}

#[test]
fn a_signal_is_no_judgement_and_the_choices_since_the_last_one_are_counted() {
    let silent = unrated(300, [0, 40]);
    assert!(!silent.learned.is_empty(), "signals teach");
    assert_eq!(silent.since_judged, Run { choices: 300, is_whole: false });
    // Longer ago than unjudged answers are kept; the newest were dry runs, and one had no other model.
    let store = Store::in_memory().unwrap();
    for number in 1..=5_000 {
        let mut decision = decision(number);
        decision.request.dry_run = number > 4_900;
        decision.candidates.truncate(if number == 4_000 { 1 } else { 2 });
        let outcome = (!decision.request.dry_run).then(|| outcome(&decision));
        let said = (number == 500).then(|| feedback(&decision, "f", FeedbackKind::Score(0.5)));
        store.append(&[decision], &Vec::from_iter(outcome), &mut Vec::from_iter(said)).unwrap();
    }
    let run =
        |look_at| look_through(&store, &Span::default(), (100, look_at), &RewardMap::default()).unwrap().since_judged;
    assert_eq!(run(10_000), Run { choices: 4_499, is_whole: true });
    assert_eq!(
        run(1_000),
        Run { choices: 1_000, is_whole: false },
        "that it was judged is known, and not how many came since"
    );
}

#[test]
fn the_newest_unjudged_answers_are_kept_whichever_come_first() {
    let map = RewardMap::default();
    let entry = |number: u64| {
        let decision = decision(number);
        Entry { outcome: Some(outcome(&decision)), decision, feedback: Vec::new() }
    };
    let kept = |numbers: &mut dyn Iterator<Item = u64>| {
        let mut collected = Collected::new(&map, usize::MAX);
        numbers.for_each(|number| collected.take(&entry(number), None));
        collected.finish().unjudged.iter().map(|lesson| lesson.at_ms).collect::<Vec<_>>()
    };
    let newest: Vec<i64> = (1_001..=5_000).collect();
    assert_eq!(kept(&mut (1..=5_000).rev()), newest, "as the store has it");
    assert_eq!(kept(&mut (1..=5_000)), newest, "as an export has it");
}

#[test]
fn where_nobody_rates_equal_rates_of_bad_answers_teach_nothing() {
    assert_eq!(unrated(3000, [10, 10]).learned, []);
    assert_eq!(unrated(3000, [0, 0]).learned, []);
}

#[test]
fn who_has_many_bad_answers_sinks_by_about_as_much() {
    use crate::bandit::{Settings, Snapshot};
    use crate::config::Gate;
    let all = unrated(3000, [30, 5]);
    let live = Snapshot::new(Settings::default()).unwrap();
    let proposal =
        crate::tuner::propose(&all, (&live, &Knowledge::only_since(0)), Settings::default(), &Gate::default())
            .unwrap();
    let lessons = all.learned;
    let quality = |model: &str| {
        let model = ModelName::from(model);
        let ways = &lessons[0].choice.as_ref().unwrap().candidates;
        let way = ways.iter().find(|way| way.model == model).unwrap();
        proposal.policy.quality(&lessons[0].context(), &way.candidate())
    };
    // A quarter more of its answers are worth nothing than of the other's: an eighth of its 0.5.
    assert!((0.35..0.47).contains(&quality("a")), "{}", quality("a"));
    assert!(quality("b") > quality("a") && quality("b") > 0.4, "{}", quality("b"));
    let mean = lessons.iter().map(|lesson| lesson.reward.value()).sum::<f64>() / lessons.len() as f64;
    assert!((0.36..0.42).contains(&mean), "{mean}");
}

#[test]
fn signals_alone_may_bring_a_policy_and_few_judgements_are_none_the_more() {
    use crate::bandit::{Settings, Snapshot};
    use crate::config::Gate;
    use crate::tuner::gate::Ruling;
    use crate::tuner::lesson::Evidence;
    let live = Snapshot::new(Settings::default()).unwrap();
    let propose = |lessons: &Lessons| {
        let proposal =
            crate::tuner::propose(lessons, (&live, &Knowledge::only_since(0)), Settings::default(), &Gate::default())
                .unwrap();
        (proposal.ruling, proposal.gain.unwrap())
    };
    let all = unrated(3000, [40, 1]);
    assert_eq!(all.unjudged.len(), 3000);
    let with = all.unjudged.iter().filter(|lesson| lesson.signal.is_some()).count();
    assert_eq!(with, 2700 * 40 / 100 + 300 / 100, "answers without a signal stand beside those with one");
    let (ruling, gain) = propose(&all);
    assert_eq!((ruling, gain.rests_on), (Ruling::Promote, Evidence::Signals), "{gain:?}");
    assert!(gain.lower > 0.02 && gain.upper < 0.25, "up to four tenths of what was believed: {gain:?}");
    // Enough judgements decide alone, as few do where no signal speaks.
    let judged =
        |count: usize| all.unjudged.iter().take(count).map(|lesson| Lesson { signal: None, ..lesson.clone() });
    let mut rated = all.clone();
    rated.learned.extend(judged(60));
    assert_eq!(propose(&rated).1.rests_on, Evidence::Judgements);
    let few = Lessons { learned: judged(10).collect(), ..all };
    let (ruling, gain) = propose(&few);
    assert_eq!((ruling, gain.rests_on, gain.choices), (Ruling::Wait, Evidence::Judgements, 10));
}

#[test]
fn the_log_gives_its_newest_lessons_oldest_first() {
    const HOUR: u64 = 3_600_000;
    let store = Store::in_memory().unwrap();
    let put = |number: u64, question: u64, model: &str, said: Option<f64>| {
        let mut decision = decision(number);
        decision.request.conversation = Some(Fingerprint(question));
        decision.request.question = Some(Fingerprint(question));
        decision.request.turn = 2;
        decision.chosen = ModelName::from(model);
        let outcome = outcome(&decision);
        let said = said.map(|score| feedback(&decision, "f", FeedbackKind::Score(score)));
        store.append(&[decision], &[outcome], &mut Vec::from_iter(said)).unwrap();
    };
    // Each question to `a` comes again, those to `b` do not.
    for question in 1..=30 {
        put(question * 10, question, "a", None);
        put(question * 10 + 5, question, "b", None);
    }
    put(HOUR, 0, "b", Some(0.5));
    let lessons = collect(&store, &Span::default(), 40, &RewardMap::default()).unwrap().learned;
    assert_eq!(lessons.len(), 31, "what was asked again, and what was judged");
    assert!(lessons.is_sorted_by_key(|lesson| lesson.at_ms));
    let (judged, signals) = lessons.split_last().unwrap();
    assert_eq!((judged.reward.value(), judged.signal), (0.5, None));
    assert!(signals.iter().all(|it| it.model.as_str() == "a" && it.reward.value() < 0.3 && it.weight == 0.5));
    assert_eq!(collect(&store, &Span::default(), 1, &RewardMap::default()).unwrap().learned.len(), 1);
}

#[test]
fn what_was_judged_counts_however_much_has_come_since() {
    let store = Store::in_memory().unwrap();
    for number in 1..=200 {
        let decision = decision(number);
        let outcome = outcome(&decision);
        let said = (number <= 30).then(|| feedback(&decision, "f", FeedbackKind::Score(0.5)));
        store.append(&[decision], &[outcome], &mut Vec::from_iter(said)).unwrap();
    }
    let count = |most, look_at| {
        look_through(&store, &Span::default(), (most, look_at), &RewardMap::default()).unwrap().learned.len()
    };
    assert_eq!((count(100, 20), count(100, 200), count(10, 20)), (30, 30, 10));
    assert_eq!(count(100, 185), 30, "each once");
}
