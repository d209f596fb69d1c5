//! Tells of a decision log that hangs: whoever works with it waits, and cannot tell.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Logs once for each time that the log hangs, until `stop`. It works with nothing of the log, so it goes on.
pub(super) async fn tell_of_hangs(store: Store, stop: CancellationToken) {
    let mut is_told = false;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        is_told = look(&store, is_told);
    }
}

/// Whether the log hangs, told where that is new.
fn look(store: &Store, is_told: bool) -> bool {
    let hangs = store.hangs();
    match hangs {
        Some(why) if !is_told => tracing::error!(
            why,
            "The decision log hangs, as it may once others have filled its disk to the brim; answers go on, but records are lost and no feedback is taken: make room on the disk and restart the gateway"
        ),
        None if is_told => tracing::info!("The decision log hangs no more: its disk was slow"),
        _ => {}
    }
    hangs.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::hung;
    use crate::telemetry::{heard, tail};

    #[test]
    fn a_hang_is_told_once_and_so_is_its_end() {
        let store = Store::in_memory().unwrap();
        let told = |level| tail().recent(Some(level), "the decision log hangs", 10).len();
        let mut is_told = false;
        let mut look_twice = || heard(|| (0..2).for_each(|_| is_told = look(&store, is_told)));
        look_twice();
        assert_eq!(told("info"), 0);
        let flush = hung(&store);
        look_twice();
        assert_eq!((told("error"), told("info")), (1, 1));
        drop(flush);
        look_twice();
        assert_eq!((told("error"), told("info")), (1, 2));
    }
}
