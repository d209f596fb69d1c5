//! Ids as every vendor takes them: an end user's, and short ones.

use sha2::{Digest, Sha256};

/// Letters that every vendor takes.
const LONGEST: usize = 64;

/// The id itself, where it is a plain one, else one made of it: the same for the same user, and of those letters that are taken
/// everywhere. One vendor refuses what looks like an address or a telephone number, others what is long.
pub(super) fn plain_user(id: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let telephone = id.len() > 6 && !id.contains(|letter: char| letter.is_ascii_alphabetic());
    if !id.is_empty() && id.len() <= LONGEST && id.chars().all(plain) && !telephone {
        return id.to_owned();
    }
    short(id)
}

/// An id of 32 letters made of any: the same for the same one.
pub(super) fn short(id: &str) -> String {
    Sha256::digest(id).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_somebody_would_refuse_is_another_one_and_the_same_for_the_same_user() {
        for plain in ["user_7", "9b2c-77", "42"] {
            assert_eq!(plain_user(plain), plain);
        }
        let long = "x".repeat(180);
        let others = ["jane@example.com", "+49 30 123456", "493012345678", "", long.as_str(), "{\"device\": 1}"];
        let ids: Vec<String> = others.iter().map(|id| plain_user(id)).collect();
        for (at, id) in ids.iter().enumerate() {
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert!(!ids[..at].contains(id));
        }
        assert_eq!(ids[0], plain_user("jane@example.com"));
    }
}
