//! Parameters in a path and in a query string, with errors in the API's own form.

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::http::error::{Rejection, dialect_of};
use crate::protocol::{ApiError, ErrorKind};

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

/// What a path names: a model, a token, a decision. axum's own `Path` answers what is no text in plain text.
#[derive(Debug, Clone)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let read = Path::from_request_parts(parts, state).await;
        let unknown = || ApiError::new(ErrorKind::NotFound, "what the path names is no text, and no name here");
        read.map(|Path(name)| Self(name)).map_err(|_| Rejection::new(dialect_of(parts.uri.path()), unknown()))
    }
}
