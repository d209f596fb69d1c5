//! Ids of tool calls as Anthropic takes them: letters, digits, `_` and `-`, each id once in a conversation.
//!
//! Other vendors' ids may hold any character, and some servers number their calls anew in every answer. So calls are
//! renamed where necessary, in the order of the conversation, and a result belongs to the first call of its id that has
//! none yet. That is done on the way to Anthropic alone: others may know a call by nothing but the id that they gave it
//! (Kimi K2 reads the tool's name in it).

use std::collections::{HashMap, HashSet, VecDeque};

use crate::protocol::Part;

/// The ids of a conversation's calls so far.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// The new ids.
    given: Told,
    /// By old id: the new ids of the calls that have no result yet.
    waiting: HashMap<String, VecDeque<String>>,
    /// By old id: the new id of the call that got the last result.
    answered: HashMap<String, String>,
}

impl Ids {
    /// Gives a call its new id, or a result that of its call.
    pub(super) fn fit(&mut self, part: &mut Part) {
        match part {
            Part::ToolCall { id, .. } => *id = self.name(id),
            Part::ToolResult { call_id, .. } => *call_id = self.answer(call_id),
            _ => {}
        }
    }

    /// The id that the call of `id` has, which a result answers.
    pub(super) fn answer(&mut self, id: &str) -> String {
        let next = self.waiting.get_mut(id).and_then(VecDeque::pop_front);
        let named = next.or_else(|| self.answered.get(id).cloned()).unwrap_or_else(|| plain(id));
        self.answered.insert(id.to_owned(), named.clone());
        named
    }

    /// The new id of a call.
    pub(super) fn name(&mut self, id: &str) -> String {
        let name = self.given.tell(&plain(id));
        self.waiting.entry(id.to_owned()).or_default().push_back(name.clone());
        name
    }
}

/// The ids that a client is told of one answer's calls: the vendor's own, which it may want back, but each once. By id:
/// how often it was wanted, so that the thousandth of one id need not try all numbers again.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<String, u32>);

impl Told {
    pub(super) fn tell(&mut self, id: &str) -> String {
        let id = if id.is_empty() { "call" } else { id };
        let mut told = id.to_owned();
        while self.0.contains_key(&told) {
            let wanted = self.0.entry(id.to_owned()).or_default();
            *wanted += 1;
            told = format!("{id}_{wanted}");
        }
        self.0.insert(told.clone(), 1);
        told
    }
}

/// Whether Anthropic takes the ids of a conversation's calls, and of their results, as they are.
pub(super) fn all_fit<'a>(mut parts: impl Iterator<Item = &'a Part>) -> bool {
    let mut known = HashSet::new();
    parts.all(|part| match part {
        Part::ToolCall { id, .. } => is_plain(id) && known.insert(id.as_str()),
        Part::ToolResult { call_id, .. } => is_plain(call_id),
        _ => true,
    })
}

fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.chars().all(fits)
}

fn fits(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// The id with other characters replaced; never empty.
fn plain(id: &str) -> String {
    if id.is_empty() { "call".into() } else { id.replace(|letter: char| !fits(letter), "_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(parts: impl IntoIterator<Item = Part>) -> Vec<String> {
        let mut ids = Ids::default();
        let mut name = |mut part: Part| {
            ids.fit(&mut part);
            match part {
                Part::ToolCall { id, .. } | Part::ToolResult { call_id: id, .. } => id,
                other => panic!("{other:?}"),
            }
        };
        parts.into_iter().map(&mut name).collect()
    }

    fn call(id: &str) -> Part {
        Part::ToolCall { id: id.into(), name: "f".into(), arguments: String::new() }
    }

    fn result(id: &str) -> Part {
        Part::ToolResult { call_id: id.into(), content: Vec::new(), is_error: false, cache_control: None }
    }

    #[test]
    fn a_repeated_id_is_another_one_and_its_result_goes_with_it() {
        let round = || [call("call_0"), call("call_1"), result("call_0"), result("call_1")];
        let names = fitted(round().into_iter().chain(round()).chain([call("call_0_2"), result("call_0_2")]));
        assert_eq!(names[..4], ["call_0", "call_1", "call_0", "call_1"]);
        assert_eq!(names[4..8], ["call_0_2", "call_1_2", "call_0_2", "call_1_2"]);
        assert_eq!(names[8..], ["call_0_2_2", "call_0_2_2"]);
    }

    #[test]
    fn two_calls_of_one_id_have_a_result_each() {
        let names = fitted([call("a"), call("a"), result("a"), result("a"), result("a")]);
        assert_eq!(names, ["a", "a_2", "a", "a_2", "a_2"]);
    }

    #[test]
    fn a_client_is_told_each_id_of_an_answer_once() {
        let mut told = Told::default();
        let ids = ["functions.f:0", "0", "0", "0_2", "0", "", ""].map(|id| told.tell(id));
        assert_eq!(ids, ["functions.f:0", "0", "0_2", "0_2_2", "0_3", "call", "call_2"]);
        // As many as an answer may hold: in linear time.
        let last = (0..100_000).map(|_| told.tell("0")).last();
        assert_eq!(last.as_deref(), Some("0_100003"));
    }

    #[test]
    fn what_anthropic_does_not_take_is_replaced() {
        assert_eq!(fitted([call("functions.f:0"), result("functions.f:0")]), ["functions_f_0", "functions_f_0"]);
        assert_eq!(fitted([call(""), result(""), call("\u{e9}"), result("lost/1")]), ["call", "call", "_", "lost_1"]);
    }
}
