//! Request -> [`Plan`]: which models, in which order, and why.
//!
//! [`plan()`] works in steps: what the request demands of a model ([`Demand`]); static rules ([`Rules`]) that pin,
//! prefer, forbid or weigh models; the candidates that are configured, allowed, able and healthy, and for every other
//! model the reason why it is excluded; the choice among them by the learned policy (`learned`) or by weight, with
//! its probability. The result is a [`Plan`] for `dispatch` to walk and a [`Decision`] that explains it.
//!
//! Nothing here calls an upstream.

mod demand;
mod eligible;
mod error;
mod language;
mod learned;
mod lengths;
mod plan;
mod planner;
mod question;
mod ranking;
mod rules;
mod speed;
mod sticky;

pub use demand::{Demand, estimate_tokens};
pub use error::PlanError;
pub use learned::Learned;
pub use lengths::{Expected, KeptLengths, Lengths};
pub use plan::{Considered, Decision, Excluded, Features, Plan, Prediction};
pub use planner::plan;
pub use question::Question;
pub use rules::{Facts, RuleEffect, Rules};
pub use speed::Speeds;
pub use sticky::{Answered, Conversations, Stay};
