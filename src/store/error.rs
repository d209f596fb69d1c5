//! Errors of the store, in its callers' terms.

use std::path::PathBuf;

use super::encoding::EncodeError;

/// Why the store cannot be opened at all. Lesser damage is handled, see [`OpenState`](super::OpenState).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{path} is in use by another pointsman process: stop it, or choose another server.data_dir")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error(
        "{path} has schema version {found}, and this program knows versions up to {known}: use a newer pointsman"
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// The system lets this process start no more threads.
    #[error(
        "the decision log's threads cannot be started: {reason}. Allow this process more of them (ulimit -u, systemd's TasksMax, a container's limit of pids)"
    )]
    Threads {
        /// Why.
        reason: String,
    },
    /// There is no store to read.
    #[error("there is no store in {path} (server.data_dir; what a sandbox wrote is in its folder `sandbox`)")]
    Missing {
        /// The data directory.
        path: PathBuf,
    },
    /// The store cannot be read; it was left unchanged.
    #[error("{path} cannot be read: {reason}. If only its directory cannot be written, copy it to one that can")]
    Unreadable {
        /// The data directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not even a store in memory could be made.
    #[error("no store can be opened, not even in memory: {0}")]
    Hopeless(String),
}

/// Why a read or a write did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database failed; sled's message.
    #[error("{}", failure(.0))]
    Database(#[from] sled::Error),
    /// The database is closed after a failure and not reopened yet.
    #[error("the database is not available: {0}")]
    Down(String),
    /// The disk is as good as full: nothing was tried.
    #[error("the disk with the decision log is full")]
    Full,
    /// A record could not be encoded.
    #[error("a record cannot be encoded: {0}")]
    Encode(String),
}

/// A failure of sled's, in words.
fn failure(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => {
            "a part of the database cannot be read: a gateway that comes upon it sets it aside and takes over the rest"
                .to_owned()
        }
        _ => format!("the database failed: {error}"),
    }
}

impl StoreError {
    /// Whether a part of the database cannot be read, and never will be.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Database(sled::Error::Corruption { .. }))
    }
}

impl From<EncodeError> for StoreError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error.to_string())
    }
}
