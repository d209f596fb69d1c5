//! Models from a hub, by its own client and in its own cache, which other programs on the machine share.
//!
//! 1. What the cache holds completely is used, without going out: a start must not depend on a network.
//! 2. Else the repository is asked what it has. Safetensors are preferred, with their tokenizer; a repository of GGUF
//!    files gives the one that is closest to eight bits.
//! 3. Each file goes on where an earlier try stopped, is tried again a few times, and is given up when no byte came for
//!    too long. Its SHA-256 is checked against what the hub says.
//!
//! The hub's client knows no deadline, so it works on a thread of its own and reports every piece; who waits here waits
//! with one. A thread that was silent for too long cannot be ended: it is left where it is, must write nothing more, and the
//! lock that it holds is taken away from it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::{Files, Progress, SourceError};
use crate::config;

/// First pause before another try, doubling up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A repository at a revision.
#[derive(Debug)]
pub(super) struct Remote<'a> {
    settings: &'a config::Hub,
    repository: &'a str,
    revision: &'a str,
    cache: Cache,
}

impl<'a> Remote<'a> {
    pub(super) fn new(
        settings: &'a config::Hub,
        repository: &'a str,
        revision: &'a str,
    ) -> Result<Self, SourceError> {
        let cache = settings.cache_dir.clone().ok_or(SourceError::NoCache)?;
        Ok(Self { settings, repository, revision, cache: Cache::new(cache) })
    }

    /// The files in the cache, if all that is needed is there.
    pub(super) fn cached(&self) -> Option<Files> {
        complete(&self.snapshot()?)
    }

    /// The folder of the revision's files in the cache.
    fn snapshot(&self) -> Option<PathBuf> {
        let repo = self.cache.repo(self.repo());
        // A commit is its own name; a branch or tag has a note saying which commit it was.
        let note = self.cache.path().join(self.repo().folder_name()).join("refs").join(self.revision);
        let commit = std::fs::read_to_string(note).unwrap_or_else(|_| self.revision.to_owned());
        let folder = repo.pointer_path(commit.trim());
        folder.is_dir().then_some(folder)
    }

    /// Asks the hub and downloads what is missing.
    pub(super) fn download(&self, progress: &mut dyn Progress) -> Result<Files, SourceError> {
        if self.settings.offline {
            return Err(SourceError::Offline(self.repository.into()));
        }
        let info = self.patiently(progress, |repo, _| repo.info())?;
        let names: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        let commit = info.sha;
        let mut wanted = wanted(&names).ok_or_else(|| SourceError::NoModel(self.repository.into()))?;
        if wanted.iter().any(|name| name == INDEX) {
            let index = self.file(INDEX, &commit, progress)?;
            wanted.retain(|name| name != INDEX);
            wanted.extend(shards(&index)?);
        }
        let mut last = None;
        for name in &wanted {
            last = Some(self.file(name, &commit, progress)?);
        }
        let noted = self.cache.repo(self.repo()).create_ref(&commit);
        noted.map_err(|error| SourceError::Client(error.to_string()))?;
        let folder = last.as_deref().and_then(Path::parent);
        folder.and_then(complete).ok_or_else(|| SourceError::NoModel(self.repository.into()))
    }

    /// One file, from the cache where it has it at this commit, else downloaded.
    fn file(&self, name: &str, commit: &str, progress: &mut dyn Progress) -> Result<PathBuf, SourceError> {
        let there = self.cache.repo(self.repo()).pointer_path(commit).join(name);
        if there.is_file() {
            return Ok(there);
        }
        let owned = name.to_owned();
        let path = self.patiently(progress, move |repo, events| {
            repo.download_with_progress(&owned, Beat { file: owned.clone(), events: events.clone() })
        })?;
        verify(&path)?;
        Ok(path)
    }

    /// Runs `work` on a thread, tells `progress` what it reports, gives up on silence, and tries again what may pass.
    fn patiently<T: Send + 'static>(
        &self,
        progress: &mut dyn Progress,
        work: impl Fn(&ApiRepo, &SyncSender<Event<T>>) -> Result<T, ApiError> + Clone + Send + 'static,
    ) -> Result<T, SourceError> {
        let mut pause = PAUSE;
        let mut tries = 0;
        loop {
            let (events, heard) = sync_channel(64);
            let (repo, work) = (self.api()?, work.clone());
            std::thread::Builder::new()
                .name("hub".into())
                .spawn(move || {
                    let result = work(&repo, &events);
                    // Nobody listens any more once the silence was too long.
                    let _ = events.send(Event::Done(result));
                })
                .map_err(|error| SourceError::Client(error.to_string()))?;
            let mut begun = false;
            let error = match self.listen(&heard, progress, &mut begun) {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            if begun && matches!(error, SourceError::Silent(_)) {
                // Whose file had begun has the lock itself, and not another process.
                self.unlock();
            }
            if tries >= self.settings.retries || !error.may_pass() {
                return Err(error);
            }
            tries += 1;
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// `begun` = a file was on its way.
    fn listen<T>(
        &self,
        heard: &Receiver<Event<T>>,
        progress: &mut dyn Progress,
        begun: &mut bool,
    ) -> Result<T, SourceError> {
        let silence = Duration::from_secs(self.settings.timeout_s);
        loop {
            match heard.recv_timeout(silence) {
                Ok(Event::Begin(file, total)) => {
                    *begun = true;
                    progress.begin(&file, total);
                }
                Ok(Event::Advance(bytes)) => progress.advance(bytes),
                Ok(Event::End) => progress.end(),
                Ok(Event::Done(result)) => return result.map_err(|error| self.told(error)),
                Err(RecvTimeoutError::Timeout) => return Err(SourceError::Silent(self.settings.timeout_s)),
                Err(RecvTimeoutError::Disconnected) => return Err(SourceError::Client("its thread ended".into())),
            }
        }
    }

    /// Takes the locks of this repository's files away: a lock is its file, and a new file is a new lock.
    fn unlock(&self) {
        let blobs = self.cache.path().join(self.repo().folder_name()).join("blobs");
        for entry in std::fs::read_dir(blobs).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "lock") {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repository.to_owned(), RepoType::Model, self.revision.to_owned())
    }

    fn api(&self) -> Result<ApiRepo, SourceError> {
        let mut builder = ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.settings.endpoint.trim_end_matches('/').to_owned())
            .with_progress(false)
            .with_user_agent("pointsman", env!("CARGO_PKG_VERSION"));
        if let Some(token) = &self.settings.token {
            builder = builder.with_token(Some(token.expose_secret().to_owned()));
        }
        let api = builder.build().map_err(|error| self.told(error))?;
        Ok(api.repo(self.repo()))
    }

    /// What the hub's answer means to whoever configured it.
    fn told(&self, error: ApiError) -> SourceError {
        let repository = self.repository.to_owned();
        let page = format!("{}/{repository}", self.settings.endpoint);
        match error {
            ApiError::TooManyRetries(error) => self.told(*error),
            ApiError::RequestError(error) => match *error {
                ureq::Error::StatusCode(401) if self.settings.token.is_none() => {
                    SourceError::TokenWanted { repository, variable: self.settings.token_env.clone() }
                }
                ureq::Error::StatusCode(401) => SourceError::TokenRefused { repository },
                ureq::Error::StatusCode(403) => SourceError::Gated { repository, page },
                ureq::Error::StatusCode(404) => {
                    SourceError::NotFound { repository, revision: self.revision.to_owned() }
                }
                ureq::Error::StatusCode(429) => SourceError::TooOften,
                ureq::Error::StatusCode(status) => SourceError::Status(status),
                other => SourceError::Cut(other.to_string()),
            },
            ApiError::IoError(error) => SourceError::Cut(error.to_string()),
            other => SourceError::Client(other.to_string()),
        }
    }
}

/// What the working thread reports.
enum Event<T> {
    Begin(String, u64),
    Advance(u64),
    End,
    Done(Result<T, ApiError>),
}

/// The hub's view of a progress bar.
struct Beat<T> {
    file: String,
    events: SyncSender<Event<T>>,
}

impl<T> Beat<T> {
    /// The client tells of a piece before it writes it. Once nobody listens another thread writes the file.
    fn tell(&self, event: Event<T>) {
        if self.events.send(event).is_err() {
            loop {
                std::thread::park();
            }
        }
    }
}

impl<T> hf_hub::api::Progress for Beat<T> {
    fn init(&mut self, size: usize, _: &str) {
        self.tell(Event::Begin(self.file.clone(), size as u64));
    }

    fn update(&mut self, size: usize) {
        self.tell(Event::Advance(size as u64));
    }

    fn finish(&mut self) {
        self.tell(Event::End);
    }
}

/// Says which shard holds which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// The files to fetch, of those a repository has; only such as lie at its top.
fn wanted(names: &[String]) -> Option<Vec<String>> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let pick = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    if has("config.json") && has("tokenizer.json") {
        if has("model.safetensors") {
            return Some(pick(&["config.json", "tokenizer.json", "model.safetensors"]));
        }
        if has(INDEX) {
            return Some(pick(&["config.json", "tokenizer.json", INDEX]));
        }
    }
    preferred_gguf(names).map(|name| vec![name.clone()])
}

/// Of several GGUF files the one nearest to eight bits.
fn preferred_gguf(names: &[String]) -> Option<&String> {
    let mut files: Vec<&String> =
        names.iter().filter(|name| name.ends_with(".gguf") && !name.contains('/')).collect();
    files.sort();
    let of = |kind: &str| files.iter().find(|name| name.to_ascii_lowercase().contains(kind)).copied();
    let best = ["q8_0", "q6_k", "q5_k_m", "q4_k_m"].iter().find_map(|kind| of(kind));
    best.or_else(|| files.first().copied())
}

/// What a folder of the cache is good for, if it has all that is needed.
fn complete(folder: &Path) -> Option<Files> {
    let has = |name: &str| folder.join(name).is_file();
    if has("config.json") && has("tokenizer.json") {
        let sharded = || {
            let shards = shards(&folder.join(INDEX)).ok()?;
            shards.iter().all(|name| has(name)).then_some(())
        };
        if has("model.safetensors") || sharded().is_some() {
            return Some(Files::Folder(folder.to_owned()));
        }
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|it| has(it)).collect();
    preferred_gguf(&names).map(|name| Files::Gguf(folder.join(name)))
}

/// The shards that an index names.
fn shards(index: &Path) -> Result<Vec<String>, SourceError> {
    let broken = |what: String| SourceError::Corrupt { file: index.display().to_string(), what };
    let text = std::fs::read_to_string(index).map_err(|error| broken(error.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object()).ok_or_else(|| broken("no weight_map".into()))?;
    let mut names: Vec<String> = map.values().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    match names.iter().find(|name| name.contains(['/', '\\']) || !name.ends_with(".safetensors")) {
        Some(odd) => Err(broken(format!("it names `{odd}`"))),
        None => Ok(names),
    }
}

/// Compares a file with the hash it is named by in the cache (large files are; small ones have git's hash). A file that
/// differs is taken out of the cache, so that the next try fetches it anew.
fn verify(path: &Path) -> Result<(), SourceError> {
    let told = |error: std::io::Error| SourceError::Cut(error.to_string());
    let blob = std::fs::canonicalize(path).map_err(told)?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(&blob).map_err(told)?, &mut hash).map_err(told)?;
    let found = super::hex(&hash.finalize());
    if found == name {
        return Ok(());
    }
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(&blob);
    Err(SourceError::Corrupt {
        file: path.display().to_string(),
        what: format!("its SHA-256 is {found}, not {name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn safetensors_are_preferred_and_of_gguf_the_one_closest_to_eight_bits() {
        let all = names(&["model.safetensors", "config.json", "tokenizer.json", "a.gguf", "README.md"]);
        assert_eq!(wanted(&all).unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        let some = names(&["m-Q4_K_M.gguf", "m-Q8_0.gguf", "deep/m-F32.gguf", "model.safetensors"]);
        assert_eq!(wanted(&some).unwrap(), ["m-Q8_0.gguf"]);
        assert_eq!(wanted(&names(&["pytorch_model.bin", "deep/a.gguf"])), None);
    }

    #[test]
    fn the_cache_gives_the_file_that_would_be_fetched() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "README.md"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = complete(folder.path());
        assert!(matches!(found, Some(Files::Gguf(path)) if path.ends_with("m-Q8_0.gguf")));
    }
}
