//! The errors of loading a configuration.

use std::fmt;

/// Everything wrong with a configuration, one message per problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// The only error, where reading cannot go on.
pub(super) fn one(message: String) -> ConfigErrors {
    ConfigErrors(vec![message])
}
