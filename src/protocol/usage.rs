//! Tokens of one answer, counted so that no token is in two fields.

use serde::{Deserialize, Serialize};

/// Token counts. `input_tokens` *excludes* cache reads and writes (Anthropic's convention): OpenAI's
/// `prompt_tokens` is the sum of the three prompt fields, see [`Usage::prompt_tokens`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens processed afresh.
    pub input_tokens: u64,
    /// Prompt tokens read from the vendor's prompt cache.
    #[serde(default)]
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the vendor's prompt cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// The part of `cache_write_tokens` that is kept for an hour (Anthropic), which costs more.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cache_write_long_tokens: u64,
    /// Generated tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of `output_tokens` spent on reasoning, where the vendor says so.
    #[serde(default)]
    pub reasoning_tokens: u64,
}

fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl Usage {
    /// All prompt tokens, cached or not: OpenAI's `prompt_tokens`.
    pub fn prompt_tokens(&self) -> u64 {
        self.input_tokens + self.cache_read_tokens + self.cache_write_tokens
    }

    /// Prompt and answer together.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens() + self.output_tokens
    }

    /// Takes over every count that `newer` knows better: streams report usage in pieces (Anthropic's
    /// `message_start`, then `message_delta`), each field cumulative.
    pub fn absorb(&mut self, newer: &Usage) {
        self.input_tokens = self.input_tokens.max(newer.input_tokens);
        self.cache_read_tokens = self.cache_read_tokens.max(newer.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.max(newer.cache_write_tokens);
        self.cache_write_long_tokens = self.cache_write_long_tokens.max(newer.cache_write_long_tokens);
        self.output_tokens = self.output_tokens.max(newer.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.max(newer.reasoning_tokens);
    }
}
