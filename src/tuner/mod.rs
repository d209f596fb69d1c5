//! The online learner: what happens becomes the log, and the log becomes a better policy.
//!
//! [`Recorder`] is the one writer of the log: decisions and outcomes go in without waiting, feedback is acknowledged
//! once it is on disk. [`keep_house`] deletes what has grown too old or too much.

mod housekeeping;
mod recorder;

pub use housekeeping::keep_house;
pub use recorder::{Ack, FeedbackError, Progress, Recorder, RecorderStatus, Writer};
