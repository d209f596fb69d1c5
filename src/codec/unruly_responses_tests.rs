//! Servers that speak Responses in their own way, and answers that other dialects have no room for.

use serde_json::{Value, json};

use super::asked_in_responses_tests::{completed, message, read, stream};
use super::tests::{gist, meta, reencode};
use super::*;
use crate::protocol::{StreamEvent, ToolCallDelta};

/// An answer's items: thoughts, messages and calls of both tools.
fn items() -> Vec<Value> {
    let thought = json!({ "id": "rs", "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hm" }] });
    let with_id = |mut item: Value, id: &str| {
        item["id"] = json!(id);
        item
    };
    let call = |id: &str, name: &str, city: &str| {
        let arguments = json!({ "city": city }).to_string();
        json!({ "id": format!("fc_{id}"), "type": "function_call", "call_id": id, "name": name, "arguments": arguments })
    };
    let texts = [("msg_1", "I look."), ("msg_2", "And there.")].map(|(id, text)| with_id(message(text), id));
    let [first, second] = texts;
    vec![thought, first, second, call("a", "f", "Oslo"), call("b", "f", "Rome"), call("c", "g", "Oslo")]
}

/// The events of a stream of these items: that each begins, its text in two pieces and whole, and all of it.
fn events(items: &[Value]) -> Vec<Value> {
    let mut events = vec![json!({ "type": "response.created", "response": { "id": "r", "model": "m" } })];
    for (at, item) in items.iter().enumerate() {
        let mut begun = item.clone();
        let (kind, key, text) = match item["type"].as_str().unwrap() {
            "reasoning" => ("reasoning_summary_text", "text", &item["summary"][0]["text"]),
            "message" => ("output_text", "text", &item["content"][0]["text"]),
            _ => ("function_call_arguments", "arguments", &item["arguments"]),
        };
        for (field, nothing) in [("content", json!([])), ("summary", json!([])), ("arguments", json!(""))] {
            if begun.get(field).is_some() {
                begun[field] = nothing;
            }
        }
        let (head, tail) = text.as_str().unwrap().split_at(2);
        events.push(json!({ "type": "response.output_item.added", "output_index": at, "item": begun }));
        for piece in [head, tail] {
            let kind = format!("response.{kind}.delta");
            events.push(json!({ "type": kind, "output_index": at, "item_id": item["id"], "delta": piece }));
        }
        let kind = format!("response.{kind}.done");
        events.push(json!({ "type": kind, "output_index": at, "item_id": item["id"], key: text }));
        events.push(json!({ "type": "response.output_item.done", "output_index": at, "item": item }));
    }
    events.push(json!({ "type": "response.completed", "response": completed(json!(items)) }));
    events
}

/// Changes each event of a stream.
fn each(change: impl Fn(usize, &mut Value)) -> Vec<Value> {
    let mut events = events(&items());
    events.iter_mut().enumerate().for_each(|(at, event)| change(at, event));
    events
}

fn remove(event: &mut Value, place: &str, field: &str) {
    if let Some(fields) = event.pointer_mut(place).and_then(Value::as_object_mut) {
        fields.shift_remove(field);
    }
}

fn without_ids(event: &mut Value) {
    remove(event, "", "item_id");
    remove(event, "/item", "id");
    for item in event.pointer_mut("/response/output").and_then(Value::as_array_mut).into_iter().flatten() {
        remove(item, "", "id");
    }
}

#[test]
fn items_are_told_apart_and_told_once_however_a_server_numbers_them() {
    let well = stream(&events(&items()));
    let said = gist(&well);
    assert_eq!((said.text.as_str(), said.calls.len()), ("I look.\n\nAnd there.", 3));
    let at_one_index = |event: &mut Value| {
        if event.get("output_index").is_some() {
            event["output_index"] = json!(0);
        }
    };
    let without_thought = |event: &mut Value| {
        if let Some(output) = event.pointer_mut("/response/output").and_then(Value::as_array_mut) {
            output.remove(0);
        }
    };
    for (what, events) in [
        ("no index", each(|_, event| remove(event, "", "output_index"))),
        ("one index", each(|_, event| at_one_index(event))),
        ("no ids", each(|_, event| without_ids(event))),
        (
            "neither",
            each(|_, event| {
                without_ids(event);
                remove(event, "", "output_index");
            }),
        ),
        (
            "one index and no ids",
            each(|_, event| {
                without_ids(event);
                at_one_index(event);
            }),
        ),
        (
            "other ids in each event",
            each(|at, event| {
                for place in ["/item_id", "/item/id", "/response/output/1/id"] {
                    if let Some(id) = event.pointer_mut(place) {
                        *id = json!(at);
                    }
                }
            }),
        ),
        ("without the thought in the end", each(|_, event| without_thought(event))),
        (
            "nor ids",
            each(|_, event| {
                without_thought(event);
                without_ids(event);
            }),
        ),
        (
            "another text in the end",
            each(|_, event| {
                if let Some(text) = event.pointer_mut("/response/output/1/content/0/text") {
                    *text = json!("I look. So much.");
                }
            }),
        ),
    ] {
        assert_eq!(stream(&events), well, "{what}");
    }
    // Nothing but what is done, all at one index.
    let mut done: Vec<Value> = each(|_, event| at_one_index(event));
    done.retain(|event| event["type"] == "response.output_item.done" || event["type"] == "response.completed");
    assert_eq!(gist(&stream(&done)), said);
    // Nothing is whole before the end, where none is at its index.
    let mut pieces = each(|_, event| {
        without_thought(event);
        without_ids(event);
    });
    pieces.retain(|event| !event["type"].as_str().unwrap().ends_with(".done"));
    assert_eq!(gist(&stream(&pieces)), said);
    // Another call at the index of one that is not whole.
    let at_index_0 = |kind: &str, item: &Value| json!({ "type": kind, "output_index": 0, "item": item });
    let [first, second] = [&items()[3], &items()[5]].map(Value::clone);
    let calls = [at_index_0("response.output_item.added", &first), at_index_0("response.output_item.done", &second)];
    assert_eq!(gist(&stream(&calls)).calls.len(), 2);
    // A message that only the end tells.
    for (unsaid, text) in [(2, "I look.\n\nAnd there."), (1, "And there.\n\nI look.")] {
        let mut late = events(&items());
        late.retain(|event| event["output_index"] != unsaid);
        late.iter_mut().for_each(without_ids);
        assert_eq!(gist(&stream(&late)).text, text);
    }
}

#[test]
fn null_stands_for_nothing() {
    let null = json!(null);
    let mut events = events(&items());
    let well = gist(&stream(&events));
    events.insert(0, json!({ "type": "response.output_item.added", "output_index": 0, "item": null }));
    events.insert(0, json!({ "type": "response.in_progress", "response": null }));
    events.push(json!({ "type": "response.output_item.done", "item": null }));
    for event in &mut events {
        if event.get("delta").is_some() {
            event["content_index"] = json!(0);
            event["summary_index"] = json!(0);
        }
        if let Some(output) = event.pointer_mut("/response/output").and_then(Value::as_array_mut) {
            output.push(null.clone());
        }
    }
    assert_eq!(gist(&stream(&events)), well);
    let cut =
        json!({ "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" }, "output": null });
    assert_eq!(read(cut).unwrap().finish_reason, FinishReason::Length);
    assert_eq!(read(completed(json!([null, message("a")]))).unwrap().parts, [Part::text("a")]);
}

#[test]
fn how_a_stream_ended_is_told_by_its_last_event_where_the_answer_does_not_say() {
    let ended = |event: &str, answer: Value| {
        let said = gist(&stream(&[json!({ "type": event, "response": answer })]));
        (said.finish, said.error)
    };
    let broken = (None, Some(ErrorKind::Upstream));
    assert_eq!(ended("response.failed", json!({ "id": "r" })), broken);
    assert_eq!(ended("response.cancelled", json!(null)), broken);
    assert_eq!(ended("response.completed", json!({ "status": "in_progress" })), (Some(FinishReason::Stop), None));
    assert_eq!(ended("response.completed", json!({ "status": "failed" })), broken);
    let cut = json!({ "incomplete_details": { "reason": "max_output_tokens" } });
    assert_eq!(ended("response.incomplete", cut), (Some(FinishReason::Length), None));
}

#[test]
fn what_a_filter_refused_goes_nowhere_else() {
    let refused = |status: u16, code: &str| {
        let body = json!({ "error": { "message": "flagged", "type": "invalid_request_error", "code": code } });
        decode_error(Dialect::Responses, status, body.to_string().as_bytes(), None)
    };
    for policy in ["invalid_prompt", "bio_policy", "misalignment_policy_violation", "content_policy_violation"] {
        let error = refused(400, policy);
        assert_eq!((error.kind, may_be_taken_in_chat(&error)), (ErrorKind::ContentFilter, false), "{policy}");
    }
    assert!(may_be_taken_in_chat(&refused(400, "invalid_encrypted_content")));
}

#[test]
fn a_server_without_responses_says_so_in_many_ways() {
    let of = |dialect, status, body: &str| decode_error(dialect, status, body.as_bytes(), None).kind;
    let lacks =
        |status: u16, body: &str| lacks_responses(&decode_error(Dialect::Responses, status, body.as_bytes(), None));
    let new_api = r#"{"error":{"message":"not implemented","type":"new_api_error","code":"convert_request_failed"}}"#;
    let other = r#"{"error":{"message":"no such conversion","code":"convert_request_failed"}}"#;
    for (status, body) in [(404, ""), (405, "<html>"), (501, ""), (500, new_api), (500, other)] {
        assert!(lacks(status, body), "{status} {body}");
    }
    assert_eq!(of(Dialect::OpenAi, 500, new_api), ErrorKind::Upstream, "all there is");
    for (status, body) in [(500, ""), (502, "<html>"), (400, "{}"), (503, ""), (429, "")] {
        assert!(!lacks(status, body), "{status} {body}");
    }
    let chat = r#"{"id":"c","choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1}}"#;
    for body in [chat, "<html>"] {
        let error = decode_response(Dialect::Responses, body.as_bytes()).unwrap_err();
        assert!(lacks_responses(&error) && may_be_taken_in_chat(&error), "{body}");
    }
}

fn encoded(dialect: Dialect, events: &[StreamEvent]) -> String {
    String::from_utf8(reencode(dialect, events)).unwrap()
}

#[test]
fn a_refusal_in_words_is_no_filter_for_a_client_of_chat_completions() {
    let refusal = json!({ "type": "message", "content": [{ "type": "refusal", "refusal": "no" }] });
    let whole = read(completed(json!([refusal]))).unwrap();
    let told: Value = serde_json::from_slice(&encode_response(Dialect::OpenAi, &whole, &meta())).unwrap();
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    let events = stream(&[json!({ "type": "response.completed", "response": completed(json!([refusal])) })]);
    assert!(encoded(Dialect::OpenAi, &events).contains("\"finish_reason\":\"stop\""));
    let filtered = StreamEvent::Finish { reason: FinishReason::ContentFilter, stop_sequence: None };
    assert!(encoded(Dialect::OpenAi, &[filtered]).contains("\"finish_reason\":\"content_filter\""));
}

#[test]
fn each_thought_in_a_row_keeps_its_own_signature() {
    let signed = |text: &str, signature: &str| {
        let thinking = (!text.is_empty()).then(|| StreamEvent::Thinking(text.into()));
        thinking.into_iter().chain([StreamEvent::ThinkingSignature(signature.into())]).collect::<Vec<_>>()
    };
    let call = ToolCallDelta { index: 0, start: Some(("a".into(), "f".into())), arguments: "{}".into() };
    let mut events = [signed("one", "openai:1"), signed("two", "openai:2"), signed("", "openai:3")].concat();
    events.push(StreamEvent::ToolCall(call));
    events.push(StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None });
    let told = encoded(Dialect::Anthropic, &events);
    let data: Vec<Value> =
        told.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let signatures: Vec<(u64, &str)> = data
        .iter()
        .filter_map(|event| Some((event["index"].as_u64()?, event["delta"]["signature"].as_str()?)))
        .collect();
    assert_eq!(signatures, [(0, "openai:1"), (1, "openai:2"), (2, "openai:3")]);
    let opened = data.iter().filter(|event| event["type"] == "content_block_start").count();
    assert_eq!((opened, data.iter().filter(|event| event["type"] == "content_block_stop").count()), (4, 4));
}
