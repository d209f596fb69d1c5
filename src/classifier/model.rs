//! Encoder, tokenizer and head put together: what the thread holds, and what training uses too, so that features agree.

use serde::Serialize;

use super::encoder::{Encoder, EncoderError, Pooling, Setup, Weights};
use super::priors::Priors;
use super::prompt::Prompt;
use super::reading::Reading;
use super::source::{Files, Source, SourceError};
use super::tokenizer::{Tokenizer, TokenizerError, Tokens};
use crate::config;

/// Why a model cannot be had, or cannot read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its files cannot be had.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// Its weights are not what they should be, or a computation failed.
    #[error("{0}")]
    Encoder(#[from] EncoderError),
    /// Its tokenizer is not what it should be.
    #[error("{0}")]
    Tokenizer(#[from] TokenizerError),
}

/// What a model is, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// As configured: `builtin`, a path, `hf:owner/name`.
    pub name: String,
    /// Where it runs.
    pub device: String,
    /// Type of the weights in the file.
    pub weights: String,
    /// Layers it reads with.
    pub layers: usize,
    /// Width of its states.
    pub hidden: usize,
    /// Tokens in its vocabulary.
    pub vocabulary: usize,
    /// Parameters of those layers and the embeddings.
    pub parameters: usize,
    /// Most tokens it reads of a prompt.
    pub max_tokens: usize,
}

/// Encoder, tokenizer and head.
#[derive(Debug)]
pub struct Model {
    encoder: Encoder,
    tokenizer: Tokenizer,
    pooling: Pooling,
    info: ModelInfo,
}

impl Model {
    /// Loads what `settings` name. Blocks: reads files, and may download.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(settings: &config::Classifier) -> Result<Self, LoadError> {
        let source: Source = settings.model.parse()?;
        let files = source.fetch(&settings.hub, &mut ())?;
        let (mut weights, tokenizer) = open(&files)?;
        let setup = Setup {
            device: settings.device,
            precision: settings.precision,
            threads: settings.threads,
            max_tokens: settings.max_tokens,
            layers: None,
        };
        let encoder = Encoder::load(&mut weights, &setup)?;
        let hyper = encoder.hyper();
        let info = ModelInfo {
            name: settings.model.clone(),
            device: encoder.device_name().to_owned(),
            weights: weights.type_name(),
            layers: encoder.depth(),
            hidden: hyper.hidden,
            vocabulary: hyper.vocab,
            parameters: hyper.vocab * hyper.hidden + encoder.depth() * hyper.layer_parameters(),
            max_tokens: settings.max_tokens,
        };
        let pooling = Pooling::mean_of(encoder.depth());
        Ok(Self { encoder, tokenizer, pooling, info })
    }

    /// What it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Reads something short and something long, so that the first request finds everything in place.
    ///
    /// # Errors
    ///
    /// It does not work.
    pub(super) fn warm_up(&self) -> Result<(), LoadError> {
        for text in ["Hello", &"All work and no play. ".repeat(self.info.max_tokens)] {
            self.encode_batch(&[text], &self.pooling)?;
        }
        Ok(())
    }

    /// The tokens that are read of a prompt.
    pub(super) fn tokenize(&self, prompt: &Prompt, max_tokens: usize) -> Result<Tokens, LoadError> {
        Ok(self.tokenizer.encode(prompt, max_tokens)?)
    }

    /// Readings of a batch, in order.
    pub(super) fn read<'a>(
        &self,
        batch: impl Iterator<Item = (&'a Prompt, &'a Tokens)>,
        priors: &Priors,
    ) -> Result<Vec<Reading>, LoadError> {
        let batch: Vec<(&Prompt, &Tokens)> = batch.collect();
        let ids: Vec<&[u32]> = batch.iter().map(|(_, tokens)| tokens.ids.as_slice()).collect();
        let pooled = self.encoder.encode(&ids, &self.pooling)?;
        let estimates = std::sync::Arc::new(priors.estimates());
        let readings = batch.iter().zip(pooled).map(|((_, tokens), _pooled)| Reading {
            features: [].into(),
            space: "none".into(),
            task: None,
            familiarity: 0.0,
            tokens: tokens.ids.len() as u32,
            truncated: tokens.truncated,
            cached: false,
            took: std::time::Duration::ZERO,
            estimates: std::sync::Arc::clone(&estimates),
        });
        Ok(readings.collect())
    }

    /// Pooled states of many prompts, in order, cut and pooled exactly as in serving.
    ///
    /// # Errors
    ///
    /// As for [`Encoder::encode`].
    pub fn encode_batch(&self, prompts: &[&str], pooling: &Pooling) -> Result<Vec<Vec<f32>>, LoadError> {
        let tokenize = |prompt: &&str| self.tokenizer.encode(&Prompt::of_text(*prompt), self.info.max_tokens);
        let tokens: Vec<Tokens> = prompts.iter().map(tokenize).collect::<Result<_, _>>()?;
        let ids: Vec<&[u32]> = tokens.iter().map(|tokens| tokens.ids.as_slice()).collect();
        Ok(self.encoder.encode(&ids, pooling)?)
    }
}

/// Weights and tokenizer of a model.
///
/// # Errors
///
/// The files are not what they should be.
pub fn open(files: &Files) -> Result<(Weights, Tokenizer), LoadError> {
    let gguf = |weights: Weights| -> Result<(Weights, Tokenizer), LoadError> {
        let content = weights.content().ok_or_else(|| EncoderError::Malformed("not a GGUF file".into()))?;
        let tokenizer = Tokenizer::from_gguf(content)?;
        Ok((weights, tokenizer))
    };
    match files {
        Files::Builtin(bytes) => gguf(Weights::gguf_bytes(bytes)?),
        Files::Gguf(path) => gguf(Weights::open_gguf(path)?),
        Files::Folder(folder) => {
            Ok((Weights::open_folder(folder)?, Tokenizer::from_file(&folder.join("tokenizer.json"))?))
        }
    }
}
