//! Migration of an older database to the schema of this program.
//!
//! The settings have the schema version. A step rewrites record by record, can be repeated after a crash (migrated
//! records are skipped), and raises the version only when all is on disk. Records that it cannot read stay, and the
//! first reader sets them aside.
//!
//! | version | what changed |
//! | --- | --- |
//! | 0 | records are JSON text |
//! | 1 | records are a version byte and MessagePack, so that floats come back bit for bit |
//! | 2 | records are packed, see [`encoding`]. Older ones are read as they are, so nothing is rewritten |
//! | 3 | there are [blocks](super::block). Single records are still read, so nothing is rewritten |

use serde::{Serialize, de::DeserializeOwned};

use super::encoding;
use super::record::{DecisionRecord, FeedbackRecord, OutcomeRecord};
use super::trees::{Failure, SCHEMA, Trees};

const KEY: &str = "schema";

/// Whether it has neither a schema version nor decisions: it was just made, or nothing in its files could be read.
pub(super) fn is_bare(trees: &Trees) -> Result<bool, Failure> {
    Ok(!trees.settings.contains_key(KEY)? && trees.decisions.is_empty() && trees.blocks.is_empty())
}

/// Migrates the database to [`SCHEMA`], and tells where it had records to migrate.
pub(super) fn migrate(trees: &Trees) -> Result<(), Failure> {
    let found = match trees.settings.get(KEY)? {
        Some(bytes) => match <[u8; 4]>::try_from(&bytes[..]) {
            Ok(bytes) => u32::from_be_bytes(bytes),
            Err(_) => return Err(Failure::Broken("its schema version cannot be read".to_owned())),
        },
        // Version 0 did not write its version. A fresh database has nothing to migrate either way.
        None => 0,
    };
    if found > SCHEMA {
        return Err(Failure::Newer(found));
    }
    if found == SCHEMA {
        return Ok(());
    }
    let had_records = !(trees.decisions.is_empty() && trees.blocks.is_empty());
    if found < 1 {
        json_to_message_pack::<DecisionRecord>(&trees.decisions)?;
        json_to_message_pack::<OutcomeRecord>(&trees.outcomes)?;
        json_to_message_pack::<FeedbackRecord>(&trees.feedback)?;
    }
    trees.db.flush()?;
    trees.settings.insert(KEY, &SCHEMA.to_be_bytes())?;
    trees.db.flush()?;
    if had_records {
        tracing::info!(from = found, to = SCHEMA, "The decision log was migrated");
    }
    Ok(())
}

fn json_to_message_pack<T: Serialize + DeserializeOwned>(tree: &sled::Tree) -> Result<(), sled::Error> {
    for pair in tree {
        let (key, value) = pair?;
        if value.first() != Some(&b'{') {
            continue;
        }
        if let Ok(record) = serde_json::from_slice::<T>(&value)
            && let Ok(bytes) = encoding::encode(&record)
        {
            tree.insert(key, bytes)?;
        }
    }
    Ok(())
}
