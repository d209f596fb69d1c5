//! Faults on demand, for the stand-in upstreams.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::dice::Dice;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Refuse,
    /// No answer ever comes.
    HangBeforeHeaders,
    /// The headers come, and nothing more.
    HangAfterHeaders,
    /// The vendor's own error of this status.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Status 200 with a body that is not JSON.
    Garbage,
    /// The connection breaks in the middle of a piece of a stream, or of a whole answer.
    Cut {
        /// Pieces that come through whole.
        after: usize,
    },
    /// The vendor's own error event within a stream.
    StreamError {
        /// Pieces that come through before the error.
        after: usize,
    },
    /// Status 200 with an error in place of the answer.
    OkThenError,
    /// A slow stream.
    Drip {
        /// Milliseconds before each piece.
        ms: u64,
    },
    /// A huge answer.
    Huge {
        /// Size in MiB.
        mib: usize,
    },
    /// An HTML page with status 200.
    WrongContentType,
    /// The vendor's error for a prompt that is too long.
    ContextOverflow,
    /// An answer without content.
    Empty,
    /// OpenAI's error for an organisation that it has not verified, where thoughts are to be told.
    Unverified,
}

impl Fault {
    /// Reads a fault as the header `x-sandbox-fault` gives it: a name, and numbers after colons (`status:429:2`).
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().split(':');
        let name = words.next()?;
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        Some(match name {
            "refuse" => Self::Refuse,
            "hang" => Self::HangBeforeHeaders,
            "hang-after-headers" => Self::HangAfterHeaders,
            "status" => Self::Status { status: u16::try_from(number()?).ok()?, retry_after: number() },
            "garbage" => Self::Garbage,
            "cut" => Self::Cut { after: number().unwrap_or(2) as usize },
            "stream-error" => Self::StreamError { after: number().unwrap_or(2) as usize },
            "ok-then-error" => Self::OkThenError,
            "drip" => Self::Drip { ms: number().unwrap_or(100) },
            "huge" => Self::Huge { mib: number().unwrap_or(100) as usize },
            "wrong-content-type" => Self::WrongContentType,
            "context-overflow" => Self::ContextOverflow,
            "empty" => Self::Empty,
            "unverified" => Self::Unverified,
            _ => return None,
        })
    }
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// Every time.
    Always,
    /// The first n times.
    First(u64),
    /// With this probability, by the dice.
    Share(f64),
}

/// The faults set, by the vendor's model id; `*` stands for all models.
#[derive(Debug, Default)]
pub struct Faults {
    set: Mutex<BTreeMap<String, (Fault, Times, u64)>>,
}

impl Faults {
    /// Sets a model's fault; `*` is for all models without one of their own.
    pub fn set(&self, model: &str, fault: Fault, times: Times) {
        self.set.lock().insert(model.to_owned(), (fault, times, 0));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.set.lock().clear();
    }

    /// The fault of the next request to `model`, if any.
    pub(super) fn next(&self, model: &str) -> Option<Fault> {
        let mut set = self.set.lock();
        let key = if set.contains_key(model) { model } else { "*" };
        let (fault, times, count) = set.get_mut(key)?;
        *count += 1;
        let happens = match times {
            Times::Always => true,
            Times::First(n) => *count <= *n,
            Times::Share(share) => Dice::new(7).about(model).about(*count).happens(*share),
        };
        happens.then(|| fault.clone())
    }
}
