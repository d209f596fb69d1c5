//! Where OpenAI's prompt cache is to end: what clients of Responses say of it to models that are asked in Chat Completions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::tests::target;
use super::*;
use crate::config::Quirks;

fn mark() -> Value {
    json!({ "mode": "explicit", "ttl": "30m" })
}

fn marked(mut part: Value) -> Value {
    part["prompt_cache_breakpoint"] = mark();
    part
}

const IMAGE: &str = "data:image/png;base64,AAAA";
const PDF: &str = "data:application/pdf;base64,AAAA";

/// A conversation of Responses with a mark wherever one may stand.
fn marked_all_over() -> ChatRequest {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" });
    let result = |id: &str, output: Value| json!({ "type": "function_call_output", "call_id": id, "output": output });
    let text = || marked(json!({ "type": "input_text", "text": "t" }));
    let body = json!({ "model": "x", "prompt_cache_options": { "mode": "explicit" }, "truncation": "auto", "input": [
        { "role": "developer", "content": [text()] },
        { "role": "user", "content": [
            text(),
            marked(json!({ "type": "input_image", "image_url": IMAGE })),
            marked(json!({ "type": "input_file", "filename": "a.pdf", "file_data": PDF })),
            marked(json!({ "type": "input_audio", "input_audio": { "data": "", "format": "wav" } })),
        ] },
        { "role": "assistant", "content": [marked(json!({ "type": "output_text", "text": "a" }))] },
        call("a"),
        call("b"),
        call("c"),
        result("a", json!("r")),
        result("b", json!([{ "type": "input_text", "text": "r" }, text()])),
        result("c", json!([{ "type": "input_text", "text": "r" }, marked(json!({ "type": "input_image", "image_url": IMAGE }))])),
    ] });
    decode_request(Dialect::Responses, body.to_string().as_bytes()).unwrap()
}

fn in_chat(responses: bool, refuses: &[Refusal]) -> (Value, Vec<String>) {
    let quirks = Quirks { responses, ..Quirks::default() };
    let refuses: BTreeSet<Refusal> = refuses.iter().copied().collect();
    let target = Target { refuses: &refuses, ..target(Dialect::OpenAi, &quirks) };
    let Encoded { body, dropped } = encode_request(&target, &marked_all_over()).unwrap();
    (serde_json::from_slice(&body).unwrap(), dropped)
}

#[test]
fn where_the_cache_is_to_end_is_said_in_chat_completions_to_models_that_know_it() {
    let (body, dropped) = in_chat(true, &[Refusal::ThinkingWithTools]);
    let text = marked(json!({ "type": "text", "text": "t" }));
    let image = marked(json!({ "type": "image_url", "image_url": { "url": IMAGE } }));
    let turns = &body["messages"];
    assert_eq!(turns[0], json!({ "role": "system", "content": [text] }));
    let asked = json!([
        text,
        image,
        marked(json!({ "type": "file", "file": { "file_data": PDF, "filename": "a.pdf" } })),
        marked(json!({ "type": "input_audio", "input_audio": { "data": "", "format": "wav" } })),
    ]);
    assert_eq!(turns[1]["content"], asked);
    assert_eq!(turns[2]["content"], "a", "an answer takes none");
    assert_eq!(turns[3]["content"], "r");
    assert_eq!(turns[4]["content"], json!([{ "type": "text", "text": "r" }, text]));
    assert_eq!((&turns[5]["content"], &turns[6]["content"]), (&json!("r"), &json!([image])));
    assert_eq!(body["prompt_cache_options"], json!({ "mode": "explicit" }));
    assert_eq!(dropped, ["truncation", "messages[2].content[0].prompt_cache_breakpoint"]);
}

#[test]
fn who_does_not_know_it_is_told_nothing_and_the_client_that_it_is_lost() {
    for (responses, refuses) in [(true, &[][..]), (false, &[Refusal::ThinkingWithTools])] {
        let (body, dropped) = in_chat(responses, refuses);
        assert!(!body.to_string().contains("prompt_cache"), "{body}");
        let lost = dropped.iter().filter(|path| path.ends_with(".prompt_cache_breakpoint")).count();
        assert!(lost >= 8 && dropped.contains(&"prompt_cache_options".to_owned()), "{dropped:?}");
    }
}
