//! Long lists. What a request or an answer holds many of is gone through once, not once for each of many others: where
//! that is not so, one of these takes a minute and more.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::tests::{answer, encoded, meta};
use super::*;
use crate::protocol::{FinishReason, Message, Part, Role, StreamEvent, ToolCallDelta};

fn function(name: &str) -> Value {
    json!({ "type": "function", "name": name })
}

#[test]
fn many_tools_are_chosen_among_by_many_names() {
    let many = 50_000;
    let space = json!({ "type": "namespace", "name": "n", "tools": [function("in")] });
    let tools: Vec<Value> = (0..many).map(|at| function(&format!("tool_{at}"))).chain([space]).collect();
    let chosen: Vec<Value> = (1..many).map(|at| function(&format!("none_{at}"))).collect();
    let chosen = [vec![function("tool_7"), function("in")], chosen].concat();
    let choice = json!({ "type": "allowed_tools", "mode": "auto", "tools": chosen });
    let body = json!({ "model": "m", "input": "q", "tools": tools, "tool_choice": choice });
    let request = decode_request(Dialect::Responses, body.to_string().as_bytes()).unwrap();
    let left: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(left, ["tool_7", "n__in"]);
}

#[test]
fn many_lists_of_tools_stand_among_the_items() {
    let many = 100_000;
    let list = |name: &str| json!({ "type": "additional_tools", "tools": [{ "type": "custom", "name": name }] });
    let lists = (0..many).map(|at| list(&format!("tool_{at}")));
    let items: Vec<Value> = lists.chain([list("tool_0"), json!({ "role": "user", "content": "q" })]).collect();
    let body = json!({ "model": "m", "input": items }).to_string();
    let request = decode_request(Dialect::Responses, body.as_bytes()).unwrap();
    let last = request.tools.last().map(|tool| tool.name.as_str());
    assert_eq!((request.tools.len(), last), (many, Some("tool_0")), "offered last, it stands last");
    let echo = echo(Dialect::Responses, body.as_bytes());
    let echoed = echo["tools"].as_array().unwrap();
    assert_eq!(
        (echoed.len(), &echoed[0]["name"], &echoed[1]["name"]),
        (many, &json!("tool_0"), &json!("tool_99999"))
    );
}

#[test]
fn many_calls_are_told_of_many_functions_in_namespaces() {
    let many = 40_000;
    let functions: Vec<Value> = (0..many).map(|at| function(&format!("f_{at}"))).collect();
    let tools = json!([{ "type": "namespace", "name": "n", "tools": functions }]);
    let meta =
        AnswerMeta { echo: echo(Dialect::Responses, json!({ "tools": tools }).to_string().as_bytes()), ..meta() };
    let name = |at: usize| format!("n__f_{}", many - 1 - at);
    let call = |at: usize| Part::ToolCall { id: at.to_string(), name: name(at), arguments: "{}".into() };
    let whole = answer((0..many).map(call).collect(), FinishReason::ToolCalls);
    let whole: Value = serde_json::from_slice(&encode_response(Dialect::Responses, &whole, &meta)).unwrap();
    assert_eq!(whole["output"][many - 1]["name"], "f_0");
    let (mut encoder, mut out) = (StreamEncoder::new(Dialect::Responses, meta, true), BytesMut::new());
    for at in 0..many {
        let start = Some((at.to_string(), name(at)));
        out.clear();
        encoder.encode(&StreamEvent::ToolCall(ToolCallDelta { index: at, start, arguments: "{}".into() }), &mut out);
    }
    let told = String::from_utf8_lossy(&out);
    assert!(told.contains("\"name\":\"f_0\"") && told.contains("\"namespace\":\"n\""), "{told}");
}

#[test]
fn many_results_find_their_calls_among_many() {
    let many = 200_000;
    let call = |at: usize| Part::ToolCall { id: format!("call_{at}"), name: "f".into(), arguments: "{}".into() };
    let result = |at: usize| {
        let content = vec![Part::text("r")];
        Part::ToolResult { call_id: format!("call_{at}"), content, is_error: false, cache_control: None }
    };
    let messages = vec![
        Message { role: Role::Assistant, parts: (0..many).map(call).collect(), name: None },
        // The second half is of calls that are not there.
        Message { role: Role::User, parts: (many / 2..many + many / 2).map(result).collect(), name: None },
    ];
    let request = ChatRequest { messages, ..ChatRequest::default() };
    let (ollama, _) = encoded(Dialect::Ollama, &request);
    let names: Vec<_> = ollama["messages"].as_array().unwrap().iter().map(|turn| &turn["tool_name"]).collect();
    assert_eq!((names[1], names[many]), (&json!("f"), &Value::Null));
}

#[test]
fn the_name_of_a_call_is_not_told_with_each_result_where_it_is_no_name() {
    let call = |name: &str| Part::ToolCall { id: "a".into(), name: name.into(), arguments: "{}".into() };
    let result = Part::ToolResult { call_id: "a".into(), content: Vec::new(), is_error: false, cache_control: None };
    let told = |name: &str| {
        let messages = vec![
            Message { role: Role::Assistant, parts: vec![call(name)], name: None },
            Message { role: Role::User, parts: vec![result.clone(); 10], name: None },
        ];
        let (body, _) = encoded(Dialect::Ollama, &ChatRequest { messages, ..ChatRequest::default() });
        body.to_string().matches(name).count()
    };
    assert_eq!((told(&"n".repeat(64)), told(&"n".repeat(1_000))), (11, 1));
}

#[test]
fn the_pieces_of_many_calls_find_theirs() {
    let many = 100_000;
    let openai = |at: usize, begins: bool| {
        let mut call = json!({ "index": at, "function": { "arguments": "1" } });
        if begins {
            call = json!({ "index": at, "id": at.to_string(), "function": { "name": "f" } });
        }
        format!("data: {}\n\n", json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }))
    };
    let anthropic = |at: usize, begins: bool| {
        let block = json!({ "type": "tool_use", "id": at.to_string(), "name": "f", "input": {} });
        let delta = json!({ "type": "input_json_delta", "partial_json": "1" });
        let event = match begins {
            true => json!({ "type": "content_block_start", "index": at, "content_block": block }),
            false => json!({ "type": "content_block_delta", "index": at, "delta": delta }),
        };
        format!("data: {event}\n\n")
    };
    // The one dialect was looked through from its end, the other from its beginning.
    type Piece<'a> = &'a dyn Fn(usize, bool) -> String;
    for (dialect, piece, far) in
        [(Dialect::OpenAi, &openai as Piece<'_>, 0), (Dialect::Anthropic, &anthropic as Piece<'_>, many - 1)]
    {
        let (mut decoder, mut events) = (StreamDecoder::new(dialect), Vec::new());
        for at in 0..many {
            decoder.push(piece(at, true).as_bytes(), &mut events);
        }
        events.clear();
        let one = piece(far, false).repeat(many);
        one.as_bytes().chunks(1 << 20).for_each(|bytes| decoder.push(bytes, &mut events));
        assert_eq!(events.len(), many);
        let call = ToolCallDelta { index: far, start: None, arguments: "1".into() };
        assert_eq!(events[many - 1], StreamEvent::ToolCall(call), "{dialect:?}");
    }
}

#[test]
fn an_event_that_passes_may_be_as_large_as_an_answer() {
    let picture = json!({ "type": "image_generation_call", "id": "ig_1", "result": "A".repeat(9 << 20) });
    let usage = json!({ "input_tokens": 3, "output_tokens": 4, "input_tokens_details": { "cached_tokens": 0 } });
    let answer =
        json!({ "id": "r", "object": "response", "status": "completed", "output": [picture], "usage": usage });
    let end = json!({ "type": "response.completed", "response": answer });
    let stream = format!("data: {end}\n\n");
    let told = |decoder: StreamDecoder| {
        let (mut decoder, mut events) = (decoder, Vec::new());
        stream.as_bytes().chunks(1 << 14).for_each(|piece| decoder.push(piece, &mut events));
        decoder.finish(&mut events);
        let counted =
            events.iter().any(|event| matches!(event, StreamEvent::Usage(usage) if usage.output_tokens == 4));
        (counted, matches!(events.last(), Some(StreamEvent::Finish { .. })))
    };
    let passing = || StreamDecoder::new(Dialect::Responses).lenient();
    assert_eq!(told(passing().up_to(64 << 20)), (true, true));
    // As it is where it does not pass, or where no answer may be that large.
    assert_eq!(told(passing()), (false, false));
    assert_eq!(told(passing().up_to(9 << 20)), (false, false));
}
