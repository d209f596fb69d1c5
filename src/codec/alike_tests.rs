//! Look-alikes that say a thing slightly otherwise than the dialect they speak.

use serde_json::{Value, json};

use super::tests::{decode_in, gist, meta, reencode, target};
use super::*;
use crate::config::MaxTokensField;
use crate::protocol::{ErrorKind, StreamEvent, ToolCallDelta};

fn sse(chunks: &[Value]) -> Vec<u8> {
    let mut stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    stream.push_str("data: [DONE]\n\n");
    stream.into_bytes()
}

/// A piece of a call, as OpenAI's stream has it.
fn piece(index: usize, id: &str, name: &str, arguments: Value) -> Value {
    let call = json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } });
    json!({ "choices": [{ "delta": { "tool_calls": [call] } }] })
}

/// The calls that an Anthropic client gets of a stream: name and input of each block.
fn blocks(stream: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8(reencode(Dialect::Anthropic, &decode_in(Dialect::OpenAi, &[stream]))).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        if event["content_block"]["type"] == "tool_use" {
            assert_eq!(event["index"], found.len(), "{text}");
            found.push((event["content_block"]["name"].as_str().unwrap().to_owned(), String::new()));
        }
        if let Some(part) = event["delta"]["partial_json"].as_str() {
            assert_eq!(event["index"], found.len() - 1, "{text}");
            found.last_mut().unwrap().1.push_str(part);
        }
    }
    let read = |arguments: &str| serde_json::from_str(arguments).unwrap_or(Value::Null);
    found.into_iter().map(|(name, arguments)| (name, read(&arguments))).collect()
}

#[test]
fn parallel_calls_stay_apart_however_they_come() {
    let expected = [("f".to_owned(), json!({ "x": 1 })), ("g".to_owned(), json!({ "y": 2 }))];
    let all_with_index_0 = [piece(0, "a", "f", json!("{\"x\":1}")), piece(0, "b", "g", json!("{\"y\":2}"))];
    let interleaved = [
        piece(0, "a", "f", json!("")),
        piece(1, "b", "g", json!("")),
        piece(0, "", "", json!("{\"x\"")),
        piece(1, "", "", json!("{\"y\":")),
        piece(0, "", "", json!(":1}")),
        piece(1, "", "", json!("2}")),
    ];
    let as_objects = [piece(0, "a", "f", json!({ "x": 1 })), piece(1, "b", "g", json!({ "y": 2 }))];
    for stream in [&all_with_index_0[..], &interleaved, &as_objects] {
        assert_eq!(blocks(&sse(stream)), expected, "{stream:?}");
    }
    // The same id and name again go on with the call.
    let repeated = [piece(0, "a", "f", json!("{\"x\"")), piece(0, "a", "f", json!(":1}"))];
    assert_eq!(blocks(&sse(&repeated)), expected[..1]);
}

#[test]
fn what_is_null_is_not_there() {
    let stream = sse(&[
        json!({ "choices": [{ "delta": { "content": "word" } }] }),
        json!({ "choices": [{ "delta": null, "finish_reason": "stop" }] }),
        json!({ "choices": null, "usage": { "prompt_tokens": 12.0, "completion_tokens": null } }),
    ]);
    let events = decode_in(Dialect::OpenAi, &[&stream]);
    let usage =
        events.iter().find_map(|event| if let StreamEvent::Usage(usage) = event { Some(*usage) } else { None });
    assert_eq!(usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((12, 0)));
    assert!(events.contains(&StreamEvent::Text("word".into())));
    assert!(matches!(events.last(), Some(StreamEvent::Finish { reason: FinishReason::Stop, .. })), "{events:?}");
}

#[test]
fn a_stream_that_says_nothing_of_why_it_ended_and_stops_is_cut() {
    for (unsaid, last, whole) in [("", "", false), ("null", "null", false), ("", "length", true)] {
        let pieces = [unsaid, last].map(|reason| {
            let choice = json!({ "delta": { "content": "word" }, "finish_reason": reason });
            format!("data: {}\n\n", json!({ "choices": [choice] }))
        });
        let events = decode_in(Dialect::OpenAi, &[pieces.concat().as_bytes()]);
        let ended = matches!(events.last(), Some(StreamEvent::Finish { reason: FinishReason::Length, .. }));
        let cut = matches!(events.last(), Some(StreamEvent::Error(_)));
        assert_eq!((ended, cut), (whole, !whole), "{events:?}");
    }
}

#[test]
fn calls_without_a_word_of_why_it_ended_are_to_be_made() {
    let call = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } });
    let whole = json!({ "choices": [{ "message": { "content": null, "tool_calls": [call] } }] });
    let answer = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
    assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
    let events = decode_in(Dialect::OpenAi, &[&sse(&[piece(0, "a", "f", json!("{}"))])]);
    assert!(matches!(events.last(), Some(StreamEvent::Finish { reason: FinishReason::ToolCalls, .. })), "{events:?}");
}

#[test]
fn who_refuses_says_so_to_an_anthropic_client() {
    let whole = json!({ "choices": [{ "message": { "content": null, "refusal": "No." }, "finish_reason": "stop" }] });
    let answer = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
    let told: Value = serde_json::from_slice(&encode_response(Dialect::Anthropic, &answer, &meta())).unwrap();
    assert_eq!((&told["stop_reason"], &told["content"][0]["text"]), (&json!("refusal"), &json!("No.")));
    let stream = sse(&[
        json!({ "choices": [{ "delta": { "refusal": "No." } }] }),
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
    ]);
    let events = decode_in(Dialect::OpenAi, &[&stream]);
    assert!(
        matches!(events.last(), Some(StreamEvent::Finish { reason: FinishReason::ContentFilter, .. })),
        "{events:?}"
    );
}

#[test]
fn a_call_has_the_arguments_that_came_in_pieces_or_those_it_began_with() {
    let event = |kind: &str, more: Value| {
        let mut event = json!({ "type": kind, "index": 1 });
        json::extend(&mut event, more);
        format!("event: {kind}\ndata: {event}\n\n")
    };
    let stream = |input: Value, piece: &str, is_closed: bool| {
        let block = json!({ "type": "tool_use", "id": "a", "name": "f", "input": input });
        let delta = json!({ "type": "input_json_delta", "partial_json": piece });
        [
            event("content_block_start", json!({ "content_block": block })),
            event("content_block_delta", json!({ "delta": delta })),
            if is_closed { event("content_block_stop", json!({})) } else { String::new() },
            event("message_delta", json!({ "delta": { "stop_reason": "tool_use" } })),
        ]
        .concat()
    };
    let (none, some) = (json!({}), json!({ "x": 1 }));
    for (input, piece, is_closed, expected) in [
        (&none, "", true, "{}"),
        (&none, "", false, "{}"),
        (&none, "{\"x\":1}", true, "{\"x\":1}"),
        (&some, "", true, "{\"x\":1}"),
        (&some, "{\"x\":1}", true, "{\"x\":1}"),
    ] {
        let events = decode_in(Dialect::Anthropic, &[stream(input.clone(), piece, is_closed).as_bytes()]);
        // Whose reason has come is complete without `message_stop`.
        assert!(
            matches!(events.last(), Some(StreamEvent::Finish { reason: FinishReason::ToolCalls, .. })),
            "{events:?}"
        );
        let said: String = events
            .into_iter()
            .filter_map(|event| match event {
                StreamEvent::ToolCall(call) => Some(call.arguments),
                _ => None,
            })
            .collect();
        assert_eq!(said, expected);
    }
}

#[test]
fn an_answer_may_begin_with_a_byte_order_mark() {
    let body = "\u{feff}{\"choices\":[{\"message\":{\"content\":\"one\"}}]}";
    assert_eq!(decode_response(Dialect::OpenAi, body.as_bytes()).unwrap().parts, [Part::text("one")]);
}

#[test]
fn usage_may_stand_in_the_last_choice() {
    let usage = json!({ "prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10 });
    let chunks = [
        json!({ "choices": [{ "delta": { "content": "Hi" } }] }),
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop", "usage": usage }] }),
    ];
    let events = decode_in(Dialect::OpenAi, &[&sse(&chunks)]);
    let counted = events.iter().find_map(|event| match event {
        StreamEvent::Usage(usage) => Some((usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)),
        _ => None,
    });
    assert_eq!(counted, Some((9, 10, 21)), "{events:?}");
}

#[test]
fn a_stream_may_begin_with_a_byte_order_mark() {
    let stream = [&b"\xEF\xBB\xBF"[..], &sse(&[json!({ "choices": [{ "delta": { "content": "one" } }] })])].concat();
    for split in [1, 2, 3, stream.len()] {
        let (head, tail) = stream.split_at(split);
        let events = decode_in(Dialect::OpenAi, &[head, tail]);
        assert!(events.contains(&StreamEvent::Text("one".into())), "at {split}: {events:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_told_from_none() {
    let known = |dialect, body: &str| opaque_response(dialect, body.as_bytes()).is_some();
    assert!(known(Dialect::OpenAi, r#"{"choices":[{"message":"word"}],"error":null}"#));
    assert!(known(Dialect::Anthropic, r#"{"content":[{"type":5}]}"#));
    for body in [r#"{"choices":[]}"#, r#"{"choices":[1],"error":"x"}"#, r#"{"status":"ok"}"#, "<html>", "[1]"] {
        assert!(!known(Dialect::OpenAi, body), "{body}");
    }
}

#[test]
fn an_empty_error_beside_an_answer_is_none() {
    let text = |events: &[StreamEvent]| {
        assert!(!events.iter().any(|event| matches!(event, StreamEvent::Error(_))), "{events:?}");
        events.iter().any(|event| matches!(event, StreamEvent::Text(text) if text == "word"))
    };
    for error in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})] {
        let openai = json!({ "choices": [{ "delta": { "content": "word" } }], "error": error });
        assert!(text(&decode_in(Dialect::OpenAi, &[&sse(&[openai])])), "{error}");
        let ollama = json!({ "message": { "content": "word" }, "done": true, "error": error }).to_string();
        assert!(text(&decode_in(Dialect::Ollama, &[format!("{ollama}\n").as_bytes()])), "{error}");
        assert_eq!(decode_response(Dialect::Ollama, ollama.as_bytes()).unwrap().parts, [Part::text("word")]);
        let choice = json!({ "message": { "role": "assistant", "content": "word" }, "finish_reason": "stop" });
        let openai = json!({ "choices": [choice], "error": error }).to_string();
        assert_eq!(decode_response(Dialect::OpenAi, openai.as_bytes()).unwrap().parts, [Part::text("word")]);
    }
    for error in [json!(true), json!(500), json!("busy"), json!(["busy"]), json!({ "message": "busy" })] {
        let ollama = json!({ "message": { "content": "word" }, "done": true, "error": error }).to_string();
        assert!(decode_response(Dialect::Ollama, ollama.as_bytes()).is_err(), "{error}");
        let choice = json!({ "message": { "role": "assistant", "content": "word" }, "finish_reason": "stop" });
        for (choices, says_some) in [(json!([choice]), true), (json!([]), false)] {
            let openai = json!({ "choices": choices, "error": error }).to_string();
            let told = decode_response(Dialect::OpenAi, openai.as_bytes()).unwrap_err();
            assert_eq!(told.message == "busy", error.to_string().contains("busy"), "{openai}: {told}");
            assert_eq!(reports_error(openai.as_bytes()), !says_some, "{openai}");
        }
    }
}

#[test]
fn a_call_that_is_said_once_more_in_the_end_is_one_and_another_of_its_id_is_another() {
    let at = |index: Value, id: &str, name: &str, arguments: &str| {
        let call = json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } });
        json!({ "choices": [{ "delta": { "tool_calls": [call] } }] })
    };
    let piece = |id: &str, name: &str, arguments: &str| at(json!(0), id, name, arguments);
    let started = |last: Value| {
        let events = decode_in(
            Dialect::OpenAi,
            &[&sse(&[piece("", "", ""), piece("a", "f", "{\"x\":"), piece("", "", "1}"), last])],
        );
        let start = |event: StreamEvent| match event {
            StreamEvent::ToolCall(delta) => delta.start,
            _ => None,
        };
        events.into_iter().filter_map(start).map(|(id, name)| id + &name).collect::<Vec<_>>()
    };
    for index in [json!(0), json!(1), Value::Null] {
        for (name, arguments, calls) in
            [("f", "{\"x\":1}", 1), ("f", "{\"x\": 1}", 1), ("f", "{\"x\":2}", 2), ("g", "{\"x\":1}", 2)]
        {
            let told = started(at(index.clone(), "a", name, arguments));
            assert_eq!((told[0].as_str(), told.len()), ("af", calls), "{index} {name} {arguments}");
        }
        let other = at(index.clone(), "b", "f", "{\"x\":1}");
        assert_eq!(started(other), ["af", "bf"], "{index}: said twice");
    }
}

#[test]
fn an_answer_that_its_vendor_broke_off_is_none() {
    let timeout = json!({ "code": 502, "message": "Upstream idle timeout" });
    for (reason, error, told) in [
        ("error", &timeout, (ErrorKind::Upstream, "Upstream idle timeout")),
        ("error", &Value::Null, (ErrorKind::Upstream, "it broke off its answer (error)")),
        (
            "insufficient_system_resource",
            &Value::Null,
            (ErrorKind::Overloaded, "it broke off its answer (insufficient_system_resource)"),
        ),
        (
            "function_call_filter: MALFORMED_FUNCTION_CALL",
            &Value::Null,
            (ErrorKind::Upstream, "it broke off its answer (function_call_filter: MALFORMED_FUNCTION_CALL)"),
        ),
    ] {
        let choice = |at: &str| json!({ at: { "content": "Half" }, "finish_reason": reason, "error": error });
        let whole = json!({ "choices": [choice("message")] }).to_string();
        let got = decode_response(Dialect::OpenAi, whole.as_bytes()).unwrap_err();
        assert_eq!((got.kind, got.message.as_str()), told, "{reason}");
        assert_eq!(got.by_model, reason.ends_with("MALFORMED_FUNCTION_CALL"));
        assert!(opaque_response(Dialect::OpenAi, whole.as_bytes()).is_none(), "{reason}");
        let chunk = json!({ "choices": [choice("delta")] });
        let usage = json!({ "prompt_tokens": 3 });
        let counted = json!({ "choices": [choice("delta")], "usage": usage });
        let count = json!({ "choices": [], "usage": usage });
        let half = b"data: {\"choices\":[],\"us".to_vec();
        for (pieces, is_counted) in [
            (&[sse(&[counted])][..], true),
            (&[sse(&[chunk.clone(), count])], true),
            (&[sse(std::slice::from_ref(&chunk)), b"data: [DONE]\n\n".to_vec()], false),
            (&[sse(&[chunk]), half], false),
        ] {
            let (mut decoder, mut events) = (StreamDecoder::new(Dialect::OpenAi), Vec::new());
            pieces.iter().for_each(|piece| decoder.push(piece, &mut events));
            assert!(!decoder.has_said_all() && decoder.broken_off().is_some(), "{reason}");
            decoder.finish(&mut events);
            assert!(!decoder.saw_error(), "OpenAI's clients have not");
            let is_usage = |event: &StreamEvent| matches!(event, StreamEvent::Usage(_));
            assert_eq!(events.iter().any(is_usage), is_counted, "{reason}: {events:?}");
            events.retain(|event| !is_usage(event));
            let [_, StreamEvent::Text(_), StreamEvent::Error(got)] = &events[..] else { panic!("{events:?}") };
            assert_eq!((got.kind, got.message.as_str()), told, "{reason}");
        }
    }
    let choice = json!({ "delta": {}, "finish_reason": "error", "error": timeout });
    let (mut decoder, mut events) = (StreamDecoder::new(Dialect::OpenAi), Vec::new());
    decoder.push(&sse(&[json!({ "choices": [choice] }), json!({ "error": timeout })]), &mut events);
    assert!(matches!(&events[..], [_, StreamEvent::Error(_)]), "{events:?}");
    assert!(decoder.saw_error() && decoder.broken_off().is_some(), "told once more, as clients know it");
    let beside = json!({ "error": timeout, "choices": [], "usage": { "prompt_tokens": 3 } });
    let (mut decoder, mut events) = (StreamDecoder::new(Dialect::OpenAi), Vec::new());
    decoder.push(&sse(&[beside]), &mut events);
    assert!(matches!(&events[..], [StreamEvent::Usage(_), StreamEvent::Error(_)]), "counted beside: {events:?}");
    let counted =
        |body: Value| counted(Dialect::OpenAi, body.to_string().as_bytes()).map(|usage| usage.output_tokens);
    assert_eq!(counted(json!({ "usage": { "prompt_tokens": 3, "completion_tokens": 9 } })), Some(9));
    assert_eq!(counted(json!({ "usage": null })), None);
    let alone = json!({ "choices": [{ "error": timeout }] }).to_string();
    assert_eq!(decode_response(Dialect::OpenAi, alone.as_bytes()).unwrap_err().message, "Upstream idle timeout");
    for (reason, finish) in [
        ("model_length", FinishReason::Length),
        ("max_tokens", FinishReason::Length),
        ("content_filter: SAFETY", FinishReason::ContentFilter),
        ("sensitive", FinishReason::ContentFilter),
        ("stop", FinishReason::Stop),
    ] {
        let choice = json!({ "message": { "content": "Half" }, "finish_reason": reason, "error": {} });
        let whole = json!({ "choices": [choice] }).to_string();
        assert_eq!(decode_response(Dialect::OpenAi, whole.as_bytes()).unwrap().finish_reason, finish, "{reason}");
    }
}

#[test]
fn an_empty_error_beside_no_choice_is_none() {
    let error = json!({ "message": "", "type": "", "param": "", "code": null });
    let said = |text: &str| json!({ "choices": [{ "delta": { "content": text } }], "error": error });
    let begins = json!({ "choices": [], "prompt_filter_results": [], "error": error });
    let between = json!({ "id": "c", "choices": null, "error": error });
    let ends = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }], "error": error });
    let told = decode_in(Dialect::OpenAi, &[&sse(&[begins, said("hello"), between, said(" world"), ends])]);
    let texts = told.iter().filter_map(|event| match event {
        StreamEvent::Text(text) => Some(text.as_str()),
        StreamEvent::Error(error) => Some(error.message.as_str()),
        _ => None,
    });
    assert_eq!(texts.collect::<String>(), "hello world");
}

#[test]
fn an_answer_is_good_whatever_the_form_of_its_token_counts() {
    for (wire, count) in [(json!(12.0), 12), (json!("12"), 12), (json!(-1), 0), (json!(null), 0), (json!([]), 0)] {
        let usage = |dialect, body: Value| decode_response(dialect, body.to_string().as_bytes()).unwrap().usage;
        let anthropic = usage(
            Dialect::Anthropic,
            json!({ "content": [{ "type": "text", "text": "word" }], "stop_reason": "end_turn",
                "usage": { "input_tokens": wire, "output_tokens": wire, "cache_read_input_tokens": wire } }),
        );
        let anthropic = anthropic.unwrap_or_default();
        assert_eq!((anthropic.input_tokens, anthropic.cache_read_tokens), (count, count), "{wire}");
        let ollama = usage(
            Dialect::Ollama,
            json!({ "message": { "content": "word" }, "done": true, "prompt_eval_count": wire, "eval_count": wire }),
        );
        assert_eq!(ollama.unwrap_or_default().output_tokens, count, "{wire}");
        let openai = usage(
            Dialect::OpenAi,
            json!({ "choices": [{ "message": { "content": "word" }, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": wire, "completion_tokens": wire } }),
        );
        assert_eq!(openai.unwrap_or_default().output_tokens, count, "{wire}");
    }
}

#[test]
fn an_event_that_is_nothing_but_an_error_is_one_without_words_too() {
    let error_of = |events: &[StreamEvent]| {
        events.iter().find_map(|event| match event {
            StreamEvent::Error(error) => Some(error.message.clone()),
            _ => None,
        })
    };
    // What `str` makes of a Python exception that was raised without words.
    for error in [json!(""), json!({}), json!({ "message": "" }), json!({ "message": "", "type": "", "code": "" })] {
        let begun = json!({ "choices": [{ "delta": { "content": "word" } }] });
        let openai = error_of(&decode_in(Dialect::OpenAi, &[&sse(&[begun, json!({ "error": error })])]));
        let ollama = error_of(&decode_in(Dialect::Ollama, &[format!("{}\n", json!({ "error": error })).as_bytes()]));
        for told in [openai, ollama] {
            assert_eq!(told.as_deref(), Some("it gives an error without a message"), "{error}");
        }
    }
}

#[test]
fn who_calls_a_named_tool_wants_it_called_although_openai_says_stop() {
    let call = json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let whole = json!({ "choices": [{ "message": { "tool_calls": [call] }, "finish_reason": "stop" }] });
    let answer = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
    let told: Value = serde_json::from_slice(&encode_response(Dialect::Anthropic, &answer, &meta())).unwrap();
    assert_eq!(told["stop_reason"], "tool_use");
    let pieces = [
        json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }),
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
    ];
    let stream: String = pieces.iter().map(|piece| format!("data: {piece}\n\n")).collect();
    assert_eq!(gist(&decode_in(Dialect::OpenAi, &[stream.as_bytes()])).finish, Some(FinishReason::ToolCalls));
}

#[test]
fn usage_that_anthropics_stream_tells_on_the_way_is_no_end() {
    let told = |reason: Value, tokens: u32| {
        let delta = json!({ "stop_reason": reason, "stop_sequence": null });
        let event = json!({ "type": "message_delta", "delta": delta, "usage": { "output_tokens": tokens } });
        format!("event: message_delta\ndata: {event}\n\n")
    };
    let mut decoder = StreamDecoder::new(Dialect::Anthropic);
    let mut events = Vec::new();
    for (piece, said_all) in [(told(Value::Null, 3), false), (told("max_tokens".into(), 5), true)] {
        decoder.push(piece.as_bytes(), &mut events);
        assert_eq!(decoder.has_said_all(), said_all, "{piece}");
    }
    decoder.push(told(Value::Null, 6).as_bytes(), &mut events);
    decoder.push(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", &mut events);
    let gist = gist(&events);
    assert_eq!((gist.finish, gist.usage.output_tokens), (Some(FinishReason::Length), 6));
}

/// The texts of an answer: what it says, thinks and calls with.
fn words(parts: &[Part]) -> String {
    let texts = parts.iter().map(|part| match part {
        Part::Text { text, .. } | Part::Thinking { text, .. } => text.clone(),
        Part::ToolCall { arguments, .. } => arguments.clone(),
        other => format!("{other:?}"),
    });
    texts.collect()
}

#[test]
fn half_a_character_is_no_end_of_an_answer() {
    // The half as an escape, and as bytes that are no UTF-8.
    for half in [&br"\ud83d"[..], br"\uDE00", b"\xf0\x9f", b"\xff"] {
        let with = |json: &str| {
            let (before, after) = json.split_once('~').unwrap();
            [before.as_bytes(), half, after.as_bytes()].concat()
        };
        let said = json!({ "content": "hi ~!" });
        let call = json!({ "id": "a", "function": { "name": "f", "arguments": "hi ~!" } });
        let counts = json!({ "prompt_tokens": 3, "completion_tokens": 2 });
        let text = json!({ "type": "text", "text": "hi ~!" });
        for (dialect, whole) in [
            (Dialect::OpenAi, json!({ "choices": [{ "message": said }], "usage": counts })),
            (Dialect::OpenAi, json!({ "choices": [{ "message": { "tool_calls": [call] } }], "usage": counts })),
            (Dialect::Anthropic, json!({ "content": [text], "usage": { "input_tokens": 3, "output_tokens": 2 } })),
            (Dialect::Ollama, json!({ "message": said, "done": true, "prompt_eval_count": 3, "eval_count": 2 })),
        ] {
            let answer = decode_response(dialect, &with(&whole.to_string())).unwrap();
            assert_eq!(words(&answer.parts), "hi \u{fffd}!", "{whole}");
            assert_eq!(answer.usage.unwrap().output_tokens, 2, "{whole}");
        }
        let delta = json!({ "type": "text_delta", "text": "hi ~!" });
        let stop = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
        let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } });
        for (dialect, pieces) in [
            (Dialect::OpenAi, [json!({ "choices": [{ "delta": said }] }), stop]),
            (Dialect::Anthropic, [json!({ "type": "content_block_delta", "index": 0, "delta": delta }), end]),
            (Dialect::Ollama, [json!({ "message": said }), json!({ "done": true, "done_reason": "stop" })]),
        ] {
            let frame = |piece: &Value| match dialect {
                Dialect::Ollama => format!("{piece}\n"),
                _ => format!("data: {piece}\n\n"),
            };
            let gist = gist(&decode_in(dialect, &[&with(&frame(&pieces[0])), frame(&pieces[1]).as_bytes()]));
            assert_eq!((gist.text.as_str(), gist.finish), ("hi \u{fffd}!", Some(FinishReason::Stop)), "{pieces:?}");
        }
        let error = with(r#"{"error":{"message":"busy ~!"}}"#);
        assert!(reports_error(&error));
        assert_eq!(decode_response(Dialect::OpenAi, &error).unwrap_err().message, "busy \u{fffd}!");
    }
}

#[test]
fn a_finish_reason_may_come_before_a_calls_arguments() {
    let with_reason = |mut piece: Value, reason: &str| {
        piece["choices"][0]["finish_reason"] = json!(reason);
        piece
    };
    let begun = || with_reason(piece(0, "a", "f", json!("")), "tool_calls");
    let arguments = ["{\"x\"", ":1}"].map(|arguments| piece(0, "", "", json!(arguments)));
    let on_each = arguments.clone().map(|piece| with_reason(piece, "tool_calls"));
    for rest in [&arguments, &on_each] {
        let stream = sse(&[&[begun()], &rest[..]].concat());
        assert_eq!(blocks(&stream), [("f".to_owned(), json!({ "x": 1 }))], "{rest:?}");
        assert_eq!(gist(&decode_in(Dialect::OpenAi, &[&stream])).finish, Some(FinishReason::ToolCalls));
    }
    // A reason that says nothing of calls stands for them, too.
    let told_before = with_reason(json!({ "choices": [{ "delta": { "content": "Well:" } }] }), "stop");
    let stream = sse(&[&[told_before, piece(0, "a", "f", json!(""))], &arguments[..]].concat());
    assert_eq!(gist(&decode_in(Dialect::OpenAi, &[&stream])).finish, Some(FinishReason::ToolCalls));
}

#[test]
fn what_follows_a_finish_reason_takes_it_back() {
    let said = |text: &str, reason: Value| {
        format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text }, "finish_reason": reason }] }))
    };
    let stream = [said("half", json!("length")), said(" an answer", json!(null))].concat();
    let mut decoder = StreamDecoder::new(Dialect::OpenAi);
    let mut events = Vec::new();
    decoder.push(stream.as_bytes(), &mut events);
    assert!(!decoder.has_said_all());
    decoder.finish(&mut events);
    assert_eq!(gist(&events).error, Some(ErrorKind::Connection));
    // At its own end the reason stands.
    let whole = gist(&decode_in(Dialect::OpenAi, &[stream.as_bytes(), b"data: [DONE]\n\n"]));
    assert_eq!((whole.text.as_str(), whole.finish), ("half an answer", Some(FinishReason::Length)));
}

#[test]
fn a_stream_of_several_choices_ends_with_the_last_of_them() {
    let said = |index: u64, text: &str, reason: Value| {
        let choice = json!({ "index": index, "delta": { "content": text }, "finish_reason": reason });
        format!("data: {}\n\n", json!({ "choices": [choice] }))
    };
    let both = |reason: Value| {
        let of = |index: u64| json!({ "index": index, "delta": {}, "finish_reason": reason });
        format!("data: {}\n\n", json!({ "choices": [of(0), of(1)] }))
    };
    for (asked, pieces) in [
        (
            2,
            &[
                (said(0, "A", Value::Null), false, false),
                (said(1, "B", Value::Null), false, false),
                (said(0, "", json!("stop")), false, false),
                (said(1, "BB", Value::Null), false, false),
                (said(1, "", json!("stop")), true, true),
            ][..],
        ),
        // One after the other: at the end of a body the first may be all.
        (2, &[(said(0, "A", Value::Null), false, false), (said(0, "", json!("stop")), true, false)]),
        (2, &[(said(1, "B", Value::Null), false, false), (both(json!("stop")), true, true)]),
        (1, &[(said(0, "A", Value::Null), false, false), (said(0, "", json!("stop")), true, true)]),
    ] {
        let (mut decoder, mut events) = (StreamDecoder::new(Dialect::OpenAi).asked_for(asked), Vec::new());
        for (piece, said_all, at_end) in pieces {
            decoder.push(piece.as_bytes(), &mut events);
            assert_eq!((decoder.has_said_all(), decoder.is_at_end()), (*said_all, *at_end), "{asked}: {piece}");
        }
    }
}

#[test]
fn a_call_may_be_named_after_it_has_begun() {
    let begun =
        json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": "a", "type": "function" }] } }] });
    let null = piece(0, "a", "", json!(null));
    let rest = [piece(0, "", "f", json!("{\"x\"")), piece(0, "", "", json!(":1}"))];
    for first in [begun.clone(), null] {
        let stream = sse(&[&[first], &rest[..]].concat());
        assert_eq!(blocks(&stream), [("f".to_owned(), json!({ "x": 1 }))]);
        let starts = decode_in(Dialect::OpenAi, &[&stream]).into_iter().filter_map(|event| match event {
            StreamEvent::ToolCall(call) => call.start,
            _ => None,
        });
        assert_eq!(starts.collect::<Vec<_>>(), [("a".to_owned(), "f".to_owned())]);
    }
    // Without a name it is told in the end, also where that is the body's.
    let reason = |word: &str| json!({ "choices": [{ "delta": {}, "finish_reason": word }] });
    for (word, arguments) in [("tool_calls", "{}"), ("length", "")] {
        let stream = [begun.clone(), reason(word)].map(|chunk| format!("data: {chunk}\n\n")).concat();
        let told = decode_in(Dialect::OpenAi, &[stream.as_bytes()]);
        let call = ToolCallDelta { index: 0, start: Some(("a".into(), String::new())), arguments: arguments.into() };
        assert!(told.contains(&StreamEvent::ToolCall(call)), "{told:?}");
    }
}

#[test]
fn whole_calls_of_one_index_are_several() {
    let expected = [("f".to_owned(), json!({ "x": "}" })), ("f".to_owned(), json!({ "x": 2 }))];
    for id in ["", "a"] {
        let whole = [piece(0, id, "f", json!("{\"x\":\"}\"}")), piece(0, id, "f", json!("{\"x\":2}"))];
        assert_eq!(blocks(&sse(&whole)), expected);
        let in_pieces = [
            piece(0, id, "f", json!("{\"x\":\"}")),
            piece(0, id, "f", json!("\"} ")),
            piece(0, id, "f", json!("{")),
            piece(0, id, "f", json!("\"x\":2}")),
        ];
        assert_eq!(blocks(&sse(&in_pieces)), expected);
    }
}

#[test]
fn a_stream_of_messages_in_place_of_deltas_is_read() {
    let chunk = |choice: Value| format!("data: {}\n\n", json!({ "choices": [choice] }));
    let end = chunk(json!({ "finish_reason": "stop" }));
    let told = |stream: &[String]| gist(&decode_in(Dialect::OpenAi, &[stream.concat().as_bytes()])).text;
    assert_eq!(told(&[chunk(json!({ "message": { "content": "word" } })), end.clone()]), "word");
    // Beside deltas they are all of it so far.
    let beside = |delta: Value, message: &str| chunk(json!({ "delta": delta, "message": { "content": message } }));
    let stream = [beside(json!({ "content": "a" }), "a"), beside(json!({ "content": "b" }), "ab")];
    assert_eq!(told(&[&stream[..], &[beside(json!(null), "ab"), end]].concat()), "ab");
}

#[test]
fn an_answer_of_nothing_is_an_empty_text_to_who_sends_it_back() {
    let content = |content: Value| {
        let answer = json!({ "content": content, "stop_reason": "end_turn" });
        let answer = decode_response(Dialect::Anthropic, answer.to_string().as_bytes()).unwrap();
        let told: Value = serde_json::from_slice(&encode_response(Dialect::OpenAi, &answer, &meta())).unwrap();
        told["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(content(json!([])), "");
    assert_eq!(content(json!([{ "type": "thinking", "thinking": "hm", "signature": "s" }])), "");
    assert_eq!(content(json!([{ "type": "tool_use", "id": "a", "name": "f", "input": {} }])), json!(null));
}

#[test]
fn who_says_that_it_calls_and_does_not_has_ended() {
    for word in ["tool_calls", "function_call"] {
        for calls in [json!(null), json!([])] {
            let message = json!({ "content": "word", "tool_calls": calls });
            let choice = json!({ "message": message, "finish_reason": word });
            let whole = json!({ "choices": [choice] }).to_string();
            assert_eq!(decode_response(Dialect::OpenAi, whole.as_bytes()).unwrap().finish_reason, FinishReason::Stop);
            let chunk = json!({ "choices": [{ "delta": message, "finish_reason": word }] });
            assert_eq!(gist(&decode_in(Dialect::OpenAi, &[&sse(&[chunk])])).finish, Some(FinishReason::Stop));
        }
        assert_eq!(finish_of(word), Some(FinishReason::ToolCalls), "said of an answer that was given elsewhere");
    }
}

#[test]
fn the_answers_length_is_bounded_in_the_name_that_look_alikes_know() {
    let asked = [
        (
            Dialect::Anthropic,
            json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "x" }] }),
        ),
        (Dialect::Responses, json!({ "model": "m", "max_output_tokens": 5, "input": "x" })),
        (Dialect::Native, json!({ "max_tokens": 5, "messages": [{ "role": "user", "content": "x" }] })),
    ];
    let openai = Quirks { max_tokens_field: Some(MaxTokensField::MaxCompletionTokens), ..Quirks::default() };
    for (dialect, body) in asked {
        let request = decode_request(dialect, body.to_string().as_bytes()).unwrap();
        let limits = |quirks: &Quirks| {
            let sent = encode_request(&target(Dialect::OpenAi, quirks), &request).unwrap().body;
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            ["max_tokens", "max_completion_tokens"].map(|name| sent[name].as_u64())
        };
        assert_eq!(limits(&Quirks::default()), [Some(5), None], "{dialect:?}");
        assert_eq!(limits(&openai), [None, Some(5)], "{dialect:?}");
    }
}
