//! Models from a hub, in the hub's usual cache, which is shared with other programs on the machine.
//!
//! 1. A model that the cache holds completely is used without network access: a start must not depend on a network.
//! 2. Else the repository is listed. Safetensors are preferred, with their tokenizer; of a repository of GGUF files,
//!    the one closest to eight bits is taken.
//! 3. Each file continues where an earlier try stopped, is tried again a few times, and is given up when no byte comes
//!    for too long. Its SHA-256 is checked against the hub's.
//! 4. All files come from one commit, and the revision is set to that commit when the last file has arrived; until then
//!    the cache gives what it gave before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, Repo, RepoType};
use secrecy::SecretString;

use super::blobs::{Blob, disk};
use super::client::Client;
use super::{DownloadProgress, Files, SourceError};
use crate::config;

/// First pause before another try; it doubles up to [`LONGEST_PAUSE`].
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
        // Absolute, because links are made from one of its folders to another.
        let cache = std::path::absolute(&cache).map_err(|error| disk(&cache, &error))?;
        Ok(Self { settings, repository, revision, cache: Cache::new(cache) })
    }

    /// The files in the cache, if the model is complete there.
    pub(super) fn cached(&self) -> Option<Files> {
        complete(&self.snapshot()?)
    }

    /// The folder of the revision's files in the cache.
    fn snapshot(&self) -> Option<PathBuf> {
        // A commit is its own name; a branch or tag has a file with the commit that it was.
        let note = self.folder().join("refs").join(self.revision);
        let commit = std::fs::read_to_string(note).unwrap_or_else(|_| self.revision.to_owned());
        let folder = self.cache.repo(self.repo()).pointer_path(commit.trim());
        folder.is_dir().then_some(folder)
    }

    /// Asks the hub and downloads what is missing. Offline, the files in the cache are all there is.
    pub(super) fn download(&self, progress: &mut dyn DownloadProgress) -> Result<Files, SourceError> {
        if self.settings.offline {
            return self.cached().ok_or_else(|| SourceError::Offline(self.repository.into()));
        }
        // Without a configured token, the one that the hub's own programs keep beside the cache.
        let token = self.settings.token.clone().or_else(|| self.cache.token().map(SecretString::from));
        let client = Client::new(self.settings, self.repository, self.revision, token);
        let listing = self.patiently(|| client.listing())?;
        let commit = &listing.commit;
        let mut wanted = wanted(&listing.names()).ok_or_else(|| SourceError::NoModel(self.repository.into()))?;
        if wanted.iter().any(|name| name == INDEX) {
            let index = self.file(&client, INDEX, commit, progress)?;
            wanted.retain(|name| name != INDEX);
            wanted.extend(shards(&index)?);
        }
        for name in &wanted {
            self.file(&client, name, commit, progress)?;
        }
        let cached = self.cache.repo(self.repo());
        cached.create_ref(commit).map_err(|error| disk(&self.folder().join("refs"), &error))?;
        complete(&cached.pointer_path(commit)).ok_or_else(|| SourceError::NoModel(self.repository.into()))
    }

    /// Brings one file: from the cache if it has it at this commit, else by download.
    fn file(
        &self,
        client: &Client<'_>,
        name: &str,
        commit: &str,
        progress: &mut dyn DownloadProgress,
    ) -> Result<PathBuf, SourceError> {
        let there = self.cache.repo(self.repo()).pointer_path(commit).join(name);
        if there.is_file() {
            return Ok(there);
        }
        let described = self.patiently(|| client.describe(commit, name))?;
        let silence = Duration::from_secs(self.settings.timeout_s);
        let folder = self.folder().join("blobs");
        let blob = Blob { client, commit, name, described: &described, folder, silence };
        self.patiently(|| blob.bring(progress))?;
        blob.link(&there)?;
        Ok(there)
    }

    /// Repeats `work` while its error may pass.
    fn patiently<T>(&self, mut work: impl FnMut() -> Result<T, SourceError>) -> Result<T, SourceError> {
        let mut pause = PAUSE;
        for _ in 0..self.settings.retries {
            match work() {
                Err(error) if error.may_pass() => {}
                done => return done,
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        work()
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repository.to_owned(), RepoType::Model, self.revision.to_owned())
    }

    /// The files that the cache has of the repository.
    fn folder(&self) -> PathBuf {
        self.cache.path().join(self.repo().folder_name())
    }
}

/// The index that says which shard holds which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// The files to fetch, of those at the top level of a repository.
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

/// The GGUF file that is nearest to eight bits.
fn preferred_gguf(names: &[String]) -> Option<&String> {
    let mut files: Vec<&String> =
        names.iter().filter(|name| name.ends_with(".gguf") && !name.contains(['/', '\\'])).collect();
    files.sort();
    let of = |kind: &str| files.iter().find(|name| name.to_ascii_lowercase().contains(kind)).copied();
    let best = ["q8_0", "q6_k", "q5_k_m", "q4_k_m"].iter().find_map(|kind| of(kind));
    best.or_else(|| files.first().copied())
}

/// The model in a folder of the cache, if it is complete.
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
        let some =
            names(&["m-Q4_K_M.gguf", "m-Q8_0.gguf", "deep/m-Q8_0.gguf", "deep\\m-Q8_0.gguf", "model.safetensors"]);
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
