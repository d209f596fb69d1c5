//! What can be wrong with a data set, said so that the line can be found.

use std::path::PathBuf;

use super::Split;

/// A question that stands in two splits: a head that has seen it would look better than it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} group(s) leak between splits; the first: group `{group}` is in {first} and again in {second} ({}, line {line}). \
     Put every record of a group in one split, or give records that share no question groups of their own",
    path.display()
)]
pub struct Leak {
    /// How many groups leak.
    pub count: usize,
    /// The first such group.
    pub group: String,
    /// Where it was seen first.
    pub first: Split,
    /// Where it was seen again.
    pub second: Split,
    /// File of the second sight.
    pub path: PathBuf,
    /// Line of the second sight, counted from 1.
    pub line: usize,
}

/// A data set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file broke off or is not what its name says.
    #[error("{}, line {line}: cannot be read on: {source}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The line being read, counted from 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a record.
    #[error("{}, line {line}: {message}", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it; never holds the prompt.
        message: String,
    },
    /// There is nothing to read.
    #[error(
        "{} holds no .jsonl or .jsonl.gz file: expected train/, val/ and test/ folders with such files, or the files themselves",
        path.display()
    )]
    Empty {
        /// Where was looked.
        path: PathBuf,
    },
    /// Nothing is called by the name of the part that is to be judged, and what else there is could not be told
    /// apart.
    #[error(
        "{} has no `{wanted}`; there is {found}. Say --split NAME for one of these, or name the one that is meant alone",
        path.display()
    )]
    NoSplit {
        /// Where was looked.
        path: PathBuf,
        /// The name.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The same file packed and unpacked.
    #[error("{} lies beside the same file packed or unpacked: its prompts would count twice; take one away", path.display())]
    Twins {
        /// One of the two.
        path: PathBuf,
    },
    /// More text than may be held.
    #[error(
        "the prompts hold more than {limit_mib} MiB (reached in {}): read fewer records per source with --limit",
        path.display()
    )]
    TooLarge {
        /// The bound.
        limit_mib: usize,
        /// The file in which it was reached.
        path: PathBuf,
    },
}
