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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Dialect, FinishReason, Mode};

    /// Headers, filters and metrics say `as_str`; the store writes what serde does.
    #[test]
    fn the_words_of_a_code_are_the_same_in_headers_and_in_the_store() {
        let stored = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        let code = |kind: ErrorKind| (stored(serde_json::to_value(kind).unwrap()), kind.as_str());
        for kind in [
            ErrorKind::InvalidRequest,
            ErrorKind::ContextOverflow,
            ErrorKind::Authentication,
            ErrorKind::Permission,
            ErrorKind::NotFound,
            ErrorKind::TooLarge,
            ErrorKind::SlowBody,
            ErrorKind::RateLimited,
            ErrorKind::ContentFilter,
            ErrorKind::Quota,
            ErrorKind::Overloaded,
            ErrorKind::Timeout,
            ErrorKind::Connection,
            ErrorKind::Upstream,
            ErrorKind::Unavailable,
            ErrorKind::Internal,
        ] {
            let (stored, told) = code(kind);
            assert_eq!((stored.as_str(), OutcomeStatus::named(told)), (told, Some(OutcomeStatus::Failed(kind))));
        }
        for reason in [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ToolCalls,
            FinishReason::ContentFilter,
            FinishReason::Pause,
            FinishReason::Other,
        ] {
            assert_eq!(stored(serde_json::to_value(reason).unwrap()), reason.as_str());
        }
        for mode in [Mode::Named, Mode::Weighted, Mode::Learned, Mode::Sticky, Mode::Imported] {
            assert_eq!(stored(serde_json::to_value(mode).unwrap()), mode.as_str());
        }
        for dialect in [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic, Dialect::Ollama, Dialect::Native] {
            assert_eq!(stored(serde_json::to_value(dialect).unwrap()), dialect.as_str());
        }
        assert_eq!(OutcomeStatus::named("ok"), Some(OutcomeStatus::Ok));
        assert_eq!(OutcomeStatus::named("no such code"), None);
    }
}
