//! `GET /api/admin/export`: the log of a running gateway, as JSON lines.
//!
//! What is given is what was decided before the request came: later decisions are left for the next export, so that the
//! end is reached however much traffic there is. Pages of the log are read as fast as the reader takes them, and no
//! faster: nothing is gathered in memory.

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
use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::protocol::{ApiError, DecisionId};
use crate::store::{Order, Span, StoreError, line};

/// Entries read at once.
const PAGE: usize = 500;

/// Which part of the log.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Not before this, Unix milliseconds.
    from_ms: Option<i64>,
    /// Before this; to the end of the log as it was when the request came, where absent.
    until_ms: Option<i64>,
}

/// Where an export stands.
struct Position {
    gateway: Arc<Gateway>,
    span: Span,
    over: bool,
}

/// Entries from the oldest on, one JSON object a line.
pub async fn export(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(wish): Parameters<Wish>,
) -> Response {
    let now_ms = Timestamp::now().as_millisecond();
    // Of a clock that was ahead there may be entries after now.
    let newest = gateway.read_store(|store| {
        let mut newest_ms = None;
        store.walk(&Span::default(), Order::Newest, |entry| {
            newest_ms = Some(entry.decision.at_ms);
            false
        })?;
        Ok::<_, StoreError>(newest_ms)
    });
    let end_ms = newest.await.ok().flatten().map_or(now_ms, |newest_ms| now_ms.max(newest_ms + 1));
    let until_ms = Some(wish.until_ms.map_or(end_ms, |until| until.min(end_ms)));
    let span = Span { from_ms: wish.from_ms, until_ms, ..Span::default() };
    let pages = stream::try_unfold(Position { gateway, span, over: false }, page);
    let headers =
        [(CONTENT_TYPE, "application/x-ndjson"), (CONTENT_DISPOSITION, "attachment; filename=\"log.jsonl\"")];
    (headers, Body::from_stream(pages)).into_response()
}

/// The next page. A store that fails breaks the answer off, which a reader notices: the body has no end.
async fn page(mut at: Position) -> Result<Option<(Bytes, Position)>, Broken> {
    if at.over {
        return Ok(None);
    }
    let span = at.span;
    let read = at.gateway.read_store(move |store| {
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
            count < PAGE && failed.is_none()
        })?;
        Ok::<_, StoreError>((lines, count, last, failed))
    });
    let (lines, count, last, failed) = read.await.map_err(Broken::Store)?;
    if let Some(error) = failed {
        return Err(Broken::Entry(error));
    }
    at.span.after = last.or(at.span.after);
    at.over = count < PAGE;
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
