//! Tools' names that a backend's dialect does not take as the client gives them: too long (clients put a server's name
//! before each of its tools'), or with other characters. The backend hears another name, and the client its own.

use std::borrow::Cow;
use std::collections::HashMap;

use super::ids::hashed;
use crate::protocol::{ChatRequest, ChatResponse, Dialect, Part, ToolChoice};

/// Characters of a function's name that every dialect takes.
pub(super) const MAX_CHARS: usize = 64;

/// Characters that Anthropic takes.
const MAX_CHARS_AT_ANTHROPIC: usize = 128;

/// Characters of the hash that tells changed names apart.
const HASH_CHARS: usize = 8;

/// The name with letters, digits, `_` and `-` alone, and at most so many of them: where it is not so by itself, its beginning
/// and a hash of the whole.
pub(super) fn fitting(name: &str, most: usize) -> Cow<'_, str> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if name.len() <= most && name.chars().all(fits) {
        return Cow::Borrowed(name);
    }
    let letters = name.chars().map(|letter| if fits(letter) { letter } else { '_' });
    let beginning: String = letters.take(most - HASH_CHARS - 1).collect();
    Cow::Owned(format!("{beginning}_{}", &hashed(name)[..HASH_CHARS]))
}

/// The name by which a `backend` knows a tool, where the client's own will not do. An empty name is for the vendor to
/// refuse.
fn changed(backend: Dialect, name: &str) -> Option<String> {
    let most = match backend {
        Dialect::OpenAi | Dialect::Responses => MAX_CHARS,
        Dialect::Anthropic => MAX_CHARS_AT_ANTHROPIC,
        Dialect::Ollama | Dialect::Native => return None,
    };
    match fitting(name, most) {
        Cow::Owned(name) => Some(name),
        Cow::Borrowed(_) => None,
    }
}

/// The request as a `backend` takes it: with other names where those of its tools and calls will not do.
pub(super) fn fit(backend: Dialect, request: Cow<'_, ChatRequest>) -> Cow<'_, ChatRequest> {
    let called = request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::ToolCall { name, .. } => Some(name),
        _ => None,
    });
    let chosen = request.tool_choice.iter().filter_map(|choice| match choice {
        ToolChoice::Named(name) => Some(name),
        _ => None,
    });
    let mut names = request.tools.iter().map(|tool| &tool.name).chain(called).chain(chosen);
    if !names.any(|name| changed(backend, name).is_some()) {
        return request;
    }
    let mut request = request.into_owned();
    let called = request.messages.iter_mut().flat_map(|message| &mut message.parts).filter_map(|part| match part {
        Part::ToolCall { name, .. } => Some(name),
        _ => None,
    });
    let chosen = request.tool_choice.iter_mut().filter_map(|choice| match choice {
        ToolChoice::Named(name) => Some(name),
        _ => None,
    });
    for name in request.tools.iter_mut().map(|tool| &mut tool.name).chain(called).chain(chosen) {
        if let Some(other) = changed(backend, name) {
            *name = other;
        }
    }
    Cow::Owned(request)
}

/// The client's names of the tools whose names a backend did not take, by the names that it knows them by.
#[derive(Debug)]
pub struct ToolNames(HashMap<String, String>);

impl ToolNames {
    /// Those of a translated request; `None` = all names are as the client gave them.
    pub fn of(backend: Dialect, request: &ChatRequest) -> Option<Self> {
        let changed =
            request.tools.iter().filter_map(|tool| Some((changed(backend, &tool.name)?, tool.name.clone())));
        let names: HashMap<String, String> = changed.collect();
        (!names.is_empty()).then_some(Self(names))
    }

    /// Gives a called tool the client's name.
    pub(super) fn restore(&self, name: &mut String) {
        if let Some(own) = self.0.get(name) {
            name.clone_from(own);
        }
    }

    /// Gives the tools that an answer calls the client's names.
    pub fn restore_all(&self, response: &mut ChatResponse) {
        for part in &mut response.parts {
            if let Part::ToolCall { name, .. } = part {
                self.restore(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Encoded, StreamDecoder, Target, decode_request, decode_response, encode_request};
    use super::*;
    use crate::config::Quirks;
    use crate::protocol::{StreamEvent, ToolCallDelta};

    #[test]
    fn a_name_that_fits_stays_and_others_are_told_apart() {
        assert_eq!(fitting("get_weather-2", MAX_CHARS), "get_weather-2");
        assert_eq!(fitting(&"a".repeat(64), MAX_CHARS), "a".repeat(64));
        let long = |last: &str| fitting(&("a".repeat(64) + last), MAX_CHARS).into_owned();
        assert_eq!((long("b").len(), long("b") == long("c")), (64, false));
        let (dotted, spaced) = (fitting("a.b", MAX_CHARS), fitting("a b", MAX_CHARS));
        assert!(dotted.starts_with("a_b_") && dotted != spaced, "{dotted} {spaced}");
        // A letter of several bytes is one character.
        assert_eq!(fitting(&"ü".repeat(100), MAX_CHARS).chars().count(), 64);
    }

    /// A request with a tool of this name, which was called before and must be called again.
    fn calling(name: &str) -> ChatRequest {
        let body = json!({ "model": "m", "max_tokens": 100,
            "tools": [{ "name": name, "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "tool", "name": name },
            "messages": [
                { "role": "user", "content": "q" },
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": name, "input": {} }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "r" }] },
            ] });
        decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap()
    }

    fn sent(backend: Dialect, request: &ChatRequest) -> Value {
        let quirks = Quirks::default();
        let Encoded { body, .. } = encode_request(&Target::new(backend, &quirks, "m"), request).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_backend_hears_a_name_that_it_takes_everywhere() {
        let name = "mcp__".to_owned() + &"s".repeat(80);
        let request = calling(&name);
        let short = fitting(&name, MAX_CHARS).into_owned();
        let in_chat = sent(Dialect::OpenAi, &request);
        for path in ["/tools/0/function/name", "/tool_choice/function/name", "/messages/1/tool_calls/0/function/name"]
        {
            assert_eq!(in_chat.pointer(path), Some(&json!(short)), "{path} {in_chat}");
        }
        let in_responses = sent(Dialect::Responses, &request);
        for path in ["/tools/0/name", "/tool_choice/name", "/input/1/name"] {
            assert_eq!(in_responses.pointer(path), Some(&json!(short)), "{path} {in_responses}");
        }
        // Anthropic takes it as it is, and Ollama takes all.
        assert_eq!(sent(Dialect::Anthropic, &request)["tools"][0]["name"], json!(name));
        assert_eq!(sent(Dialect::Anthropic, &calling("a.b"))["tools"][0]["name"], json!(fitting("a.b", MAX_CHARS)));
        assert!(sent(Dialect::Ollama, &calling("a.b")).to_string().contains(r#""name":"a.b""#));
    }

    #[test]
    fn the_client_hears_its_own_name() {
        let name = "mcp__".to_owned() + &"s".repeat(80);
        let request = calling(&name);
        let short = fitting(&name, MAX_CHARS).into_owned();
        assert!(ToolNames::of(Dialect::Anthropic, &request).is_none());
        let call = |start: Value| json!({ "index": 0, "id": "c", "type": "function", "function": start });
        let whole = json!({ "id": "x", "model": "m", "choices": [{ "index": 0, "finish_reason": "tool_calls",
            "message": { "role": "assistant", "tool_calls": [call(json!({ "name": short, "arguments": "{}" }))] } }] });
        let mut response = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
        ToolNames::of(Dialect::OpenAi, &request).unwrap().restore_all(&mut response);
        assert!(matches!(&response.parts[0], Part::ToolCall { name: own, .. } if *own == name));

        let piece = json!({ "id": "x", "model": "m", "choices": [{ "index": 0,
            "delta": { "tool_calls": [call(json!({ "name": short, "arguments": "{}" }))] } }] });
        let mut decoder = StreamDecoder::new(Dialect::OpenAi).naming(ToolNames::of(Dialect::OpenAi, &request));
        let mut events = Vec::new();
        decoder.push(format!("data: {piece}\n\n").as_bytes(), &mut events);
        let is_own = |event: &StreamEvent| matches!(event, StreamEvent::ToolCall(ToolCallDelta { start: Some((_, own)), .. }) if *own == name);
        assert!(events.iter().any(is_own), "{events:?}");
    }
}
