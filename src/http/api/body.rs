//! Reads a request's body, within its size and its time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use serde::de::DeserializeOwned;

use crate::config::{self, Limits};
use crate::protocol::{ApiError, ErrorKind};

/// Most bytes of a body that holds no prompt: a form, a feedback, an outcome.
pub const SMALL: usize = 64 << 10;

/// Reads `body` whole.
///
/// # Errors
///
/// `TooLarge`, `Timeout`, or `InvalidRequest` where the client broke off.
pub async fn read(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    let told = || format!("{} MiB (limits.max_body_mb)", limits.max_body_mb);
    read_within(body, config::mebibytes(limits.max_body_mb), told, limits).await
}

/// Reads a body of at most [`SMALL`] bytes whole.
///
/// # Errors
///
/// As [`read`].
pub async fn read_small(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    read_within(body, SMALL, || format!("{} KiB", SMALL >> 10), limits).await
}

/// Reads a body of at most `most` bytes, which are `told` so.
async fn read_within(
    body: Body,
    most: usize,
    told: impl FnOnce() -> String,
    limits: &Limits,
) -> Result<Bytes, ApiError> {
    let whole = Limited::new(body, most).collect();
    match tokio::time::timeout(Duration::from_secs(limits.body_timeout_s), whole).await {
        Err(_) => Err(ApiError::new(ErrorKind::Timeout, "the body did not arrive in time")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(ErrorKind::TooLarge, format!("the body is larger than {}", told())))
        }
        Ok(Err(_)) => Err(ApiError::invalid("the body could not be read")),
    }
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

    #[test]
    fn what_is_wrong_is_named_where_it_has_a_name() {
        assert_eq!(json::<Named>(b" {\"name\": \"x\"}").unwrap().name, "x");
        for (wrong, param) in [("[\"x\"]", None), ("{bad", None), ("{\"name\": 1}", Some("name"))] {
            assert_eq!(json::<Named>(wrong.as_bytes()).unwrap_err().param.as_deref(), param, "{wrong}");
        }
    }
}
