//! A forced tool call where none can be forced: Ollama's dialect cannot say it, and the newest models of Anthropic's
//! refuse it.
//!
//! A call of a given tool is nothing but that tool's arguments. So the model is told to write them, the server holds
//! the answer to their schema (for Ollama see "Structured outputs", ollama/ollama docs/api.md, which advises to put the
//! schema into the prompt too; for Claude [`anthropic_messages::forced`]), and the text that comes is turned into the
//! call. This works only where the request leaves one tool; a call of any of several is asked for in words.

use serde_json::{Value, json};

use super::{Target, anthropic_messages, raw};
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
        Value::Object(fields) if !fields.is_empty() => tool.parameters.clone(),
        _ => json!({ "type": "object" }),
    }
}

/// The instruction to write the arguments of a call.
pub(super) fn instruction(tool: &Tool) -> String {
    let what = tool.description.as_deref().map(|text| format!(" It does this: {text}")).unwrap_or_default();
    let name = &tool.name;
    format!("Answer by calling the function `{name}`.{what}\nSay nothing but its arguments, as one JSON object")
}

/// The demand for a call in words, where nothing else can say it.
pub(super) fn demand(request: &ChatRequest) -> String {
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) => format!("Answer by calling the function `{name}`."),
        _ if request.parallel_tool_calls == Some(false) => "Answer by calling one of your functions.".into(),
        _ => "Answer by calling one or more of your functions.".into(),
    }
}

/// How a demanded call can be had of a model, from the surest way on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forcing {
    /// Its dialect says it, or none is demanded.
    Said,
    /// As an answer that is held to the schema of the tool's arguments.
    AsAnswer,
    /// The model is told to call a tool, and may do otherwise.
    InWords,
    /// Not at all.
    Impossible,
}

impl Forcing {
    /// Whether the model cannot do otherwise.
    pub fn is_sure(self) -> bool {
        matches!(self, Self::Said | Self::AsAnswer)
    }

    /// Where a `backend` serves a model that `refuses` to be made to call a tool, or does not. Of the vendor's own client
    /// the body passes through, and so does the answer.
    pub fn of(client: Dialect, backend: Dialect, refuses: bool, request: &ChatRequest) -> Self {
        let is_held = match backend {
            _ if !request.must_call() => return Self::Said,
            Dialect::Ollama => tool(request).is_some(),
            _ if !refuses => return Self::Said,
            Dialect::Anthropic if client != backend && !request.is_prefilled() => {
                anthropic_messages::forced::held(request).is_some()
            }
            _ => return Self::Impossible,
        };
        if is_held { Self::AsAnswer } else { Self::InWords }
    }
}

/// Bytes of a call's arguments that are held back at most.
const MAX_ARGUMENTS_BYTES: usize = 1 << 20;

/// Turns an answer to [`instruction`] into the call. Not every model keeps to the schema, whatever its server says
/// (ollama/ollama#14645), so the text is checked first: a stream's is held back until it is whole. Reasoning is not
/// held back; after some, a failed check can only be told within the stream. It loses its signature: the vendor refuses
/// it where what was said before is not what the model was told, and the client does not know the instruction.
#[derive(Debug)]
pub struct ForcedCall {
    /// The tool; `None` = the model was told in words to make a call: it makes its own, and only signatures go.
    name: Option<String>,
    /// The text so far.
    text: String,
    /// Whether the server made a call by itself.
    called: bool,
    /// The server's count, held back like the text: it counts the call that is made of it.
    usage: Option<Usage>,
}

/// What an answer says in place of the call.
enum Said {
    /// The call's arguments.
    Arguments(String),
    /// Why there is none, in words.
    Refusal,
    /// Nothing: the server made a call by itself, or the answer ended before the arguments began.
    Nothing,
}

impl ForcedCall {
    /// The call that the answer to a translated request stands for; `None` = the answer is to stay as it is.
    pub fn of(target: &Target<'_>, request: &ChatRequest) -> Option<Self> {
        let tool = match target.dialect {
            Dialect::Ollama => Some(tool(request)?),
            Dialect::Anthropic if anthropic_messages::forced::is_needed(target, request) => {
                anthropic_messages::forced::held(request).map(|(tool, _)| tool)
            }
            _ => return None,
        };
        let name = tool.map(|tool| tool.name.clone());
        Some(Self { name, text: String::new(), called: false, usage: None })
    }

    /// Bytes of the answer that are held back: its vendor charges for them even if nothing more comes.
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len()
    }

    /// Takes in an event of a stream and appends the events that are due.
    ///
    /// # Errors
    ///
    /// `Upstream` where the text turns out to be no call.
    pub(super) fn on_event(&mut self, event: StreamEvent, out: &mut Vec<StreamEvent>) -> Result<(), ApiError> {
        match event {
            StreamEvent::ThinkingSignature(_) | StreamEvent::RedactedThinking(_) => {}
            event if self.name.is_none() => out.push(event),
            StreamEvent::Text(text) if self.text.len() + text.len() > MAX_ARGUMENTS_BYTES => return Err(no_call()),
            StreamEvent::Text(text) => self.text.push_str(&text),
            // Before the text it counts the prompt, and what was thought.
            StreamEvent::Usage(usage) if !self.text.is_empty() => self.usage.get_or_insert_default().absorb(&usage),
            StreamEvent::Finish { mut reason, stop_sequence } => {
                let said = self.said(&mut reason);
                match &said {
                    Ok(Said::Arguments(arguments)) => {
                        let arguments = arguments.clone();
                        let start = self.name.clone().map(|name| (String::new(), name));
                        out.push(StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments }));
                    }
                    Ok(Said::Refusal) => out.push(StreamEvent::Text(self.text.clone())),
                    Ok(Said::Nothing) | Err(_) => {}
                }
                self.text.clear();
                out.extend(self.usage.take().map(StreamEvent::Usage));
                said?;
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
        response.parts.retain_mut(|part| match part {
            Part::Text { text, .. } if self.name.is_some() => {
                self.text.push_str(text);
                false
            }
            Part::Thinking { text, signature } => {
                *signature = None;
                !text.is_empty()
            }
            Part::RedactedThinking { .. } => false,
            _ => {
                self.called |= part.is_call();
                true
            }
        });
        let Some(name) = self.name.clone() else { return Ok(()) };
        match self.said(&mut response.finish_reason)? {
            Said::Arguments(arguments) => {
                response.parts.push(Part::ToolCall { id: String::new(), name, arguments });
            }
            Said::Refusal => response.parts.push(Part::text(self.text)),
            Said::Nothing => {}
        }
        Ok(())
    }

    /// What the text says; `reason` becomes that of a call, if it is one.
    fn said(&mut self, reason: &mut FinishReason) -> Result<Said, ApiError> {
        let said = unfenced(&self.text);
        // A refusal goes before any schema, and may break off what was begun.
        let refused = *reason == FinishReason::ContentFilter;
        // Cut off by the client's own limit, perhaps within the reasoning.
        let cut = *reason == FinishReason::Length;
        if self.called || ((cut || refused) && said.is_empty()) {
            return Ok(Said::Nothing);
        }
        if refused {
            return Ok(Said::Refusal);
        }
        let is_object = said.starts_with('{') && raw::is_sound(said);
        let begins_one = cut && said.starts_with('{');
        if !is_object && !begins_one {
            return Err(no_call());
        }
        if *reason == FinishReason::Stop {
            *reason = FinishReason::ToolCalls;
        }
        Ok(Said::Arguments(said.to_owned()))
    }
}

fn no_call() -> ApiError {
    let error = ApiError::new(ErrorKind::Upstream, "its answer is not the tool call that was demanded");
    ApiError { by_model: true, ..error }
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
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use super::super::{StreamDecoder, name_calls};
    use super::super::{decode_request, decode_response, encode_request, obstacle};
    use super::*;
    use crate::config::{Quirks, Refusal};
    use crate::protocol::{Effort, Reasoning};

    static QUIRKS: LazyLock<Quirks> = LazyLock::new(Quirks::default);
    static UNFORCED: LazyLock<BTreeSet<Refusal>> = LazyLock::new(|| [Refusal::ForcedTools].into());

    fn ollama() -> Target<'static> {
        Target::new(Dialect::Ollama, &QUIRKS, "m")
    }

    fn claude() -> Target<'static> {
        Target { refuses: &UNFORCED, ..Target::new(Dialect::Anthropic, &QUIRKS, "m") }
    }

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
    fn a_choice_among_several_is_said_in_words_and_one_of_a_stranger_is_not() {
        let stranger = asking(named("stranger"), &["look"]);
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &stranger).as_deref(), Some("tool_choice"));
        let several = asking("required".into(), &["look", "other"]);
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &several), None);
        assert_eq!(Forcing::of(Dialect::OpenAi, Dialect::Ollama, false, &several), Forcing::InWords);
        let encoded = encode_request(&ollama(), &several).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((body["tools"].as_array().map(Vec::len), body.get("format")), (Some(2), None));
        assert_eq!(body["messages"][1]["content"], "Answer by calling one or more of your functions.");
        assert_eq!(encoded.dropped, ["tool_choice"]);
        for request in [&several, &stranger] {
            assert!(ForcedCall::of(&ollama(), request).is_none());
        }
        let one = asking("required".into(), &["look"]);
        for able in [Dialect::OpenAi, Dialect::Anthropic] {
            assert!(ForcedCall::of(&Target::new(able, &QUIRKS, "m"), &one).is_none());
        }
        assert!(ForcedCall::of(&claude(), &one).is_some());
    }

    #[test]
    fn the_answer_is_the_call() {
        let request = asking("required".into(), &["look"]);
        let body = br#"{"model":"m","message":{"content":"{\"city\":\"Oslo\"}"},"done":true,"done_reason":"stop"}"#;
        let mut response = decode_response(Dialect::Ollama, body).unwrap();
        ForcedCall::of(&ollama(), &request).unwrap().apply(&mut response).unwrap();
        name_calls(&mut response, 7);
        let call =
            Part::ToolCall { id: "call_7_0".into(), name: "look".into(), arguments: r#"{"city":"Oslo"}"#.into() };
        assert_eq!((response.parts, response.finish_reason), (vec![call], FinishReason::ToolCalls));
    }

    /// What the answer in these pieces is read as, whole and streamed: the arguments and why it ended.
    fn heard(pieces: &[&str], why: &str) -> Result<(Option<String>, FinishReason), ErrorKind> {
        let request = asking("required".into(), &["look"]);
        let line = |text: &str, done: bool| json!({ "model": "m", "message": { "content": text }, "done": done, "done_reason": done.then_some(why) });
        let mut decoder = StreamDecoder::new(Dialect::Ollama).asked_at(7).forced(ForcedCall::of(&ollama(), &request));
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
        let read = ForcedCall::of(&ollama(), &request).unwrap().apply(&mut whole);
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
            let forced = ForcedCall::of(&ollama(), &request);
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

    /// What an answer of Claude's, this text behind thoughts, is read as: whole, and the events where it is streamed,
    /// with the stream's own end or without.
    fn heard_of_claude(text: &str, why: &str, ends: bool) -> (ChatResponse, Vec<(&'static str, String)>) {
        let request = asking("required".into(), &["look"]);
        let thought = json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" });
        let hidden = json!({ "type": "thinking", "thinking": "", "signature": "c2ln" });
        let sealed = json!({ "type": "redacted_thinking", "data": "x" });
        let usage = json!({ "input_tokens": 9, "output_tokens": 7 });
        let said = json!({ "type": "text", "text": text });
        let body = json!({ "id": "msg", "model": "m", "content": [thought, hidden, sealed, said],
            "stop_reason": why, "usage": usage });
        let mut whole = decode_response(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
        ForcedCall::of(&claude(), &request).unwrap().apply(&mut whole).unwrap();
        let mut decoder = StreamDecoder::new(Dialect::Anthropic).forced(ForcedCall::of(&claude(), &request));
        let mut events = Vec::new();
        let counted = json!({ "input_tokens": 9, "output_tokens": 1 });
        let deltas = [
            json!({ "type": "thinking_delta", "thinking": "Hm." }),
            json!({ "type": "signature_delta", "signature": "c2ln" }),
            json!({ "type": "text_delta", "text": text }),
        ];
        let deltas = deltas.map(|delta| json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
        let start = json!({ "type": "message_start", "message": { "id": "msg", "model": "m", "usage": counted } });
        let end = json!({ "type": "message_delta", "delta": { "stop_reason": why }, "usage": usage });
        let stop = ends.then(|| json!({ "type": "message_stop" }));
        for event in [start].into_iter().chain(deltas).chain([end]).chain(stop) {
            decoder.push(format!("data: {event}\n\n").as_bytes(), &mut events);
        }
        decoder.finish(&mut events);
        let told = events.into_iter().map(|event| match event {
            StreamEvent::Start { .. } => ("start", String::new()),
            StreamEvent::Thinking(text) => ("thought", text),
            StreamEvent::Text(text) => ("text", text),
            StreamEvent::ToolCall(call) => ("call", call.arguments),
            StreamEvent::Usage(usage) => ("usage", usage.output_tokens.to_string()),
            StreamEvent::Finish { reason, .. } => ("finish", format!("{reason:?}")),
            other => ("other", format!("{other:?}")),
        });
        (whole, told.collect())
    }

    #[test]
    fn claudes_answer_is_the_call_and_its_thoughts_are_nobody_s_to_send_back() {
        let oslo = r#"{"city":"Oslo"}"#;
        for ends in [true, false] {
            let (whole, told) = heard_of_claude(oslo, "end_turn", ends);
            let thought = Part::Thinking { text: "Hm.".into(), signature: None };
            let call = Part::ToolCall { id: String::new(), name: "look".into(), arguments: oslo.into() };
            assert_eq!((whole.parts, whole.finish_reason), (vec![thought, call], FinishReason::ToolCalls));
            let expected = [
                ("start", ""),
                ("usage", "1"),
                ("thought", "Hm."),
                ("call", oslo),
                ("usage", "7"),
                ("finish", "ToolCalls"),
            ];
            assert_eq!(told, expected.map(|(name, text)| (name, text.to_owned())));
        }
    }

    /// What is thought over words that the client does not know is not its to send back.
    #[test]
    fn who_was_told_to_call_makes_its_own_calls_and_its_thoughts_lose_their_signature() {
        let several = asking("required".into(), &["look", "other"]);
        let call = || ForcedCall::of(&claude(), &several).unwrap();
        let thought = json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" });
        let sealed = json!({ "type": "redacted_thinking", "data": "x" });
        let said = json!({ "type": "text", "text": "I look." });
        let made = json!({ "type": "tool_use", "id": "c", "name": "other", "input": {} });
        let body = json!({ "id": "msg", "model": "m", "content": [thought, sealed, said, made],
            "stop_reason": "tool_use", "usage": { "input_tokens": 9, "output_tokens": 7 } });
        let mut whole = decode_response(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
        call().apply(&mut whole).unwrap();
        let expected = [
            Part::Thinking { text: "Hm.".into(), signature: None },
            Part::text("I look."),
            Part::ToolCall { id: "c".into(), name: "other".into(), arguments: "{}".into() },
        ];
        assert_eq!((whole.parts.as_slice(), whole.finish_reason), (&expected[..], FinishReason::ToolCalls));
        let mut out = Vec::new();
        let finish = StreamEvent::Finish { reason: FinishReason::Stop, stop_sequence: None };
        for event in [
            StreamEvent::Thinking("Hm.".into()),
            StreamEvent::ThinkingSignature("c2ln".into()),
            StreamEvent::RedactedThinking("x".into()),
            StreamEvent::Text("No.".into()),
            finish.clone(),
        ] {
            call().on_event(event, &mut out).unwrap();
        }
        assert_eq!(out, [StreamEvent::Thinking("Hm.".into()), StreamEvent::Text("No.".into()), finish]);
    }

    #[test]
    fn who_refuses_is_heard_and_makes_no_call() {
        for words in ["I cannot.", r#"{"city":"#] {
            let (whole, told) = heard_of_claude(words, "refusal", true);
            assert_eq!(
                (whole.parts.last(), whole.finish_reason),
                (Some(&Part::text(words)), FinishReason::ContentFilter)
            );
            let end: Vec<&str> = told[3..].iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(end, [words, "7", "ContentFilter"]);
        }
        let (whole, told) = heard_of_claude("", "refusal", true);
        assert_eq!((whole.parts.len(), whole.finish_reason), (1, FinishReason::ContentFilter));
        assert_eq!(told.last().map(|(_, text)| text.as_str()), Some("ContentFilter"));
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
