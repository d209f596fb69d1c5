//! A differentiable Llama: the same numbers as [`super::super::encoder`], by operations that have gradients.
//!
//! Prompts of a lot are padded at their ends. A causal model never looks there, so only pooling needs to know.

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Shape, Tensor, Var};
use candle_nn::ops::softmax;
use candle_nn::rotary_emb::rope_slow;
use rand::RngExt;
use rand::rngs::StdRng;

use super::Plan;
use crate::classifier::encoder::{EncoderError, Hyper, LayerRole, Role, Weights};

type Made = Result<Tensor, candle_core::Error>;

/// The products of a layer, each with the tensors that are stacked in it.
pub(super) const PRODUCTS: [&[LayerRole]; 4] = [
    &[LayerRole::Query, LayerRole::Key, LayerRole::Value],
    &[LayerRole::Output],
    &[LayerRole::Gate, LayerRole::Up],
    &[LayerRole::Down],
];

/// A Llama up to the layer that is read.
pub(super) struct Reader {
    pub(super) hyper: Hyper,
    embedding: Tensor,
    pub(super) layers: Vec<Layer>,
    cos: Tensor,
    sin: Tensor,
    device: Device,
}

pub(super) struct Layer {
    attention_norm: Tensor,
    ffn_norm: Tensor,
    /// In the order of [`PRODUCTS`].
    pub(super) products: [Product; 4],
}

/// A frozen product, with a low-rank update where it is tuned.
pub(super) struct Product {
    /// Outputs by inputs.
    weight: Tensor,
    change: Option<Change>,
}

/// `B A`: inputs to a few numbers, and those to outputs.
struct Change {
    narrow: Var,
    wide: Var,
}

impl Product {
    fn of(&self, x: &Tensor) -> Made {
        let lead = x.dims()[..x.rank() - 1].to_vec();
        let flat = x.flatten_to(D::Minus2)?;
        let mut y = frozen(&flat, &self.weight)?;
        if let Some(change) = &self.change {
            y = (y + flat.matmul(&change.narrow.t()?)?.matmul(&change.wide.t()?)?)?;
        }
        y.reshape([lead, vec![y.dim(1)?]].concat())
    }

    /// The weights with the update merged, outputs by inputs; `None` where the product is not tuned.
    pub(super) fn merged(&self) -> Result<Option<Tensor>, candle_core::Error> {
        let Some(change) = &self.change else { return Ok(None) };
        let change = change.wide.as_tensor().matmul(change.narrow.as_tensor())?;
        Ok(Some((&self.weight + change)?.to_device(&Device::Cpu)?.detach()))
    }
}

impl Reader {
    pub(super) fn load(
        weights: &mut Weights,
        plan: &Plan,
        device: &Device,
        rng: &mut StdRng,
    ) -> Result<Self, EncoderError> {
        let hyper = weights.hyper().clone();
        let embedding = weights.tensor(Role::Embedding)?.to_device(device)?;
        let mut layers = Vec::with_capacity(plan.read);
        for at in 0..plan.read {
            let mut joined = |roles: &[LayerRole]| -> Result<Tensor, EncoderError> {
                let parts: Result<Vec<Tensor>, _> =
                    roles.iter().map(|role| weights.tensor(Role::Layer(at, *role))).collect();
                Ok(Tensor::cat(&parts?, 0)?.to_device(device)?)
            };
            let attention_norm = joined(&[LayerRole::AttentionNorm])?;
            let ffn_norm = joined(&[LayerRole::FfnNorm])?;
            let mut product = |roles: &[LayerRole]| -> Result<Product, EncoderError> {
                let weight = joined(roles)?;
                let tuned = at + plan.tuned >= plan.read;
                let change = tuned.then(|| Change::new(&weight, plan.rank, rng)).transpose()?;
                Ok(Product { weight, change })
            };
            let products =
                [product(PRODUCTS[0])?, product(PRODUCTS[1])?, product(PRODUCTS[2])?, product(PRODUCTS[3])?];
            layers.push(Layer { attention_norm, ffn_norm, products });
        }
        let frequencies = hyper.rope.frequencies(hyper.head_dim);
        let angles = (0..plan.tokens).flat_map(|at| frequencies.iter().map(move |frequency| at as f64 * frequency));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).collect();
        let table = |values: Vec<f32>| Tensor::from_vec(values, (plan.tokens, frequencies.len()), device);
        Ok(Self { cos: table(cos)?, sin: table(sin)?, hyper, embedding, layers, device: device.clone() })
    }

    /// All parameters that are learned.
    pub(super) fn variables(&self) -> Vec<Var> {
        let changes = self.layers.iter().flat_map(|layer| &layer.products).filter_map(|it| it.change.as_ref());
        changes.flat_map(|change| [change.narrow.clone(), change.wide.clone()]).collect()
    }

    /// The mean over each prompt's states of length one, without the first token's: prompts by width.
    pub(super) fn pooled(&self, prompts: &[&[u32]]) -> Made {
        let longest = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let padded = prompts.iter().flat_map(|ids| {
            let filler = std::iter::repeat_n(0, longest - ids.len());
            ids.iter().copied().chain(filler)
        });
        let ids = Tensor::from_iter(padded, &self.device)?;
        let width = self.hyper.hidden;
        let mut states = self.embedding.index_select(&ids, 0)?.reshape((prompts.len(), longest, width))?;
        let mask = self.mask(longest)?;
        for layer in &self.layers {
            states = self.through(layer, &states, &mask)?;
            if layer.products[0].change.is_none() {
                states = states.detach();
            }
        }
        let shares = prompts.iter().flat_map(|ids| {
            let first = usize::from(ids.len() > 1);
            let share = 1.0 / (ids.len() - first) as f32;
            (0..longest).map(move |at| if (first..ids.len()).contains(&at) { share } else { 0.0 })
        });
        let shares = Tensor::from_iter(shares, &self.device)?.reshape((prompts.len(), 1, longest))?;
        let lengths = (states.sqr()?.sum_keepdim(D::Minus1)? + 1e-24)?.sqrt()?;
        shares.matmul(&states.broadcast_div(&lengths)?)?.squeeze(1)
    }

    fn through(&self, layer: &Layer, states: &Tensor, mask: &Tensor) -> Made {
        let [qkv, output, gate_up, down] = &layer.products;
        let heard = self.attend(&qkv.of(&self.normed(states, &layer.attention_norm)?)?, mask)?;
        let states = (states + output.of(&heard)?)?;
        let gate_up = gate_up.of(&self.normed(&states, &layer.ffn_norm)?)?;
        let gate = gate_up.narrow(D::Minus1, 0, self.hyper.ffn)?.silu()?;
        let up = gate_up.narrow(D::Minus1, self.hyper.ffn, self.hyper.ffn)?;
        &states + down.of(&(gate * up)?)?
    }

    fn normed(&self, x: &Tensor, gains: &Tensor) -> Made {
        let root = (x.sqr()?.mean_keepdim(D::Minus1)? + self.hyper.eps)?.sqrt()?;
        x.broadcast_div(&root)?.broadcast_mul(gains)
    }

    fn attend(&self, qkv: &Tensor, mask: &Tensor) -> Made {
        let Hyper { heads, kv_heads, head_dim, .. } = self.hyper;
        let (prompts, tokens, _) = qkv.dims3()?;
        let part = |from: usize, heads: usize| -> Made {
            let part = qkv.narrow(D::Minus1, from * head_dim, heads * head_dim)?;
            part.reshape((prompts, tokens, heads, head_dim))?.transpose(1, 2)?.contiguous()
        };
        let query = rope_slow(&part(0, heads)?, &self.cos, &self.sin)?;
        let key = rope_slow(&part(heads, kv_heads)?, &self.cos, &self.sin)?;
        let value = part(heads + kv_heads, kv_heads)?;
        // Query heads that share a key head are stacked as more queries of it.
        let group = heads / kv_heads;
        let query = query.reshape((prompts * kv_heads, group * tokens, head_dim))?;
        let key = key.reshape((prompts * kv_heads, tokens, head_dim))?.transpose(1, 2)?;
        let value = value.reshape((prompts * kv_heads, tokens, head_dim))?;
        let scores = (query.matmul(&key.contiguous()?)? * (1.0 / (head_dim as f64).sqrt()))?;
        let scores = scores.reshape((prompts * heads, tokens, tokens))?.broadcast_add(mask)?;
        let shares = softmax(&scores, D::Minus1)?.reshape((prompts * kv_heads, group * tokens, tokens))?;
        let heard = shares.matmul(&value)?.reshape((prompts, heads, tokens, head_dim))?;
        heard.transpose(1, 2)?.contiguous()?.reshape((prompts, tokens, heads * head_dim))
    }

    /// Causal mask: a very negative number where a token would look ahead; not minus infinity, which has no gradient.
    fn mask(&self, tokens: usize) -> Made {
        let ahead = |row: usize| (0..tokens).map(move |column| if column > row { -1e9_f32 } else { 0.0 });
        Tensor::from_iter((0..tokens).flat_map(ahead), &self.device)?.reshape((1, tokens, tokens))
    }
}

impl Change {
    /// Starts as no change: `A` is random, `B` is zero.
    fn new(weight: &Tensor, rank: usize, rng: &mut StdRng) -> Result<Self, candle_core::Error> {
        let (outputs, inputs) = weight.dims2()?;
        let spread = (3.0 / inputs as f32).sqrt();
        let drawn: Vec<f32> = (0..rank * inputs).map(|_| rng.random_range(-1.0f32..1.0) * spread).collect();
        Ok(Self {
            narrow: Var::from_vec(drawn, (rank, inputs), weight.device())?,
            wide: Var::zeros((outputs, rank), DType::F32, weight.device())?,
        })
    }
}

/// `x` times a frozen matrix (outputs by inputs). On a CPU by an operation that does not compute the matrix's own
/// gradient, which would be a third of all work for nothing; elsewhere by the plain product.
fn frozen(x: &Tensor, weight: &Tensor) -> Made {
    if x.device().is_cpu() { x.apply_op1(Frozen { weight: weight.clone() }) } else { x.matmul(&weight.t()?) }
}

struct Frozen {
    weight: Tensor,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape), candle_core::Error> {
        let CpuStorage::F32(values) = storage else {
            return Err(candle_core::Error::Msg("a frozen product takes 32-bit floats".into()));
        };
        let Some((from, to)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::Msg("a frozen product takes rows in a row".into()));
        };
        let x = Tensor::from_slice(&values[from..to], layout.shape(), &Device::Cpu)?;
        let y = x.matmul(&self.weight.t()?)?;
        let shape = y.shape().clone();
        Ok((CpuStorage::F32(y.flatten_all()?.to_vec1()?), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>, candle_core::Error> {
        Ok(Some(gradient.matmul(&self.weight)?))
    }
}
