//! OpenAI's Responses, streamed: what the events say, and what they add up to.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::responses_tests::told;
use super::tests::{STREAMS, decode_in, meta};
use super::*;
use crate::protocol::{ErrorKind, FinishReason, Part, StreamEvent, ToolCallDelta};

/// The events of a stream, whose names and numbers are right.
pub(super) fn events(stream: &[u8]) -> Vec<Value> {
    let stream = std::str::from_utf8(stream).unwrap();
    let each = stream.split_terminator("\n\n").enumerate().map(|(number, event)| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
        data
    });
    each.collect()
}

pub(super) fn heard(said: &[StreamEvent]) -> Vec<Value> {
    heard_by(meta(), said)
}

pub(super) fn heard_by(meta: AnswerMeta, said: &[StreamEvent]) -> Vec<Value> {
    let mut encoder = StreamEncoder::new(Dialect::Responses, meta, true);
    let mut out = BytesMut::new();
    said.iter().for_each(|event| encoder.encode(event, &mut out));
    events(&out)
}

/// The answer at the end of a stream, whose events add up to it: what a client that listens to all of them relies on.
pub(super) fn listened(events: &[Value]) -> Value {
    let names: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(names[..2], ["response.created", "response.in_progress"]);
    let mut items: Vec<Option<Value>> = Vec::new();
    let mut pieces = std::collections::HashMap::<String, String>::new();
    for event in &events[2..events.len() - 1] {
        let at = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
        let part = event.get("content_index").or(event.get("summary_index")).unwrap_or(&Value::Null);
        let name = event["type"].as_str().unwrap().trim_start_matches("response.");
        match name {
            "output_item.added" => {
                assert_eq!(at, items.len());
                assert!(items.iter().all(Option::is_some), "one item is open at a time");
                items.push(None);
            }
            "output_item.done" => assert_eq!(items[at].replace(event["item"].clone()), None, "it ends once"),
            _ => {
                assert_eq!(items[at], None, "{name} after its item's end");
                let (kind, step) = name.rsplit_once('.').unwrap();
                let said = pieces.entry(format!("{kind} {at} {part}")).or_default();
                match step {
                    "delta" => said.push_str(event["delta"].as_str().unwrap()),
                    "done" if !kind.ends_with("part") => {
                        let whole = ["text", "refusal", "arguments"].into_iter().find_map(|key| event[key].as_str());
                        assert_eq!(whole, Some(said.as_str()), "{event}");
                    }
                    _ => {}
                }
            }
        }
    }
    let last = &events[events.len() - 1];
    let answer = last["response"].clone();
    let items: Vec<Value> = items.into_iter().map(|item| item.expect("it ends")).collect();
    assert_eq!(answer["output"], Value::Array(items));
    assert_eq!(last["type"], format!("response.{}", answer["status"].as_str().unwrap()));
    answer
}

/// What the events say as the parts of a whole answer.
pub(super) fn parts(said: &[StreamEvent]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for event in said {
        match (event, parts.last_mut()) {
            (StreamEvent::Text(more), Some(Part::Text { text, .. }))
            | (StreamEvent::Refusal(more), Some(Part::Refusal { text }))
            | (StreamEvent::Thinking(more), Some(Part::Thinking { text, signature: None })) => text.push_str(more),
            (StreamEvent::ThinkingSignature(new), Some(Part::Thinking { signature: signature @ None, .. })) => {
                *signature = Some(new.clone());
            }
            (StreamEvent::Text(text), _) => parts.push(Part::text(text.clone())),
            (StreamEvent::Refusal(text), _) => parts.push(Part::Refusal { text: text.clone() }),
            (StreamEvent::Thinking(text), _) => parts.push(Part::Thinking { text: text.clone(), signature: None }),
            (StreamEvent::ThinkingSignature(signature), _) => {
                parts.push(Part::Thinking { text: String::new(), signature: Some(signature.clone()) });
            }
            (StreamEvent::RedactedThinking(data), _) => parts.push(Part::RedactedThinking { data: data.clone() }),
            (StreamEvent::ToolCall(ToolCallDelta { start: Some((id, name)), arguments, .. }), _) => {
                let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                parts.push(Part::ToolCall { id, name, arguments });
            }
            (StreamEvent::ToolCall(call), _) => {
                let mut calls = parts.iter_mut().filter_map(|part| match part {
                    Part::ToolCall { arguments, .. } => Some(arguments),
                    _ => None,
                });
                if let Some(arguments) = calls.nth(call.index) {
                    arguments.push_str(&call.arguments);
                }
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn every_backends_stream_ends_as_its_whole_answer_would() {
    for (dialect, stream) in STREAMS {
        let said = decode_in(dialect, &[stream.as_bytes()]);
        let answer = listened(&heard(&said));
        assert_eq!(answer["status"], "completed", "{dialect:?}");
        assert_eq!(answer["output"], told(parts(&said), FinishReason::ToolCalls)["output"], "{dialect:?}");
        assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(10), &json!(5)));
    }
}

#[test]
fn calls_that_overlap_are_told_apart() {
    let call = |index: usize, start: Option<&str>, arguments: &str| {
        let start = start.map(|id| (id.to_owned(), "f".to_owned()));
        StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: arguments.into() })
    };
    let said = [
        call(0, Some("a"), "{"),
        call(1, Some("b"), ""),
        StreamEvent::Text("between".into()),
        call(0, None, "}"),
        StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None },
    ];
    let answer = listened(&heard(&said));
    let called: Vec<_> =
        (0..2).map(|at| (&answer["output"][at]["call_id"], &answer["output"][at]["arguments"])).collect();
    assert_eq!(called, [(&json!("a"), &json!("{}")), (&json!("b"), &json!("{}"))]);
}

#[test]
fn calls_that_are_cut_off_are_incomplete() {
    let call =
        |id: &str, arguments: &str| Part::ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() };
    let parts = vec![call("a", "{\"a\":"), call("b", "{}"), call("c", ""), Part::text("d")];
    let states = |answer: &Value| {
        let items = answer["output"].as_array().unwrap();
        items.iter().map(|item| (item["status"].clone(), item["arguments"].clone())).collect::<Vec<_>>()
    };
    let wanted = [("incomplete", json!("{\"a\":")), ("completed", json!("{}")), ("incomplete", json!(""))];
    let wanted: Vec<_> = wanted.map(|(status, arguments)| (json!(status), arguments)).into();
    assert_eq!(states(&told(parts.clone(), FinishReason::Length))[..3], wanted);
    let said = ["{\"a\":", "{}", ""].iter().enumerate().map(|(index, arguments)| {
        let start = Some((index.to_string(), "f".to_owned()));
        StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: (*arguments).into() })
    });
    let said: Vec<_> = said.chain([StreamEvent::Text("d".into())]).collect();
    let length = StreamEvent::Finish { reason: FinishReason::Length, stop_sequence: None };
    assert_eq!(states(&listened(&heard(&[said.clone(), vec![length]].concat())))[..3], wanted);
    let broken = StreamEvent::Error(ApiError::new(ErrorKind::Connection, "x"));
    assert_eq!(states(&heard(&[said, vec![broken]].concat()).pop().unwrap()["response"])[..3], wanted);
}

#[test]
fn a_stream_that_breaks_off_has_failed() {
    for (kind, code) in [
        (ErrorKind::Connection, "server_error"),
        (ErrorKind::RateLimited, "rate_limit_exceeded"),
        (ErrorKind::ContextOverflow, "context_length_exceeded"),
    ] {
        for said in [vec![], vec![StreamEvent::Text("half".into())]] {
            let error = StreamEvent::Error(ApiError::new(kind, "it was cut off"));
            let all = heard(&[said.clone(), vec![error]].concat());
            assert_eq!(all[0]["type"], "response.created");
            let last = all.last().unwrap();
            assert_eq!(last["type"], "response.failed");
            let told = &last["response"];
            assert_eq!(
                (&told["status"], &told["error"]),
                (&json!("failed"), &json!({ "code": code, "message": "it was cut off" }))
            );
            assert_eq!(told["output"].as_array().unwrap().len(), said.len());
            assert!(said.is_empty() || told["output"][0]["status"] == "incomplete", "{told}");
        }
    }
}

#[test]
fn a_call_that_is_cut_off_by_a_refusal_is_never_whole() {
    let start = Some(("a".to_owned(), "f".to_owned()));
    let said = [
        StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments: "{\"a\"".into() }),
        StreamEvent::Refusal("No.".into()),
        StreamEvent::Finish { reason: FinishReason::ContentFilter, stop_sequence: None },
    ];
    let answer = listened(&heard(&said));
    assert_eq!((&answer["status"], &answer["output"][0]["status"]), (&json!("completed"), &json!("incomplete")));
    assert_eq!(answer["output"], told(parts(&said), FinishReason::ContentFilter)["output"]);
    let odd = Part::ToolCall { id: "a".into(), name: "f".into(), arguments: "null".into() };
    let odd = told(vec![odd, Part::text("b")], FinishReason::ToolCalls);
    assert_eq!(odd["output"][0]["status"], "completed", "no object, and yet all of it");
}

#[test]
fn thoughts_beside_each_other_keep_their_own_signatures() {
    let sign = |text: &str| StreamEvent::ThinkingSignature(text.into());
    let finish = StreamEvent::Finish { reason: FinishReason::Stop, stop_sequence: None };
    let said = [StreamEvent::Thinking("a".into()), sign("1"), sign("2"), sign("3"), finish];
    let answer = listened(&heard(&said));
    assert_eq!(answer["output"].as_array().unwrap().len(), 3);
    assert_eq!(answer["output"], told(parts(&said), FinishReason::Stop)["output"]);
}

#[test]
fn what_is_told_once_more_at_the_end_is_counted_until_then() {
    let kept = |dialect: Dialect, said: &[StreamEvent]| {
        let mut encoder = StreamEncoder::new(dialect, meta(), true);
        said.iter().for_each(|event| encoder.encode(event, &mut BytesMut::new()));
        encoder.kept()
    };
    let call = |index: usize, arguments: &str| {
        let start = Some((index.to_string(), "f".to_owned()));
        StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: arguments.into() })
    };
    let text = "x".repeat(1 << 16);
    let pieces =
        [StreamEvent::Text(text.clone()), StreamEvent::Thinking(text.clone()), StreamEvent::Refusal(text.clone())];
    let sealed = [StreamEvent::RedactedThinking(text.clone()), StreamEvent::ThinkingSignature(text.clone())];
    let open = [call(0, "{"), call(1, &text), StreamEvent::Text(text.clone())];
    for said in [&pieces[..], &sealed, &open] {
        let least = (said.len() - 1) << 16;
        assert!(
            (least..least + 80_000).contains(&kept(Dialect::Responses, said)),
            "{}",
            kept(Dialect::Responses, said)
        );
    }
    let signs = "\u{1}".repeat(1 << 16);
    let least = 6 << 16;
    for said in [vec![StreamEvent::Text(signs.clone())], vec![call(0, &signs)], vec![call(0, "{"), call(1, &signs)]] {
        let kept = kept(Dialect::Responses, &said);
        assert!((least..least + 80_000).contains(&kept), "{kept}: as it is written");
    }
    assert!(kept(Dialect::Anthropic, &open) > 2 << 16, "it waits for the end of a call");
    for (dialect, said) in [(Dialect::Anthropic, &pieces[..]), (Dialect::OpenAi, &open), (Dialect::Native, &open)] {
        assert_eq!(kept(dialect, said), 0, "{dialect:?}");
    }
    let small = vec![[StreamEvent::Refusal(String::new()), StreamEvent::Text(String::new())]; 1_000].concat();
    assert!(kept(Dialect::Responses, &small) > 1 << 20, "a part without a word is told, too");
}
