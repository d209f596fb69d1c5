//! What is marked for Claude's prompt cache, and what it means in tokens and money.

use serde_json::{Value, json};

use super::tests::{encoded, meta, target};
use super::*;
use crate::protocol::Price;

fn sent(client: Dialect, quirks: &Quirks, body: &Value) -> Value {
    let request = decode_request(client, body.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&encode_request(&target(Dialect::Anthropic, quirks), &request).unwrap().body).unwrap()
}

fn sent_by_openai(body: Value) -> Value {
    sent(Dialect::OpenAi, &Quirks::default(), &body)
}

/// The paths of all markers.
fn markers(body: &Value) -> Vec<String> {
    fn find(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| match key.as_str() {
                "cache_control" => {
                    assert_eq!(*value, json!({ "type": "ephemeral" }));
                    found.push(path.to_owned());
                }
                _ => find(value, &format!("{path}/{key}"), found),
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, value)| find(value, &format!("{path}/{at}"), found))
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    find(body, "", &mut found);
    found
}

fn tools() -> Value {
    let tool = |name| json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } });
    json!([tool("read"), tool("write")])
}

/// A tool loop of Chat Completions after `steps` answers, with `calls` calls in each.
fn in_loop(steps: usize, calls: usize) -> Value {
    let mut messages =
        vec![json!({ "role": "system", "content": "Be brief." }), json!({ "role": "user", "content": "Fix it." })];
    for step in 0..steps {
        let call = |at| json!({ "id": format!("c{step}_{at}"), "type": "function", "function": { "name": "read", "arguments": "{}" } });
        let calls: Vec<Value> = (0..calls).map(call).collect();
        let results = calls.iter().map(|call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "y" }));
        let results: Vec<Value> = results.collect();
        messages.push(json!({ "role": "assistant", "content": "I look.", "tool_calls": calls }));
        messages.extend(results);
    }
    json!({ "model": "m", "messages": messages, "tools": tools() })
}

/// The prompt up to each marker, in the order of the vendor's cache (tools, instructions, turns), without markers.
fn prefixes(body: &Value) -> Vec<String> {
    let mut text = String::new();
    let mut found = Vec::new();
    let mut add = |block: &Value| {
        let mut block = block.clone();
        let marker = block.as_object_mut().unwrap().shift_remove("cache_control");
        text.push_str(&block.to_string());
        found.extend(marker.map(|_| text.clone()));
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&body["tools"]).iter().chain(&list(&body["system"])).for_each(&mut add);
    for turn in list(&body["messages"]) {
        add(&json!({ "role": turn["role"] }));
        turn["content"].as_array().expect("no bare string").iter().for_each(&mut add);
    }
    found
}

#[test]
fn each_step_of_a_tool_loop_begins_with_what_the_one_before_had_kept() {
    for calls in [1, 15] {
        let steps: Vec<Value> = (0..3).map(|steps| sent_by_openai(in_loop(steps, calls))).collect();
        for (step, body) in steps.iter().enumerate() {
            assert_eq!(prefixes(body).len(), (step + 2).min(3), "{body}");
            assert_eq!(body["system"][0]["cache_control"]["type"], "ephemeral");
        }
        for pair in steps.windows(2) {
            let (before, after) = (prefixes(&pair[0]), prefixes(&pair[1]));
            let (kept, end) = (before.last().unwrap(), after.last().unwrap());
            assert!(after.contains(kept), "marked again, however many calls lie between");
            assert!(end.starts_with(kept.as_str()) && end.len() > kept.len());
        }
        let end = format!("/messages/4/content/{}", calls - 1);
        assert_eq!(markers(&steps[2]).last(), Some(&end), "the last result, which the next step begins with");
    }
    // 9698, 9831 and 10,039 tokens of prompt, of Codex: all at the input price, or each step writes what is new.
    let price = Price { input: 2.0, output: 10.0, cache_read: Some(0.1), cache_write: Some(2.5), ..Price::default() };
    let cost = |input_tokens, cache_read_tokens, cache_write_tokens| {
        let usage = Usage { input_tokens, cache_read_tokens, cache_write_tokens, ..Usage::default() };
        price.of(&usage).0
    };
    let unmarked = cost(9698 + 9831 + 10_039, 0, 0);
    let marked = cost(0, 0, 9698) + cost(0, 9698, 133) + cost(0, 9831, 208);
    assert!((unmarked - 0.0591).abs() < 1e-4 && (marked - 0.0271).abs() < 1e-4, "{unmarked} {marked}");
}

#[test]
fn only_what_another_call_is_likely_to_read_is_marked() {
    let with = |more: Value| {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }], "tools": tools() });
        json::extend(&mut body, more);
        sent_by_openai(body)
    };
    let both = ["/messages/0/content/0", "/tools/1"];
    let sorted = |body: &Value| {
        let mut found = markers(body);
        found.sort();
        found
    };
    assert_eq!(sorted(&with(json!({}))), both, "without instructions the last tool");
    assert_eq!(sorted(&with(json!({ "tool_choice": "auto" }))), both);
    assert_eq!(sorted(&with(json!({ "tool_choice": "required" }))), both, "an agent that must call this or that");
    let named = json!({ "type": "function", "function": { "name": "read" } });
    let only = json!({ "tool_choice": "required", "tools": tools().as_array().unwrap()[..1] });
    assert_eq!(markers(&with(only)).len(), 0, "an extraction");
    for choice in [named, json!("none")] {
        let body = with(json!({ "tool_choice": choice }));
        assert_eq!((markers(&body).len(), &body["messages"][0]["content"]), (0, &json!("x")), "{choice}");
        let mut inside = in_loop(1, 1);
        inside["tool_choice"] = choice;
        assert_eq!(markers(&sent_by_openai(inside)).len(), 3);
    }
    let plain = sent_by_openai(json!({ "model": "m", "messages": [
        { "role": "system", "content": "Be brief." }, { "role": "user", "content": "x" },
        { "role": "assistant", "content": "y" }, { "role": "user", "content": "z" },
    ] }));
    assert_eq!(markers(&plain).len(), 0, "a chat");
    let quirks = Quirks { cache_markers: false, ..Quirks::default() };
    assert_eq!(markers(&sent(Dialect::OpenAi, &quirks, &in_loop(1, 1))).len(), 0);
    let marks = |client, backend, wish| marks_cache(client, backend, &Quirks::default(), wish);
    let (openai, claude) = (Dialect::OpenAi, Dialect::Anthropic);
    assert_eq!(marks(openai, openai, CacheWish::Said), None, "it caches by itself");
    assert_eq!(marks(openai, claude, CacheWish::Unsaid), Some(true));
    assert_eq!(marks(claude, claude, CacheWish::Unsaid), Some(false), "its own clients know what they want");
    assert_eq!(marks(claude, claude, CacheWish::Said), Some(true));
    let responses = json!({ "model": "m", "input": "x", "instructions": "Be brief.",
        "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" } }] });
    for (client, body) in [(Dialect::Responses, responses), (Dialect::Native, in_loop(0, 1))] {
        let marked = markers(&sent(client, &Quirks::default(), &body));
        assert_eq!(marked, ["/system/0", "/messages/0/content/0"], "{client:?}");
    }
}

#[test]
fn a_client_that_marks_is_left_to_it() {
    let marker = json!({ "type": "ephemeral" });
    let places = ["/tools/0", "/messages/0", "/messages/1", "/messages/3", ""];
    for place in places {
        let mut body = in_loop(1, 1);
        body.pointer_mut(place).unwrap()["cache_control"] = marker.clone();
        assert_eq!(markers(&sent_by_openai(body)).len(), 1, "{place}");
    }
    let mut body = in_loop(1, 1);
    body["messages"][3]["content"] = json!([{ "type": "text", "text": "y", "cache_control": marker }]);
    assert_eq!(markers(&sent_by_openai(body)).len(), 1, "inside a result");
}

#[test]
fn thoughts_and_blanks_carry_no_marker() {
    let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "s" });
    let mut body = json!({ "messages": [
        { "role": "user", "content": [{ "type": "text", "text": "x" }, { "type": "text", "text": " " }] },
        { "role": "assistant", "content": [{ "type": "tool_use" }, thought] },
        { "role": "assistant", "content": [thought] },
    ] });
    anthropic_messages::markers::set(body.as_object_mut().unwrap());
    assert_eq!(markers(&body), ["/messages/0/content/0", "/messages/1/content/0"]);
}

#[test]
fn clients_are_told_what_was_read_and_written() {
    let answer = json!({
        "id": "i", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{ "type": "text", "text": "y" }],
        "usage": { "input_tokens": 3, "cache_read_input_tokens": 9698, "cache_creation_input_tokens": 133, "output_tokens": 1 },
    });
    let answer = decode_response(Dialect::Anthropic, answer.to_string().as_bytes()).unwrap();
    let told = |client| {
        let told: Value = serde_json::from_slice(&encode_response(client, &answer, &meta())).unwrap();
        told["usage"].clone()
    };
    let (chat, responses) = (told(Dialect::OpenAi), told(Dialect::Responses));
    for (usage, total, details) in
        [(chat, "prompt_tokens", "prompt_tokens_details"), (responses, "input_tokens", "input_tokens_details")]
    {
        assert_eq!(usage[total], 9834, "{usage}");
        assert_eq!(usage[details], json!({ "cached_tokens": 9698, "cache_write_tokens": 133 }), "{usage}");
    }
}

#[test]
fn what_must_be_changed_for_claude_leaves_all_else_as_it_passes_untouched() {
    let call =
        r#"{"type":"tool_use","id":"toolu_1","name":"f","input":{"n": 123456789012345678901234567890, "x": 1E2}}"#;
    let body = |first: &str| {
        format!(
            r#"{{"model":"upstream-id","max_tokens":9,"messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":[{first}{{"type":"text","text":"\n\n"}},{{"type":"text","text":"So."}},{call}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":"r"}}]}}]}}"#
        )
    };
    let pass = |body: &str| {
        let request = decode_request(Dialect::Anthropic, body.as_bytes()).unwrap();
        let quirks = Quirks::default();
        let passed = pass_request(&target(Dialect::Anthropic, &quirks), &request, body.as_bytes()).unwrap();
        String::from_utf8(passed.body.to_vec()).unwrap()
    };
    let untouched = body("");
    assert_eq!(pass(&untouched), untouched);
    for first in [r#"{"type":"text","text":""},"#, r#"{"type":"thinking","thinking":"hm","signature":""},"#] {
        assert_eq!(pass(&body(first)), untouched, "{first}");
    }
}

#[test]
fn a_fraction_in_a_later_call_leaves_the_earlier_ones_as_they_were_sent() {
    // As Python's `json.dumps` writes it.
    let call = |id: &str, input: &str| {
        format!(
            r#"{{"role": "assistant", "content": [{{"type": "tool_use", "id": "{id}", "name": "f", "input": {input}}}]}}"#
        )
    };
    let result = |id: &str| {
        format!(
            r#"{{"role": "user", "content": [{{"type": "tool_result", "tool_use_id": "{id}", "content": "r"}}]}}"#
        )
    };
    let question = r#"{"role": "user", "content": "q"}"#.to_owned();
    let first = vec![question, call("a", r#"{"n": "\u00e9"}"#), result("a")];
    let second = [first.clone(), vec![call("b", r#"{"x": 0.12345678901234567890}"#), result("b")]].concat();
    let sent = |turns: &[String]| {
        let body = format!(r#"{{"model": "m", "max_tokens": 9, "messages": [{}]}}"#, turns.join(", "));
        let request = decode_request(Dialect::Anthropic, body.as_bytes()).unwrap();
        encoded(Dialect::OpenAi, &request).0["messages"].as_array().unwrap().clone()
    };
    let (before, now) = (sent(&first), sent(&second));
    assert_eq!(now[..3], before);
    assert_eq!(now[3]["tool_calls"][0]["function"]["arguments"], r#"{"x": 0.12345678901234567890}"#);
}
