//! Other people's files as a data set of recorded outcomes.
//!
//! Read are CSV, JSON (an array, one object, or an object with rows under `records` or `data`) and JSON lines, each
//! also packed with gzip. A row is taken for what it looks like:
//!
//! - **recorded outcomes** of this project: it has `outcomes`. Its id, group, source, origin and task stay.
//! - **one column for each model** (RouterBench): columns `MODEL` and `MODEL|total_cost` or `MODEL|model_response`;
//!   or an object `scores` of model to score (RouterDC).
//! - **one row for each model** (LLMRouterBench, LLMRouter): it names a model, a prompt and a score; or it is an
//!   object with `records` whose model and data set stand outside.
//! - **request logs** of LiteLLM, or in the shape of OpenAI's API: a model, `messages` (or a list as `input`), and a
//!   score (`score`, `rating` of 1 to 5, `thumbs`, or one of these under `metadata` or `feedback`).
//!
//! Rows without prompt, model or score are left out and counted: nothing is invented, and of what stands outside of
//! rows only model, data set and prompt are theirs. Scores on a scale to 100 are brought to one, the whole column
//! alike. Rows of one prompt become one record; two scores of a model on it are averaged. A hash of the group, where
//! there is none of the prompt, decides the split, 4 : 1 : 1.

mod found;
mod row;
mod rows;
mod scale;

use std::path::Path;

use found::Found;

/// What became of some files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Prompts in the data set.
    pub prompts: usize,
    /// Models.
    pub models: usize,
    /// Outcomes.
    pub outcomes: usize,
    /// Rows that carried too little, and single models' outcomes in a row that did.
    pub left_out: usize,
    /// Why the first of them was left out, and where it stands.
    pub reason: Option<String>,
    /// What else has to be said.
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
    /// Not one row carried enough.
    #[error("{path}: none of its {rows} rows has a prompt, a model and a score ({reason})")]
    Nothing {
        /// Which.
        path: String,
        /// How many there were.
        rows: usize,
        /// Why the first was left out.
        reason: String,
    },
    /// Scores on no scale that is known.
    #[error("{path}, {place}: `{column}` is {value}; scores are 0 to 1, or 0 to 100 in the whole column")]
    Scale {
        /// Which.
        path: String,
        /// Line or entry of the value that fits neither.
        place: String,
        /// Whose it is.
        column: &'static str,
        /// The value.
        value: f64,
    },
}

/// What the source is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called<'a> {
    /// So, whatever records say.
    Always(&'a str),
    /// So where records do not say.
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
/// [`read`](super::read()) takes. What these files held before is gone.
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
