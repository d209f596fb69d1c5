//! The online learner: what happens becomes the decision log, and the log becomes a better policy.
//!
//! 1. [`Recorder`] is the one writer of the decision log: decisions and outcomes go in without waiting, feedback is
//!    acknowledged once it is on disk. [`keep_house`] deletes the oldest entries beyond the log's age, size and disk.
//! 2. A judged answer is a [`Lesson`]. The live policy takes in each at once: an online update ([`take_in`]).
//! 3. A retune folds the whole log into a new policy ([`propose`]), which takes over only if the [`gate`] says that it
//!    is no worse than the live one (off-policy evaluation with [`cross_fit`] models). [`guard`] rails roll a policy
//!    back whose requests go worse than those before it, unless the version before would have done no better
//!    ([`hindsight`]).
//! 4. [`Learner`] is the handle: which policy is in force, and operators' commands. [`LearnerTask`] is the task behind
//!    it.
//! 5. [`Budgets`] keep spending within the configured budgets by a price per dollar.
//!
//! What it leaves out: choosing (`route`, `bandit`), and learning offline (`train`).

mod budget;
pub mod cross_fit;
mod error;
pub mod gate;
pub mod guard;
pub mod hindsight;
mod hold;
mod housekeeping;
mod learner;
pub mod lesson;
mod live;
mod recorder;
mod retune;
mod shared;
mod tally;
mod task;
pub mod trained_on;
mod unjudged;
mod versions;

pub use budget::{BudgetStatus, Budgets};
pub use error::LearnError;
pub use housekeeping::keep_house;
pub use learner::Learner;
pub use lesson::Lesson;
pub use live::{LivePolicy, Switches, bandit_settings, in_force, open as open_policy};
pub use recorder::{Ack, FeedbackError, Recorder, RecorderStatus, Writer};
pub use retune::{Proposal, begin_anew, of_newest_head, propose, take_in};
pub use shared::{Command, LastRetune, LearnerStatus};
pub use task::LearnerTask;
