//! One Llama layer, fast on a CPU: eight-bit products, and everything between them in one pass over tokens that are
//! still in the cache.
//!
//! A layer is three steps, each split over the threads, because only attention looks beyond its own token:
//!
//! 1. by chunk of tokens: norm, quantise, query/key/value product, rotation;
//! 2. by head and chunk: keys transposed, attention;
//! 3. by chunk: output product onto the states, norm, gate and up product, gate, down product onto the states.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use parking_lot::Mutex;
use rayon::prelude::*;

use super::int8::{Activations, BLOCK, Packed};
use super::isa::Isa;
use super::vector::{Head, KEYS, ROWS, attend, gate, norm, rotate};
use super::{EncoderError, Hyper, LayerRole, Role, Span, Weights};

/// Most tokens of a chunk, so that its data stay in a core's cache.
const CHUNK: usize = 66;

/// One layer.
#[derive(Debug)]
pub(super) struct FusedLayer {
    hyper: Hyper,
    isa: Isa,
    attention_norm: Vec<f32>,
    qkv: Packed,
    output: Packed,
    ffn_norm: Vec<f32>,
    gate_up: Packed,
    down: Packed,
}

/// A thread's buffers, kept from one call to the next.
#[derive(Debug, Default)]
struct Workplace {
    activations: Activations,
    floats: Vec<f32>,
    row: Vec<f32>,
}

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Workplaces(Mutex<Vec<Workplace>>);

impl Workplaces {
    fn with<T>(&self, work: impl FnOnce(&mut Workplace) -> T) -> T {
        let mut place = self.0.lock().pop().unwrap_or_default();
        let result = work(&mut place);
        self.0.lock().push(place);
        result
    }
}

impl FusedLayer {
    /// Whether this layer can compute a model of these dimensions; it can for all published ones.
    pub(super) fn fits(hyper: &Hyper) -> bool {
        hyper.hidden.is_multiple_of(BLOCK) && hyper.head_dim.is_multiple_of(16)
    }

    /// Packs the weights of a layer.
    pub(super) fn load(weights: &mut Weights, layer: usize, isa: Isa) -> Result<Self, EncoderError> {
        let hyper = weights.hyper().clone();
        if !Self::fits(&hyper) {
            let Hyper { hidden, head_dim, .. } = hyper;
            let what = format!(
                "precision int8 wants a width of whole {BLOCK}s and heads of whole 16s: {hidden}, {head_dim}"
            );
            return Err(EncoderError::Malformed(what));
        }
        let mut floats = |role: LayerRole| -> Result<Vec<f32>, EncoderError> {
            Ok(weights.tensor(Role::Layer(layer, role))?.flatten_all()?.to_vec1()?)
        };
        let attention_norm = floats(LayerRole::AttentionNorm)?;
        let ffn_norm = floats(LayerRole::FfnNorm)?;
        let mut pack = |roles: &[LayerRole], inputs: usize| -> Result<Packed, EncoderError> {
            let mut rows = Vec::new();
            for role in roles {
                rows.extend(floats(*role)?);
            }
            Ok(Packed::pack(&rows, rows.len() / inputs, inputs))
        };
        Ok(Self {
            isa,
            attention_norm,
            qkv: pack(&[LayerRole::Query, LayerRole::Key, LayerRole::Value], hyper.hidden)?,
            output: pack(&[LayerRole::Output], hyper.heads * hyper.head_dim)?,
            ffn_norm,
            gate_up: pack(&[LayerRole::Gate, LayerRole::Up], hyper.hidden)?,
            down: pack(&[LayerRole::Down], hyper.ffn)?,
            hyper,
        })
    }

    /// Bytes its weights take.
    pub(super) fn bytes(&self) -> usize {
        [&self.qkv, &self.output, &self.gate_up, &self.down].into_iter().map(Packed::bytes).sum()
    }

    /// Takes `states` (tokens by width) through the layer, in place.
    pub(super) fn forward(&self, states: &mut [f32], spans: &[Span], cos: &[f32], sin: &[f32], places: &Workplaces) {
        let Hyper { hidden, heads, head_dim, .. } = self.hyper;
        let tokens = states.len() / hidden;
        let chunk = chunk(tokens);
        let stride = self.qkv.width();
        let positions: Vec<usize> = spans.iter().flat_map(|span| 0..span.len).collect();

        let mut qkv = vec![0.0; tokens * stride];
        let chunks = qkv
            .par_chunks_mut(chunk * stride)
            .zip(states.par_chunks(chunk * hidden))
            .zip(positions.par_chunks(chunk));
        chunks.for_each(|((qkv, states), positions)| {
            places.with(|place| self.ask(states, positions, cos, sin, qkv, place));
        });

        // Each head's rows are contiguous and padded to whole chunks, so that no two threads write to the same place.
        let rows = |span: &Span| span.len.next_multiple_of(KEYS);
        let keys: Vec<Vec<f32>> = spans
            .par_iter()
            .flat_map(|span| (0..self.hyper.kv_heads).into_par_iter().map(move |head| (span, head)))
            .map(|(span, head)| self.turn_keys(&qkv[span.start * stride..], span.len, head))
            .collect();
        let total: usize = spans.iter().map(rows).sum();
        let mut heard = vec![0.0; heads * total * head_dim];
        let mut tasks = Vec::new();
        let mut left = heard.as_mut_slice();
        for (at, span) in spans.iter().enumerate() {
            for head in 0..heads {
                let (mine, others) = left.split_at_mut(rows(span) * head_dim);
                left = others;
                let chunks = mine.chunks_mut(KEYS * head_dim).enumerate();
                tasks.extend(chunks.map(|(chunk, out)| (at, head, chunk * KEYS, out)));
            }
        }
        tasks.into_par_iter().for_each(|(at, head, first, out)| {
            let span = spans[at];
            let kv_head = head / (heads / self.hyper.kv_heads);
            let qkv = &qkv[span.start * stride..];
            let told = Head {
                queries: &qkv[head * head_dim..],
                values: &qkv[(heads + self.hyper.kv_heads + kv_head) * head_dim..],
                stride,
                keys: &keys[at * self.hyper.kv_heads + kv_head],
                padded: rows(&span),
                head_dim,
            };
            let out = &mut out[..(span.len - first).min(KEYS) * head_dim];
            places.with(|place| {
                place.floats.resize(place.floats.len().max(ROWS * told.padded), 0.0);
                attend(self.isa, &told, first, &mut place.floats, out);
            });
        });

        // Where each token's part of each head lies in `heard`.
        let mut begin = 0;
        let mut places_of = Vec::with_capacity(tokens);
        for span in spans {
            places_of.extend((0..span.len).map(|token| (begin + token * head_dim, rows(span) * head_dim)));
            begin += heads * rows(span) * head_dim;
        }
        let chunks = states.par_chunks_mut(chunk * hidden).zip(places_of.par_chunks(chunk));
        chunks.for_each(|(states, places_of)| {
            places.with(|place| self.answer(states, &heard, places_of, place));
        });
    }

    /// Norm, product and rotation of a chunk.
    fn ask(
        &self,
        states: &[f32],
        positions: &[usize],
        cos: &[f32],
        sin: &[f32],
        qkv: &mut [f32],
        place: &mut Workplace,
    ) {
        let Hyper { hidden, heads, kv_heads, head_dim, .. } = self.hyper;
        self.normed(states, &self.attention_norm, place);
        let stride = self.qkv.width();
        self.qkv.multiply(self.isa, &place.activations, qkv, stride, false);
        let half = head_dim / 2;
        let scale = 1.0 / (head_dim as f32).sqrt();
        debug_assert_eq!(states.len() / hidden, positions.len());
        for (row, position) in qkv.chunks_exact_mut(stride).zip(positions) {
            let (cos, sin) = (&cos[position * half..][..half], &sin[position * half..][..half]);
            for (head, numbers) in row.chunks_exact_mut(head_dim).take(heads + kv_heads).enumerate() {
                rotate(self.isa, numbers, cos, sin, if head < heads { scale } else { 1.0 });
            }
        }
    }

    /// The keys of one head, transposed: a row for each of the head's dimensions, with zeros after the last token.
    fn turn_keys(&self, qkv: &[f32], tokens: usize, head: usize) -> Vec<f32> {
        let Hyper { heads, head_dim, .. } = self.hyper;
        let (stride, padded) = (self.qkv.width(), tokens.next_multiple_of(KEYS));
        let mut turned = vec![0.0; head_dim * padded];
        let from = (heads + head) * head_dim;
        // Sixteen tokens at a time write whole cache lines.
        for first in (0..tokens).step_by(16) {
            let count = (tokens - first).min(16);
            for number in 0..head_dim {
                let out = &mut turned[number * padded + first..][..count];
                for (token, out) in out.iter_mut().enumerate() {
                    *out = qkv[(first + token) * stride + from + number];
                }
            }
        }
        turned
    }

    /// Everything after attention, of a chunk.
    fn answer(&self, states: &mut [f32], heard: &[f32], places_of: &[(usize, usize)], place: &mut Workplace) {
        let Hyper { hidden, heads, head_dim, ffn, .. } = self.hyper;
        let tokens = places_of.len();
        place.activations.resize(tokens, heads * head_dim);
        place.row.resize(heads * head_dim, 0.0);
        for (token, (begin, apart)) in places_of.iter().enumerate() {
            for (head, row) in place.row.chunks_exact_mut(head_dim).enumerate() {
                row.copy_from_slice(&heard[begin + head * apart..][..head_dim]);
            }
            place.activations.set(self.isa, token, &place.row);
        }
        self.output.multiply(self.isa, &place.activations, states, hidden, true);

        self.normed(states, &self.ffn_norm, place);
        let stride = self.gate_up.width();
        place.floats.resize(place.floats.len().max(tokens * stride), 0.0);
        self.gate_up.multiply(self.isa, &place.activations, &mut place.floats, stride, false);
        place.activations.resize(tokens, ffn);
        for (token, row) in place.floats.chunks_exact_mut(stride).take(tokens).enumerate() {
            let (gates, up) = row.split_at_mut(ffn);
            gate(self.isa, gates, &up[..ffn]);
            place.activations.set(self.isa, token, gates);
        }
        self.down.multiply(self.isa, &place.activations, states, hidden, true);
    }

    /// Norm of each state, quantised.
    fn normed(&self, states: &[f32], weight: &[f32], place: &mut Workplace) {
        let hidden = self.hyper.hidden;
        place.activations.resize(states.len() / hidden, hidden);
        place.row.resize(hidden, 0.0);
        for (token, state) in states.chunks_exact(hidden).enumerate() {
            norm(self.isa, state, weight, self.hyper.eps as f32, &mut place.row);
            place.activations.set(self.isa, token, &place.row);
        }
    }
}

/// A layer as one of candle's operations, for one call.
pub(super) struct Fused {
    pub(super) layer: Arc<FusedLayer>,
    pub(super) spans: Vec<Span>,
    pub(super) angles: Arc<Angles>,
    pub(super) places: Arc<Workplaces>,
}

/// Cosines and sines of the rotary angles, position by frequency.
#[derive(Debug)]
pub(super) struct Angles {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        "llama-layer-int8"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let CpuStorage::F32(states) = storage else { candle_core::bail!("states must be 32-bit floats") };
        let Some((from, to)) = layout.contiguous_offsets() else { candle_core::bail!("states must be contiguous") };
        let mut states = states[from..to].to_vec();
        self.layer.forward(&mut states, &self.spans, &self.angles.cos, &self.angles.sin, &self.places);
        Ok((CpuStorage::F32(states), layout.shape().clone()))
    }
}

/// Tokens of a chunk: an even share for each thread, or less where that is too much for the cache.
fn chunk(tokens: usize) -> usize {
    let threads = rayon::current_num_threads();
    let chunks = tokens.div_ceil(CHUNK).max(1).next_multiple_of(threads);
    tokens.div_ceil(chunks).max(1)
}
