//! Hides the gateway's own secrets in vendors' errors.
//!
//! Debug pages, proxies and some vendors quote a request's headers in their errors, the API key among them. A vendor's
//! error goes on to the client, so it is searched for the secrets that were sent, both in whole bodies and in events of
//! a stream. Good answers pass unsearched: they hold the model's words and not the vendor's. Of an event with such
//! words the other lines (comments, name, id) are searched.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::errors::{holds_error, shorten};
use super::lines::{BYTE_ORDER_MARK, Events};
use super::parse;
use super::whole_events::first_end;
use crate::protocol::ApiError;

/// What replaces a secret.
const HIDDEN: &str = "***";

/// Shorter values are not hidden: they protect nothing (`none`, `ollama`: keys for servers without any) and may be any
/// word.
const MIN_SECRET_BYTES: usize = 8;

/// The schemes that stand before a credential in a header.
const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "apikey", "api-key"];

/// The secrets that requests to one provider carry.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The values, and how JSON may write them; longest first, since one may be a part of another.
    values: Vec<String>,
}

/// Shows only how many there are.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.values.len())
    }
}

impl Secrets {
    /// The secrets in headers, given by name and value: see [`secret_parts`].
    pub fn of_headers<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        let parts = headers.into_iter().flat_map(|(name, value)| secret_parts(name, value));
        let parts = parts.filter(|part| part.len() >= MIN_SECRET_BYTES);
        let values: BTreeSet<String> = parts.flat_map(written).collect();
        let mut values: Vec<String> = values.into_iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// Whether a secret stands in `bytes`, as it is or escaped in JSON, a URL or HTML.
    pub fn stand_in(&self, bytes: &[u8]) -> bool {
        // Whole answers are searched, and `from_utf8_lossy` looks at each byte by itself.
        let said = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::from);
        let stands_in = |said: &str| self.values.iter().any(|value| said.contains(value));
        let is_escaped = [r"\u00", r"\/", "%", "&#"].iter().any(|mark| said.contains(mark));
        stands_in(&said) || is_escaped && stands_in(&without_escapes(&said))
    }

    /// Hides the secrets in an error, and cuts its message only then. Cut first, the message could end with the
    /// beginning of a secret, which is no match; and hiding beginnings, too, would show a client that sends guesses
    /// which of them is right.
    pub fn hide_in_error(&self, error: &mut ApiError) {
        self.hide_in_text(&mut error.message);
        error.message = shorten(&error.message);
        if let Some(param) = &mut error.param {
            self.hide_in_text(param);
            *param = shorten(param);
        }
        if let Some(vendor) = &mut error.vendor {
            self.hide_in_fields(&mut vendor.fields);
        }
    }

    /// Hides the secrets in some whole server-sent events, but for the data of those that hold a piece of an answer. An
    /// event without a secret stays as it is, byte for byte.
    pub fn hide_in_events(&self, events: Bytes) -> Bytes {
        let mut hidden = Vec::with_capacity(events.len());
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (event, later) = rest.split_at(first_end(rest));
            match self.hidden_event(event) {
                Some(event) => hidden.extend_from_slice(&event),
                None => hidden.extend_from_slice(event),
            }
            rest = later;
        }
        Bytes::from(hidden)
    }

    /// Hides the secrets in a whole answer that reports an error in a choice's place; other answers stay byte for byte.
    pub fn hide_in_answer(&self, answer: Bytes) -> Bytes {
        if !self.stand_in(&answer) {
            return answer;
        }
        match parse(&answer) {
            Some(said) if !is_of_an_answer(&said) => {
                let mut told = said.clone();
                self.hide_in_value(&mut told);
                if told == said { answer } else { Bytes::from(told.to_string()) }
            }
            _ => answer,
        }
    }

    /// The event with its secrets hidden; `None` = it holds none, or only in its piece of an answer.
    fn hidden_event(&self, event: &[u8]) -> Option<Vec<u8>> {
        let event = event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event);
        let mut said: Option<Value> = None;
        let mut reader = Events::default();
        reader.push(event, |data| said = parse(data)).ok()?;
        reader.finish(|data| said = parse(data));
        let hidden = match said {
            // Plain text of a vendor or a proxy.
            None => self.hidden_line(event).into_owned(),
            Some(said) => self.hidden_lines(event, &said),
        };
        (hidden != event).then_some(hidden)
    }

    /// The lines of an event whose data is `said`.
    fn hidden_lines(&self, event: &[u8], said: &Value) -> Vec<u8> {
        let mut told = said.clone();
        if !is_of_an_answer(said) {
            self.hide_in_value(&mut told);
        }
        let is_data = |line: &[u8]| line.starts_with(b"data:");
        let lines = event.split_inclusive(|byte| *byte == b'\n');
        if told == *said {
            let lines = lines.map(|line| if is_data(line) { Cow::from(line) } else { self.hidden_line(line) });
            return lines.collect::<Vec<_>>().concat();
        }
        // The other lines, and the data as one line.
        let others = lines.filter(|line| !is_data(line) && !line.trim_ascii().is_empty());
        let mut hidden = others.map(|line| self.hidden_line(line)).collect::<Vec<_>>().concat();
        hidden.extend_from_slice(format!("data: {told}\n\n").as_bytes());
        hidden
    }

    fn hidden_line<'l>(&self, line: &'l [u8]) -> Cow<'l, [u8]> {
        if !self.stand_in(line) {
            return Cow::from(line);
        }
        let mut text = String::from_utf8_lossy(line).into_owned();
        self.hide_in_text(&mut text);
        Cow::from(text.into_bytes())
    }

    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.hide_in_text(text),
            Value::Array(all) => all.iter_mut().for_each(|value| self.hide_in_value(value)),
            Value::Object(fields) => self.hide_in_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn hide_in_fields(&self, fields: &mut Map<String, Value>) {
        let hidden = std::mem::take(fields).into_iter().map(|(mut key, mut value)| {
            self.hide_in_text(&mut key);
            self.hide_in_value(&mut value);
            (key, value)
        });
        *fields = hidden.collect();
    }

    fn hide_in_text(&self, text: &mut String) {
        self.hide_as_written(text);
        // JSON within JSON, a URL, or a line that is no JSON: what is escaped in a text that quotes a secret need not
        // stay so.
        while self.stand_in(text.as_bytes()) {
            *text = without_escapes(text);
            self.hide_as_written(text);
        }
    }

    fn hide_as_written(&self, text: &mut String) {
        for value in &self.values {
            if text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), HIDDEN);
            }
        }
    }
}

/// The secrets in a header's value: the value without a known scheme, and what may be quoted of it alone (a credential
/// after an unknown scheme, the value of each cookie).
fn secret_parts<'h>(name: &str, value: &'h str) -> Vec<&'h str> {
    let whole = match value.split_once(' ') {
        Some((scheme, credential)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => credential.trim(),
        _ => value.trim(),
    };
    let mut parts = vec![whole];
    if name.contains("auth") {
        parts.extend(whole.split_ascii_whitespace().next_back());
    }
    if name.contains("cookie") {
        let pairs = whole.split(';').filter_map(|pair| pair.split_once('='));
        parts.extend(pairs.map(|(_, value)| value.trim().trim_matches('"')));
    }
    parts
}

/// A secret as it is, and as a JSON string holds it.
fn written(secret: &str) -> [String; 2] {
    let json = Value::from(secret).to_string();
    [secret.to_owned(), json[1..json.len() - 1].to_owned()]
}

/// A text with JSON's `\/` and `\u00..`, a URL's `%..` and HTML's `&#..;` as the characters they stand for: a key in
/// Base64 has some that must be escaped there, and some writers escape more than they must (Gson writes `=` as
/// `\u003d`). Each may have several backslashes, as in JSON within JSON, or `%25`, as in a URL within a URL.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '%', '&']) {
        let (before, written) = rest.split_at(at);
        let (mark, after) = written.split_at(1);
        let after = if mark == "\\" { after.trim_start_matches('\\') } else { after };
        plain.push_str(before);
        match escaped(mark, after) {
            Some((letter, later)) => {
                plain.push(letter);
                rest = later;
            }
            None => {
                plain.push_str(&written[..written.len() - after.len()]);
                rest = after;
            }
        }
    }
    plain + rest
}

/// The character that stands escaped at the beginning of what follows a `mark`, and what follows it. Not so line ends
/// and the like, which headers have none of.
fn escaped<'t>(mark: &str, after: &'t str) -> Option<(char, &'t str)> {
    let (byte, later) = match mark {
        "\\" if after.starts_with('/') => return Some(('/', &after[1..])),
        "\\" => hexadecimal(after.strip_prefix("u00")?)?,
        "%" => hexadecimal(after.trim_start_matches("25"))?,
        _ => {
            let number = after.strip_prefix('#')?;
            let end = number.bytes().take(8).position(|byte| byte == b';')?;
            let byte = match number[..end].strip_prefix(['x', 'X']) {
                Some(digits) => u8::from_str_radix(digits, 16),
                None => number[..end].parse(),
            };
            (byte.ok()?, &number[end + 1..])
        }
    };
    // Of a URL's other bytes several make one character.
    (!byte.is_ascii_control() && (byte.is_ascii() || mark != "%")).then_some((char::from(byte), later))
}

/// The byte of two digits, and what follows them.
fn hexadecimal(text: &str) -> Option<(u8, &str)> {
    let (digits, later) = text.split_at_checked(2)?;
    Some((u8::from_str_radix(digits, 16).ok()?, later))
}

/// Whether an answer in OpenAI's or Anthropic's format, or an event of its stream, holds the model's words.
fn is_of_an_answer(said: &Value) -> bool {
    let choices = said["choices"].as_array().filter(|choices| !choices.is_empty());
    let is_error = holds_error(said) || choices.into_iter().flatten().any(holds_error);
    let kind = said["type"].as_str().unwrap_or_default();
    !is_error && (choices.is_some() || kind.starts_with("content_block_") || kind.starts_with("message"))
}

#[cfg(test)]
mod tests {
    use super::super::{StreamDecoder, decode_error, decode_response};
    use super::*;
    use crate::protocol::{Dialect, ErrorKind, StreamEvent};

    const KEY: &str = "sk-evilSECRETkey";

    fn secrets() -> Secrets {
        let values = ["Bearer sk-evilSECRETkey", "Basic dXNlcjpwYXNz", "identity", "team-of-ours", "short"];
        Secrets::of_headers(values.map(|value| ("authorization", value)))
    }

    #[test]
    fn a_key_is_hidden_wherever_a_vendor_quotes_it() {
        let body = format!(
            r#"{{"error":{{"message":"your key Bearer {KEY}","type":"invalid_request_error",
            "code":"oops {KEY}","param":"{KEY}",
            "x":{{"{KEY}":["Basic dXNlcjpwYXNz", 1, null]}}}}}}"#
        );
        let mut error = decode_error(Dialect::OpenAi, 400, body.as_bytes(), None);
        secrets().hide_in_error(&mut error);
        assert_eq!((error.message.as_str(), error.param.as_deref()), ("your key Bearer ***", Some("***")));
        error.param = Some("x".repeat(3000));
        secrets().hide_in_error(&mut error);
        assert_eq!(error.param.as_ref().map(String::len), Some(503), "cut as the message is");
        let fields = Value::Object(error.vendor.unwrap().fields);
        assert_eq!(fields["code"], "oops ***");
        assert_eq!(fields["x"], serde_json::json!({ "***": ["Basic ***", 1, null] }));
    }

    #[test]
    fn what_may_be_quoted_alone_is_hidden_alone() {
        let secrets = Secrets::of_headers([
            ("authorization", "Key FALSECRET123456"),
            ("cookie", "session=COOKIESECRET99; theme=dark; id=\"QUOTEDCOOKIE\""),
            ("x-secret", "two words-of-it"),
        ]);
        for (said, told) in [
            ("Key FALSECRET123456", "***"),
            ("no FALSECRET123456 here", "no *** here"),
            ("COOKIESECRET99 in dark", "*** in dark"),
            ("QUOTEDCOOKIE", "***"),
            ("words-of-it", "words-of-it"),
            ("two words-of-it", "***"),
        ] {
            let mut error = ApiError::invalid(said);
            secrets.hide_in_error(&mut error);
            assert_eq!(error.message, told);
        }
    }

    #[test]
    fn a_key_that_would_be_cut_is_hidden_whole() {
        for at in 470..510 {
            let said = format!("{}{KEY} and so on {}", "x".repeat(at), "y".repeat(100));
            let body = serde_json::json!({ "error": { "message": said } }).to_string();
            for mut error in [
                decode_error(Dialect::OpenAi, 500, body.as_bytes(), None),
                decode_response(Dialect::OpenAi, body.as_bytes()).unwrap_err(),
                error_in(&format!("data: {body}\n\n")),
            ] {
                secrets().hide_in_error(&mut error);
                assert!(!error.message.contains("sk-"), "{at}: {}", error.message);
                assert!(error.message.ends_with("..."), "{at}: {}", error.message);
            }
        }
    }

    #[test]
    fn a_key_is_hidden_in_json_within_a_text() {
        let secrets = Secrets::of_headers([("authorization", "Bearer sk-TOP/SEC+RET==0123")]);
        let quoted = r#"{"authorization":"Bearer sk-TOP\/SEC+RET\u003d\u003d0123"}"#;
        let mut error = ApiError::invalid(format!("upstream said {quoted}"));
        secrets.hide_in_error(&mut error);
        assert_eq!(error.message, r#"upstream said {"authorization":"Bearer ***"}"#);
        let events = Bytes::from(format!(": {quoted}\u{5c}u000adata: no line\n\n"));
        let hidden = secrets.hide_in_events(events);
        assert_eq!(hidden, Bytes::from(": {\"authorization\":\"Bearer ***\"}\\u000adata: no line\n\n"));
        // Another text's escapes are its own.
        let mut error = ApiError::invalid(r"caf\u00e9 \u003d \u00");
        secrets.hide_in_error(&mut error);
        assert_eq!(error.message, r"caf\u00e9 \u003d \u00");
    }

    #[test]
    fn a_key_is_hidden_in_a_url_and_in_html() {
        let secrets = Secrets::of_headers([("authorization", "Bearer sk-TOP=SECRET/KEY+0123456789")]);
        for said in [
            "sk-TOP%3DSECRET%2FKEY%2B0123456789",
            "sk-TOP%3dSECRET/KEY%2b0123456789",
            "sk-TOP%253DSECRET%252FKEY%25252B0123456789",
            "sk-TOP&#x3D;SECRET&#47;KEY&#43;0123456789",
            r"sk-TOP\u003dSECRET%2FKEY&#X2b;0123456789",
        ] {
            assert!(secrets.stand_in(said.as_bytes()), "{said}");
            let mut error = ApiError::invalid(format!("GET /?q=100%25&key={said}&x"));
            secrets.hide_in_error(&mut error);
            assert_eq!(error.message, "GET /?q=100%25&key=***&x", "{said}");
            let quoted = serde_json::json!({ "error": { "message": said } });
            let hidden = secrets.hide_in_events(Bytes::from(format!(": dbg {said}\n\ndata: {quoted}\n\n")));
            assert_eq!(hidden, ": dbg ***\n\ndata: {\"error\":{\"message\":\"***\"}}\n\n");
        }
        // What holds none stays.
        let other = "50% of x%2Fy%ff%, &#47;&#; &amp; &#x110000; 100%25";
        let mut error = ApiError::invalid(other);
        secrets.hide_in_error(&mut error);
        assert_eq!(error.message, other);
        assert_eq!(without_escapes(other), "50% of x/y%ff%, /&#; &amp; &#x110000; 100%25");
    }

    fn error_in(said: &str) -> ApiError {
        let mut events = Vec::new();
        StreamDecoder::new(Dialect::OpenAi).push(said.as_bytes(), &mut events);
        let error = events.into_iter().find_map(|event| match event {
            StreamEvent::Error(error) => Some(error),
            _ => None,
        });
        error.unwrap()
    }

    #[test]
    fn nobody_learns_a_key_by_what_is_hidden_of_guesses_at_its_beginning() {
        for end in MIN_SECRET_BYTES..KEY.len() {
            let guess = &KEY[..end];
            for said in [format!("{}{guess}{}", "x".repeat(500 - end), "z".repeat(50)), format!("got {guess}...")] {
                let body = serde_json::json!({ "error": { "message": said } }).to_string();
                let mut error = decode_error(Dialect::OpenAi, 400, body.as_bytes(), None);
                secrets().hide_in_error(&mut error);
                assert!(error.message.ends_with(&format!("{guess}...")), "{}", error.message);
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let mut error = ApiError::new(ErrorKind::InvalidRequest, "short: tool_choice must be none, says sk-evil...");
        let before = error.clone();
        secrets().hide_in_error(&mut error);
        assert_eq!(error, before);
        let values = ["Bearer none", "ollama", ""];
        Secrets::of_headers(values.map(|value| ("authorization", value))).hide_in_error(&mut error);
        assert_eq!(error, before);
        assert_eq!(format!("{:?}", secrets()), "Secrets(4)");
    }

    #[test]
    fn of_events_only_the_error_that_holds_one_is_written_anew() {
        let good = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{KEY}\"}}}}],\"error\":null}}\n\n");
        let error = format!(
            "event: error\r\ndata: {{\"type\":\"error\",\r\ndata: \"error\":{{\"message\":\"{KEY}\"}}}}\r\n\r\n"
        );
        let other = "data: {\"error\":{\"message\":\"no\" }}\n\n: bye\n\n";
        let hidden = secrets().hide_in_events(Bytes::from(format!("{good}{error}{other}")));
        let told = "event: error\r\ndata: {\"type\":\"error\",\"error\":{\"message\":\"***\"}}\n\n";
        assert_eq!(hidden, format!("{good}{told}{other}"));
        let unended = format!("\u{feff}data: {{\"error\":{{\"message\":\"{KEY}\"}}}}");
        let hidden = secrets().hide_in_events(Bytes::from(unended));
        assert_eq!(hidden, "data: {\"error\":{\"message\":\"***\"}}\n\n");
        let cut = Bytes::from_static(b"data: {\"error\":");
        assert_eq!(secrets().hide_in_events(cut.clone()), cut);
    }

    #[test]
    fn around_the_models_words_everything_is_searched() {
        let secrets = Secrets::of_headers([("authorization", "Bearer sk-evil/SECRETkey")]);
        for words in [
            r#"{"choices":[{"delta":{"content":"sk-evil/SECRETkey"}}]}"#,
            "{\"type\":\"content_block_delta\",\r\ndata:\"delta\":{\"text\":\"sk-evil/SECRETkey\"}}",
            r#"{"type": "ping"}"#,
        ] {
            let event = |said: &str| {
                format!(": {said}\r\nid: {said}\nevent: {said}\ndata: {words}\r\nx-{said}: 1\n:{said}\n\n")
            };
            for said in ["sk-evil/SECRETkey", r"sk-evil\/SECRETkey"] {
                assert!(secrets.stand_in(event(said).as_bytes()));
                assert_eq!(secrets.hide_in_events(Bytes::from(event(said))), event("***"));
            }
            let good = format!("\u{feff}{}", event("x"));
            assert_eq!(secrets.hide_in_events(Bytes::from(good.clone())), good);
        }
    }

    #[test]
    fn of_whole_answers_the_errors_alone_are_written_anew() {
        let error = format!("\u{feff}{{\"choices\": [{{\"error\":{{\"message\":\"{KEY}\"}}}}]}}");
        let told = "{\"choices\":[{\"error\":{\"message\":\"***\"}}]}";
        assert_eq!(secrets().hide_in_answer(Bytes::from(error)), told);
        for said in [
            format!("{{\"choices\": [{{\"message\":{{\"content\":\"{KEY}\"}}}}]}}"),
            format!("{{\"type\": \"message\", \"content\": [{{\"text\":\"{KEY}\"}}]}}"),
            "{\"choices\": [{\"error\": {\"message\": \"no\"}}]}".to_owned(),
        ] {
            assert_eq!(secrets().hide_in_answer(Bytes::from(said.clone())), said);
        }
    }

    #[test]
    fn a_secret_is_found_however_json_writes_it() {
        let secrets = Secrets::of_headers([("authorization", "Basic dXNl/jpw"), ("cookie", "a=\"b\\c\"12345")]);
        for said in ["x dXNl/jpw x", r"dXNl\/jpw", r#"{"x":"a=\"b\\c\"12345"}"#, r#"a="b\c"12345"#] {
            assert!(secrets.stand_in(said.as_bytes()), "{said}");
        }
        let padded =
            Secrets::of_headers([("authorization", "Basic dXNlcjpwYXN=="), ("x-key", "<a&b'c\"d\\e\u{e9}>")]);
        for said in
            [r"dXNlcjpwYXN\u003d\u003D", r#"\u003ca\u0026b\u0027c\"d\\e\u00e9\u003e"#, r"\u00 \u0064XNlcjpwYXN=="]
        {
            assert!(padded.stand_in(said.as_bytes()), "{said}");
            let told = padded.hide_in_events(Bytes::from(format!("data: {{\"detail\":\"{said}\"}}\n\n")));
            let is_json = !said.starts_with(r"\u00 ");
            assert_eq!(told == "data: {\"detail\":\"***\"}\n\n", is_json, "{told:?}");
        }
        assert!(secrets.stand_in(b"\xff dXNl/jpw"));
        assert!(!secrets.stand_in(b"dXNl jpw") && !Secrets::default().stand_in(b""));
    }

    #[test]
    fn a_secret_is_found_in_json_within_json() {
        let secrets = Secrets::of_headers([("authorization", "Bearer sk-OPEN=SECRET/123=45")]);
        let quoted = r#"{"authorization":"Bearer sk-OPEN\u003dSECRET\u002f123\u003D45","x":"1 \u003c 2"}"#;
        let mut error = ApiError::invalid(quoted);
        secrets.hide_in_error(&mut error);
        assert_eq!(error.message, r#"{"authorization":"Bearer ***","x":"1 < 2"}"#);
        for words in [r#"{"choices":[{"delta":{"content":"x \u003d"}}]}"#, r#"{"type": "ping"}"#] {
            let event = |said: &str| Bytes::from(format!(": dbg {said}\nid: {said}\ndata: {words}\n\n"));
            let whole: String = "sk-OPEN=SECRET/123=45".bytes().map(|byte| format!("\\u00{byte:02x}")).collect();
            for said in [r"sk-OPEN\u003dSECRET/123\u003d45", &whole] {
                assert_eq!(secrets.hide_in_events(event(said)), event("***"));
            }
        }
        let answer = |said: &str| {
            let choice = serde_json::json!({ "error": { "message": said }, "message": { "content": "x" } });
            Bytes::from(serde_json::json!({ "choices": [choice] }).to_string() + "  ")
        };
        assert_eq!(secrets.hide_in_answer(answer(quoted)), answer(&error.message).trim_ascii());
        let slashed = answer(r"x sk-OPEN=SECRET\/123=45");
        assert_eq!(secrets.hide_in_answer(slashed), answer("x ***").trim_ascii());
        let harmless = answer(r"1 \u003c 2");
        assert_eq!(secrets.hide_in_answer(harmless.clone()), harmless);
    }

    #[test]
    fn a_secret_is_found_however_deep_it_is_nested() {
        let key = "sk-TOP=SECRET/KEY0123456789";
        let secrets = Secrets::of_headers([("authorization", format!("Bearer {key}").as_str())]);
        for written in [key.replace('/', r"\/"), key.replace('/', r"\u002F").replace('=', r"\u003d")] {
            let mut said = format!(r#"{{"a":"Bearer {written}"}}"#);
            for depth in 0..4 {
                let choice = serde_json::json!({ "index": 0, "delta": {}, "error": { "metadata": { "raw": said } } });
                let answer = serde_json::json!({ "id": "c", "choices": [choice] }).to_string();
                for (what, hidden) in [
                    ("event", secrets.hide_in_events(Bytes::from(format!("data: {answer}\n\n")))),
                    ("answer", secrets.hide_in_answer(Bytes::from(answer.clone()))),
                    ("line", secrets.hide_in_events(Bytes::from(format!(": dbg {said}\n\n")))),
                ] {
                    let told = String::from_utf8_lossy(&hidden);
                    assert!(told.contains("Bearer ***") && !told.contains("KEY"), "{what} {depth}: {told}");
                }
                // What alone makes a stream's piece be searched.
                assert!(secrets.stand_in(answer.as_bytes()), "{depth}: {answer}");
                let mut error = ApiError::invalid(said.clone());
                secrets.hide_in_error(&mut error);
                assert!(!error.message.contains("KEY"), "{depth}: {}", error.message);
                said = serde_json::json!({ "x": said }).to_string();
            }
        }
    }

    #[test]
    fn an_error_without_its_usual_form_is_searched_too() {
        for (said, told) in [
            (format!("data: bad key {KEY}\n\n"), "data: bad key ***\n\n"),
            (format!("event: error\ndata: \"{KEY}\"\n\n"), "event: error\ndata: \"***\"\n\n"),
            (
                format!("data: {{\"type\":\"error\",\"message\":\"{KEY}\"}}\n\n"),
                "data: {\"type\":\"error\",\"message\":\"***\"}\n\n",
            ),
            (
                format!("data: {{\"choices\":[],\"detail\":\"{KEY}\"}}\n\n"),
                "data: {\"choices\":[],\"detail\":\"***\"}\n\n",
            ),
            (
                format!("data: {{\"choices\":[{{\"error\":{{\"message\":\"{KEY}\"}}}}]}}\n\n"),
                "data: {\"choices\":[{\"error\":{\"message\":\"***\"}}]}\n\n",
            ),
        ] {
            assert!(secrets().stand_in(said.as_bytes()));
            assert_eq!(secrets().hide_in_events(Bytes::from(said)), told);
        }
        let delta = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{KEY}\"}}}}\n\n"
        );
        assert_eq!(secrets().hide_in_events(Bytes::from(delta.clone())), delta);
    }
}
