//! The part of a request that is read: the question, because heads are fitted to questions.
//!
//! 1. The **question**: the last user turn that has text (inside a tool loop that is still the question), without what
//!    a program adds to it. (Of 20 questions that Claude Code sent behind a `CLAUDE.md` of 3 KB, 5 got the right task
//!    label and passed as familiar; of the questions alone, 18.)
//! 2. The end of the question **before** it, where the question is too short to say what it is about ("And in Rust?").
//! 3. The **tools** on offer: not read by the encoder, but by statistics that compare them with the question.
//!
//! System prompts and longer histories are not read: a prompt's features are the mean over its tokens, and the hundred
//! tokens of "You are a support agent ...", or of three functions in JSON, would outvote the ten of the question, the
//! same way in every request. (Of 120 questions behind a coding assistant's system prompt 56 got the right task label,
//! of 100 with three plain functions 10; of the questions alone, 109 and 91.)
//!
//! Long texts are cut to their ends before anything expensive is done, so that the work is bounded;
//! [`super::tokenizer`] then decides which tokens are kept.

use sha2::{Digest, Sha256};

use super::stats::{self, first_bytes};
use crate::protocol::{ChatRequest, Part, Tool};

/// Bytes kept at each end of a text, per token that is read. A token of English has four bytes; of anything, rarely
/// more than eight.
const BYTES_PER_TOKEN: usize = 8;

/// Bytes from which a question counts as long enough to say what it is about, and most bytes kept of the question
/// before a shorter one.
const ENOUGH: usize = 32;

/// The part of a request that is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The last question, uncut, because its length is a statistic.
    pub question: String,
    /// The tools on offer, each as JSON on a line of its own, cut to what is read of them; empty = none.
    pub tools: String,
    /// The last words of the question before it; empty where the question is long enough.
    pub before: String,
}

impl Prompt {
    /// A prompt as training data has it: a question, and the tools behind it if it offers any.
    pub fn of_text(text: &str) -> Self {
        let (question, tools) = stats::apart(text);
        Self { question: question.into(), tools: tools.into(), before: String::new() }
    }

    /// The prompt of `request`.
    pub fn of(request: &ChatRequest) -> Self {
        let turns = &request.messages;
        let says = |at: &usize| turns[*at].parts.iter().any(is_said);
        let is_question = |at: &usize| turns[*at].is_question();
        let last = || (0..turns.len()).rev().filter(says);
        let Some(asked) = last().find(is_question).or_else(|| last().next()) else { return Self::default() };
        let question = turns[asked].question_text();
        let mut tools = String::new();
        for tool in &request.tools {
            if tools.len() > stats::reach(true) {
                break;
            }
            tools.push_str(&function(tool));
            tools.push('\n');
        }
        let says_too_little = question.trim().len() < ENOUGH;
        let earlier = says_too_little.then(|| (0..asked).rev().filter(says).find(is_question)).flatten();
        let before = earlier.map(|at| last_words(turns[at].question_text().trim()).to_owned()).unwrap_or_default();
        Self { question, tools, before }
    }

    /// The beginning and the end of the question, cut to what can matter to `max_tokens` tokens; where that is all of
    /// it, the end is empty.
    pub fn ends(&self, max_tokens: usize) -> (&str, &str) {
        ends(&self.question, BYTES_PER_TOKEN * max_tokens)
    }

    /// A cache key: two prompts with the same key have the same reading, because it is a hash of everything that tokens
    /// and statistics are made of.
    pub fn key(&self, max_tokens: usize) -> [u8; 32] {
        let room = (BYTES_PER_TOKEN * max_tokens).max(stats::reach(!self.tools.is_empty()));
        let (question, end) = ends(&self.question, room);
        let mut hash = Sha256::new();
        for text in [question, end, first_bytes(&self.tools, stats::reach(true)), &self.before] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.update((self.question.len() as u64).to_le_bytes());
        hash.finalize().into()
    }
}

/// Whether a part has text.
fn is_said(part: &Part) -> bool {
    matches!(part, Part::Text { text, .. } if !text.trim().is_empty())
}

/// A tool as the function-calling prompts of the training data write it.
fn function(tool: &Tool) -> String {
    let written = serde_json::json!({
        "name": tool.name,
        "description": tool.description.as_deref().unwrap_or_default(),
        "parameters": tool.parameters,
    });
    written.to_string()
}

/// At most `room` bytes of each end; the second is empty where the first is all.
fn ends(text: &str, room: usize) -> (&str, &str) {
    if text.len() <= 2 * room { (text, "") } else { (first_bytes(text, room), last_bytes(text, room)) }
}

/// At most [`ENOUGH`] bytes of the end, whole words where there are any.
fn last_words(text: &str) -> &str {
    let end = last_bytes(text, ENOUGH);
    let words = end.split_once(char::is_whitespace).map_or(end, |(_, words)| words);
    if end.len() < text.len() { words } else { text }
}

/// At most `bytes` of the end, whole characters.
fn last_bytes(text: &str, bytes: usize) -> &str {
    let from = text.len().saturating_sub(bytes);
    &text[(from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Message, Role};

    fn request(turns: &[(Role, &str)]) -> ChatRequest {
        let messages = turns.iter().map(|(role, text)| Message::text(*role, *text)).collect();
        ChatRequest { messages, ..ChatRequest::default() }
    }

    #[test]
    fn the_last_question_is_read_and_no_system_prompt_or_history() {
        let asked = request(&[
            (Role::System, "You are a senior software engineer."),
            (Role::User, "Hello"),
            (Role::Assistant, "Hi!"),
            (Role::User, "Translate \"good morning\" to German"),
        ]);
        assert_eq!(Prompt::of(&asked), Prompt::of_text("Translate \"good morning\" to German"));
    }

    /// As Claude Code 2.1 begins a session.
    #[test]
    fn what_a_program_reminds_of_is_no_question() {
        let reminder =
            format!("<system-reminder>\n# claudeMd\n{}\n</system-reminder>\n\n", "Fix the bug. ".repeat(200));
        let mut asked = request(&[(Role::User, &reminder), (Role::System, "Available agent types: claude")]);
        asked.messages[0].parts.push(Part::text("Write a short poem about autumn rain."));
        assert_eq!(Prompt::of(&asked), Prompt::of_text("Write a short poem about autumn rain."));
        asked.messages.push(Message::text(Role::User, "And in French?"));
        assert_eq!(Prompt::of(&asked).before, "a short poem about autumn rain.");
    }

    #[test]
    fn a_question_that_says_too_little_is_read_with_the_question_before_it() {
        let asked = request(&[
            (Role::User, "Write a binary search over a sorted array in Python, please."),
            (Role::Assistant, "def search(items, wanted): ..."),
            (Role::User, "And in Rust?"),
        ]);
        let prompt = Prompt::of(&asked);
        assert_eq!((&*prompt.question, &*prompt.before), ("And in Rust?", "sorted array in Python, please."));
        let short = request(&[(Role::User, "Hello"), (Role::User, "Hi")]);
        assert_eq!(Prompt::of(&short).before, "Hello");
        let han = request(&[(Role::User, &"日".repeat(50)), (Role::User, "?")]);
        assert_eq!(Prompt::of(&han).before, "日".repeat(10));
    }

    #[test]
    fn inside_a_tool_loop_the_question_is_still_the_question() {
        let mut asked = request(&[(Role::User, "Weather in Rome?")]);
        let content = vec![Part::text("sunny")];
        let result = Part::ToolResult { call_id: "1".into(), content, is_error: false, cache_control: None };
        asked.messages.push(Message { role: Role::User, parts: vec![result], name: None });
        assert_eq!(Prompt::of(&asked).question, "Weather in Rome?");
    }

    #[test]
    fn tools_are_written_as_the_training_data_has_them() {
        let mut asked = request(&[(Role::User, "Weather in Rome?")]);
        let weather = Tool::new("weather", serde_json::json!({"type": "object"}));
        asked.tools.push(Tool { description: Some("Tells it".into()), ..weather });
        let written = "Weather in Rome?\n\nAvailable functions:\n\
                       {\"name\":\"weather\",\"description\":\"Tells it\",\"parameters\":{\"type\":\"object\"}}\n";
        assert_eq!(Prompt::of(&asked), Prompt::of_text(written));
    }

    #[test]
    fn long_texts_are_cut_to_their_ends_between_characters() {
        let text = format!("BEGIN{}END", "日".repeat(100_000));
        let prompt = Prompt::of(&request(&[(Role::User, &text)]));
        assert_eq!(prompt.question.len(), text.len());
        let (head, tail) = prompt.ends(16);
        assert!(head.starts_with("BEGIN日") && head.len() <= 128, "{}", head.len());
        assert!(tail.ends_with("日END") && tail.len() <= 128, "{}", tail.len());
    }

    #[test]
    fn the_key_tells_prompts_apart_by_what_is_read_of_them() {
        let key = |turns: &[(Role, &str)]| Prompt::of(&request(turns)).key(256);
        let plain = key(&[(Role::User, "a")]);
        assert_eq!(plain, key(&[(Role::User, "a")]));
        assert_ne!(plain, key(&[(Role::User, "b")]));
        assert_eq!(plain, key(&[(Role::System, "s"), (Role::User, "a")]));
        assert_ne!(plain, key(&[(Role::User, "s"), (Role::User, "a")]));
    }

    #[test]
    fn the_key_is_of_all_that_statistics_see() {
        let text = |inside: &str, from: usize| {
            let mut text = "x".repeat(60_000);
            text.replace_range(from..from + inside.len(), inside);
            Prompt::of_text(&text).key(32)
        };
        assert_ne!(text("```", 400), text("xxx", 400));
        assert_ne!(text("```", 60_000 - 400), text("xxx", 400));
        // Of tools that are on offer the first 16 KiB are read.
        let tool = |name: &str| {
            let tools = format!("{}{{\"name\":\"{name}\"}}{}", "\n".repeat(15_000), "z".repeat(60_000));
            Prompt { question: "y".repeat(10_000), tools, ..Prompt::default() }.key(32)
        };
        assert_ne!(tool("a"), tool("b"));
    }

    #[test]
    fn a_request_without_text_is_an_empty_prompt() {
        assert_eq!(Prompt::of(&request(&[])), Prompt::default());
        assert_eq!(Prompt::of(&request(&[(Role::User, " ")])), Prompt::default());
    }
}
