//! Logs made by hand: what is learned from, what belongs together, and what is said where nothing can be.

use serde_json::{Value, json};

use super::*;

/// An entry as an export writes it.
fn entry(number: u32, model: &str, prompt: &str, score: Option<f64>) -> Value {
    let id = format!("00000000-0000-7000-8000-{number:012x}");
    let mut entry = json!({
        "decision": { "id": id, "at_ms": number, "chosen": model, "prompt": prompt },
        "outcome": {
            "id": id, "at_ms": number, "model": model, "status": "ok", "cost_usd": 0.5, "latency_ms": 9.0,
            "usage": { "input_tokens": 3, "cache_read_tokens": 4, "output_tokens": 5 },
        },
    });
    if let Some(score) = score {
        entry["feedback"] = json!([{ "id": "f", "decision": id, "at_ms": number, "kind": { "score": score } }]);
    }
    entry
}

fn read(entries: &[Value]) -> Result<(Dataset, LogFound), LogError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let lines: Vec<String> = entries.iter().map(Value::to_string).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    read_log(&path, &RewardMap::default())
}

/// So many judged answers of a model, to prompts of their own.
fn many(from: u32, count: u32, model: &str) -> Vec<Value> {
    (from..from + count).map(|at| entry(at, model, &format!("Prompt {at} of {model}"), Some(0.75))).collect()
}

#[test]
fn a_judged_answer_is_an_outcome_of_the_model_that_gave_it() {
    let mut entries = many(0, 30, "a");
    entries.extend(many(100, 25, "b"));
    entries.extend(many(200, 7, "rare"));
    entries.push(entry(300, "a", "nobody judged this", None));
    let mut failed = entry(301, "a", "failed", Some(0.0));
    failed["outcome"]["status"] = json!({ "failed": "overloaded" });
    let mut failed_over = entry(302, "b", "answered by the other", Some(0.25));
    failed_over["outcome"]["model"] = json!("a");
    entries.extend([failed, failed_over]);
    let (dataset, found) = read(&entries).unwrap();
    assert_eq!((found.entries, found.judged, found.without_text, found.used), (65, 63, 0, 56));
    assert_eq!(found.left_out, [("rare".to_owned(), 7)]);
    assert_eq!(dataset.arms.iter().map(|arm| arm.model.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let record = dataset.records.iter().find(|record| &*record.prompt == "answered by the other").unwrap();
    let outcome = record.outcome(0).unwrap();
    assert_eq!((outcome.score, outcome.cost_usd, outcome.latency_ms), (0.25, Some(0.5), Some(9.0)));
    assert_eq!((outcome.input_tokens, outcome.output_tokens, record.weight), (Some(7.0), Some(5.0), 1.0));
    for split in Split::ALL {
        assert!(dataset.has(split), "{split}");
    }
}

#[test]
fn signals_count_less_than_judgements_and_only_beyond_what_others_have() {
    let candidates = |prior: f64| {
        json!([{ "model": "a", "prior": prior, "quality": prior, "quality_source": "head",
        "cost_usd": 0.0, "utility": prior, "propensity": 1.0 }])
    };
    let mut entries = many(0, 30, "a");
    entries.extend(many(100, 60, "b"));
    // Each of these comes twice, the second time after the answer.
    for number in 0..40_u32 {
        for (again, at_ms) in [(0, 1_000), (1, 61_000)] {
            let mut asked = entry(500 + 2 * number + again, "a", &format!("Why {number}?"), None);
            asked["decision"]["at_ms"] = json!(at_ms + number);
            asked["outcome"]["at_ms"] = json!(at_ms + number + 10);
            asked["decision"]["candidates"] = candidates(0.8);
            let question = format!("{number:016x}");
            asked["decision"]["request"] =
                json!({ "conversation": "00000000000000aa", "question": question, "conversation_named": true });
            entries.push(asked);
        }
    }
    for number in 0..60_u32 {
        let mut calm = entry(700 + number, "b", &format!("Why not {number}?"), None);
        calm["decision"]["at_ms"] = json!(1_000 + number);
        let question = format!("{:016x}", 1000 + number);
        calm["decision"]["request"] =
            json!({ "conversation": "00000000000000bb", "question": question, "conversation_named": true });
        entries.push(calm);
    }
    let mut much_later = entry(900, "b", "Later", None);
    much_later["decision"]["at_ms"] = json!(10_000_000);
    entries.push(much_later);
    let (dataset, found) = read(&entries).unwrap();
    assert_eq!(found.used, 130, "of each that came again the first");
    let record = dataset.records.iter().find(|record| &*record.prompt == "Why 3?").unwrap();
    let score = record.outcomes[0].score;
    assert!((0.5..0.7).contains(&score) && record.weight == 0.5, "{score}: a third more were asked again");
}

#[test]
fn a_signal_bends_what_people_said_and_measures_nobody_by_itself() {
    let (mut entries, mut number) = (Vec::new(), 0);
    let mut answer = |model: &str, score: Option<f64>, empty: bool| {
        number += 1;
        let mut one = entry(number, model, &format!("Prompt {number}"), score);
        one["decision"]["candidates"] = json!([{ "model": model, "prior": 0.6, "quality": 0.6, "quality_source": "head",
            "cost_usd": 0.0, "utility": 0.6, "propensity": 1.0 }]);
        one["outcome"]["signals"] = if empty { json!(["empty"]) } else { json!([]) };
        entries.push(one);
    };
    (0..30).for_each(|_| answer("a", Some(1.0), false));
    (0..300).for_each(|at| answer("a", None, at < 120));
    (0..300).for_each(|at| answer("b", None, at < 6));
    (0..25).for_each(|_| answer("c", None, true));
    let (dataset, found) = read(&entries).unwrap();
    assert_eq!(dataset.arms.iter().map(|arm| arm.model.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(found.left_out, [("c".to_owned(), 0)], "nobody has judged it");
    let bent: Vec<f32> =
        dataset.records.iter().filter(|it| it.weight == 0.5).map(|it| it.outcomes[0].score).collect();
    assert!(bent.len() == 120 && bent.iter().all(|score| (0.75..0.85).contains(score)), "{bent:?}");
}

#[test]
fn a_conversation_and_a_wording_stay_in_one_split_along_chains() {
    // 40 conversations of three turns, and each shares one wording with the next: all is one group.
    let mut chained = Vec::new();
    for talk in 0..40_u32 {
        for (turn, prompt) in
            [format!("link {talk}"), format!("own {talk}"), format!("link {}", talk + 1)].iter().enumerate()
        {
            let mut one = entry(talk * 3 + turn as u32, "a", prompt, Some(1.0));
            one["decision"]["request"] = json!({ "conversation": format!("{talk:016x}") });
            chained.push(one);
        }
    }
    let splits = |entries: &[Value]| {
        let records = read(entries).unwrap().0.records;
        let mut splits: Vec<Split> = records.iter().map(|record| record.split).collect();
        splits.sort();
        splits.dedup();
        splits.len()
    };
    assert_eq!(splits(&chained), 1);
    for one in &mut chained {
        one["decision"]["request"] = json!({});
    }
    assert_eq!(splits(&chained), 3, "without conversations only wordings tie");
}

#[test]
fn what_cannot_be_learned_from_says_why_and_how_to_mend_it() {
    let refusal = |entries: &[Value]| read(entries).unwrap_err().to_string();
    assert!(refusal(&[entry(0, "a", "p", None)]).contains("none of its 1 entries was judged"));
    let mut silent = many(0, 30, "a");
    silent.iter_mut().for_each(|entry| {
        entry["decision"].as_object_mut().unwrap().remove("prompt");
    });
    let message = refusal(&silent);
    assert!(message.contains("`prompts = true` under [store]") && message.contains("30 answers"), "{message}");
    assert!(refusal(&many(0, 19, "a")).contains("the most are 19"));
}

#[test]
fn beside_other_data_a_prompt_is_never_both_learned_and_tested() {
    let (log, _) = read(&many(0, 60, "a")).unwrap();
    let mut data = log.clone();
    data.sources = vec!["bench".into()];
    for record in &mut data.records {
        record.split = if record.split == Split::Test { Split::Train } else { record.split };
    }
    let tests = log.of(Split::Test).count();
    assert!(tests > 0);
    let mut joined = data.clone();
    assert_eq!(joined.join(log), tests);
    assert_eq!(joined.sources, ["bench", OWN_TRAFFIC]);
    assert_eq!(joined.records.len(), 2 * data.records.len() - tests);
    assert_eq!(joined.arms_of(1).len(), 1);
    assert!(joined.of_source(1, Split::Train).all(|record| record.outcome(joined.arms_of(1)[0]).is_some()));
}
