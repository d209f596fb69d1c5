//! Parameters in a query string, with errors in the API's own form.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::http::error::{Rejection, dialect_of};
use crate::protocol::ApiError;

/// A query string, read. axum's own `Query` answers a wrong one in plain text.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let read = Query::try_from_uri(&parts.uri).map(|Query(parameters)| Self(parameters));
        read.map_err(|error| Rejection::new(dialect_of(parts.uri.path()), ApiError::invalid(error.body_text())))
    }
}
