//! Groups of records that must be in one split because they share a wording or a question, directly or through others.

use std::collections::HashMap;

/// A union-find over wordings and what else ties records together (a conversation, a question).
#[derive(Default)]
pub(super) struct Groups {
    numbers: HashMap<(u8, u64), usize>,
    /// Parent of each member; a root is its own.
    above: Vec<usize>,
    /// The first wording of each member; a root's is the first of its whole group.
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

    /// Takes in a record's wording and the conversation or question that it belongs to.
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
