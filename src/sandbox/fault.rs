//! Faults on demand.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::dice::Dice;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Refuse,
    /// Nothing ever comes.
    HangBeforeHeaders,
    /// The head comes, and nothing more.
    HangAfterHeaders,
    /// The vendor's own error of this status.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// 200, and a body that is no JSON.
    Garbage,
    /// The connection breaks in the middle of the piece after so many of a stream, or of a whole answer.
    Cut {
        /// Pieces that come through whole.
        after: usize,
    },
    /// The vendor's own error event after so many pieces of a stream.
    StreamError {
        /// Pieces that come through.
        after: usize,
    },
    /// 200, and an error where the answer should be.
    OkThenError,
    /// So many milliseconds before each piece.
    Drip {
        /// The pause.
        ms: u64,
    },
    /// An answer of so many MiB.
    Huge {
        /// The size.
        mib: usize,
    },
    /// An HTML page with status 200.
    WrongContentType,
    /// The vendor's error for a prompt that is too long.
    ContextOverflow,
    /// An answer that says nothing.
    Empty,
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
            _ => return None,
        })
    }
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// Every time.
    Always,
    /// The first so many times.
    First(u64),
    /// This share of the times, as the dice say.
    Share(f64),
}

/// Faults that are set, by the vendor's model id; `*` is all models.
#[derive(Debug, Default)]
pub struct Faults {
    set: Mutex<BTreeMap<String, (Fault, Times, u64)>>,
}

impl Faults {
    /// Sets a model's fault; `*` sets it for all that have none of their own.
    pub fn set(&self, model: &str, fault: Fault, times: Times) {
        self.set.lock().insert(model.to_owned(), (fault, times, 0));
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.set.lock().clear();
    }

    /// What goes wrong with the next request to `model`.
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
