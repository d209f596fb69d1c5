//! A call that a client forces, at a server whose dialect cannot say so.
//!
//! A call of one certain tool is that tool's arguments and nothing else. So the server is told whose they are, and held to
//! their schema ("Structured outputs", ollama/ollama docs/api.md, which advises to put the schema into the prompt too); what it
//! then says is the call. Where the client leaves the choice among several tools this is no way.

use serde_json::{Value, json};

use crate::protocol::{
    ChatRequest, ChatResponse, Dialect, FinishReason, Part, StreamEvent, Tool, ToolCallDelta, ToolChoice,
};

/// Whether a request forces a call, of whichever tool.
pub(super) fn is_wanted(request: &ChatRequest) -> bool {
    matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
}

/// The tool that must be called, where a request leaves just one.
pub(super) fn tool(request: &ChatRequest) -> Option<&Tool> {
    match (&request.tool_choice, request.tools.as_slice()) {
        (Some(ToolChoice::Named(name)), tools) => tools.iter().find(|tool| tool.name == *name),
        (Some(ToolChoice::Required), [only]) => Some(only),
        _ => None,
    }
}

/// The schema of the arguments: of an object, whatever the tool says of it.
pub(super) fn schema(tool: &Tool) -> Value {
    match &tool.parameters {
        Value::Object(fields) if fields.is_empty() => json!({ "type": "object" }),
        Value::Object(_) => tool.parameters.clone(),
        _ => json!({ "type": "object" }),
    }
}

/// What the model is told in place of the tools.
pub(super) fn instruction(tool: &Tool) -> String {
    let what = tool.description.as_deref().map(|text| format!(" It does this: {text}")).unwrap_or_default();
    let (name, schema) = (&tool.name, schema(tool));
    format!(
        "Answer by calling the function `{name}`.{what}\nSay nothing but its arguments, as one JSON object of this schema: {schema}"
    )
}

/// Reads what such a server says as the call that it is.
#[derive(Debug)]
pub struct ForcedCall {
    name: String,
    begun: bool,
}

impl ForcedCall {
    /// The call that an answer from a backend of this dialect stands for; `None` = the answer is what it says.
    pub fn of(backend: Dialect, request: &ChatRequest) -> Option<Self> {
        let tool = (backend == Dialect::Ollama).then(|| tool(request)).flatten()?;
        Some(Self { name: tool.name.clone(), begun: false })
    }

    /// A piece of a stream.
    pub(super) fn hear(&mut self, event: &mut StreamEvent) {
        match event {
            StreamEvent::Text(text) => {
                let start = (!self.begun).then(|| (String::new(), self.name.clone()));
                self.begun = true;
                *event = StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments: std::mem::take(text) });
            }
            StreamEvent::Finish { reason: reason @ FinishReason::Stop, .. } if self.begun => {
                *reason = FinishReason::ToolCalls;
            }
            _ => {}
        }
    }

    /// A whole answer.
    pub fn read(self, response: &mut ChatResponse) {
        for part in &mut response.parts {
            if let Part::Text { text, .. } = part {
                let (name, arguments) = (self.name.clone(), std::mem::take(text));
                *part = Part::ToolCall { id: String::new(), name, arguments };
                if response.finish_reason == FinishReason::Stop {
                    response.finish_reason = FinishReason::ToolCalls;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{StreamDecoder, name_calls};
    use super::super::{Target, decode_request, decode_response, encode_request, obstacle};
    use super::*;
    use crate::config::Quirks;

    fn asking(choice: Value, tools: &[&str]) -> ChatRequest {
        let tools: Vec<Value> = tools
            .iter()
            .map(|name| {
                let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
                let function = json!({ "name": name, "description": "Looks it up.", "parameters": parameters });
                json!({ "type": "function", "function": function })
            })
            .collect();
        let messages = json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Oslo?" }]);
        let body = json!({ "model": "m", "messages": messages, "tools": tools, "tool_choice": choice });
        decode_request(Dialect::OpenAi, body.to_string().as_bytes()).unwrap()
    }

    fn named(name: &str) -> Value {
        json!({ "type": "function", "function": { "name": name } })
    }

    #[test]
    fn one_tool_is_said_as_a_schema() {
        for request in [asking("required".into(), &["look"]), asking(named("look"), &["other", "look"])] {
            assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &request), None);
            let quirks = Quirks::default();
            let encoded = encode_request(&Target::new(Dialect::Ollama, &quirks, "m"), &request).unwrap();
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            assert_eq!(body["format"]["properties"]["city"]["type"], "string");
            assert_eq!(body.get("tools"), None);
            let messages = body["messages"].as_array().unwrap();
            let roles: Vec<&Value> = messages.iter().map(|message| &message["role"]).collect();
            assert_eq!(roles, ["system", "system", "user"]);
            let told = messages[1]["content"].as_str().unwrap();
            assert!(["`look`", "Looks it up.", r#""city""#].iter().all(|words| told.contains(words)), "{told}");
        }
    }

    #[test]
    fn a_choice_among_several_or_of_a_stranger_cannot_be_said() {
        for request in [asking("required".into(), &["look", "other"]), asking(named("stranger"), &["look"])] {
            assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &request).as_deref(), Some("tool_choice"));
            assert!(ForcedCall::of(Dialect::Ollama, &request).is_none());
        }
        assert!(ForcedCall::of(Dialect::OpenAi, &asking("required".into(), &["look"])).is_none());
    }

    #[test]
    fn the_answer_is_the_call() {
        let request = asking("required".into(), &["look"]);
        let body = br#"{"model":"m","message":{"content":"{\"city\":\"Oslo\"}"},"done":true,"done_reason":"stop"}"#;
        let mut response = decode_response(Dialect::Ollama, body).unwrap();
        ForcedCall::of(Dialect::Ollama, &request).unwrap().read(&mut response);
        name_calls(&mut response, 7);
        let call =
            Part::ToolCall { id: "call_7_0".into(), name: "look".into(), arguments: r#"{"city":"Oslo"}"#.into() };
        assert_eq!((response.parts, response.finish_reason), (vec![call], FinishReason::ToolCalls));
    }

    #[test]
    fn a_stream_is_the_call_and_says_where_it_was_cut() {
        let request = asking("required".into(), &["look"]);
        for (why, reason) in [("stop", FinishReason::ToolCalls), ("length", FinishReason::Length)] {
            let forced = ForcedCall::of(Dialect::Ollama, &request);
            let mut decoder = StreamDecoder::new(Dialect::Ollama).asked_at(7).forced(forced);
            let lines = format!(
                "{}\n{}\n{}\n",
                r#"{"model":"m","message":{"content":"{\"city\":"}}"#,
                r#"{"model":"m","message":{"content":"\"Oslo\"}"}}"#,
                json!({ "model": "m", "message": { "content": "" }, "done": true, "done_reason": why }),
            );
            let mut events = Vec::new();
            decoder.push(lines.as_bytes(), &mut events);
            let start = Some(("call_7_0".to_owned(), "look".to_owned()));
            let delta = |start, arguments: &str| {
                StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments: arguments.into() })
            };
            assert_eq!(events[1..3], [delta(start, r#"{"city":"#), delta(None, r#""Oslo"}"#)]);
            assert_eq!(events[3..], [StreamEvent::Finish { reason, stop_sequence: None }]);
        }
    }
}
