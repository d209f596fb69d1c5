//! Keeps secrets out of what is said of a configuration: people put a key where its variable's name belongs, or into
//! a URL, and what is then refused or shown must not tell it to whoever reads along.

use toml::Value;

/// Letters and digits in one piece that a key has, at least; names of variables so long are made of words.
const KEY_LENGTH: usize = 16;

/// What is wrong with `name` as the name of an environment variable, if anything is. Never holds `name`.
pub(super) fn fault_of_variable(name: &str) -> Option<&'static str> {
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    let is_name = begins && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    if !is_name {
        return Some("is no name of a variable; put a key itself into .env, and the name it has there in here");
    }
    // Some vendors' keys are made of what names are made of.
    let like_a_key = name.split('_').any(|part| {
        let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
        part.len() >= KEY_LENGTH && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
    });
    like_a_key.then_some(
        "looks like a key and not like a variable's name; put it into .env, and the name it has there in here",
    )
}

/// An error of serde's without the value it is about: `invalid type: string "sk-...", expected a map` says which
/// value it found, and that may be a key.
pub(super) fn without_value(message: &str) -> String {
    let cut = || {
        let (kind, rest) = message.split_once(": ").filter(|(kind, _)| kind.starts_with("invalid "))?;
        let (found, expected) = rest.rsplit_once(", expected ")?;
        let found = found.split(['"', '`']).next()?.trim_end();
        Some(format!("{kind}: {found}, expected {expected}"))
    };
    cut().unwrap_or_else(|| message.to_owned())
}

/// A value as it may be shown: of a URL neither who signs in nor its query, which often holds a key.
pub(super) fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_credentials(text)),
        Value::Array(items) => Value::Array(items.iter().map(shown).collect()),
        other => other.clone(),
    }
}

/// A URL as it may be shown, likewise.
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
            assert_eq!(fault_of_variable(name), None, "{name}");
        }
        for key in
            ["", "sk-proj-SECRET123", "1abc", "a key", "gsk_9SecretSecretSecret42", "hf_0123456789abcdefABCDEF"]
        {
            assert!(fault_of_variable(key).is_some(), "{key}");
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
            assert_eq!(shown(&Value::String(text.into())), Value::String(seen.into()));
        }
    }
}
