//! Thoughts on their way through a client's hands.
//!
//! A vendor wants a thought back as it was, signature and all, and this dialect has no field for a signature. What it
//! has is `encrypted_content`, which clients keep and send back unread: it holds the thought whole. It is written, not
//! encrypted: there is nothing in it that the client was not told anyway.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::Part;

/// What ours begin with; those of vendors do not.
const MARK: &str = "pointsman:";

/// Writes a thought.
pub(super) fn seal(thought: &Part) -> String {
    let mut sealed = MARK.to_owned();
    STANDARD.encode_string(serde_json::to_vec(thought).unwrap_or_default(), &mut sealed);
    sealed
}

/// Reads a thought that [`seal`] wrote; `None` = it is not ours, or not as we wrote it.
pub(super) fn open(sealed: &str) -> Option<Part> {
    let written = STANDARD.decode(sealed.strip_prefix(MARK)?).ok()?;
    let part = serde_json::from_slice(&written).ok()?;
    matches!(part, Part::Thinking { .. } | Part::RedactedThinking { .. }).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_comes_back_as_it_went() {
        let signature = Some("sig".to_owned());
        for thought in [
            Part::Thinking { text: "h\u{e9}m".into(), signature },
            Part::Thinking { text: String::new(), signature: None },
            Part::RedactedThinking { data: "x".into() },
        ] {
            assert_eq!(open(&seal(&thought)), Some(thought));
        }
    }

    #[test]
    fn only_our_own_thoughts_are_taken() {
        let smuggled = seal(&Part::text("not a thought"));
        for foreign in ["gAAAAABo", "", MARK, "pointsman:e30=", "pointsman:%", smuggled.as_str()] {
            assert_eq!(open(foreign), None, "{foreign}");
        }
    }
}
