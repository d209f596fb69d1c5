//! Sign-in to the dashboard: passwords, one-time links, sessions.
//!
//! **Sessions** live in memory and end with the process, after their hours, or when their owner signs out. Only the
//! SHA-256 of a cookie is kept, so that a memory dump opens nothing; at most [`MAX_SESSIONS`] exist, the oldest make
//! room. Each session has its own CSRF token, which every change by cookie must carry.
//!
//! **Wrong passwords** slow their address down: after [`FREE_TRIES`] each further one doubles the wait. A guess
//! counts before it is checked, so a client that hangs up early has guessed all the same. At most [`MAX_HASHES`] argon2
//! hashes are computed at a time, since each is meant to cost memory and time.
//!
//! **Without a password** there is nothing to guess: the dashboard opens by a link that is printed where the gateway
//! runs, or left there in a file; it works once, and only from the same machine. No clock in here: `now` comes in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::config::{Admin, Password};

/// Most sessions at a time; a further one ends the oldest.
pub const MAX_SESSIONS: usize = 64;

/// Wrong passwords an address may give before it has to wait.
pub const FREE_TRIES: u32 = 5;

/// The longest wait after a wrong password.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Most argon2 hashes computed at a time.
const MAX_HASHES: usize = 2;

/// Most addresses whose failures are counted apart.
const MAX_ADDRESSES: usize = 4096;

/// The session of a signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub user: String,
    /// The CSRF token: a change by cookie must carry it, so that no other page can forge one.
    pub csrf: String,
    /// When it ends.
    pub ends: Instant,
}

/// A session that just began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The cookie's value; kept nowhere here.
    pub cookie: String,
    /// The session.
    pub session: Session,
}

/// Why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The name or the password is wrong.
    Wrong,
    /// Too many wrong passwords: try again after this time.
    Wait(Duration),
    /// No password is configured: only the one-time link signs in.
    NoPassword,
}

/// The password's hash cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("admin.password_file holds no argon2 hash (make one with `pointsman password`)")]
pub struct BadHash;

/// What a sign-in is checked against.
#[derive(Debug)]
enum Credential {
    /// The SHA-256 of a password that is in this process's environment anyway: a slow hash would protect nothing.
    Digest([u8; 32]),
    /// An argon2 hash.
    Argon2(SecretString),
    /// No password, only one-time links.
    Link,
}

/// Where wrong passwords come from: an IPv4 address, or the /56 network of an IPv6 address, since one site has all of
/// it. `None` stands for all addresses beyond [`MAX_ADDRESSES`].
type Origin = Option<IpAddr>;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Sign-in to the dashboard, and who is signed in.
#[derive(Debug)]
pub struct SignIn {
    user: String,
    credential: Credential,
    lifetime: Duration,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    failures: Mutex<HashMap<Origin, Failures>>,
    /// The outstanding one-time link's digest.
    link: Mutex<Option<[u8; 32]>>,
    hashing: Arc<Semaphore>,
}

impl SignIn {
    /// The sign-in that `settings` configure.
    ///
    /// # Errors
    ///
    /// When `admin.password_file` holds no argon2 hash.
    pub fn new(settings: &Admin) -> Result<Self, BadHash> {
        let credential = match &settings.password {
            Some(Password::Plain(text)) => Credential::Digest(digest(text.expose_secret())),
            Some(Password::Hash(text)) => {
                PasswordHash::new(text.expose_secret()).map_err(|_| BadHash)?;
                Credential::Argon2(text.clone())
            }
            None => Credential::Link,
        };
        Ok(Self {
            user: settings.user.clone(),
            credential,
            lifetime: Duration::from_secs(settings.session_hours.saturating_mul(3600)),
            sessions: Mutex::default(),
            failures: Mutex::default(),
            link: Mutex::default(),
            hashing: Arc::new(Semaphore::new(MAX_HASHES)),
        })
    }

    /// Whether there is a password; without one only the one-time link signs in.
    pub fn has_password(&self) -> bool {
        !matches!(self.credential, Credential::Link)
    }

    /// How long a session lasts.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs in by name and password.
    ///
    /// # Errors
    ///
    /// See [`Denied`].
    pub async fn with_password(
        &self,
        address: IpAddr,
        user: &str,
        password: &str,
        now: Instant,
    ) -> Result<SignedIn, Denied> {
        if let Some(wait) = self.wait(address, now) {
            return Err(Denied::Wait(wait));
        }
        let right = match &self.credential {
            Credential::Link => return Err(Denied::NoPassword),
            // Digests are compared, not passwords, so that the time of the comparison reveals nothing of the password.
            Credential::Digest(known) => {
                self.failed(address, now);
                digest(password) == *known
            }
            Credential::Argon2(hash) => {
                let permit = Arc::clone(&self.hashing).try_acquire_owned();
                let permit = permit.map_err(|_| Denied::Wait(Duration::from_secs(1)))?;
                self.failed(address, now);
                let (hash, password) = (hash.clone(), SecretString::from(password.to_owned()));
                let hashing = tokio::task::spawn_blocking(move || {
                    // Held until the hash is done, even if the client has hung up.
                    let _permit = permit;
                    is_right(&hash, &password)
                });
                hashing.await.unwrap_or(false)
            }
        };
        // The name is compared last, so that a wrong name takes as long as a wrong password.
        if right && digest(user) == digest(&self.user) {
            let mut failures = self.failures.lock();
            let origin = origin(&failures, address);
            failures.remove(&origin);
            drop(failures);
            return Ok(self.open(now));
        }
        Err(Denied::Wrong)
    }

    /// A fresh one-time link's secret, where there is no password and none is outstanding.
    pub fn new_link(&self) -> Option<String> {
        let mut link = self.link.lock();
        if self.has_password() || link.is_some() {
            return None;
        }
        let text = secret();
        *link = Some(digest(&text));
        Some(text)
    }

    /// Withdraws a link that reached nobody, so that another can be made.
    pub fn forget_link(&self, text: &str) {
        self.link.lock().take_if(|link| *link == digest(text));
    }

    /// Signs in by the one-time link, which is used up by it.
    pub fn with_link(&self, text: &str, now: Instant) -> Option<SignedIn> {
        let mut link = self.link.lock();
        if *link != Some(digest(text)) || self.has_password() {
            return None;
        }
        *link = None;
        drop(link);
        Some(self.open(now))
    }

    /// The open session of a cookie.
    pub fn session(&self, cookie: &str, now: Instant) -> Option<Session> {
        let mut sessions = self.sessions.lock();
        let key = digest(cookie);
        let session = sessions.get(&key)?;
        if session.ends <= now {
            sessions.remove(&key);
            return None;
        }
        Some(session.clone())
    }

    /// Whether a session is still open: not signed out, not expired, not pushed out by newer ones.
    pub fn is_open(&self, session: &Session, now: Instant) -> bool {
        let sessions = self.sessions.lock();
        session.ends > now && sessions.values().any(|known| known == session)
    }

    /// Ends the session of a cookie.
    pub fn sign_out(&self, cookie: &str) {
        self.sessions.lock().remove(&digest(cookie));
    }

    fn open(&self, now: Instant) -> SignedIn {
        let cookie = secret();
        let session = Session { user: self.user.clone(), csrf: secret(), ends: now + self.lifetime };
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| session.ends > now);
        while sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(key, _)| *key);
            if let Some(key) = oldest {
                sessions.remove(&key);
            }
        }
        sessions.insert(digest(&cookie), session.clone());
        SignedIn { cookie, session }
    }

    fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock();
        let failures = failures.get(&origin(&failures, address)).copied()?;
        let until = failures.last + pause(failures.count);
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    fn failed(&self, address: IpAddr, now: Instant) {
        let mut failures = self.failures.lock();
        if failures.len() >= MAX_ADDRESSES {
            failures.retain(|_, known| known.last + MAX_WAIT > now);
        }
        let origin = origin(&failures, address);
        let known = failures.entry(origin).or_insert(Failures { count: 0, last: now });
        *known = Failures { count: known.count.saturating_add(1), last: now };
    }
}

/// The origin that the failures of an address are counted under.
fn origin(known: &HashMap<Origin, Failures>, address: IpAddr) -> Origin {
    let origin = Some(match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 72)),
        // 127.0.0.0/8: a local client could use any of sixteen million addresses.
        v4 if v4.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        v4 => v4,
    });
    if known.len() < MAX_ADDRESSES || known.contains_key(&origin) { origin } else { None }
}

/// The wait after `count` wrong passwords.
fn pause(count: u32) -> Duration {
    match count.checked_sub(FREE_TRIES) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(20)).min(MAX_WAIT),
    }
}

fn is_right(hash: &SecretString, password: &SecretString) -> bool {
    let Ok(hash) = PasswordHash::new(hash.expose_secret()) else { return false };
    Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
}

/// An argon2id hash of a password, as `admin.password_file` holds it.
///
/// # Errors
///
/// When the machine gives no randomness, or the password is longer than argon2 takes.
pub fn hash_password(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: argon2::password_hash::phc::PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// 256 random bits in hexadecimal.
fn secret() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn sign_in(password: Option<Password>) -> SignIn {
        SignIn::new(&Admin { password, ..Admin::default() }).unwrap()
    }

    fn plain() -> SignIn {
        sign_in(Some(Password::Plain("open sesame".to_owned().into())))
    }

    #[tokio::test]
    async fn the_right_password_opens_and_a_wrong_one_or_name_does_not() {
        let hash = hash_password("open sesame").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        for sign_in in [plain(), sign_in(Some(Password::Hash(hash.into())))] {
            let now = Instant::now();
            let signed_in = sign_in.with_password(HERE, "admin", "open sesame", now).await.unwrap();
            assert_eq!(sign_in.session(&signed_in.cookie, now).unwrap(), signed_in.session);
            assert_ne!(signed_in.cookie, signed_in.session.csrf);
            assert_eq!(sign_in.with_password(HERE, "admin", "open", now).await, Err(Denied::Wrong));
            assert_eq!(sign_in.with_password(HERE, "root", "open sesame", now).await, Err(Denied::Wrong));
        }
    }

    #[tokio::test]
    async fn a_session_ends_by_time_and_by_hand() {
        let (sign_in, now) = (plain(), Instant::now());
        let signed_in = sign_in.with_password(HERE, "admin", "open sesame", now).await.unwrap();
        let late = now + Duration::from_secs(12 * 3600);
        assert!(sign_in.session(&signed_in.cookie, late - Duration::from_secs(1)).is_some());
        assert!(sign_in.is_open(&signed_in.session, now) && !sign_in.is_open(&signed_in.session, late));
        assert!(sign_in.session(&signed_in.cookie, late).is_none());
        let again = sign_in.with_password(HERE, "admin", "open sesame", now).await.unwrap();
        sign_in.sign_out(&again.cookie);
        assert!(!sign_in.is_open(&again.session, now));
        assert!(sign_in.session(&again.cookie, now).is_none());
    }

    #[tokio::test]
    async fn guessing_gets_slower_for_its_address_alone() {
        let (sign_in, mut now) = (plain(), Instant::now());
        for _ in 0..FREE_TRIES {
            assert_eq!(sign_in.with_password(HERE, "admin", "guess", now).await, Err(Denied::Wrong));
        }
        for seconds in [1, 2, 4, 8] {
            let wait = sign_in.with_password(HERE, "admin", "open sesame", now).await.unwrap_err();
            assert_eq!(wait, Denied::Wait(Duration::from_secs(seconds)), "even the right one waits");
            now += Duration::from_secs(seconds);
            assert_eq!(sign_in.with_password(HERE, "admin", "guess", now).await, Err(Denied::Wrong));
        }
        let elsewhere: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(sign_in.with_password(elsewhere, "admin", "open sesame", now).await.is_ok());
        now += MAX_WAIT;
        assert!(sign_in.with_password(HERE, "admin", "open sesame", now).await.is_ok());
        assert!(sign_in.with_password(HERE, "admin", "open sesame", now).await.is_ok(), "and is forgiven");
    }

    #[tokio::test]
    async fn who_hangs_up_has_guessed_all_the_same() {
        let hash = hash_password("open sesame").unwrap();
        let (sign_in, now) = (sign_in(Some(Password::Hash(hash.into()))), Instant::now());
        for guess in 0..=MAX_HASHES {
            let heard = sign_in.with_password(HERE, "admin", "guess", now).now_or_never();
            let wait = Err(Denied::Wait(Duration::from_secs(1)));
            assert_eq!(heard, (guess == MAX_HASHES).then_some(wait), "hashes that nobody waits for count");
        }
        assert_eq!(sign_in.failures.lock()[&Some(HERE)].count, MAX_HASHES as u32);
    }

    #[tokio::test]
    async fn a_network_of_one_site_is_one_and_those_without_room_are_one() {
        let (sign_in, now) = (plain(), Instant::now());
        let wait = Err(Denied::Wait(Duration::from_secs(1)));
        for host in 0..u128::from(FREE_TRIES) {
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (host << 68)));
            assert_eq!(sign_in.with_password(address, "admin", "guess", now).await, Err(Denied::Wrong));
        }
        assert_eq!(sign_in.with_password("2001:db8::ffff".parse().unwrap(), "admin", "guess", now).await, wait);
        let v4 = |at: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(at));
        for at in 1..MAX_ADDRESSES as u32 {
            sign_in.failed(v4(at), now);
        }
        for at in 0..FREE_TRIES {
            sign_in.failed(v4(1 << 24 | at), now);
        }
        assert_eq!(sign_in.with_password(v4(2 << 24), "admin", "guess", now).await, wait);
        assert!(sign_in.failures.lock().len() <= MAX_ADDRESSES + 1);
    }

    #[test]
    fn a_link_works_once_and_only_without_a_password() {
        let (sign_in, now) = (sign_in(None), Instant::now());
        let link = sign_in.new_link().unwrap();
        assert_eq!(sign_in.new_link(), None, "one at a time");
        assert!(sign_in.with_link("another", now).is_none());
        assert!(sign_in.with_link(&link, now).is_some());
        assert!(sign_in.with_link(&link, now).is_none());
        assert_ne!(sign_in.new_link().unwrap(), link);
        assert_eq!(plain().new_link(), None);
    }

    #[test]
    fn sessions_are_bounded() {
        let (sign_in, now) = (sign_in(None), Instant::now());
        let first = sign_in.open(now).cookie;
        for second in 1..=MAX_SESSIONS as u64 {
            sign_in.open(now + Duration::from_secs(second));
        }
        assert!(sign_in.session(&first, now).is_none());
        assert_eq!(sign_in.sessions.lock().len(), MAX_SESSIONS);
    }

    #[test]
    fn a_file_without_a_hash_is_refused() {
        let admin = Admin { password: Some(Password::Hash("hunter2".to_owned().into())), ..Admin::default() };
        assert!(SignIn::new(&admin).is_err());
    }
}
