//! Keyed fingerprints of texts: the same text gives the same number, and guesses cannot be checked without the key.

use sha2::{Digest, Sha256};

use super::record::Fingerprint;

/// A store's secret key, made once and kept in its settings. A plain hash of a short prompt could be found by hashing
/// guesses; a keyed one cannot, not even by the holder of an export.
#[derive(Clone, Copy)]
pub struct Salt([u8; 16]);

impl Salt {
    /// A salt of 16 random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The fingerprint of `parts`, taken as a list: `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn fingerprint<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Fingerprint {
        let mut hasher = Sha256::new_with_prefix(self.0);
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let digest = hasher.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(u64::from_be_bytes(first))
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_text_order_and_salt() {
        let salt = Salt::new([1; 16]);
        assert_eq!(salt.fingerprint(["ab", "c"]), salt.fingerprint(["ab", "c"]));
        assert_ne!(salt.fingerprint(["ab", "c"]), salt.fingerprint(["a", "bc"]));
        assert_ne!(salt.fingerprint(["ab"]), Salt::new([2; 16]).fingerprint(["ab"]));
    }
}
