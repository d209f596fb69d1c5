//! The beginning of an answer that came with the request (prefill), and that the server says once more.
//!
//! llama.cpp's server puts it before what its model says ("Prepended to model output before parsing", its README). A client
//! of another dialect gets the continuation alone from its own vendor, and joins the two: it would have the beginning
//! twice. So it is left out, if the answer begins with all of it. In a stream this holds pieces back for as long as they
//! repeat it, and no longer.

use crate::config::Quirks;
use crate::protocol::{ChatRequest, ChatResponse, Dialect, Part};

/// Longest beginning that is looked for, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Leaves out the repetition.
#[derive(Debug)]
pub struct Begun {
    text: String,
    /// Bytes of it that were repeated so far; they are held back.
    repeated: usize,
    /// Whether the answer has repeated all of it, or said something else.
    is_over: bool,
}

impl Begun {
    /// The beginning that a backend may repeat to a client of another dialect; `None` = there is none.
    pub fn of(client: Dialect, backend: Dialect, quirks: &Quirks, request: &ChatRequest) -> Option<Self> {
        if backend != Dialect::OpenAi || client == backend || !quirks.repeats_prefill || !request.is_prefilled() {
            return None;
        }
        let begun = &request.messages[request.last_turn()?];
        let text: String = begun.parts.iter().filter_map(Part::as_text).collect();
        (text.len() <= MAX_BYTES).then_some(Self { text, repeated: 0, is_over: false })
    }

    /// Whether all that follows is the answer's own.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What a client gets for the answer's next piece of text.
    pub(super) fn next(&mut self, piece: &str) -> String {
        let (held, rest) = self.text.split_at(self.repeated);
        if self.is_over {
            return piece.to_owned();
        }
        if piece.len() < rest.len() && rest.starts_with(piece) {
            self.repeated += piece.len();
            return String::new();
        }
        self.is_over = true;
        piece.strip_prefix(rest).map_or_else(|| format!("{held}{piece}"), str::to_owned)
    }

    /// What was held back, where no more text is to come.
    pub(super) fn end(&mut self) -> Option<String> {
        let held = &self.text[..self.repeated];
        let is_over = std::mem::replace(&mut self.is_over, true);
        (!is_over && !held.is_empty()).then(|| held.to_owned())
    }

    /// Leaves it out of a whole answer.
    pub fn leave_out(mut self, response: &mut ChatResponse) {
        let mut last = None;
        for (at, part) in response.parts.iter_mut().enumerate() {
            if let Part::Text { text, .. } = part {
                *text = self.next(text);
                last = Some(at);
            }
        }
        if let (Some(held), Some(at)) = (self.end(), last)
            && let Part::Text { text, .. } = &mut response.parts[at]
        {
            *text = held;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use serde_json::{Value, json};

    use super::super::tests::meta;
    use super::super::{StreamEncoder, decode_request, decode_response, encode_response};
    use super::*;
    use crate::protocol::{FinishReason, StreamEvent};

    fn request(begun: &str) -> ChatRequest {
        let turns = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": begun }]);
        let body = json!({ "model": "m", "max_tokens": 9, "messages": turns });
        decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap()
    }

    fn of(begun: &str) -> Option<Begun> {
        let quirks = Quirks { prefill: true, repeats_prefill: true, ..Quirks::default() };
        Begun::of(Dialect::Anthropic, Dialect::OpenAi, &quirks, &request(begun))
    }

    /// What a client is streamed of these pieces, each that it gets apart.
    fn streamed(begun: &str, pieces: &[&str]) -> Vec<String> {
        let mut encoder = StreamEncoder::new(Dialect::Anthropic, meta(), true).after(of(begun));
        let mut out = BytesMut::new();
        let texts = pieces.iter().map(|piece| StreamEvent::Text((*piece).to_owned()));
        let end = StreamEvent::Finish { reason: FinishReason::Stop, stop_sequence: None };
        texts.chain([end]).for_each(|event| encoder.encode(&event, &mut out));
        let told = String::from_utf8(out.to_vec()).unwrap();
        let events = told.lines().filter_map(|line| line.strip_prefix("data: "));
        let values = events.map(|event| serde_json::from_str::<Value>(event).unwrap());
        values.filter_map(|event| Some(event["delta"]["text"].as_str()?.to_owned())).collect()
    }

    fn whole(begun: &str, answer: &str) -> Value {
        let body = json!({ "choices": [{
            "index": 0, "message": { "role": "assistant", "content": answer }, "finish_reason": "stop",
        }]});
        let mut response = decode_response(Dialect::OpenAi, body.to_string().as_bytes()).unwrap();
        of(begun).unwrap().leave_out(&mut response);
        let told = encode_response(Dialect::Anthropic, &response, &meta());
        serde_json::from_slice::<Value>(&told).unwrap()["content"][0]["text"].take()
    }

    #[test]
    fn what_is_begun_is_not_said_twice() {
        let begun = "The colour is";
        assert_eq!(streamed(begun, &["The colour is a", " rare"]), [" a", " rare"]);
        assert_eq!(streamed(begun, &["The", " colour", " is", " a"]), [" a"]);
        assert_eq!(whole(begun, "The colour is a rare"), " a rare");
        assert_eq!(
            (streamed("{", &["{\"a\"", ":1}"]).concat(), whole("{", "{\"a\":1}")),
            ("\"a\":1}".into(), json!("\"a\":1}"))
        );
    }

    #[test]
    fn what_goes_on_comes_whole_and_at_once() {
        let begun = "The colour is";
        assert_eq!(streamed(begun, &[" a", " rare"]), [" a", " rare"]);
        assert_eq!(streamed(begun, &["The", " colours", " is"]), ["The colours", " is"]);
        assert_eq!(streamed(begun, &["The", " colour"]), ["The colour"], "all of the answer");
        for answer in [" a rare", "The colours", "The colour"] {
            assert_eq!(whole(begun, answer), answer);
        }
    }

    #[test]
    fn only_who_is_known_to_go_on_and_only_other_dialects_clients() {
        let goes_on = Quirks { prefill: true, repeats_prefill: true, ..Quirks::default() };
        let without = Quirks { prefill: true, ..Quirks::default() };
        let request = request("{");
        let is_looked_for = |client, backend, quirks| Begun::of(client, backend, quirks, &request).is_some();
        assert!(is_looked_for(Dialect::Native, Dialect::OpenAi, &goes_on));
        assert!(!is_looked_for(Dialect::OpenAi, Dialect::OpenAi, &goes_on));
        assert!(!is_looked_for(Dialect::Native, Dialect::OpenAi, &without));
        assert!(!is_looked_for(Dialect::Native, Dialect::Ollama, &goes_on));
        assert!(of(&"x".repeat(MAX_BYTES + 1)).is_none());
    }
}
