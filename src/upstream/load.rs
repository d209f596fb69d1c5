//! How busy a deployment is: the expected wait for one more call.
//!
//! It is a moving average of latency, which fades while nothing is measured, times the calls in flight (as in Finagle's
//! "peak EWMA" balancer; but a single long answer is no peak here, since answers differ in length). So a deployment that
//! turns slow is avoided before it fails, and so is one that answers none of its callers for longer than that, whether
//! they still wait or have given up. An unmeasured one counts as fast, so that a new deployment gets its first calls.
//! Calls in flight count relative to the deployment's fair share of them: one of weight 9 beside one of weight 1 is not
//! busy because it holds nine of ten.

use std::time::{Duration, Instant};

/// The average halves in this time without an answer.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// What the newest latency counts for in the average. Played through with answers as different in length as those of
/// chats, a deployment that turns slow is left as soon as by following each peak at once, which moved five to ten in a
/// hundred calls more away from where the weights want them.
const NEWEST: f64 = 0.3;

/// What calls without an answer say halves in this many latencies without a further call, and not sooner than in
/// [`MIN_DOUBT_S`]: a deployment that is avoided for one lost call gets another one to show itself.
const DOUBT_LATENCIES: f64 = 10.0;

/// The least time in which doubt halves, in seconds.
const MIN_DOUBT_S: f64 = 2.0;

/// Latency assumed before the first measurement, in seconds.
const UNKNOWN_S: f64 = 0.001;

/// A deployment's load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// A moving average of latency, seconds.
    seconds: f64,
    /// When latency was measured last.
    at: Option<Instant>,
    /// What calls begun since the last sign of life say.
    quiet: Option<Quiet>,
}

/// Calls without a sign of life, all begun since the last one.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    /// When the first began.
    first: Instant,
    /// How many still wait, and since when some always did.
    waiting: usize,
    since: Instant,
    /// The longest time after which one was given up: an answer takes longer than that.
    in_vain: Duration,
    /// When the last one began or was given up.
    at: Instant,
}

impl Default for Load {
    fn default() -> Self {
        Self { seconds: UNKNOWN_S, at: None, quiet: None }
    }
}

impl Load {
    /// Takes in one measured latency.
    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let latency = latency.as_secs_f64();
        let newest = match self.at {
            None => 1.0,
            // Faster than the average is by now: the slow time is over, and its answers count as far as they have not
            // faded.
            Some(_) if latency < self.decayed(now) => NEWEST.max(1.0 - self.kept(now)),
            Some(_) => NEWEST,
        };
        self.seconds += newest * (latency - self.seconds);
        self.at = Some(now);
    }

    /// A call begins to wait.
    pub fn begins(&mut self, now: Instant) {
        let none = Quiet { first: now, waiting: 0, since: now, in_vain: Duration::ZERO, at: now };
        let quiet = self.quiet.get_or_insert(none);
        if quiet.waiting == 0 {
            quiet.since = now;
        }
        quiet.waiting += 1;
        quiet.at = now;
    }

    /// A call that waits got a sign of life. Calls that were begun before and still wait say nothing any more: some are
    /// long, and some are lost without any fault of the deployment.
    pub fn lives(&mut self) {
        self.quiet = None;
    }

    /// A call begun at `begun` is given up without a sign of life, most often by a client that has lost patience.
    pub fn given_up(&mut self, begun: Instant, now: Instant) {
        let Some(quiet) = self.quiet.as_mut().filter(|quiet| quiet.first <= begun) else { return };
        quiet.waiting = quiet.waiting.saturating_sub(1);
        quiet.in_vain = quiet.in_vain.max(now.saturating_duration_since(begun));
        quiet.at = now;
    }

    /// The expected wait for one more call, in seconds, while `in_flight` calls are open and `fair` of them would be
    /// this deployment's share; `least_s` is the shortest latency that is believed of it.
    pub fn wait_s(&self, in_flight: usize, fair: f64, least_s: f64, now: Instant) -> f64 {
        self.decayed(now).max(self.quiet_s(now)).max(least_s) * (in_flight as f64 + 1.0) / (fair + 1.0)
    }

    /// For how long callers have been without an answer, as far as it still counts.
    fn quiet_s(&self, now: Instant) -> f64 {
        let Some(quiet) = self.quiet else { return 0.0 };
        let waited = if quiet.waiting > 0 { now.saturating_duration_since(quiet.since) } else { Duration::ZERO };
        let half_life = (DOUBT_LATENCIES * self.seconds).max(MIN_DOUBT_S);
        let age = now.saturating_duration_since(quiet.at).as_secs_f64();
        waited.max(quiet.in_vain).as_secs_f64() * 0.5_f64.powf(age / half_life)
    }

    /// The expected latency; `None` = never measured.
    pub fn latency(&self) -> Option<Duration> {
        self.at.map(|_| Duration::from_secs_f64(self.seconds))
    }

    /// How much of the average has not faded.
    fn kept(&self, now: Instant) -> f64 {
        let age = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        0.5_f64.powf(age / HALF_LIFE.as_secs_f64())
    }

    /// The expected latency as far as it has not faded, in seconds.
    pub fn decayed(&self, now: Instant) -> f64 {
        (self.seconds * self.kept(now)).max(UNKNOWN_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_answers_count_and_fade() {
        let start = Instant::now();
        let mut load = Load::default();
        load.observe(Duration::from_millis(500), start);
        assert!((load.wait_s(0, 0.0, 0.0, start) - 0.5).abs() < 1e-9);
        assert!((load.wait_s(3, 0.0, 0.0, start) - 2.0).abs() < 1e-9);
        assert!((load.wait_s(3, 3.0, 0.0, start) - 0.5).abs() < 1e-9, "its share of calls makes it no slower");
        assert!(load.wait_s(0, 0.0, 0.0, start + HALF_LIFE) < 0.26);
        assert!((load.wait_s(0, 0.0, 0.4, start + HALF_LIFE) - 0.4).abs() < 1e-9, "less is not believed");
        load.observe(Duration::from_millis(900), start + HALF_LIFE);
        let wait = load.wait_s(0, 0.0, 0.0, start + HALF_LIFE);
        assert!((wait - 0.62).abs() < 1e-9, "one that is long is no verdict: {wait}");
    }

    #[test]
    fn who_was_slow_and_is_well_again_is_soon_believed() {
        let start = Instant::now();
        let mut load = Load::default();
        (0..20).for_each(|_| load.observe(Duration::from_secs(20), start));
        // Beside one that takes 0.2 s it is called while it seems to be no slower than twice that.
        let calls = (1..=36).map(|step| start + Duration::from_secs(5) * step).filter(|now| {
            let is_called = load.wait_s(0, 0.0, 0.0, *now) <= 0.4;
            if is_called {
                load.observe(Duration::from_millis(200), *now);
            }
            is_called
        });
        let calls = calls.count();
        assert!(calls > 15, "in three minutes: {calls}");
    }

    #[test]
    fn who_answers_nobody_is_as_slow_as_that() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let wait = |load: &Load, seconds: u64| load.wait_s(0, 0.0, 0.0, at(seconds));
        let mut load = Load::default();
        load.begins(at(0));
        load.begins(at(8));
        assert!((wait(&load, 8) - 8.0).abs() < 1e-9);
        load.lives();
        assert!(wait(&load, 20) < 0.01, "one got its answer");
        load.begins(at(20));
        load.given_up(at(0), at(20));
        let waited = wait(&load, 22);
        assert!(waited > 0.9, "the next one waits");
        assert!(waited < 2.1, "and what was begun before says nothing: {waited}");
        load.lives();
        assert!(wait(&load, 22) < 0.01);
    }

    #[test]
    fn who_was_waited_for_in_vain_is_as_slow_as_that() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let wait = |load: &Load, seconds: u64| load.wait_s(0, 0.0, 0.0, at(seconds));
        let mut load = Load::default();
        load.begins(at(0));
        load.given_up(at(0), at(30));
        assert!((wait(&load, 30) - 30.0).abs() < 1e-9, "however long the caller was patient");
        assert!(wait(&load, 50) < 0.1, "it gets a call to show itself");
        load.begins(at(600));
        assert!(wait(&load, 600) < 30.1, "nobody waited in between");
        load.lives();
        assert!(wait(&load, 600) < 0.01);
        // Answers take half a second: who leaves sooner says nothing.
        load.observe(Duration::from_millis(500), at(600));
        load.begins(at(600));
        load.given_up(at(600), at(600) + Duration::from_millis(100));
        assert!([600, 601, 603, 610].iter().all(|seconds| wait(&load, *seconds) < 0.51));
    }

    #[test]
    fn a_client_that_gives_up_loses_few_calls() {
        for patience in [Duration::from_secs(2), Duration::from_secs(20)] {
            let (mut hanging, mut well) = (Load::default(), Load::default());
            let (mut now, latency) = (Instant::now(), Duration::from_millis(100));
            let (mut lost, mut answered) = (0, 0);
            while lost + answered < 1000 {
                let begun = now;
                if well.wait_s(0, 0.0, 0.0, now) >= 0.5 * hanging.wait_s(0, 0.0, 0.0, now) {
                    hanging.begins(begun);
                    now += patience;
                    hanging.given_up(begun, now);
                    lost += 1;
                } else {
                    well.begins(begun);
                    now += latency;
                    well.lives();
                    well.observe(latency, now);
                    answered += 1;
                }
            }
            assert!(lost <= 20, "patient for {patience:?}: {lost} of 1000");
        }
    }

    #[test]
    fn one_lost_call_is_no_verdict_for_long() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut load = Load::default();
        load.observe(Duration::from_millis(200), at(0));
        load.begins(at(0));
        let is_avoided = |load: &Load, seconds: u64| load.wait_s(0, 0.0, 0.0, at(seconds)) > 0.4;
        assert!([1, 2, 5, 8].iter().all(|seconds| is_avoided(&load, *seconds)));
        assert!(!is_avoided(&load, 12), "it gets a call to show itself");
        load.begins(at(12));
        assert!(is_avoided(&load, 13) && is_avoided(&load, 20), "which hangs, too");
        assert!(!is_avoided(&load, 26));
        load.begins(at(26));
        load.lives();
        assert!((27..40).all(|seconds| !is_avoided(&load, seconds)), "which it answers");
    }
}
