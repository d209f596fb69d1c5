//! Ids that every vendor takes, made of ids that some vendors refuse.

use sha2::{Digest, Sha256};

/// Characters of an id that every vendor takes.
const MAX_ID_CHARS: usize = 64;

/// An end user's id: the id itself where every vendor takes it, else its hash, which stays the same for the same user.
/// One vendor refuses ids that look like an e-mail address or a telephone number, others long ones.
pub(super) fn plain_user(id: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let telephone = id.len() > 6 && !id.contains(|letter: char| letter.is_ascii_alphabetic());
    if !id.is_empty() && id.len() <= MAX_ID_CHARS && id.chars().all(plain) && !telephone {
        return id.to_owned();
    }
    hashed(id)
}

/// The hash of an id, as 32 hexadecimal digits.
pub(super) fn hashed(id: &str) -> String {
    format!("{:x}", Sha256::digest(id))[..32].to_owned()
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
