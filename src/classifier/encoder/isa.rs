//! The instruction sets of a CPU that kernels use: detected once, then passed to every kernel.

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler's target guarantees.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 with VNNI.
    Vnni,
}

impl Isa {
    /// The best set that this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if wide && is_x86_feature_detected!("fma") {
                return Self::Vnni;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All sets that this machine has.
    #[cfg(test)]
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Vnni].into_iter().filter(|isa| *isa <= Self::detect()).collect()
    }
}
