//! The log as files: JSON Lines and Parquet, out and in.
//!
//! **JSON Lines**: one [`Entry`] a line, every field of it. **Parquet**: a row for each entry, with the columns that tables are
//! made of ([`parquet`]), and the whole entry as JSON in its last column, so that nothing is lost on the way back. Both
//! are described in `data/README.md`.
//!
//! An export says what was there when it began: entries are taken in order of time up to a moment, each with the outcome
//! and the feedback it has when it is read, so that a gateway can go on meanwhile.

mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::record::Entry;

/// The longest line an import reads: some times the largest record that is kept, as JSON writes characters in up to six bytes.
const LONGEST_LINE: u64 = 400 << 20;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// Columns.
    Parquet,
}

impl Format {
    /// What a file's name says.
    pub fn of(path: &Path) -> Self {
        let parquet = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("parquet"));
        if parquet { Self::Parquet } else { Self::JsonLines }
    }
}

/// An export or import that failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no entry. It is not quoted: it may hold a prompt.
    #[error("{}, line {line}: not an entry of a log ({what})", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, with its column.
        what: String,
    },
    /// Parquet that cannot be written, or read back.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ::parquet::errors::ParquetError,
    },
    /// A Parquet file from elsewhere.
    #[error("{} has no column `entry`: it is no export of a log", path.display())]
    NoEntries {
        /// Which file.
        path: PathBuf,
    },
}

/// Writes a log to a file: beside it at first (`<file>.part`), and in its place once it is whole, so that whatever goes wrong
/// leaves what was there. What is no file (a pipe) is written at once.
#[derive(Debug)]
pub struct Exporter {
    path: PathBuf,
    sink: Sink,
    part: Option<Part>,
    /// Entries written.
    count: u64,
}

/// A file in the making, which is deleted unless it is finished.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is there once it has been renamed.
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
enum Sink {
    JsonLines(BufWriter<File>),
    Parquet(Box<parquet::Table>),
}

impl Sink {
    /// Into `file`, which is called `path`.
    fn onto(file: File, format: Format, path: &Path) -> Result<Self, ExchangeError> {
        Ok(match format {
            Format::JsonLines => Self::JsonLines(BufWriter::with_capacity(1 << 16, file)),
            Format::Parquet => {
                let broken = |source| ExchangeError::Parquet { path: path.to_owned(), source };
                Self::Parquet(Box::new(parquet::Table::new(file).map_err(broken)?))
            }
        })
    }
}

impl Exporter {
    /// Begins a file, to take the place of one that may be there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create(path: &Path, format: Format) -> Result<Self, ExchangeError> {
        let failed = |source| ExchangeError::Io { path: path.to_owned(), source };
        // Through a link (`/dev/stdout` is one) what it leads to is written.
        let is_file = std::fs::symlink_metadata(path).map_or(true, |there| there.is_file());
        let part = is_file.then(|| {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".part");
            Part(beside.into())
        });
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        // Prompts may be in it: whoever wants others to read it says so.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(part.as_ref().map_or(path, |part| &part.0)).map_err(failed)?;
        // Who hid the one that is there wants its successor hidden, too.
        if part.is_some()
            && let Ok(there) = std::fs::metadata(path)
        {
            file.set_permissions(there.permissions()).map_err(failed)?;
        }
        let sink = Sink::onto(file, format, path)?;
        Ok(Self { path: path.to_owned(), sink, part, count: 0 })
    }

    /// Begins on standard output, whatever that leads to.
    ///
    /// # Errors
    ///
    /// When it is closed.
    pub fn standard_output(format: Format) -> Result<Self, ExchangeError> {
        let path = PathBuf::from("standard output");
        // As it is open: a file behind it may have a beginning that is not ours.
        #[cfg(unix)]
        let out = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned();
        #[cfg(windows)]
        let out = std::os::windows::io::AsHandle::as_handle(&std::io::stdout()).try_clone_to_owned();
        let file = File::from(out.map_err(|source| ExchangeError::Io { path: path.clone(), source })?);
        let sink = Sink::onto(file, format, &path)?;
        Ok(Self { path, sink, part: None, count: 0 })
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&mut self, entry: &Entry) -> Result<(), ExchangeError> {
        let failed = |source| ExchangeError::Io { path: self.path.clone(), source };
        self.count += 1;
        match &mut self.sink {
            Sink::JsonLines(out) => out.write_all(&line(entry).map_err(failed)?).map_err(failed),
            Sink::Parquet(table) => {
                table.push(entry).map_err(|source| ExchangeError::Parquet { path: self.path.clone(), source })
            }
        }
    }

    /// Ends the file, puts it in its place, and says how many entries are in it.
    ///
    /// # Errors
    ///
    /// When the rest cannot be written.
    pub fn finish(self) -> Result<u64, ExchangeError> {
        let Self { path, sink, part, count } = self;
        let failed = |source| ExchangeError::Io { path: path.clone(), source };
        match sink {
            Sink::JsonLines(mut out) => out.flush().map_err(failed)?,
            Sink::Parquet(table) => {
                table.finish().map_err(|source| ExchangeError::Parquet { path: path.clone(), source })?;
            }
        }
        if let Some(part) = &part {
            // First the contents: after a crash the name must not stand for less than it did.
            File::open(&part.0).and_then(|file| file.sync_all()).map_err(failed)?;
            std::fs::rename(&part.0, &path).map_err(failed)?;
        }
        Ok(count)
    }
}

/// An entry as a line, with its line feed.
///
/// # Errors
///
/// When it cannot be said in JSON, which would be a number that is none.
pub fn line(entry: &Entry) -> Result<Vec<u8>, std::io::Error> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads the entries of an export, calling `visit` with each; what it returns ends the reading where it is `false`.
/// A last line that was cut off, as an export that broke off leaves it, is left out: its number is returned.
///
/// # Errors
///
/// The first line that is no entry, and what else goes wrong.
pub fn read_entries(path: &Path, mut visit: impl FnMut(Entry) -> bool) -> Result<Option<usize>, ExchangeError> {
    if Format::of(path) == Format::Parquet {
        return parquet::read(path, visit).map(|()| None);
    }
    let failed = |source| ExchangeError::Io { path: path.to_owned(), source };
    let mut lines = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let length = std::io::Read::take(&mut lines, LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(failed)?;
        if length == 0 {
            break;
        }
        if length as u64 == LONGEST_LINE && bytes.last() != Some(&b'\n') {
            let what = format!("longer than {} MiB", LONGEST_LINE >> 20);
            return Err(ExchangeError::Line { path: path.to_owned(), line: number, what });
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let entry = match serde_json::from_slice(&bytes) {
            Ok(entry) => entry,
            // The first line is more likely none of ours than cut off.
            Err(error) if error.is_eof() && number > 1 && bytes.last() != Some(&b'\n') => return Ok(Some(number)),
            Err(error) => return Err(no_entry(path, number, &error)),
        };
        if !visit(entry) {
            break;
        }
    }
    Ok(None)
}

fn parse(path: &Path, line: usize, bytes: &[u8]) -> Result<Entry, ExchangeError> {
    serde_json::from_slice(bytes).map_err(|error| no_entry(path, line, &error))
}

fn no_entry(path: &Path, line: usize, error: &serde_json::Error) -> ExchangeError {
    // Only where, and of which sort: serde quotes what it stumbled over.
    let what = format!("{:?} error at column {}", error.classify(), error.column());
    ExchangeError::Line { path: path.to_owned(), line, what }
}

#[cfg(test)]
mod tests;
