//! Extractors for path and query parameters whose errors are in the API's own format.

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::http::error::{Rejection, dialect_of};
use crate::protocol::{ApiError, ErrorKind};

/// A parsed query string. axum's own `Query` answers a wrong one in plain text.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let read = Query::try_from_uri(&parts.uri).map(|Query(parameters)| Self(parameters));
        read.map_err(|error| Rejection::new(dialect_of(parts.uri.path()), query_error(&error.body_text())))
    }
}

/// The error for a query string: it names the parameter, in plain words instead of axum's (`Failed to deserialize query
/// string: limit: invalid digit found in string`).
pub fn query_error(text: &str) -> ApiError {
    let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let named = why.split_once(": ").filter(|(name, _)| is_name(name));
    let Some((name, why)) = named else {
        // An unknown parameter, which serde quotes.
        let unknown = why.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        return unknown.map_or_else(|| ApiError::invalid(why), |name| ApiError::invalid(why).at(name));
    };
    let is_number =
        ["invalid digit", "cannot parse integer", "number too"].iter().any(|start| why.starts_with(start));
    let message = match name {
        name if is_number && name.ends_with("_ms") => "must be Unix milliseconds, a whole number",
        _ if is_number => "must be a whole number, 0 or more",
        _ => why,
    };
    ApiError::invalid(message).at(name)
}

/// The name in a path: of a model, a token, a decision. axum's own `Path` answers one that is not UTF-8 in plain text.
#[derive(Debug, Clone)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let read = Path::from_request_parts(parts, state).await;
        let unknown = || ApiError::new(ErrorKind::NotFound, "the path is not UTF-8, and names nothing here");
        read.map(|Path(name)| Self(name)).map_err(|_| Rejection::new(dialect_of(parts.uri.path()), unknown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::decisions::Query;

    #[test]
    fn a_wrong_parameter_is_named_in_words_for_people() {
        let read = |query: &str| {
            let read = axum::extract::Query::<Query>::try_from_uri(
                &format!("/api/admin/decisions?{query}").parse().unwrap(),
            );
            let error = query_error(&read.unwrap_err().body_text());
            (error.param.unwrap_or_default(), error.message)
        };
        for limit in ["-1", "abc", "", "1000000000000000000000"] {
            let wrong = ("limit".to_owned(), "must be a whole number, 0 or more".to_owned());
            assert_eq!(read(&format!("limit={limit}")), wrong, "{limit}");
        }
        let wrong = ("from_ms".to_owned(), "must be Unix milliseconds, a whole number".to_owned());
        assert_eq!(read("from_ms=2026-11-29T03:16:00Z"), wrong);
        let (name, message) = read("form_ms=1");
        assert!(name == "form_ms" && message.starts_with("unknown field `form_ms`, expected"), "{name}: {message}");
    }
}
