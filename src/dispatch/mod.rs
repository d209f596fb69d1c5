//! A plan to an answer: attempts, failover, streaming, outcome.
