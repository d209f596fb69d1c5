//! Why a configuration cannot be had: handed up by each file that reads a part of it, told to whoever loads the whole.

use std::fmt;

/// Everything that is wrong, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Where reading cannot go on: this alone.
pub(super) fn one(message: String) -> ConfigErrors {
    ConfigErrors(vec![message])
}
