//! Off-policy evaluation: what would another policy have earned on requests that this one answered? Pure.
//!
//! The log says, for each request, which model was chosen, with what probability, and what came of it ([`Logged`]). A policy
//! to be judged says with what probability it would have chosen the same. From both follows an [`Estimate`] with an interval:
//!
//! - **IPS**: rewards weighted by the ratio of the two probabilities; unbiased, and noisy where they differ.
//! - **SNIPS**: the same, divided by the mean weight; a little biased, far less noisy.
//! - **DM** (direct method): a model of the rewards, asked about every candidate; as good as the model.
//! - **DR** (doubly robust): the model, corrected by weighted residuals; right where either is right.
//!
//! Weights beyond a limit are clipped, and the share of clipped ones is told with the estimate: an interval says
//! nothing about what clipping hides. Nor does it of what the log never shows: the mean weight says how much of the judged
//! policy the log speaks of ([`Estimate::support`]). Sources: Dudík, Langford and Li, "Doubly Robust Policy Evaluation and Learning" (2011); Swaminathan
//! and Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (2015).
//!
//! IPS and DR can leave the range that rewards have; what is shown of them is cut to it ([`Estimate::possible`]), what is
//! decided by them is not.
//!
//! Two policies are compared on the same requests ([`compare`]), so that what both have in common cancels.

mod estimate;
mod interval;

#[cfg(test)]
mod tests;

pub use estimate::{Estimate, Logged, Method, Modelled, Settings, compare, compare_beside, estimate};
pub use interval::IntervalKind;
