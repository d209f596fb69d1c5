//! Why the learner does not do what it is told.

use crate::bandit::SettingsError;
use crate::store::StoreError;

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LearnError {
    /// There is no such version, or its policy is gone.
    #[error("there is no policy of version {0}")]
    UnknownVersion(u64),
    /// There is nothing before the live one.
    #[error("there is no version before the live one to go back to")]
    NothingBefore,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The bandit's settings are not possible.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// It is shutting down, or busy with too many commands.
    #[error("the learner cannot take it now")]
    Busy,
}
