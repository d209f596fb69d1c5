//! Tensors by their role, from GGUF or from safetensors: names, layouts and types differ, and nobody else needs to know.
//!
//! Tensors are handed out one at a time and given away, so that a model is never in memory twice. GGUF's Llama files hold
//! the rows of Q and K in another order than everybody else (each head's halves interleaved); they are put back here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{EncoderError, Hyper, Scaling};

/// A tensor's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Token embeddings.
    Embedding,
    /// The norm after the last layer.
    OutputNorm,
    /// One of layer `usize`'s.
    Layer(usize, LayerRole),
}

/// A tensor's role within a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerRole {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    FfnNorm,
    Gate,
    Up,
    Down,
}

/// Where tensors come from.
pub struct Weights {
    file: File,
    hyper: Hyper,
    /// The whole file, where it lies in memory for good.
    bytes: Option<&'static [u8]>,
    /// Samples of the tensors handed out, by name.
    samples: BTreeMap<String, [u8; 32]>,
}

enum File {
    Gguf { content: Content, reader: Box<dyn ReadSeek> },
    Safetensors(MmapedSafetensors),
}

trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("hyper", &self.hyper).finish_non_exhaustive()
    }
}

impl Weights {
    /// A GGUF file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no Llama.
    pub fn open_gguf(path: &Path) -> Result<Self, EncoderError> {
        let file = std::fs::File::open(path).map_err(|error| EncoderError::file(path, error))?;
        Self::gguf(Box::new(std::io::BufReader::new(file))).map_err(|error| match error {
            // What is no GGUF at all is not told by its name.
            EncoderError::Tensor(error) => {
                EncoderError::file(path, format!("is no GGUF file that can be read: {error}"))
            }
            other => other,
        })
    }

    /// GGUF in memory.
    ///
    /// # Errors
    ///
    /// It is no Llama.
    pub fn gguf_bytes(bytes: &'static [u8]) -> Result<Self, EncoderError> {
        Ok(Self { bytes: Some(bytes), ..Self::gguf(Box::new(Cursor::new(bytes)))? })
    }

    fn gguf(mut reader: Box<dyn ReadSeek>) -> Result<Self, EncoderError> {
        let content = Content::read(&mut reader)?;
        let mut hyper = Hyper::from_gguf(&content)?;
        if content.tensor_infos.contains_key("rope_freqs.weight") {
            let divisors =
                content.tensor(&mut reader, "rope_freqs.weight", &Device::Cpu)?.dequantize(&Device::Cpu)?;
            let divisors = divisors.flatten_all()?.to_vec1::<f32>()?;
            hyper.rope.scaling = Scaling::Table(divisors.into_iter().map(f64::from).collect());
        }
        Ok(Self { file: File::Gguf { content, reader }, hyper, bytes: None, samples: BTreeMap::new() })
    }

    /// A folder with `config.json` and `model.safetensors`, or with shards and their index.
    ///
    /// # Errors
    ///
    /// A file is missing or broken, or it is no Llama.
    pub fn open_folder(folder: &Path) -> Result<Self, EncoderError> {
        let config = folder.join("config.json");
        let text = std::fs::read_to_string(&config).map_err(|error| EncoderError::file(&config, error))?;
        let hyper = Hyper::from_json(&text)?;
        let shards = shards(folder)?;
        // SAFETY: the files must not be changed while they are mapped. They are model weights in a cache or a folder of
        // the operator's; whoever rewrites them in place under a running gateway breaks it, as with a shared library.
        let mapped = unsafe { MmapedSafetensors::multi(&shards)? };
        Ok(Self { file: File::Safetensors(mapped), hyper, bytes: None, samples: BTreeMap::new() })
    }

    /// The model's dimensions.
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// GGUF metadata, where it is GGUF.
    pub fn content(&self) -> Option<&Content> {
        match &self.file {
            File::Gguf { content, .. } => Some(content),
            File::Safetensors(_) => None,
        }
    }

    /// The type of a layer's products in the file: `Q8_0`, `BF16`...
    pub fn type_name(&self) -> String {
        let role = Role::Layer(0, LayerRole::Gate);
        match &self.file {
            File::Gguf { content, .. } => {
                let info = content.tensor_infos.get(&gguf_name(role));
                info.map_or_else(String::new, |info| format!("{:?}", info.ggml_dtype))
            }
            File::Safetensors(file) => {
                let view = file.get(&hub_name(role));
                view.map_or_else(|_| String::new(), |view| format!("{:?}", view.dtype()))
            }
        }
    }

    /// Whether the products are quantised in the file.
    pub fn is_quantized(&self) -> bool {
        match &self.file {
            File::Gguf { content, .. } => {
                let info = content.tensor_infos.get(&gguf_name(Role::Layer(0, LayerRole::Gate)));
                info.is_some_and(|it| !matches!(it.ggml_dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16))
            }
            File::Safetensors(_) => false,
        }
    }

    /// Whether a tensor of that role exists.
    pub fn has(&self, role: Role) -> bool {
        match &self.file {
            File::Gguf { content, .. } => content.tensor_infos.contains_key(&gguf_name(role)),
            File::Safetensors(file) => file.get(&hub_name(role)).is_ok(),
        }
    }

    /// A tensor as 32-bit floats in memory, in the layout of the published checkpoints.
    ///
    /// # Errors
    ///
    /// It is missing, has the wrong shape, or cannot be read.
    pub fn tensor(&mut self, role: Role) -> Result<Tensor, EncoderError> {
        let tensor = match &mut self.file {
            File::Gguf { content, reader } => {
                let name = gguf_name(role);
                let info = content.tensor_infos.get(&name).ok_or_else(|| EncoderError::missing(&name))?;
                info.read(reader, content.tensor_data_offset, &Device::Cpu)?.dequantize(&Device::Cpu)?
            }
            File::Safetensors(file) => file.load(&hub_name(role), &Device::Cpu)?.to_dtype(DType::F32)?,
        };
        let expected = self.shape(role);
        if tensor.dims() != expected {
            let found = tensor.dims();
            return Err(EncoderError::Malformed(format!("{role:?} is {found:?} and should be {expected:?}")));
        }
        let heads = match (&self.file, role) {
            (File::Gguf { .. }, Role::Layer(_, LayerRole::Query)) => Some(self.hyper.heads),
            (File::Gguf { .. }, Role::Layer(_, LayerRole::Key)) => Some(self.hyper.kv_heads),
            _ => None,
        };
        let tensor = match heads {
            Some(heads) => interleaved_to_halves(&tensor, heads)?,
            None => tensor,
        };
        if matches!(role, Role::Layer(0..FINGERPRINT_LAYERS, _)) {
            self.samples.insert(hub_name(role), sample(&tensor)?);
        }
        Ok(tensor)
    }

    /// A name that changes with the weights of the first layers, made of samples of those that were handed out: the same
    /// for the same model, whatever the device, and cheap for the largest.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{} {} {} ", self.hyper.vocab, self.hyper.hidden, self.hyper.layers));
        for (name, sample) in &self.samples {
            hash.update(name);
            hash.update(sample);
        }
        // What was tuned may lie behind the layers that are sampled.
        if let Some(tuned) = self.content().and_then(|content| super::gguf_text(content, TUNED)) {
            hash.update(tuned);
        }
        let digits: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("llama-{digits}")
    }

    /// The embeddings as they are in a GGUF file, quantised or not; `None` for safetensors. Those of a file that lies in
    /// memory stay where they are.
    ///
    /// # Errors
    ///
    /// They are missing or cannot be read.
    pub fn quantized_embedding(&mut self) -> Result<Option<Rows>, EncoderError> {
        let expected = self.shape(Role::Embedding);
        let File::Gguf { content, reader } = &mut self.file else { return Ok(None) };
        let name = gguf_name(Role::Embedding);
        let info = content.tensor_infos.get(&name).ok_or_else(|| EncoderError::missing(&name))?;
        let (dims, dtype) = (info.shape.dims(), info.ggml_dtype);
        if dims != expected || !dims[1].is_multiple_of(dtype.block_size()) {
            return Err(EncoderError::Malformed(format!("{name} is {dims:?}")));
        }
        let row = dims[1] / dtype.block_size() * dtype.type_size();
        if let Some(bytes) = self.bytes {
            let start = content.tensor_data_offset.saturating_add(info.offset) as usize;
            let rows = bytes.get(start..).and_then(|rest| rest.get(..dims[0] * row));
            let bytes = rows.ok_or_else(|| EncoderError::Malformed(format!("{name} is cut short")))?;
            return Ok(Some(Rows::Borrowed { bytes, dtype, row, width: dims[1] }));
        }
        let tensor = info.read(reader, content.tensor_data_offset, &Device::Cpu)?;
        Ok(Some(Rows::Owned(Arc::new(tensor))))
    }

    /// The bytes of a GGUF tensor, as they are in the file.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is cut short.
    pub fn raw(&mut self, name: &str) -> Result<(GgmlDType, Vec<usize>, Vec<u8>), EncoderError> {
        let File::Gguf { content, reader } = &mut self.file else {
            return Err(EncoderError::Malformed("not a GGUF file".into()));
        };
        let info = content.tensor_infos.get(name).ok_or_else(|| EncoderError::missing(name))?;
        let bytes = info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        let mut data = vec![0; bytes];
        reader.seek(SeekFrom::Start(content.tensor_data_offset + info.offset)).map_err(EncoderError::read)?;
        reader.read_exact(&mut data).map_err(EncoderError::read)?;
        Ok((info.ggml_dtype, info.shape.dims().to_vec(), data))
    }

    /// Rows of a tensor.
    pub(in crate::classifier) fn rows(&self, role: Role) -> usize {
        self.shape(role)[0]
    }

    fn shape(&self, role: Role) -> Vec<usize> {
        let hyper = &self.hyper;
        let (queries, keys) = (hyper.heads * hyper.head_dim, hyper.kv_heads * hyper.head_dim);
        match role {
            Role::Embedding => vec![hyper.vocab, hyper.hidden],
            Role::OutputNorm | Role::Layer(_, LayerRole::AttentionNorm | LayerRole::FfnNorm) => vec![hyper.hidden],
            Role::Layer(_, LayerRole::Query) => vec![queries, hyper.hidden],
            Role::Layer(_, LayerRole::Key | LayerRole::Value) => vec![keys, hyper.hidden],
            Role::Layer(_, LayerRole::Output) => vec![hyper.hidden, queries],
            Role::Layer(_, LayerRole::Gate | LayerRole::Up) => vec![hyper.ffn, hyper.hidden],
            Role::Layer(_, LayerRole::Down) => vec![hyper.hidden, hyper.ffn],
        }
    }
}

/// Rows of a matrix that are decoded when they are asked for.
#[derive(Debug)]
pub enum Rows {
    /// A tensor.
    Owned(Arc<QTensor>),
    /// Part of a file in memory: only the pages of rows that are used take any.
    Borrowed {
        /// All rows.
        bytes: &'static [u8],
        /// Their type.
        dtype: GgmlDType,
        /// Bytes of a row.
        row: usize,
        /// Numbers of a row.
        width: usize,
    },
}

impl Rows {
    /// The rows of these numbers, which must exist.
    pub(super) fn of(&self, ids: &[u32]) -> Result<Tensor, EncoderError> {
        match self {
            Self::Owned(tensor) => Ok(tensor.embedding(&Tensor::new(ids, &Device::Cpu)?)?),
            Self::Borrowed { bytes, dtype, row, width } => {
                let chosen: Vec<u8> =
                    ids.iter().flat_map(|id| &bytes[*id as usize * row..][..*row]).copied().collect();
                let storage = QStorage::from_data(chosen.into(), &Device::Cpu, *dtype)?;
                Ok(QTensor::new(storage, (ids.len(), *width))?.dequantize(&Device::Cpu)?)
            }
        }
    }

    /// Bytes it keeps in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Owned(tensor) => tensor.storage_size_in_bytes(),
            Self::Borrowed { .. } => 0,
        }
    }
}

/// GGUF's key for a hash of what was learned, in a file that `train --finetune` wrote.
pub(in crate::classifier) const TUNED: &str = "pointsman.tuned";

/// Layers whose weights make the fingerprint.
const FINGERPRINT_LAYERS: usize = 4;

/// A hash of about a thousand of a tensor's numbers.
fn sample(tensor: &Tensor) -> Result<[u8; 32], EncoderError> {
    let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
    let mut hash = Sha256::new();
    for number in numbers.iter().step_by((numbers.len() / 1024).max(1)) {
        hash.update(number.to_le_bytes());
    }
    Ok(hash.finalize().into())
}

/// GGUF's name of a tensor.
pub(in crate::classifier) fn gguf_name(role: Role) -> String {
    match role {
        Role::Embedding => "token_embd.weight".into(),
        Role::OutputNorm => "output_norm.weight".into(),
        Role::Layer(layer, role) => {
            let name = match role {
                LayerRole::AttentionNorm => "attn_norm",
                LayerRole::Query => "attn_q",
                LayerRole::Key => "attn_k",
                LayerRole::Value => "attn_v",
                LayerRole::Output => "attn_output",
                LayerRole::FfnNorm => "ffn_norm",
                LayerRole::Gate => "ffn_gate",
                LayerRole::Up => "ffn_up",
                LayerRole::Down => "ffn_down",
            };
            format!("blk.{layer}.{name}.weight")
        }
    }
}

/// The published checkpoints' name of a tensor.
fn hub_name(role: Role) -> String {
    match role {
        Role::Embedding => "model.embed_tokens.weight".into(),
        Role::OutputNorm => "model.norm.weight".into(),
        Role::Layer(layer, role) => {
            let name = match role {
                LayerRole::AttentionNorm => "input_layernorm",
                LayerRole::Query => "self_attn.q_proj",
                LayerRole::Key => "self_attn.k_proj",
                LayerRole::Value => "self_attn.v_proj",
                LayerRole::Output => "self_attn.o_proj",
                LayerRole::FfnNorm => "post_attention_layernorm",
                LayerRole::Gate => "mlp.gate_proj",
                LayerRole::Up => "mlp.up_proj",
                LayerRole::Down => "mlp.down_proj",
            };
            format!("model.layers.{layer}.{name}.weight")
        }
    }
}

/// Rows of each head from GGUF's order (0, h, 1, h+1, ...) to (0, 1, ..., h, h+1, ...).
fn interleaved_to_halves(tensor: &Tensor, heads: usize) -> Result<Tensor, EncoderError> {
    let (rows, columns) = tensor.dims2()?;
    let half = rows / heads / 2;
    Ok(tensor.reshape((heads, half, 2, columns))?.transpose(1, 2)?.contiguous()?.reshape((rows, columns))?)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The safetensors files of a folder.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, EncoderError> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).map_err(|error| EncoderError::file(&index, error))?;
    let index: Index = serde_json::from_str(&text).map_err(|error| EncoderError::file(&index, error))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    // A name is a file in this folder, never a way out of it.
    if let Some(name) = names.iter().find(|name| name.contains(['/', '\\']) || name.as_str() == "..") {
        return Err(EncoderError::Malformed(format!("the index names `{name}`, which is no file beside it")));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
