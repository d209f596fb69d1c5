//! A forced tool call at a Claude that refuses to be forced.
//!
//! The newest ones take no `tool_choice` but "auto" and "none", and their vendor names structured outputs for who needs
//! arguments of a schema (docs.anthropic.com, "What's new in Claude Opus 5.5"). So they are told to write the
//! arguments, the answer is held to their schema, and [`ForcedCall`](super::super::ForcedCall) makes the call of it.
//!
//! **What stays.** Instructions, tools and earlier turns stand as in every other request of the conversation: what the
//! model thought before is refused where one of them is another than it was then ("Prefix checks on thinking blocks"),
//! and a conversation with calls in it must bring tools. So the tools may only not be called, and what is to be done is
//! said last, behind the question or the results. The client does not send that back; hence what is thought over it
//! goes to the client without its signature.
//!
//! **What cannot be held** is a call of any of several tools, and arguments of a schema that the vendor does not take. The
//! model is then told in words, in the same place, to make a call.
//!
//! **What is assumed.** That "none" is taken beside thinking, and an answer's schema beside tools and thinking, is
//! documented; that all of these go together is not, and was not tried at the vendor.

use serde_json::{Value, json};

use super::super::{Target, forced};
use super::schemas;
use crate::config::Refusal;
use crate::protocol::{ChatRequest, ResponseFormat, Tool, ToolChoice};

/// Whether the call that is demanded must be had otherwise. An answer that is begun already goes with no instruction.
pub(crate) fn is_needed(target: &Target<'_>, request: &ChatRequest) -> bool {
    request.must_call() && target.refuses(Refusal::ForcedTools) && !request.is_prefilled()
}

/// The tool that must be called, where it is the only one, and the schema that an answer in its stead can be held to.
pub(crate) fn held(request: &ChatRequest) -> Option<(&Tool, Value)> {
    let tool = forced::tool(request)?;
    Some((tool, schemas::of_call(&tool.parameters)?))
}

/// The request that asks for a demanded call as an answer, or in words; and what is to be said last.
pub(super) fn asked_otherwise(request: &ChatRequest) -> (ChatRequest, String) {
    let mut asked = request.clone();
    let Some((tool, schema)) = held(request) else {
        asked.tool_choice = Some(ToolChoice::Auto);
        return (asked, forced::demand(request));
    };
    let (name, instruction) = (tool.name.clone(), format!("{}.", forced::instruction(tool)));
    asked.response_format = Some(ResponseFormat::JsonSchema { name, schema, strict: Some(true), implied: true });
    asked.tool_choice = Some(ToolChoice::None);
    asked.parallel_tool_calls = None;
    // The only one that counts is held to its schema in any case.
    asked.tools.iter_mut().for_each(|tool| tool.strict = None);
    // They would end the arguments within a string.
    asked.sampling.stop.clear();
    (asked, instruction)
}

/// Says this last, behind all that is marked for the vendor's cache: the next request does not have it.
pub(super) fn say_last(turns: &mut Vec<Value>, instruction: &str) {
    let block = |text: &Value| json!({ "type": "text", "text": text });
    if turns.last().is_none_or(|turn| turn["role"] != "user") {
        turns.push(json!({ "role": "user", "content": [] }));
    }
    let Some(last) = turns.last_mut() else { return };
    if last["content"].is_string() {
        last["content"] = json!([block(&last["content"])]);
    }
    if let Some(blocks) = last["content"].as_array_mut() {
        blocks.push(block(&instruction.into()));
    }
}

/// Names in `dropped` what was lost of `request` by the names that it has there.
pub(super) fn name_losses(request: &ChatRequest, dropped: &mut Vec<String>) {
    const SCHEMA: &str = "tools[].parameters";
    if held(request).is_none() {
        return dropped.push("tool_choice".into());
    }
    let before = dropped.len();
    dropped.retain(|field| field != "response_format.json_schema");
    if dropped.len() < before && !dropped.iter().any(|field| field == SCHEMA) {
        dropped.push(SCHEMA.into());
    }
    if !request.sampling.stop.is_empty() {
        dropped.push("stop".into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::{Forcing, decode_request, encode_request, obstacle};
    use super::*;
    use crate::config::Quirks;
    use crate::protocol::Dialect;

    fn tool(name: &str) -> Value {
        let city = json!({ "type": "string", "maxLength": 9 });
        let parameters = json!({ "type": "object", "properties": { "city": city }, "required": ["city"] });
        json!({ "type": "function", "function": { "name": name, "description": "Looks.", "parameters": parameters } })
    }

    fn asking(more: Value) -> ChatRequest {
        let messages = json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Oslo?" }]);
        let mut body =
            json!({ "model": "m", "messages": messages, "tools": [tool("look")], "tool_choice": "required" });
        super::super::super::json::extend(&mut body, more);
        decode_request(Dialect::OpenAi, body.to_string().as_bytes()).unwrap()
    }

    /// The body for a Claude that refuses to be forced, and what it lacks.
    fn sent(request: &ChatRequest) -> (Value, Vec<String>) {
        let (quirks, refuses) = (Quirks::default(), BTreeSet::from([Refusal::ForcedTools]));
        let target =
            Target { reasoning: true, refuses: &refuses, ..Target::new(Dialect::Anthropic, &quirks, "claude") };
        let encoded = encode_request(&target, request).unwrap();
        (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
    }

    fn forcing(request: &ChatRequest) -> Forcing {
        Forcing::of(Dialect::OpenAi, Dialect::Anthropic, true, request)
    }

    #[test]
    fn the_arguments_are_asked_for_as_an_answer() {
        let named = json!({ "type": "function", "function": { "name": "look" } });
        let both = json!([tool("other"), tool("look")]);
        for request in [asking(json!({})), asking(json!({ "tools": both, "tool_choice": named }))] {
            assert_eq!(
                (forcing(&request), obstacle(Dialect::OpenAi, Dialect::Anthropic, &request)),
                (Forcing::AsAnswer, None)
            );
            let (body, dropped) = sent(&request);
            let format = &body["output_config"]["format"];
            let schema = &format["schema"];
            assert_eq!((&format["type"], &schema["additionalProperties"]), (&json!("json_schema"), &json!(false)));
            assert_eq!(schema["properties"]["city"]["description"], "(maxLength: 9)");
            assert_eq!(dropped, ["tools[].parameters"]);
            // As in every other request of the conversation.
            assert_eq!(body["tools"].as_array().unwrap().len(), request.tools.len());
            assert_eq!(body["system"], json!([{ "type": "text", "text": "Be kind." }]));
            assert_eq!(body["tool_choice"], json!({ "type": "none" }));
            let said = body["messages"][0]["content"].as_array().unwrap();
            assert_eq!((said.len(), &said[0]["text"]), (2, &json!("Oslo?")));
            let told = said[1]["text"].as_str().unwrap();
            assert!(["`look`", "Looks."].iter().all(|words| told.contains(words)), "{told}");
        }
    }

    #[test]
    fn who_can_be_forced_is() {
        let quirks = Quirks::default();
        let target = Target { reasoning: true, ..Target::new(Dialect::Anthropic, &quirks, "claude") };
        let encoded = encode_request(&target, &asking(json!({}))).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((&body["tool_choice"], body.get("output_config")), (&json!({ "type": "any" }), None));
    }

    #[test]
    fn what_is_to_be_done_stands_behind_the_results() {
        let call = json!({ "id": "c", "type": "function", "function": { "name": "look", "arguments": "{}" } });
        let mut messages = vec![
            json!({ "role": "user", "content": "Oslo?" }),
            json!({ "role": "assistant", "tool_calls": [call] }),
            json!({ "role": "tool", "tool_call_id": "c", "content": "cold" }),
        ];
        let (body, _) = sent(&asking(json!({ "messages": messages })));
        let kinds = |turn: &Value| -> Vec<String> {
            let blocks = turn["content"].as_array().unwrap();
            blocks.iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds(&body["messages"][2]), ["tool_result", "text"]);
        // Behind an answer, too, and what else was said there.
        messages[1] = json!({ "role": "assistant", "content": "Cold." });
        messages[2] = json!({ "role": "system", "content": "Sum up." });
        let (body, _) = sent(&asking(json!({ "messages": messages })));
        assert_eq!((body.get("system"), kinds(&body["messages"][2]).len()), (None, 2));
        // And where there is nothing but instructions.
        let (body, _) = sent(&asking(json!({ "messages": [{ "role": "system", "content": "Greet." }] })));
        assert_eq!((body.get("system"), kinds(&body["messages"][0]).len()), (None, 2));
    }

    #[test]
    fn what_would_cut_the_arguments_is_left_out_and_thinking_is_not() {
        let more = json!({ "stop": ["}"], "reasoning_effort": "low", "parallel_tool_calls": false,
            "response_format": { "type": "json_object" } });
        let (body, dropped) = sent(&asking(more));
        assert_eq!(dropped, ["tools[].parameters", "stop"]);
        assert_eq!(body.get("stop_sequences"), None);
        assert_eq!(
            (&body["output_config"]["effort"], &body["thinking"]["type"]),
            (&json!("low"), &json!("adaptive"))
        );
        assert_eq!(body.get("system").and_then(|system| system.get(1)), None, "the call is the answer");
    }

    #[test]
    fn a_tool_without_parameters_is_called_without_arguments() {
        for parameters in [json!({}), json!({ "type": "object", "properties": {} })] {
            let tools = json!([{ "type": "function", "function": { "name": "now", "parameters": parameters } }]);
            let (body, dropped) = sent(&asking(json!({ "tools": tools })));
            let closed = json!({ "properties": {}, "type": "object", "additionalProperties": false });
            assert_eq!((&body["output_config"]["format"]["schema"], dropped.len()), (&closed, 0), "{parameters}");
        }
    }

    #[test]
    fn what_no_answer_can_stand_for_is_demanded_in_words() {
        let of = |parameters: Value| {
            let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": parameters } }]);
            asking(json!({ "tools": tools }))
        };
        let map = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let tree = json!({ "type": "object", "properties": { "in": { "$ref": "#" } } });
        let (two, named) =
            (json!([tool("a"), tool("b")]), json!({ "type": "function", "function": { "name": "f" } }));
        let trees = json!([{ "type": "function", "function": { "name": "f", "parameters": tree } }, tool("b")]);
        let any = "Answer by calling one or more of your functions.";
        let one = "Answer by calling one of your functions.";
        let this = "Answer by calling the function `f`.";
        for (request, words, choice) in [
            (of(map), any, json!({ "type": "auto" })),
            (of(json!({ "type": "string" })), any, json!({ "type": "auto" })),
            (asking(json!({ "tools": two })), any, json!({ "type": "auto" })),
            (
                asking(json!({ "tools": two, "parallel_tool_calls": false, "stop": ["END"] })),
                one,
                json!({ "type": "auto", "disable_parallel_tool_use": true }),
            ),
            (asking(json!({ "tools": trees, "tool_choice": named })), this, json!({ "type": "auto" })),
        ] {
            assert_eq!(forcing(&request), Forcing::InWords);
            let (body, dropped) = sent(&request);
            assert_eq!((&body["tool_choice"], body.get("output_config")), (&choice, None));
            // Not in what is marked for the vendor's cache: the next request does not have it.
            let said = &body["messages"][0]["content"];
            assert_eq!(said[1], json!({ "type": "text", "text": words }));
            assert_eq!(said[0]["cache_control"]["type"], "ephemeral");
            assert_eq!(dropped, ["tool_choice"]);
            assert_eq!(body["tools"].as_array().unwrap().len(), request.tools.len());
        }
    }

    #[test]
    fn who_cannot_be_asked_otherwise_has_the_vendor_judge() {
        let one = asking(json!({}));
        for (client, backend) in [(Dialect::Anthropic, Dialect::Anthropic), (Dialect::Native, Dialect::OpenAi)] {
            assert_eq!(Forcing::of(client, backend, true, &one), Forcing::Impossible);
            assert_eq!(Forcing::of(client, backend, false, &one), Forcing::Said);
        }
        let turns = json!([{ "role": "user", "content": "Oslo?" }, { "role": "assistant", "content": "{" }]);
        let begun = asking(json!({ "messages": turns }));
        assert_eq!(forcing(&begun), Forcing::Impossible);
        let (body, _) = sent(&begun);
        assert_eq!((&body["tool_choice"]["type"], body.get("output_config")), (&json!("any"), None));
        assert_eq!(forcing(&asking(json!({ "tool_choice": "auto" }))), Forcing::Said);
    }
}
