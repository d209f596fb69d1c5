//! Tensors by role, from GGUF or from safetensors, whose names, layouts and types differ.
//!
//! Tensors are handed out one at a time and not kept, so that a model is never in memory twice. GGUF's Llama files hold
//! the rows of Q and K in another order than other formats (each head's halves interleaved); that is undone here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::gguf_file::{Content, TensorInfo};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::dimensions::lacking;
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

impl LayerRole {
    /// All roles, in the order in which they are written.
    pub(in crate::classifier) const ALL: [Self; 9] = [
        Self::AttentionNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::FfnNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// GGUF's name within a layer.
    fn in_gguf(self) -> &'static str {
        match self {
            Self::AttentionNorm => "attn_norm",
            Self::Query => "attn_q",
            Self::Key => "attn_k",
            Self::Value => "attn_v",
            Self::Output => "attn_output",
            Self::FfnNorm => "ffn_norm",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// The published checkpoints' name within a layer.
    fn in_hub(self) -> &'static str {
        match self {
            Self::AttentionNorm => "input_layernorm",
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.o_proj",
            Self::FfnNorm => "post_attention_layernorm",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }
}

/// Where tensors come from.
pub struct Weights {
    file: File,
    hyper: Hyper,
    /// The whole file, where it is in static memory.
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
        Self::gguf(Box::new(std::io::BufReader::new(file))).map_err(|error| error.of(path))
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
        let content = Content::read(&mut reader).map_err(|error| {
            let error = EncoderError::from(error);
            EncoderError::Malformed(format!(
                "no GGUF file, or a damaged one ({error}); if it should be one, fetch it again"
            ))
        })?;
        whole(&content, &mut reader)?;
        let mut hyper = Hyper::from_gguf(&content)?;
        let names = content.tensor_infos.keys().map(String::as_str);
        if let Some(name) = foreign(names, "blk.", "attn_rot_embd", LayerRole::in_gguf) {
            return Err(lacking(format!("the tensor `{name}`")));
        }
        if content.tensor_infos.contains_key("rope_freqs.weight") {
            let divisors =
                content.tensor(&mut reader, "rope_freqs.weight", &Device::Cpu)?.dequantize(&Device::Cpu)?;
            let divisors = divisors.flatten_all()?.to_vec1::<f32>()?;
            hyper.rope.scaling = Scaling::Table(divisors.into_iter().map(f64::from).collect());
            hyper = hyper.checked()?;
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
        let hyper = Hyper::from_json(&text).map_err(|error| error.of(&config))?;
        let shards = shards(folder)?;
        // SAFETY: the files must not be changed while they are mapped. They are model weights in a cache or a folder of
        // the operator's; rewriting them in place under a running gateway breaks it, as with a shared library.
        let mapped = unsafe { MmapedSafetensors::multi(&shards) }.map_err(|error| {
            let error = EncoderError::from(error);
            EncoderError::file(folder, format!("its safetensors cannot be read ({error}); cut off? fetch them again"))
        })?;
        let tensors = mapped.tensors();
        let names = tensors.iter().map(|(name, _)| name.as_str());
        if let Some(name) = foreign(names, "model.layers.", "self_attn.rotary_emb", LayerRole::in_hub) {
            return Err(lacking(format!("the tensor `{name}`")).of(folder));
        }
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
            let name = self.name(role);
            return Err(EncoderError::Malformed(format!("{name} is {found:?} and should be {expected:?}")));
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
        // Those of a GGUF file are sampled as they are handed out by whichever device.
        if role != Role::Embedding || matches!(self.file, File::Safetensors(_)) {
            self.samples.insert(hub_name(role), sample(&tensor)?);
        }
        Ok(tensor)
    }

    /// A name that changes with everything that states depend on: dimensions, rotary positions, the tokenizer
    /// (`text_to_tokens`, a hash), and the weights, by samples of those that were handed out. It does not depend on the
    /// device, and is cheap even for the largest models.
    pub fn fingerprint(&self, text_to_tokens: &[u8; 32]) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.hyper));
        hash.update(text_to_tokens);
        for (name, sample) in &self.samples {
            hash.update(name);
            hash.update(sample);
        }
        // Tuned weights may differ only between the numbers that are sampled.
        if let Some(tuned) = self.content().and_then(|content| super::gguf_text(content, TUNED)) {
            hash.update(tuned);
        }
        let digits = format!("{:x}", hash.finalize());
        let name = format!("llama-{}", &digits[..16]);
        if name == SHIPPED.0 { SHIPPED.1.to_owned() } else { name }
    }

    /// The embeddings as they are in a GGUF file, quantised or not; `None` for safetensors. Those of a file in static
    /// memory are not copied.
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
            self.samples.insert(hub_name(Role::Embedding), ends(bytes));
            return Ok(Some(Rows::Borrowed { bytes, dtype, row, width: dims[1] }));
        }
        let tensor = info.read(reader, content.tensor_data_offset, &Device::Cpu)?;
        self.samples.insert(hub_name(Role::Embedding), ends(&tensor.data()?));
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

    /// A tensor's name in the file.
    fn name(&self, role: Role) -> String {
        match &self.file {
            File::Gguf { .. } => gguf_name(role),
            File::Safetensors(_) => hub_name(role),
        }
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
    /// Part of a file in static memory: only pages of rows that are used become resident.
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

/// The builtin encoder's fingerprint, and the name for it in the builtin head, which is older than what is hashed now.
/// The next shipped encoder will not need it.
const SHIPPED: (&str, &str) = ("llama-d62a7b13d1203efc", "llama-cad65f74fa9da0a9");

/// A hash of about a thousand of a tensor's numbers.
fn sample(tensor: &Tensor) -> Result<[u8; 32], EncoderError> {
    let flat = tensor.flatten_all()?;
    let count = flat.elem_count();
    let places: Vec<u32> = (0..count as u32).step_by((count / 1024).max(1)).collect();
    let mut hash = Sha256::new();
    for number in flat.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?.to_vec1::<f32>()? {
        hash.update(number.to_le_bytes());
    }
    Ok(hash.finalize().into())
}

/// A hash of the first and the last bytes, so that the pages between them are not read.
fn ends(bytes: &[u8]) -> [u8; 32] {
    const END: usize = 1024;
    let mut hash = Sha256::new();
    hash.update(&bytes[..bytes.len().min(END)]);
    hash.update(&bytes[bytes.len().saturating_sub(END)..]);
    hash.finalize().into()
}

/// Checks that all tensors are within the file, so that a truncated download is reported with its name.
fn whole(content: &Content, reader: &mut dyn ReadSeek) -> Result<(), EncoderError> {
    let there = reader.seek(SeekFrom::End(0)).map_err(EncoderError::read)?;
    let end = |info: &TensorInfo| {
        let (block, bytes) = (info.ggml_dtype.block_size() as u64, info.ggml_dtype.type_size() as u64);
        let numbers = info.shape.dims().iter().fold(1_u64, |product, size| product.saturating_mul(*size as u64));
        let size = (numbers / block).saturating_mul(bytes);
        content.tensor_data_offset.saturating_add(info.offset).saturating_add(size)
    };
    let last = content.tensor_infos.iter().map(|(name, info)| (end(info), name)).max();
    match last.filter(|(end, _)| *end > there) {
        Some((end, name)) => Err(EncoderError::Malformed(format!(
            "it has {there} bytes, and `{name}` ends at {end}: it was cut off; fetch it again"
        ))),
        None => Ok(()),
    }
}

/// A layer's tensor that nothing is done with, such as a bias, a further norm, an expert or a scale: what is read
/// without it comes out wrong. `unused` begins the names of those that a file may have for others.
fn foreign<'a>(
    names: impl Iterator<Item = &'a str>,
    layers: &str,
    unused: &str,
    name: fn(LayerRole) -> &'static str,
) -> Option<&'a str> {
    let of_a_layer = |full: &'a str| Some((full.strip_prefix(layers)?.split_once('.')?.1, full));
    let known = |part: &str| LayerRole::ALL.iter().any(|role| part.strip_suffix(".weight") == Some(name(*role)));
    let foreign = names.filter_map(of_a_layer).filter(|(part, _)| !part.starts_with(unused) && !known(part));
    foreign.map(|(_, full)| full).min()
}

/// GGUF's name of a tensor.
pub(in crate::classifier) fn gguf_name(role: Role) -> String {
    match role {
        Role::Embedding => "token_embd.weight".into(),
        Role::OutputNorm => "output_norm.weight".into(),
        Role::Layer(layer, role) => format!("blk.{layer}.{}.weight", role.in_gguf()),
    }
}

/// The published checkpoints' name of a tensor.
fn hub_name(role: Role) -> String {
    match role {
        Role::Embedding => "model.embed_tokens.weight".into(),
        Role::OutputNorm => "model.norm.weight".into(),
        Role::Layer(layer, role) => format!("model.layers.{layer}.{}.weight", role.in_hub()),
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
    // A shard's name must be a file in this folder, not a path out of it.
    if let Some(name) = names.iter().find(|name| name.contains(['/', '\\']) || name.as_str() == "..") {
        return Err(EncoderError::Malformed(format!("the index names `{name}`, which is not a file beside it")));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
