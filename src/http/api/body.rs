//! Reads a request's body, within its size and its time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use serde::de::DeserializeOwned;

use crate::codec::BYTE_ORDER_MARK;
use crate::config::{self, Limits};
use crate::protocol::{ApiError, ErrorKind};

/// Most bytes of a body that holds no prompt: a form, a feedback, an outcome.
pub const SMALL: usize = 64 << 10;

/// Reads `body` whole.
///
/// # Errors
///
/// `TooLarge`, `SlowBody`, or `InvalidRequest` where the client broke off.
pub async fn read(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    read_within(body, config::mebibytes(limits.max_body_mb), || too_large(limits), limits).await
}

/// What is told of a body that is larger than [`read`] takes.
pub fn too_large(limits: &Limits) -> ApiError {
    larger_than(&format!("{} MiB (limits.max_body_mb)", limits.max_body_mb))
}

fn larger_than(most: &str) -> ApiError {
    ApiError::new(ErrorKind::TooLarge, format!("the body is larger than {most}"))
}

/// Reads a body of at most [`SMALL`] bytes whole.
///
/// # Errors
///
/// As [`read`].
pub async fn read_small(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    read_within(body, SMALL, || larger_than(&format!("{} KiB", SMALL >> 10)), limits).await
}

/// Reads a body of at most `most` bytes, without the byte order mark.
async fn read_within(
    body: Body,
    most: usize,
    too_large: impl FnOnce() -> ApiError,
    limits: &Limits,
) -> Result<Bytes, ApiError> {
    let whole = Limited::new(body, most).collect();
    match tokio::time::timeout(Duration::from_secs(limits.body_timeout_s), whole).await {
        Err(_) => Err(slow(limits)),
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            Ok(if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body })
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::invalid("the body could not be read")),
    }
}

fn slow(limits: &Limits) -> ApiError {
    let message = format!("the body did not arrive within {} s (limits.body_timeout_s)", limits.body_timeout_s);
    ApiError::new(ErrorKind::SlowBody, message)
}

/// A body as JSON.
///
/// # Errors
///
/// `InvalidRequest`, naming the field at fault.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Fields in a row, without their names, would be read as well.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::invalid("the body must be an object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = ApiError::invalid(error.into_inner().to_string());
        // What breaks off within a field has no path.
        if matches!(path.as_str(), "." | "?") { error } else { error.at(path) }
    })?;
    reader.end().map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Named {
        name: String,
    }

    #[tokio::test]
    async fn what_holds_no_prompt_is_small() {
        let limits = Limits::default();
        assert_eq!(read_small(Body::from(vec![b' '; SMALL]), &limits).await.unwrap().len(), SMALL);
        let error = read_small(Body::from(vec![b' '; SMALL + 1]), &limits).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::TooLarge, "the body is larger than 64 KiB"));
        assert!(read(Body::from(vec![b' '; SMALL + 1]), &limits).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_the_clients_fault() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = read(never, &Limits { body_timeout_s: 0, ..Limits::default() }).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::SlowBody);
        assert_eq!(error.message, "the body did not arrive within 0 s (limits.body_timeout_s)");
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_skipped() {
        let body = read(Body::from("\u{feff}{\"name\": \"\u{feff}\"}"), &Limits::default()).await.unwrap();
        assert_eq!(json::<Named>(&body).unwrap().name, "\u{feff}");
    }

    #[test]
    fn what_is_wrong_is_named_where_it_has_a_name() {
        assert_eq!(json::<Named>(b" {\"name\": \"x\"}").unwrap().name, "x");
        for (wrong, param) in [("[\"x\"]", None), ("{bad", None), ("{\"name\": 1}", Some("name"))] {
            assert_eq!(json::<Named>(wrong.as_bytes()).unwrap_err().param.as_deref(), param, "{wrong}");
        }
    }
}
