//! Contextual bandits with exact propensities; pure.
