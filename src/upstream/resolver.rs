//! Looks up the addresses of servers' names.
//!
//! The system's resolver blocks, for many seconds where a name's servers do not answer, and a lookup cannot be given
//! up. So each is made on a thread of its own, one of a name at a time: who asks for the same name meanwhile waits for
//! it, too. There are no more of these threads than names, and a name that cannot be looked up holds up nothing but its
//! own calls.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::Shared;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// What came of a lookup, for all who wait for it.
type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;

type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The resolver of all connection pools.
#[derive(Clone)]
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    under_way: Arc<Mutex<HashMap<String, Shared<oneshot::Receiver<Found>>>>>,
}

impl Resolver {
    /// The system's resolver.
    pub fn of_the_system() -> Self {
        // Whoever connects sets the port.
        Self::by(|name| (name, 0).to_socket_addrs().map(Iterator::collect))
    }

    fn by(lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), under_way: Arc::default() }
    }

    /// The lookup of this name that is under way, or a new one.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    fn ask(&self, name: &str) -> io::Result<Shared<oneshot::Receiver<Found>>> {
        let mut under_way = self.under_way.lock();
        if let Some(asked) = under_way.get(name) {
            return Ok(asked.clone());
        }
        let (tell, told) = oneshot::channel();
        let (lookup, all, asked) = (Arc::clone(&self.lookup), Arc::clone(&self.under_way), name.to_owned());
        let look = move || {
            let found = lookup(&asked).map_err(Arc::new);
            all.lock().remove(&asked);
            let _nobody_waits = tell.send(found);
        };
        std::thread::Builder::new().name("resolver".into()).spawn(look)?;
        let told = told.shared();
        under_way.insert(name.to_owned(), told.clone());
        Ok(told)
    }

    async fn find(self, name: String) -> io::Result<Vec<SocketAddr>> {
        match self.ask(&name)?.await {
            Ok(found) => found.map_err(|error| same(&error)),
            Err(_) => Err(io::Error::other("the lookup panicked")),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.clone().find(name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(found.await?.into_iter()) as Addrs) })
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_name_that_is_not_found_in_time_holds_up_no_other() {
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
        let resolver = Resolver::by({
            let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
            move |name| {
                if name == "slow.test" {
                    asked.fetch_add(1, Ordering::Relaxed);
                    drop(gate.lock());
                    return Err(io::Error::from_raw_os_error(libc::ENETUNREACH));
                }
                Ok(vec![SocketAddr::from(([127, 0, 0, 9], 0))])
            }
        });
        let closed = gate.lock();
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(resolver.clone().find("slow.test".to_owned()))).collect();
        for asking in &mut waiting {
            assert!(asking.as_mut().now_or_never().is_none());
        }
        for _ in 0..3 {
            let found = resolver.clone().find("good.test".to_owned()).await.unwrap();
            assert_eq!(found, [SocketAddr::from(([127, 0, 0, 9], 0))]);
        }
        drop(closed);
        for asking in waiting {
            assert_eq!(asking.await.unwrap_err().raw_os_error(), Some(libc::ENETUNREACH));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "all wait for the same lookup");
        let _ = resolver.clone().find("slow.test".to_owned()).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "what is over is not kept");
        let here = Resolver::of_the_system().find("localhost".to_owned()).await.unwrap();
        assert!(here.iter().all(|address| address.ip().is_loopback()) && !here.is_empty());
    }
}
