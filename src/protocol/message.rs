//! Turns of a conversation and the parts they are made of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions from the application.
    System,
    /// OpenAI's newer name for instructions; kept apart so that it survives a round trip.
    Developer,
    /// The person asking. Tool results are parts of a user turn, as Anthropic has it.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Whether a turn of this role holds instructions, and no part of the conversation.
    pub fn is_instruction(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

/// One turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The speaker.
    pub role: Role,
    /// The content, in order.
    pub parts: Vec<Part>,
    /// The participant's name, where the dialect has one.
    pub name: Option<String>,
}

impl Message {
    /// A turn of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::text(text)], name: None }
    }

    /// Whether a person speaks. Tool results are no question, nor is what a client program adds to them (Claude Code's
    /// `<system-reminder>`).
    pub fn is_question(&self) -> bool {
        let brings_results = self.parts.iter().any(Part::is_tool_result);
        let asks = |part: &Part| match part {
            Part::ToolResult { .. } => false,
            Part::Text { text, .. } if brings_results => {
                let rest = without_reminders(text);
                !rest.is_empty() && !rest.starts_with(REMINDER)
            }
            _ => true,
        };
        self.role == Role::User && self.parts.iter().any(asks)
    }

    /// The turn's text parts, in order, joined by newlines; everything else is left out.
    pub fn plain_text(&self) -> String {
        Part::plain_text(&self.parts)
    }

    /// What the person says: [`Self::plain_text`] without the reminders that a client program puts before the person's
    /// words, or after them in a part of its own (Claude Code puts the content of `CLAUDE.md` before the first question
    /// of a session). A turn that holds nothing but reminders is taken whole.
    pub fn question_text(&self) -> String {
        let texts: Vec<&str> = self.parts.iter().filter_map(Part::words).collect();
        if texts.iter().all(|text| text.trim().is_empty()) { self.plain_text() } else { texts.join("\n") }
    }
}

/// The tag that opens what a client program adds to a person's words; `</system-reminder>` closes it.
const REMINDER: &str = "<system-reminder>";

/// The text after its leading blanks and reminders. A reminder that is never closed counts as text.
fn without_reminders(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some((_, after)) =
        rest.strip_prefix(REMINDER).and_then(|inside| inside.split_once("</system-reminder>"))
    {
        rest = after.trim_start();
    }
    rest
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Part {
    /// Text.
    Text {
        /// The text itself.
        text: String,
        /// Prompt-cache marker (Anthropic `cache_control`), as written.
        cache_control: Option<Value>,
        /// OpenAI's mark (`prompt_cache_breakpoint`), as written.
        breakpoint: Option<Box<Value>>,
    },
    /// An image.
    Image {
        /// The image's bytes, or where to fetch them.
        source: ImageSource,
        /// OpenAI's `detail` (`low`, `high`, `auto`).
        detail: Option<String>,
        /// Prompt-cache marker, as written.
        cache_control: Option<Value>,
        /// OpenAI's mark, as written.
        breakpoint: Option<Box<Value>>,
    },
    /// The assistant calls a tool.
    ToolCall {
        /// Id that the result refers to.
        id: String,
        /// Name of the tool.
        name: String,
        /// Arguments as JSON text, exactly as the model wrote them (it may be invalid JSON).
        arguments: String,
    },
    /// What a tool gave back.
    ToolResult {
        /// The call it answers.
        call_id: String,
        /// The result: text and images.
        content: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
        /// Prompt-cache marker, as written.
        cache_control: Option<Value>,
    },
    /// The model's reasoning. It must go back to its vendor unchanged inside a tool loop, and is never part of the
    /// text.
    Thinking {
        /// The reasoning; may be empty where the vendor hides it.
        text: String,
        /// The vendor's signature over it.
        signature: Option<String>,
    },
    /// Reasoning the vendor encrypted.
    RedactedThinking {
        /// Opaque data.
        data: String,
    },
    /// The model declines (OpenAI `refusal`).
    Refusal {
        /// The refusal's text.
        text: String,
    },
    /// A part that only its own dialect knows (audio, files, documents, search results...), kept as written.
    Foreign {
        /// The part's `type` on the wire.
        kind: String,
        /// The part as it came.
        value: Value,
    },
}

impl Part {
    /// Whether it is something that a model thought, readable or not.
    pub fn is_thought(&self) -> bool {
        matches!(self, Self::Thinking { .. } | Self::RedactedThinking { .. })
    }

    /// A text part's words without leading reminders; `None` where nothing is left, or where the part is no text.
    fn words(&self) -> Option<&str> {
        let text = self.as_text()?;
        if !text.trim_start().starts_with(REMINDER) {
            return Some(text);
        }
        Some(without_reminders(text)).filter(|said| !said.is_empty())
    }

    /// Whether a client has something to read or to do: text or a refusal that is not blank, a tool call, or what only
    /// its vendor's dialect can say.
    pub fn says_something(&self) -> bool {
        match self {
            Self::Text { text, .. } | Self::Refusal { text } => !text.trim().is_empty(),
            Self::ToolCall { .. } | Self::Foreign { .. } => true,
            _ => false,
        }
    }

    /// Bytes of an answer that the part carries, as [`StreamEvent::answer_bytes`](super::StreamEvent::answer_bytes) counts
    /// them of a stream's events.
    pub fn answer_bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } | Self::Thinking { text, .. } | Self::Refusal { text } => text.len(),
            Self::RedactedThinking { data } => data.len(),
            Self::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
            Self::Image { .. } | Self::ToolResult { .. } | Self::Foreign { .. } => 0,
        }
    }

    /// The texts among `parts`, in order, joined by newlines; everything else is left out.
    pub fn plain_text(parts: &[Self]) -> String {
        parts.iter().filter_map(Self::as_text).collect::<Vec<_>>().join("\n")
    }

    /// A text part without a cache marker.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache_control: None, breakpoint: None }
    }

    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether the assistant calls a tool.
    pub fn is_call(&self) -> bool {
        matches!(self, Self::ToolCall { .. })
    }

    /// Whether this is what a tool gave back.
    pub fn is_tool_result(&self) -> bool {
        matches!(self, Self::ToolResult { .. })
    }

    /// Where OpenAI's prompt cache is to end, if that is with this part.
    pub fn breakpoint(&self) -> Option<&Value> {
        match self {
            Self::Text { breakpoint, .. } | Self::Image { breakpoint, .. } => breakpoint.as_deref(),
            _ => None,
        }
    }

    /// The part's prompt-cache marker.
    pub fn cache_control(&self) -> Option<&Value> {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::ToolResult { cache_control, .. } => cache_control.as_ref(),
            _ => None,
        }
    }

    /// Whether there is a prompt-cache marker on the part, or inside it.
    pub(super) fn is_marked(&self) -> bool {
        match self {
            Self::ToolResult { content, cache_control, .. } => {
                cache_control.is_some() || content.iter().any(Self::is_marked)
            }
            Self::Foreign { value, .. } => value.get("cache_control").is_some_and(|marker| !marker.is_null()),
            _ => self.cache_control().is_some(),
        }
    }
}

/// An image's bytes, or where to fetch them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ImageSource {
    /// The vendor fetches it.
    Url(String),
    /// The bytes stand in the request.
    Base64 {
        /// For instance `image/png`.
        media_type: String,
        /// Base64 text.
        data: String,
    },
}

impl ImageSource {
    /// Where to fetch the image, or its bytes in a `data:` URL, as OpenAI's dialects have them.
    pub fn url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_adds_to_a_question_is_no_part_of_it() {
        let reminder = "<system-reminder>\nContents of CLAUDE.md:\n\nBe brief.\n</system-reminder>\n\n";
        let turn = |texts: &[&str]| {
            let parts = texts.iter().map(|text| Part::text(*text)).collect();
            Message { role: Role::User, parts, name: None }
        };
        let said = |texts: &[&str]| turn(texts).question_text();
        assert_eq!(said(&[reminder, "What is 17 times 23?"]), "What is 17 times 23?");
        assert_eq!(said(&["What is 17", " times 23?", reminder, reminder]), "What is 17\n times 23?");
        let together = format!("{reminder}{reminder}What is 17 times 23?");
        assert_eq!(said(&[&together]), "What is 17 times 23?");
        // Where the words are a person's own, they stay as they were written.
        for whole in
            ["  indented\n", "What does <system-reminder> mean?", "<system-reminder> is never closed", reminder]
        {
            assert_eq!(said(&[whole]), whole);
        }
        let unclosed = "<system-reminder> is never closed. Why?";
        assert_eq!(said(&[unclosed, "Say."]), format!("{unclosed}\nSay."));
        assert_eq!(said(&[reminder, "\n"]), turn(&[reminder, "\n"]).plain_text());
    }
}
