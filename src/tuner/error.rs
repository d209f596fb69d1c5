//! Errors of the learner's commands.

use crate::bandit::SettingsError;
use crate::store::StoreError;

/// Why a command was not executed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LearnError {
    /// The store has no such version, or no longer its policy.
    #[error("there is no policy of version {0}")]
    UnknownVersion(u64),
    /// A rollback, and no version was in force before the live one.
    #[error("there is no version before the live one to go back to")]
    NothingBefore,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The bandit's settings are out of range.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// The learner is shutting down, or its queue of commands is full.
    #[error("the learner cannot take it now")]
    Busy,
}
