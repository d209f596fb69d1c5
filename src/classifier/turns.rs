//! Whose turn it is: which of the prompts that wait are read next, and how much is read of each.
//!
//! Where not all of them would be in time, less is read of each: half of what is usually read of a long prompt, a
//! quarter or an eighth, still its beginning and its end. Who would be late even so is turned away at once, so that
//! the others are not. Half a reading is worth nearly a whole one: on val of the six sources the builtin head has a
//! log-loss of .512 with 256 tokens, .522 with 128, .523 with 64 and .526 with 32, and each model's mean, which is
//! what is left without a reading, has .576.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::cache::Key;
use super::pace::Pace;
use super::prompt::Prompt;
use super::reading::{Missed, Reading};
use super::tokenizer::Tokens;

/// Most tokens of a batch. One long prompt fills it.
const BATCH_TOKENS: usize = 256;

/// How often the limit is halved at most.
const HALVINGS: u32 = 3;

/// Fewest tokens that it is halved to.
const LEAST: usize = 32;

/// A prompt to be read.
pub(super) struct Job {
    pub(super) prompt: Prompt,
    pub(super) key: Key,
    pub(super) asked: Instant,
    /// The deadline of its request.
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<Arc<Reading>, Missed>>,
}

/// A prompt that waits.
pub(super) struct Waiting {
    pub(super) job: Job,
    /// What is read of it.
    pub(super) tokens: Tokens,
    /// Whether that is less than usual.
    pub(super) shortened: bool,
}

/// What becomes of those that wait.
#[derive(Default)]
pub(super) struct Turn {
    /// Those that are read now, together.
    pub(super) batch: Vec<Waiting>,
    /// Most tokens that are read of each.
    pub(super) limit: usize,
    /// Those that would be late.
    pub(super) late: Vec<Job>,
    /// How many have left.
    pub(super) gone: usize,
}

/// Takes from `waiting`, in order, those that are read next, those that would be late, and those that have left.
/// `usual` is the most that is read of a prompt where there is time.
pub(super) fn next(waiting: &mut VecDeque<Waiting>, pace: &mut Pace, usual: usize, now: Instant) -> Turn {
    let mut turn = Turn::default();
    let shortest = (usual >> HALVINGS).max(LEAST.min(usual));
    let mut ahead = 0;
    for one in std::mem::take(waiting) {
        if one.job.answer.is_closed() {
            turn.gone += 1;
            continue;
        }
        let until_read = ahead + one.length(shortest);
        // A prompt that delays no other may test whether the expectation still holds.
        let may_try = waiting.is_empty() && one.job.until > now;
        if pace.fits(until_read, one.left(now)) || may_try && pace.forget_stale(now) {
            ahead = until_read;
            waiting.push_back(one);
        } else {
            turn.late.push(one.job);
        }
    }
    let all_in_time = |limit: &usize| {
        let mut ahead = 0;
        waiting.iter().all(|one| {
            ahead += one.length(*limit);
            pace.fits(ahead, one.left(now))
        })
    };
    let mut limits = (0..HALVINGS).map(|halvings| (usual >> halvings).max(shortest));
    turn.limit = limits.find(all_in_time).unwrap_or(shortest);
    let mut together = 0;
    while let Some(one) = waiting.pop_front() {
        let more = together + one.length(turn.limit);
        let in_time = turn.batch.iter().chain([&one]).all(|one| pace.fits(more, one.left(now)));
        if !turn.batch.is_empty() && (more > BATCH_TOKENS || !in_time) {
            waiting.push_front(one);
            break;
        }
        together = more;
        turn.batch.push(one);
    }
    turn
}

impl Waiting {
    /// Tokens read of it where a prompt is read up to `limit`.
    fn length(&self, limit: usize) -> usize {
        self.tokens.ids.len().min(limit)
    }

    /// The time that is left to read it.
    fn left(&self, now: Instant) -> Duration {
        self.job.until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(100);

    /// Prompts of these lengths that came just now, and ears for their answers.
    fn arrived(lengths: &[usize], now: Instant) -> (VecDeque<Waiting>, Vec<impl Sized>) {
        let wait = |length: &usize| {
            let (answer, answered) = oneshot::channel();
            let job = Job { prompt: Prompt::default(), key: [0; 32], asked: now, until: now + BUDGET, answer };
            let tokens = Tokens { ids: vec![1; *length], truncated: false };
            (Waiting { job, tokens, shortened: false }, answered)
        };
        lengths.iter().map(wait).unzip()
    }

    /// A pace of so many microseconds a token.
    fn pace(micros: u64, now: Instant) -> Pace {
        let mut pace = Pace::default();
        (0..20).for_each(|_| pace.observe(100, Duration::from_micros(100 * micros), now));
        pace
    }

    /// Limit, prompts in the batch, late ones and those that still wait.
    fn outcome(lengths: &[usize], micros: u64) -> (usize, usize, usize, usize) {
        let now = Instant::now();
        let (mut waiting, _ears) = arrived(lengths, now);
        let turn = next(&mut waiting, &mut pace(micros, now), 256, now);
        (turn.limit, turn.batch.len(), turn.late.len(), waiting.len())
    }

    #[test]
    fn less_is_read_of_each_until_all_are_in_time() {
        assert_eq!(outcome(&[256], 100), (256, 1, 0, 0), "32 ms with the margin");
        assert_eq!(outcome(&[256; 3], 100), (256, 1, 0, 2));
        assert_eq!(outcome(&[256; 4], 100), (128, 2, 0, 2), "128 ms for all of them whole");
        assert_eq!(outcome(&[256; 8], 100), (64, 4, 0, 4));
        assert_eq!(outcome(&[256; 16], 100), (32, 8, 0, 8));
        assert_eq!(outcome(&[20; 16], 100), (256, 12, 0, 4), "short prompts stand in nobody's way");
        assert_eq!(outcome(&[256], 400), (128, 1, 0, 0), "nor does a slow machine leave a lone one unread");
    }

    #[test]
    fn who_would_be_late_even_so_is_turned_away_and_the_others_are_in_time() {
        assert_eq!(outcome(&[256; 16], 450), (32, 5, 11, 0), "18 ms each");
        let (_, read, late, waiting) = outcome(&[256; 2], 5_000);
        assert_eq!((read, late, waiting), (0, 2, 0));
        let now = Instant::now();
        let (mut waiting, _ears) = arrived(&[256, 256], now);
        waiting[0].job.until = now;
        let turn = next(&mut waiting, &mut pace(100, now), 256, now);
        assert_eq!((turn.limit, turn.batch.len(), turn.late.len()), (256, 1, 1), "who is late delays nobody");
    }

    #[test]
    fn who_has_left_takes_nobodys_time() {
        let now = Instant::now();
        let (mut waiting, mut ears) = arrived(&[256; 4], now);
        drop(ears.remove(1));
        let turn = next(&mut waiting, &mut pace(100, now), 256, now);
        assert_eq!((turn.limit, turn.batch.len(), turn.gone, waiting.len()), (256, 1, 1, 2));
    }

    #[test]
    fn a_limit_is_never_halved_to_next_to_nothing() {
        let now = Instant::now();
        for (usual, least) in [(2048, 256), (128, 32), (20, 20)] {
            let (mut waiting, _ears) = arrived(&[2048], now);
            // All but too slow for anything.
            let turn = next(&mut waiting, &mut pace(80_000 / least as u64 - 1, now), usual, now);
            assert_eq!((turn.limit, turn.batch.len()), (least, 1));
        }
    }
}
