//! Errors of reading a data set. Each names the file and, where there is one, the line.

use std::path::PathBuf;

use super::Split;

/// The way for files of other kinds.
pub(super) const IMPORT: &str =
    "`pointsman import FILE --dataset DIR` makes a data set of CSV, of JSON, and of other programs' files";

/// A question that is in two splits: a head that was fitted to it in one would look too good in the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} between splits; the first: group `{group}` is in {first} and again in {second} ({}, line {line}). \
     Put every record of a group in one split, or give records that share no question groups of their own",
    if *count == 1 { "1 group leaks".to_owned() } else { format!("{count} groups leak") },
    path.display()
)]
pub struct Leak {
    /// How many groups leak.
    pub count: usize,
    /// The first such group.
    pub group: String,
    /// Split of its first occurrence.
    pub first: Split,
    /// Split of its second occurrence.
    pub second: Split,
    /// File of the second occurrence.
    pub path: PathBuf,
    /// Line of the second occurrence, counted from 1.
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
    /// A file is truncated, or not of the kind that its name says.
    #[error("{}, line {line}: reading failed here: {source}", path.display())]
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
        /// What is wrong with the line; never quotes the prompt.
        message: String,
    },
    /// There is nothing to read.
    #[error(
        "{} holds no .jsonl or .jsonl.gz file: expected train/, val/ and test/ folders with such files, or the files themselves; {IMPORT}",
        path.display()
    )]
    Empty {
        /// Where was looked.
        path: PathBuf,
    },
    /// No part has the name that was asked for, and several other parts could be meant.
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
    /// A file is there both compressed and uncompressed.
    #[error("{} is there compressed and uncompressed: its prompts would count twice; remove one of the two", path.display())]
    Twins {
        /// One of the two.
        path: PathBuf,
    },
    /// The prompts take more memory than the limit allows.
    #[error(
        "the records hold more than {limit_mib} MiB with what is made of them (reached in {}): take a part of them, of each \
         source with --limit where there is one",
        path.display()
    )]
    TooLarge {
        /// The bound.
        limit_mib: usize,
        /// The file in which it was reached.
        path: PathBuf,
    },
}
