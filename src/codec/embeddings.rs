//! Answers of embeddings. They pass through, but for lists of numbers where base64 was asked for.
//!
//! OpenAI's own clients for Node and .NET always ask for base64 and read any answer as such: of a list they make a
//! shorter vector of other numbers, without an error. Ollama before November 2025, LiteLLM and other look-alikes ignore
//! the wish.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{errors, json, splice, unreadable, without_bom};
use crate::protocol::{ApiError, MAX_PLAUSIBLE_TOKENS};

/// Checks that a body is an answer of embeddings; it is passed on as it is.
///
/// # Errors
///
/// `Upstream` and false where it is none; the error that it reports, and true, where one came with a status of 200.
pub fn check_embeddings(body: &[u8]) -> Result<(), (ApiError, bool)> {
    let body = without_bom(body);
    match serde_json::from_slice(body) {
        Ok(Shape { error, data: Some(_) }) if error.as_ref().is_none_or(errors::is_empty) => Ok(()),
        _ => {
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            let error = errors::holds_error(&said).then(|| errors::in_band(&said)).flatten();
            Err(error.map_or_else(|| (unreadable(), false), |error| (error, true)))
        }
    }
}

/// A vector in OpenAI's base64: 32-bit floats, little endian.
fn vector_in_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// An answer of embeddings with its lists of numbers in base64; every other byte stays.
pub fn embeddings_in_base64(answer: Bytes) -> Bytes {
    let start = answer.as_ptr() as usize;
    let Ok(Wire { data }) = serde_json::from_slice(without_bom(&answer)) else { return answer };
    let lists = data.iter().filter_map(|item| {
        let list = item.embedding?.get();
        let vector: Vec<f32> = serde_json::from_str(list).ok()?;
        // A borrowed raw value is a slice of the body itself, so its address tells where it stands.
        let at = list.as_ptr() as usize - start;
        Some((at..at + list.len(), format!("\"{}\"", vector_in_base64(&vector))))
    });
    let edits: Vec<_> = lists.collect();
    if edits.is_empty() { answer } else { splice::apply(&answer, edits) }
}

/// The tokens of the texts, as the vendor counted them; `None` = it did not, or its count cannot be true. Some vendors
/// (Voyage) tell the total alone, which is the same.
pub fn embedded_tokens(answer: &[u8]) -> Option<u64> {
    let Counted { usage } = serde_json::from_slice(without_bom(answer)).ok()?;
    let counts = [usage.prompt_tokens, usage.total_tokens];
    counts.into_iter().flatten().find(|tokens| (1..=MAX_PLAUSIBLE_TOKENS).contains(tokens))
}

/// What tells an answer from an error.
#[derive(Deserialize)]
struct Shape {
    error: Option<Value>,
    data: Option<Vec<IgnoredAny>>,
}

/// The part of an answer that holds the token count.
#[derive(Deserialize)]
struct Counted {
    usage: Counts,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default, deserialize_with = "json::count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "json::count")]
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    data: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(answer: &str) -> String {
        String::from_utf8(embeddings_in_base64(Bytes::from(answer.to_owned())).to_vec()).unwrap()
    }

    #[test]
    fn lists_of_numbers_become_base64_and_nothing_else_changes() {
        // Python: base64.b64encode(struct.pack("<3f", 0.5, -1, 3.1415927))
        let list = r#"{"object": "list", "data": [{"embedding": [ 0.5, -1, 3.141592653589793], "index":0}, {"index": 1, "embedding":[]}], "usage": {"x": 1.50}}"#;
        let told = r#"{"object": "list", "data": [{"embedding": "AAAAPwAAgL/bD0lA", "index":0}, {"index": 1, "embedding":""}], "usage": {"x": 1.50}}"#;
        assert_eq!(packed(list), told);
        assert_eq!(packed(told), told);
        assert_eq!(packed(&format!("\u{feff}{list}")), format!("\u{feff}{told}"));
    }

    #[test]
    fn a_count_is_believed_in_any_form_if_it_can_be_true() {
        let counts = |usage: &str| embedded_tokens(format!("\u{feff}{{\"data\":[],\"usage\":{usage}}}").as_bytes());
        for usage in [
            r#"{"prompt_tokens":12,"total_tokens":12}"#,
            r#"{"prompt_tokens":12.0}"#,
            r#"{"prompt_tokens":"12"}"#,
            r#"{"total_tokens":12}"#,
            r#"{"prompt_tokens":0,"total_tokens":12}"#,
        ] {
            assert_eq!(counts(usage), Some(12), "{usage}");
        }
        for usage in [
            r#"{"prompt_tokens":1000000000000000}"#,
            r#"{"prompt_tokens":1e300}"#,
            r#"{"prompt_tokens":-1}"#,
            "null",
            "{}",
        ] {
            assert_eq!(counts(usage), None, "{usage}");
        }
    }

    #[test]
    fn what_is_no_list_of_numbers_stays() {
        for answer in [
            r#"{"data":[{"embedding":[[0.5,1.0],[2.0,3.0]]},{"embedding":null},{}]}"#,
            r#"{"data":[{"embedding":["0.5"]},{"embedding":{"values":[0.5]}}]}"#,
            r#"{"data":"none"}"#,
            r#"[0.5]"#,
            "data: {}",
            "",
        ] {
            assert_eq!(packed(answer), answer);
        }
    }
}
