//! How much memory a body takes once it is parsed, told before it is.
//!
//! A parsed value has a fixed size, however short it is written: three bytes in a body (`[],`) become some hundred. So
//! a body within its limit of bytes could still take all of a machine's memory.

use crate::protocol::end_of_text;

/// A value in an array, or a field with its name, also counting that arrays double as they grow.
const VALUE_BYTES: usize = 128;

/// An object, which has room for four fields from the first one on.
const OBJECT_BYTES: usize = 480;

/// An array, likewise for four values.
const ARRAY_BYTES: usize = 288;

/// About how many bytes the values of a JSON `body` take once it is parsed, beside the texts themselves. What stands in
/// strings does not count: JSON among it (a call's arguments) is never parsed, see [`raw`](super::raw).
pub fn parsed_bytes(body: &[u8]) -> usize {
    let mut bytes = VALUE_BYTES;
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += 1;
        bytes += match byte {
            b',' => VALUE_BYTES,
            b'{' => OBJECT_BYTES,
            b'[' => ARRAY_BYTES,
            b'"' => {
                at = end_of_text(body, at) + 1;
                0
            }
            _ => 0,
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use serde_json::Value;

    use super::*;

    #[test]
    fn values_weigh_what_they_take_and_texts_nothing() {
        assert!(size_of::<Value>() <= VALUE_BYTES && 4 * size_of::<Value>() <= ARRAY_BYTES);
        // An entry of an object has its name and a hash, too.
        assert!(4 * (size_of::<(String, Value)>() + size_of::<u64>()) <= OBJECT_BYTES);
        let text = parsed_bytes(br#""[{,\\\",[{,""#);
        assert_eq!(text, VALUE_BYTES);
        assert_eq!(parsed_bytes(br#"{"a\"": [1, {"b": "[,"}]}"#), 2 * (OBJECT_BYTES + VALUE_BYTES) + ARRAY_BYTES);
        // What is no JSON breaks nothing.
        for odd in ["", "\"", "\"\\", "{\"a", "]]"] {
            assert!(parsed_bytes(odd.as_bytes()) <= VALUE_BYTES + OBJECT_BYTES, "{odd}");
        }
    }
}
