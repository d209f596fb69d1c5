//! Money and prices. Amounts are US dollars; prices are dollars per million tokens, as vendors print them.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::{Compaction, Usage};

/// An amount in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub f64);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() >= 1.0 { write!(f, "${:.2}", self.0) } else { write!(f, "${:.6}", self.0) }
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self(iter.map(|usd| usd.0).sum())
    }
}

/// What a model costs, in US dollars per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per million prompt tokens that were neither read from nor written to a prompt cache.
    pub input: f64,
    /// Per million generated tokens, reasoning included.
    pub output: f64,
    /// Per million prompt tokens read from the vendor's cache; the input price where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Per million prompt tokens written to the vendor's cache; the input price where absent. Tokens that are kept for
    /// an hour cost twice the input price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// What is asked for long prompts, if it is another price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_prompt: Option<LongPrompt>,
}

/// From which length on a prompt makes the whole request dearer, and by how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrompt {
    /// Most tokens of a prompt, cached ones included, at the plain prices.
    pub above: u64,
    /// The prices of all tokens of a longer prompt are the plain ones times this.
    pub input_factor: f64,
    /// The price of the answer's tokens then, likewise.
    pub output_factor: f64,
}

/// The price of a token that is kept in the cache for an hour, as a multiple of the input price. Only Anthropic has
/// such a cache, with this factor for all its models.
const LONG_CACHE_WRITE_FACTOR: f64 = 2.0;

impl Price {
    /// What `usage` costs at this price, all that is [billed](Usage::billed).
    pub fn of(&self, usage: &Usage) -> Usd {
        let answered = Usage { compaction: Compaction::default(), ..*usage };
        let compaction = Usage { compaction: usage.compaction, ..Usage::default() }.billed();
        [answered, compaction].iter().map(|call| self.for_prompt(call.prompt_tokens()).of_call(call)).sum()
    }

    /// The plain prices of a call whose prompt has so many tokens.
    pub fn for_prompt(&self, tokens: u64) -> Self {
        let (input, output) = match self.long_prompt {
            Some(long) if tokens > long.above => (long.input_factor, long.output_factor),
            _ => (1.0, 1.0),
        };
        Self {
            input: self.input * input,
            output: self.output * output,
            cache_read: self.cache_read.map(|usd| usd * input),
            cache_write: self.cache_write.map(|usd| usd * input),
            long_prompt: None,
        }
    }

    fn of_call(&self, usage: &Usage) -> Usd {
        let long = usage.cache_write_long_tokens.min(usage.cache_write_tokens);
        let per_million = usage.input_tokens as f64 * self.input
            + usage.cache_read_tokens as f64 * self.cache_read.unwrap_or(self.input)
            + (usage.cache_write_tokens - long) as f64 * self.cache_write.unwrap_or(self.input)
            + long as f64 * LONG_CACHE_WRITE_FACTOR * self.input
            + usage.output_tokens as f64 * self.output;
        Usd(per_million / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price =
            Price { input: 3.0, output: 15.0, cache_read: Some(0.3), cache_write: Some(3.75), ..Price::default() };
        let usage = Usage {
            input_tokens: 1_000_000,
            cache_read_tokens: 1_000_000,
            cache_write_tokens: 1_000_000,
            output_tokens: 1_000_000,
            reasoning_tokens: 500_000,
            ..Usage::default()
        };
        assert!((price.of(&usage).0 - 22.05).abs() < 1e-9);
    }

    #[test]
    fn what_is_cached_for_an_hour_costs_twice_the_input() {
        let price =
            Price { input: 0.1, output: 0.5, cache_read: Some(0.01), cache_write: Some(0.125), ..Price::default() };
        let usage = Usage { cache_write_tokens: 150_000, cache_write_long_tokens: 100_000, ..Usage::default() };
        assert!((price.of(&usage).0 - (0.02 + 0.00625)).abs() < 1e-12);
    }

    #[test]
    fn a_compaction_costs_what_its_tokens_do() {
        let price =
            Price { input: 2.0, output: 10.0, cache_read: Some(0.2), cache_write: Some(2.5), ..Price::default() };
        let compaction = Compaction { input_tokens: 180_000, output_tokens: 3500, ..Compaction::default() };
        let usage = Usage { input_tokens: 23_000, output_tokens: 1000, compaction, ..Usage::default() };
        assert!((price.of(&usage).0 - 0.451).abs() < 1e-9);
    }

    #[test]
    fn a_long_prompt_makes_the_whole_call_dearer() {
        let long_prompt = Some(LongPrompt { above: 272_000, input_factor: 2.0, output_factor: 1.5 });
        let price = Price { input: 2.0, output: 10.0, cache_read: Some(0.2), cache_write: Some(2.5), long_prompt };
        let usage = |input_tokens| Usage {
            input_tokens,
            cache_read_tokens: 100_000,
            cache_write_tokens: 50_000,
            output_tokens: 1000,
            ..Usage::default()
        };
        let is = |usage: Usage, usd: f64| {
            assert!((price.of(&usage).0 - usd).abs() < 1e-9, "{} for {usd}", price.of(&usage))
        };
        is(usage(122_000), 0.244 + 0.02 + 0.125 + 0.01);
        is(usage(122_001), 2.0 * (0.244_002 + 0.02 + 0.125) + 1.5 * 0.01);
        // A long conversation was summed up, and the answer's own prompt is short.
        let compaction = Compaction { input_tokens: 300_000, output_tokens: 2000, ..Compaction::default() };
        is(Usage { compaction, ..usage(1000) }, 0.002 + 0.02 + 0.125 + 0.01 + 2.0 * 0.6 + 1.5 * 0.02);
    }

    #[test]
    fn without_a_cache_price_the_input_price_holds() {
        let price = Price { input: 2.0, output: 0.0, ..Price::default() };
        let usage = Usage { cache_read_tokens: 500_000, ..Usage::default() };
        assert!((price.of(&usage).0 - 1.0).abs() < 1e-9);
    }
}
