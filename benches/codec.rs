//! What reading and writing wire formats costs: requests, answers, streams, pass-through and translation.
//!
//! `cargo bench` runs all of it, `cargo bench -- stream` what has that in its name.

#![allow(clippy::unwrap_used)] // a benchmark that fails should say so loudly

use bytes::BytesMut;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use pointsman::codec::{self, AnswerMeta, StreamDecoder, StreamEncoder, Target};
use pointsman::config::Quirks;
use pointsman::protocol::Dialect;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// Turns of a conversation.
const TURNS: [usize; 3] = [1, 10, 100];

fn messages(turns: usize) -> Vec<Value> {
    let text = "Why is the sky blue, and why is it red in the evening? Answer in two sentences, and name a book.";
    let mut messages = Vec::new();
    for _ in 0..turns {
        messages.push(json!({ "role": "user", "content": text }));
        messages.push(json!({ "role": "assistant", "content": "Light is scattered. The path is longer then." }));
    }
    messages.push(json!({ "role": "user", "content": text }));
    messages
}

fn body(dialect: Dialect, turns: usize) -> Vec<u8> {
    let body = match dialect {
        Dialect::Anthropic => json!({
            "model": "claude-sonnet", "max_tokens": 500, "system": "Be brief.", "messages": messages(turns),
            "tools": [{ "name": "f", "input_schema": { "type": "object", "properties": { "x": { "type": "string" } } } }],
        }),
        _ => json!({
            "model": "gpt-4o", "temperature": 0.3, "messages": messages(turns),
            "tools": [{ "type": "function", "function": {
                "name": "f", "parameters": { "type": "object", "properties": { "x": { "type": "string" } } },
            } }],
        }),
    };
    body.to_string().into_bytes()
}

fn target(quirks: &Quirks, dialect: Dialect) -> Target<'_> {
    Target { max_output_tokens: Some(4096), ..Target::new(dialect, quirks, "upstream-id") }
}

fn stream(dialect: Dialect, pieces: usize) -> Vec<u8> {
    let mut out = String::new();
    match dialect {
        Dialect::Anthropic => {
            out.push_str("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n");
            out.push_str("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
            for _ in 0..pieces {
                out.push_str("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" a few words\"}}\n\n");
            }
            out.push_str("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
            out.push_str("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":99}}\n\n");
            out.push_str("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        }
        _ => {
            for _ in 0..pieces {
                out.push_str("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" a few words\"},\"finish_reason\":null}]}\n\n");
            }
            out.push_str("data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
        }
    }
    out.into_bytes()
}

mod request {
    use super::*;

    #[divan::bench(args = TURNS)]
    fn decode_openai(bencher: Bencher<'_, '_>, turns: usize) {
        let body = body(Dialect::OpenAi, turns);
        bencher
            .counter(BytesCount::new(body.len()))
            .bench(|| codec::decode_request(Dialect::OpenAi, black_box(&body)).unwrap());
    }

    #[divan::bench(args = TURNS)]
    fn decode_anthropic(bencher: Bencher<'_, '_>, turns: usize) {
        let body = body(Dialect::Anthropic, turns);
        bencher
            .counter(BytesCount::new(body.len()))
            .bench(|| codec::decode_request(Dialect::Anthropic, black_box(&body)).unwrap());
    }

    #[divan::bench(args = TURNS)]
    fn pass_through(bencher: Bencher<'_, '_>, turns: usize) {
        let (body, quirks) = (body(Dialect::OpenAi, turns), Quirks::default());
        let target = target(&quirks, Dialect::OpenAi);
        bencher
            .counter(BytesCount::new(body.len()))
            .bench(|| codec::passthrough_request(&target, black_box(&body), false).unwrap());
    }

    #[divan::bench(args = TURNS)]
    fn openai_to_anthropic(bencher: Bencher<'_, '_>, turns: usize) {
        let (body, quirks) = (body(Dialect::OpenAi, turns), Quirks::default());
        let target = target(&quirks, Dialect::Anthropic);
        bencher.counter(BytesCount::new(body.len())).bench(|| {
            let request = codec::decode_request(Dialect::OpenAi, black_box(&body)).unwrap();
            codec::encode_request(&target, &request).unwrap()
        });
    }
}

mod streams {
    use super::*;

    /// Pieces come one by one, as they do from a vendor.
    fn decode(dialect: Dialect, stream: &[u8]) -> usize {
        let mut decoder = StreamDecoder::new(dialect);
        let mut events = Vec::new();
        stream.chunks(160).for_each(|piece| decoder.push(piece, &mut events));
        decoder.finish(&mut events);
        events.len()
    }

    #[divan::bench(args = [20, 200])]
    fn decode_openai(bencher: Bencher<'_, '_>, pieces: usize) {
        let stream = stream(Dialect::OpenAi, pieces);
        bencher.counter(BytesCount::new(stream.len())).bench(|| decode(Dialect::OpenAi, black_box(&stream)));
    }

    #[divan::bench(args = [20, 200])]
    fn decode_anthropic(bencher: Bencher<'_, '_>, pieces: usize) {
        let stream = stream(Dialect::Anthropic, pieces);
        bencher.counter(BytesCount::new(stream.len())).bench(|| decode(Dialect::Anthropic, black_box(&stream)));
    }

    #[divan::bench(args = [20, 200])]
    fn anthropic_to_openai(bencher: Bencher<'_, '_>, pieces: usize) {
        let stream = stream(Dialect::Anthropic, pieces);
        let meta = AnswerMeta {
            id: "chatcmpl-1".into(),
            model: "claude".into(),
            created: 1,
            native: None,
            echo: Default::default(),
        };
        bencher.counter(BytesCount::new(stream.len())).bench(|| {
            let mut decoder = StreamDecoder::new(Dialect::Anthropic);
            let mut encoder = StreamEncoder::new(Dialect::OpenAi, meta.clone(), true);
            let (mut events, mut out) = (Vec::new(), BytesMut::new());
            for piece in black_box(&stream).chunks(160) {
                decoder.push(piece, &mut events);
                events.drain(..).for_each(|event| encoder.encode(&event, &mut out));
            }
            out.len()
        });
    }
}

mod answer {
    use super::*;

    const ANSWER: &[u8] = br#"{"id":"c","object":"chat.completion","created":1,"model":"g","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Light is scattered by the air. In the evening its path is longer."}}],"usage":{"prompt_tokens":31,"completion_tokens":15,"total_tokens":46,"prompt_tokens_details":{"cached_tokens":0}}}"#;

    #[divan::bench]
    fn decode_openai(bencher: Bencher<'_, '_>) {
        bencher
            .counter(BytesCount::new(ANSWER.len()))
            .bench(|| codec::decode_response(Dialect::OpenAi, black_box(ANSWER)).unwrap());
    }

    #[divan::bench]
    fn openai_to_anthropic(bencher: Bencher<'_, '_>) {
        let meta = AnswerMeta {
            id: "msg_1".into(),
            model: "gpt".into(),
            created: 1,
            native: None,
            echo: Default::default(),
        };
        bencher.counter(BytesCount::new(ANSWER.len())).bench(|| {
            let response = codec::decode_response(Dialect::OpenAi, black_box(ANSWER)).unwrap();
            codec::encode_response(Dialect::Anthropic, &response, &meta)
        });
    }
}
