//! Reads a request's body within its limits of size and time, and admits the request before.

use std::error::Error;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::codec::{self, BYTE_ORDER_MARK};
use crate::config::{self, Limits};
use crate::gateway::admission::Permit;
use crate::gateway::{Gateway, LiveConfig};
use crate::http::slots::BodyRefused;
use crate::protocol::{ApiError, Dialect, ErrorKind};
use crate::store::Token;
use crate::upstream;

/// Most bytes of a body that holds no prompt: a form, a feedback, an outcome.
pub const MAX_SMALL_BYTES: usize = 64 << 10;

/// Most memory that the values of a body may take once it is parsed. Token ids of 1,000 long texts take a quarter of
/// it, and the longest conversations a hundredth: they are long in their texts.
const MAX_PARSED_BYTES: usize = 256 << 20;

/// How often a body's bytes are in memory while it is answered: as they came, in the request that is made of them, and
/// as sent to a vendor.
const COPIES: usize = 3;

/// Admits a request that came `now` and reads its body: first a permit, to be held until the answer is complete, then
/// the rate limits, then the body, so that no request beyond its limits holds a permit while it is sent. A large body
/// takes its room as it comes, and room for what is made of it before it is parsed.
///
/// # Errors
///
/// `RateLimited`, `TooLarge` where the body holds too many values, or as [`read`].
pub async fn admit(
    gateway: &Gateway,
    live: &LiveConfig,
    token: Option<&Token>,
    body: Body,
    now: Instant,
) -> Result<(Permit, Bytes), ApiError> {
    let limits = &live.config.limits;
    let mut permit = gateway.admission.request()?;
    gateway.limiter.enter(token, limits, now)?;
    let max_bytes = config::mebibytes(limits.max_body_mb);
    let bytes = read_within(body, max_bytes, || too_large(limits), limits, |bytes| permit.grow(bytes)).await?;
    let parsed = codec::parsed_bytes(&bytes);
    if parsed > MAX_PARSED_BYTES {
        let message =
            "the body holds too many JSON values (arrays, objects, numbers): parsed, they would take more than";
        return Err(ApiError::new(ErrorKind::TooLarge, format!("{message} {} MiB", MAX_PARSED_BYTES >> 20)));
    }
    permit.grow(COPIES * bytes.len() + parsed)?;
    Ok((permit, bytes))
}

/// Reads a body with `read`; where that fails over half of a character, with U+FFFD in its place. Programs in JavaScript
/// write halves where they cut a text within an emoji, and send it again with each turn. Returns the bytes that were read.
///
/// # Errors
///
/// What `read` says.
pub fn understood<T>(bytes: Bytes, read: impl Fn(&[u8]) -> Result<T, ApiError>) -> Result<(T, Bytes), ApiError> {
    match read(&bytes) {
        Ok(value) => Ok((value, bytes)),
        Err(error) => {
            let bytes = Bytes::from(codec::whole_escapes(&bytes).ok_or(error)?);
            Ok((read(&bytes)?, bytes))
        }
    }
}

/// Memory that a streamed answer to this body takes for what it repeats of it: what is to be repeated at its end, and
/// the first two events, until the client has read them.
pub fn kept_by_its_answer(dialect: Dialect, bytes: &[u8]) -> usize {
    let repeated = codec::repeated(dialect, bytes);
    repeated.iter().map(|part| 3 * part.len() + codec::parsed_bytes(part)).sum()
}

/// Reads the whole of `body`.
///
/// # Errors
///
/// `TooLarge`, `SlowBody`, or `InvalidRequest` where the client broke off.
pub async fn read(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    read_within(body, config::mebibytes(limits.max_body_mb), || too_large(limits), limits, |_| Ok(())).await
}

/// The error for a body larger than [`read`] takes.
pub fn too_large(limits: &Limits) -> ApiError {
    larger_than(&format!("{} MiB (limits.max_body_mb)", limits.max_body_mb))
}

fn larger_than(most: &str) -> ApiError {
    ApiError::new(ErrorKind::TooLarge, format!("the body is larger than {most}"))
}

/// Reads the whole of a body of at most [`MAX_SMALL_BYTES`].
///
/// # Errors
///
/// As [`read`].
pub async fn read_small(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    let too_large = || larger_than(&format!("{} KiB", MAX_SMALL_BYTES >> 10));
    read_within(body, MAX_SMALL_BYTES, too_large, limits, |_| Ok(())).await
}

/// Reads a body of at most `max_bytes`, without the byte order mark; `grow` is told of its size before it grows.
async fn read_within(
    body: Body,
    max_bytes: usize,
    too_large: impl FnOnce() -> ApiError,
    limits: &Limits,
    grow: impl FnMut(usize) -> Result<(), ApiError>,
) -> Result<Bytes, ApiError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(limits.body_timeout_s);
    let whole = upstream::by(deadline, gather(body, max_bytes, grow)).await;
    match whole.map_err(|_| slow(limits))? {
        Ok(body) => Ok(if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body }),
        Err(Broken::TooLarge) => Err(too_large()),
        Err(Broken::Refused(why)) => Err(ApiError::new(ErrorKind::SlowBody, why)),
        Err(Broken::NoRoom(error)) => Err(error),
        Err(Broken::Cut) => Err(ApiError::invalid("the body could not be read")),
    }
}

/// Why a body could not be read whole.
#[derive(Debug, PartialEq)]
enum Broken {
    /// The body is larger than allowed.
    TooLarge,
    /// There is no room for it beside others.
    NoRoom(ApiError),
    /// It stopped coming while others waited for its connection.
    Refused(String),
    /// The client broke off.
    Cut,
}

impl From<axum::Error> for Broken {
    fn from(error: axum::Error) -> Self {
        let mut causes = std::iter::successors(Some(&error as &(dyn Error + 'static)), |&cause| cause.source());
        causes.find(|cause| cause.is::<BodyRefused>()).map_or(Self::Cut, |refused| Self::Refused(refused.to_string()))
    }
}

/// Puts a body's pieces together as they come. Collected one by one until the last is here, they would take many times
/// their size: each is a handle of its own, and a client may send one byte in each.
async fn gather(
    mut body: Body,
    max_bytes: usize,
    mut grow: impl FnMut(usize) -> Result<(), ApiError>,
) -> Result<Bytes, Broken> {
    // Most bodies come in one piece: no copy.
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Frames that are no data are trailers, which nobody reads.
        let Ok(piece) = frame?.into_data() else { continue };
        let bytes = first.len().max(gathered.len()) + piece.len();
        if bytes > max_bytes {
            return Err(Broken::TooLarge);
        }
        grow(bytes).map_err(Broken::NoRoom)?;
        if gathered.is_empty() {
            if first.is_empty() {
                first = piece;
                continue;
            }
            gathered.extend_from_slice(&std::mem::take(&mut first));
        }
        gathered.extend_from_slice(&piece);
    }
    Ok(if gathered.is_empty() { first } else { gathered.freeze() })
}

fn slow(limits: &Limits) -> ApiError {
    let message = format!("the body did not arrive within {} s (limits.body_timeout_s)", limits.body_timeout_s);
    ApiError::new(ErrorKind::SlowBody, message)
}

/// Parses a body as JSON.
///
/// # Errors
///
/// `InvalidRequest`, naming the field at fault.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would also accept an array of the fields' values.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::invalid("the body must be an object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = ApiError::invalid(in_words(&error.into_inner().to_string()));
        // A body that ends within a field has no path.
        if matches!(path.as_str(), "." | "?") { error } else { error.at(path) }
    })?;
    reader.end().map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(value)
}

/// What serde said of a value, without the names of Rust's types.
fn in_words(said: &str) -> String {
    let Some((found, wanted)) = said.rsplit_once(", expected ") else { return said.to_owned() };
    let (wanted, place) = wanted.split_at(wanted.find(" at line ").unwrap_or(wanted.len()));
    let wanted = match wanted {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number",
        "a sequence" => "a list",
        other => other,
    };
    format!("{found}, expected {wanted}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Named {
        name: String,
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only what is wrong with them matters")]
    struct Counted {
        #[serde(default)]
        share: Option<f64>,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        names: Vec<String>,
    }

    #[test]
    fn a_wrong_type_is_told_in_words() {
        let told = |body: &str| json::<Counted>(body.as_bytes()).unwrap_err().message;
        for (body, wanted) in [
            (r#"{"share":"1"}"#, r#"invalid type: string "1", expected a number at line 1 column 12"#),
            (r#"{"count":-1}"#, "invalid value: integer `-1`, expected a whole number at line 1 column 11"),
            (r#"{"names":{}}"#, "invalid type: map, expected a list at line 1 column 9"),
            (r#"{"count":true}"#, "invalid type: boolean `true`, expected a whole number at line 1 column 13"),
        ] {
            assert_eq!(told(body), wanted, "{body}");
        }
    }

    #[tokio::test]
    async fn what_holds_no_prompt_is_small() {
        let limits = Limits::default();
        assert_eq!(
            read_small(Body::from(vec![b' '; MAX_SMALL_BYTES]), &limits).await.unwrap().len(),
            MAX_SMALL_BYTES
        );
        let error = read_small(Body::from(vec![b' '; MAX_SMALL_BYTES + 1]), &limits).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::TooLarge, "the body is larger than 64 KiB"));
        assert!(read(Body::from(vec![b' '; MAX_SMALL_BYTES + 1]), &limits).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_is_put_together_of_its_pieces_and_one_piece_is_not_copied() {
        let pieces = |pieces: &[&'static [u8]]| {
            let pieces: Vec<_> =
                pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece))).collect();
            Body::from_stream(futures::stream::iter(pieces))
        };
        assert_eq!(gather(pieces(&[b"a", b"", b"bc", b"d"]), 4, |_| Ok(())).await.unwrap(), "abcd");
        assert_eq!(gather(pieces(&[b"a", b"bc", b"d"]), 3, |_| Ok(())).await, Err(Broken::TooLarge));
        assert_eq!(gather(pieces(&[b"abcd"]), 3, |_| Ok(())).await, Err(Broken::TooLarge));
        assert_eq!(gather(pieces(&[]), 0, |_| Ok(())).await.unwrap(), "");
        let sole: &'static [u8] = b"in one piece";
        assert_eq!(gather(pieces(&[sole]), 100, |_| Ok(())).await.unwrap().as_ptr(), sole.as_ptr());
        let cut = futures::stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("gone"))]);
        assert_eq!(gather(Body::from_stream(cut), 9, |_| Ok(())).await, Err(Broken::Cut));
    }

    #[tokio::test]
    async fn what_is_too_large_is_told_before_all_of_it_is_here() {
        let bytes = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b" ")));
        let error = read_small(Body::from_stream(bytes), &Limits::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_the_clients_fault() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = read(never, &Limits { body_timeout_s: 0, ..Limits::default() }).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::SlowBody);
        assert_eq!(error.message, "the body did not arrive within 0 s (limits.body_timeout_s)");
    }

    #[tokio::test]
    async fn what_came_of_a_body_while_the_process_was_stopped_is_read() {
        let pieces = futures::stream::unfold(0, |at| async move {
            if at == 1 {
                // Nothing of this process runs meanwhile, and the rest is read a moment after.
                std::thread::sleep(Duration::from_millis(500));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (at < 2).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"half")), at + 1))
        });
        let limits = Limits { body_timeout_s: 0, ..Limits::default() };
        assert_eq!(read(Body::from_stream(pieces), &limits).await.unwrap(), "halfhalf");
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_skipped() {
        let body = read(Body::from("\u{feff}{\"name\": \"\u{feff}\"}"), &Limits::default()).await.unwrap();
        assert_eq!(json::<Named>(&body).unwrap().name, "\u{feff}");
    }

    #[test]
    fn half_a_character_is_no_reason_to_refuse_a_body() {
        let read = |body: &'static str| understood(Bytes::from_static(body.as_bytes()), json::<Named>);
        let sound = r#"{"name": "\ud83d\ude00"}"#;
        let (named, bytes) = read(sound).unwrap();
        assert_eq!((named.name.as_str(), bytes.as_ptr()), ("\u{1f600}", sound.as_ptr()), "as it came");
        let (named, bytes) = read(r#"{"name": "cut: \ud83d"}"#).unwrap();
        assert_eq!((named.name.as_str(), &*bytes), ("cut: \u{fffd}", &br#"{"name": "cut: \ufffd"}"#[..]));
        assert!(read(r#"{"name": "\ud83d", 1}"#).is_err() && read("{1}").is_err());
        let latin = understood(Bytes::from_static(b"{\"name\": \"\\ud83d\xe9\"}"), json::<Named>);
        assert!(latin.is_err(), "all of its texts may be in another encoding");
    }

    #[test]
    fn what_is_wrong_is_named_where_it_has_a_name() {
        assert_eq!(json::<Named>(b" {\"name\": \"x\"}").unwrap().name, "x");
        for (wrong, param) in [("[\"x\"]", None), ("{bad", None), ("{\"name\": 1}", Some("name"))] {
            assert_eq!(json::<Named>(wrong.as_bytes()).unwrap_err().param.as_deref(), param, "{wrong}");
        }
    }
}
