//! The operations of a layer between its products: norm, rotation, attention, gate, and quantising the input of the
//! next product. Plain loops over fixed lanes, compiled once for each instruction set, so that the compiler vectorises
//! them.

#![allow(clippy::needless_range_loop)] // several arrays are walked in step, and constant bounds unroll

use super::isa::Isa;

/// Lanes of a vectorised loop.
const LANES: usize = 16;

/// Inputs of a product that share a scale.
pub(super) const GROUP: usize = 64;

/// 1.5 times 2 to the 23rd: added to a float, it leaves the nearest whole number in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// Query rows that are scored together.
pub(super) const ROWS: usize = 4;

/// Keys (or a head's numbers) of one tile: with [`ROWS`] rows, sixteen vectors of sums.
pub(super) const KEYS: usize = 64;

macro_rules! compiled_for_each_isa {
    ($(#[$doc:meta])* $name:ident = $generic:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name(isa: Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
            #[allow(clippy::too_many_arguments)]
            fn widest($($arg: $type),*) {
                $generic::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn wide($($arg: $type),*) {
                $generic::<true>($($arg),*)
            }
            match isa {
                // SAFETY: the layer was made for these instructions only after checking that the machine has them.
                #[cfg(target_arch = "x86_64")]
                Isa::Vnni => unsafe { widest($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { wide($($arg),*) },
                _ => $generic::<false>($($arg),*),
            }
        }
    };
}

compiled_for_each_isa! {
    /// `out = weight * numbers / sqrt(mean(numbers^2) + eps)`.
    norm = norm_any(numbers: &[f32], weight: &[f32], eps: f32, out: &mut [f32])
}
compiled_for_each_isa! {
    /// Turns each pair (i, i + half) of a head by its angle, times `scale`.
    rotate = rotate_any(head: &mut [f32], cos: &[f32], sin: &[f32], scale: f32)
}
compiled_for_each_isa! {
    /// `gate = gate / (1 + exp(-gate)) * up`.
    gate = gate_any(gate: &mut [f32], up: &[f32])
}
compiled_for_each_isa! {
    /// Eight-bit numbers, a scale for each [`GROUP`], and -128 times the sum of each.
    quantize = quantize_any(numbers: &[f32], values: &mut [i8], scales: &mut [f32], offsets: &mut [i32])
}
compiled_for_each_isa! {
    /// Rows `first..first + out.len() / head_dim` of one head's causal attention; see [`Head`].
    attend = attend_any(head: &Head<'_>, first: usize, scores: &mut [f32], out: &mut [f32])
}

/// One head of one prompt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    /// Rotated and scaled queries, a row each.
    pub(super) queries: &'a [f32],
    /// Values, a row each.
    pub(super) values: &'a [f32],
    /// From one row to the next.
    pub(super) stride: usize,
    /// Rotated keys, a row for each of the head's numbers, [`Head::padded`] apart.
    pub(super) keys: &'a [f32],
    /// Tokens, rounded up to [`KEYS`].
    pub(super) padded: usize,
    /// Width of the head.
    pub(super) head_dim: usize,
}

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `exp` to 2e-7 relative, for arguments up to 88; 0 for those below -87 (Cephes' polynomial).
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    let low = x < -87.0;
    let x = if low { -87.0 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let whole = shifted - MAGIC;
    let rest = fma::<FMA>(whole, -0.693_359_4, x);
    let rest = fma::<FMA>(whole, 2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4;
    sum = fma::<FMA>(sum, rest, 1.398_2e-3);
    sum = fma::<FMA>(sum, rest, 8.333_452e-3);
    sum = fma::<FMA>(sum, rest, 4.166_579_6e-2);
    sum = fma::<FMA>(sum, rest, 1.666_666_5e-1);
    sum = fma::<FMA>(sum, rest, 0.5);
    sum = fma::<FMA>(sum, rest * rest, rest + 1.0);
    let power = (shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127)) << 23;
    let value = sum * f32::from_bits(power);
    if low { 0.0 } else { value }
}

#[inline(always)]
fn quantize_any<const FMA: bool>(numbers: &[f32], values: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    let groups = numbers.chunks(GROUP).zip(values.chunks_exact_mut(GROUP)).zip(scales).zip(offsets);
    for (((numbers, values), group_scale), offset) in groups {
        let mut whole = [0.0_f32; GROUP];
        whole[..numbers.len()].copy_from_slice(numbers);
        let mut most = [0.0_f32; LANES];
        for part in whole.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let size = part[lane].abs();
                most[lane] = if size > most[lane] { size } else { most[lane] };
            }
        }
        let mut largest = 0.0_f32;
        for lane in most {
            largest = largest.max(lane);
        }
        // An overflow earlier on must not become an arbitrary number here.
        let usable = largest > 0.0 && largest < f32::INFINITY;
        let inverse = if usable { 127.0 / largest } else { 0.0 };
        let mut sums = [0_i32; LANES];
        for (values, part) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(whole.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                // Adding this rounds to a whole number (ties to even) in the low bits of the float.
                let shifted = fma::<FMA>(part[lane], inverse, MAGIC);
                let rounded = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
                values[lane] = rounded as i8;
                sums[lane] = sums[lane].wrapping_add(rounded);
            }
        }
        let mut sum = 0_i32;
        for lane in sums {
            sum = sum.wrapping_add(lane);
        }
        *group_scale = if usable { largest / 127.0 } else { 0.0 };
        *offset = sum.wrapping_mul(-128);
    }
}

#[inline(always)]
fn norm_any<const FMA: bool>(numbers: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut squares = [0.0_f32; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for part in whole {
        for lane in 0..LANES {
            squares[lane] = fma::<FMA>(part[lane], part[lane], squares[lane]);
        }
    }
    let mut sum = 0.0;
    for square in squares {
        sum += square;
    }
    for value in rest {
        sum += value * value;
    }
    let scale = 1.0 / (sum / numbers.len() as f32 + eps).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(numbers).zip(weight) {
        *out = value * scale * weight;
    }
}

#[inline(always)]
fn rotate_any<const FMA: bool>(head: &mut [f32], cos: &[f32], sin: &[f32], scale: f32) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (x, y) = (*a * scale, *b * scale);
        *a = fma::<FMA>(x, *cos, -(y * sin));
        *b = fma::<FMA>(y, *cos, x * sin);
    }
}

#[inline(always)]
fn gate_any<const FMA: bool>(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp::<FMA>(-*gate)) * up;
    }
}

#[inline(always)]
fn attend_any<const FMA: bool>(head: &Head<'_>, first: usize, scores: &mut [f32], out: &mut [f32]) {
    let Head { head_dim, padded, .. } = *head;
    let rows = out.len() / head_dim;
    let mut row = 0;
    while row < rows {
        // The last rows of a chunk may be fewer: they are then scored more than once, and written once.
        let count = (rows - row).min(ROWS);
        let keys = first + row + count;
        let mut queries = [&head.queries[..0]; ROWS];
        for (at, query) in queries.iter_mut().enumerate() {
            *query = &head.queries[(first + row + at.min(count - 1)) * head.stride..][..head_dim];
        }
        let mut tile = 0;
        while tile < keys {
            let mut sums = [[0.0_f32; KEYS]; ROWS];
            for number in 0..head_dim {
                let part = &head.keys[number * padded + tile..][..KEYS];
                for at in 0..ROWS {
                    let query = queries[at][number];
                    for key in 0..KEYS {
                        sums[at][key] = fma::<FMA>(query, part[key], sums[at][key]);
                    }
                }
            }
            for at in 0..ROWS {
                scores[at * padded + tile..][..KEYS].copy_from_slice(&sums[at]);
            }
            tile += KEYS;
        }
        let mut inverse = [0.0_f32; ROWS];
        for at in 0..count {
            let seen = first + row + at + 1;
            let scores = &mut scores[at * padded..][..keys.next_multiple_of(LANES)];
            scores[seen..].fill(f32::NEG_INFINITY);
            inverse[at] = 1.0 / softmax::<FMA>(scores);
        }
        let mut column = 0;
        while column < head_dim {
            let left = head_dim - column;
            let heard = Heard { head, keys, column, count, scores, inverse: &inverse };
            if left >= KEYS {
                heard.write::<FMA, KEYS>(&mut out[row * head_dim..]);
                column += KEYS;
            } else {
                heard.write::<FMA, LANES>(&mut out[row * head_dim..]);
                column += LANES;
            }
        }
        row += count;
    }
}

/// Makes scores into `exp(score - largest)` and gives their sum.
#[inline(always)]
fn softmax<const FMA: bool>(scores: &mut [f32]) -> f32 {
    let (parts, _) = scores.as_chunks_mut::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for part in parts.iter() {
        for lane in 0..LANES {
            most[lane] = if part[lane] > most[lane] { part[lane] } else { most[lane] };
        }
    }
    let mut largest = f32::NEG_INFINITY;
    for lane in most {
        largest = largest.max(lane);
    }
    let mut sums = [0.0_f32; LANES];
    for part in parts.iter_mut() {
        for lane in 0..LANES {
            let value = exp::<FMA>(part[lane] - largest);
            part[lane] = value;
            sums[lane] += value;
        }
    }
    let mut sum = 0.0;
    for lane in sums {
        sum += lane;
    }
    sum
}

/// A few rows of attention's result, by columns.
struct Heard<'a> {
    head: &'a Head<'a>,
    keys: usize,
    column: usize,
    count: usize,
    scores: &'a [f32],
    inverse: &'a [f32; ROWS],
}

impl Heard<'_> {
    #[inline(always)]
    fn write<const FMA: bool, const WIDTH: usize>(&self, out: &mut [f32]) {
        let Head { head_dim, padded, .. } = *self.head;
        let mut sums = [[0.0_f32; WIDTH]; ROWS];
        let mut shares = [&self.scores[..0]; ROWS];
        for (at, share) in shares.iter_mut().enumerate() {
            *share = &self.scores[at.min(self.count - 1) * padded..][..self.keys];
        }
        for key in 0..self.keys {
            let part = &self.head.values[key * self.head.stride + self.column..][..WIDTH];
            for at in 0..ROWS {
                let share = shares[at][key];
                for lane in 0..WIDTH {
                    sums[at][lane] = fma::<FMA>(share, part[lane], sums[at][lane]);
                }
            }
        }
        for at in 0..self.count {
            let out = &mut out[at * head_dim + self.column..][..WIDTH];
            for lane in 0..WIDTH {
                out[lane] = sums[at][lane] * self.inverse[at];
            }
        }
    }
}
