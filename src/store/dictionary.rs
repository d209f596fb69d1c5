//! The zstd dictionary: field names and values that most records have in common.
//!
//! **Part of the format.** A record can only be unpacked with the same dictionary it was packed with. So nothing here
//! may change: a better dictionary would get a version byte of its own in [`encoding`](super::encoding), and this one
//! would stay for existing records. Names of later fields are written out, which costs a few bytes and breaks nothing.

/// Names of fields and common values, in the order in which records have them.
const WORDS: &[&str] = &[
    // A feedback.
    "decision",
    "seq",
    "kind",
    "rating",
    "score",
    "thumb",
    "up",
    "down",
    "preferred",
    "comment",
    "source",
    "user",
    // An outcome.
    "backend",
    "attempts",
    "failovers",
    "usage",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "latency_ms",
    "first_token_ms",
    "finish_reason",
    "stop",
    "length",
    "tool_calls",
    "signals",
    "error",
    "timeout",
    "truncated",
    "cancelled",
    "empty",
    "format_violated",
    "asked_again",
    "status",
    "ok",
    "failed",
    // A decision.
    "id",
    "at_ms",
    "request",
    "dialect",
    "openai",
    "anthropic",
    "ollama",
    "native",
    "requested",
    "auto",
    "rules",
    "objective",
    "balanced",
    "quality",
    "cost",
    "speed",
    "needs",
    "tools",
    "vision",
    "structured_output",
    "prompt_tokens",
    "max_tokens",
    "stream",
    "question",
    "conversation",
    "conversation_named",
    "turn",
    "token",
    "tags",
    "dry_run",
    "features",
    "feature_space",
    "task",
    "excluded",
    "reason",
    "chosen",
    "policy_version",
    "policy_revision",
    "tradeoff",
    "cost_per_usd",
    "latency_per_s",
    "explore",
    "explored",
    "mode",
    "named",
    "weighted",
    "learned",
    "sticky",
    "shadow",
    "prompt",
    "the client named it",
    "most useful: good with ",
    // An excluded model, and a candidate: the bulk of most records, so they come last, where references are shortest.
    "is not set",
    "its breaker is open",
    "it is disabled",
    "it is draining",
    "a rule forbids it",
    "its weight is 0",
    "posterior",
    "default",
    "score",
    "like ",
    "candidates",
    "model",
    "prior",
    "quality",
    "quality_source",
    "head",
    "nothing",
    "fitted",
    "grounds",
    "likened",
    "cost_usd",
    "latency_s",
    "switching_usd",
    "utility",
    "propensity",
];

/// The dictionary: each word as MessagePack writes it, with its length before it.
pub(super) fn bytes() -> Vec<u8> {
    WORDS.iter().flat_map(|word| std::iter::once(0xa0 | (word.len() as u8 & 0x1f)).chain(word.bytes())).collect()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    #[test]
    fn it_is_what_records_were_packed_with() {
        const SUM: &str = "ea991511699f56f5a8d43d4104956181b75e87efdb0f6a8e6c884a7482f5736d";
        assert_eq!(
            format!("{:x}", Sha256::digest(super::bytes())),
            SUM,
            "a changed dictionary makes every stored record unreadable"
        );
    }
}
