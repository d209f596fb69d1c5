//! Names of models, and the hub's client against a stand-in that answers as the hub does, and misbehaves on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::*;
use crate::classifier::{Classifier, open};

#[test]
fn a_name_is_builtin_a_path_or_a_repository() {
    let source = |name: &str| name.parse::<Source>();
    let hub =
        |repository: &str, revision: &str| Source::Hub { repository: repository.into(), revision: revision.into() };
    assert_eq!(source("builtin").unwrap(), Source::Builtin);
    assert_eq!(source("./m.gguf").unwrap(), Source::Path("./m.gguf".into()));
    assert_eq!(source("hf:meta-llama/Llama-3.2-1B").unwrap(), hub("meta-llama/Llama-3.2-1B", "main"));
    assert_eq!(source("hf:a/b@refs/pr/1").unwrap(), hub("a/b", "refs/pr/1"));
    for wrong in ["", "hf:", "hf:a", "hf:a/b/c", "hf:a/..", "hf:../b", "hf:a/b@", "hf:a/b@../x", "hf:a b/c"] {
        assert!(matches!(source(wrong), Err(SourceError::Name(_))), "{wrong}");
    }
}

#[test]
fn the_builtin_model_is_what_the_manifest_says() {
    let manifest = Manifest::builtin().unwrap();
    let entry = manifest.of("builtin/encoder.gguf").unwrap();
    assert_eq!(entry.bytes, ENCODER.len() as u64);
    assert_eq!(entry.sha256, hex(&Sha256::digest(ENCODER)));
    let total: u64 = manifest.artifacts.iter().map(|artifact| artifact.bytes).sum();
    assert!(total <= 40_000_000, "{total} bytes in all");
}

/// How the stand-in behaves.
#[derive(Debug, Default)]
struct Mood {
    /// Statuses given to the next requests instead of an answer.
    refuse: Vec<u16>,
    /// The next so many bodies longer than a kilobyte end in the middle.
    cut: usize,
    /// Wants this token.
    token: Option<String>,
    /// Says a wrong hash.
    lie: bool,
    /// Says this instead of a hash.
    etag: Option<&'static str>,
    /// Never answers.
    silent: bool,
    /// The next so many bodies longer than a kilobyte stop in the middle, and the connection stays.
    stall: usize,
    /// Where bodies longer than a kilobyte are: the hub leads there.
    storage: Option<String>,
    /// What `main` is now; `c0ffee` where empty.
    commit: &'static str,
    /// Pause before each quarter of a body longer than a kilobyte.
    slow: Duration,
    /// Says where bodies begin, and gives them whole.
    no_ranges: bool,
    /// Requests so far: path, range and authorization.
    seen: Vec<(String, String, String)>,
}

/// A stand-in for the hub.
struct Hub {
    address: String,
    mood: Arc<Mutex<Mood>>,
    cache: tempfile::TempDir,
}

impl Hub {
    fn with(files: HashMap<String, Vec<u8>>, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mood = Arc::new(Mutex::new(mood));
        let (told, files) = (Arc::clone(&mood), Arc::new(files));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, files) = (Arc::clone(&told), Arc::clone(&files));
                std::thread::spawn(move || answer(stream, &files, &mood));
            }
        });
        Self { address, mood, cache: tempfile::tempdir().unwrap() }
    }

    /// The tiny Llama of the parity fixtures, in two shards.
    fn tiny(mood: Mood) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/tiny");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        });
        Self::with(files.chain([("README.md".to_owned(), b"tiny".to_vec())]).collect(), mood)
    }

    fn settings(&self) -> config::Hub {
        config::Hub {
            endpoint: self.address.clone(),
            cache_dir: Some(self.cache.path().to_owned()),
            retries: 0,
            timeout_s: 20,
            ..config::Hub::default()
        }
    }

    fn fetch(&self, settings: &config::Hub) -> Result<Files, SourceError> {
        "hf:owner/tiny".parse::<Source>().unwrap().fetch(settings, &mut ())
    }

    fn seen(&self) -> Vec<(String, String, String)> {
        self.mood.lock().unwrap().seen.clone()
    }
}

fn answer(mut stream: TcpStream, files: &HashMap<String, Vec<u8>>, mood: &Mutex<Mood>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let header = |name: &str| {
            let line = lines.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
            line.map(|line| line.split_once(':').unwrap().1.trim().to_owned()).unwrap_or_default()
        };
        let (range, authorization) = (header("range"), header("authorization"));
        let mut mood = mood.lock().unwrap();
        mood.seen.push((path.clone(), range.clone(), authorization.clone()));
        if mood.silent {
            drop(mood);
            let _ = reader.read(&mut [0; 1]);
            return;
        }
        if mood.token.as_ref().is_some_and(|token| authorization != format!("Bearer {token}")) {
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
            continue;
        }
        if !mood.refuse.is_empty() {
            let status = mood.refuse.remove(0);
            let _ = stream.write_all(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").as_bytes());
            continue;
        }
        let commit = if mood.commit.is_empty() { "c0ffee" } else { mood.commit };
        if path == "/api/models/owner/tiny/revision/main" {
            let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
            let body = serde_json::json!({ "siblings": siblings, "sha": commit }).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
            continue;
        }
        let name = path.strip_prefix(&format!("/owner/tiny/resolve/{commit}/"));
        let Some((name, body)) = name.and_then(|name| Some((name, files.get(name)?))) else {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
            continue;
        };
        let hash = hex(&Sha256::digest(if mood.lie { b"something else" } else { body.as_slice() }));
        let hash = mood.etag.map_or(hash, str::to_owned);
        if let Some(storage) = mood.storage.as_ref().filter(|_| body.len() > 1024) {
            let head = format!(
                "HTTP/1.1 302 Found\r\nx-repo-commit: {commit}\r\nx-linked-etag: \"{hash}\"\r\nx-linked-size: {}\r\n\
                 location: {storage}/owner/tiny/resolve/c0ffee/{name}\r\ncontent-length: 0\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            continue;
        }
        let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let from: usize = if mood.no_ranges { 0 } else { from.parse().unwrap() };
        let to = to.parse::<usize>().ok().filter(|_| !mood.no_ranges).map_or(body.len(), |to| to + 1);
        let part = match mood.no_ranges {
            true => "HTTP/1.1 200 OK\r\n".to_owned(),
            false => {
                let last = to.max(1) - 1;
                format!("HTTP/1.1 206 Partial\r\ncontent-range: bytes {from}-{last}/{}\r\n", body.len())
            }
        };
        let head =
            format!("{part}x-repo-commit: {commit}\r\netag: \"{hash}\"\r\ncontent-length: {}\r\n\r\n", to - from,);
        let _ = stream.write_all(head.as_bytes());
        let long = to - from > 1024;
        if long && (mood.cut > 0 || mood.stall > 0) {
            let _ = stream.write_all(&body[from..from + (to - from) / 2]);
            if mood.stall > 0 {
                mood.stall -= 1;
                drop(mood);
                let _ = reader.read(&mut [0; 1]);
                return;
            }
            mood.cut -= 1;
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
        let pause = mood.slow;
        drop(mood);
        for quarter in body[from..to].chunks((to - from).div_ceil(4).max(1)) {
            if long {
                std::thread::sleep(pause);
            }
            let _ = stream.write_all(quarter);
        }
    }
}

#[derive(Default)]
struct Heard {
    files: Vec<String>,
    bytes: u64,
}

impl DownloadProgress for Heard {
    fn begin(&mut self, file: &str, _: u64) {
        if self.files.last().is_none_or(|last| last != file) {
            self.files.push(file.to_owned());
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

#[test]
fn a_sharded_model_comes_down_opens_and_is_not_fetched_twice() {
    let hub = Hub::tiny(Mood::default());
    let source: Source = "hf:owner/tiny".parse().unwrap();
    let mut heard = Heard::default();
    let files = source.fetch(&hub.settings(), &mut heard).unwrap();
    assert_eq!(heard.files.len(), 5, "{:?}: not the README", heard.files);
    assert!(heard.bytes > 190_000, "{}", heard.bytes);
    let (weights, tokenizer) = open(&files).unwrap();
    assert_eq!((weights.hyper().layers, tokenizer.vocabulary()), (2, 259));
    let asked = hub.seen().len();
    let offline = config::Hub { offline: true, ..hub.settings() };
    assert_eq!(source.fetch(&offline, &mut ()).unwrap(), files);
    assert_eq!(hub.seen().len(), asked, "what is in the cache needs no hub");
    assert_eq!(source.pull(&hub.settings(), &mut ()).unwrap(), files);
    assert_eq!(hub.seen().len(), asked + 1, "a pull asks what there is, and fetches nothing twice");
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let hub = Hub::tiny(Mood { cut: 2, ..Mood::default() });
    let files = hub.fetch(&config::Hub { retries: 3, ..hub.settings() }).unwrap();
    assert!(open(&files).is_ok());
    let resumed = hub.seen().into_iter().filter(|(_, range, _)| range.ends_with('-') && range != "bytes=0-").count();
    assert_eq!(resumed, 2, "{:?}", hub.seen());
}

#[test]
fn a_cut_download_is_continued_by_a_later_start() {
    let hub = Hub::tiny(Mood { cut: 1, ..Mood::default() });
    assert!(matches!(hub.fetch(&hub.settings()), Err(SourceError::Cut(_))));
    assert!(hub.fetch(&config::Hub { offline: true, ..hub.settings() }).is_err(), "half a model is none");
    assert!(open(&hub.fetch(&hub.settings()).unwrap()).is_ok());
    assert!(hub.seen().iter().any(|(_, range, _)| range.ends_with('-') && range != "bytes=0-"));
}

#[test]
fn refusals_say_what_to_do() {
    let told = |mood: Mood, token: Option<&str>| {
        let hub = Hub::tiny(mood);
        let token = token.map(|token| SecretString::from(token.to_owned()));
        hub.fetch(&config::Hub { token, ..hub.settings() }).unwrap_err().to_string()
    };
    let token = || Mood { token: Some("secret".into()), ..Mood::default() };
    assert!(told(token(), None).contains("put one into HF_TOKEN"));
    let refused = told(token(), Some("wrong-token"));
    assert!(refused.contains("not accepted") && !refused.contains("wrong-token"), "{refused}");
    assert!(told(Mood { refuse: vec![403], ..Mood::default() }, None).contains("accept its licence"));
    assert!(told(Mood { refuse: vec![404], ..Mood::default() }, None).contains("no owner/tiny at revision main"));
    assert!(told(Mood { refuse: vec![429], ..Mood::default() }, None).contains("too often"));
}

#[test]
fn a_token_goes_with_every_request() {
    let hub = Hub::tiny(Mood { token: Some("secret".into()), ..Mood::default() });
    let token = Some(SecretString::from("secret".to_owned()));
    assert!(hub.fetch(&config::Hub { token, ..hub.settings() }).is_ok());
}

#[test]
fn a_token_does_not_go_to_where_the_hub_leads() {
    let storage = Hub::tiny(Mood::default());
    let hub =
        Hub::tiny(Mood { token: Some("secret".into()), storage: Some(storage.address.clone()), ..Mood::default() });
    let token = Some(SecretString::from("secret".to_owned()));
    assert!(open(&hub.fetch(&config::Hub { token, ..hub.settings() }).unwrap()).is_ok());
    assert!(storage.seen().len() > 2, "{:?}", storage.seen());
    assert!(storage.seen().iter().all(|(_, _, authorization)| authorization.is_empty()), "{:?}", storage.seen());
}

#[test]
fn a_failed_pull_leaves_the_model_that_was_there() {
    let hub = Hub::tiny(Mood::default());
    let offline = config::Hub { offline: true, ..hub.settings() };
    let pull = || "hf:owner/tiny".parse::<Source>().unwrap().pull(&hub.settings(), &mut ());
    let before = pull().unwrap();
    *hub.mood.lock().unwrap() = Mood { commit: "ba5e", lie: true, ..Mood::default() };
    assert!(matches!(pull(), Err(SourceError::Corrupt { .. })));
    assert_eq!(hub.fetch(&offline).unwrap(), before);
    *hub.mood.lock().unwrap() = Mood { commit: "ba5e", ..Mood::default() };
    let after = pull().unwrap();
    assert_eq!(hub.fetch(&offline).unwrap(), after);
    assert_ne!(after, before);
    let again = hub.seen().iter().filter(|(_, range, _)| range.ends_with('-')).count();
    assert_eq!(again, 0, "the same bytes under another commit are not fetched again: {:?}", hub.seen());
}

#[test]
fn two_who_start_with_one_cold_cache_share_one_download() {
    let hub = Hub::tiny(Mood { slow: Duration::from_millis(600), ..Mood::default() });
    // Shorter than a file takes: what counts is that it grows.
    let settings = config::Hub { timeout_s: 2, ..hub.settings() };
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| hub.fetch(&settings)));
        for one in both {
            assert!(open(&one.join().unwrap().unwrap()).is_ok());
        }
    });
    let mut bodies: Vec<_> = hub.seen().into_iter().filter(|(_, range, _)| range.ends_with('-')).collect();
    let fetched = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), fetched, "{bodies:?}");
}

#[test]
fn after_a_silence_a_download_goes_on() {
    let hub = Hub::tiny(Mood { stall: 2, ..Mood::default() });
    let settings = config::Hub { timeout_s: 1, retries: 3, ..hub.settings() };
    assert!(open(&hub.fetch(&settings).unwrap()).is_ok());
    assert!(hub.seen().iter().any(|(_, range, _)| range.ends_with('-') && range != "bytes=0-"));
}

#[test]
fn a_hub_without_ranges_gives_the_file_from_its_beginning() {
    let hub = Hub::tiny(Mood { no_ranges: true, cut: 2, ..Mood::default() });
    assert!(open(&hub.fetch(&config::Hub { retries: 1, ..hub.settings() }).unwrap()).is_ok());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let hub = Hub::tiny(Mood::default());
    let file = hub.cache.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let told = hub.fetch(&config::Hub { cache_dir: Some(file), retries: 3, ..hub.settings() }).unwrap_err();
    assert!(told.to_string().contains("a-file") && told.to_string().contains("cache_dir"), "{told}");
    assert!(!told.may_pass());
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let hub = Hub::tiny(Mood { refuse: vec![429, 503], ..Mood::default() });
    assert!(hub.fetch(&config::Hub { retries: 2, ..hub.settings() }).is_ok());
    let hub = Hub::tiny(Mood { refuse: vec![403, 403], ..Mood::default() });
    assert!(hub.fetch(&config::Hub { retries: 2, ..hub.settings() }).is_err());
    assert_eq!(hub.seen().len(), 1, "a gate does not open by knocking");
}

#[test]
fn a_damaged_file_is_refused_and_leaves_the_cache() {
    let hub = Hub::tiny(Mood { lie: true, ..Mood::default() });
    assert!(matches!(hub.fetch(&hub.settings()), Err(SourceError::Corrupt { .. })));
    hub.mood.lock().unwrap().lie = false;
    assert!(open(&hub.fetch(&hub.settings()).unwrap()).is_ok());
}

#[tokio::test]
async fn a_gateway_that_starts_before_its_hub_gets_its_model_later() {
    let hub = Hub::tiny(Mood { refuse: vec![503, 429], ..Mood::default() });
    let settings = config::Classifier {
        model: "hf:owner/tiny".into(),
        threads: 1,
        hub: config::Hub { retries: 1, ..hub.settings() },
        ..config::Classifier::default()
    };
    let classifier = Classifier::start(&settings, &std::collections::BTreeMap::new());
    let mut reasons = Vec::new();
    for _ in 0..3_000 {
        let status = classifier.status();
        if status.state != "loading" {
            break;
        }
        reasons.extend(status.reason);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(classifier.status().state, "ready", "{:?}", classifier.status().reason);
    assert!(reasons.iter().any(|reason| reason.contains("429")), "{reasons:?}");
}

#[test]
fn silence_ends() {
    let hub = Hub::tiny(Mood { silent: true, ..Mood::default() });
    let told = hub.fetch(&config::Hub { timeout_s: 1, ..hub.settings() });
    assert!(matches!(told, Err(SourceError::Silent(1))), "{told:?}");
}

#[test]
fn a_hub_names_no_place_outside_the_cache() {
    let hub = Hub::tiny(Mood { commit: "../../../evil", ..Mood::default() });
    assert!(matches!(hub.fetch(&hub.settings()), Err(SourceError::Odd(_))));
    let hub = Hub::tiny(Mood { etag: Some("../../../evil-of-a-hub"), ..Mood::default() });
    let _ = hub.fetch(&hub.settings());
    assert!(hub.cache.path().join("models--owner--tiny/blobs/---------evil-of-a-hub").exists());
    assert!(!hub.cache.path().parent().unwrap().join("evil-of-a-hub").exists());
}

#[test]
fn offline_never_goes_out() {
    let hub = Hub::tiny(Mood::default());
    let told = hub.fetch(&config::Hub { offline: true, ..hub.settings() });
    assert!(matches!(told, Err(SourceError::Offline(_))));
    assert!(hub.seen().is_empty());
    let fetched = hub.fetch(&hub.settings()).unwrap();
    let asked = hub.seen().len();
    let offline = config::Hub { offline: true, ..hub.settings() };
    let source: Source = "hf:owner/tiny".parse().unwrap();
    assert_eq!(source.pull(&offline, &mut ()).unwrap(), fetched, "what is in the cache needs nobody");
    assert_eq!(hub.seen().len(), asked);
}
