//! Plays recorded outcomes as a stream in which only the chosen model's outcome is revealed.
//!
//! A data set knows what every model did with every prompt, so a policy can be run over it as over live traffic, and
//! what it missed is known as well. That gives a learning curve, regret, and a comparison of policies on the same
//! requests.
//!
//! 1. [`Stream`] holds the prompts with features, predictions of the head where there is one, and all outcomes.
//! 2. [`Happenings`] change the world on the way: a price goes up, a model gets worse, one comes, one recovers.
//! 3. [`Player`]s choose: a learned policy, and what it is to be measured against.
//! 4. [`mod@play`] runs one of them once; [`Report`] sums up many runs, with intervals.
//!
//! **Regret** is what the best single model in hindsight would have had more. Where things happen on the way,
//! hindsight is allowed to change its mind at each of them. A policy that uses the prompt can have negative regret.
//! It is about the prompts that this model was run on; on others it plays no part.

mod features;
mod happening;
mod hindsight;
mod play;
mod player;
mod report;
mod stream;

#[cfg(test)]
mod tests;

pub use features::{Reader, TextReader};
pub use happening::{Happening, Happenings};
pub use play::{Answer, Conditions, Trace, compared_with, play};
pub use player::{Blind, Player};
pub use report::{Line, Report, Spread, report};
pub use stream::{Item, Stream};
