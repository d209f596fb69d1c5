//! What stands where it does not belong, and what is of the wrong kind there.

use serde_json::{Value, json};

use super::tests::encoded;
use super::*;

/// The path that a request is refused with.
fn refused(client: Dialect, body: &Value) -> Option<String> {
    decode_request(client, body.to_string().as_bytes()).err()?.param
}

#[test]
fn a_schema_that_is_none_is_refused_by_its_path_and_an_absent_one_is_not() {
    let question = json!([{ "role": "user", "content": "q" }]);
    let bodies = |schema: &Value| {
        let function = json!({ "name": "f", "parameters": schema });
        let inner = json!({ "name": "a", "schema": schema });
        let mut flat = inner.clone();
        flat["type"] = json!("json_schema");
        [
            (
                Dialect::OpenAi,
                json!({ "messages": question, "tools": [{ "type": "function", "function": function }] }),
                "tools[0].function.parameters",
            ),
            (
                Dialect::Native,
                json!({ "messages": question, "response_format": { "type": "json_schema", "json_schema": inner } }),
                "response_format.json_schema.schema",
            ),
            (
                Dialect::Responses,
                json!({ "input": "q", "tools": [{ "type": "function", "name": "f", "parameters": schema }] }),
                "tools[0].parameters",
            ),
            (Dialect::Responses, json!({ "input": "q", "text": { "format": flat } }), "text.format.schema"),
            (
                Dialect::Anthropic,
                json!({ "max_tokens": 9, "messages": question, "tools": [{ "name": "f", "input_schema": schema }] }),
                "tools[0].input_schema",
            ),
            (
                Dialect::Anthropic,
                json!({ "max_tokens": 9, "messages": question, "output_config": { "format": flat } }),
                "output_config.format.schema",
            ),
        ]
    };
    for wrong in [json!("x"), json!(5), json!([1])] {
        for (client, body, path) in bodies(&wrong) {
            assert_eq!(refused(client, &body).as_deref(), Some(path), "{wrong}");
        }
    }
    for schema in [json!({ "type": "object" }), json!({}), json!([]), json!(true)] {
        for (client, body, path) in bodies(&schema) {
            assert_eq!(refused(client, &body), None, "{path}: {schema}");
        }
    }
    for (client, body, path) in &bodies(&Value::Null)[..3] {
        assert_eq!(refused(*client, body), None, "{path}");
    }
}

#[test]
fn all_of_a_refusal_goes_on() {
    let refusal = |text: &str| json!({ "type": "refusal", "refusal": text });
    let said =
        json!({ "type": "message", "role": "assistant", "content": [refusal("I can't. "), refusal("Sorry.")] });
    let input = json!([{ "role": "user", "content": "q" }, said, { "role": "user", "content": "why" }]);
    let request = decode_request(Dialect::Responses, json!({ "input": input }).to_string().as_bytes()).unwrap();
    let (body, dropped) = encoded(Dialect::OpenAi, &request);
    let turn = json!({ "role": "assistant", "content": null, "refusal": "I can't. Sorry." });
    assert_eq!((&body["messages"][1], dropped), (&turn, Vec::new()));
}

#[test]
fn names_that_claude_is_not_told_are_noted() {
    let turn = |role: &str| json!({ "role": role, "name": "ann", "content": "x" });
    let body = json!({ "messages": [turn("system"), turn("user")] });
    let request = decode_request(Dialect::OpenAi, body.to_string().as_bytes()).unwrap();
    assert_eq!(encoded(Dialect::Anthropic, &request).1, ["messages[0].name", "messages[1].name"]);
}

#[test]
fn a_picture_among_instructions_is_shown_by_the_user_where_only_words_are_taken_there() {
    let data = "iVBORw0KGgo=";
    let url = format!("data:image/png;base64,{data}");
    let picture = json!({ "type": "input_image", "image_url": url });
    let words = json!({ "type": "input_text", "text": "Look." });
    let told = |content: Value| json!({ "role": "developer", "content": content });
    let said = |role: &str, content: &str| json!({ "role": role, "content": content });
    let sent = |backend: Dialect, items: Value| {
        let request = decode_request(Dialect::Responses, json!({ "input": items }).to_string().as_bytes()).unwrap();
        encoded(backend, &request).0
    };
    let items =
        json!([told(json!([words, picture])), said("user", "q"), said("assistant", "a"), told(json!([picture]))]);
    let shown = json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": url } }] });
    assert_eq!(
        sent(Dialect::OpenAi, items.clone())["messages"],
        json!([said("system", "Look."), shown, said("user", "q"), said("assistant", "a"), shown])
    );
    let source = json!({ "type": "base64", "media_type": "image/png", "data": data });
    let shown = json!({ "type": "image", "source": source });
    let claude = sent(Dialect::Anthropic, items);
    assert_eq!(claude["system"], json!([{ "type": "text", "text": "Look." }]));
    let first = json!({ "role": "user", "content": [shown, { "type": "text", "text": "q" }] });
    let last = json!({ "role": "user", "content": [shown] });
    assert_eq!(claude["messages"], json!([first, said("assistant", "a"), last]));
}

#[test]
fn a_turn_without_parts_is_an_empty_text() {
    let body = json!({ "messages": [{ "role": "user", "content": [] }] });
    let request = decode_request(Dialect::Native, body.to_string().as_bytes()).unwrap();
    assert_eq!(encoded(Dialect::OpenAi, &request).0["messages"], json!([{ "role": "user", "content": "" }]));
}

#[test]
fn a_call_in_a_users_turn_and_a_result_in_an_assistants_are_the_vendors_to_judge() {
    let call = json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} });
    let result = json!({ "type": "tool_result", "tool_use_id": "a", "content": "r" });
    let turn =
        |role: &str, block: &Value| json!({ "role": role, "content": [{ "type": "text", "text": "x" }, block] });
    let met = |turns: [Value; 2], backend: Dialect| {
        let body = json!({ "max_tokens": 99, "system": "s", "messages": turns }).to_string();
        obstacle(Dialect::Anthropic, backend, &decode_request(Dialect::Anthropic, body.as_bytes()).unwrap())
    };
    for backend in [Dialect::OpenAi, Dialect::Ollama, Dialect::Responses] {
        let misplaced = met([turn("assistant", &call), turn("assistant", &result)], backend);
        assert_eq!(misplaced.as_deref(), Some("messages[1].content[1] (tool_result in another's turn)"));
        let misplaced = met([turn("user", &call), turn("user", &result)], backend);
        assert_eq!(misplaced.as_deref(), Some("messages[0].content[1] (tool_use in another's turn)"));
        assert_eq!(met([turn("assistant", &call), turn("user", &result)], backend), None);
    }
    assert_eq!(met([turn("user", &call), turn("user", &result)], Dialect::Anthropic), None);
}
