//! Reads a request's body, within its size and its time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use serde::de::DeserializeOwned;

use crate::config::{self, Limits};
use crate::protocol::{ApiError, ErrorKind};

/// Reads `body` whole.
///
/// # Errors
///
/// `TooLarge`, `Timeout`, or `InvalidRequest` where the client broke off.
pub async fn read(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    let most = config::mebibytes(limits.max_body_mb);
    let whole = Limited::new(body, most).collect();
    match tokio::time::timeout(Duration::from_secs(limits.body_timeout_s), whole).await {
        Err(_) => Err(ApiError::new(ErrorKind::Timeout, "the body did not arrive in time")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is larger than {} MiB (limits.max_body_mb)", limits.max_body_mb);
            Err(ApiError::new(ErrorKind::TooLarge, message))
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

    #[test]
    fn what_is_wrong_is_named_where_it_has_a_name() {
        assert_eq!(json::<Named>(b" {\"name\": \"x\"}").unwrap().name, "x");
        for (wrong, param) in [("[\"x\"]", None), ("{bad", None), ("{\"name\": 1}", Some("name"))] {
            assert_eq!(json::<Named>(wrong.as_bytes()).unwrap_err().param.as_deref(), param, "{wrong}");
        }
    }
}
