//! How records become bytes: one version byte, then MessagePack with field names.
//!
//! Field names make a record readable by an older or a newer program: unknown fields are passed over, missing ones
//! take their default. So a new field needs no migration; only a field that changes its meaning does, and then the
//! version byte tells which meaning it has. MessagePack and not JSON because features and propensities must come
//! back bit for bit, and because it takes half the room.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version this program writes.
pub(super) const VERSION: u8 = 1;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There is nothing.
    #[error("the record is empty")]
    Empty,
    /// A later program wrote it, or it is garbage.
    #[error("the record has version {0}, which this program does not know")]
    Version(u8),
    /// It does not have the shape it should have.
    #[error("the record cannot be read: {0}")]
    Shape(#[from] rmp_serde::decode::Error),
}

/// A record as bytes.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(VERSION);
    rmp_serde::encode::write_named(&mut bytes, record)?;
    Ok(bytes)
}

/// Bytes as a record.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, rest)) => Ok(rmp_serde::from_slice(rest)?),
        Some((&version, _)) => Err(DecodeError::Version(version)),
    }
}
