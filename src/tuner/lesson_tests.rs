//! What counts as a lesson, and what does not.

use uuid::Uuid;

use super::*;
use crate::protocol::DecisionId;
use crate::store::{
    CandidateRecord, DecisionRecord, FeedbackKind, FeedbackRecord, Fingerprint, OutcomeRecord, OutcomeStatus,
    RequestFacts, Signal, Thumb,
};

/// A decision between two models with equal chances, of which the first was chosen.
pub(in crate::tuner) fn decision(number: u64) -> DecisionRecord {
    let candidate = |model: &str| CandidateRecord {
        model: ModelName::from(model),
        prior: Some(0.5),
        quality: 0.5,
        quality_source: "head".into(),
        grounds: Grounds::Fitted,
        cost_usd: 0.001,
        latency_s: None,
        switching_usd: 0.0,
        utility: 0.5,
        propensity: 0.5,
        account: Default::default(),
    };
    DecisionRecord {
        id: DecisionId(Uuid::from_u64_pair((number << 16) | 0x7000, 1 << 63)),
        at_ms: number as i64,
        request: RequestFacts::default(),
        features: vec![1.0, -1.0],
        feature_space: "test".into(),
        task: None,
        candidates: vec![candidate("a"), candidate("b")],
        excluded: Vec::new(),
        chosen: ModelName::from("a"),
        propensity: Some(0.5),
        policy_version: 1,
        policy_revision: 0,
        tradeoff: Some(Tradeoff::default()),
        explore: true,
        explored: false,
        mode: Mode::Learned,
        shadow: None,
        reason: String::new(),
        prompt: None,
    }
}

pub(in crate::tuner) fn outcome(decision: &DecisionRecord) -> OutcomeRecord {
    OutcomeRecord {
        id: decision.id,
        at_ms: decision.at_ms + 1,
        model: Some(decision.chosen.clone()),
        backend: None,
        status: OutcomeStatus::Ok,
        attempts: 1,
        failovers: 0,
        usage: None,
        cost_usd: Some(0.001),
        latency_ms: Some(5.0),
        first_token_ms: None,
        finish_reason: None,
        signals: Vec::new(),
    }
}

pub(in crate::tuner) fn feedback(decision: &DecisionRecord, id: &str, kind: FeedbackKind) -> FeedbackRecord {
    FeedbackRecord {
        id: id.into(),
        decision: decision.id,
        at_ms: decision.at_ms + 2,
        seq: 0,
        kind,
        comment: None,
        source: "user".into(),
    }
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
    assert_eq!((bad.reward.value(), bad.weight), (0.0, 0.5));
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
fn the_log_gives_its_newest_lessons_oldest_first() {
    let store = Store::in_memory().unwrap();
    for number in 1..=6 {
        let mut decision = decision(number);
        // The same question three times in one conversation, seconds apart.
        decision.request.conversation = Some(Fingerprint(9));
        decision.request.question = Some(Fingerprint(if number > 3 { 1 } else { number }));
        decision.request.turn = 2;
        let outcome = outcome(&decision);
        let mut said = Vec::new();
        if number <= 2 {
            said.push(feedback(&decision, "f", FeedbackKind::Score(0.5)));
        }
        store.append(&[decision], &[outcome], &mut said).unwrap();
    }
    let lessons = collect(&store, 10, &RewardMap::default()).unwrap();
    let told: Vec<(i64, f64)> = lessons.iter().map(|lesson| (lesson.at_ms, lesson.reward.value())).collect();
    // 1 was judged, and so was 2; 4 and 5 were asked again, by 5 and 6.
    assert_eq!(told, [(1, 0.5), (2, 0.5), (4, 0.2), (5, 0.2)]);
    assert_eq!(collect(&store, 1, &RewardMap::default()).unwrap().len(), 1);
}
