//! Text to tokens: a model's own tokenizer, and which tokens of a long prompt are read.
//!
//! **Where it comes from.** A GGUF file holds vocabulary and merges as metadata, and a name for the rules around them;
//! these rules are set up here, for byte-level pairs (Llama 3, SmolLM2 and others) and for sentence pieces (Llama 2,
//! TinyLlama). Safetensors come with a `tokenizer.json`, which has all rules itself.
//!
//! **What is read.** The beginning token, where the model has one; the turn, or its first and last half of the room
//! where it is longer; then the end of the context, in what room is left, at most a quarter of all.

use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use sha2::{Digest, Sha256};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::prompt::Prompt;

/// Llama 3's pre-tokenisation: how text is split before pairs are merged.
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen's pre-tokenisation, which splits digits one by one.
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Separator between a short question and the one before it.
const SEPARATOR: &str = "\n\n";

/// Why a tokenizer cannot be loaded, or fails on a text.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file lacks something, or names rules that are not implemented.
    #[error("the tokenizer: {0}")]
    Malformed(String),
}

/// Text to tokens.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Token put before every prompt.
    begin: Vec<u32>,
    /// A hash of everything that it was made of.
    made_of: [u8; 32],
}

/// The tokens that are read of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The tokens, never empty.
    pub ids: Vec<u32>,
    /// Whether the turn was longer.
    pub truncated: bool,
}

impl Tokenizer {
    /// From GGUF metadata.
    ///
    /// # Errors
    ///
    /// A key is missing, or the rules are none we have.
    pub fn from_gguf(content: &Content) -> Result<Self, TokenizerError> {
        let tokens = strings(content, "tokenizer.ggml.tokens")?;
        let kind = super::encoder::gguf_text(content, "tokenizer.ggml.model").unwrap_or_default();
        let mut inner = match kind.as_str() {
            "gpt2" => byte_level(content, &tokens)?,
            "llama" => sentence_pieces(content, &tokens)?,
            other => {
                return Err(TokenizerError::Malformed(format!("`{other}` is not supported (gpt2 and llama are)")));
            }
        };
        inner.with_truncation(None).map_err(told)?;
        let flag = |key: &str| content.metadata.get(key).and_then(|value| value.to_bool().ok());
        // llama.cpp's default where the file does not say.
        let pre = super::encoder::gguf_text(content, "tokenizer.ggml.pre").unwrap_or_default();
        let usual = kind == "llama" || pre.starts_with("llama");
        let begins = flag("tokenizer.ggml.add_bos_token").unwrap_or(usual);
        let begin = super::encoder::gguf_number(content, "tokenizer.ggml.bos_token_id").filter(|_| begins);
        let begin = begin.map(|id| id as u32).into_iter().collect();
        Ok(Self { inner, begin, made_of: hashed(content) })
    }

    /// From a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let mut inner = tokenizers::Tokenizer::from_file(path)
            .map_err(|error| TokenizerError::Malformed(format!("{}: {error}", path.display())))?;
        inner.with_truncation(None).map_err(told)?.with_padding(None);
        // The name of a control token in a user's text is plain text, as with GGUF.
        inner.set_encode_special_tokens(true);
        // Its own rules say what stands before a text: what they put around nothing.
        let begin = inner.encode_fast("", true).map_err(told)?.get_ids().first().copied();
        let text = std::fs::read(path).map_err(|error| TokenizerError::Malformed(error.to_string()))?;
        Ok(Self { inner, begin: begin.into_iter().collect(), made_of: Sha256::digest(text).into() })
    }

    /// The tokens that are read of `prompt`, at most `max_tokens`.
    ///
    /// # Errors
    ///
    /// The tokenizer's own, for input its rules cannot take.
    pub fn encode(&self, prompt: &Prompt, max_tokens: usize) -> Result<Tokens, TokenizerError> {
        let room = max_tokens.saturating_sub(self.begin.len()).max(1);
        let (head, tail) = prompt.ends(max_tokens);
        let mut ids = self.begin.clone();
        let mut truncated = false;
        let question = self.ids(head)?;
        if tail.is_empty() && question.len() <= room {
            ids.extend(&question);
        } else {
            truncated = true;
            let first = room / 2;
            let end = if tail.is_empty() { Vec::new() } else { self.ids(tail)? };
            let last = if tail.is_empty() { &question } else { &end };
            ids.extend(&question[..first.min(question.len())]);
            ids.extend(&last[last.len().saturating_sub(room - first)..]);
        }
        let left = (room + self.begin.len()).saturating_sub(ids.len());
        if !prompt.before.is_empty() && left > 0 {
            let before = self.ids(&format!("{SEPARATOR}{}", prompt.before))?;
            ids.extend(&before[before.len().saturating_sub(left)..]);
        }
        if ids.is_empty() {
            ids.extend(self.ids("\n")?.first().copied().or(Some(0)));
        }
        Ok(Tokens { ids, truncated })
    }

    /// All tokens of a text, without a beginning token.
    ///
    /// # Errors
    ///
    /// The tokenizer's own.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.inner.encode_fast(text, false).map_err(told)?.get_ids().to_vec())
    }

    /// A hash of everything that it was made of: with another hash, texts may become other tokens.
    pub fn made_of(&self) -> &[u8; 32] {
        &self.made_of
    }

    /// Number of tokens.
    #[cfg(test)]
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// The metadata that is used here.
fn hashed(content: &Content) -> [u8; 32] {
    fn add(value: &Value, hash: &mut Sha256) {
        match value {
            Value::String(text) => {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            Value::Array(values) => values.iter().for_each(|value| add(value, hash)),
            other => hash.update(format!("{other:?}")),
        }
    }
    let mut hash = Sha256::new();
    for key in ["model", "pre", "tokens", "scores", "merges", "add_bos_token", "bos_token_id", "add_space_prefix"] {
        hash.update(key);
        if let Some(value) = content.metadata.get(&format!("tokenizer.ggml.{key}")) {
            add(value, &mut hash);
        }
    }
    hash.finalize().into()
}

fn told(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Malformed(error.to_string())
}

fn strings(content: &Content, key: &str) -> Result<Vec<String>, TokenizerError> {
    let Some(Value::Array(values)) = content.metadata.get(key) else {
        return Err(TokenizerError::Malformed(format!("GGUF metadata has no list `{key}`")));
    };
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(TokenizerError::Malformed(format!("`{key}` holds something that is no text"))),
    };
    values.iter().map(text).collect()
}

fn vocabulary(tokens: &[String]) -> Vocab {
    tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect()
}

/// Pairs of bytes, merged in the order of a list.
fn byte_level(content: &Content, tokens: &[String]) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let merges = strings(content, "tokenizer.ggml.merges")?;
    let pair = |merge: &String| {
        let pair = merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
        pair.ok_or_else(|| TokenizerError::Malformed(format!("`{merge}` is no pair")))
    };
    let merges: Vec<(String, String)> = merges.iter().map(pair).collect::<Result<_, _>>()?;
    let pre = super::encoder::gguf_text(content, "tokenizer.ggml.pre").unwrap_or_default();
    let llama_3 = pre.starts_with("llama") || pre == "smaug-bpe";
    let bpe = BPE::builder().vocab_and_merges(vocabulary(tokens), merges).ignore_merges(llama_3);
    let mut tokenizer = tokenizers::Tokenizer::new(bpe.build().map_err(told)?);
    tokenizer.with_pre_tokenizer(Some(before_merging(&pre)?));
    Ok(tokenizer)
}

/// Pre-tokenisation, by GGUF's name for it.
fn before_merging(pre: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
    let split = |regex: &str| -> Result<PreTokenizerWrapper, TokenizerError> {
        let pattern = SplitPattern::Regex(regex.to_owned());
        Ok(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(told)?.into())
    };
    let plain = ByteLevel::new(false, true, false).into();
    let gpt_2 = ByteLevel::new(false, true, true).into();
    let steps = match pre {
        "" | "default" | "gpt-2" | "gpt2" => return Ok(gpt_2),
        "smollm" | "codeshell" | "starcoder" | "refact" | "command-r" => vec![Digits::new(true).into(), gpt_2],
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => vec![split(LLAMA_3)?, plain],
        "qwen2" => vec![split(QWEN_2)?, plain],
        other => return Err(TokenizerError::Malformed(format!("the rules `{other}` are not supported"))),
    };
    Ok(Sequence::new(steps).into())
}

/// Pieces with scores, as SentencePiece has them: the pair whose piece scores highest is merged first.
fn sentence_pieces(content: &Content, tokens: &[String]) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let Some(Value::Array(scores)) = content.metadata.get("tokenizer.ggml.scores") else {
        return Err(TokenizerError::Malformed("GGUF metadata has no list `tokenizer.ggml.scores`".into()));
    };
    let scores: Vec<f32> = scores.iter().map(|score| score.to_f32().unwrap_or(f32::MIN)).collect();
    let vocabulary = vocabulary(tokens);
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(&scores) {
        // Bytes and control tokens are written in angle brackets and made of nothing.
        if token.starts_with('<') && token.ends_with('>') {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left_id), Some(right_id)) = (vocabulary.get(left), vocabulary.get(right)) {
                merges.push((*score, *left_id, *right_id, left.to_owned(), right.to_owned()));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let merges: Vec<(String, String)> = merges.into_iter().map(|(_, _, _, left, right)| (left, right)).collect();
    let mut builder = BPE::builder().vocab_and_merges(vocabulary, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = tokens.iter().find(|token| token.as_str() == "<unk>") {
        builder = builder.unk_token(unknown.clone());
    }
    let mut tokenizer = tokenizers::Tokenizer::new(builder.build().map_err(told)?);
    let mut steps: Vec<NormalizerWrapper> = vec![Replace::new(" ", "▁").map_err(told)?.into()];
    let prefix = content.metadata.get("tokenizer.ggml.add_space_prefix").and_then(|value| value.to_bool().ok());
    if prefix.unwrap_or(true) {
        steps.insert(0, Prepend::new("▁".into()).into());
    }
    tokenizer.with_normalizer(Some(Normalizers::new(steps))).map_err(told)?;
    tokenizer.with_decoder(Some(ByteFallback::new()));
    Ok(tokenizer)
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
