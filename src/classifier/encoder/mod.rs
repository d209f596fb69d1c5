//! A Llama as an encoder: tokens in, pooled hidden states of chosen layers out.
//!
//! It stops after the last requested layer and never computes logits, because the first few layers hold nearly all that
//! routing needs, and the vocabulary's product would cost more than they do.
//!
//! 1. [`weights`] reads tensors from GGUF or safetensors, [`dimensions`] their sizes.
//! 2. [`block`] computes a layer with candle's own operations, on every device and in every type. [`fused`] does so
//!    fast on a CPU, as one candle operation: [`int8`] has its products, [`vector`] what is between them, for each
//!    instruction set ([`isa`]). Both give the same states within tolerance.
//! 3. Several prompts are packed one after the other, without padding; only attention needs to know where each begins.
//! 4. [`pooling`] makes one vector of each prompt.
//!
//! Not implemented: a key-value cache, sampling, and any architecture but Llama's.

mod block;
mod dimensions;
mod fused;
mod int8;
mod isa;
mod pooling;
mod vector;
mod weights;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use block::Block;
use fused::{Angles, Fused, FusedLayer, Workplaces};
pub use isa::Isa;

pub use dimensions::{Hyper, Rope, Scaling};
pub(super) use dimensions::{number as gguf_number, text as gguf_text};
pub use pooling::Pooling;
pub use weights::{LayerRole, Role, Rows, Weights};
pub(super) use weights::{TUNED, gguf_name};

use crate::config;

/// Why an encoder cannot be loaded, or fails on a prompt.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The model has another architecture.
    #[error("the architecture is `{0}`; only Llama models can be read")]
    Architecture(String),
    /// The file contradicts itself, or needs an option that is not implemented.
    #[error("{0}")]
    Malformed(String),
    /// A file cannot be read.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The device is not available.
    #[error("device `{0}`: {1}")]
    Device(&'static str, String),
    /// A tensor operation failed.
    #[error("{}", without_backtrace(.0))]
    Tensor(#[from] candle_core::Error),
}

/// What an operator can use of an error: where in a library it arose is not for them.
fn without_backtrace(error: &candle_core::Error) -> String {
    use candle_core::Error;
    match error {
        Error::WithBacktrace { inner, .. } => without_backtrace(inner),
        Error::Context { inner, context } => format!("{context}: {}", without_backtrace(inner)),
        Error::WithPath { inner, path } => format!("{}: {}", path.display(), without_backtrace(inner)),
        other => other.to_string(),
    }
}

impl EncoderError {
    pub(super) fn file(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), why: why.to_string() }
    }

    /// The same, with the file it is about.
    pub(super) fn of(self, path: &Path) -> Self {
        match self {
            Self::File { .. } | Self::Device(..) => self,
            other => Self::file(path, other),
        }
    }

    fn missing(name: &str) -> Self {
        Self::Malformed(format!("the file has no tensor `{name}`"))
    }

    fn read(error: std::io::Error) -> Self {
        Self::Malformed(format!("the file cannot be read: {error}"))
    }
}

/// How an encoder is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Where it runs.
    pub device: config::Device,
    /// How weights are held on the processor.
    pub precision: config::Precision,
    /// Processor threads; 0 = as many as there are cores.
    pub threads: usize,
    /// Longest prompt, tokens.
    pub max_tokens: usize,
    /// Layers to load, from the first; `None` = all there are.
    pub layers: Option<usize>,
    /// Instructions used at most, of those the machine has.
    pub isa: Isa,
}

impl Default for Setup {
    fn default() -> Self {
        let settings = config::Classifier::default();
        Self {
            device: settings.device,
            precision: settings.precision,
            threads: settings.threads,
            max_tokens: settings.max_tokens,
            layers: None,
            isa: Isa::detect(),
        }
    }
}

/// A Llama as an encoder.
#[derive(Debug)]
pub struct Encoder {
    hyper: Hyper,
    embedding: Embedding,
    layers: Vec<Layer>,
    /// The final norm; only where all layers are loaded.
    output_norm: Option<Tensor>,
    positions: Positions,
    places: Arc<Workplaces>,
    device: Device,
    threads: rayon::ThreadPool,
}

/// A layer, in one of its two implementations.
#[derive(Debug)]
enum Layer {
    Plain(Block),
    Fused(Arc<FusedLayer>),
}

#[derive(Debug)]
enum Embedding {
    /// The embeddings as in the file: rows are decoded when they are looked up.
    Quantized(Rows),
    Dense(Tensor),
}

/// Cosines and sines of the rotary angles, position by frequency.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    cos: Tensor,
    sin: Tensor,
    /// The same for [`fused`].
    angles: Arc<Angles>,
}

/// The range of one prompt among the packed tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: usize,
    len: usize,
}

impl Encoder {
    /// Loads the weights that it needs.
    ///
    /// # Errors
    ///
    /// The device is not there, or a tensor is missing or malformed.
    pub fn load(weights: &mut Weights, setup: &Setup) -> Result<Self, EncoderError> {
        let hyper = weights.hyper().clone();
        let device = device(setup.device)?;
        let dtype = if device.is_cuda() { DType::BF16 } else { DType::F32 };
        let depth = setup.layers.map_or(hyper.layers, |layers| layers.min(hyper.layers));
        let embedding = match weights.quantized_embedding()? {
            Some(rows) if device.is_cpu() => Embedding::Quantized(rows),
            _ => Embedding::Dense(weights.tensor(Role::Embedding)?.to_dtype(dtype)?.to_device(&device)?),
        };
        // Not of their number: the file may claim any.
        let mut layers = Vec::new();
        let isa = setup.isa.min(Isa::detect());
        let int8 = match setup.precision {
            config::Precision::Full => false,
            config::Precision::Int8 => device.is_cpu(),
            // Without the instructions for it, floats are faster.
            config::Precision::Auto => {
                device.is_cpu() && isa > Isa::Portable && weights.is_quantized() && FusedLayer::fits(&hyper)
            }
        };
        for layer in 0..depth {
            layers.push(match int8 {
                true => Layer::Fused(Arc::new(FusedLayer::load(weights, layer, isa)?)),
                false => Layer::Plain(Block::load(weights, layer, dtype, &device)?),
            });
        }
        let output_norm = if depth == hyper.layers && weights.has(Role::OutputNorm) {
            Some(weights.tensor(Role::OutputNorm)?.to_dtype(dtype)?.to_device(&device)?)
        } else {
            None
        };
        let positions = Positions::new(&hyper, setup.max_tokens, dtype, &device)?;
        // On a GPU, each thread would have a stream of its own, and streams do not wait for one another: all work is one
        // thread's, and it finds the weights there.
        device.synchronize()?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(if device.is_cpu() { setup.threads } else { 1 })
            .thread_name(|at| format!("encoder-{at}"))
            .build()
            .map_err(|error| EncoderError::Malformed(format!("its threads cannot be started: {error}")))?;
        let places = Arc::default();
        Ok(Self { hyper, embedding, layers, output_norm, positions, places, device, threads })
    }

    /// The model's dimensions.
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// Layers that are loaded.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Where it runs: `cpu`, `cuda` or `metal`.
    pub fn device_name(&self) -> &'static str {
        match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        }
    }

    /// The pooled states of each prompt, in order: for each layer asked for, in order, the mean, then the last token's.
    ///
    /// # Errors
    ///
    /// An empty or over-long prompt, a token or a layer that does not exist, states that are not finite, or a failing
    /// device.
    pub fn encode(&self, prompts: &[&[u32]], pooling: &Pooling) -> Result<Vec<Vec<f32>>, EncoderError> {
        let mut pooled = vec![Vec::with_capacity(pooling.width(self.hyper.hidden)); prompts.len()];
        self.forward(prompts, &pooling.layers, |states, spans| {
            for (span, pooled) in spans.iter().zip(&mut pooled) {
                let rows = &states[span.start * self.hyper.hidden..][..span.len * self.hyper.hidden];
                pooling::pool(rows, self.hyper.hidden, pooling, pooled);
            }
        })?;
        // Checked here because a state that is not finite would spoil everything learned from it, and nothing checks
        // later.
        if pooled.iter().flatten().any(|value| !value.is_finite()) {
            return Err(EncoderError::Malformed(
                "its states are not finite numbers: the weights are damaged, or too large for their type".into(),
            ));
        }
        Ok(pooled)
    }

    /// The raw states after each requested layer, with the tokens of all prompts one after the other.
    ///
    /// # Errors
    ///
    /// As for [`Encoder::encode`].
    pub fn states(&self, prompts: &[&[u32]], layers: &[usize]) -> Result<Vec<Vec<f32>>, EncoderError> {
        let mut all = Vec::new();
        self.forward(prompts, layers, |states, _| all.push(states.to_vec()))?;
        Ok(all)
    }

    /// Runs up to the deepest requested layer, handing the states after each one to `each`; layer 0 is the embeddings.
    fn forward(
        &self,
        prompts: &[&[u32]],
        layers: &[usize],
        mut each: impl FnMut(&[f32], &[Span]) + Send,
    ) -> Result<(), EncoderError> {
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        if prompts.iter().any(|prompt| prompt.is_empty()) || longest > self.positions.cos.dim(0)? {
            return Err(EncoderError::Malformed(format!(
                "a prompt must have 1 to {} tokens",
                self.positions.cos.dim(0)?
            )));
        }
        let ids: Vec<u32> = prompts.iter().flat_map(|prompt| prompt.iter().copied()).collect();
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.hyper.vocab) {
            return Err(EncoderError::Malformed(format!("there is no token {id}")));
        }
        let deepest = layers.iter().copied().max().unwrap_or(0);
        if deepest > self.layers.len() || !layers.is_sorted() {
            let depth = self.layers.len();
            return Err(EncoderError::Malformed(format!("layers {layers:?} must ascend, and {depth} are loaded")));
        }
        let mut start = 0;
        let spans = prompts.iter().map(|prompt| {
            let span = Span { start, len: prompt.len() };
            start += prompt.len();
            span
        });
        let spans: Vec<Span> = spans.collect();
        self.threads.install(|| {
            let mut states = self.embed(&ids)?;
            if layers.contains(&0) {
                each(&floats(&states)?, &spans);
            }
            for (at, layer) in self.layers[..deepest].iter().enumerate() {
                states = self.through(layer, &states, &spans)?;
                if layers.contains(&(at + 1)) {
                    let norm = self.output_norm.as_ref().filter(|_| at + 1 == self.layers.len());
                    let shown = match norm {
                        Some(norm) => candle_nn::ops::rms_norm(&states, norm, self.hyper.eps as f32)?,
                        None => states.clone(),
                    };
                    each(&floats(&shown)?, &spans);
                }
            }
            Ok(())
        })
    }

    fn through(&self, layer: &Layer, states: &Tensor, spans: &[Span]) -> Result<Tensor, EncoderError> {
        match layer {
            Layer::Plain(block) => block.forward(states, spans, &self.positions),
            Layer::Fused(layer) => {
                let angles = Arc::clone(&self.positions.angles);
                let (layer, places) = (Arc::clone(layer), Arc::clone(&self.places));
                Ok(states.apply_op1_no_bwd(&Fused { layer, spans: spans.to_vec(), angles, places })?)
            }
        }
    }

    /// Bytes that embeddings and layers take in memory.
    pub fn bytes(&self) -> usize {
        let embedding = match &self.embedding {
            Embedding::Quantized(rows) => rows.bytes(),
            Embedding::Dense(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
        };
        let layer = |layer: &Layer| match layer {
            Layer::Plain(block) => block.bytes(),
            Layer::Fused(layer) => layer.bytes(),
        };
        embedding + self.layers.iter().map(layer).sum::<usize>()
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor, EncoderError> {
        match &self.embedding {
            Embedding::Quantized(rows) => rows.of(ids),
            Embedding::Dense(tensor) => Ok(tensor.index_select(&Tensor::new(ids, &self.device)?, 0)?),
        }
    }
}

fn floats(states: &Tensor) -> Result<Vec<f32>, EncoderError> {
    Ok(states.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

impl Positions {
    fn new(hyper: &Hyper, positions: usize, dtype: DType, device: &Device) -> Result<Self, EncoderError> {
        let frequencies = hyper.rope.frequencies(hyper.head_dim);
        let angles = (0..positions).flat_map(|at| frequencies.iter().map(move |frequency| at as f64 * frequency));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).collect();
        let table =
            |values: &[f32]| Tensor::from_slice(values, (positions, frequencies.len()), device)?.to_dtype(dtype);
        Ok(Self { cos: table(&cos)?, sin: table(&sin)?, angles: Arc::new(Angles { cos, sin }) })
    }
}

/// The device, chosen at run time; a build without CUDA or Metal has only the CPU.
pub(super) fn device(wanted: config::Device) -> Result<Device, EncoderError> {
    let told = |name, is_built_in: bool| {
        move |error: candle_core::Error| {
            let cure = if is_built_in {
                "look for it with its driver's tools".into()
            } else {
                format!("build with --features {name}")
            };
            EncoderError::Device(name, format!("{error}; {cure}, or set classifier.device = \"auto\""))
        }
    };
    let or_cpu = |error: candle_core::Error| {
        tracing::warn!(%error, "The GPU cannot be used: the classifier runs on the CPU");
        Device::Cpu
    };
    let (cuda, metal) = (candle_core::utils::cuda_is_available(), candle_core::utils::metal_is_available());
    match wanted {
        config::Device::Cpu => Ok(Device::Cpu),
        config::Device::Cuda => Device::new_cuda(0).map_err(told("cuda", cuda)),
        config::Device::Metal => Device::new_metal(0).map_err(told("metal", metal)),
        config::Device::Auto if cuda => Ok(Device::new_cuda(0).unwrap_or_else(or_cpu)),
        config::Device::Auto if metal => Ok(Device::new_metal(0).unwrap_or_else(or_cpu)),
        config::Device::Auto => Ok(Device::Cpu),
    }
}

#[cfg(test)]
mod gguf_tests;
#[cfg(test)]
pub(crate) use gguf_tests::made_llama;
#[cfg(test)]
mod tests;
