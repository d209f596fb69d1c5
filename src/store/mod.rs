//! The embedded database: decisions, outcomes, feedback, policy snapshots, settings, audit (the only home of sled).
//!
//! **Layout.** One sled database in `<data_dir>/log`, a tree per kind of record. Decisions and outcomes are keyed by
//! the decision's UUIDv7, so keys stand in order of time; feedback by decision and feedback id. Values are one version
//! byte and MessagePack ([`encoding`]). Decisions that are written together form a [`block`], one value for many
//! records. Decisions that came alone or late, and outcomes that came after their decision was written, are single
//! records until [`compact`] moves them into blocks. A single record is newer than what a block has under the same id.
//!
//! **Writing.** One thread (`tuner::Recorder`) writes; any thread may read. Durable are: a feedback once it is
//! acknowledged, a snapshot once it is promoted, decisions and outcomes within half a second.
//!
//! **When things break** ([`Store::open`], [`db`]): a record that cannot be read is set aside and counted; a database
//! that cannot be read is set aside as a whole (renamed to `log.broken-<time>`) and a fresh one begun; a directory that
//! cannot be written gives a store in memory, and [`Health`] says so; while the disk is as good as full nothing is
//! written; a database that fails while it runs is closed and reopened every few seconds once there is room. Records
//! lost meanwhile are counted. None of it stops an answer.
//!
//! API tokens are *not* in here: they are a file of hashes beside it (`tokens`), so that a broken database never locks
//! clients out.

mod audit;
mod block;
mod closer;
mod compact;
mod damaged;
mod data_dir;
pub mod db;
mod dictionary;
mod encoding;
mod error;
mod exchange;
mod fingerprint;
mod join;
mod log;
mod migrate;
mod opening;
mod query;
mod rates;
pub mod record;
mod rescue;
mod retention;
mod rollup;
mod room;
mod settings;
mod signals;
mod snapshots;
mod tokens;
mod torn;
mod transient;
mod trees;
mod worth;

pub use audit::AuditRecord;
pub use compact::{Compacted, Compactor};
pub use data_dir::{HandOver, await_free, write_private};
#[cfg(test)]
pub(crate) use db::tests::on_disk_with;
pub use db::{Health, Store};
pub use encoding::{DecodeError, EncodeError};
pub use error::{OpenError, StoreError};
pub use exchange::{ExchangeError, Exporter, Format, line, read_entries};
pub use fingerprint::Salt;
pub use join::{Order, Span};
pub use log::{MOST_FEEDBACK, Stored};
pub use opening::OpenState;
pub use query::{Filter, Page};
pub use rates::{Rates, chances};
pub use record::{
    AHEAD_MS, CandidateRecord, DecisionRecord, Entry, Excluded, FEEDBACK_ID_BYTES, FeedbackKind, FeedbackRecord,
    Fingerprint, Mode, OutcomeRecord, OutcomeStatus, RequestFacts, Shadow, Signal, Thumb,
};
pub use retention::{Clock, LogSize};
pub use rollup::{Bucket, Glance, RECENT, SingleModel, Summary, Sums, Window, let_go};
pub use signals::{AGAIN_WITHIN_MS, Asked, AskedAgain, Seen, signals};
pub use snapshots::{SnapshotRecord, SnapshotState};
pub use tokens::{NewToken, Scope, Token, TokenError, Tokens, limits_in_words};
pub use transient::private_directory;
#[cfg(test)]
pub(crate) use trees::tests::hung;
pub use worth::{Worth, judged_model, worth};
