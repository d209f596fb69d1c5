//! One Llama layer by candle's own operations, on every device and in every type.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope;

use super::{EncoderError, Hyper, LayerRole, Positions, Role, Span, Weights};

/// One layer.
#[derive(Debug)]
pub(super) struct Block {
    hyper: Hyper,
    attention_norm: Tensor,
    /// Query, key and value products in one matrix, inputs by outputs.
    qkv: Tensor,
    output: Tensor,
    ffn_norm: Tensor,
    /// Gate and up products in one matrix, inputs by outputs.
    gate_up: Tensor,
    down: Tensor,
}

impl Block {
    pub(super) fn load(
        weights: &mut Weights,
        layer: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        let hyper = weights.hyper().clone();
        let mut joined = |roles: &[LayerRole]| -> Result<Tensor, EncoderError> {
            let parts: Result<Vec<Tensor>, _> =
                roles.iter().map(|role| weights.tensor(Role::Layer(layer, *role))).collect();
            Ok(Tensor::cat(&parts?, 0)?.to_dtype(dtype)?.to_device(device)?)
        };
        let attention_norm = joined(&[LayerRole::AttentionNorm])?;
        let ffn_norm = joined(&[LayerRole::FfnNorm])?;
        let mut product =
            |roles: &[LayerRole]| -> Result<Tensor, EncoderError> { Ok(joined(roles)?.t()?.contiguous()?) };
        Ok(Self {
            attention_norm,
            qkv: product(&[LayerRole::Query, LayerRole::Key, LayerRole::Value])?,
            output: product(&[LayerRole::Output])?,
            ffn_norm,
            gate_up: product(&[LayerRole::Gate, LayerRole::Up])?,
            down: product(&[LayerRole::Down])?,
            hyper,
        })
    }

    /// Bytes its weights take.
    pub(super) fn bytes(&self) -> usize {
        let products = [&self.qkv, &self.output, &self.gate_up, &self.down].into_iter();
        products.map(|it| it.elem_count() * it.dtype().size_in_bytes()).sum()
    }

    /// States (tokens by width) through the layer.
    pub(super) fn forward(
        &self,
        states: &Tensor,
        spans: &[Span],
        positions: &Positions,
    ) -> Result<Tensor, EncoderError> {
        let eps = self.hyper.eps as f32;
        let qkv = rms_norm(states, &self.attention_norm, eps)?.matmul(&self.qkv)?;
        let heard: Result<Vec<Tensor>, EncoderError> =
            spans.iter().map(|span| self.attend(&qkv.narrow(0, span.start, span.len)?, positions)).collect();
        let states = (states + Tensor::cat(&heard?, 0)?.matmul(&self.output)?)?;
        let gate_up = rms_norm(&states, &self.ffn_norm, eps)?.matmul(&self.gate_up)?;
        let gate = silu(&gate_up.narrow(1, 0, self.hyper.ffn)?.contiguous()?)?;
        let up = gate_up.narrow(1, self.hyper.ffn, self.hyper.ffn)?;
        Ok((&states + (gate * up)?.matmul(&self.down)?)?)
    }

    /// Causal attention within one prompt.
    fn attend(&self, qkv: &Tensor, positions: &Positions) -> Result<Tensor, EncoderError> {
        let Hyper { heads, kv_heads, head_dim, .. } = self.hyper;
        let tokens = qkv.dim(0)?;
        let part = |from: usize, heads: usize| -> Result<Tensor, candle_core::Error> {
            let part = qkv.narrow(1, from * head_dim, heads * head_dim)?;
            part.reshape((tokens, heads, head_dim))?.transpose(0, 1)?.unsqueeze(0)?.contiguous()
        };
        let (cos, sin) = (positions.cos.narrow(0, 0, tokens)?, positions.sin.narrow(0, 0, tokens)?);
        let query = rope(&part(0, heads)?, &cos, &sin)?;
        let key = rope(&part(heads, kv_heads)?, &cos, &sin)?;
        let value = part(heads + kv_heads, kv_heads)?;
        // Query heads that share a key head are stacked as more queries of it.
        let group = heads / kv_heads;
        let query = query.reshape((kv_heads, group * tokens, head_dim))?;
        let key = key.squeeze(0)?.transpose(1, 2)?.contiguous()?;
        let scores = (query.matmul(&key)? * (1.0 / (head_dim as f64).sqrt()))?.to_dtype(DType::F32)?;
        let scores =
            scores.reshape((kv_heads * group, tokens, tokens))?.broadcast_add(&mask(tokens, qkv.device())?)?;
        let shares = softmax_last_dim(&scores)?.to_dtype(qkv.dtype())?.reshape((kv_heads, group * tokens, tokens))?;
        let heard = shares.matmul(&value.squeeze(0)?)?.reshape((heads, tokens, head_dim))?;
        Ok(heard.transpose(0, 1)?.contiguous()?.flatten_from(D::Minus2)?)
    }
}

/// Minus infinity where a token would look ahead.
fn mask(tokens: usize, device: &Device) -> Result<Tensor, candle_core::Error> {
    let ahead = |row: usize| (0..tokens).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 });
    let values: Vec<f32> = (0..tokens).flat_map(ahead).collect();
    Tensor::from_vec(values, (1, tokens, tokens), device)
}
