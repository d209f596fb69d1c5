//! What stands where in `x`, the numbers that a bend is a weighted sum of: level, logit, features, kinds of work.
//!
//! Sums, prior variances and outlooks are all laid out so ([`posterior`](super::posterior)), and must agree on it.

/// Level and logit come before the features.
pub(super) const BASE: usize = 2;

/// How many features and kinds of work there are, and with that the place of each in `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) features: usize,
    pub(super) kinds: usize,
}

impl Shape {
    pub(super) fn dim(self) -> usize {
        BASE + self.features + self.kinds
    }

    /// Where the kinds begin.
    pub(super) fn kinds_from(self) -> usize {
        BASE + self.features
    }

    pub(super) fn is_kind(self, at: usize) -> bool {
        at >= self.kinds_from()
    }
}
