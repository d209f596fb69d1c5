//! The hold after a rollback: a time in which no other version takes over.
//!
//! It is as long as it was to be, however the clock is set meanwhile: within a process it is measured by the monotonic
//! clock. On disk is when it ends by the wall clock, for the next start; this follows the clock once it was set.
//!
//! At a start the wall clock may be wrong. If it is behind, the hold lasts its full length again at most. If it is
//! ahead, the hold seems to be over, and goes on once the clock is set back.

use std::time::{Duration, Instant};

use super::live::Switches;
use crate::store::AHEAD_MS;

impl Switches {
    /// With a hold of this length that begins at `now_ms`.
    pub(super) fn held_for(self, length: Duration, now_ms: i64) -> Self {
        let hold_until_ms = Some(now_ms + length.as_millis() as i64);
        Self { hold_until_ms, hold_ends: Some(Instant::now() + length), ..self }
    }

    /// Without a hold.
    pub(super) fn released(self) -> Self {
        Self { hold_until_ms: None, hold_ends: None, ..self }
    }

    /// As they are at a start at `now_ms`, when holds are at most `longest`.
    pub(super) fn resumed(self, longest: Duration, now_ms: i64) -> Self {
        let left = self.left_by_wall(now_ms).min(longest);
        Self { hold_ends: (!left.is_zero()).then(|| Instant::now() + left), ..self }
    }

    /// Whether a hold is on.
    pub(super) fn is_held(&self) -> bool {
        self.hold_ends.is_some_and(|ends| Instant::now() < ends)
    }

    fn left_by_wall(&self, now_ms: i64) -> Duration {
        let left_ms = self.hold_until_ms.map_or(0, |until_ms| until_ms.saturating_sub(now_ms));
        Duration::from_millis(left_ms.try_into().unwrap_or(0))
    }

    /// What they have to be at `now_ms`, if it is something else: the hold's end as the clock tells it now. Before the
    /// clock `is_settled`, an end is only put off: the clock may be behind, and the next process knows better.
    pub(super) fn corrected(self, longest: Duration, now_ms: i64, is_settled: bool) -> Option<Self> {
        let until_ms = self.hold_until_ms?;
        let Some(ends) = self.hold_ends else {
            let left = self.left_by_wall(now_ms).min(longest);
            return match left.is_zero() {
                false => Some(self.held_for(left, now_ms)),
                true => is_settled.then(|| self.released()),
            };
        };
        let left = ends.saturating_duration_since(Instant::now()).min(longest);
        if left.is_zero() {
            return Some(self.released());
        }
        let right = self.held_for(left, now_ms);
        let ahead_ms = until_ms - right.hold_until_ms?;
        let is_wrong = ahead_ms < -AHEAD_MS || (is_settled && ahead_ms > AHEAD_MS);
        is_wrong.then_some(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: i64 = 3_600_000;
    const NOW_MS: i64 = 1_800_000_000_000;

    fn held() -> Switches {
        Switches::default().held_for(HOUR, NOW_MS)
    }

    /// After a restart, at `now_ms`.
    fn restarted(before: Switches, now_ms: i64) -> Switches {
        Switches { hold_ends: None, ..before }.resumed(HOUR, now_ms)
    }

    /// Whether the end on disk is about an hour after `now_ms`.
    fn ends_in_an_hour(switches: &Switches, now_ms: i64) -> bool {
        switches.hold_until_ms.is_some_and(|until_ms| (until_ms - now_ms - HOUR_MS).abs() < 10_000)
    }

    #[test]
    fn a_clock_that_is_set_moves_the_end_and_not_the_hold() {
        assert_eq!(held().corrected(HOUR, NOW_MS + 9_000, true), None);
        for (set_by, settled) in [(9000 * HOUR_MS, false), (2 * HOUR_MS, true), (-9000 * HOUR_MS, true)] {
            let now_ms = NOW_MS + set_by;
            let then = held().corrected(HOUR, now_ms, settled).unwrap();
            assert!(then.is_held() && ends_in_an_hour(&then, now_ms), "{then:?}");
            assert!(restarted(then, now_ms + HOUR_MS / 2).is_held());
            assert!(!restarted(then, now_ms + HOUR_MS).is_held());
        }
    }

    #[test]
    fn a_start_before_the_clock_is_set_leaves_the_end_for_the_next() {
        let behind_ms = NOW_MS - 9000 * HOUR_MS;
        let then = restarted(held(), behind_ms);
        assert!(then.is_held());
        assert_eq!(then.corrected(HOUR, behind_ms, false), None);
        // It was in force for ten minutes, the clock is believed, and was wrong after all.
        let believed = then.corrected(HOUR, behind_ms, true).unwrap();
        assert!(ends_in_an_hour(&believed, behind_ms), "no hold is longer than holds are");
        let set = believed.corrected(HOUR, NOW_MS, true).unwrap();
        assert!(set.is_held() && ends_in_an_hour(&set, NOW_MS), "{set:?}");
    }

    #[test]
    fn a_start_with_a_clock_that_is_ahead_ends_no_hold() {
        let then = restarted(held(), NOW_MS + 2 * HOUR_MS);
        assert!(!then.is_held());
        assert_eq!(then.corrected(HOUR, NOW_MS + 2 * HOUR_MS, false), None);
        assert!(then.corrected(HOUR, NOW_MS, false).unwrap().is_held());
        assert_eq!(then.corrected(HOUR, NOW_MS + 3 * HOUR_MS, true), Some(Switches::default()), "it is over");
    }

    #[test]
    fn what_is_over_does_not_begin_anew() {
        let over = Switches { hold_ends: Some(Instant::now()), ..held() };
        assert!(!over.is_held());
        assert_eq!(over.corrected(HOUR, NOW_MS - HOUR_MS, false), Some(Switches::default()));
        assert_eq!(
            held().corrected(Duration::ZERO, NOW_MS, false),
            Some(Switches::default()),
            "holds were switched off"
        );
    }
}
