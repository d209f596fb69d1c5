//! The offline job: recorded outcomes to a fitted head, a report and a verdict.
