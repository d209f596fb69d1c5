//! The dashboard's door: passwords, one-time links, sessions.
//!
//! **Sessions** live in memory and end with the process, after their hours, or when their owner signs out. Only the
//! SHA-256 of a cookie is kept, so that a memory dump opens nothing; at most [`MOST_SESSIONS`] exist, the oldest make
//! room. Each session has a token of its own against forged requests, which every change by cookie must carry.
//!
//! **Wrong passwords** slow their address down: after [`FREE_TRIES`] each further one doubles the wait. A guess
//! counts before it is looked at, so that who hangs up has guessed all the same. At most [`AT_ONCE`] argon2 hashes
//! are computed at a time, since each is meant to cost memory and time.
//!
//! **Without a password** there is nothing to guess: the panel opens by a link that is printed where the gateway runs, or
//! left there in a file, works once, and only from the same machine. No clock in here: `now` comes in.

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

/// Most sessions at a time.
pub const MOST_SESSIONS: usize = 64;

/// Wrong passwords an address may give before it has to wait.
pub const FREE_TRIES: u32 = 5;

/// The longest wait after a wrong password.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Hashes computed at a time.
const AT_ONCE: usize = 2;

/// Addresses whose failures are remembered.
const MOST_ADDRESSES: usize = 4096;

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub user: String,
    /// What a change by cookie must carry, so that no other page can forge one.
    pub csrf: String,
    /// When it ends.
    pub ends: Instant,
}

/// A session that just began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The cookie's value; kept nowhere here.
    pub cookie: String,
    /// The session.
    pub session: Session,
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The name or the password is wrong.
    Wrong,
    /// Too many wrong ones: to come back after this.
    Wait(Duration),
    /// There is no password: the link is the way in.
    NoPassword,
}

/// The password's hash cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("admin.password_file holds no argon2 hash (make one with `pointsman password`)")]
pub struct BadHash;

#[derive(Debug)]
enum Lock {
    /// The SHA-256 of the password: it is in this process's environment anyway, a slow hash would protect nothing.
    Digest([u8; 32]),
    /// An argon2 hash.
    Argon2(SecretString),
    /// None.
    Link,
}

/// Where wrong passwords come from: an address, or of an IPv6 address the network of /56, as one site has them all.
/// `None` is everybody for whom there is no room.
type Origin = Option<IpAddr>;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Who may sit at the dashboard.
#[derive(Debug)]
pub struct Door {
    user: String,
    lock: Lock,
    lifetime: Duration,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    failures: Mutex<HashMap<Origin, Failures>>,
    /// The outstanding one-time link's digest.
    link: Mutex<Option<[u8; 32]>>,
    hashing: Arc<Semaphore>,
}

impl Door {
    /// A door as it is configured.
    ///
    /// # Errors
    ///
    /// When the file holds no hash.
    pub fn new(settings: &Admin) -> Result<Self, BadHash> {
        let lock = match &settings.password {
            Some(Password::Plain(text)) => Lock::Digest(digest(text.expose_secret())),
            Some(Password::Hash(text)) => {
                PasswordHash::new(text.expose_secret()).map_err(|_| BadHash)?;
                Lock::Argon2(text.clone())
            }
            None => Lock::Link,
        };
        Ok(Self {
            user: settings.user.clone(),
            lock,
            lifetime: Duration::from_secs(settings.session_hours.saturating_mul(3600)),
            sessions: Mutex::default(),
            failures: Mutex::default(),
            link: Mutex::default(),
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Whether there is a password; without one the link is the way in.
    pub fn has_password(&self) -> bool {
        !matches!(self.lock, Lock::Link)
    }

    /// How long a session lasts.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Lets somebody in by name and password.
    ///
    /// # Errors
    ///
    /// See [`Denied`].
    pub async fn enter(&self, address: IpAddr, user: &str, password: &str, now: Instant) -> Result<Entered, Denied> {
        if let Some(wait) = self.wait(address, now) {
            return Err(Denied::Wait(wait));
        }
        let right = match &self.lock {
            Lock::Link => return Err(Denied::NoPassword),
            // Digests of equal length, compared as a whole: where they differ tells nothing of the password.
            Lock::Digest(known) => {
                self.failed(address, now);
                digest(password) == *known
            }
            Lock::Argon2(hash) => {
                let permit = Arc::clone(&self.hashing).try_acquire_owned();
                let permit = permit.map_err(|_| Denied::Wait(Duration::from_secs(1)))?;
                self.failed(address, now);
                let (hash, password) = (hash.clone(), SecretString::from(password.to_owned()));
                let hashing = tokio::task::spawn_blocking(move || {
                    // Until the hash is done, whoever waits for it.
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

    /// Takes back a link that could be given to nobody, so that another can be made.
    pub fn forget_link(&self, text: &str) {
        self.link.lock().take_if(|link| *link == digest(text));
    }

    /// Lets somebody in by the one-time link, which is used up by it.
    pub fn follow(&self, text: &str, now: Instant) -> Option<Entered> {
        let mut link = self.link.lock();
        if *link != Some(digest(text)) || self.has_password() {
            return None;
        }
        *link = None;
        drop(link);
        Some(self.open(now))
    }

    /// The session of a cookie, if it is one and has not ended.
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

    /// Whether a session is open still: its owner has not signed out, and its hours are not over.
    pub fn is_open(&self, session: &Session, now: Instant) -> bool {
        let sessions = self.sessions.lock();
        session.ends > now && sessions.values().any(|known| known == session)
    }

    /// Ends the session of a cookie.
    pub fn leave(&self, cookie: &str) {
        self.sessions.lock().remove(&digest(cookie));
    }

    fn open(&self, now: Instant) -> Entered {
        let cookie = secret();
        let session = Session { user: self.user.clone(), csrf: secret(), ends: now + self.lifetime };
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| session.ends > now);
        while sessions.len() >= MOST_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(key, _)| *key);
            if let Some(key) = oldest {
                sessions.remove(&key);
            }
        }
        sessions.insert(digest(&cookie), session.clone());
        Entered { cookie, session }
    }

    fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock();
        let failures = failures.get(&origin(&failures, address)).copied()?;
        let until = failures.last + pause(failures.count);
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    fn failed(&self, address: IpAddr, now: Instant) {
        let mut failures = self.failures.lock();
        if failures.len() >= MOST_ADDRESSES {
            failures.retain(|_, known| known.last + LONGEST_WAIT > now);
        }
        let origin = origin(&failures, address);
        let known = failures.entry(origin).or_insert(Failures { count: 0, last: now });
        *known = Failures { count: known.count.saturating_add(1), last: now };
    }
}

/// What an address is counted as.
fn origin(known: &HashMap<Origin, Failures>, address: IpAddr) -> Origin {
    let origin = Some(match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 72)),
        // Whoever is on this machine has sixteen million addresses.
        v4 if v4.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        v4 => v4,
    });
    if known.len() < MOST_ADDRESSES || known.contains_key(&origin) { origin } else { None }
}

/// How long to wait after so many wrong passwords.
fn pause(count: u32) -> Duration {
    match count.checked_sub(FREE_TRIES) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(20)).min(LONGEST_WAIT),
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

    fn door(password: Option<Password>) -> Door {
        Door::new(&Admin { password, ..Admin::default() }).unwrap()
    }

    fn plain() -> Door {
        door(Some(Password::Plain("open sesame".to_owned().into())))
    }

    #[tokio::test]
    async fn the_right_password_opens_and_a_wrong_one_or_name_does_not() {
        let hash = hash_password("open sesame").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        for door in [plain(), door(Some(Password::Hash(hash.into())))] {
            let now = Instant::now();
            let entered = door.enter(HERE, "admin", "open sesame", now).await.unwrap();
            assert_eq!(door.session(&entered.cookie, now).unwrap(), entered.session);
            assert_ne!(entered.cookie, entered.session.csrf);
            assert_eq!(door.enter(HERE, "admin", "open", now).await, Err(Denied::Wrong));
            assert_eq!(door.enter(HERE, "root", "open sesame", now).await, Err(Denied::Wrong));
        }
    }

    #[tokio::test]
    async fn a_session_ends_by_time_and_by_hand() {
        let (door, now) = (plain(), Instant::now());
        let entered = door.enter(HERE, "admin", "open sesame", now).await.unwrap();
        let late = now + Duration::from_secs(12 * 3600);
        assert!(door.session(&entered.cookie, late - Duration::from_secs(1)).is_some());
        assert!(door.is_open(&entered.session, now) && !door.is_open(&entered.session, late));
        assert!(door.session(&entered.cookie, late).is_none());
        let again = door.enter(HERE, "admin", "open sesame", now).await.unwrap();
        door.leave(&again.cookie);
        assert!(!door.is_open(&again.session, now));
        assert!(door.session(&again.cookie, now).is_none());
    }

    #[tokio::test]
    async fn guessing_gets_slower_for_its_address_alone() {
        let (door, mut now) = (plain(), Instant::now());
        for _ in 0..FREE_TRIES {
            assert_eq!(door.enter(HERE, "admin", "guess", now).await, Err(Denied::Wrong));
        }
        for seconds in [1, 2, 4, 8] {
            let wait = door.enter(HERE, "admin", "open sesame", now).await.unwrap_err();
            assert_eq!(wait, Denied::Wait(Duration::from_secs(seconds)), "even the right one waits");
            now += Duration::from_secs(seconds);
            assert_eq!(door.enter(HERE, "admin", "guess", now).await, Err(Denied::Wrong));
        }
        let elsewhere: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(door.enter(elsewhere, "admin", "open sesame", now).await.is_ok());
        now += LONGEST_WAIT;
        assert!(door.enter(HERE, "admin", "open sesame", now).await.is_ok());
        assert!(door.enter(HERE, "admin", "open sesame", now).await.is_ok(), "and is forgiven");
    }

    #[tokio::test]
    async fn who_hangs_up_has_guessed_all_the_same() {
        let hash = hash_password("open sesame").unwrap();
        let (door, now) = (door(Some(Password::Hash(hash.into()))), Instant::now());
        for guess in 0..=AT_ONCE {
            let heard = door.enter(HERE, "admin", "guess", now).now_or_never();
            let wait = Err(Denied::Wait(Duration::from_secs(1)));
            assert_eq!(heard, (guess == AT_ONCE).then_some(wait), "hashes that nobody waits for count");
        }
        assert_eq!(door.failures.lock()[&Some(HERE)].count, AT_ONCE as u32);
    }

    #[tokio::test]
    async fn a_network_of_one_site_is_one_and_those_without_room_are_one() {
        let (door, now) = (plain(), Instant::now());
        let wait = Err(Denied::Wait(Duration::from_secs(1)));
        for host in 0..u128::from(FREE_TRIES) {
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (host << 68)));
            assert_eq!(door.enter(address, "admin", "guess", now).await, Err(Denied::Wrong));
        }
        assert_eq!(door.enter("2001:db8::ffff".parse().unwrap(), "admin", "guess", now).await, wait);
        let v4 = |at: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(at));
        for at in 1..MOST_ADDRESSES as u32 {
            door.failed(v4(at), now);
        }
        for at in 0..FREE_TRIES {
            door.failed(v4(1 << 24 | at), now);
        }
        assert_eq!(door.enter(v4(2 << 24), "admin", "guess", now).await, wait);
        assert!(door.failures.lock().len() <= MOST_ADDRESSES + 1);
    }

    #[test]
    fn a_link_works_once_and_only_without_a_password() {
        let (door, now) = (door(None), Instant::now());
        let link = door.new_link().unwrap();
        assert_eq!(door.new_link(), None, "one at a time");
        assert!(door.follow("another", now).is_none());
        assert!(door.follow(&link, now).is_some());
        assert!(door.follow(&link, now).is_none());
        assert_ne!(door.new_link().unwrap(), link);
        assert_eq!(plain().new_link(), None);
    }

    #[test]
    fn sessions_are_bounded() {
        let (door, now) = (door(None), Instant::now());
        let first = door.open(now).cookie;
        for second in 1..=MOST_SESSIONS as u64 {
            door.open(now + Duration::from_secs(second));
        }
        assert!(door.session(&first, now).is_none());
        assert_eq!(door.sessions.lock().len(), MOST_SESSIONS);
    }

    #[test]
    fn a_file_without_a_hash_is_refused() {
        let admin = Admin { password: Some(Password::Hash("hunter2".to_owned().into())), ..Admin::default() };
        assert!(Door::new(&admin).is_err());
    }
}
