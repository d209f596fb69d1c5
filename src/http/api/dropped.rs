//! The header that says which fields of a request could not be carried over.

use std::collections::HashSet;

use crate::codec::own_name;
use crate::protocol::Dialect;

/// Longest value of the header, in bytes, but for the last words.
const LONGEST: usize = 1024;

/// Each field once, by the name that `client` knows it by, wherever in a list it stood (`messages[].name`), and no more
/// of them than go into a header.
pub(super) fn told(client: Dialect, dropped: &[String]) -> String {
    // There may be as many as a body holds.
    let mut seen = HashSet::new();
    let fields: Vec<String> = dropped
        .iter()
        .map(|field| anywhere(&own_name(client, field)))
        .filter(|field| seen.insert(field.clone()))
        .collect();
    let mut told = String::new();
    for (at, field) in fields.iter().enumerate() {
        if told.len() + field.len() > LONGEST {
            let more = fields.len() - at;
            return if told.is_empty() { format!("{more} fields") } else { format!("{told} and {more} more") };
        }
        if at > 0 {
            told.push_str(", ");
        }
        told.push_str(field);
    }
    told
}

/// A field without its places in lists, in letters that may stand in a header: names are the client's own words.
fn anywhere(field: &str) -> String {
    let mut inside = false;
    let outside = |letter: &char| {
        let place = inside && letter.is_ascii_digit();
        inside = *letter == '[' || place;
        !place
    };
    let plain = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    field.chars().filter(outside).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: impl IntoIterator<Item = String>) -> String {
        told(Dialect::OpenAi, &fields.into_iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_long_conversation_loses_each_field_once() {
        let thoughts = (0..300).map(|turn| format!("messages[{turn}].thinking"));
        let names = (0..300).map(|turn| format!("messages[{turn}].content[2].name"));
        let all = thoughts.chain(names).chain(["max_tokens (at most 8192)".into()]);
        assert_eq!(of(all), "messages[].thinking, messages[].content[].name, max_tokens (at most 8192)");
    }

    #[test]
    fn whatever_a_name_holds_it_is_told() {
        let text = of(["messages[0].a\nb".into(), "stör".into(), "seed".into()]);
        assert_eq!(text, "messages[].a?b, st?r, seed");
        assert!(http::HeaderValue::try_from(text).is_ok());
    }

    #[test]
    fn more_than_a_header_holds_is_counted() {
        let text = of((0..200).map(|at| format!("a_rather_long_field_{at}")));
        assert!(text.len() < LONGEST + 20, "{}", text.len());
        let (shown, rest) = text.split_once(" and ").unwrap();
        let more: usize = rest.trim_end_matches(" more").parse().unwrap();
        assert_eq!(shown.split(", ").count() + more, 200);
        assert_eq!(of(["a".repeat(LONGEST + 1), "b".into()]), "2 fields");
    }
}
