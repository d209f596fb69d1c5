//! Importing other formats as a data set of recorded outcomes.
//!
//! CSV (where its header has no comma, with semicolons or tabs), JSON (an array, one object, or an object with rows
//! under `records` or `data`) and JSON Lines are read, each also compressed with gzip. The kind of a row is recognised by
//! its fields:
//!
//! - **recorded outcomes** of this project: it has `outcomes`. Its id, group, source, origin and task stay.
//! - **one column for each model** (RouterBench): columns `MODEL` and `MODEL|total_cost` or `MODEL|model_response`;
//!   or an object `scores` of model to score (RouterDC).
//! - **one row for each model** (LLMRouterBench, LLMRouter): it names a model, a prompt and a score; or it is an object
//!   with `records`, whose model and data set are fields of the object.
//! - **request logs** of LiteLLM, or in the shape of OpenAI's API: a model, `messages` (or a list as `input`), and a
//!   score (`score`, `rating` of 1 to 5, `thumbs`, or one of these under `metadata` or `feedback`).
//!
//! Rows without prompt, model or score are left out and counted; of an object's fields around its rows, only model,
//! data set and prompt are taken over into the rows. Scores on a scale to 100 are divided by 100, the whole column
//! alike. Rows of one prompt become one record; two scores of a model on it are averaged. A hash of the group, or of
//! the prompt where there is no group, decides the split, 4 : 1 : 1.

mod found;
mod row;
mod rows;
mod scale;

use std::path::Path;

use found::Found;

/// What is said of an export of a decision log, which is no data set.
const OWN_LOG: &str = "it is an export of Pointsman's decision log: `train --log` and `evaluate --policy NAME --log` read \
                       it as it is, and `import` without --dataset puts it back into a log";

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Prompts in the data set.
    pub prompts: usize,
    /// Models.
    pub models: usize,
    /// Outcomes.
    pub outcomes: usize,
    /// Rows that were left out, and outcomes of single models that were left out of other rows.
    pub left_out: usize,
    /// Why the first of them was left out, and where it is.
    pub reason: Option<String>,
    /// Further notes.
    pub notes: Vec<String>,
}

/// A file that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is neither CSV nor JSON. The text is not quoted: it may hold a prompt.
    #[error("{path}: not readable as CSV, JSON or JSON lines ({what})")]
    Shape {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// No row has prompt, model and score.
    #[error("{path}: none of its {rows} rows has a prompt, a model and a score ({reason})")]
    Nothing {
        /// Which.
        path: String,
        /// Number of rows.
        rows: usize,
        /// Why the first was left out.
        reason: String,
    },
    /// Scores are on no known scale.
    #[error("{path}, {place}: `{column}` is {value}; scores are 0 to 1, or 0 to 100 in the whole column")]
    Scale {
        /// Which.
        path: String,
        /// Line or entry of the value that fits no scale.
        place: String,
        /// Its column.
        column: &'static str,
        /// The value.
        value: f64,
    },
}

/// The name of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called<'a> {
    /// This name, whatever records say.
    Always(&'a str),
    /// This name where records have none.
    Unless(&'a str),
}

impl<'a> Called<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::Always(name) | Self::Unless(name) => name,
        }
    }
}

/// Reads `files` and writes them together under `dir`, in files named by `called`, in the layout that
/// [`read`](super::read()) takes. Earlier contents of these files are replaced.
///
/// # Errors
///
/// When one of them cannot be read, or nothing of it can be used, or its scores are on no scale that is known.
pub fn import(files: &[impl AsRef<Path>], called: Called<'_>, dir: &Path) -> Result<Imported, ImportError> {
    let mut found = Found::default();
    for file in files {
        found.file(file.as_ref())?;
    }
    found.write(called, dir).map_err(|error| ImportError::Io { path: dir.display().to_string(), source: error })
}

#[cfg(test)]
mod tests;
