//! Records as bytes: one version byte, then MessagePack with field names, packed by zstd.
//!
//! Field names make a record readable by an older or a newer program: unknown fields are skipped, missing ones take
//! their default. So a new field needs no migration; only a field that changes its meaning does, and then the version
//! byte tells which meaning it has. MessagePack and not JSON because features and propensities must come back bit for
//! bit.
//!
//! Field names are most of a record, and the same in all of them. zstd has them in a [`dictionary`] and writes each as
//! a reference (RFC 8878, section 5), which leaves about a third for the database to hold and to move.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::dictionary;

/// The version this program writes.
pub(super) const VERSION: u8 = 2;

/// The version before: MessagePack as it is.
const UNPACKED: u8 = 1;

/// zstd's compression level; higher ones gain little on records this short.
const LEVEL: i32 = 1;

/// Most bytes of an unpacked record: a prompt is at most as large as a request.
const MAX_BYTES: usize = 64 << 20;

/// Why a record cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It has a value that MessagePack cannot express.
    #[error(transparent)]
    Shape(#[from] rmp_serde::encode::Error),
    /// It cannot be packed.
    #[error(transparent)]
    Packing(#[from] std::io::Error),
    /// It is larger than a block can hold.
    #[error("it is too large")]
    TooLarge,
}

/// Why bytes cannot be decoded as a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the record is empty")]
    Empty,
    /// A later program wrote it, or it is damaged.
    #[error("the record has version {0}, which this program does not know")]
    Version(u8),
    /// It cannot be unpacked.
    #[error("the record cannot be unpacked: {0}")]
    Packing(#[from] std::io::Error),
    /// A block of records whose parts do not fit each other.
    #[error("the block of records is damaged: {0}")]
    Block(&'static str),
    /// It does not have the fields of the expected record.
    #[error("the record cannot be read: {0}")]
    Shape(#[from] rmp_serde::decode::Error),
}

static WRITTEN_WITH: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(&dictionary::bytes(), LEVEL));
static READ_WITH: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(&dictionary::bytes()));

thread_local! {
    // Each has some hundred kilobytes of tables, which take longer to make than a record takes to pack.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A record as bytes.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![VERSION];
    pack(&rmp_serde::to_vec_named(record)?, &mut bytes)?;
    Ok(bytes)
}

/// Bytes as a record.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    read(&plain(bytes)?)
}

/// Unpacks what [`encode`] made into the form of [`append`].
pub(super) fn plain(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, rest)) => Ok(unpack(rest)?.into()),
        Some((&UNPACKED, rest)) => Ok(rest.into()),
        Some((&version, _)) => Err(DecodeError::Version(version)),
    }
}

/// Appends a record unpacked, for blocks, which pack many at once.
pub(super) fn append<T: Serialize>(bytes: &mut Vec<u8>, record: &T) -> Result<(), EncodeError> {
    Ok(rmp_serde::encode::write_named(bytes, record)?)
}

/// Decodes what [`append`] wrote.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    Ok(rmp_serde::from_slice(bytes)?)
}

/// What [`append`] wrote, as a value that [`decode`] reads.
pub(super) fn alone(bytes: &[u8]) -> Vec<u8> {
    [&[UNPACKED], bytes].concat()
}

/// Appends `plain`, packed.
pub(super) fn pack(plain: &[u8], bytes: &mut Vec<u8>) -> Result<(), std::io::Error> {
    PACKER.with_borrow_mut(|packer| {
        let packer = match packer {
            Some(packer) => packer,
            None => packer.insert(Compressor::with_prepared_dictionary(&WRITTEN_WITH)?),
        };
        bytes.extend_from_slice(&packer.compress(plain)?);
        Ok(())
    })
}

/// The unpacked size of what [`pack`] appended, where its frame states it.
pub(super) fn plain_size(packed: &[u8]) -> Option<usize> {
    Decompressor::upper_bound(packed)
}

/// Unpacks what [`pack`] appended.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(Decompressor::with_prepared_dictionary(&READ_WITH)?),
        };
        // The frame's claim of its size is limited: damage must not take all memory.
        unpacker.decompress(packed, plain_size(packed).unwrap_or(MAX_BYTES).min(MAX_BYTES))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{CandidateRecord, DecisionRecord};

    /// A decision among some models, as JSON would have it.
    fn decision() -> DecisionRecord {
        let candidate = |number: u32| {
            serde_json::json!({
                "model": format!("model-{number}"), "prior": 0.1 + f64::from(number) / 37.0, "quality": 0.2,
                "quality_source": "head", "cost_usd": 0.001 * f64::from(number), "utility": 0.3, "propensity": 0.05,
            })
        };
        serde_json::from_value(serde_json::json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "at_ms": 1_700_000_000_000_i64, "chosen": "model-3",
            "features": (0..32).map(|at| (at as f32).sin()).collect::<Vec<_>>(), "feature_space": "builtin-1",
            "candidates": (0..20).map(candidate).collect::<Vec<_>>(), "reason": "the best of 20",
        }))
        .unwrap()
    }

    #[test]
    fn records_come_back_bit_for_bit_and_take_a_fraction() {
        let record = decision();
        let bytes = encode(&record).unwrap();
        assert_eq!(decode::<DecisionRecord>(&bytes).unwrap(), record);
        let plain = rmp_serde::to_vec_named(&record).unwrap();
        assert!(bytes.len() * 3 < plain.len(), "{} of {}", bytes.len(), plain.len());
    }

    #[test]
    fn what_an_older_program_wrote_is_read() {
        let record = decision();
        let mut bytes = vec![UNPACKED];
        rmp_serde::encode::write_named(&mut bytes, &record).unwrap();
        assert_eq!(decode::<DecisionRecord>(&bytes).unwrap(), record);
    }

    #[test]
    fn damage_is_an_error() {
        let good = encode(&decision()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            // Some flips change a value and nothing else; none may panic or take all memory.
            let _read = decode::<DecisionRecord>(&bad);
            assert!(decode::<DecisionRecord>(&good[..at]).is_err(), "cut after {at} bytes");
        }
        assert!(matches!(decode::<CandidateRecord>(&[9, 1, 2]), Err(DecodeError::Version(9))));
        assert!(matches!(decode::<CandidateRecord>(&[]), Err(DecodeError::Empty)));
    }
}
