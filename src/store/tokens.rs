//! API tokens: a file of their hashes.
//!
//! Apart from the database, so that a broken database never locks clients out, and so that `pointsman token` works
//! while a server runs. A token has 160 random bits, so a plain SHA-256 protects it: it cannot be guessed.
//!
//! The file is replaced as a whole (written beside, then renamed), so a reader never sees half of it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::data_dir::{give_to_owner_of, make_private, private, private_anew};
use crate::protocol::ModelName;

/// Prefix of every token, recognised by people and by scanners for leaked secrets.
const PREFIX: &str = "pm_";

/// What the lock holds once tokens were made.
const MADE: &[u8] = b"tokens were made\n";

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Chat, models, dry runs, outcomes.
    Chat,
    /// Feedback.
    Feedback,
    /// The admin API.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Feedback, Self::Admin];

    /// The scope of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// The scope's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Feedback => "feedback",
            Self::Admin => "admin",
        }
    }
}

/// What is stored of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its id, which is public: in logs and lists.
    pub id: String,
    /// Its name; rules may refer to it.
    pub name: String,
    /// SHA-256 of the token, in hexadecimal.
    hash: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// The models it may use; absent = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Requests per minute in place of `limits.requests_per_minute`; 0 = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute in place of `limits.tokens_per_minute`; 0 = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// US dollars per day in place of `limits.usd_per_day`; 0 = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
}

/// A token's own limits in words, one clause each; an empty list = the configured limits.
pub fn limits_in_words(requests: Option<u32>, tokens: Option<u64>, usd_per_day: Option<f64>) -> Vec<String> {
    let limit = |value: Option<u64>, unit: &str| match value? {
        0 => Some(format!("no limit of {unit}")),
        value => Some(format!("{value} {unit}/min")),
    };
    let spend = usd_per_day.map(|usd| match usd {
        0.0 => "no limit of spend".to_owned(),
        usd => format!("${usd}/day"),
    });
    [limit(requests.map(u64::from), "requests"), limit(tokens, "tokens"), spend].into_iter().flatten().collect()
}

/// A token to be made; the fields are those of [`Token`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it may be used for.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// The models it may use; absent = all.
    pub models: Option<Vec<String>>,
    /// Requests per minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute.
    pub tokens_per_minute: Option<u64>,
    /// US dollars per day.
    pub usd_per_day: Option<f64>,
}

/// Most characters of a name.
const MAX_NAME_CHARS: usize = 80;

impl NewToken {
    fn check(&self) -> Result<(), TokenError> {
        let wrong = |field, what: &str| Err(TokenError::Wrong { field, what: what.to_owned() });
        if self.name.is_empty()
            || self.name.chars().count() > MAX_NAME_CHARS
            || self.name.chars().any(char::is_control)
        {
            return Err(TokenError::Wrong {
                field: "name",
                what: format!("a name has 1 to {MAX_NAME_CHARS} characters, no control character among them"),
            });
        }
        if self.scopes.is_empty() {
            return wrong("scopes", "a token without a scope opens nothing: choose at least one");
        }
        if self.usd_per_day.is_some_and(|usd| !(usd.is_finite() && usd >= 0.0)) {
            return wrong("usd_per_day", "a spend is 0 or more US dollars");
        }
        match &self.models {
            Some(models) if models.is_empty() || models.iter().any(|name| name.trim().is_empty()) => {
                wrong("models", "a token for no model opens nothing; leave the models out for all")
            }
            Some(models) => match models.iter().find(|name| ModelName::is_auto(name)) {
                Some(auto) => Err(TokenError::chooses(auto)),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// Why tokens could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a list of tokens.
    #[error("{path} is damaged: {source}; restore it from a backup, or remove it and make new tokens")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Tokens were made, and their file is gone.
    #[error("{path} is gone, though tokens were made: restore it, or remove {lock} to begin without them")]
    Lost {
        /// The file.
        path: PathBuf,
        /// The lock beside it, which keeps a mark that tokens were made.
        lock: PathBuf,
    },
    /// The file was there once and is missing now.
    #[error("{} is gone: restore it, or restart the gateway to begin without tokens", .0.display())]
    Gone(PathBuf),
    /// There is no such token.
    #[error("there is no token `{0}`")]
    Unknown(String),
    /// The name is taken.
    #[error("there is a token named `{0}` already")]
    Taken(String),
    /// The token to be made is invalid.
    #[error("{what}")]
    Wrong {
        /// The field that is wrong: `name`, `scopes`, `models`, `usd_per_day`.
        field: &'static str,
        /// What is wrong, or what would be right.
        what: String,
    },
}

impl TokenError {
    /// A token for `name`, which is `auto` or an alias of it.
    pub fn chooses(name: &str) -> Self {
        let what = format!("`{name}` is no model: it chooses among those that a token opens");
        Self::Wrong { field: "models", what }
    }
}

/// The tokens of a gateway.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tokens {
    tokens: Vec<Arc<Token>>,
}

impl Tokens {
    /// The file that holds them.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("tokens.json")
    }

    /// Reads them; no file means none.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read: a gateway that cannot tell its clients apart must not guess.
    pub fn load(data_dir: &Path) -> Result<Self, TokenError> {
        let path = Self::path(data_dir);
        match fs::read(&path) {
            Ok(bytes) => {
                let tokens = serde_json::from_slice(&bytes).map_err(|source| TokenError::Damaged { path, source })?;
                Ok(Self { tokens })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(TokenError::Io { path, source }),
        }
    }

    /// Writes them.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; then the old one stands.
    pub fn save(&self, data_dir: &Path) -> Result<(), TokenError> {
        let path = Self::path(data_dir);
        let beside = path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            make_private(data_dir)?;
            let mut file = private_anew(&beside)?;
            file.write_all(serde_json::to_string_pretty(&self.tokens)?.as_bytes())?;
            file.sync_all()?;
            give_to_owner_of(data_dir, &beside);
            fs::rename(&beside, &path)?;
            // A confirmed revocation must survive a power cut, where the file system supports that.
            let _ = fs::File::open(data_dir).and_then(|dir| dir.sync_all());
            Ok(())
        };
        write().map_err(|source| TokenError::Io { path: path.clone(), source })
    }

    /// Reads the tokens, applies `change`, and writes them. A lock file makes other changes wait.
    ///
    /// # Errors
    ///
    /// When they cannot be read or written, or the error of `change`; then nothing is changed.
    pub fn change<T>(
        data_dir: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, TokenError>,
    ) -> Result<(Self, T), TokenError> {
        let path = Self::lock_path(data_dir);
        // The lock ends when its file is closed.
        let lock = || -> std::io::Result<fs::File> {
            make_private(data_dir)?;
            let file = private().create(true).open(&path)?;
            give_to_owner_of(data_dir, &path);
            file.lock()?;
            Ok(file)
        };
        let mut held = lock().map_err(|source| TokenError::Io { path: path.clone(), source })?;
        let mut tokens = Self::load(data_dir)?;
        let changed = change(&mut tokens)?;
        tokens.save(data_dir)?;
        // Only a mark, see `refuse_lost`.
        let _ = held.write_all(MADE);
        Ok((tokens, changed))
    }

    /// Refuses a directory whose file of tokens is gone: one begun anew would take all other tokens out of force.
    ///
    /// # Errors
    ///
    /// [`TokenError::Lost`].
    pub fn refuse_lost(data_dir: &Path) -> Result<(), TokenError> {
        let (path, lock) = (Self::path(data_dir), Self::lock_path(data_dir));
        // The lock alone says nothing: a change that failed leaves one, too.
        let made = fs::metadata(&lock).is_ok_and(|lock| lock.len() > 0);
        if made && !path.exists() { Err(TokenError::Lost { path, lock }) } else { Ok(()) }
    }

    fn lock_path(data_dir: &Path) -> PathBuf {
        data_dir.join("tokens.lock")
    }

    /// Adds a token and returns it with its text, which is shown once and stored nowhere. `random` are 160 random bits.
    ///
    /// # Errors
    ///
    /// When the name is taken, or a field is invalid.
    pub fn add(
        &mut self,
        mut new: NewToken,
        random: [u8; 20],
        now_ms: i64,
    ) -> Result<(Arc<Token>, String), TokenError> {
        new.name = new.name.trim().to_owned();
        new.check()?;
        if self.tokens.iter().any(|token| token.name == new.name) {
            return Err(TokenError::Taken(new.name));
        }
        let secret = hex(&random);
        let text = format!("{PREFIX}{secret}");
        let token = Arc::new(Token {
            id: hash(&text)[..8].to_owned(),
            name: new.name,
            hash: hash(&text),
            scopes: new.scopes,
            created_ms: now_ms,
            models: new.models,
            requests_per_minute: new.requests_per_minute,
            tokens_per_minute: new.tokens_per_minute,
            usd_per_day: new.usd_per_day,
        });
        self.tokens.push(Arc::clone(&token));
        Ok((token, text))
    }

    /// Removes a token, by id or name.
    ///
    /// # Errors
    ///
    /// When there is no such token.
    pub fn revoke(&mut self, which: &str) -> Result<Arc<Token>, TokenError> {
        let at = self.tokens.iter().position(|token| token.id == which || token.name == which);
        at.map(|at| self.tokens.remove(at)).ok_or_else(|| TokenError::Unknown(which.to_owned()))
    }

    /// The token with this text. Comparing hashes leaks nothing of a token by timing.
    pub fn find(&self, text: &str) -> Option<&Arc<Token>> {
        let hash = hash(text);
        self.tokens.iter().find(|token| token.hash == hash)
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Token>] {
        &self.tokens
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Bytes in hexadecimal, by a table: this runs for every request with a token, and formatting each byte took longer
/// than the hash.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(DIGITS[usize::from(half)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewToken {
        NewToken { name: name.into(), scopes: vec![Scope::Chat], ..NewToken::default() }
    }

    #[test]
    fn a_token_is_found_by_its_text_and_kept_as_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::load(dir.path()).unwrap();
        assert!(tokens.is_empty());
        let (token, text) = tokens.add(new("ci"), [7; 20], 1).unwrap();
        tokens.save(dir.path()).unwrap();
        let loaded = Tokens::load(dir.path()).unwrap();
        assert_eq!(loaded.find(&text), Some(&token));
        assert_eq!(loaded.find("pm_other"), None);
        let file = fs::read_to_string(Tokens::path(dir.path())).unwrap();
        assert!(!file.contains(text.trim_start_matches(PREFIX)));
    }

    #[test]
    fn names_are_unique_and_revoking_ends_a_token() {
        let mut tokens = Tokens::default();
        let (token, text) = tokens.add(new("ci"), [1; 20], 1).unwrap();
        assert!(matches!(tokens.add(new("ci"), [2; 20], 1), Err(TokenError::Taken(_))));
        tokens.revoke(&token.id).unwrap();
        assert!(tokens.find(&text).is_none());
        assert!(matches!(tokens.revoke("ci"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn what_would_open_nothing_or_bound_nothing_is_no_token() {
        let mut tokens = Tokens::default();
        let mut refused = |change: &dyn Fn(&mut NewToken)| {
            let mut wanted = new("ci");
            change(&mut wanted);
            match tokens.add(wanted, [1; 20], 1) {
                Err(TokenError::Wrong { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(&|it| it.name = " ".into()), "name");
        assert_eq!(refused(&|it| it.name = "a\n\u{1b}[31mb".into()), "name");
        assert_eq!(refused(&|it| it.name = "x".repeat(81)), "name");
        assert_eq!(refused(&|it| it.scopes.clear()), "scopes");
        assert_eq!(refused(&|it| it.usd_per_day = Some(f64::NAN)), "usd_per_day");
        assert_eq!(refused(&|it| it.usd_per_day = Some(-5.0)), "usd_per_day");
        assert_eq!(refused(&|it| it.models = Some(Vec::new())), "models");
        assert_eq!(refused(&|it| it.models = Some(vec![String::new()])), "models");
        assert_eq!(refused(&|it| it.models = Some(vec!["auto".into()])), "models");
        assert!(tokens.is_empty());
    }

    #[test]
    fn who_changes_them_at_once_changes_them_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for at in 0..8u8 {
                let dir = dir.path();
                scope.spawn(move || {
                    Tokens::change(dir, |tokens| tokens.add(new(&format!("t{at}")), [at; 20], 1)).unwrap()
                });
            }
        });
        assert_eq!(Tokens::load(dir.path()).unwrap().all().len(), 8);
    }

    #[test]
    fn a_file_that_is_gone_is_told_from_one_that_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        Tokens::refuse_lost(dir).unwrap();
        Tokens::change(dir, |tokens| tokens.revoke("ci")).unwrap_err();
        Tokens::refuse_lost(dir).unwrap();
        Tokens::change(dir, |tokens| tokens.add(new("ci"), [1; 20], 1)).unwrap();
        Tokens::refuse_lost(dir).unwrap();
        fs::remove_file(Tokens::path(dir)).unwrap();
        assert!(matches!(Tokens::refuse_lost(dir), Err(TokenError::Lost { .. })));
        fs::remove_file(Tokens::lock_path(dir)).unwrap();
        Tokens::refuse_lost(dir).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("shadow");
        fs::write(&elsewhere, "root").unwrap();
        let link = |name: &str| std::os::unix::fs::symlink(&elsewhere, dir.path().join(name)).unwrap();
        link("tokens.json.new");
        Tokens::change(dir.path(), |tokens| tokens.add(new("ci"), [1; 20], 1)).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "root");
        assert_eq!(Tokens::load(dir.path()).unwrap().all().len(), 1);
        fs::remove_file(dir.path().join("tokens.lock")).unwrap();
        link("tokens.lock");
        assert!(matches!(Tokens::change(dir.path(), |_| Ok(())), Err(TokenError::Io { .. })));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "root");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_open_door() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(Tokens::path(dir.path()), "[{").unwrap();
        assert!(matches!(Tokens::load(dir.path()), Err(TokenError::Damaged { .. })));
    }
}
