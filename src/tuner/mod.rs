//! The online learner: outcomes and feedback to new policy snapshots.
