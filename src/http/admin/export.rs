//! `GET /api/admin/export`: the decision log of a running gateway, as JSON lines.
//!
//! Only decisions made before the request came are exported, so that the end is reached however much traffic there is.
//! Pages of the log are read as fast as the client takes them, and no faster: nothing is gathered in memory.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use jiff::Timestamp;
use serde::Deserialize;

use super::parameters::Parameters;
use crate::gateway::Gateway;
use crate::http::middleware::caller::Operator;
use crate::protocol::{ApiError, DecisionId};
use crate::store::{Order, Span, Store, StoreError, line};

/// Entries read at once.
const PAGE_ENTRIES: usize = 500;

/// The query: which part of the decision log.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Not before this, Unix milliseconds.
    from_ms: Option<i64>,
    /// Before this, Unix milliseconds; to the end of the log as it was when the request came if absent.
    until_ms: Option<i64>,
}

/// How far an export is.
struct Position {
    gateway: Arc<Gateway>,
    span: Span,
    is_over: bool,
}

/// The entries from the oldest on, one JSON object per line.
pub async fn export(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(query): Parameters<Query>,
) -> Response {
    let now_ms = Timestamp::now().as_millisecond();
    // A clock that was ahead may have left entries later than now.
    let newest_ms = gateway.with_store(Store::newest_ms).await.ok().flatten();
    let end_ms = newest_ms.map_or(now_ms, |newest_ms| now_ms.max(newest_ms + 1));
    let until_ms = Some(query.until_ms.map_or(end_ms, |until| until.min(end_ms)));
    let span = Span { from_ms: query.from_ms, until_ms, ..Span::default() };
    let pages = stream::try_unfold(Position { gateway, span, is_over: false }, page);
    let headers =
        [(CONTENT_TYPE, "application/x-ndjson"), (CONTENT_DISPOSITION, "attachment; filename=\"log.jsonl\"")];
    (headers, Body::from_stream(pages)).into_response()
}

/// The next page. A failing store breaks the answer off, which a client notices: the body lacks its end.
async fn page(mut at: Position) -> Result<Option<(Bytes, Position)>, Broken> {
    if at.is_over {
        return Ok(None);
    }
    let span = at.span;
    let read = at.gateway.with_store(move |store| {
        let mut lines: Vec<u8> = Vec::new();
        let (mut count, mut last): (usize, Option<DecisionId>) = (0, None);
        let mut failed = None;
        store.walk(&span, Order::Oldest, |entry| {
            match line(&entry) {
                Ok(line) => lines.extend(line),
                Err(error) => failed = Some(error),
            }
            last = Some(entry.decision.id);
            count += 1;
            count < PAGE_ENTRIES && failed.is_none()
        })?;
        Ok::<_, StoreError>((lines, count, last, failed))
    });
    let (lines, count, last, failed) = read.await.map_err(Broken::Store)?;
    if let Some(error) = failed {
        return Err(Broken::Entry(error));
    }
    at.span.after = last.or(at.span.after);
    at.is_over = count < PAGE_ENTRIES;
    Ok(Some((Bytes::from(lines), at)))
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Store(ApiError),
    #[error("an entry cannot be written as JSON: {0}")]
    Entry(std::io::Error),
}
