//! Composition root: a configuration to a running gateway.
