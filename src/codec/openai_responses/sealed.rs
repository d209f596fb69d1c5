//! Reasoning that travels through the client.
//!
//! Vendors want reasoning back unchanged and signed, and this dialect has no field for a signature. Its
//! `encrypted_content`, which clients keep and send back unread, holds the whole reasoning part. It is encoded and not
//! encrypted: it holds nothing that the client does not get anyway.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::Part;

/// The prefix that tells the gateway's own content from vendors'.
const MARK: &str = "pointsman:";

/// Encodes a reasoning part.
pub(super) fn seal(thought: &Part) -> String {
    let mut sealed = MARK.to_owned();
    STANDARD.encode_string(serde_json::to_vec(thought).unwrap_or_default(), &mut sealed);
    sealed
}

/// Decodes what [`seal`] wrote; `None` = content of a vendor's, or changed.
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
