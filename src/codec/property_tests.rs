//! Properties of all dialects: what goes in comes out, however it is cut.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::tests::{STREAMS, decode_in, gist, meta, reencode, target};
use super::*;
use crate::config::Quirks;
use crate::protocol::{
    FinishReason, ImageSource, Message, Part, ResponseFormat, Role, StreamEvent, Tool, ToolChoice, Usage,
};

pub(super) fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9 \u{e9}\u{4f60}\"\\\\\n{}\\[\\]:,]{0,23}"
}

fn user_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        text().prop_map(Part::text),
        "[A-Za-z0-9+/]{4,12}".prop_map(|data| Part::Image {
            source: ImageSource::Base64 { media_type: "image/png".into(), data },
            detail: None,
            cache_control: None,
            breakpoint: None,
        }),
        "https://[a-z]{3,8}/x".prop_map(|url| {
            let source = ImageSource::Url(url);
            Part::Image { source, detail: None, cache_control: None, breakpoint: None }
        }),
    ]
}

/// Conversations that both big dialects can say: user and assistant take turns, calls are answered at once.
pub(super) fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let turn = (vec(user_part(), 1..3), proptest::option::of(text()), vec((text(), 0..100_i64), 0..3));
    (proptest::option::of(text()), vec(turn, 1..4), text()).prop_map(|(system, turns, last)| {
        let mut messages: Vec<Message> = system.map(|text| Message::text(Role::System, text)).into_iter().collect();
        let mut calls_made = 0;
        for (parts, said, calls) in turns {
            messages.push(Message { role: Role::User, parts, name: None });
            let mut answer: Vec<Part> = said.map(Part::text).into_iter().collect();
            let mut results = Vec::new();
            for (result, number) in calls {
                let id = format!("call_{calls_made}");
                calls_made += 1;
                let arguments = json!({ "n": number }).to_string();
                answer.push(Part::ToolCall { id: id.clone(), name: "f".into(), arguments });
                let content = vec![Part::text(result)];
                results.push(Part::ToolResult { call_id: id, content, is_error: false, cache_control: None });
            }
            if answer.is_empty() {
                answer.push(Part::text("ok"));
            }
            messages.push(Message { role: Role::Assistant, parts: answer, name: None });
            if !results.is_empty() {
                messages.push(Message { role: Role::User, parts: results, name: None });
                messages.push(Message::text(Role::Assistant, "thanks"));
            }
        }
        messages.push(Message::text(Role::User, last));
        messages
    })
}

pub(super) fn request() -> impl Strategy<Value = ChatRequest> {
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named("f".into()))),
    ];
    (
        conversation(),
        choice,
        proptest::option::of((0..=100_u8).prop_map(|n| f64::from(n) / 100.0)),
        vec("[a-z]{1,5}", 0..3),
        any::<bool>(),
        1..9000_u32,
    )
        .prop_map(|(messages, tool_choice, temperature, stop, schema, max_tokens)| {
            let parameters = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
            let tool = Tool { description: Some("does f".into()), ..Tool::new("f", parameters) };
            let mut request = ChatRequest {
                model: "auto".into(),
                messages,
                tools: vec![tool],
                tool_choice,
                max_tokens: Some(max_tokens),
                ..ChatRequest::default()
            };
            request.sampling.temperature = temperature;
            request.sampling.stop = stop;
            request.response_format = schema.then(|| ResponseFormat::JsonSchema {
                name: "answer".into(),
                schema: json!({
                    "type": "object", "properties": {}, "required": [], "additionalProperties": false,
                }),
                strict: Some(true),
                implied: false,
            });
            request
        })
}

/// A request as OpenAI's dialect says it: several texts, with nothing else beside them, as one.
fn with_joined_texts(request: &ChatRequest) -> ChatRequest {
    let mut request = request.clone();
    for message in &mut request.messages {
        let is_text = |part: &Part| matches!(part, Part::Text { .. });
        let is_call = Part::is_call;
        let texts = message.parts.iter().filter(|part| is_text(part)).count();
        if texts > 1 && message.parts.iter().all(|part| is_text(part) || is_call(part)) {
            let text = Part::text(message.plain_text());
            message.parts.retain(is_call);
            message.parts.insert(0, text);
        }
    }
    request
}

/// Written out, without what is added for a cache, and read again.
fn through(dialect: Dialect, request: &ChatRequest) -> ChatRequest {
    let quirks = Quirks { cache_markers: false, ..Quirks::default() };
    let encoded = encode_request(&target(dialect, &quirks), request).unwrap();
    assert_eq!(encoded.dropped, Vec::<String>::new());
    let mut read = decode_request(dialect, &encoded.body).unwrap();
    read.model = request.model.clone();
    read.system_apart = request.system_apart;
    read.answers_are_whole = request.answers_are_whole;
    if let Some(ResponseFormat::JsonSchema { implied, .. }) = &mut read.response_format {
        *implied = false;
    }
    read
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_survives_each_dialect_and_both_in_a_row(request in request()) {
        let joined = with_joined_texts(&request);
        prop_assert_eq!(&through(Dialect::OpenAi, &request), &joined);
        prop_assert_eq!(&through(Dialect::Anthropic, &request), &request);
        prop_assert_eq!(&through(Dialect::OpenAi, &through(Dialect::Anthropic, &request)), &joined);
    }

    #[test]
    fn an_answer_survives_each_dialect(parts in vec(prop_oneof![
        text().prop_map(Part::text),
        ("[a-z]{1,9}-[a-z]", 0..9_i64).prop_map(|(id, n)| Part::ToolCall { id, name: "f".into(), arguments: json!({ "n": n }).to_string() }),
    ], 1..4), input in 0..1000_u64, cached in 0..1000_u64, output in 0..1000_u64) {
        // OpenAI says all its text before its calls, as one.
        let mut parts = parts;
        parts.sort_by_key(Part::is_call);
        let text: String = parts.iter().filter_map(Part::as_text).collect();
        parts.retain(|part| !matches!(part, Part::Text { .. }));
        if !text.is_empty() { parts.insert(0, Part::text(text)); }
        parts.iter_mut().enumerate().for_each(|(at, part)| if let Part::ToolCall { id, .. } = part { id.push_str(&at.to_string()) });
        let usage = Usage { input_tokens: input, cache_read_tokens: cached, cache_write_tokens: 3, output_tokens: output, ..Usage::default() };
        let response = ChatResponse {
            id: meta().id, model: meta().model, parts, finish_reason: FinishReason::Length, stop_sequence: None, usage: Some(usage),
        };
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let read = decode_response(dialect, &encode_response(dialect, &response, &meta())).unwrap();
            prop_assert_eq!(&read, &response);
        }
    }

    #[test]
    fn any_split_of_a_stream_decodes_the_same(which in 0..STREAMS.len(), cuts in vec(0..2000_usize, 0..12)) {
        let (dialect, stream) = STREAMS[which];
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts { pieces.push(&bytes[from..cut]); from = cut; }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(decode_in(dialect, &pieces), decode_in(dialect, &[bytes]));
    }

    #[test]
    fn a_stream_says_the_same_in_another_dialect(which in 0..STREAMS.len(), into_anthropic in any::<bool>()) {
        let (dialect, stream) = STREAMS[which];
        let events = decode_in(dialect, &[stream.as_bytes()]);
        let other = if into_anthropic { Dialect::Anthropic } else { Dialect::OpenAi };
        let again = decode_in(other, &[&reencode(other, &events)]);
        prop_assert_eq!(gist(&again), gist(&events));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..400), junk in "[{}\\[\\]\":,a-z0-9\\\\n ]{0,200}") {
        for dialect in [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic, Dialect::Ollama, Dialect::Native] {
            for input in [&bytes[..], junk.as_bytes(), format!("data: {junk}\n\n").as_bytes()] {
                let _ = decode_request(dialect, input);
                let _ = decode_response(dialect, input);
                let _ = decode_error(dialect, 500, input, None);
                let events = decode_in(dialect, &[input]);
                let ended = matches!(events.last(), Some(StreamEvent::Finish { .. } | StreamEvent::Error(_)));
                prop_assert!(ended);
            }
        }
    }
}
