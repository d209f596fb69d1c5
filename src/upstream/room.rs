//! Room for large answers.
//!
//! Each answer has a limit of its own (`dispatch.max_answer_mb`), and yet many at once could take all of a machine's
//! memory. So whole answers larger than [`SMALL_BYTES`], which hardly any is, share a room of
//! `dispatch.large_answers_mb`. Such an answer takes as much of it at once as it may grow to: if each took more while
//! it grows, all could wait for each other. What it did not need it gives back at its end, the rest when its bytes are
//! dropped. An answer that is translated is dropped once it is read. One that stops coming would keep others waiting
//! for as long as it may take, so it has [`LONGEST_PAUSE`] to go on.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Answers up to this size need no room.
pub(super) const SMALL_BYTES: usize = 1 << 20;

/// Longest time between two pieces of an answer that has a place. It is being sent, so its model thinks no more.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The room, and what is left of it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free_mebibytes: Arc<Semaphore>,
    mebibytes: u32,
    /// Longest time between two pieces of an answer that has a place here.
    pub(super) longest_pause: Duration,
}

/// A part of the room.
#[derive(Debug)]
pub(super) struct Place(OwnedSemaphorePermit);

impl Room {
    pub(super) fn new(mebibytes: u64) -> Self {
        let mebibytes = u32::try_from(mebibytes).unwrap_or(u32::MAX);
        let free_mebibytes = Arc::new(Semaphore::new(mebibytes as usize));
        Self { free_mebibytes, mebibytes, longest_pause: LONGEST_PAUSE }
    }

    /// Waits until there is room for this many bytes, all of it at most: what is larger than the room has it for
    /// itself. `None` = the deadline has passed.
    pub(super) async fn take(&self, bytes: usize, deadline: Instant) -> Option<Place> {
        let free = Arc::clone(&self.free_mebibytes);
        let place = free.acquire_many_owned(in_mebibytes(bytes).min(self.mebibytes));
        // It is never closed.
        timeout_at(deadline, place).await.ok()?.ok().map(Place)
    }
}

impl Place {
    /// The whole answer, which holds the part of this place that it needs.
    pub(super) fn hold(mut self, whole: BytesMut) -> Bytes {
        let needed = in_mebibytes(whole.len()) as usize;
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
        Bytes::from_owner(Held { whole, _place: self })
    }
}

fn in_mebibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// An answer's bytes in their place.
struct Held {
    whole: BytesMut,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn large_answers_wait_for_room_until_others_are_dropped() {
        let room = Room::new(64);
        let soon = || Instant::now() + Duration::from_millis(20);
        let growing = room.take(60 * MIB, soon()).await.unwrap();
        assert!(room.take(5 * MIB, soon()).await.is_none(), "it may still grow to that size");
        let whole = growing.hold(BytesMut::zeroed(3 * MIB + 1));
        assert_eq!((whole.len(), room.free_mebibytes.available_permits()), (3 * MIB + 1, 60));
        let part = whole.slice(..1);
        drop(whole);
        assert!(room.take(61 * MIB, soon()).await.is_none(), "a part of it is in use");
        drop(part);
        let larger = room.take(1000 * MIB, soon()).await.unwrap();
        assert_eq!(room.free_mebibytes.available_permits(), 0, "it has all of the room");
        drop(larger.hold(BytesMut::zeroed(100 * MIB)));
        assert_eq!(room.free_mebibytes.available_permits(), 64);
    }
}
