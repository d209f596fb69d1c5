//! What must hold for any bytes at all: the fuzzer's targets.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use pointsman::codec::{self, AnswerMeta, Forcing, StreamDecoder, StreamEncoder, Target, WholeEvents};
use pointsman::config::{Quirks, Refusal};
use pointsman::protocol::{ApiError, ChatRequest, Dialect, StreamEvent};

const CLIENTS: [Dialect; 4] = [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic, Dialect::Native];
const BACKENDS: [Dialect; 4] = [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic, Dialect::Ollama];

/// What an input made the codecs say, in short: inputs that make them say something new are worth keeping.
pub type Signature = Vec<String>;

fn target(quirks: &Quirks, dialect: Dialect) -> Target<'_> {
    Target { max_output_tokens: Some(100), reasoning: true, ..Target::new(dialect, quirks, "m") }
}

fn meta() -> AnswerMeta {
    AnswerMeta { id: "id".into(), model: "m".into(), created: 1, native: None, echo: Default::default() }
}

/// An error without what an input itself put into it: digits, and all from the first quote on.
fn gist(error: &ApiError) -> String {
    let text = error.message.split(['`', '"']).next().unwrap_or_default();
    format!("{:?} {}", error.kind, text.replace(|c: char| c.is_ascii_digit(), ""))
}

/// A request from anybody: refused with a reason, or understood, and then what is sent on can be read again.
pub fn request(bytes: &[u8]) -> Signature {
    let quirks = Quirks::default();
    let mut signature = Vec::new();
    for dialect in CLIENTS {
        match codec::decode_request(dialect, bytes) {
            Err(error) => {
                assert!(!error.message.is_empty());
                // A client is told in its own dialect, as JSON.
                let told = codec::encode_error(dialect, &error);
                assert!(serde_json::from_slice::<serde_json::Value>(&told.body).is_ok());
                signature.push(gist(&error));
            }
            Ok(request) => {
                let passed = codec::pass_request(&target(&quirks, dialect), &request, bytes);
                let passed = passed.unwrap_or_else(|error| panic!("understood, and not passed on: {error:?}")).body;
                let value: serde_json::Value = serde_json::from_slice(&passed).expect("what passes through is JSON");
                assert_eq!(value["model"], "m");
                signature.push(format!("{dialect:?} understood"));
                signature.extend(sent_on(&quirks, &request));
                signature.extend(unforced(&quirks, &request));
            }
        }
    }
    signature
}

fn sent_on(quirks: &Quirks, request: &ChatRequest) -> Signature {
    let mut signature = Vec::new();
    for backend in BACKENDS {
        match codec::encode_request(&target(quirks, backend), request) {
            Err(error) => {
                assert!(
                    codec::obstacle(Dialect::Native, backend, request).is_some(),
                    "{backend:?} refused unannounced"
                );
                signature.push(format!("{backend:?} {}", gist(&error)));
            }
            Ok(encoded) => {
                assert_eq!(
                    codec::obstacle(Dialect::Native, backend, request),
                    None,
                    "{backend:?} carried what it said it could not"
                );
                let value: serde_json::Value = serde_json::from_slice(&encoded.body).expect("what is sent is JSON");
                assert_eq!(value["model"], "m");
                // Of Responses the gateway takes less from its clients than OpenAI does: no names of stored files.
                if ![Dialect::Ollama, Dialect::Responses].contains(&backend) {
                    let again = codec::decode_request(backend, &encoded.body);
                    let again = again.unwrap_or_else(|error| panic!("{backend:?} sent what it refuses: {error:?}"));
                    assert_eq!(again.stream, request.stream);
                }
                signature.push(format!("{backend:?} {}", encoded.dropped.len()));
            }
        }
    }
    signature
}

/// A Claude that refuses to be forced is not, and is asked for nothing odd.
fn unforced(quirks: &Quirks, request: &ChatRequest) -> Option<String> {
    let refuses = BTreeSet::from([Refusal::ForcedTools]);
    let claude = Target { refuses: &refuses, ..target(quirks, Dialect::Anthropic) };
    let sent = codec::encode_request(&claude, request);
    let announced = codec::obstacle(Dialect::Native, Dialect::Anthropic, request);
    assert_eq!(sent.is_err(), announced.is_some(), "what stands in the way is the same for all of them");
    let body = sent.ok()?.body;
    let again = codec::decode_request(Dialect::Anthropic, &body);
    let again = again.unwrap_or_else(|error| panic!("a Claude was sent what it refuses: {error:?}"));
    let forcing = Forcing::of(Dialect::Native, Dialect::Anthropic, true, request);
    assert!(forcing == Forcing::Impossible || !again.must_call());
    assert!(forcing != Forcing::AsAnswer || again.response_format.is_some());
    Some(format!("{forcing:?}"))
}

/// An answer from an upstream nobody trusts.
pub fn answer(bytes: &[u8]) -> Signature {
    let mut signature = Vec::new();
    for dialect in BACKENDS {
        let error = codec::decode_error(dialect, 500, bytes, None);
        signature.push(gist(&error));
        match codec::decode_response(dialect, bytes) {
            Err(error) => signature.push(gist(&error)),
            Ok(response) => {
                for client in CLIENTS {
                    let told = codec::encode_response(client, &response, &meta());
                    assert!(serde_json::from_slice::<serde_json::Value>(&told).is_ok());
                }
                signature.push(format!("{dialect:?} {} {:?}", response.parts.len(), response.finish_reason));
            }
        }
    }
    signature
}

/// A stream from an upstream nobody trusts: it ends once, and however it was cut into pieces it says the same.
pub fn stream(bytes: &[u8], piece: usize) -> Signature {
    let mut signature = Vec::new();
    for dialect in BACKENDS {
        let whole = events(dialect, [bytes].into_iter());
        let pieces = events(dialect, bytes.chunks(piece.max(1)));
        assert_eq!(whole, pieces, "{dialect:?}, pieces of {piece}");
        let ends = |event: &&StreamEvent| matches!(event, StreamEvent::Finish { .. } | StreamEvent::Error(_));
        assert_eq!(whole.iter().filter(ends).count(), 1, "{dialect:?}: {whole:?}");
        assert!(whole.last().is_some_and(|last| ends(&last)), "{dialect:?}: {whole:?}");
        for client in CLIENTS {
            let mut encoder = StreamEncoder::new(client, meta(), true);
            let mut out = BytesMut::new();
            whole.iter().for_each(|event| encoder.encode(event, &mut out));
            assert!(std::str::from_utf8(&out).is_ok());
        }
        signature.push(whole.iter().map(kind).collect());
    }
    let mut passing = WholeEvents::default();
    let pieces = bytes.chunks(piece.max(1)).map(|piece| passing.push(Bytes::copy_from_slice(piece)));
    let mut passed = pieces.collect::<Vec<_>>().concat();
    passed.extend_from_slice(&passing.finish());
    let came = passed.strip_prefix(bytes);
    assert!(came.is_some(), "what passes through is what came");
    assert!(matches!(came, Some(b"" | b"\n" | b"\n\n")), "and at most the last event's empty line");
    signature
}

fn events<'a>(dialect: Dialect, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<StreamEvent> {
    let mut decoder = StreamDecoder::new(dialect);
    let mut events = Vec::new();
    pieces.for_each(|piece| decoder.push(piece, &mut events));
    decoder.finish(&mut events);
    events
}

fn kind(event: &StreamEvent) -> char {
    match event {
        StreamEvent::Start { .. } => 's',
        StreamEvent::Text(_) => 't',
        StreamEvent::Thinking(_) => 'k',
        StreamEvent::ThinkingSignature(_) => 'g',
        StreamEvent::RedactedThinking(_) => 'r',
        StreamEvent::Refusal(_) => 'n',
        StreamEvent::ToolCall(_) => 'c',
        StreamEvent::Foreign(_) => 'o',
        StreamEvent::Usage(_) => 'u',
        StreamEvent::Finish { .. } => 'f',
        StreamEvent::Error(_) => 'e',
    }
}
