//! Plays recorded outcomes as a stream in which only the chosen model's outcome is revealed.
//!
//! A data set has every model's outcome for every prompt, so a policy can be run over it as over live traffic, and the
//! rewards of the models that it did not choose are known as well. That gives a learning curve, regret, and a
//! comparison of policies on the same requests.
//!
//! 1. [`Stream`] holds the prompts with features, predictions of the head where there is one, and all outcomes.
//! 2. [`Events`] are events that change the world while a replay runs: a price goes up, a model gets worse, one is
//!    added, one recovers.
//! 3. [`Player`]s choose: a learned policy, and the policies that it is compared with.
//! 4. [`mod@play`] runs one of them once; [`Report`] sums up many runs, with intervals.
//!
//! **Regret** is the reward of the best single model in hindsight less the player's. With events, the best model is
//! taken anew for each stretch between them. A policy that uses the prompt can have negative regret. Only prompts that
//! the best model was run on count.

mod events;
mod features;
mod hindsight;
mod play;
mod player;
mod report;
mod stream;

#[cfg(test)]
mod tests;

pub use events::{Event, Events};
pub use features::{Reader, TextReader};
pub use play::{Answer, Conditions, Trace, compared_with, play};
pub use player::{Blind, Player};
pub use report::{Line, Report, Spread, report};
pub use stream::{Item, Stream};
