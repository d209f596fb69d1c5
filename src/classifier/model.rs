//! Encoder, tokenizer and loading of heads. The classifier's thread and training both use it, so that features agree.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::encoder::{Encoder, EncoderError, Pooling, Setup, Weights};
use super::head::{Head, HeadError};
use super::priors::Priors;
use super::prompt::Prompt;
use super::reading::Reading;
use super::source::{self, Files, Source, SourceError};
use super::stats::TextStats;
use super::tokenizer::{Tokenizer, TokenizerError, Tokens};
use crate::config;

/// Most tokens of a batch in training.
const AT_ONCE: usize = 2048;

/// Why a model cannot be loaded, or fails on a prompt.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model's files cannot be had.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The weights are invalid, or a computation failed.
    #[error("{0}")]
    Encoder(#[from] EncoderError),
    /// The tokenizer is invalid.
    #[error("{0}")]
    Tokenizer(#[from] TokenizerError),
    /// The head is invalid, or belongs to another encoder.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// A prompt's states are not finite, as with weights of a type that overflows.
    #[error("the prompt's states are not finite numbers")]
    NoNumber,
    /// The model is not loaded yet.
    #[error("the classifier is not ready")]
    NotReady,
    /// Loading panicked.
    #[error("loading panicked; the log lines say where")]
    Panicked,
}

impl LoadError {
    /// Whether loading may succeed later without a change, as when the hub is down. A file that keeps arriving damaged
    /// is not fetched for ever.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Source(error) if error.may_pass() && !matches!(error, SourceError::Corrupt { .. }))
    }
}

/// A description of a model.
#[derive(Debug, Clone, PartialEq)]
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
    /// Changes with everything that states depend on; a head belongs to one fingerprint.
    pub fingerprint: String,
    /// Bytes that layers and embeddings take in memory.
    pub bytes: usize,
    /// Most tokens it reads of a prompt.
    pub max_tokens: usize,
}

/// Encoder and tokenizer.
#[derive(Debug)]
pub struct Model {
    encoder: Encoder,
    tokenizer: Tokenizer,
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
            ..Setup::default()
        };
        let encoder = Encoder::load(&mut weights, &setup).map_err(|error| named(&files, error))?;
        let hyper = encoder.hyper();
        let info = ModelInfo {
            name: settings.model.clone(),
            device: encoder.device_name().to_owned(),
            weights: weights.type_name(),
            layers: encoder.depth(),
            hidden: hyper.hidden,
            vocabulary: hyper.vocab,
            parameters: hyper.vocab * hyper.hidden + encoder.depth() * hyper.layer_parameters(),
            fingerprint: weights.fingerprint(tokenizer.made_of()),
            bytes: encoder.bytes(),
            max_tokens: settings.max_tokens,
        };
        Ok(Self { encoder, tokenizer, info })
    }

    /// The model's description.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Encodes a short and a long text, so that the first request finds everything in place.
    ///
    /// # Errors
    ///
    /// The model fails.
    pub(super) fn warm_up(&self) -> Result<(), LoadError> {
        for text in ["Hello", &"All work and no play. ".repeat(self.info.max_tokens)] {
            self.encode_batch(&[text], &Pooling::mean_of(self.info.layers))?;
        }
        Ok(())
    }

    /// The tokens that are read of a prompt.
    pub(super) fn tokenize(&self, prompt: &Prompt, max_tokens: usize) -> Result<Tokens, LoadError> {
        let mut tokens = self.tokenizer.encode(prompt, max_tokens)?;
        // A tokenizer may have tokens that the model has not, such as one for padding.
        tokens.ids.retain(|id| (*id as usize) < self.info.vocabulary);
        if tokens.ids.is_empty() {
            tokens.ids.push(0);
        }
        Ok(tokens)
    }

    /// Loads what `[classifier] head` names: `builtin`, a path, or `none`. The builtin head belongs to the builtin
    /// encoder; beside another one there is none, and routing rests on what is configured of each model.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or belongs to another encoder.
    pub fn load_head(&self, name: &str) -> Result<Option<Head>, LoadError> {
        let head = match name {
            "none" => return Ok(None),
            "builtin" => match source::builtin_bytes("builtin/head.safetensors") {
                Some(bytes) => Head::from_bytes(bytes)?,
                None => return Ok(None),
            },
            path => Head::load(Path::new(path))?,
        };
        match self.check(&head) {
            Ok(()) => {
                let fitted = head.description().max_tokens;
                if fitted != self.info.max_tokens {
                    tracing::warn!(head = %name, fitted, read = self.info.max_tokens, "The head was fitted to another classifier.max_tokens; its estimates for long prompts are less certain");
                }
                Ok(Some(head))
            }
            Err(error) if name == "builtin" && self.info.name != "builtin" => {
                tracing::warn!(model = %self.info.name, reason = %error, "The builtin head is not used; train one for this model");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Checks that a head belongs to this encoder.
    ///
    /// # Errors
    ///
    /// It does not; the message says why.
    pub fn check(&self, head: &Head) -> Result<(), LoadError> {
        let described = head.description();
        let pooling = &described.pooling;
        let unfit = if described.encoder != self.info.fingerprint {
            format!("it is for the encoder {}, and this is {}", described.encoder, self.info.fingerprint)
        } else if pooling.layers.iter().any(|layer| *layer > self.info.layers) {
            format!("it wants layers {:?}, and there are {}", pooling.layers, self.info.layers)
        } else if !pooling.layers.is_sorted_by(|before, after| before < after) {
            format!("its layers {:?} do not ascend, and states come in ascending order", pooling.layers)
        } else if pooling.width(self.info.hidden) != described.pooled {
            format!("it wants {} numbers, and gets {}", described.pooled, pooling.width(self.info.hidden))
        } else {
            return Ok(());
        };
        Err(HeadError::Unfit(unfit).into())
    }

    /// Readings of a batch by the head of `priors`, in order.
    pub(super) fn read<'a>(
        &self,
        batch: impl Iterator<Item = (&'a Prompt, &'a Tokens)>,
        head: &Head,
        priors: &Priors,
    ) -> Result<Vec<Reading>, LoadError> {
        let batch: Vec<(&Prompt, &Tokens)> = batch.collect();
        let ids: Vec<&[u32]> = batch.iter().map(|(_, tokens)| tokens.ids.as_slice()).collect();
        let pooled = self.encoder.encode(&ids, &head.description().pooling)?;
        let judge = |((prompt, tokens), pooled): (&(&Prompt, &Tokens), Vec<f32>)| {
            let judged = head.read(&pooled, &TextStats::of_parts(&prompt.question, &prompt.tools));
            // It would get into the decision log, and from there into the policy.
            if judged.z.iter().chain(&judged.log_odds).any(|value| !value.is_finite()) {
                return Err(LoadError::NoNumber);
            }
            let estimates = Arc::new(priors.estimates(&judged));
            Ok(Reading {
                task: head.task_name(&judged).map(Arc::from),
                familiarity: judged.familiarity,
                features: judged.z.into(),
                space: head.description().space.as_str().into(),
                tokens: tokens.ids.len() as u32,
                truncated: tokens.truncated,
                cached: false,
                shortened: false,
                took: Duration::ZERO,
                estimates,
            })
        };
        batch.iter().zip(pooled).map(judge).collect()
    }

    /// Tokens of a text, however many are read of it.
    ///
    /// # Errors
    ///
    /// The tokenizer's own.
    pub fn count_tokens(&self, text: &str) -> Result<usize, LoadError> {
        Ok(self.tokenizer.ids(text)?.len())
    }

    /// Pooled states of many prompts, in order, cut and pooled exactly as in serving.
    ///
    /// # Errors
    ///
    /// As for [`Encoder::encode`].
    pub fn encode_batch(&self, prompts: &[&str], pooling: &Pooling) -> Result<Vec<Vec<f32>>, LoadError> {
        let tokenize = |prompt: &&str| self.tokenize(&Prompt::of_text(prompt), self.info.max_tokens);
        let tokens: Vec<Tokens> = prompts.iter().map(tokenize).collect::<Result<_, _>>()?;
        let mut pooled = Vec::with_capacity(prompts.len());
        let mut from = 0;
        while from < tokens.len() {
            // As many prompts as keep the states small, and at least one.
            let (mut to, mut total) = (from, 0);
            while to < tokens.len() && (to == from || total + tokens[to].ids.len() <= AT_ONCE) {
                total += tokens[to].ids.len();
                to += 1;
            }
            let ids: Vec<&[u32]> = tokens[from..to].iter().map(|tokens| tokens.ids.as_slice()).collect();
            pooled.extend(self.encoder.encode(&ids, pooling)?);
            from = to;
        }
        Ok(pooled)
    }
}

/// An error of a model's weights, with its file.
fn named(files: &Files, error: EncoderError) -> EncoderError {
    match files {
        Files::Builtin(_) => error,
        Files::Gguf(path) | Files::Folder(path) => error.of(path),
    }
}

/// Weights and tokenizer of a model.
///
/// # Errors
///
/// The files are invalid.
pub fn open(files: &Files) -> Result<(Weights, Tokenizer), LoadError> {
    let gguf = |weights: Weights| -> Result<(Weights, Tokenizer), LoadError> {
        let content = weights.content().ok_or_else(|| EncoderError::Malformed("not a GGUF file".into()))?;
        let tokenizer = Tokenizer::from_gguf(content).map_err(|error| match files {
            Files::Gguf(path) => LoadError::Encoder(EncoderError::file(path, error)),
            _ => error.into(),
        })?;
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
