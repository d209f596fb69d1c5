//! Off-policy evaluation: the value of an evaluation policy, estimated on requests that the behavior policy answered.
//! Pure.
//!
//! The log says, for each request, which model was chosen, with what probability, and with what reward ([`Logged`]).
//! The policy to be evaluated says with what probability it would have chosen the same. From both follows an
//! [`Estimate`] with an interval:
//!
//! - **IPS**: rewards weighted by the ratio of the two probabilities; unbiased, and noisy where they differ.
//! - **SNIPS**: the same, divided by the mean weight; a little biased, far less noisy.
//! - **DM** (direct method): a model of the rewards, asked about every candidate; as good as the model.
//! - **DR** (doubly robust): the model, corrected by weighted residuals; right where either is right.
//!
//! Weights beyond a limit are clipped; the estimate reports the share of clipped ones, since the interval does not
//! cover the bias of clipping. Nor does it cover actions that the log never took: the mean weight says how much of the
//! evaluated policy the log covers ([`Estimate::support`]). Which estimates are not to be relied on for such reasons is
//! one rule ([`Estimate::doubt`]). Sources: Dudík, Langford and Li, "Doubly Robust Policy
//! Evaluation and Learning" (2011); Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual
//! Learning" (2015).
//!
//! IPS and DR can leave the range of rewards. They are cut to it for display ([`Estimate::possible`]), but not for
//! decisions.
//!
//! Two policies are compared on the same requests ([`compare`]), so that what both have in common cancels.

mod doubt;
mod estimate;
mod interval;

#[cfg(test)]
mod tests;

pub use doubt::Doubt;
pub use estimate::{Estimate, Logged, Method, Modelled, Settings, compare, compare_beside, estimate};
pub use interval::IntervalKind;

/// A difference with its sign, for people; one that rounds to zero is no minus zero.
pub fn signed(difference: f64, digits: usize) -> String {
    let unit = 10_f64.powi(digits as i32);
    let rounded = (difference * unit).round() / unit;
    format!("{:+.digits$}", rounded + 0.0)
}
