//! Every text of a request, for rules that search it before it may leave the gateway.
//!
//! Strings that hold JSON themselves (a tool's arguments, often its results) contain escapes: `\u6a5f` for a character
//! beyond ASCII, `\n` right before a word. Such a text is searched both as written and with its escapes undone. A text
//! file that is attached in base64 is searched as what it says.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use super::literal::{self, Literal, unescaped};
use super::{ChatRequest, ImageSource, Message, Part, ResponseFormat, Tool, ToolChoice};

/// How often escapes are undone: JSON within JSON within JSON. Nobody nests deeper by accident.
const MAX_UNESCAPES: usize = 3;

/// Length from which a text that could be base64 is taken for it: an image, a file, a vendor's encrypted reasoning.
const MIN_BASE64_BYTES: usize = 256;

/// Shortest base64 that is read as a file; what is shorter is a word, as a rule.
const MIN_FILE_BYTES: usize = 12;

/// Length of the beginning by which a file that is text is told from others; whole groups of four.
const FILE_HEAD_BYTES: usize = 256;

/// Words of the wire formats and of JSON Schema: as field names and as enumerated values they say nothing about a
/// request's content. From the parameter types of OpenAI's and Anthropic's own Python libraries (November 2026),
/// Ollama's options, vLLM's parameters, and JSON Schema (draft 2020-12).
static GRAMMAR: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("grammar.txt").split_whitespace().chain(MEASURES.iter().copied()).collect());

/// Fields of the wire formats that hold a measure (`max_tokens`): the number says nothing about the content, either.
static MEASURES: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("measures.txt").split_whitespace().collect());

impl ChatRequest {
    /// Every text that would be sent, each once: the messages with tool arguments and results, then tools, the answer's
    /// schema, unknown fields and everything else that the client words. Field names are included, and all numbers,
    /// these as one text. Where the client's `body` itself may be sent, everything in it is included, understood here
    /// or not. A text with escapes stands there again without them, and the content of files in base64 that are text is
    /// among them. That of images and other files is left out, and so is the model's name.
    pub fn texts<'a>(&'a self, body: Option<&'a [u8]>) -> HashSet<Cow<'a, str>> {
        let mut texts = Texts::default();
        self.messages.iter().for_each(|message| texts.message(message));
        self.tools.iter().for_each(|tool| texts.tool(tool));
        if let Some(ToolChoice::Named(name)) = &self.tool_choice {
            texts.add(name);
        }
        let format = self.response_format.as_ref().and_then(|format| match format {
            ResponseFormat::JsonObject => None,
            ResponseFormat::JsonSchema { name, schema, .. } => Some((name, schema)),
        });
        if let Some((name, schema)) = format {
            texts.add(name);
            texts.properties(schema);
        }
        self.sampling.stop.iter().chain(&self.user).for_each(|text| texts.add(text));
        // From here on the dialects' own words come along; the client's uses of the same words are already in.
        texts.ignored = Some(&self.model);
        match body.and_then(|body| std::str::from_utf8(body).ok()) {
            Some(body) => texts.json(body, Cow::Borrowed),
            None => {
                self.messages.iter().flat_map(|message| &message.parts).for_each(|part| texts.foreign(part));
                let schemas = self.tools.iter().map(|tool| &tool.parameters).chain(format.map(|(_, schema)| schema));
                schemas.for_each(|schema| texts.value(schema));
                for (path, field) in self.extensions.iter().chain(&self.leftovers) {
                    let name = path.rsplit('.').next().unwrap_or_default();
                    texts.value(&json!({ name: field }));
                }
            }
        }
        texts.all()
    }
}

/// The texts found so far.
#[derive(Default)]
struct Texts<'a> {
    seen: HashSet<Cow<'a, str>>,
    /// Numbers, see [`Texts::number`].
    numbers: String,
    /// `Some` = the dialects' own words are left out from now on, and this, the model's name.
    ignored: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// Adds a text as written, and with its escapes undone as often as there are any; of base64, the text that it is.
    fn add(&mut self, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        self.file(&text);
        self.written(text);
    }

    /// Adds the content of a file in base64, if that is text.
    fn file(&mut self, base64: &str) {
        file_text(base64).into_iter().for_each(|content| self.written(content.into()));
    }

    fn written(&mut self, text: Cow<'a, str>) {
        let mut next = Some(text).filter(|text| !is_base64(text));
        for _ in 0..=MAX_UNESCAPES {
            let Some(text) = next.filter(|text| !self.is_ignored(text)) else { return };
            next = unescaped(&text).map(Cow::Owned);
            if !self.seen.insert(text) {
                return;
            }
        }
    }

    /// Adds a number. A body can hold a million of them, so they form one text, each ended by `;` and a line break,
    /// which neither `\s` nor `.` of a pattern matches across.
    fn number(&mut self, number: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.numbers, "{number};");
    }

    /// All texts that were found, the numbers as one of them.
    fn all(mut self) -> HashSet<Cow<'a, str>> {
        if !self.numbers.is_empty() {
            self.seen.insert(self.numbers.into());
        }
        self.seen
    }

    fn is_ignored(&self, text: &str) -> bool {
        self.ignored.is_some_and(|model| text == model || GRAMMAR.contains(undated(text)))
    }

    fn message(&mut self, message: &'a Message) {
        message.name.iter().for_each(|name| self.add(name));
        message.parts.iter().for_each(|part| self.part(part));
    }

    fn part(&mut self, part: &'a Part) {
        match part {
            Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => self.add(text),
            Part::Image { source: ImageSource::Url(url), .. } => self.add(url),
            Part::ToolCall { id, name, arguments } => {
                [id, name, arguments].into_iter().for_each(|text| self.add(text))
            }
            Part::ToolResult { call_id, content, .. } => {
                self.add(call_id);
                content.iter().for_each(|part| self.part(part));
            }
            // An image can be made of text (SVG).
            Part::Image { source: ImageSource::Base64 { data, .. }, .. } => self.file(data),
            Part::RedactedThinking { .. } | Part::Foreign { .. } => {}
        }
    }

    /// The texts of a part that stand in fields of its dialect: foreign parts whole, an image's detail and media type.
    fn foreign(&mut self, part: &'a Part) {
        match part {
            Part::Foreign { value, .. } => self.value(value),
            Part::Image { source, detail, .. } => {
                let media_type = match source {
                    ImageSource::Base64 { media_type, .. } => Some(media_type),
                    ImageSource::Url(_) => None,
                };
                detail.iter().chain(media_type).for_each(|text| self.add(text));
            }
            Part::ToolResult { content, .. } => content.iter().for_each(|part| self.foreign(part)),
            _ => {}
        }
    }

    fn tool(&mut self, tool: &'a Tool) {
        self.add(&tool.name);
        tool.description.iter().for_each(|text| self.add(text));
        self.properties(&tool.parameters);
    }

    /// The names of a schema's properties: these are the client's words, even where a dialect has the same word.
    fn properties(&mut self, schema: &'a Value) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| self.properties(item)),
            Value::Object(fields) => fields.iter().for_each(|(name, field)| {
                let named = field.as_object().filter(|_| name == "properties").into_iter().flatten();
                named.for_each(|(name, _)| self.add(name));
                self.properties(field);
            }),
            _ => {}
        }
    }

    /// Adds the strings, names and numbers of a value, as [`Self::json`] does.
    fn value(&mut self, value: &Value) {
        self.json(&value.to_string(), |text| text.to_owned().into());
    }

    /// Adds the strings, field names and numbers of a JSON text, each string as `kept` makes it. The numbers of
    /// [`MEASURES`] are left out.
    fn json<'j>(&mut self, json: &'j str, kept: fn(&'j str) -> Cow<'a, str>) {
        let meant = |text: &'j str| unescaped(text).map_or_else(|| kept(text), Cow::Owned);
        literal::each(json, |literal| match literal {
            Literal::Name(text) | Literal::Text(text) => self.add(meant(text)),
            Literal::Number(_, Some(field)) if measures(&meant(field)) => {}
            Literal::Number(number, _) => self.number(number),
        });
    }
}

/// A vendor's tool type without the date of its version (`web_search_20260318`).
fn undated(word: &str) -> &str {
    let is_of_date = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    // Nearly no word ends like a date, and to prepare the search for its beginning takes longer than a look at the end.
    if !word.bytes().next_back().is_some_and(is_of_date) {
        return word;
    }
    word.split_once("_20").filter(|(_, rest)| rest.bytes().all(is_of_date)).map_or(word, |(name, _)| name)
}

fn measures(field: &str) -> bool {
    MEASURES.contains(field)
}

/// The text of a file in base64, bare or as a data URI; `None` where it is not base64, or not of text. A file that
/// says to be text may be in another encoding than UTF-8 and UTF-16: then what is not ASCII is lost.
fn file_text(base64: &str) -> Option<String> {
    let (media, data) = match base64.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,")?,
        None => ("", base64),
    };
    // Many writers break the lines of base64, or end it with a line break.
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    let data = data.trim_ascii();
    if data.len() < MIN_FILE_BYTES || !data.bytes().all(|byte| is_letter(byte) || is_break(byte)) {
        return None;
    }
    let is_broken = data.bytes().any(is_break);
    let data = if is_broken { Cow::from(data.replace(['\r', '\n'], "")) } else { Cow::from(data) };
    let data = data.trim_end_matches('=').as_bytes();
    if data.len() < MIN_FILE_BYTES {
        return None;
    }
    let is_url_safe = data.iter().any(|byte| b"_-".contains(byte));
    let decoded = |data: &[u8]| if is_url_safe { &URL_SAFE } else { &STANDARD }.decode(data).ok();
    // Most files are images: their beginning says enough.
    let head = decoded(&data[..data.len().min(FILE_HEAD_BYTES)])?;
    let order = utf16_order(media, &head);
    let is_plain = || order.map_or_else(|| is_text(&head), |order| is_text(utf16(&head, order).as_bytes()));
    if !media.starts_with("text/") && !is_plain() {
        return None;
    }
    let bytes = decoded(data)?;
    Some(match order {
        Some(order) => utf16(&bytes, order),
        None => String::from_utf8(bytes).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned()),
    })
}

/// How the two bytes of a letter stand in a text in UTF-16.
type Order = fn([u8; 2]) -> u16;

/// The order of a text in UTF-16, as its mark, its first letter or its media type tells; `None` = it is none.
fn utf16_order(media: &str, head: &[u8]) -> Option<Order> {
    match head {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        [1..=255, 0, 1..=255, 0, ..] => Some(u16::from_le_bytes),
        [0, 1..=255, 0, 1..=255, ..] => Some(u16::from_be_bytes),
        _ => match media.to_ascii_lowercase() {
            media if media.contains("utf-16be") => Some(u16::from_be_bytes),
            media if media.contains("utf-16") => Some(u16::from_le_bytes),
            _ => None,
        },
    }
}

fn utf16(bytes: &[u8], order: Order) -> String {
    let letters: Vec<u16> = bytes.chunks_exact(2).map(|two| order([two[0], two[1]])).collect();
    String::from_utf16_lossy(&letters)
}

/// Whether bytes are the beginning of a text in UTF-8.
fn is_text(head: &[u8]) -> bool {
    let is_cut = |error: &std::str::Utf8Error| error.error_len().is_none();
    let is_plain = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    std::str::from_utf8(head).err().as_ref().is_none_or(is_cut) && head.iter().all(is_plain)
}

/// Base64 as anybody writes it, with or without its padding.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Whether this is a letter of base64, in either of its alphabets.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte)
}

/// Whether a text is base64: a data URI, or too long and too mixed to be words.
fn is_base64(text: &str) -> bool {
    if let Some((media, bytes)) = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        return media.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.+-;=".contains(&byte))
            && bytes.bytes().all(is_letter);
    }
    let count = |wanted: fn(&u8) -> bool| text.bytes().filter(wanted).count();
    text.len() >= MIN_BASE64_BYTES
        && text.bytes().all(is_letter)
        && count(u8::is_ascii_uppercase) >= text.len() / 8
        && count(u8::is_ascii_digit) >= text.len() / 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;

    fn says(request: &ChatRequest, word: &str) -> bool {
        request.texts(None).iter().any(|text| text.contains(word))
    }

    #[test]
    fn json_in_a_text_is_looked_at_as_it_is_meant() {
        let word = "\u{6a5f}\u{5bc6}";
        let result = |text: &str| {
            let content = vec![Part::text(text)];
            let part = Part::ToolResult { call_id: "1".into(), content, is_error: false, cache_control: None };
            let messages = vec![Message { role: Role::User, parts: vec![part], name: None }];
            ChatRequest { messages, ..ChatRequest::default() }
        };
        let ascii = r#"{"d": "\u6a5f\u5bc6 report"}"#;
        let nested = json!({ "body": ascii }).to_string();
        for text in [ascii, &nested, &format!("The tool says: {ascii}"), &ascii[..ascii.len() - 2]] {
            assert!(says(&result(text), word), "{text}");
        }
        assert!(!says(&result(r#"{"d": "\u6a5f report"}"#), word));
        let call = Part::ToolCall { id: "1".into(), name: "f".into(), arguments: ascii.into() };
        let messages = vec![Message { role: Role::Assistant, parts: vec![call], name: None }];
        assert!(says(&ChatRequest { messages, ..ChatRequest::default() }, word));
    }

    #[test]
    fn what_is_sent_beside_the_messages_is_looked_at() {
        let schema = json!({ "type": "object", "properties": { "confidential": { "type": "string" } } });
        let tool = |name: &str, description: Option<&str>, parameters: Value| ChatRequest {
            tools: vec![Tool { description: description.map(str::to_owned), ..Tool::new(name, parameters) }],
            ..ChatRequest::default()
        };
        let field = |name: &str, value: Value| ChatRequest {
            extensions: [(name.to_owned(), value)].into_iter().collect(),
            ..ChatRequest::default()
        };
        let named = Message { name: Some("confidential".into()), ..Message::text(Role::User, "hi") };
        let format = ResponseFormat::JsonSchema {
            name: "answer".into(),
            schema: schema.clone(),
            strict: None,
            implied: false,
        };
        let mut stops = ChatRequest::default();
        stops.sampling.stop = vec!["confidential".into()];
        for request in [
            tool("confidential", None, Value::Null),
            tool("f", Some("the confidential ledger"), Value::Null),
            tool("f", None, schema.clone()),
            field("prediction", json!({ "type": "content", "content": "# confidential" })),
            field("functions", json!([{ "name": "f", "parameters": schema }])),
            field("metadata", json!({ "project": "confidential" })),
            ChatRequest { response_format: Some(format), ..ChatRequest::default() },
            ChatRequest { messages: vec![named], ..ChatRequest::default() },
            ChatRequest { user: Some("confidential".into()), ..ChatRequest::default() },
            stops,
            ChatRequest {
                leftovers: [("tools[0].input_examples".to_owned(), json!(["confidential"]))].into_iter().collect(),
                ..ChatRequest::default()
            },
        ] {
            assert!(says(&request, "confidential"), "{request:?}");
        }
        let picture = |url: &str, detail: Option<&str>| {
            let source = ImageSource::Url(url.into());
            let parts = vec![Part::Image {
                source,
                detail: detail.map(str::to_owned),
                cache_control: None,
                breakpoint: None,
            }];
            Message { role: Role::User, parts, name: None }
        };
        let source = ImageSource::Base64 { media_type: "image/confidential".into(), data: String::new() };
        let parts = vec![Part::Image { source, detail: None, cache_control: None, breakpoint: None }];
        let typed = Message { role: Role::User, parts, name: None };
        for request in [
            field("confidential", json!(true)),
            field("metadata", json!({ "confidential": 1 })),
            field("metadata", json!({ "a": [{ "id": "confidential" }] })),
            ChatRequest { messages: vec![picture("https://x/confidential.png", None)], ..ChatRequest::default() },
            ChatRequest { messages: vec![picture("https://x/y", Some("confidential"))], ..ChatRequest::default() },
            ChatRequest { messages: vec![typed], ..ChatRequest::default() },
            ChatRequest { tool_choice: Some(ToolChoice::Named("confidential".into())), ..ChatRequest::default() },
        ] {
            assert!(says(&request, "confidential"), "{request:?}");
        }
        let card = field("metadata", json!({ "card": 4_111_111_111_111_111_u64, "max_tokens": 16_384 }));
        assert!(says(&card, "4111111111111111") && !says(&card, "16384"));
        let cards = field("metadata", json!({ "cards": [{ "index": 0 }, 4_111_111_111_111_111_u64] }));
        assert!(says(&cards, "4111111111111111") && !says(&field("max_uses", json!(16_384)), "16384"));
        let detailed = ChatRequest { messages: vec![picture("https://x/y", Some("low"))], ..ChatRequest::default() };
        assert!(!says(&detailed, "low"), "the dialect's own word");
    }

    #[test]
    fn a_file_that_is_text_is_looked_into() {
        use base64::engine::general_purpose;
        let standard = |bytes: &[u8]| general_purpose::STANDARD.encode(bytes);
        let memo = "# This memo is confidential. \u{2026}\u{2026}??>>\n".repeat(20);
        let [short, long] = ["This memo is confidential.", memo.as_str()].map(|text| standard(text.as_bytes()));
        let url_safe = general_purpose::URL_SAFE_NO_PAD.encode(&memo);
        assert!(url_safe.contains(['-', '_']));
        let latin = standard(b"F\xfcr uns, confidential");
        let broken = |width: usize, end: &str| {
            let lines = long.as_bytes().chunks(width).map(|line| format!("{}{end}", String::from_utf8_lossy(line)));
            lines.collect::<String>()
        };
        let little: Vec<u8> = memo.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = memo.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let russian: Vec<u8> =
            "\u{41c}\u{43e}\u{438} confidential".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for data in [
            broken(76, "\n"),
            broken(64, "\r\n"),
            format!("{short}\n"),
            format!("data:text/plain;base64,{}", broken(76, "\r\n")),
            standard(&little),
            standard(&big),
            standard(&[b"\xff\xfe", little.as_slice()].concat()),
            standard(&[b"\xfe\xff", big.as_slice()].concat()),
            format!("data:application/octet-stream;base64,{}", standard(&little)),
            format!("data:text/plain;charset=utf-16;base64,{}", standard(&russian)),
            short.clone(),
            long.clone(),
            url_safe,
            format!("data:text/plain;base64,{short}"),
            format!("data:text/markdown;charset=utf-8;base64,{long}"),
            format!("data:application/json;base64,{short}"),
            format!("data:text/plain;base64,{latin}"),
        ] {
            let value = json!({ "type": "file", "file": { "filename": "memo.txt", "file_data": data } });
            let body = json!({ "messages": [{ "role": "user", "content": [value] }] }).to_string();
            let part = Part::Foreign { kind: "file".into(), value };
            let messages = vec![Message { role: Role::User, parts: vec![part], name: None }];
            let request = ChatRequest { messages, ..ChatRequest::default() };
            assert!(says(&request, "confidential"), "{data}");
            let texts = ChatRequest::default();
            let texts = texts.texts(Some(body.as_bytes()));
            assert!(texts.iter().any(|text| text.contains("confidential")), "{data}");
        }
        let drawing = standard(b"<svg xmlns='http://www.w3.org/2000/svg'><text>confidential</text></svg>");
        let source = ImageSource::Base64 { media_type: "image/svg+xml".into(), data: drawing };
        let parts = vec![Part::Image { source, detail: None, cache_control: None, breakpoint: None }];
        let messages = vec![Message { role: Role::User, parts, name: None }];
        assert!(says(&ChatRequest { messages, ..ChatRequest::default() }, "confidential"));
        // Words, names and what is no text stay what they are.
        let picture = standard(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR confidential");
        let words = "confidential\nget_weather_forecast\ninternationalization\n".repeat(9);
        let icon = standard(&[b"\x01\0\x02\0".as_slice(), &[0, 7, 1, 0, 9, 0].repeat(40)].concat());
        for other in ["confidential", "get_weather_forecast", "4111111111111111", "src/main.rs", "====", "", "\n\n"]
            .into_iter()
            .chain([picture.as_str(), &words, &icon])
        {
            assert_eq!(file_text(other), None, "{other}");
        }
        for odd in ["data:text/plain;base64,", "data:;base64,AAAAAAAAAAAAA=", "data:text/plain,AAAAAAAAAAAAAAAA"] {
            assert_eq!(file_text(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_a_dialect_says_itself_is_no_word_of_the_clients() {
        let schema = json!({ "type": "object", "properties": { "text": { "type": "string", "maxLength": 5000 } } });
        let body = json!({
            "model": "auto", "max_tokens": 16_384,
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }],
            "tools": [{ "name": "f", "input_schema": schema }],
        });
        let body = body.to_string();
        let tool = Tool::new("f", schema);
        let messages = vec![Message::text(Role::User, "hi")];
        let request = ChatRequest { model: "auto".into(), messages, tools: vec![tool], ..ChatRequest::default() };
        let mut texts: Vec<_> = request.texts(Some(body.as_bytes())).into_iter().collect();
        texts.sort_unstable();
        assert_eq!(texts, ["f", "hi", "text"]);
        let asked = ChatRequest { messages: vec![Message::text(Role::User, "model")], ..request };
        assert!(says(&asked, "model"), "said by the client");
    }

    #[test]
    fn of_what_libraries_send_only_the_clients_words_are_left() {
        let anthropic = json!({
            "model": "m", "max_tokens": 64_000, "stop_sequences": ["END"], "metadata": { "user_id": "u-1" },
            "thinking": { "type": "enabled", "budget_tokens": 12_000 }, "output_config": { "effort": "high" },
            "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] }, "service_tier": "auto",
            "tool_choice": { "type": "auto", "disable_parallel_tool_use": true },
            "tools": [{ "type": "web_search_20260318", "name": "web_search", "max_uses": 12_345 }],
            "messages": [{ "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t-1", "is_error": false, "content": "42" },
                { "type": "text", "text": "hi", "cache_control": { "type": "ephemeral", "ttl": "1h" } },
            ] }],
        });
        let openai = json!({
            "model": "m", "max_completion_tokens": 64_000, "presence_penalty": 0, "frequency_penalty": 0.5, "top_p": 1,
            "stream": true, "stream_options": { "include_usage": true }, "parallel_tool_calls": false,
            "prompt_cache_key": "k-1", "safety_identifier": "s-1", "service_tier": "auto", "reasoning_effort": "low",
            "response_format": { "type": "json_schema", "json_schema": { "name": "n-1", "strict": true, "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "additionalProperties": false, "properties": { "p-1": { "type": "string", "maxLength": 16_384 } },
            } } },
            "messages": [
                { "role": "assistant", "content": null, "refusal": null, "annotations": [], "reasoning_content": "",
                  "tool_calls": [{ "id": "c-1", "type": "function", "function": { "name": "f-1", "arguments": "{}" } }] },
                { "role": "tool", "tool_call_id": "c-1", "content": "hi" },
            ],
        });
        let left = |body: &Value| {
            let request = ChatRequest { model: "m".into(), ..ChatRequest::default() };
            let body = body.to_string();
            let mut texts: Vec<_> =
                request.texts(Some(body.as_bytes())).iter().map(|text| text.to_string()).collect();
            texts.sort_unstable();
            texts
        };
        assert_eq!(left(&anthropic), ["42", "END", "hi", "t-1", "u-1"]);
        assert_eq!(left(&openai), ["", "c-1", "f-1", "hi", "k-1", "n-1", "p-1", "s-1", "{}"]);
    }

    #[test]
    fn numbers_stand_in_one_text_and_run_into_each_other_by_no_pattern() {
        let body = r#"{"input": [4111, 1111, 1111, 1111, 4222222222222222], "seed": 5333333333333333}"#;
        let request = ChatRequest::default();
        let texts = request.texts(Some(body.as_bytes()));
        assert_eq!(texts.len(), 1, "{texts:?}");
        let finds = |pattern: &str| texts.iter().any(|text| regex::Regex::new(pattern).unwrap().is_match(text));
        assert!(finds(r"\b\d{16}\b") && finds("4111") && !finds("5333"));
        for across in [r"\b\d{4}[\s-]?\d{4}\b", r"\b\d{4}.?\d{4}\b"] {
            assert!(!finds(across), "{across}");
        }
    }

    #[test]
    fn of_a_body_nothing_is_overlooked() {
        let said = |body: &str| {
            let request = ChatRequest::default();
            let says = |word: &str| request.texts(Some(body.as_bytes())).iter().any(|text| text.contains(word));
            says("confidential") || says("4111111111111111")
        };
        for body in [
            r#"{"messages": [{"role": "user", "content": "confidential", "content": "hi"}]}"#,
            r#"{"messages": [{"reasoning": {"text": "confid\u0065ntial"}}], "messages": []}"#,
            r#"{"tool_choice": {"type": "auto", "why": ["confidential"]}}"#,
            r#"{"tool_calls": [{"id": "call_confidential"}]}"#,
            r#"{"a": {"confid\u0065ntial": null}}"#,
            r#"{"card": 4111111111111111}"#,
            r#"{"cards": [1, {"n": 2, "card": 4111111111111111}]}"#,
            r#"{"cards": [{"index": 0}, 4111111111111111, {"index": null}]}"#,
            r#"{"cards": [{"index": null}, 4111111111111111]}"#,
            r#"{"cards": [{"ind\u0065x": 0}, [4111111111111111]]}"#,
            r#"{"system": [{"text": "x-anthropic-billing-header: confidential"}]}"#,
        ] {
            assert!(said(body), "{body}");
        }
        let path = format!("/srv/confidential/{}", "a_b-c/".repeat(50));
        for text in ["data:image/png;base64,iVBORw0KGgo= What is in this confidential picture?", path.as_str()] {
            assert!(said(&json!({ "text": text }).to_string()), "{text}");
        }
        let picture = format!("{}/confidential/", "iVBORw0KGgo".repeat(30));
        for bytes in [picture.clone(), format!("data:image/png;base64,{picture}")] {
            assert!(!said(&json!({ "data": bytes }).to_string()), "what a picture shows");
        }
    }
}
