//! Endless streams of server-sent events for the dashboard: what is there already, then every new item.
//!
//! A stream ends when the gateway drains, and when the watcher's session ends or its token is revoked. A watcher that
//! is too slow is told how many events it missed (`event: missed`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::gateway::Gateway;
use crate::http::middleware::caller::{Caller, may_stay};

/// How often a silent stream sends an `alive` event. Proxies give up on a stream that is silent for long, and the page
/// takes a silence for a lost connection; a comment would do for proxies alone, since browsers hide it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The answer of such an endpoint: events, and a header that makes a reverse proxy pass on each as it comes.
pub type Events =
    ([(&'static str, &'static str); 1], Sse<KeepAliveStream<BoxStream<'static, Result<Event, Infallible>>>>);

/// Streams `first`, then all items of `live` that pass.
pub fn events<F, T>(
    gateway: &Arc<Gateway>,
    caller: Caller,
    first: Vec<F>,
    live: Receiver<Arc<T>>,
    passes: impl Fn(&T) -> bool + Send + 'static,
) -> Events
where
    F: Serialize,
    T: Serialize + Send + Sync + 'static,
{
    let first: Vec<_> = first.iter().map(|item| Ok(event(item))).collect();
    let ends = caller.session.as_ref().map(|session| session.ends);
    let watcher = (Arc::clone(gateway), caller);
    let later = stream::unfold((live, passes, watcher), |(mut live, passes, watcher)| async move {
        loop {
            let heard = live.recv().await;
            if !may_stay(&watcher.1, &watcher.0) {
                return None;
            }
            match heard {
                Ok(item) if passes(&item) => return Some((Ok(event(&*item)), (live, passes, watcher))),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    let told = Event::default().event("missed").data(missed.to_string());
                    return Some((Ok(told), (live, passes, watcher)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let draining = gateway.draining();
    let end = async move {
        let over = async {
            match ends {
                Some(ends) => tokio::time::sleep_until(ends.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = draining => {}
            () = over => {}
        }
    };
    // An event is sent at once, so that the browser knows that it is connected.
    let hello = stream::once(async { Ok(Event::default().event("ready").data("{}")) });
    let all = stream::iter(first).chain(hello).chain(later).take_until(end);
    ([("x-accel-buffering", "no")], Sse::new(all.boxed()).keep_alive(keep_alive(KEEP_ALIVE)))
}

fn keep_alive(every: Duration) -> KeepAlive {
    KeepAlive::new().interval(every).event(Event::default().event("alive").data("{}"))
}

fn event(item: &impl Serialize) -> Event {
    Event::default().data(serde_json::to_string(item).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_silent_stream_sends_an_event_that_the_page_can_hear() {
        let silent = stream::pending::<Result<Event, Infallible>>();
        let mut body = Sse::new(silent)
            .keep_alive(keep_alive(Duration::from_millis(1)))
            .into_response()
            .into_body()
            .into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "event: alive\ndata: {}\n\n");
    }
}
