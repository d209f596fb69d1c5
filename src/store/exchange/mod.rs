//! Export and import of the decision log: JSON Lines and Parquet.
//!
//! **JSON Lines**: one whole [`Entry`] a line. **Parquet**: one row for each entry, with columns for the usual
//! questions ([`parquet`]) and the whole entry as JSON in the last column, so that an import loses nothing.
//! `data/README.md` describes both.
//!
//! An export has the entries up to the time when it began, in order, each with the outcome and feedback it has when it
//! is read, so that a gateway can run meanwhile.

mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::data_dir::private_anew;
use super::record::Entry;

/// Longest line that an import reads: a multiple of the largest record, as JSON writes a character in up to six bytes.
const MAX_LINE_BYTES: u64 = 400 << 20;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// A table with columns.
    Parquet,
}

impl Format {
    /// The format by a file's name: Parquet for `.parquet`, else JSON Lines.
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
    /// A line is not an entry. It is not quoted, since it may hold a prompt.
    #[error("{}, line {line}: not an entry of a decision log ({what})", path.display())]
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
    /// A Parquet file that is not an export.
    #[error("{} has no column `entry`: it is no export of a decision log", path.display())]
    NoEntries {
        /// Which file.
        path: PathBuf,
    },
}

/// Writes a decision log to a file: first to `<file>.part`, which is renamed once it is complete, so that a failure
/// leaves an existing file unchanged. A pipe or another special file is written directly.
#[derive(Debug)]
pub struct Exporter {
    path: PathBuf,
    sink: Sink,
    part: Option<Part>,
    /// Entries written.
    count: u64,
}

/// A file under construction, which is deleted on drop unless it was renamed.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Fails once it has been renamed.
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
enum Sink {
    JsonLines(BufWriter<File>),
    Parquet(Box<parquet::Table>),
}

impl Sink {
    /// A sink into `file`, whose `path` is for error messages.
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
    /// Begins an export that will replace the file at `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub fn create(path: &Path, format: Format) -> Result<Self, ExchangeError> {
        let failed = |source| ExchangeError::Io { path: path.to_owned(), source };
        // A link (`/dev/stdout` is one) is followed and its target written directly.
        let is_file = std::fs::symlink_metadata(path).map_or(true, |there| there.is_file());
        let part = is_file.then(|| {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".part");
            Part(beside.into())
        });
        // It may hold prompts, so at first only the owner can read it.
        let file = match &part {
            Some(part) => private_anew(&part.0),
            None => {
                let mut options = File::options();
                options.write(true).create(true).truncate(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                options.open(path)
            }
        };
        let file = file.map_err(failed)?;
        // The permissions of an existing file are kept.
        if part.is_some()
            && let Ok(there) = std::fs::metadata(path)
        {
            file.set_permissions(there.permissions()).map_err(failed)?;
        }
        let sink = Sink::onto(file, format, path)?;
        Ok(Self { path: path.to_owned(), sink, part, count: 0 })
    }

    /// Begins an export to standard output.
    ///
    /// # Errors
    ///
    /// When it is closed.
    pub fn standard_output(format: Format) -> Result<Self, ExchangeError> {
        let path = PathBuf::from("standard output");
        // A duplicate of the open descriptor: opening a file behind it anew would overwrite its beginning.
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

    /// Completes the file and renames it; the number of entries in it.
    ///
    /// # Errors
    ///
    /// When the rest cannot be written, or the file not renamed.
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
            // Contents first: after a crash the name must not belong to an incomplete file.
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
/// When JSON cannot express it.
pub fn line(entry: &Entry) -> Result<Vec<u8>, std::io::Error> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads the entries of an export, calling `visit` with each until it returns `false`. A last line that was cut off, as
/// by an interrupted export, is skipped, and its number returned.
///
/// # Errors
///
/// When the file cannot be read, or at the first line that is not an entry.
pub fn read_entries(path: &Path, mut visit: impl FnMut(Entry) -> bool) -> Result<Option<usize>, ExchangeError> {
    if Format::of(path) == Format::Parquet {
        return parquet::read(path, visit).map(|()| None);
    }
    let failed = |source| ExchangeError::Io { path: path.to_owned(), source };
    let mut lines = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let length = std::io::Read::take(&mut lines, MAX_LINE_BYTES).read_until(b'\n', &mut bytes).map_err(failed)?;
        if length == 0 {
            break;
        }
        if length as u64 == MAX_LINE_BYTES && bytes.last() != Some(&b'\n') {
            let what = format!("longer than {} MiB", MAX_LINE_BYTES >> 20);
            return Err(ExchangeError::Line { path: path.to_owned(), line: number, what });
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        // PowerShell and Excel put a mark before the first line.
        let line = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&bytes);
        let entry = match serde_json::from_slice(line) {
            Ok(entry) => entry,
            // A first line is more likely of another format than cut off.
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
    // Only the column and the kind of error: serde's message quotes the line.
    let what = format!("{:?} error at column {}", error.classify(), error.column());
    ExchangeError::Line { path: path.to_owned(), line, what }
}

#[cfg(test)]
mod tests;
