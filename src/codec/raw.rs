//! JSON that stays text: the arguments of calls. Parsed, they could take a hundred times the memory, where no limit of
//! the body counts them, and numbers beyond an `f64` would become others.
//!
//! What has been written is read by [`text`]. In a tree of values that is to be written, the arguments stand as a text,
//! and [`write()`] makes them JSON.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Reads arguments as JSON text. Some servers write them as a text, some as the object itself. `None` = null.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let written = Option::<Box<RawValue>>::deserialize(deserializer)?;
    let text = |json: Box<RawValue>| match json.get().starts_with('"') {
        true => serde_json::from_str(json.get()).map_err(D::Error::custom),
        false => Ok(String::from(Box::<str>::from(json))),
    };
    written.map(text).transpose()
}

/// Writes a value. Texts at the end of `path`, which names fields and leads through arrays by itself, are written as
/// the JSON that they hold.
pub(super) fn write(value: &Value, path: &[&str]) -> Bytes {
    serde_json::to_vec(&Tree { value, path }).unwrap_or_default().into()
}

/// A value, and the path from it to texts that are JSON.
struct Tree<'a> {
    value: &'a Value,
    path: &'a [&'a str],
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.value, self.path) {
            (Value::String(text), []) => match serde_json::from_str::<&RawValue>(text) {
                Ok(json) => json.serialize(serializer),
                Err(_) => text.serialize(serializer),
            },
            (Value::Array(items), path @ [_, ..]) => {
                serializer.collect_seq(items.iter().map(|value| Tree { value, path }))
            }
            (Value::Object(fields), [next, path @ ..]) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    match key == next {
                        true => map.serialize_entry(key, &Tree { value, path })?,
                        false => map.serialize_entry(key, value)?,
                    }
                }
                map.end()
            }
            (value, _) => value.serialize(serializer),
        }
    }
}

/// Whether a text is JSON that every reader takes: whole, not nested too deeply, without half characters and numbers
/// that no `f64` comes near. Takes no memory.
pub(super) fn is_sound(json: &str) -> bool {
    serde_json::from_str::<Sound>(json).is_ok()
}

/// Any value, read and forgotten. Unlike serde's `IgnoredAny` it is read as closely as one that is kept.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_sound_is_what_a_parser_takes() {
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        let (whole, too_deep) = (deep(127), deep(128));
        for json in [
            "{}",
            " {\"a\": [1, -2.5e3, true, null, \"\\ud83d\\ude00\\n\"]} ",
            "null",
            "\"x\"",
            "1e400",
            "{\"a\": 1e400}",
            "{\"a\": \"\\ud83d\"}",
            "{\"\\ud83d\": 1}",
            "{",
            "{\"a\":}",
            "{} {}",
            "",
            " ",
            "[1,]",
            &whole,
            &too_deep,
            "123456789012345678901234567890",
        ] {
            assert_eq!(is_sound(json), serde_json::from_str::<Value>(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn texts_at_the_end_of_a_path_are_written_as_the_json_they_hold() {
        let told = |value: Value| String::from_utf8(write(&value, &["turns", "input"]).to_vec()).unwrap();
        let turns = json!([
            { "input": "{\"n\": 123456789012345678901234567890}", "text": "{}" },
            { "input": "{} \"more\": 1", "input_2": "{}" },
            { "input": { "input": "{}" } },
            [{ "input": "[]" }],
            "{}",
        ]);
        let as_it_is = r#"[{"input":{"n": 123456789012345678901234567890},"text":"{}"},{"input":"{} \"more\": 1","input_2":"{}"},{"input":{"input":"{}"}},[{"input":[]}],"{}"]"#;
        assert_eq!(
            told(json!({ "input": "{}", "turns": turns })),
            format!(r#"{{"input":"{{}}","turns":{as_it_is}}}"#)
        );
    }

    #[test]
    fn arguments_are_a_text_however_they_are_written() {
        #[derive(Deserialize)]
        struct Call {
            #[serde(default, deserialize_with = "text")]
            input: Option<String>,
        }
        let read = |json: &str| serde_json::from_str::<Call>(json).map(|call| call.input);
        assert_eq!(read(r#"{"input": {"n": 1e400}}"#).unwrap().as_deref(), Some(r#"{"n": 1e400}"#));
        assert_eq!(read(r#"{"input": "{\"n\": 1}"}"#).unwrap().as_deref(), Some(r#"{"n": 1}"#));
        assert_eq!((read("{}").unwrap(), read(r#"{"input": null}"#).unwrap()), (None, None));
        assert!(read(r#"{"input": "\ud83d"}"#).is_err());
    }
}
