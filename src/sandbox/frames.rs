//! An answer on the wire: status, media type, and pieces with pauses between them.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::Value;

use super::fault::Fault;
use super::profile::{Pace, Profile};
use super::watch::Watch;

/// An answer in a vendor's format.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) status: u16,
    pub(super) media_type: &'static str,
    pub(super) retry_after: Option<u64>,
    pub(super) pieces: Vec<Bytes>,
}

impl Frames {
    /// A whole JSON body.
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            media_type: "application/json",
            retry_after: None,
            pieces: vec![Bytes::from(value.to_string())],
        }
    }

    /// A stream.
    pub(super) fn stream(media_type: &'static str, pieces: Vec<String>) -> Self {
        Self { status: 200, media_type, retry_after: None, pieces: pieces.into_iter().map(Bytes::from).collect() }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.media_type != "application/json"
    }
}

/// Applies those faults that replace the body; all others are handled elsewhere.
pub(super) fn apply_fault(frames: &mut Frames, fault: &Fault) {
    match fault {
        Fault::Garbage => {
            let text = if frames.is_stream() { "data: {not json\n\n" } else { "{not json" };
            frames.pieces = vec![Bytes::from_static(text.as_bytes())];
        }
        Fault::Huge { mib } => {
            let filler = Bytes::from(vec![b' '; 1 << 20]);
            frames.pieces = std::iter::repeat_n(filler, *mib).collect();
        }
        Fault::WrongContentType => {
            frames.media_type = "text/html";
            frames.pieces = vec![Bytes::from_static(b"<html><body>It works!</body></html>")];
        }
        _ => {}
    }
}

/// The error that closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cuts the connection")]
pub(super) struct Cut;

/// Sends an answer at the model's pace, with the faults that concern its delivery.
pub(super) fn send(
    frames: Frames,
    pace: Pace,
    profile: Profile,
    fault: Option<&Fault>,
    watch: Watch,
) -> Response<Body> {
    let whole = !frames.is_stream();
    let (cut, hang, drip) = match fault {
        Some(Fault::Cut { after }) => (Some(*after), false, None),
        Some(Fault::HangAfterHeaders) => (None, true, None),
        Some(Fault::Drip { ms }) => (None, false, Some(Duration::from_millis(*ms))),
        _ => (None, false, None),
    };
    let mut response = Response::builder()
        .status(StatusCode::from_u16(frames.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header(CONTENT_TYPE, frames.media_type);
    if let Some(wait) = frames.retry_after {
        response = response.header(RETRY_AFTER, wait);
    }
    let mut pieces = frames.pieces;
    let plain = whole && pace == Pace::Instant && cut.is_none() && !hang && drip.is_none();
    if plain && pieces.len() == 1 {
        watch.complete();
        return response.body(Body::from(pieces.remove(0))).unwrap_or_default();
    }
    // The piece at which the connection breaks is sent in half.
    let cut = cut.map(|after| if whole { 0 } else { after });
    if let Some(piece) = cut.and_then(|after| pieces.get_mut(after)) {
        *piece = piece.slice(..piece.len() / 2);
    }
    let first = drip.unwrap_or_else(|| pace.of(profile.first));
    let each = drip.unwrap_or_else(|| pace.of(if whole { Duration::ZERO } else { profile.each * 3 }));
    let most = cut.map(|after| after + 1);
    let state = (pieces.into_iter(), 0_usize, watch);
    let body = futures::stream::unfold(state, move |(mut pieces, sent, watch)| async move {
        if hang {
            std::future::pending::<()>().await;
        }
        if most.is_some_and(|most| sent >= most) {
            return Some((Err(Cut), (Vec::new().into_iter(), sent, watch)));
        }
        let Some(piece) = pieces.next() else {
            watch.complete();
            return None;
        };
        let pause = if sent == 0 { first } else { each };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok(piece), (pieces, sent + 1, watch)))
    });
    response.body(Body::from_stream(body.boxed())).unwrap_or_default()
}
