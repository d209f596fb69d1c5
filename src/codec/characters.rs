//! Half characters in what a vendor or a client writes. Some JSON writers write a character beyond the first 65,536 as two escapes,
//! and a text that was cut between them, or whose halves come in two pieces of a stream, holds one alone (`\ud83d`); the
//! same happens to the bytes of a character, where they are no UTF-8 then. No parser takes either, and an answer that is
//! good and paid for must not be lost for that: a half is read as U+FFFD, as browsers do.

/// Reads JSON; where that fails, once more with U+FFFD in the place of each half of a character.
pub(super) fn read<T, E>(json: &[u8], mut read: impl FnMut(&[u8]) -> Result<T, E>) -> Result<T, E> {
    read(json).or_else(|error| whole(json).map_or(Err(error), |json| read(&json)))
}

/// A client's JSON with U+FFFD in the place of each half that is an escape; `None` = it has none. Bytes that are no UTF-8
/// are the client's to mend: all of its texts may be in another encoding.
pub fn whole_escapes(json: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(json).ok().and_then(|json| whole(json.as_bytes()))
}

/// How much longer a mended text may be. U+FFFD has three bytes, so that one of broken bytes alone would take three times
/// the memory that answers are allowed.
const MOST_MORE_BYTES: usize = 1 << 20;

/// The JSON with U+FFFD in the place of each half of a character; `None` = it has no half, or far too many.
pub(super) fn whole(json: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(json.len());
    let mut is_mended = false;
    for chunk in json.utf8_chunks() {
        whole.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            whole.extend_from_slice("\u{fffd}".as_bytes());
            is_mended = true;
        }
        if whole.len() > json.len() + MOST_MORE_BYTES {
            return None;
        }
    }
    let mut at = 0;
    while let Some(found) = whole[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        let (length, is_half) = escape(&whole[at..]);
        if is_half {
            whole[at..at + length].copy_from_slice(b"\\ufffd");
            is_mended = true;
        }
        at += length;
    }
    is_mended.then_some(whole)
}

/// How many bytes of a piece of JSON can be told by themselves: in the rest an escape begins whose other half may come
/// with the next piece.
pub(super) fn settled(piece: &str) -> usize {
    let bytes = piece.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        if bytes.len() < at + 12 && matches!(bytes.get(at + 1), None | Some(b'u')) {
            return at;
        }
        at += escape(&bytes[at..]).0;
    }
    bytes.len()
}

/// The length of the escape at the beginning of the bytes, of both where two make one character; and whether it is half
/// of one.
fn escape(bytes: &[u8]) -> (usize, bool) {
    match (unit(bytes), bytes.get(6..).and_then(unit)) {
        (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (12, false),
        (Some(0xd800..0xe000), _) => (6, true),
        // No less than an escape: what follows a backslash that is escaped is none.
        _ => (2.min(bytes.len()), false),
    }
}

/// The UTF-16 unit that an escape at the beginning of the bytes stands for.
fn unit(bytes: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(bytes.strip_prefix(b"\\u")?.get(..4)?).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn halves_of_characters_are_replaced_and_nothing_else() {
        let mended = |json: &[u8]| {
            let read: Value = read(json, |json| serde_json::from_slice(json)).unwrap();
            read.as_str().unwrap().to_owned()
        };
        for (json, text) in [
            (&br#""a \ud83d b""#[..], "a \u{fffd} b"),
            (br#""\uDE00\ud83d\uD83D\ude00\ud83d""#, "\u{fffd}\u{fffd}\u{1f600}\u{fffd}"),
            (br#""\ud83d\u0041\\ud83d\\\ud83d""#, "\u{fffd}A\\ud83d\\\u{fffd}"),
            (b"\"\xf0\x9f\x98\"", "\u{fffd}"),
            (b"\"\\ud83d\xff\"", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(mended(json), text);
        }
        for sound in [&br#""\ud83d\ude00 \\ud83d""#[..], b"\"\xf0\x9f\x98\x80\"", b"{}", b"\\", b"\\u", b"\\ud8", b""]
        {
            assert_eq!(whole(sound), None, "{sound:?}");
        }
        for (piece, length) in [
            ("{\"a\": \"b", 8),
            ("\\", 0),
            ("\\\\", 2),
            ("\\\\u", 3),
            ("\\n\\u00e", 2),
            ("a\\ud83d", 1),
            ("a\\ud83d\\ude0", 1),
            ("a\\ud83d\\ude00", 13),
            ("\\ud83d, and more", 16),
        ] {
            assert_eq!(settled(piece), length, "{piece}");
        }
        let broken = |bytes: usize| whole(&vec![0xff; bytes]).map(|whole| whole.len());
        assert_eq!(broken(MOST_MORE_BYTES / 2), Some(MOST_MORE_BYTES / 2 * 3));
        assert_eq!(broken(MOST_MORE_BYTES), None, "memory is bounded");
    }
}
