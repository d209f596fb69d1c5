//! Reasoning that travels through the client.
//!
//! Vendors want reasoning back unchanged and signed, and this dialect has no field for a signature. Its
//! `encrypted_content`, which clients keep and send back unread, holds the whole reasoning part. It is encoded and not
//! encrypted: it holds nothing that the client does not get anyway.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::protocol::Part;

/// The prefix that tells the gateway's own content from vendors'.
const MARK: &str = "pointsman:";

/// The parts that are reasoning, as [`Part`] writes them. A client may write any part, and others hold values that take
/// far more memory than they are long: their names are refused before their content is read.
#[derive(Debug, Deserialize)]
enum Thought {
    Thinking { text: String, signature: Option<String> },
    RedactedThinking { data: String },
}

/// Encodes a reasoning part.
pub(super) fn seal(thought: &Part) -> String {
    let mut sealed = MARK.to_owned();
    STANDARD.encode_string(serde_json::to_vec(thought).unwrap_or_default(), &mut sealed);
    sealed
}

/// Whether this is the gateway's own content, changed or not.
pub(super) fn is_ours(sealed: &str) -> bool {
    sealed.starts_with(MARK)
}

/// Decodes what [`seal`] wrote; `None` = content of a vendor's, or changed.
pub(super) fn open(sealed: &str) -> Option<Part> {
    let written = STANDARD.decode(sealed.strip_prefix(MARK)?).ok()?;
    Some(match serde_json::from_slice(&written).ok()? {
        Thought::Thinking { text, signature } => Part::Thinking { text, signature },
        Thought::RedactedThinking { data } => Part::RedactedThinking { data },
    })
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

    #[test]
    fn what_is_no_thought_is_not_even_read() {
        let foreign = Part::Foreign { kind: "x".into(), value: serde_json::json!([[0], [0]]) };
        for part in [foreign, Part::text("x")] {
            let written = serde_json::to_vec(&part).unwrap();
            // Refused at the name: the rest need not be JSON at all.
            let named = written.split_inclusive(|byte| *byte == b':').next().unwrap();
            for written in [named, &written] {
                let problem = serde_json::from_slice::<Thought>(written).unwrap_err().to_string();
                assert!(problem.starts_with("unknown variant"), "{problem}");
            }
        }
    }
}
