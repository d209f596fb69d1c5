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
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::telemetry::{heard, tail};

    #[test]
    fn who_leaves_before_the_choice_leaves_a_line_and_nobody_leaves_two() {
        for is_over in [false, true] {
            let id = format!("left-early-{is_over}");
            let caller = Caller {
                token: None,
                session: None,
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                request_id: RequestId(id.as_str().into()),
            };
            heard(|| {
                let mut early = LeftEarly::new(&caller, Dialect::Native);
                if is_over {
                    early.over();
                }
            });
            let lines = tail().recent(None, &id, 2);
            assert_eq!(lines.len(), usize::from(!is_over));
            for line in lines {
                assert!(line.message().contains("before a model was chosen"));
                assert!(line.fields().any(|field| field == ("status", "cancelled")));
            }
        }
    }
}
