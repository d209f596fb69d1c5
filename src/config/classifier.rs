//! The embedded model: which, where it runs, and how long a prompt may take.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where the embedded model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The graphics processor this build supports and this machine has, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA; needs a build with the `cuda` feature.
    Cuda,
    /// Apple; needs a build with the `metal` feature.
    Metal,
}

/// How the weights are held on the processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `int8` where the file is quantised, `full` where it is not.
    #[default]
    Auto,
    /// Eight bits a weight: four times faster, and a quarter of the memory.
    Int8,
    /// Floats, as exact as the file.
    Full,
}

/// The embedded model. Fixed at start, but for the head.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classifier {
    /// Off: `auto` routes without having read the prompt.
    pub enabled: bool,
    /// The encoder: `builtin`, a path (a GGUF file, or a folder with safetensors and a tokenizer), or
    /// `hf:owner/name[@revision]`.
    pub model: String,
    /// What turns features into predictions: `builtin`, a path to a safetensors file, or `none`. Live: another one,
    /// or a file that was written anew, is taken over while it runs.
    pub head: String,
    /// Where it runs.
    pub device: Device,
    /// How the weights are held on the processor.
    pub precision: Precision,
    /// Processor threads for one prompt; 0 = as many as there are cores.
    pub threads: usize,
    /// Milliseconds a request waits for its reading; then it is routed without one.
    pub budget_ms: u64,
    /// Prompts that may wait; when it is full, further ones are routed without a reading.
    pub queue: usize,
    /// Tokens read of a prompt: its beginning and its end.
    pub max_tokens: usize,
    /// Memory for readings of prompts seen before, MiB; 0 = none are kept.
    pub cache_mb: u64,
    /// Where `hf:` models come from.
    pub hub: Hub,
}

impl Default for Classifier {
    fn default() -> Self {
        Self {
            enabled: true,
            model: "builtin".into(),
            head: "builtin".into(),
            device: Device::default(),
            precision: Precision::default(),
            threads: 2,
            budget_ms: 100,
            queue: 64,
            max_tokens: 256,
            cache_mb: 16,
            hub: Hub::default(),
        }
    }
}

impl PartialEq for Classifier {
    /// Secrets apart: the hub's token is looked up by its name.
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| serde_json::to_value(it).unwrap_or_default();
        key(self) == key(other)
    }
}

/// Where `hf:` models come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// The hub's address.
    pub endpoint: String,
    /// Environment variable that holds the access token that gated models ask for.
    pub token_env: String,
    /// File that holds it; the hub's own `token` file in the cache is looked at too.
    pub token_file: Option<PathBuf>,
    /// Where downloads are kept; absent = `$HF_HOME/hub`, else `~/.cache/huggingface/hub`, shared with other
    /// programs.
    pub cache_dir: Option<PathBuf>,
    /// Never go out: what is not in the cache is an error.
    pub offline: bool,
    /// Further tries after a cut or refused download; each goes on where the last one stopped.
    pub retries: usize,
    /// Seconds without a byte before a try is given up.
    pub timeout_s: u64,
    /// The token, as resolved at load. Never printed, never serialised.
    #[serde(skip)]
    pub token: Option<SecretString>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".into(),
            token_env: "HF_TOKEN".into(),
            token_file: None,
            cache_dir: None,
            offline: false,
            retries: 3,
            timeout_s: 30,
            token: None,
        }
    }
}
