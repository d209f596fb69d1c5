//! A canonical request to a plan: which models, in which order, and why.
