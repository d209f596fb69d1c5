//! How fast a stand-in is, and how much it can read.

use std::time::Duration;

/// How the sandbox keeps time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Everything at once: for tests and benchmarks.
    Instant,
    /// Like a quick vendor: tens of milliseconds to the first word.
    Real,
    /// Like a quick vendor, so many times slower.
    Scaled(f64),
}

impl Pace {
    /// What becomes of a time of a real vendor.
    pub fn of(self, time: Duration) -> Duration {
        match self {
            Self::Instant => Duration::ZERO,
            Self::Real => time,
            Self::Scaled(factor) => time.mul_f64(factor.max(0.0)),
        }
    }
}

/// One stand-in's times and size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// To the first word.
    pub first: Duration,
    /// From word to word.
    pub each: Duration,
    /// Tokens that a prompt may have.
    pub context: u64,
}

impl Profile {
    /// The profile of a model by its vendor's id: large ones are slow, small ones quick, thinkers slowest.
    pub fn of(model: &str) -> Self {
        let any = |words: &[&str]| words.iter().any(|word| model.contains(word));
        let (first, each) = if any(&["reasoner", "r1", "fable"]) {
            (250, 6)
        } else if any(&["mini", "haiku", "luna", "flash", "llama", "qwen"]) {
            (30, 1)
        } else if any(&["opus", "terra"]) {
            (160, 5)
        } else {
            (90, 3)
        };
        let context = if any(&["gpt-4o", "deepseek-chat", "deepseek-reasoner"]) {
            128_000
        } else if any(&["llama", "qwen"]) {
            8_192
        } else {
            200_000
        };
        Self { first: Duration::from_millis(first), each: Duration::from_millis(each), context }
    }
}
