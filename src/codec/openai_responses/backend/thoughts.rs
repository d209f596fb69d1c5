//! What OpenAI's models thought, sealed by OpenAI, on its way through a client.
//!
//! OpenAI keeps nothing (`store: false`) and gives `encrypted_content`, to be sent back with the results of tools, so
//! that the model goes on with what it had thought. The canonical form has a signature for that. Its mark tells whose
//! it is: Anthropic refuses any signature but its own, and OpenAI any content but its own.

/// The beginning of a signature that is OpenAI's.
const MARK: &str = "openai:";

/// The signature that carries an `encrypted_content`.
pub(crate) fn signature_of(encrypted: &str) -> String {
    format!("{MARK}{encrypted}")
}

/// The `encrypted_content` that a signature carries; `None` = it is another vendor's.
pub(super) fn encrypted_in(signature: &str) -> Option<&str> {
    signature.strip_prefix(MARK)
}

/// Whether a signature is OpenAI's.
pub(crate) fn is_openais(signature: &str) -> bool {
    encrypted_in(signature).is_some()
}
