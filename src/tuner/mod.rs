//! The online learner: what happens becomes the log, and the log becomes a better policy.
//!
//! 1. [`Recorder`] is the one writer of the log: decisions and outcomes go in without waiting, feedback is acknowledged
//!    once it is on disk. [`keep_house`] deletes what has grown too old or too much.
//! 2. A judged answer is a [`Lesson`]. The live policy takes each in at once, as its beliefs allow ([`take_in`]).
//! 3. Now and then the whole log is folded into a new policy ([`propose`]), which takes over only if the [`gate`] says
//!    that it does not fall behind; [`guard`] rails take one back that does worse than what was before.
//! 4. [`Learner`] is the door: which policy is in force, and what operators may do to it. [`LearnerTask`] is the task behind it.
//! 5. [`Budgets`] hold the spending by the price of a dollar.
//!
//! What it leaves out: choosing (`route`, `bandit`), and learning offline (`train`).

mod budget;
pub mod cross_fit;
mod error;
pub mod gate;
pub mod guard;
pub mod hindsight;
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
