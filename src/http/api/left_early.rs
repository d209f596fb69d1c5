//! The log line of a chat whose client leaves before a model is chosen: its handler is dropped then, and there is no
//! outcome yet that would be recorded.

use std::time::Instant;

use crate::http::middleware::caller::Caller;
use crate::protocol::{Dialect, OutcomeStatus, RequestId};

/// Writes the line when it is dropped before [`Self::over`].
#[derive(Debug)]
pub(super) struct LeftEarly {
    request_id: RequestId,
    token: Option<String>,
    dialect: Dialect,
    /// When the request arrived.
    pub(super) started: Instant,
    is_over: bool,
}

impl LeftEarly {
    /// For a request that arrives now.
    pub(super) fn new(caller: &Caller, dialect: Dialect) -> Self {
        let token = caller.token.as_ref().map(|token| token.name.clone());
        Self { request_id: caller.request_id.clone(), token, dialect, started: Instant::now(), is_over: false }
    }

    /// Another line tells of the request from now on: it is refused, or its outcome will be recorded.
    pub(super) fn over(&mut self) {
        self.is_over = true;
    }
}

impl Drop for LeftEarly {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        tracing::info!(
            request.id = %self.request_id,
            token.name = self.token.as_deref().unwrap_or("-"),
            dialect = self.dialect.as_str(),
            status = OutcomeStatus::Cancelled.as_str(),
            latency_ms = self.started.elapsed().as_secs_f64() * 1e3,
            "A chat ended before a model was chosen"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Keeps the fields of all events.
    #[derive(Default, Clone)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Visit for Heard {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.lock().push(format!("{}={value:?}", field.name()));
        }
    }

    impl Subscriber for Heard {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn who_leaves_before_the_choice_leaves_a_line_and_nobody_leaves_two() {
        let caller = Caller {
            token: None,
            session: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            request_id: RequestId("r1".into()),
        };
        for is_over in [false, true] {
            let heard = Heard::default();
            tracing::subscriber::with_default(heard.clone(), || {
                let mut early = LeftEarly::new(&caller, Dialect::Native);
                if is_over {
                    early.over();
                }
            });
            let heard = heard.0.lock().join(" ");
            let is_told = ["request.id=r1", "status=\"cancelled\"", "before a model was chosen"];
            assert_eq!(is_told.map(|part| heard.contains(part)), [!is_over; 3], "{heard}");
        }
    }
}
