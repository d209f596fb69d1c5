//! The layout of `x`, the regressors of a correction: level, logit, features, kinds of work.
//!
//! Sums, prior variances and predictive distributions ([`posterior`](super::posterior)) share this layout.

/// Number of regressors before the features: level and logit.
pub(super) const BASE: usize = 2;

/// The numbers of features and of kinds of work, and with them the index of each in `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) features: usize,
    pub(super) kinds: usize,
}

impl Shape {
    pub(super) fn dim(self) -> usize {
        BASE + self.features + self.kinds
    }

    /// Index of the first kind.
    pub(super) fn kinds_from(self) -> usize {
        BASE + self.features
    }

    pub(super) fn is_kind(self, at: usize) -> bool {
        at >= self.kinds_from()
    }
}
