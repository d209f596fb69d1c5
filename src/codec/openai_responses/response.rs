//! [`ChatResponse`] -> the whole Responses answer.

use bytes::Bytes;

use super::super::AnswerMeta;
use super::items::Item;
use super::namespaces::Namespaces;
use super::{Stage, object};
use crate::protocol::{ChatResponse, Part};

/// Writes an answer.
pub(crate) fn encode(response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    let items = Item::all(&response.parts, &Namespaces::of(meta.echo.get("tools")));
    let refuses = response.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    let stage = Stage::ended(response.finish_reason, refuses);
    Bytes::from(object(meta, &stage, items, Some(&response.usage.unwrap_or_default())).to_string())
}
