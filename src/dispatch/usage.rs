//! Estimates of an answer's tokens where its vendor does not count them.

use crate::protocol::{ChatResponse, Part, Usage};

/// Bytes per token, about.
const BYTES_PER_TOKEN: u64 = 4;

/// The vendor's count (`counted`), completed by estimates: the prompt's tokens if it counted none, and those of
/// `uncounted` bytes of the answer.
pub(super) fn estimated(counted: Usage, prompt_tokens: u32, uncounted: u64) -> Usage {
    let mut usage = counted;
    // A conversation may have been compacted and no more.
    if usage.prompt_tokens() == 0 && usage.compaction.is_none() {
        usage.input_tokens = u64::from(prompt_tokens);
    }
    usage.output_tokens += uncounted.div_ceil(BYTES_PER_TOKEN);
    usage
}

/// Tokens of an answer that is none, as its vendor counted them, and those of `uncounted` bytes; `None` = there are
/// none, and it counted nothing that can be true.
pub(super) fn of_lost(counted: &Usage, prompt_tokens: u32, uncounted: u64) -> Option<Usage> {
    let mut believed = Usage::default();
    believed.absorb(counted);
    (believed.billed().total_tokens() + uncounted > 0).then(|| estimated(believed, prompt_tokens, uncounted))
}

/// Tokens of a whole answer: the vendor's count, else an estimate.
pub(super) fn of_whole(response: &ChatResponse, prompt_tokens: u32) -> Usage {
    let mut counted = Usage::default();
    // Absorbed, as a stream's usage is: counts that cannot be true are left out.
    counted.absorb(&response.usage.unwrap_or_default());
    let uncounted = if counted.output_tokens > 0 { 0 } else { response.parts.iter().map(Part::answer_bytes).sum() };
    estimated(counted, prompt_tokens, uncounted as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Compaction, FinishReason};

    #[test]
    fn who_does_not_count_is_counted() {
        let mut response = ChatResponse {
            id: String::new(),
            model: String::new(),
            parts: vec![Part::text("twelve bytes"), Part::text("four")],
            finish_reason: FinishReason::Stop,
            stop_sequence: None,
            usage: None,
        };
        let counts = |response: &ChatResponse| {
            let usage = of_whole(response, 7);
            (usage.input_tokens, usage.output_tokens)
        };
        assert_eq!(counts(&response), (7, 4));
        response.usage = Some(Usage::default());
        assert_eq!(counts(&response), (7, 4), "zeros are no count");
        response.usage = Some(Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() });
        assert_eq!(counts(&response), (3, 2));
        response.usage = Some(Usage { input_tokens: 3, output_tokens: u64::MAX, ..Usage::default() });
        assert_eq!(counts(&response), (3, 4), "an absurd count is none");
        let lost = |input_tokens, output_tokens| {
            let usage = of_lost(&Usage { input_tokens, output_tokens, ..Usage::default() }, 7, 0)?;
            Some((usage.input_tokens, usage.output_tokens))
        };
        assert_eq!([lost(3, 2), lost(0, 2), lost(u64::MAX, 2)], [Some((3, 2)), Some((7, 2)), Some((7, 2))]);
        assert_eq!([lost(0, 0), lost(u64::MAX, u64::MAX)], [None, None], "the prompt's estimate stays");
        let held = of_lost(&Usage::default(), 7, 9).unwrap();
        assert_eq!((held.input_tokens, held.output_tokens), (7, 3), "what was said is charged for");
        let compaction = Compaction { input_tokens: 9, output_tokens: 2, ..Compaction::default() };
        response.parts.clear();
        response.usage = Some(Usage { compaction, ..Usage::default() });
        assert_eq!(of_whole(&response, 7), Usage { compaction, ..Usage::default() }, "nothing but a summary");
    }
}
