//! Whether prompts are read in time: a gateway that routes without having read looks as healthy as any.

use std::collections::VecDeque;

/// Prompts that the share is of.
const LATELY: usize = 256;

/// Fewer say nothing.
const ENOUGH: usize = 50;

/// Share in time below which reading is behind...
const BEHIND: f64 = 0.5;

/// ...and from which on it has caught up.
const CAUGHT_UP: f64 = 0.8;

/// How many of the last prompts were read in time.
#[derive(Debug, Default)]
pub(super) struct Timely {
    lately: VecDeque<bool>,
    in_time: usize,
    is_behind: bool,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Turn {
    /// Most are not read in time any more.
    FellBehind { share: f64 },
    /// They are again.
    CaughtUp { share: f64 },
}

impl Timely {
    /// One more prompt, and whether that turns the tide.
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
