//! Whether prompts are read in time. A gateway that routes without readings looks healthy otherwise.

use std::collections::VecDeque;

/// Last prompts that the share is over.
const LATELY: usize = 256;

/// Fewest prompts for a share.
const ENOUGH: usize = 50;

/// Share in time below which reading counts as behind.
const BEHIND: f64 = 0.5;

/// Share in time from which reading has caught up.
const CAUGHT_UP: f64 = 0.8;

/// The last prompts, and whether each was read in time.
#[derive(Debug, Default)]
pub(super) struct Timely {
    lately: VecDeque<bool>,
    in_time: usize,
    is_behind: bool,
}

/// A change that is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Turn {
    /// Most prompts are no longer read in time.
    FellBehind { share: f64 },
    /// Prompts are read in time again.
    CaughtUp { share: f64 },
}

impl Timely {
    /// Adds a prompt; returns a change, if this prompt makes one.
    pub(super) fn note(&mut self, in_time: bool) -> Option<Turn> {
        self.lately.push_back(in_time);
        self.in_time += usize::from(in_time);
        if self.lately.len() > LATELY {
            self.in_time -= usize::from(self.lately.pop_front() == Some(true));
        }
        let share = self.share()?;
        let is_behind = if self.is_behind { share < CAUGHT_UP } else { share < BEHIND };
        let turned = std::mem::replace(&mut self.is_behind, is_behind) != is_behind;
        let turn = if is_behind { Turn::FellBehind { share } } else { Turn::CaughtUp { share } };
        turned.then_some(turn)
    }

    /// The share that was read in time; `None` where there were too few.
    pub(super) fn share(&self) -> Option<f64> {
        (self.lately.len() >= ENOUGH).then(|| self.in_time as f64 / self.lately.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_that_most_are_late_and_once_that_they_are_not_any_more() {
        let mut timely = Timely::default();
        let mut told = |count: usize, in_time: fn(usize) -> bool| -> Vec<Turn> {
            (0..count).filter_map(|number| timely.note(in_time(number))).collect()
        };
        assert_eq!(told(20, |_| false), [], "too few to say");
        assert_eq!(told(200, |_| true), []);
        assert!(matches!(told(300, |number| number % 3 == 0)[..], [Turn::FellBehind { share }] if share < 0.5));
        assert_eq!(told(300, |number| number % 3 > 0), [], "two thirds are not enough to be told");
        assert!(matches!(told(300, |_| true)[..], [Turn::CaughtUp { share }] if share >= 0.8));
        assert_eq!(timely.share(), Some(1.0), "of the last ones alone");
    }
}
