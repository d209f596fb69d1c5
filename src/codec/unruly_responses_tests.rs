//! Servers that speak Responses in their own way, and answers that other dialects have no room for.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::asked_in_responses_tests::{completed, read, stream};
use super::tests::meta;
use super::*;
use crate::protocol::{StreamEvent, ToolCallDelta};

fn encoded(dialect: Dialect, events: &[StreamEvent]) -> String {
    let mut encoder = StreamEncoder::new(dialect, meta(), true);
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.encode(event, &mut out));
    String::from_utf8(out.to_vec()).unwrap()
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
