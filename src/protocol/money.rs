//! Money and prices. Amounts are US dollars; prices are dollars per million tokens, as vendors print them.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::Usage;

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

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
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
}

/// The price of a token that is kept in the cache for an hour, as a multiple of the input price. Only Anthropic has
/// such a cache, with this factor for all its models.
const LONG_CACHE_WRITE_FACTOR: f64 = 2.0;

impl Price {
    /// What `usage` costs at this price, all that is [billed](Usage::billed).
    pub fn of(&self, usage: &Usage) -> Usd {
        let usage = usage.billed();
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
    use crate::protocol::Compaction;

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price = Price { input: 3.0, output: 15.0, cache_read: Some(0.3), cache_write: Some(3.75) };
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
        let price = Price { input: 0.1, output: 0.5, cache_read: Some(0.01), cache_write: Some(0.125) };
        let usage = Usage { cache_write_tokens: 150_000, cache_write_long_tokens: 100_000, ..Usage::default() };
        assert!((price.of(&usage).0 - (0.02 + 0.00625)).abs() < 1e-12);
    }

    #[test]
    fn a_compaction_costs_what_its_tokens_do() {
        let price = Price { input: 2.0, output: 10.0, cache_read: Some(0.2), cache_write: Some(2.5) };
        let compaction = Compaction { input_tokens: 180_000, output_tokens: 3500, ..Compaction::default() };
        let usage = Usage { input_tokens: 23_000, output_tokens: 1000, compaction, ..Usage::default() };
        assert!((price.of(&usage).0 - 0.451).abs() < 1e-9);
    }

    #[test]
    fn without_a_cache_price_the_input_price_holds() {
        let price = Price { input: 2.0, output: 0.0, ..Price::default() };
        let usage = Usage { cache_read_tokens: 500_000, ..Usage::default() };
        assert!((price.of(&usage).0 - 1.0).abs() < 1e-9);
    }
}
