//! A forced tool call at a server whose dialect cannot force one (Ollama).
//!
//! A call of a given tool is nothing but that tool's arguments. So the model is told to write them, the server holds
//! the answer to their schema ("Structured outputs", ollama/ollama docs/api.md, which advises to put the schema into
//! the prompt too), and the text that comes is turned into the call. This works only where the request leaves one tool.

use serde_json::{Value, json};

use super::raw;
use crate::protocol::{
    ApiError, ChatRequest, ChatResponse, Dialect, ErrorKind, FinishReason, Part, StreamEvent, Tool, ToolCallDelta,
    ToolChoice, Usage,
};

/// The tool that must be called, where the request leaves only one.
pub(super) fn tool(request: &ChatRequest) -> Option<&Tool> {
    match (&request.tool_choice, request.tools.as_slice()) {
        (Some(ToolChoice::Named(name)), tools) => tools.iter().find(|tool| tool.name == *name),
        (Some(ToolChoice::Required), [only]) => Some(only),
        _ => None,
    }
}

/// The schema of a tool's arguments; any object where the tool has none.
pub(super) fn schema(tool: &Tool) -> Value {
    match &tool.parameters {
        Value::Object(fields) if fields.is_empty() => json!({ "type": "object" }),
        Value::Object(_) => tool.parameters.clone(),
        _ => json!({ "type": "object" }),
    }
}

/// The instruction that the model gets in place of the tools.
pub(super) fn instruction(tool: &Tool) -> String {
    let what = tool.description.as_deref().map(|text| format!(" It does this: {text}")).unwrap_or_default();
    let (name, schema) = (&tool.name, schema(tool));
    format!(
        "Answer by calling the function `{name}`.{what}\nSay nothing but its arguments, as one JSON object of this schema: {schema}"
    )
}

/// Bytes of a call's arguments that are held back at most.
const MAX_ARGUMENTS_BYTES: usize = 1 << 20;

/// Turns an answer to [`instruction`] into the call. Not every model keeps to the schema, whatever its server says
/// (ollama/ollama#14645), so the text is checked first: a stream's is held back until it is whole. Reasoning is not
/// held back; after some, a failed check can only be told within the stream.
#[derive(Debug)]
pub struct ForcedCall {
    name: String,
    /// The text so far.
    text: String,
    /// Whether the server made a call by itself.
    called: bool,
    /// The server's count, held back like the text: it counts the call that is made of it.
    usage: Option<Usage>,
}

impl ForcedCall {
    /// The call that an answer of `backend` stands for; `None` = the answer is to stay as it is.
    pub fn of(backend: Dialect, request: &ChatRequest) -> Option<Self> {
        let tool = (backend == Dialect::Ollama).then(|| tool(request)).flatten()?;
        Some(Self { name: tool.name.clone(), text: String::new(), called: false, usage: None })
    }

    /// Takes in an event of a stream and appends the events that are due.
    ///
    /// # Errors
    ///
    /// `Upstream` where the text turns out to be no call.
    pub(super) fn on_event(&mut self, event: StreamEvent, out: &mut Vec<StreamEvent>) -> Result<(), ApiError> {
        match event {
            StreamEvent::Text(text) if self.text.len() + text.len() > MAX_ARGUMENTS_BYTES => return Err(no_call()),
            StreamEvent::Text(text) => self.text.push_str(&text),
            StreamEvent::Usage(usage) => self.usage.get_or_insert_default().absorb(&usage),
            StreamEvent::Finish { mut reason, stop_sequence } => {
                let call = self.arguments(&mut reason);
                if let Ok(Some(arguments)) = &call {
                    let arguments = arguments.clone();
                    let start = Some((String::new(), self.name.clone()));
                    out.push(StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments }));
                }
                out.extend(self.usage.take().map(StreamEvent::Usage));
                call?;
                out.push(StreamEvent::Finish { reason, stop_sequence });
            }
            other => {
                self.called |= matches!(other, StreamEvent::ToolCall(_));
                out.push(other);
            }
        }
        Ok(())
    }

    /// Turns the text of a whole answer into the call.
    ///
    /// # Errors
    ///
    /// `Upstream` where the text is no call.
    pub fn apply(mut self, response: &mut ChatResponse) -> Result<(), ApiError> {
        response.parts.retain(|part| {
            self.called |= matches!(part, Part::ToolCall { .. });
            let Part::Text { text, .. } = part else { return true };
            self.text.push_str(text);
            false
        });
        if let Some(arguments) = self.arguments(&mut response.finish_reason)? {
            response.parts.push(Part::ToolCall { id: String::new(), name: self.name, arguments });
        }
        Ok(())
    }

    /// The call's arguments in the text; `reason` becomes that of a call. `None` = the server made a call by itself, or
    /// the answer was cut off before the arguments began.
    fn arguments(&mut self, reason: &mut FinishReason) -> Result<Option<String>, ApiError> {
        let said = unfenced(&self.text);
        // Cut off by the client's own limit, perhaps within the reasoning.
        let cut = *reason == FinishReason::Length;
        if self.called || (cut && said.is_empty()) {
            return Ok(None);
        }
        let is_object = said.starts_with('{') && raw::is_sound(said);
        let begins_one = cut && said.starts_with('{');
        if !is_object && !begins_one {
            return Err(no_call());
        }
        if *reason == FinishReason::Stop {
            *reason = FinishReason::ToolCalls;
        }
        Ok(Some(said.to_owned()))
    }
}

fn no_call() -> ApiError {
    ApiError::new(ErrorKind::Upstream, "its answer is not the tool call that was demanded")
}

/// A text without the Markdown fence that some models put around JSON.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(within) = text.strip_prefix("```") else { return text };
    let within = within.strip_prefix("json").unwrap_or(within).trim();
    within.strip_suffix("```").unwrap_or(within).trim()
}

#[cfg(test)]
mod tests {
    use super::super::{StreamDecoder, name_calls};
    use super::super::{Target, decode_request, decode_response, encode_request, obstacle};
    use super::*;
    use crate::config::Quirks;
    use crate::protocol::{Effort, Reasoning};

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
        ForcedCall::of(Dialect::Ollama, &request).unwrap().apply(&mut response).unwrap();
        name_calls(&mut response, 7);
        let call =
            Part::ToolCall { id: "call_7_0".into(), name: "look".into(), arguments: r#"{"city":"Oslo"}"#.into() };
        assert_eq!((response.parts, response.finish_reason), (vec![call], FinishReason::ToolCalls));
    }

    /// What the answer in these pieces is read as, whole and streamed: the arguments and why it ended.
    fn heard(pieces: &[&str], why: &str) -> Result<(Option<String>, FinishReason), ErrorKind> {
        let request = asking("required".into(), &["look"]);
        let line = |text: &str, done: bool| json!({ "model": "m", "message": { "content": text }, "done": done, "done_reason": done.then_some(why) });
        let mut decoder =
            StreamDecoder::new(Dialect::Ollama).asked_at(7).forced(ForcedCall::of(Dialect::Ollama, &request));
        let mut events = Vec::new();
        for line in pieces.iter().map(|piece| line(piece, false)).chain([line("", true)]) {
            decoder.push(format!("{line}\n").as_bytes(), &mut events);
        }
        let mut streamed = Ok((None, FinishReason::Other));
        for event in events {
            match (event, &mut streamed) {
                (StreamEvent::ToolCall(call), Ok((arguments, _))) => {
                    assert_eq!(call.start, Some(("call_7_0".into(), "look".into())));
                    assert_eq!(arguments.replace(call.arguments), None, "whole");
                }
                (StreamEvent::Finish { reason, .. }, Ok((_, why))) => *why = reason,
                (StreamEvent::Error(error), _) => streamed = Err(error.kind),
                (event, _) => assert!(!matches!(event, StreamEvent::Text(_)), "{event:?}"),
            }
        }
        let mut whole =
            decode_response(Dialect::Ollama, line(&pieces.concat(), true).to_string().as_bytes()).unwrap();
        let read = ForcedCall::of(Dialect::Ollama, &request).unwrap().apply(&mut whole);
        let read = read.map_err(|error| error.kind).map(|()| {
            let arguments = whole.parts.iter().find_map(|part| match part {
                Part::ToolCall { arguments, .. } => Some(arguments.clone()),
                _ => None,
            });
            (arguments, whole.finish_reason)
        });
        assert_eq!(read, streamed, "{pieces:?}");
        streamed
    }

    #[test]
    fn a_stream_is_the_call_and_says_where_it_was_cut() {
        let oslo = r#"{"city":"Oslo"}"#.to_owned();
        assert_eq!(heard(&[r#"{"city":"#, r#""Oslo"}"#], "stop"), Ok((Some(oslo.clone()), FinishReason::ToolCalls)));
        assert_eq!(heard(&["```json\n", &oslo, "\n```\n"], "stop"), Ok((Some(oslo), FinishReason::ToolCalls)));
        let cut = r#"{"city":"Os"#;
        assert_eq!(heard(&[cut], "length"), Ok((Some(cut.to_owned()), FinishReason::Length)));
        assert_eq!(heard(&[], "length"), Ok((None, FinishReason::Length)), "it was thinking");
    }

    /// The count stands behind what it counts: what comes after a count is taken as not yet counted.
    #[test]
    fn a_streams_count_comes_after_the_call_and_also_where_there_is_none() {
        for (text, last) in [(r#"{"city":"Oslo"}"#, "finish"), ("Oslo", "error")] {
            let request = asking("required".into(), &["look"]);
            let forced = ForcedCall::of(Dialect::Ollama, &request);
            let line = json!({ "model": "m", "message": { "content": text }, "done": true, "done_reason": "stop",
                "prompt_eval_count": 9, "eval_count": 7 });
            let mut events = Vec::new();
            StreamDecoder::new(Dialect::Ollama).forced(forced).push(format!("{line}\n").as_bytes(), &mut events);
            let named = events.iter().filter_map(|event| match event {
                StreamEvent::ToolCall(_) => Some("call"),
                StreamEvent::Usage(usage) if usage.output_tokens == 7 => Some("usage"),
                StreamEvent::Finish { .. } => Some("finish"),
                StreamEvent::Error(_) => Some("error"),
                _ => None,
            });
            let told = if last == "finish" { vec!["call", "usage", last] } else { vec!["usage", last] };
            assert_eq!(named.collect::<Vec<_>>(), told);
        }
    }

    #[test]
    fn what_is_no_call_is_an_error() {
        for prose in [r#"Sure! {"city":"Oslo"}"#, r#"{"city":"#, "[1]", "Oslo", ""] {
            assert_eq!(heard(&[prose], "stop"), Err(ErrorKind::Upstream), "{prose}");
        }
        assert_eq!(heard(&["Let me see"], "length"), Err(ErrorKind::Upstream));
        assert_eq!(heard(&["{", &" ".repeat(MAX_ARGUMENTS_BYTES)], "stop"), Err(ErrorKind::Upstream));
    }

    #[test]
    fn nobody_is_told_not_to_think_beside_a_schema() {
        let mut request = asking("required".into(), &["look"]);
        request.reasoning = Some(Reasoning { effort: Some(Effort::None), ..Reasoning::default() });
        let quirks = Quirks::default();
        let target = Target { reasoning: true, ..Target::new(Dialect::Ollama, &quirks, "m") };
        let encoded = encode_request(&target, &request).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((body.get("think"), encoded.dropped), (None, vec!["reasoning".to_owned()]));
    }
}
