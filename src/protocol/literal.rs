//! The literals of a JSON text, read without parsing it, and the characters that its escapes stand for.

use memchr::memchr2;

/// A literal of a JSON text, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Literal<'a> {
    /// The name of a field.
    Name(&'a str),
    /// A string that is a value.
    Text(&'a str),
    /// A number, and the name of its field; `None` in an array.
    Number(&'a str, Option<&'a str>),
}

/// Calls `visit` with every literal of `json` in order, however deep it stands. Unlike a parser it also sees both
/// values of a field that is written twice.
pub(super) fn each<'a>(json: &'a str, mut visit: impl FnMut(Literal<'a>)) {
    let bytes = json.as_bytes();
    let mut at = 0;
    // The field whose value comes next.
    let mut field = None;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = end_of_text(bytes, at + 1);
                let text = &json[at + 1..end];
                at = (end + 1).min(bytes.len());
                field = bytes[at..].trim_ascii_start().starts_with(b":").then_some(text);
                visit(field.map_or(Literal::Text(text), Literal::Name));
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                visit(Literal::Number(&json[at..at + length], field.take()));
                at += length;
            }
            b':' | b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            _ => {
                field = None;
                at += 1;
            }
        }
    }
}

/// Position of the quote that closes the string which begins at `at`.
pub(crate) fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += next;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

/// A text with JSON's escapes undone; `None` where it has none.
pub(super) fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (letter, after) = escaped(after).unwrap_or(('\\', after));
        plain.push(letter);
        rest = after;
    }
    plain.push_str(rest);
    // Every escape is longer than the character it stands for.
    (plain.len() < text.len()).then_some(plain)
}

/// The character that an escape stands for, and what follows the escape; `after` is what follows the backslash.
fn escaped(after: &str) -> Option<(char, &str)> {
    let letter = match after.chars().next()? {
        'u' => return numbered(&after[1..]),
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        mark @ ('"' | '\\' | '/') => mark,
        _ => return None,
    };
    Some((letter, &after[1..]))
}

/// The character of a `\u` escape, or of two where UTF-16 needs a surrogate pair.
fn numbered(digits: &str) -> Option<(char, &str)> {
    let unit = |digits: &str| u16::from_str_radix(digits.get(..4)?, 16).ok();
    let (first, after) = (unit(digits)?, digits.get(4..)?);
    if let Some(letter) = char::from_u32(first.into()) {
        return Some((letter, after));
    }
    let second = after.strip_prefix("\\u")?;
    let letter = char::decode_utf16([first, unit(second)?]).next()?.ok()?;
    Some((letter, second.get(4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_told_as_they_are_written() {
        use Literal::{Name, Number, Text};
        let read = |json| {
            let mut all = Vec::new();
            each(json, |literal| all.push(literal));
            all
        };
        let json = r#"{"a" : [-1.5e3, true, "\\", {"b\"":"c: \"d\""}], "a" : 4111111111111111111111, "": null}"#;
        let told = [
            Name("a"),
            Number("-1.5e3", None),
            Text(r"\\"),
            Name(r#"b\""#),
            Text(r#"c: \"d\""#),
            Name("a"),
            Number("4111111111111111111111", Some("a")),
            Name(""),
        ];
        assert_eq!(read(json), told);
        let behind = [Name("n"), Number("1", Some("n")), Number("2", None), Name("n"), Number("3", None)];
        assert_eq!(read(r#"[{"n": 1}, 2, {"n": null}, 3]"#), behind);
        // What is no JSON breaks nothing.
        for odd in ["", r#"""#, r#""\"#, r#""a\""#, "{\"\u{e9}", "-"] {
            assert!(read(odd).len() <= 1, "{odd}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        for (written, meant) in [
            (r"\u6a5f\u5bc6", "\u{6a5f}\u{5bc6}"),
            (r#"a\n\"b\"\/\\"#, "a\n\"b\"/\\"),
            (r"\ud83d\ude00!", "\u{1f600}!"),
            (r"M\u00fcller", "M\u{fc}ller"),
        ] {
            assert_eq!(unescaped(written).as_deref(), Some(meant));
        }
        // No escapes, or none that JSON knows; the last is half of a pair.
        for plain in ["", "plain", r"C:\Users", r"\", r"\u12", r"\u00\u{e9}", r"\ud83d", r"\ud83dx"] {
            assert_eq!(unescaped(plain), None, "{plain}");
        }
    }
}
