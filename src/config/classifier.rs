//! The embedded model: which one, where it runs, and how long a prompt may take.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where the embedded model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The GPU that this build supports and this machine has, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU; needs a build with the `cuda` feature.
    Cuda,
    /// An Apple GPU; needs a build with the `metal` feature.
    Metal,
}

/// How weights are held on the CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `int8` where the file is quantised, `full` where it is not.
    #[default]
    Auto,
    /// Eight bits per weight: four times faster, and a quarter of the memory.
    Int8,
    /// Floats, as exact as the file.
    Full,
}

/// The embedded model. Fixed at start, except for the head.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classifier {
    /// `false`: `auto` routes without a reading of the prompt.
    pub enabled: bool,
    /// The encoder: `builtin`, a path (a GGUF file, or a folder with safetensors and a tokenizer), or
    /// `hf:owner/name[@revision]`.
    pub model: String,
    /// The head, which turns features into predictions: `builtin`, a path to a safetensors file, or `none`. Live:
    /// another head, or a file written anew, is taken over while the gateway runs.
    pub head: String,
    /// Where it runs.
    pub device: Device,
    /// How weights are held on the CPU.
    pub precision: Precision,
    /// CPU threads for one prompt; 0 = one per core.
    pub threads: usize,
    /// Milliseconds a request waits for the reading of its prompt; then it is routed without one.
    pub budget_ms: u64,
    /// Prompts that may wait; beyond them requests are routed without a reading.
    pub queue: usize,
    /// Tokens read of a longer prompt: its beginning and its end.
    pub max_tokens: usize,
    /// Memory for cached readings, MiB; 0 = no cache.
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
    /// All but the token itself, which its variable's or file's name stands for.
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
    /// File that holds the token; the hub's own `token` file in the cache is read, too.
    pub token_file: Option<PathBuf>,
    /// Where downloads are kept; absent = `$HF_HOME/hub`, else `~/.cache/huggingface/hub`, shared with other
    /// programs.
    pub cache_dir: Option<PathBuf>,
    /// `true`: no downloads; what is not in the cache is an error.
    pub offline: bool,
    /// Retries after an interrupted or refused download; each resumes where the last one stopped.
    pub retries: usize,
    /// Seconds without a byte after which a download has failed.
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
