//! Deterministic randomness: draws that depend only on what they are about.
//!
//! Everything random in the sandbox is a hash of *what it is about* (seed, model, prompt, purpose) and not the next
//! number of a generator: the same question gets the same answer whatever happened in between, on however many threads,
//! and two models asked the same thing can be compared on the same luck. The hash is 64-bit FNV-1a over the parts,
//! finished by the mixer of SplitMix64 (Steele, Lea, Flood 2014). Good enough for simulation, useless for secrets.

use std::hash::{Hash, Hasher};

use crate::protocol::mix;

/// A random value that depends on everything it is about, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0xcbf2_9ce4_8422_2325))
    }

    /// The dice that also depend on `part`.
    pub fn about(self, part: impl Hash) -> Self {
        let mut hasher = Fnv(self.0);
        part.hash(&mut hasher);
        Self(mix(hasher.0))
    }

    /// 64 random bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// A number in `[0, 1)`, uniform.
    pub fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub fn below(self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// True with probability `p`.
    pub fn happens(self, p: f64) -> bool {
        self.unit() < p
    }

    /// A draw from the exponential distribution with this mean.
    pub fn exponential(self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A draw from the standard normal distribution (Box and Muller 1958).
    pub fn normal(self) -> f64 {
        let radius = (-2.0 * (1.0 - self.about("radius").unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.about("angle").unit()).cos()
    }
}

/// FNV-1a. The standard library's hasher may change between releases, and the README's figures must stay reproducible.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_has_the_same_answer_and_another_another() {
        let dice = Dice::new(7).about("gpt-4o");
        assert_eq!(dice.about(1u64), Dice::new(7).about("gpt-4o").about(1u64));
        assert_ne!(dice.about(1u64), dice.about(2u64));
        assert_ne!(Dice::new(7), Dice::new(8));
    }

    #[test]
    fn the_draws_have_the_moments_they_should() {
        let dice = Dice::new(3);
        let n = 20_000u64;
        let mean = |draw: &dyn Fn(Dice) -> f64| (0..n).map(|i| draw(dice.about(i))).sum::<f64>() / n as f64;
        assert!((mean(&|d| d.unit()) - 0.5).abs() < 0.01);
        assert!((mean(&|d| d.exponential(4.0)) - 4.0).abs() < 0.1);
        assert!(mean(&|d| d.normal()).abs() < 0.03);
        assert!((mean(&|d| d.normal().powi(2)) - 1.0).abs() < 0.04);
        assert!((mean(&|d| f64::from(d.happens(0.2))) - 0.2).abs() < 0.01);
    }
}
