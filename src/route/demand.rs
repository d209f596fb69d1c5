//! What a request demands of a model, and whether a model can serve it.

use serde_json::Value;

use crate::config::{self, Capability, Refusal};
use crate::protocol::{CacheWish, ChatRequest, Needs, Part, ResponseFormat};

/// Tokens counted for an image, whose size is not known: a middling one at the big vendors.
const IMAGE_TOKENS: u32 = 1000;

/// Tokens that frame one message.
const MESSAGE_TOKENS: u32 = 4;

/// What a request demands of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Abilities beyond text.
    pub needs: Needs,
    /// Whether the answer must be a JSON object without a given schema.
    pub any_object: bool,
    /// Estimated prompt tokens.
    pub prompt_tokens: u32,
    /// The client's limit on the answer's tokens.
    pub max_tokens: Option<u32>,
    /// Whether the request ends with the beginning of the answer (prefill).
    pub prefilled: bool,
    /// What it wants of a prompt cache.
    pub cache: CacheWish,
}

impl Demand {
    /// The demand of `request`.
    pub fn of(request: &ChatRequest) -> Self {
        Self {
            needs: request.needs(),
            any_object: request.response_format == Some(ResponseFormat::JsonObject),
            prompt_tokens: estimate_tokens(request),
            max_tokens: request.max_tokens,
            prefilled: request.is_prefilled(),
            cache: request.cache_wish(),
        }
    }

    /// Whether the model has the abilities it needs.
    ///
    /// # Errors
    ///
    /// The reason, as a clause for people.
    pub fn check(&self, model: &config::Model) -> Result<(), String> {
        let lacks = |needed: bool, capability: Capability| needed && !model.can.contains(&capability);
        if lacks(self.needs.tools, Capability::Tools) {
            return Err("it cannot call tools".into());
        }
        if self.prefilled && model.refuses.contains(&Refusal::Prefill) {
            return Err("it does not go on with the beginning of an answer (prefill)".into());
        }
        if lacks(self.needs.vision, Capability::Vision) {
            return Err("it cannot see images".into());
        }
        if lacks(self.needs.structured_output, Capability::StructuredOutput) {
            return Err("it has no structured output".into());
        }
        Ok(())
    }

    /// Whether the prompt fits the model's context.
    ///
    /// # Errors
    ///
    /// The reason, as a clause for people.
    pub fn fits(&self, model: &config::Model) -> Result<(), String> {
        // The estimate errs by a quarter either way: only a prompt that surely does not fit is turned away here.
        // Others fail over when the vendor refuses them.
        let surely = self.prompt_tokens / 5 * 4;
        if surely > model.context {
            return Err(format!("about {} tokens do not fit its context of {}", self.prompt_tokens, model.context));
        }
        Ok(())
    }
}

/// Estimates a request's prompt tokens from its characters: about four to a token in Latin script, about one and a
/// half in Chinese, Japanese and Korean. Vendors differ by a quarter and more, so this is not for billing.
pub fn estimate_tokens(request: &ChatRequest) -> u32 {
    let mut tokens = TokenCount::default();
    for message in &request.messages {
        tokens.fixed += MESSAGE_TOKENS;
        message.parts.iter().for_each(|part| tokens.part(part));
    }
    for tool in &request.tools {
        tokens.text(&tool.name);
        tokens.text(tool.description.as_deref().unwrap_or_default());
        tokens.quarter_tokens += tool.parameters.to_string().len() as u64;
    }
    tokens.total()
}

/// Tokens as they are counted.
#[derive(Default)]
struct TokenCount {
    /// Quarters of a token.
    quarter_tokens: u64,
    fixed: u32,
}

impl TokenCount {
    fn text(&mut self, text: &str) {
        // In quarters of a token: an ASCII byte counts one; a letter of two bytes (Cyrillic, accents) two; one of
        // three bytes (Han, kana, hangul) about two thirds of a token.
        let wide = text.bytes().filter(|byte| *byte >= 0xE0).count() as u64;
        self.quarter_tokens += text.len() as u64 - wide / 4;
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text { text, .. } | Part::Refusal { text } | Part::Thinking { text, .. } => self.text(text),
            Part::Image { .. } => self.fixed += IMAGE_TOKENS,
            Part::ToolCall { name, arguments, .. } => {
                self.text(name);
                self.text(arguments);
            }
            Part::ToolResult { content, .. } => content.iter().for_each(|part| self.part(part)),
            Part::RedactedThinking { data } => self.text(data),
            // A file's bytes say little about its tokens: it counts no more than an image.
            Part::Foreign { value, .. } => {
                self.quarter_tokens += text_bytes(value).min(4 * u64::from(IMAGE_TOKENS));
            }
        }
    }

    fn total(&self) -> u32 {
        u32::try_from(self.quarter_tokens.div_ceil(4)).unwrap_or(u32::MAX).saturating_add(self.fixed)
    }
}

/// Bytes of all texts inside, without serialising the value.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() as u64 + text_bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Message, Role};

    fn request(text: &str) -> ChatRequest {
        ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() }
    }

    #[test]
    fn english_is_about_four_characters_a_token() {
        let tokens = estimate_tokens(&request(&"word ".repeat(400)));
        assert!((450..=550).contains(&tokens), "{tokens}");
    }

    #[test]
    fn chinese_is_about_two_thirds_of_a_token_a_character() {
        let tokens = estimate_tokens(&request(&"\u{4f60}".repeat(300)));
        assert!((180..=260).contains(&tokens), "{tokens}");
    }

    #[test]
    fn a_model_that_cannot_is_told_apart_by_reason() {
        let mut request = request("hi");
        request.response_format = Some(crate::protocol::ResponseFormat::JsonObject);
        let demand = Demand::of(&request);
        let plain = config::Model::default();
        assert_eq!(demand.check(&plain).unwrap_err(), "it has no structured output");
        let able = config::Model { can: [Capability::StructuredOutput].into(), ..plain };
        assert!(demand.check(&able).is_ok());
    }

    #[test]
    fn who_does_not_go_on_with_an_answer_is_not_asked_to() {
        let own_head = config::Model { refuses: [Refusal::Prefill].into(), ..config::Model::default() };
        let mut request = request("hi");
        let fits = |request: &ChatRequest| Demand::of(request).check(&own_head).is_ok();
        assert!(fits(&request));
        request.messages.push(Message::text(Role::Assistant, "{"));
        assert!(!fits(&request));
        assert!(Demand::of(&request).check(&config::Model::default()).is_ok());
        let mut asked = request.clone();
        asked.messages.push(Message::text(Role::System, "Sum up the conversation."));
        assert!(fits(&asked), "it says what is to be done");
        let paused = Part::Foreign { kind: "server_tool_use".into(), value: Value::Null };
        request.messages[1].parts.push(paused);
        assert!(fits(&request));
    }

    #[test]
    fn only_what_surely_does_not_fit_is_turned_away() {
        let small = config::Model { context: 1000, ..config::Model::default() };
        let demand = |tokens| Demand { prompt_tokens: tokens, ..Demand::of(&request("hi")) };
        assert!(demand(1100).fits(&small).is_ok());
        assert!(demand(1400).fits(&small).is_err());
    }
}
