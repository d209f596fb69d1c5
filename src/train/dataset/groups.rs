//! Which records must stand in one split, along chains of what they share.

use std::collections::HashMap;

/// What belongs together: wordings and what else ties them (a conversation, a question), by the records that have
/// both.
#[derive(Default)]
pub(super) struct Groups {
    numbers: HashMap<(u8, u64), usize>,
    /// The group that each belongs to, or another member nearer to it.
    above: Vec<usize>,
    /// The wording that was seen first; of a group's root, the group's.
    first: Vec<u64>,
}

impl Groups {
    fn number(&mut self, key: (u8, u64), wording: u64) -> usize {
        let next = self.above.len();
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.above.push(next);
            self.first.push(wording);
        }
        number
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.above[at] != at {
            self.above[at] = self.above[self.above[at]];
            at = self.above[at];
        }
        at
    }

    /// A record has this wording, and belongs to this conversation or question.
    pub(super) fn tie(&mut self, wording: (u8, u64), other: Option<(u8, u64)>) {
        let one = self.number(wording, wording.1);
        let Some(other) = other else { return };
        let other = self.number(other, wording.1);
        let (one, other) = (self.root(one), self.root(other));
        // The older root stays, so that its wording is the group's first.
        self.above[one.max(other)] = one.min(other);
    }

    /// The first wording of the group that a wording belongs to.
    pub(super) fn first(&mut self, wording: (u8, u64)) -> u64 {
        let number = self.number(wording, wording.1);
        let root = self.root(number);
        self.first[root]
    }
}
