//! How a request ended.

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};

use super::ErrorKind;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// The client has the whole answer.
    Ok,
    /// The client has an error, or an answer that broke off.
    Failed(ErrorKind),
    /// The client went away, or the gateway closed before the answer was complete.
    Cancelled,
}

impl OutcomeStatus {
    /// The status in logs, metrics, filters and columns: `ok`, `cancelled`, or the error's code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => kind.as_str(),
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this name, see [`Self::as_str`].
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ok" => Some(Self::Ok),
            "cancelled" => Some(Self::Cancelled),
            code => ErrorKind::deserialize(IntoDeserializer::<Error>::into_deserializer(code)).ok().map(Self::Failed),
        }
    }
}
