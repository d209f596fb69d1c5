//! Answers of Anthropic's look-alikes that end otherwise than the dialect says.

use serde_json::{Value, json};

use super::tests::{decode_in, gist};
use super::*;
use crate::protocol::{ErrorKind, StreamEvent};

/// An event of Anthropic's stream.
fn event(event: Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

#[test]
fn usage_with_a_reason_that_says_nothing_is_no_end() {
    let text = |text: &str| {
        let delta = json!({ "type": "text_delta", "text": text });
        event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
    };
    let call = |input: Value| {
        let block = json!({ "type": "tool_use", "id": "a", "name": "f", "input": input });
        event(json!({ "type": "content_block_start", "index": 1, "content_block": block }))
    };
    let piece = json!({ "type": "input_json_delta", "partial_json": "{\"x\":1}" });
    let piece = event(json!({ "type": "content_block_delta", "index": 1, "delta": piece }));
    let told = |reason: Value| {
        event(json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": 3 } }))
    };
    // A real one is taken back by what follows.
    for reason in [json!(""), json!("null"), json!(null), json!("end_turn")] {
        let half = [text("half an "), call(json!({})), told(reason.clone()), piece.clone(), text("answer")].concat();
        let cut = gist(&decode_in(Dialect::Anthropic, &[half.as_bytes()]));
        assert_eq!((cut.finish, cut.error), (None, Some(ErrorKind::Connection)), "{reason}");
        let end = [told(json!("tool_use")), event(json!({ "type": "message_stop" }))].concat();
        let whole = decode_in(Dialect::Anthropic, &[half.as_bytes(), end.as_bytes()]);
        assert_eq!(gist(&whole).finish, Some(FinishReason::ToolCalls), "{reason}");
        let arguments = whole.iter().filter_map(|event| match event {
            StreamEvent::ToolCall(call) => Some(call.arguments.as_str()),
            _ => None,
        });
        assert_eq!(arguments.collect::<String>(), "{\"x\":1}", "{reason}");
    }
}

#[test]
fn a_call_has_what_it_began_with_where_nothing_says_that_it_ended() {
    let block = json!({ "type": "tool_use", "id": "a", "name": "f", "input": { "x": 1.5 } });
    let begun = event(json!({ "type": "content_block_start", "index": 0, "content_block": block }));
    let stop = event(json!({ "type": "message_stop" }));
    let told = gist(&decode_in(Dialect::Anthropic, &[begun.as_bytes(), stop.as_bytes()]));
    assert_eq!(told.finish, Some(FinishReason::ToolCalls));
    assert_eq!(told.calls, [("f".to_owned(), json!({ "x": 1.5 }))]);
    let reason = json!({ "stop_reason": "tool_use" });
    let end = event(json!({ "type": "message_delta", "delta": reason, "usage": { "output_tokens": 9 } }));
    let events = decode_in(Dialect::Anthropic, &[begun.as_bytes(), end.as_bytes(), stop.as_bytes()]);
    assert!(matches!(events[events.len() - 2..], [StreamEvent::Usage(_), StreamEvent::Finish { .. }]), "{events:?}");
    let whole = decode_response(Dialect::Anthropic, json!({ "content": [block] }).to_string().as_bytes()).unwrap();
    assert_eq!(whole.finish_reason, FinishReason::ToolCalls);
}

#[test]
fn what_a_whole_answer_leaves_out_or_writes_otherwise_is_no_end_of_it() {
    let read = |dialect, answer: Value| {
        let mut answer = decode_response(dialect, answer.to_string().as_bytes()).unwrap();
        name_calls(&mut answer, 7);
        answer.parts
    };
    let call = |id: &str| Part::ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into() };
    let tool_use = |id: Value| json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
    let unnamed = json!({ "type": "tool_use", "name": "f", "input": {} });
    for (content, parts) in [
        (json!("hi"), vec![Part::text("hi")]),
        (json!(null), vec![]),
        (json!([{ "type": "text" }, unnamed]), vec![Part::text(""), call("call_7_0")]),
        (json!([{ "type": "thinking" }]), vec![Part::Thinking { text: String::new(), signature: None }]),
        (json!([tool_use(json!(null)), tool_use(json!(5))]), vec![call("call_7_0"), call("5")]),
    ] {
        let answer = json!({ "id": null, "model": null, "content": content, "stop_reason": "end_turn" });
        assert_eq!(read(Dialect::Anthropic, answer), parts, "{content}");
    }
    let begun = event(json!({ "type": "message_start", "message": { "id": null, "model": null } }));
    let events = decode_in(Dialect::Anthropic, &[begun.as_bytes()]);
    assert!(matches!(events.first(), Some(StreamEvent::Start { .. })), "{events:?}");
    let turn = json!({ "content": null, "tool_calls": [{ "function": { "name": "f", "arguments": {} } }] });
    let answer = json!({ "model": null, "message": turn, "done": true });
    assert_eq!(read(Dialect::Ollama, answer.clone()), [call("call_7_0")]);
    let told = gist(&decode_in(Dialect::Ollama, &[format!("{answer}\n").as_bytes()]));
    assert_eq!((told.calls.len(), told.finish), (1, Some(FinishReason::ToolCalls)));
}
