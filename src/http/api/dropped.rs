//! The header `x-pointsman-dropped`: the fields of a request that could not be translated.

use std::collections::HashSet;

use crate::codec::own_name;
use crate::protocol::Dialect;

/// Most bytes of the header's value, before "and N more".
const MAX_BYTES: usize = 1024;

/// The header's value: each field once, by its name in the client's dialect and without positions in lists
/// (`messages[].name`), as many as fit.
pub(super) fn header_value(client: Dialect, dropped: &[String]) -> String {
    // A set: a body may hold very many fields.
    let mut seen = HashSet::new();
    let fields: Vec<String> = dropped
        .iter()
        .map(|field| anywhere(&own_name(client, field)))
        .filter(|field| seen.insert(field.clone()))
        .collect();
    let mut value = String::new();
    for (at, field) in fields.iter().enumerate() {
        if value.len() + field.len() > MAX_BYTES {
            let more = fields.len() - at;
            return if value.is_empty() { format!("{more} fields") } else { format!("{value} and {more} more") };
        }
        if at > 0 {
            value.push_str(", ");
        }
        value.push_str(field);
    }
    value
}

/// A field's name without positions in lists, in characters that a header may hold: a name is the client's own text.
fn anywhere(field: &str) -> String {
    let mut inside = false;
    let outside = |letter: &char| {
        let is_position = inside && letter.is_ascii_digit();
        inside = *letter == '[' || is_position;
        !is_position
    };
    let plain = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    field.chars().filter(outside).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: impl IntoIterator<Item = String>) -> String {
        header_value(Dialect::OpenAi, &fields.into_iter().collect::<Vec<_>>())
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
        assert!(text.len() < MAX_BYTES + 20, "{}", text.len());
        let (shown, rest) = text.split_once(" and ").unwrap();
        let more: usize = rest.trim_end_matches(" more").parse().unwrap();
        assert_eq!(shown.split(", ").count() + more, 200);
        assert_eq!(of(["a".repeat(MAX_BYTES + 1), "b".into()]), "2 fields");
    }
}
