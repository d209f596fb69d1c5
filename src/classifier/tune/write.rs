//! Writing a tuned encoder: the base's GGUF file with the layers that are read and the updates merged into their
//! weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Tuner;
use super::llama::PRODUCTS;
use crate::classifier::cut::{self, FREQUENCIES, write_gguf};
use crate::classifier::encoder::{EncoderError, LayerRole, Role, TUNED, gguf_name};
use crate::classifier::model::{LoadError, open};
use crate::classifier::source::{Files, hex};

/// The message for an encoder in a folder of safetensors.
const NOT_GGUF: &str = "only an encoder in a GGUF file can be tuned: the tokenizer is taken over from there. A converter of llama.cpp makes one";

/// The refusal of an encoder in a folder.
pub(super) fn not_gguf(folder: &Path) -> LoadError {
    cut::malformed(format!("{}: {NOT_GGUF}", folder.display()))
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Layers in it.
    pub layers: usize,
    /// Width of the states.
    pub hidden: usize,
    /// The base's licence, where its file states one.
    pub license: Option<String>,
}

/// Writes `tuner`'s encoder to `out`. `base` is what it was opened from; what was not tuned is taken from there byte
/// for byte. Tuned products are written with eight bits, because four would round away much of what was learned.
///
/// # Errors
///
/// The base is no GGUF file, which is where the tokenizer is taken from; or a file cannot be read or written.
pub fn write(tuner: &Tuner, base: &Files, out: &Path) -> Result<Written, LoadError> {
    let (mut weights, _) = open(base)?;
    let hyper = weights.hyper().clone();
    let Some(content) = weights.content() else {
        return Err(cut::malformed(NOT_GGUF.into()));
    };
    let license = content.metadata.get("general.license").and_then(|value| value.to_string().ok()).cloned();
    let mut metadata: BTreeMap<String, Value> =
        content.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let has_frequencies = content.tensor_infos.contains_key(FREQUENCIES);
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut raw = vec![gguf_name(Role::Embedding)];
    raw.extend(has_frequencies.then(|| FREQUENCIES.to_owned()));
    for name in raw {
        let (dtype, shape, data) = weights.raw(&name)?;
        tensors.push((name, cut::tensor(data, dtype, shape)?));
    }
    let mut learned = Sha256::new();
    for (at, layer) in tuner.reader.layers.iter().enumerate() {
        let mut tuned: Vec<(LayerRole, Tensor)> = Vec::new();
        for (product, roles) in layer.products.iter().zip(PRODUCTS) {
            let Some(merged) = product.merged().map_err(EncoderError::from)? else { continue };
            let mut from = 0;
            for role in roles {
                let rows = weights.rows(Role::Layer(at, *role));
                let part = merged.narrow(0, from, rows).map_err(EncoderError::from)?;
                tuned.push((*role, part));
                from += rows;
            }
        }
        for role in LayerRole::ALL {
            let name = gguf_name(Role::Layer(at, role));
            let written = match tuned.iter().find(|(tuned, _)| *tuned == role) {
                Some((_, tensor)) => {
                    let heads = match role {
                        LayerRole::Query => Some(hyper.heads),
                        LayerRole::Key => Some(hyper.kv_heads),
                        _ => None,
                    };
                    packed(tensor, heads).map_err(EncoderError::from)?
                }
                None => {
                    let (dtype, shape, data) = weights.raw(&name)?;
                    cut::tensor(data, dtype, shape)?
                }
            };
            if tuned.iter().any(|(tuned, _)| *tuned == role) {
                learned.update(written.data().map_err(EncoderError::from)?);
            }
            tensors.push((name, written));
        }
    }
    let layers = tuner.reader.layers.len();
    metadata.insert("llama.block_count".into(), Value::U32(layers as u32));
    // Gives the encoder a fingerprint of its own: the base's head and cached states do not belong to it.
    metadata.insert(TUNED.into(), Value::String(hex(&learned.finalize())));
    let file = write_gguf(&metadata, &tensors, out)?;
    let sha256 = hex(&Sha256::digest(&file));
    Ok(Written { sha256, bytes: file.len() as u64, layers, hidden: hyper.hidden, license })
}

/// With eight bits where rows are of whole blocks, else as they are; rows of heads in GGUF's order.
fn packed(tensor: &Tensor, heads: Option<usize>) -> Result<QTensor, candle_core::Error> {
    let (rows, columns) = tensor.dims2()?;
    let tensor = match heads {
        Some(heads) => {
            let halves = tensor.contiguous()?.reshape((heads, 2, rows / heads / 2, columns))?;
            halves.transpose(1, 2)?.contiguous()?.reshape((rows, columns))?
        }
        // A copy, because quantising takes the whole storage of a tensor, even where it is a slice of a larger one.
        None => tensor.force_contiguous()?,
    };
    let tensor = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    let whole = columns.is_multiple_of(GgmlDType::Q8_0.block_size());
    QTensor::quantize(&tensor, if whole { GgmlDType::Q8_0 } else { GgmlDType::F32 })
}
