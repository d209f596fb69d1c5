//! The whole answer.

use bytes::Bytes;

use super::super::AnswerMeta;
use super::items::Item;
use super::{Stage, object};
use crate::protocol::ChatResponse;

/// Writes an answer.
pub(crate) fn encode(response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    let items = Item::all(&response.parts, meta.echo.get("tools"));
    let stage = Stage::ended(response.finish_reason, &items);
    Bytes::from(object(meta, &stage, &items, Some(&response.usage.unwrap_or_default())).to_string())
}
