//! Off-policy evaluation; pure.
