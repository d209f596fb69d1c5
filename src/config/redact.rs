//! Keeps secrets out of messages about a configuration: people put a key where its variable's name belongs, or into a
//! URL, and an error message or a page must not repeat it.

use toml::Value;

/// Least length of a run of letters and digits that looks like a key; parts of variables' names are shorter, or
/// words.
const MIN_KEY_LENGTH: usize = 16;

/// What is wrong with `name` as the name of an environment variable, if anything. The text never contains `name`.
pub(super) fn variable_name_fault(name: &str) -> Option<&'static str> {
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    let is_name = begins && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    if !is_name {
        return Some("is no name of a variable; put a key itself into .env, and the name it has there in here");
    }
    // Some vendors' keys consist of characters that names may have.
    let like_a_key = name.split('_').any(|part| {
        let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
        part.len() >= MIN_KEY_LENGTH && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
    });
    like_a_key.then_some(
        "looks like a key and not like a variable's name; put it into .env, and the name it has there in here",
    )
}

/// A serde error without the offending value: `invalid type: string "sk-...", expected a map` quotes the value, which
/// may be a key.
pub(super) fn without_value(message: &str) -> String {
    let cut = || {
        let (kind, rest) = message.split_once(": ").filter(|(kind, _)| kind.starts_with("invalid "))?;
        let (found, expected) = rest.rsplit_once(", expected ")?;
        let found = found.split(['"', '`']).next()?.trim_end();
        Some(format!("{kind}: {found}, expected {expected}"))
    };
    cut().unwrap_or_else(|| message.to_owned())
}

/// A value as it may be shown: URLs without credentials and query, which often hold a key.
pub(super) fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_credentials(text)),
        Value::Array(items) => Value::Array(items.iter().map(redacted).collect()),
        other => other.clone(),
    }
}

/// A URL as it may be shown: without credentials and query.
pub(crate) fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| scheme.bytes().all(is_of_scheme)) else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host.to_owned(), |(_, host)| format!("***@{host}"));
    format!("{scheme}://{host}{path}{query}")
}

fn is_of_scheme(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_no_name() {
        for name in ["OPENAI_API_KEY", "_x", "key2", "a_rather_long_name_in_lower_case", "AZURE_OPENAI_KEY_REGION_2"]
        {
            assert_eq!(variable_name_fault(name), None, "{name}");
        }
        for key in
            ["", "sk-proj-SECRET123", "1abc", "a key", "gsk_9SecretSecretSecret42", "hf_0123456789abcdefABCDEF"]
        {
            assert!(variable_name_fault(key).is_some(), "{key}");
        }
    }

    #[test]
    fn errors_name_kinds_and_no_values() {
        for (message, cut) in [
            (r#"invalid type: string "sk-S, expected x", expected a map"#, "invalid type: string, expected a map"),
            ("invalid type: integer `42`, expected a string", "invalid type: integer, expected a string"),
            ("invalid type: floating point `1.5`, expected u64", "invalid type: floating point, expected u64"),
            ("invalid type: unit variant, expected string only", "invalid type: unit variant, expected string only"),
            ("missing field `provider`", "missing field `provider`"),
            (
                "unknown variant `of`, expected one of `auto`, `off`",
                "unknown variant `of`, expected one of `auto`, `off`",
            ),
        ] {
            assert_eq!(without_value(message), cut);
        }
    }

    #[test]
    fn urls_are_shown_without_who_signs_in() {
        for (text, seen) in [
            ("https://user:SECRET@h:4318/v1", "https://***@h:4318/v1"),
            ("https://h/v1?key=SECRET", "https://h/v1?***"),
            ("https://us@er:SECRET@h?a=b@c", "https://***@h?***"),
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("what is this://a?", "what is this://a?"),
            ("hf:owner/name@revision", "hf:owner/name@revision"),
        ] {
            assert_eq!(redacted(&Value::String(text.into())), Value::String(seen.into()));
        }
    }
}
