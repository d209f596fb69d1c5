//! Makes the builtin encoder: the first layers of a base model, with the part of its vocabulary that prompts use.
//!
//! 1. **Count** how often each token is used by the prompts given.
//! 2. **Choose** the tokens that are used often enough, those of the base's first merges (its most common pieces), and
//!    those of scripts and marks that the prompts may lack; then, for each chosen token, the tokens that it is merged
//!    from. So a text of chosen tokens is tokenised exactly as by the base: every merge that the base would make is
//!    kept, and no other comes before it. A text with dropped tokens becomes more, smaller tokens.
//! 3. **Write** a GGUF file: kept rows of the embeddings and kept layers byte for byte as they are in the base, so
//!    nothing is quantised twice. The same base, recipe and prompts give the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::encoder::{EncoderError, LayerRole, Role, Weights, gguf_name};
use super::model::{LoadError, open};
use super::source::{Files, hex};
use super::tokenizer::Tokenizer;

/// What is kept of the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// What it is cut from, for the model card.
    pub base: String,
    /// The base's SHA-256, so that the same file goes in.
    pub base_sha256: String,
    /// The licence it comes under.
    pub license: String,
    /// Layers kept, from the first.
    pub layers: usize,
    /// Tokens kept.
    pub vocabulary: Vocabulary,
}

/// Which tokens are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// Keep tokens that the prompts use at least this often.
    pub min_count: u64,
    /// Keep tokens that this many of the first merges make.
    pub first_merges: usize,
    /// Keep tokens with bytes beyond ASCII (Chinese and other scripts), and those without a letter (indentation,
    /// marks).
    pub scripts_and_marks: bool,
    /// Data sources whose training prompts are counted.
    pub sources: Vec<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Tokens kept.
    pub tokens: usize,
    /// Merges kept.
    pub merges: usize,
    /// Layers kept.
    pub layers: usize,
    /// Width of the states.
    pub hidden: usize,
    /// Number of tokens of the counted prompts, with the base's vocabulary and with the kept one.
    pub counted: (u64, u64),
}

/// Cuts `base` by `recipe` and writes the result to `out`.
///
/// # Errors
///
/// The base is not the one that the recipe names, has fewer layers than it keeps, or is not a GGUF file with byte-level
/// pairs; or a file cannot be read or written. A file at `out` is then left as it was.
pub fn cut<'a>(
    base: &Path,
    recipe: &Recipe,
    prompts: impl Iterator<Item = &'a str> + Clone,
    out: &Path,
) -> Result<Cut, LoadError> {
    let sha256 = file_sha256(base)?;
    if sha256 != recipe.base_sha256 {
        let wanted = &recipe.base_sha256;
        return Err(malformed(format!(
            "{}: its SHA-256 is {sha256}, and the recipe is for {wanted}",
            base.display()
        )));
    }
    let mut weights = Weights::open_gguf(base)?;
    let there = weights.hyper().layers;
    if !(1..=there).contains(&recipe.layers) {
        let wanted = recipe.layers;
        return Err(malformed(format!("the recipe keeps {wanted} layers, and 1 to {there} can be kept of the base")));
    }
    let content = weights.content().ok_or_else(|| malformed("the base is no GGUF file".into()))?;
    let tokenizer = Tokenizer::from_gguf(content)?;
    let list = Pieces::read(&content.metadata)?;
    let mut counts = vec![0_u64; list.tokens.len()];
    for prompt in prompts.clone() {
        for id in tokenizer.ids(prompt)? {
            counts[id as usize] += 1;
        }
    }
    let kept = list.choose(&recipe.vocabulary, &counts);
    let pieces = list.keep(&kept);

    let metadata = metadata(&content.metadata, recipe, &kept, &pieces)?;
    let hidden = weights.hyper().hidden;
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let (dtype, shape, rows) = weights.raw(&gguf_name(Role::Embedding))?;
    let row = rows.len() / shape[0];
    let chosen: Vec<u8> = kept.iter().flat_map(|id| &rows[*id as usize * row..][..row]).copied().collect();
    tensors.push((gguf_name(Role::Embedding), tensor(chosen, dtype, vec![kept.len(), shape[1]])?));
    if content_has(&weights, FREQUENCIES) {
        let (dtype, shape, data) = weights.raw(FREQUENCIES)?;
        tensors.push((FREQUENCIES.into(), tensor(data, dtype, shape)?));
    }
    for layer in 0..recipe.layers {
        for role in LayerRole::ALL {
            let name = gguf_name(Role::Layer(layer, role));
            let (dtype, shape, data) = weights.raw(&name)?;
            tensors.push((name, tensor(data, dtype, shape)?));
        }
    }
    let file = write_gguf(&metadata, &tensors, out)?;

    let after = Tokenizer::from_gguf(
        Weights::open_gguf(out)?.content().ok_or_else(|| malformed("what was written is no GGUF file".into()))?,
    )?;
    let mut longer = 0;
    for prompt in prompts {
        longer += after.ids(prompt)?.len() as u64;
    }
    Ok(Cut {
        sha256: hex(&Sha256::digest(&file)),
        bytes: file.len() as u64,
        tokens: kept.len(),
        merges: pieces.merges.len(),
        layers: recipe.layers,
        hidden,
        counted: (counts.iter().sum(), longer),
    })
}

/// Writes a GGUF file and returns its bytes. The file is written beside `out` and renamed once it could be opened, so a
/// program that reads `out` meanwhile (such as a gateway) finds either the old file or the new one.
pub(super) fn write_gguf(
    metadata: &BTreeMap<String, Value>,
    tensors: &[(String, QTensor)],
    out: &Path,
) -> Result<Vec<u8>, LoadError> {
    let mut file = Cursor::new(Vec::new());
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write(&mut file, &metadata, &tensors).map_err(EncoderError::from)?;
    let file = file.into_inner();
    let beside = out.with_extension("part");
    let opened = || -> Result<(), LoadError> {
        std::fs::write(&beside, &file).map_err(|error| EncoderError::file(&beside, error))?;
        open(&Files::Gguf(beside.clone()))?;
        Ok(std::fs::rename(&beside, out).map_err(|error| EncoderError::file(out, error))?)
    };
    opened().inspect_err(|_| drop(std::fs::remove_file(&beside)))?;
    Ok(file)
}

/// Tensor of stretched rotary frequencies, which some bases have.
pub(super) const FREQUENCIES: &str = "rope_freqs.weight";

fn content_has(weights: &Weights, name: &str) -> bool {
    weights.content().is_some_and(|content| content.tensor_infos.contains_key(name))
}

/// A byte-level vocabulary: tokens, and merges in order.
struct Pieces {
    tokens: Vec<String>,
    merges: Vec<String>,
    /// GGUF's kind of each token: 1 is a normal one.
    kinds: Vec<i32>,
}

impl Pieces {
    fn read(metadata: &HashMap<String, Value>) -> Result<Self, LoadError> {
        let list = |key: &str| match metadata.get(key) {
            Some(Value::Array(values)) => Ok(values),
            _ => Err(malformed(format!("the base has no list `{key}`"))),
        };
        let texts = |key: &str| -> Result<Vec<String>, LoadError> {
            list(key)?.iter().map(|value| Ok(value.to_string().map_err(EncoderError::from)?.clone())).collect()
        };
        let kinds = list("tokenizer.ggml.token_type")?.iter().map(|value| value.to_i32().map_err(EncoderError::from));
        Ok(Self {
            tokens: texts("tokenizer.ggml.tokens")?,
            merges: texts("tokenizer.ggml.merges")?,
            kinds: kinds.collect::<Result<_, _>>()?,
        })
    }

    /// Ids kept, ascending.
    fn choose(&self, recipe: &Vocabulary, counts: &[u64]) -> BTreeSet<u32> {
        let ids: HashMap<&str, u32> = self.tokens.iter().map(String::as_str).zip(0..).collect();
        // The pair that each token is merged from: of several merges that make it, the first is applied.
        let mut parents: HashMap<u32, (u32, u32)> = HashMap::new();
        let mut first_made = BTreeSet::new();
        for (at, merge) in self.merges.iter().enumerate() {
            let Some((left, right)) = merge.split_once(' ') else { continue };
            let made = format!("{left}{right}");
            let (Some(made), Some(left), Some(right)) = (ids.get(&*made), ids.get(left), ids.get(right)) else {
                continue;
            };
            parents.entry(*made).or_insert((*left, *right));
            if at < recipe.first_merges {
                first_made.insert(*made);
            }
        }
        let wanted = |id: u32| {
            let token = &self.tokens[id as usize];
            let special = self.kinds[id as usize] != 1;
            let byte = token.chars().count() == 1;
            let odd =
                recipe.scripts_and_marks && (beyond_ascii(token) || !token.bytes().any(|b| b.is_ascii_alphabetic()));
            special || byte || odd || counts[id as usize] >= recipe.min_count.max(1) || first_made.contains(&id)
        };
        let mut kept = BTreeSet::new();
        let mut open: Vec<u32> = (0..self.tokens.len() as u32).filter(|id| wanted(*id)).collect();
        while let Some(id) = open.pop() {
            if kept.insert(id)
                && let Some((left, right)) = parents.get(&id)
            {
                open.extend([left, right]);
            }
        }
        kept
    }

    /// The vocabulary of the kept tokens alone.
    fn keep(&self, kept: &BTreeSet<u32>) -> Self {
        let texts: BTreeSet<&str> = kept.iter().map(|id| self.tokens[*id as usize].as_str()).collect();
        let whole = |merge: &&String| {
            merge.split_once(' ').is_some_and(|(left, right)| {
                texts.contains(left) && texts.contains(right) && texts.contains(format!("{left}{right}").as_str())
            })
        };
        Self {
            tokens: kept.iter().map(|id| self.tokens[*id as usize].clone()).collect(),
            merges: self.merges.iter().filter(whole).cloned().collect(),
            kinds: kept.iter().map(|id| self.kinds[*id as usize]).collect(),
        }
    }
}

/// Whether a byte-level token (each byte written as a printable character) holds a byte beyond ASCII. Bytes 0x80..0xa0
/// and 0xad are written as U+0122..U+0143, the other high ones as themselves.
fn beyond_ascii(token: &str) -> bool {
    token.chars().any(|c| matches!(u32::from(c), 0xa1..=0xff | 0x122..=0x143))
}

/// The base's metadata that still holds, in order of keys.
fn metadata(
    base: &HashMap<String, Value>,
    recipe: &Recipe,
    kept: &BTreeSet<u32>,
    pieces: &Pieces,
) -> Result<BTreeMap<String, Value>, LoadError> {
    let mut all = BTreeMap::new();
    let same = |key: &&String| {
        key.starts_with("llama.") || ["tokenizer.ggml.model", "tokenizer.ggml.pre"].contains(&key.as_str())
    };
    for key in base.keys().filter(same) {
        all.insert(key.clone(), base[key].clone());
    }
    for key in ["tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_space_prefix"] {
        if let Some(value) = base.get(key) {
            all.insert(key.to_owned(), value.clone());
        }
    }
    for key in ["bos", "eos", "unknown", "padding"].map(|name| format!("tokenizer.ggml.{name}_token_id")) {
        let Some(old) = base.get(&key).and_then(|value| value.to_u32().ok()) else { continue };
        if let Some(new) = kept.iter().position(|id| *id == old) {
            all.insert(key, Value::U32(new as u32));
        }
    }
    let count = |count: usize| u32::try_from(count).map(Value::U32).map_err(|error| malformed(error.to_string()));
    let texts = |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect());
    all.insert("general.architecture".into(), Value::String("llama".into()));
    all.insert("general.name".into(), Value::String(recipe.name.clone()));
    all.insert("general.license".into(), Value::String(recipe.license.clone()));
    all.insert("general.description".into(), Value::String(format!("Cut from {}", recipe.base)));
    all.insert("llama.block_count".into(), count(recipe.layers)?);
    all.insert("llama.vocab_size".into(), count(pieces.tokens.len())?);
    all.insert("tokenizer.ggml.tokens".into(), texts(&pieces.tokens));
    all.insert("tokenizer.ggml.merges".into(), texts(&pieces.merges));
    let kinds = pieces.kinds.iter().map(|kind| Value::I32(*kind)).collect();
    all.insert("tokenizer.ggml.token_type".into(), Value::Array(kinds));
    Ok(all)
}

pub(super) fn tensor(data: Vec<u8>, dtype: GgmlDType, shape: Vec<usize>) -> Result<QTensor, LoadError> {
    let storage = QStorage::from_data(data.into(), &Device::Cpu, dtype).map_err(EncoderError::from)?;
    Ok(QTensor::new(storage, shape).map_err(EncoderError::from)?)
}

/// The SHA-256 of a file, as hexadecimal digits.
///
/// # Errors
///
/// It cannot be read.
pub fn file_sha256(path: &Path) -> Result<String, LoadError> {
    let told = |error: std::io::Error| EncoderError::file(path, error);
    let mut file = std::fs::File::open(path).map_err(told)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(told)?;
    Ok(hex(&hash.finalize()))
}

pub(super) fn malformed(what: String) -> LoadError {
    LoadError::Encoder(EncoderError::Malformed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        let tokens = ["<s>", "a", "b", "c", "ab", "abc", "bc", "Ġa", "ä", "..", "."];
        let merges = ["a b", "ab c", "b c", "Ġ a", ". ."];
        Pieces {
            tokens: tokens.map(str::to_owned).into(),
            merges: merges.map(str::to_owned).into(),
            kinds: std::iter::once(3).chain(std::iter::repeat_n(1, 10)).collect(),
        }
    }

    fn recipe() -> Vocabulary {
        Vocabulary { min_count: 5, first_merges: 0, scripts_and_marks: false, sources: Vec::new() }
    }

    fn chosen(recipe: &Vocabulary, used: &str) -> Vec<String> {
        let all = pieces();
        let counts: Vec<u64> = all.tokens.iter().map(|token| if token == used { 5 } else { 0 }).collect();
        all.keep(&all.choose(recipe, &counts)).tokens
    }

    #[test]
    fn a_kept_token_keeps_what_it_is_merged_from() {
        assert_eq!(chosen(&recipe(), "abc"), ["<s>", "a", "b", "c", "ab", "abc", "ä", "."]);
        assert_eq!(chosen(&recipe(), ""), ["<s>", "a", "b", "c", "ä", "."], "bytes and control tokens always");
    }

    #[test]
    fn first_merges_and_marks_are_kept_unused() {
        assert_eq!(chosen(&Vocabulary { first_merges: 1, ..recipe() }, "")[4], "ab");
        let marks = chosen(&Vocabulary { scripts_and_marks: true, ..recipe() }, "");
        assert!(marks.contains(&"..".to_owned()), "{marks:?}");
    }

    #[test]
    fn merges_are_kept_where_all_three_pieces_are() {
        let all = pieces();
        let counts: Vec<u64> = all.tokens.iter().map(|token| if token == "abc" { 5 } else { 0 }).collect();
        let left = all.keep(&all.choose(&recipe(), &counts));
        assert_eq!(left.merges, ["a b", "ab c"]);
        assert_eq!(left.kinds[0], 3);
    }
}
