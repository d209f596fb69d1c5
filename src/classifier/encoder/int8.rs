//! Products of eight-bit numbers: weights are packed once, activations quantised for each product.
//!
//! **Numbers.** A weight is `scale * q` with `q` in -127..=127, and one scale for each row and [`GROUP`] of inputs;
//! an activation likewise. Products of a group are summed exactly in 32 bits and scaled once, so the error is that of
//! the rounding alone: about 0.4 % of a group's largest number.
//!
//! **Layout.** [`BLOCK`] outputs are stored together, and within them four inputs of each output, because the
//! instruction made for this (`vpdpbusd`, AVX-512 VNNI) multiplies 4 x 16 bytes at once. It wants one side unsigned:
//! weights are stored with 128 added, and 128 times the activations' sum is subtracted again, by starting the sum from
//! there.
//!
//! **Kernels** are chosen when the program runs ([`Isa`]): AVX-512 VNNI, AVX2 with 16-bit products, or plain code. A
//! tile is [`BLOCK`] outputs by up to [`TILE`] tokens; its sums stay in registers.
//!
//! The `unsafe` here is pointers into slices whose lengths are checked before.

#![allow(clippy::needless_range_loop)] // several arrays are walked in step, and constant bounds unroll

use super::isa::Isa;
use super::vector::{GROUP, quantize};

/// Outputs that are stored together.
pub(super) const BLOCK: usize = 64;

/// Most tokens of a tile: with 4 vectors of sums each, 24 of 32 registers.
const TILE: usize = 6;

/// Bytes of a block's group.
const GROUP_BYTES: usize = GROUP * BLOCK;

/// A matrix of weights, outputs by inputs, packed.
#[derive(Debug)]
pub(super) struct Packed {
    outputs: usize,
    inputs: usize,
    /// By block, group, four inputs, output, input: each plus 128.
    weights: Vec<u8>,
    /// By block, group, output.
    scales: Vec<f32>,
}

impl Packed {
    /// Packs `weights`, row by row of outputs.
    pub fn pack(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weights.len(), outputs * inputs, "rows by columns");
        let (blocks, groups) = (outputs.div_ceil(BLOCK), inputs.div_ceil(GROUP));
        let mut packed = vec![128_u8; blocks * groups * GROUP_BYTES];
        let mut scales = vec![0.0; blocks * groups * BLOCK];
        for (output, row) in weights.chunks_exact(inputs).enumerate() {
            let (block, lane) = (output / BLOCK, output % BLOCK);
            for (group, values) in row.chunks(GROUP).enumerate() {
                let at = block * groups + group;
                let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                scales[at * BLOCK + lane] = largest / 127.0;
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                for (input, value) in values.iter().enumerate() {
                    let quantized = (value * inverse).round_ties_even() as i32;
                    let place = at * GROUP_BYTES + (input / 4) * (4 * BLOCK) + lane * 4 + input % 4;
                    packed[place] = (quantized + 128) as u8;
                }
            }
        }
        Self { outputs, inputs, weights: packed, scales }
    }

    /// Outputs, rounded up to whole blocks: the width of a row of results.
    pub fn width(&self) -> usize {
        self.outputs.div_ceil(BLOCK) * BLOCK
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.weights.len() + 4 * self.scales.len()
    }

    /// `out[token] = weights * activations[token]`, or added to it. Rows of `out` are `stride` apart.
    pub fn multiply(&self, isa: Isa, activations: &Activations, out: &mut [f32], stride: usize, add: bool) {
        let groups = self.inputs.div_ceil(GROUP);
        let tokens = activations.tokens;
        assert_eq!(groups, activations.groups, "as many inputs as activations");
        assert!(isa <= Isa::detect(), "instructions this machine has");
        assert!(tokens == 0 || out.len() >= (tokens - 1) * stride + self.width(), "room for the results");
        for (block, (weights, scales)) in
            self.weights.chunks_exact(groups * GROUP_BYTES).zip(self.scales.chunks_exact(groups * BLOCK)).enumerate()
        {
            let mut token = 0;
            while token < tokens {
                let rows = (tokens - token).min(TILE);
                let tile = Tile {
                    groups,
                    weights,
                    scales,
                    activations: &activations.values[token * groups * GROUP..][..rows * groups * GROUP],
                    activation_scales: &activations.scales[token * groups..][..rows * groups],
                    offsets: &activations.offsets[token * groups..][..rows * groups],
                };
                let out = &mut out[token * stride + block * BLOCK..];
                tile.run(isa, rows, out, stride, add);
                token += rows;
            }
        }
    }
}

/// Quantised activations, token by token.
#[derive(Debug, Default)]
pub(super) struct Activations {
    tokens: usize,
    groups: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    /// -128 times a group's sum.
    offsets: Vec<i32>,
}

impl Activations {
    /// Makes room for `tokens` of `inputs` numbers.
    pub fn resize(&mut self, tokens: usize, inputs: usize) {
        self.tokens = tokens;
        self.groups = inputs.div_ceil(GROUP);
        let groups = tokens * self.groups;
        self.values.resize(groups * GROUP, 0);
        self.scales.resize(groups, 0.0);
        self.offsets.resize(groups, 0);
    }

    /// Quantises one token's numbers.
    pub fn set(&mut self, isa: Isa, token: usize, numbers: &[f32]) {
        let row = token * self.groups..(token + 1) * self.groups;
        let values = &mut self.values[row.start * GROUP..row.end * GROUP];
        quantize(isa, numbers, values, &mut self.scales[row.clone()], &mut self.offsets[row]);
    }
}

/// One block of outputs by a few tokens.
struct Tile<'a> {
    groups: usize,
    weights: &'a [u8],
    scales: &'a [f32],
    activations: &'a [i8],
    activation_scales: &'a [f32],
    offsets: &'a [i32],
}

impl Tile<'_> {
    #[inline]
    fn run(&self, isa: Isa, rows: usize, out: &mut [f32], stride: usize, add: bool) {
        let groups = self.groups;
        assert!((1..=TILE).contains(&rows) && out.len() >= (rows - 1) * stride + BLOCK);
        assert!(self.weights.len() == groups * GROUP_BYTES && self.scales.len() == groups * BLOCK);
        assert!(self.activations.len() == rows * groups * GROUP);
        assert!(self.activation_scales.len() == rows * groups && self.offsets.len() == rows * groups);
        match isa {
            // SAFETY: the caller checked that the machine has the instructions; lengths are checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => unsafe {
                match rows {
                    1 => self.vnni::<1>(out, stride, add),
                    2 => self.vnni::<2>(out, stride, add),
                    3 => self.vnni::<3>(out, stride, add),
                    4 => self.vnni::<4>(out, stride, add),
                    5 => self.vnni::<5>(out, stride, add),
                    _ => self.vnni::<6>(out, stride, add),
                }
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe {
                match rows {
                    1 => self.avx2::<1>(out, stride, add),
                    2 => self.avx2::<2>(out, stride, add),
                    3 => self.avx2::<3>(out, stride, add),
                    _ => {
                        self.avx2::<3>(out, stride, add);
                        let rest = Tile {
                            activations: &self.activations[3 * groups * GROUP..],
                            activation_scales: &self.activation_scales[3 * groups..],
                            offsets: &self.offsets[3 * groups..],
                            ..*self
                        };
                        rest.run(isa, rows - 3, &mut out[3 * stride..], stride, add);
                    }
                }
            },
            _ => self.portable(rows, out, stride, add),
        }
    }

    fn portable(&self, rows: usize, out: &mut [f32], stride: usize, add: bool) {
        let groups = self.groups;
        for row in 0..rows {
            let out = &mut out[row * stride..][..BLOCK];
            if !add {
                out.fill(0.0);
            }
            for group in 0..groups {
                let at = row * groups + group;
                let mut sums = [self.offsets[at]; BLOCK];
                let weights = &self.weights[group * GROUP_BYTES..][..GROUP_BYTES];
                let activations = &self.activations[at * GROUP..][..GROUP];
                for (weights, inputs) in weights.chunks_exact(4 * BLOCK).zip(activations.chunks_exact(4)) {
                    for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(4)) {
                        for input in 0..4 {
                            *sum += i32::from(weights[input]) * i32::from(inputs[input]);
                        }
                    }
                }
                let scale = self.activation_scales[at];
                let scales = &self.scales[group * BLOCK..][..BLOCK];
                for ((out, sum), weight_scale) in out.iter_mut().zip(sums).zip(scales) {
                    *out += sum as f32 * (weight_scale * scale);
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")]
    unsafe fn vnni<const R: usize>(&self, out: &mut [f32], stride: usize, add: bool) {
        use std::arch::x86_64::*;
        let groups = self.groups;
        let activations = self.activations.as_ptr();
        let mut results = [[_mm512_setzero_ps(); 4]; R];
        for group in 0..groups {
            let mut sums = [[_mm512_setzero_si512(); 4]; R];
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [_mm512_set1_epi32(self.offsets[row * groups + group]); 4];
            }
            // SAFETY: lengths were checked in `run`; each step reads 256 bytes of a group's 4096 and 4 of its 64.
            unsafe {
                let weights = self.weights.as_ptr().add(group * GROUP_BYTES);
                let activations = activations.add(group * GROUP);
                for step in 0..GROUP / 4 {
                    let weights = weights.add(step * 4 * BLOCK);
                    let weights = [
                        _mm512_loadu_si512(weights.cast()),
                        _mm512_loadu_si512(weights.add(64).cast()),
                        _mm512_loadu_si512(weights.add(128).cast()),
                        _mm512_loadu_si512(weights.add(192).cast()),
                    ];
                    for row in 0..R {
                        let four = activations.add(row * groups * GROUP + step * 4).cast::<i32>().read_unaligned();
                        let four = _mm512_set1_epi32(four);
                        for vector in 0..4 {
                            sums[row][vector] = _mm512_dpbusd_epi32(sums[row][vector], weights[vector], four);
                        }
                    }
                }
                let scales = self.scales.as_ptr().add(group * BLOCK);
                for vector in 0..4 {
                    let scales = _mm512_loadu_ps(scales.add(vector * 16));
                    for row in 0..R {
                        let scale = _mm512_set1_ps(self.activation_scales[row * groups + group]);
                        let sums = _mm512_cvtepi32_ps(sums[row][vector]);
                        results[row][vector] =
                            _mm512_fmadd_ps(sums, _mm512_mul_ps(scales, scale), results[row][vector]);
                    }
                }
            }
        }
        for (row, results) in results.into_iter().enumerate() {
            for (vector, result) in results.into_iter().enumerate() {
                // SAFETY: `run` checked that `out` has room for `R` rows.
                unsafe {
                    let out = out.as_mut_ptr().add(row * stride + vector * 16);
                    let result = if add { _mm512_add_ps(_mm512_loadu_ps(out), result) } else { result };
                    _mm512_storeu_ps(out, result);
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const R: usize>(&self, out: &mut [f32], stride: usize, add: bool) {
        use std::arch::x86_64::*;
        let groups = self.groups;
        // Sixteen outputs at a time: as four vectors, each the two halves of the sums of four outputs.
        for part in 0..4 {
            let mut results = [[_mm256_setzero_ps(); 2]; R];
            for group in 0..groups {
                let mut sums = [[_mm256_setzero_si256(); 4]; R];
                // SAFETY: lengths were checked in `run`.
                unsafe {
                    let weights = self.weights.as_ptr().add(group * GROUP_BYTES + part * 64);
                    for step in 0..GROUP / 4 {
                        let weights = weights.add(step * 4 * BLOCK);
                        let mut wide = [_mm256_setzero_si256(); 4];
                        for (vector, wide) in wide.iter_mut().enumerate() {
                            *wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(weights.add(vector * 16).cast()));
                        }
                        for row in 0..R {
                            let four = self.activations.as_ptr().add((row * groups + group) * GROUP + step * 4);
                            let four = _mm_cvtsi32_si128(four.cast::<i32>().read_unaligned());
                            let four = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(four));
                            for vector in 0..4 {
                                let products = _mm256_madd_epi16(wide[vector], four);
                                sums[row][vector] = _mm256_add_epi32(sums[row][vector], products);
                            }
                        }
                    }
                    for row in 0..R {
                        let at = row * groups + group;
                        let offset = _mm256_set1_epi32(self.offsets[at]);
                        let scale = _mm256_set1_ps(self.activation_scales[at]);
                        for half in 0..2 {
                            // Halves are added across lanes, which leaves outputs in the order 0 1 4 5 2 3 6 7.
                            let both = _mm256_hadd_epi32(sums[row][2 * half], sums[row][2 * half + 1]);
                            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
                            let scales = self.scales.as_ptr().add(group * BLOCK + part * 16 + half * 8);
                            let scales = _mm256_mul_ps(_mm256_loadu_ps(scales), scale);
                            let both = _mm256_cvtepi32_ps(_mm256_add_epi32(both, offset));
                            results[row][half] = _mm256_fmadd_ps(both, scales, results[row][half]);
                        }
                    }
                }
            }
            for (row, results) in results.into_iter().enumerate() {
                for (half, result) in results.into_iter().enumerate() {
                    // SAFETY: `run` checked that `out` has room for `R` rows.
                    unsafe {
                        let out = out.as_mut_ptr().add(row * stride + part * 16 + half * 8);
                        let result = if add { _mm256_add_ps(_mm256_loadu_ps(out), result) } else { result };
                        _mm256_storeu_ps(out, result);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, and the same ones every time.
    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn product(isa: Isa, weights: &[f32], inputs: &[f32], outputs: usize, width: usize) -> Vec<f32> {
        let matrix = Packed::pack(weights, outputs, width);
        let tokens = inputs.len() / width;
        let mut activations = Activations::default();
        activations.resize(tokens, width);
        for (token, numbers) in inputs.chunks(width).enumerate() {
            activations.set(isa, token, numbers);
        }
        let mut out = vec![1.0; tokens * matrix.width()];
        matrix.multiply(isa, &activations, &mut out, matrix.width(), false);
        matrix.multiply(isa, &activations, &mut out, matrix.width(), true);
        let rows = out.chunks(matrix.width());
        rows.flat_map(|row| row[..outputs].iter().map(|value| value / 2.0)).collect()
    }

    #[test]
    fn products_are_right_to_half_a_percent_for_every_shape_and_instruction_set() {
        for (outputs, width, tokens) in [(64, 64, 1), (70, 100, 7), (192, 576, 6), (1, 3, 2), (128, 256, 13)] {
            let (weights, inputs) = (noise(outputs * width, 1), noise(tokens * width, 2));
            let exact = inputs.chunks(width).flat_map(|input| {
                weights.chunks(width).map(move |row| row.iter().zip(input).map(|(a, b)| a * b).sum::<f32>())
            });
            let exact: Vec<f32> = exact.collect();
            let portable = product(Isa::Portable, &weights, &inputs, outputs, width);
            for isa in Isa::available() {
                let found = product(isa, &weights, &inputs, outputs, width);
                let error: f32 = found.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum();
                let size: f32 = exact.iter().map(|value| value * value).sum();
                // A sum of a few products may be near nothing by chance.
                let most = if width < GROUP { 0.05 } else { 0.01 };
                assert!((error / size).sqrt() < most, "{isa:?} {outputs}x{width}: {}", (error / size).sqrt());
                let differs = found.iter().zip(&portable).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(differs < 1e-4, "{isa:?} {outputs}x{width}: {differs} from the portable way");
            }
        }
    }

    #[test]
    fn extreme_numbers_stay_numbers() {
        let weights = vec![1.0; 64 * 64];
        for isa in Isa::available() {
            for odd in [0.0, f32::INFINITY, f32::NAN, f32::MAX] {
                let mut inputs = vec![0.5; 64];
                inputs[3] = odd;
                let found = product(isa, &weights, &inputs, 64, 64);
                assert!(found.iter().all(|value| !value.is_nan()), "{isa:?} with {odd}");
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for isa in Isa::available() {
            for sign in [1.0, -1.0] {
                let found = product(isa, &vec![sign; 64 * 1536], &vec![1.0; 1536], 64, 1536);
                assert!(found.iter().all(|value| (value - sign * 1536.0).abs() < 0.5), "{isa:?}: {}", found[0]);
            }
        }
    }
}
