//! A client of a hub over HTTP: the files of a repository, and their bytes from any offset.
//!
//! - **The access token goes to the hub alone.** Large files are on a storage host, to which the hub redirects with a
//!   signed address; any host that is not the hub itself (scheme, host and port) is asked without the token.
//! - **No wait is endless.** Connecting, the start of an answer and each further piece have `timeout_s`; a file may
//!   take as long as it keeps growing.
//!
//! Storing bytes and trying again are up to the caller.

use std::io::Read;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::SourceError;
use crate::config;

/// Most redirects that are followed.
const HOPS: usize = 10;

/// Longest description of a repository, bytes.
const LONGEST_LISTING: u64 = 64 << 20;

/// A client for one repository at one revision.
#[derive(Debug)]
pub(super) struct Client<'a> {
    settings: &'a config::Hub,
    repository: &'a str,
    revision: &'a str,
    token: Option<SecretString>,
    agent: Agent,
}

/// What a repository has.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    /// The commit that the revision points to now.
    #[serde(rename = "sha")]
    pub(super) commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    /// Paths of its files.
    pub(super) fn names(&self) -> Vec<String> {
        self.siblings.iter().map(|file| file.rfilename.clone()).collect()
    }
}

/// A file, as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// Its length.
    pub(super) bytes: u64,
    /// Its name in the cache: the SHA-256 of a large file, git's hash of a small one. Checked to be a plain file name.
    pub(super) etag: String,
}

impl<'a> Client<'a> {
    /// `token` is sent to the hub at `settings.endpoint`, whatever `settings.token` says.
    pub(super) fn new(
        settings: &'a config::Hub,
        repository: &'a str,
        revision: &'a str,
        token: Option<SecretString>,
    ) -> Self {
        let silence = Some(Duration::from_secs(settings.timeout_s));
        let agent = Agent::config_builder()
            .user_agent(concat!("pointsman/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed here, as they may lead away from the hub.
            .max_redirects(0)
            .timeout_resolve(silence)
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            .timeout_per_write(silence)
            .build();
        Self { settings, repository, revision, token, agent: agent.into() }
    }

    /// Lists the repository at the revision.
    pub(super) fn listing(&self) -> Result<Listing, SourceError> {
        let revision = escaped(self.revision);
        let address = format!("{}/api/models/{}/revision/{revision}", self.endpoint(), self.repository);
        let answer = self.ask(&address, None, |_, _| false)?;
        let text = answer.into_body().into_with_config().limit(LONGEST_LISTING).read_to_string();
        let text = text.map_err(|error| self.told(error))?;
        let listing: Listing = serde_json::from_str(&text).map_err(|error| odd(format!("{address}: {error}")))?;
        // It becomes a folder's name.
        match listing.commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !listing.commit.is_empty() {
            true => Ok(listing),
            false => Err(odd(format!("{address}: `{}` is no commit", listing.commit))),
        }
    }

    /// A file's length and hash.
    pub(super) fn describe(&self, commit: &str, name: &str) -> Result<Described, SourceError> {
        let (mut etag, mut linked, mut bytes) = (None, None, None);
        let answer = self.ask(&self.address(commit, name), Some(0..=0), |headers, by_the_hub| {
            if by_the_hub {
                etag = text(headers, "etag").map(str::to_owned).or(etag.take());
                linked = text(headers, "x-linked-etag").map(str::to_owned).or(linked.take());
                bytes = text(headers, "x-linked-size").and_then(|size| size.parse().ok()).or(bytes);
            }
            // The hub's answer is enough; the storage host need not be asked.
            linked.is_some() && bytes.is_some()
        })?;
        let whole = text(answer.headers(), "content-range").and_then(|range| range.rsplit('/').next());
        let whole = whole.and_then(|size| size.parse().ok());
        let plain = || answer.body().content_length().filter(|_| answer.status() == StatusCode::OK);
        let bytes = bytes.or(whole).or_else(plain);
        let bytes = bytes.ok_or_else(|| odd(format!("it does not say how long {name} is")))?;
        let etag = linked.or(etag).map(|etag| plain_name(&etag)).filter(|etag| !etag.is_empty());
        Ok(Described { bytes, etag: etag.ok_or_else(|| odd(format!("it names no hash of {name}")))? })
    }

    /// The bytes of a file from `from` on, or from its beginning where the server has no ranges; the returned offset
    /// says which.
    pub(super) fn bytes(&self, commit: &str, name: &str, from: u64) -> Result<(u64, impl Read), SourceError> {
        let answer = self.ask(&self.address(commit, name), Some(from..=u64::MAX), |_, _| false)?;
        let begins = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = text(answer.headers(), "content-range").and_then(|it| it.strip_prefix("bytes "));
                let begins = range.and_then(|it| it.split('-').next()?.trim().parse().ok());
                begins
                    .filter(|begins| *begins == from)
                    .ok_or_else(|| odd(format!("other bytes of {name} than asked")))?
            }
            _ => 0,
        };
        Ok((begins, answer.into_body().into_reader()))
    }

    /// The error that a reader of [`Client::bytes`] ended with.
    pub(super) fn cut(&self, error: std::io::Error) -> SourceError {
        self.told(error.into())
    }

    /// Requests an address and follows redirects, up to the first answer that is none or that `enough` accepts (by its
    /// headers, and whether it is the hub's).
    fn ask(
        &self,
        address: &str,
        range: Option<std::ops::RangeInclusive<u64>>,
        mut enough: impl FnMut(&HeaderMap, bool) -> bool,
    ) -> Result<Response<Body>, SourceError> {
        let hub = place(self.endpoint())?;
        let mut address = place(address)?;
        let mut by_the_hub = true;
        for _ in 0..HOPS {
            by_the_hub &= (address.scheme(), address.authority()) == (hub.scheme(), hub.authority());
            // Without compression, so that the length is the file's.
            let mut request = self.agent.get(address.clone()).header(header::ACCEPT_ENCODING, "identity");
            if let Some(range) = &range {
                let end = Some(range.end()).filter(|end| **end != u64::MAX).map(u64::to_string);
                let wanted = format!("bytes={}-{}", range.start(), end.unwrap_or_default());
                request = request.header(header::RANGE, wanted);
            }
            if let (Some(token), true) = (&self.token, by_the_hub) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
            }
            let answer = request.call().map_err(|error| match error {
                // Not the hub's answer about the token: a signed address may have expired.
                ureq::Error::StatusCode(status) if !by_the_hub => {
                    let host = address.host().unwrap_or_default();
                    SourceError::Cut(format!("{host}, where the hub keeps it, answers with status {status}"))
                }
                error => self.told(error),
            })?;
            if enough(answer.headers(), by_the_hub) || !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to = text(answer.headers(), "location").ok_or_else(|| odd("it leads nowhere".into()))?;
            address = beside(&address, to)?;
        }
        Err(odd(format!("it leads on more than {HOPS} times")))
    }

    fn endpoint(&self) -> &str {
        self.settings.endpoint.trim_end_matches('/')
    }

    fn address(&self, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.endpoint(), self.repository, escaped(name))
    }

    /// The error for a refusal, in the operator's terms.
    fn told(&self, error: ureq::Error) -> SourceError {
        let repository = self.repository.to_owned();
        match error {
            ureq::Error::StatusCode(401) if self.token.is_none() => {
                SourceError::TokenWanted { repository, variable: self.settings.token_env.clone() }
            }
            ureq::Error::StatusCode(401) => SourceError::TokenRefused { repository },
            ureq::Error::StatusCode(403) => {
                SourceError::Gated { page: format!("{}/{repository}", self.endpoint()), repository }
            }
            ureq::Error::StatusCode(404) => SourceError::NotFound { repository, revision: self.revision.to_owned() },
            ureq::Error::StatusCode(429) => SourceError::TooOften,
            ureq::Error::StatusCode(status) => SourceError::Status(status),
            ureq::Error::Timeout(_) => SourceError::Silent(self.settings.timeout_s),
            other => SourceError::Cut(other.to_string()),
        }
    }
}

fn odd(what: String) -> SourceError {
    SourceError::Odd(what)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn place(address: &str) -> Result<Uri, SourceError> {
    address.parse().map_err(|_| odd(format!("`{address}` is no address")))
}

/// The address of a redirect from `address`: `location` may be relative.
fn beside(address: &Uri, location: &str) -> Result<Uri, SourceError> {
    let to = place(location)?;
    if to.scheme().is_some() {
        return Ok(to);
    }
    let mut parts = address.clone().into_parts();
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).map_err(|_| odd(format!("`{location}` is no address")))
}

/// An etag without its quotes, if it is a safe file name.
fn plain_name(etag: &str) -> String {
    let bare = etag.trim_start_matches("W/").chars().filter(|letter| *letter != '"');
    bare.map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' }).collect()
}

/// One segment of a path.
fn escaped(segment: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let letter = |byte: u8| if legal(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    segment.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_so_that_they_stay_in_their_place() {
        assert_eq!(escaped("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(escaped("a model.Q8_0.gguf"), "a%20model.Q8_0.gguf");
        assert_eq!(plain_name("W/\"65a-1f\""), "65a-1f");
        assert_eq!(plain_name("\"../../x.y\""), "------x-y");
    }

    #[test]
    fn a_location_may_be_a_path_of_the_same_place() {
        let from = place("http://hub:80/a/resolve/x").unwrap();
        assert_eq!(beside(&from, "/b/resolve/x?y=1").unwrap(), "http://hub:80/b/resolve/x?y=1");
        assert_eq!(beside(&from, "https://cdn/x").unwrap(), "https://cdn/x");
    }
}
