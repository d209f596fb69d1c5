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
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_long_tokens: u64,
    /// Generated tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of `output_tokens` spent on reasoning, where the vendor says so.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// What the vendor's own shortening of the prompt took besides, in none of the counts above.
    #[serde(default, skip_serializing_if = "Compaction::is_none")]
    pub compaction: Compaction,
}

/// Tokens of the calls by which the vendor summed up a long conversation before it answered (Anthropic's compaction).
/// They are charged as those of an answer are, and say nothing about the prompt that was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// Prompt tokens processed afresh.
    pub input_tokens: u64,
    /// Prompt tokens read from the vendor's prompt cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the vendor's prompt cache.
    pub cache_write_tokens: u64,
    /// The part of `cache_write_tokens` that is kept for an hour.
    pub cache_write_long_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
}

impl Compaction {
    /// Whether there was none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Prompt and summary together.
    pub fn total_tokens(&self) -> u64 {
        Usage { compaction: *self, ..Usage::default() }.billed().total_tokens()
    }

    /// Adds one call's tokens.
    pub fn add(&mut self, call: &Usage) {
        let add = |sum: &mut u64, tokens: u64| *sum = sum.saturating_add(tokens);
        add(&mut self.input_tokens, call.input_tokens);
        add(&mut self.cache_read_tokens, call.cache_read_tokens);
        add(&mut self.cache_write_tokens, call.cache_write_tokens);
        add(&mut self.cache_write_long_tokens, call.cache_write_long_tokens);
        add(&mut self.output_tokens, call.output_tokens);
    }
}

fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

impl Usage {
    /// All prompt tokens, cached or not: OpenAI's `prompt_tokens`.
    pub fn prompt_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.cache_read_tokens).saturating_add(self.cache_write_tokens)
    }

    /// Prompt and answer together.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.output_tokens)
    }

    /// All that is charged, as one count: the answer's tokens and those of the compaction.
    pub fn billed(&self) -> Usage {
        let mut sum = self.compaction;
        sum.add(self);
        Usage {
            input_tokens: sum.input_tokens,
            cache_read_tokens: sum.cache_read_tokens,
            cache_write_tokens: sum.cache_write_tokens,
            cache_write_long_tokens: sum.cache_write_long_tokens,
            output_tokens: sum.output_tokens,
            reasoning_tokens: self.reasoning_tokens,
            compaction: Compaction::default(),
        }
    }

    /// Takes over what `newer` knows better: streams report usage in pieces (Anthropic's `message_start`, then
    /// `message_delta`), each count cumulative. The prompt's counts are parts of one number and go together: some
    /// servers tell the whole prompt first and later which part of it was cached. Counts above [`MAX_PLAUSIBLE_TOKENS`]
    /// are not believed.
    pub fn absorb(&mut self, newer: &Usage) {
        let is_plausible = newer.prompt_tokens() <= MAX_PLAUSIBLE_TOKENS;
        let cached = |usage: &Usage| usage.cache_read_tokens.saturating_add(usage.cache_write_tokens);
        // A smaller prompt, if more of it is told to have been cached: that is counted again, and better.
        let is_finer = newer.input_tokens > 0 && cached(newer) > cached(self);
        if is_plausible && (newer.prompt_tokens() >= self.prompt_tokens() || is_finer) {
            // A repeated count of what was written may leave out how long it is kept.
            let is_repeated = newer.cache_write_tokens == self.cache_write_tokens;
            let long = if is_repeated { self.cache_write_long_tokens } else { 0 };
            // More in the cache than the whole prompt was said to have: then that was the rest beside it.
            if newer.input_tokens > 0 || newer.prompt_tokens() == self.prompt_tokens() {
                self.input_tokens = newer.input_tokens;
            }
            self.cache_read_tokens = newer.cache_read_tokens;
            self.cache_write_tokens = newer.cache_write_tokens;
            self.cache_write_long_tokens = newer.cache_write_long_tokens.max(long).min(newer.cache_write_tokens);
        }
        let better = |known: u64, newer: u64| if newer > MAX_PLAUSIBLE_TOKENS { known } else { known.max(newer) };
        self.output_tokens = better(self.output_tokens, newer.output_tokens);
        self.reasoning_tokens = better(self.reasoning_tokens, newer.reasoning_tokens);
        let compacted = newer.compaction.total_tokens();
        if (self.compaction.total_tokens()..=MAX_PLAUSIBLE_TOKENS).contains(&compacted) {
            self.compaction = newer.compaction;
        }
    }
}

/// More tokens than any context window has or will soon have. A vendor that reports more is wrong, and must not use up
/// anybody's budget.
pub const MAX_PLAUSIBLE_TOKENS: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_count_counts_unless_it_is_absurd() {
        let mut usage = Usage { input_tokens: 10, output_tokens: 3, ..Usage::default() };
        usage.absorb(&Usage { input_tokens: 12, output_tokens: u64::MAX, ..Usage::default() });
        assert_eq!((usage.input_tokens, usage.output_tokens), (12, 3));
        usage.absorb(&Usage { input_tokens: u64::MAX, output_tokens: 4, ..Usage::default() });
        assert_eq!((usage.input_tokens, usage.output_tokens), (12, 4));
        let absurd = Usage { input_tokens: u64::MAX, cache_read_tokens: 1, output_tokens: 1, ..Usage::default() };
        assert_eq!(absurd.total_tokens(), u64::MAX, "as an old log may hold it");
    }

    #[test]
    fn a_compaction_is_billed_beside_the_answer() {
        let compaction =
            Compaction { input_tokens: 180, cache_write_tokens: 5, output_tokens: 3, ..Default::default() };
        let mut usage = Usage { input_tokens: 23, output_tokens: 1, ..Usage::default() };
        usage.absorb(&Usage { compaction, ..usage });
        usage.absorb(&Usage { output_tokens: 2, ..Usage::default() });
        usage.absorb(&Usage { compaction: Compaction { input_tokens: u64::MAX, ..compaction }, ..Usage::default() });
        assert_eq!(usage, Usage { input_tokens: 23, output_tokens: 2, compaction, ..Usage::default() });
        let billed = Usage { input_tokens: 203, cache_write_tokens: 5, output_tokens: 5, ..Usage::default() };
        assert_eq!(usage.billed(), billed);
        // Nothing more is stored of an answer without one, and older records are read.
        let old = r#"{"input_tokens":1,"cache_read_tokens":0,"cache_write_tokens":0,"output_tokens":2,"reasoning_tokens":0}"#;
        let plain: Usage = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&plain).unwrap(), old);
        let stored = serde_json::to_string(&usage).unwrap();
        assert_eq!(serde_json::from_str::<Usage>(&stored).unwrap(), usage);
    }

    #[test]
    fn no_token_of_a_prompt_is_counted_twice() {
        let counts = |input_tokens, cache_read_tokens, cache_write_tokens| Usage {
            input_tokens,
            cache_read_tokens,
            cache_write_tokens,
            ..Usage::default()
        };
        let mut usage = counts(4081, 0, 0);
        usage.absorb(&counts(1444, 2637, 0));
        assert_eq!(usage, counts(1444, 2637, 0), "the whole prompt first, then its parts");
        usage.absorb(&counts(1444, 0, 0));
        usage.absorb(&Usage { output_tokens: 5, ..counts(0, 0, 0) });
        assert_eq!(usage, Usage { output_tokens: 5, ..counts(1444, 2637, 0) }, "less is told in the end");
        let mut usage = counts(4081, 0, 0);
        usage.absorb(&counts(1000, 3000, 0));
        assert_eq!(usage, counts(1000, 3000, 0), "counted again with the parts");
        let mut usage = counts(500, 0, 0);
        usage.absorb(&counts(0, 2637, 0));
        assert_eq!(usage, counts(500, 2637, 0), "the cached ones alone");
        let mut usage = counts(4081, 0, 0);
        usage.absorb(&counts(0, 4081, 0));
        assert_eq!(usage, counts(0, 4081, 0), "all were cached");
        let mut usage = Usage { cache_write_long_tokens: 4, ..counts(5, 3, 9) };
        usage.absorb(&counts(5, 3, 9));
        assert_eq!(usage.cache_write_long_tokens, 4, "said once");
    }
}
