//! A stand-in's speed and context window.

use std::time::Duration;

/// How the sandbox keeps time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// No pauses: for tests and benchmarks.
    Instant,
    /// Like a fast vendor: tens of milliseconds to the first word.
    Real,
}

impl Pace {
    /// A real vendor's time, at this pace.
    pub fn of(self, time: Duration) -> Duration {
        match self {
            Self::Instant => Duration::ZERO,
            Self::Real => time,
        }
    }
}

/// The timing and the context window of a stand-in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Time to the first word.
    pub first: Duration,
    /// Time per further word.
    pub each: Duration,
    /// Tokens that fit in a prompt.
    pub context: u64,
}

impl Profile {
    /// The profile of a model, by its vendor's id: large models are slow, small ones fast, reasoning ones slowest.
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
