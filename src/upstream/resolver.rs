//! Looks up the addresses of servers' names.
//!
//! The system's resolver blocks its thread for as long as a name's servers do not answer, and cannot be stopped. So each
//! lookup has a thread of its own, one of a name at a time: whoever asks for that name meanwhile waits for the same
//! one. There are never more of these threads than names, and a name that nobody answers for holds up its own calls
//! alone.
//!
//! The addresses found last are kept: while a lookup takes long or fails (the resolver is down, there is no thread for
//! it) they are used, for up to an hour. Otherwise each new connection looks anew. That there is no such name any more
//! is no failure but an answer: its addresses may be others' by now, who must not be sent a key and a prompt.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::Shared;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a lookup is waited for where there are addresses to go on with; half the time to connect, if that is less.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long addresses are kept. A server that has moved may leave its address to another.
const KEEP: Duration = Duration::from_secs(3600);

type Addresses = Arc<[SocketAddr]>;

/// What came of a lookup, for all who wait for it.
type Found = Result<Addresses, Arc<io::Error>>;

type LookUp = dyn Fn(&str) -> io::Result<Addresses> + Send + Sync;

/// What is known of a name.
#[derive(Default)]
struct Known {
    under_way: Option<Shared<oneshot::Receiver<Found>>>,
    last: Option<(Addresses, Instant)>,
}

/// The resolver of all connection pools.
#[derive(Clone)]
pub(super) struct Resolver {
    look_up: Arc<LookUp>,
    patience: Duration,
    names: Arc<Mutex<HashMap<String, Known>>>,
}

impl Resolver {
    /// The system's resolver, for connections that may take `to_connect`.
    pub fn of_the_system(to_connect: Duration) -> Self {
        // Whoever connects sets the port.
        Self::by(to_connect, |name| (name, 0).to_socket_addrs().map(Iterator::collect))
    }

    fn by(to_connect: Duration, look_up: impl Fn(&str) -> io::Result<Addresses> + Send + Sync + 'static) -> Self {
        Self { look_up: Arc::new(look_up), patience: PATIENCE.min(to_connect / 2), names: Arc::default() }
    }

    /// The lookup of this name that is under way, or else a new one; and the addresses found last.
    fn ask(&self, name: &str) -> (io::Result<Shared<oneshot::Receiver<Found>>>, Option<Addresses>) {
        let mut names = self.names.lock();
        let known = names.entry(name.to_owned()).or_default();
        known.last.take_if(|(_, found)| found.elapsed() > KEEP);
        let last = known.last.as_ref().map(|(addresses, _)| Arc::clone(addresses));
        if let Some(under_way) = &known.under_way {
            return (Ok(under_way.clone()), last);
        }
        let (tell, told) = oneshot::channel();
        let (this, asked) = (self.clone(), name.to_owned());
        let look = move || {
            let found = (this.look_up)(&asked).map_err(Arc::new);
            let mut names = this.names.lock();
            let known = names.entry(asked).or_default();
            known.under_way = None;
            match &found {
                Ok(addresses) => known.last = Some((Arc::clone(addresses), Instant::now())),
                Err(error) if is_gone(error) => known.last = None,
                Err(_) => {}
            }
            drop(names);
            let _nobody_waits = tell.send(found);
        };
        let started = std::thread::Builder::new().name("resolver".to_owned()).spawn(look);
        let told = started.map(|_| known.under_way.insert(told.shared()).clone());
        (told, last)
    }

    async fn find(self, name: String) -> io::Result<Addresses> {
        let (asked, last) = self.ask(&name);
        let found = async { asked?.await.map_err(io::Error::other)?.map_err(|error| same(&error)) };
        match last {
            None => found.await,
            Some(last) => match timeout(self.patience, found).await {
                Ok(Err(error)) if !is_gone(&error) => Ok(last),
                Ok(found) => found,
                Err(_) => Ok(last),
            },
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.clone().find(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = found.await?;
            Ok(Box::new((0..addresses.len()).map(move |at| addresses[at])) as Addrs)
        })
    }
}

/// Whether there is no such name, or it has no address. The standard library keeps nothing but the system's words.
fn is_gone(error: &io::Error) -> bool {
    let said = error.to_string();
    [libc::EAI_NONAME, libc::EAI_NODATA].into_iter().any(|code| {
        // SAFETY: it is a string for each number, and stays.
        let words = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
        words.to_str().is_ok_and(|words| said.ends_with(words))
    })
}

/// The error once more, for another who waited.
fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// How lookups of `slow.test` go, and how many there were.
    #[derive(Default)]
    struct World {
        hangs: AtomicBool,
        fails: AtomicBool,
        is_gone: AtomicBool,
        lookups: AtomicUsize,
    }

    /// Knows all names; `slow.test` is subject to the world.
    fn resolver(world: &Arc<World>) -> Resolver {
        let world = Arc::clone(world);
        Resolver::by(Duration::from_millis(20), move |name| {
            if name == "slow.test" {
                world.lookups.fetch_add(1, Ordering::SeqCst);
                while world.hangs.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if world.is_gone.load(Ordering::SeqCst) {
                    // As the system says it of a name that it need not ask anybody about.
                    return ("fe80::1%no-such-link", 0).to_socket_addrs().map(Iterator::collect);
                }
                if world.fails.load(Ordering::SeqCst) {
                    return Err(io::Error::from_raw_os_error(libc::ENETUNREACH));
                }
            }
            Ok([SocketAddr::from(([127, 0, 0, 9], 0))].into())
        })
    }

    async fn find(resolver: &Resolver, name: &str) -> io::Result<Addresses> {
        resolver.clone().find(name.to_owned()).await
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_in_time_holds_up_no_other() {
        let world = Arc::new(World::default());
        let resolver = resolver(&world);
        world.fails.store(true, Ordering::SeqCst);
        world.hangs.store(true, Ordering::SeqCst);
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(find(&resolver, "slow.test"))).collect();
        for asking in &mut waiting {
            assert!(asking.as_mut().now_or_never().is_none());
        }
        assert_eq!(find(&resolver, "good.test").await.unwrap()[0].ip().to_string(), "127.0.0.9");
        world.hangs.store(false, Ordering::SeqCst);
        for asking in waiting {
            assert_eq!(asking.await.unwrap_err().raw_os_error(), Some(libc::ENETUNREACH));
        }
        assert_eq!(world.lookups.load(Ordering::SeqCst), 1, "all wait for the same lookup");
        assert!(find(&resolver, "slow.test").await.is_err());
        assert_eq!(world.lookups.load(Ordering::SeqCst), 2, "what is over is not kept");
    }

    #[tokio::test]
    async fn what_was_found_last_carries_over_an_outage() {
        let world = Arc::new(World::default());
        let resolver = resolver(&world);
        let found = find(&resolver, "slow.test").await.unwrap();
        world.fails.store(true, Ordering::SeqCst);
        assert_eq!(find(&resolver, "slow.test").await.unwrap(), found);
        world.hangs.store(true, Ordering::SeqCst);
        assert_eq!(find(&resolver, "slow.test").await.unwrap(), found, "it does not wait for the lookup's end");
        world.hangs.store(false, Ordering::SeqCst);
        let long_ago = Instant::now().checked_sub(KEEP + Duration::from_secs(1)).unwrap();
        resolver.names.lock().get_mut("slow.test").unwrap().last = Some((found, long_ago));
        assert!(find(&resolver, "slow.test").await.is_err(), "not for ever");
    }

    #[tokio::test]
    async fn a_name_that_is_gone_is_called_no_more() {
        let world = Arc::new(World::default());
        let resolver = resolver(&world);
        let found = find(&resolver, "slow.test").await.unwrap();
        world.is_gone.store(true, Ordering::SeqCst);
        let told = find(&resolver, "slow.test").await.unwrap_err();
        assert!(is_gone(&told), "{told}");
        world.is_gone.store(false, Ordering::SeqCst);
        world.fails.store(true, Ordering::SeqCst);
        assert!(find(&resolver, "slow.test").await.is_err(), "an outage does not bring it back");
        world.fails.store(false, Ordering::SeqCst);
        assert_eq!(find(&resolver, "slow.test").await.unwrap(), found);
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let here = find(&Resolver::of_the_system(PATIENCE), "localhost").await.unwrap();
        assert!(here.iter().all(|address| address.ip().is_loopback()) && !here.is_empty());
    }
}
