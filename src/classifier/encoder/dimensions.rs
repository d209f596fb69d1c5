//! A Llama's dimensions, from GGUF metadata or from `config.json`.

use candle_core::quantized::gguf_file::{Content, Value};
use serde::Deserialize;

use super::EncoderError;

/// A Llama's dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers in the file.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; fewer than query heads in grouped-query attention.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Added under the root of the norms.
    pub eps: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Tokens in the vocabulary.
    pub vocab: usize,
}

/// Rotary positions: base frequency and how it is stretched.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// How frequencies are stretched for long contexts.
    pub scaling: Scaling,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// Not stretched.
    None,
    /// All frequencies alike.
    Linear {
        /// Divides every frequency.
        factor: f64,
    },
    /// Llama 3.1's: low frequencies are divided, high ones kept, those between blended.
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Waves longer than the old context over this are low.
        low_freq_factor: f64,
        /// Waves shorter than the old context over this are high.
        high_freq_factor: f64,
        /// The context before stretching.
        original_context: f64,
    },
    /// A divisor for each frequency, as GGUF's tensor `rope_freqs.weight` holds them.
    Table(Vec<f64>),
}

impl Rope {
    /// Angular frequency of each pair of a head's dimensions, radians per position.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = (0..head_dim / 2).map(|at| self.theta.powf(-(2.0 * at as f64) / head_dim as f64));
        match &self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear { factor } => plain.map(|frequency| frequency / factor).collect(),
            Scaling::Table(divisors) => plain.zip(divisors).map(|(frequency, divisor)| frequency / divisor).collect(),
            Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let stretch = |frequency: f64| {
                    // Waves in the old context, between `low_freq_factor` (all divided) and `high_freq_factor` (kept).
                    let waves = original_context * frequency / std::f64::consts::TAU;
                    let keep = ((waves - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    keep * frequency + (1.0 - keep) * frequency / factor
                };
                plain.map(stretch).collect()
            }
        }
    }
}

impl Hyper {
    /// From GGUF metadata. A divisor table for the frequencies is in a tensor, and is added by the reader of tensors.
    ///
    /// # Errors
    ///
    /// Another architecture, or a key that is missing.
    pub fn from_gguf(content: &Content) -> Result<Self, EncoderError> {
        let architecture = text(content, "general.architecture").unwrap_or_default();
        if architecture != "llama" {
            return Err(EncoderError::Architecture(architecture));
        }
        let need = |key: &str| {
            let value = number(content, key);
            value.ok_or_else(|| EncoderError::Malformed(format!("GGUF metadata has no `{key}`")))
        };
        let size = |key: &str| need(key).map(|value| value as usize);
        let hidden = size("llama.embedding_length")?;
        let heads = size("llama.attention.head_count")?;
        let kv_heads = number(content, "llama.attention.head_count_kv").map_or(heads, |value| value as usize);
        let head_dim = number(content, "llama.attention.key_length").map_or(hidden / heads.max(1), |it| it as usize);
        for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
            let differs = number(content, key).filter(|found| *found as usize != head_dim);
            if let Some(found) = differs {
                return Err(lacking(format!("`{key}` is {found} where a head has {head_dim} dimensions")));
            }
        }
        if let Some(experts) = number(content, "llama.expert_count").filter(|experts| *experts > 0.0) {
            return Err(lacking(format!("a mixture of {experts} experts")));
        }
        let factor =
            ["llama.rope.scaling.factor", "llama.rope.scale_linear"].iter().find_map(|key| number(content, key));
        let scaling = match (text(content, "llama.rope.scaling.type").as_deref(), factor) {
            (Some("none"), _) | (Some("linear") | None, None | Some(1.0)) => Scaling::None,
            // The meaning of a file that gives only a factor.
            (Some("linear") | None, Some(factor)) => Scaling::Linear { factor },
            (Some(other), _) => return Err(lacking(format!("rope scaling `{other}`"))),
        };
        let tokens = match content.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(tokens)) => tokens.len(),
            _ => size("llama.vocab_size")?,
        };
        Self {
            hidden,
            layers: size("llama.block_count")?,
            heads,
            kv_heads,
            head_dim,
            ffn: size("llama.feed_forward_length")?,
            eps: need("llama.attention.layer_norm_rms_epsilon")?,
            rope: Rope { theta: number(content, "llama.rope.freq_base").unwrap_or(10_000.0), scaling },
            vocab: tokens,
        }
        .checked()
    }

    /// From the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// Another architecture, or an option that is not implemented.
    pub fn from_json(text: &str) -> Result<Self, EncoderError> {
        let file: File = serde_json::from_str(text).map_err(|error| EncoderError::Malformed(error.to_string()))?;
        if !["llama", "mistral"].contains(&file.model_type.as_str()) {
            return Err(EncoderError::Architecture(file.model_type));
        }
        if file.attention_bias || file.mlp_bias {
            return Err(lacking("biases in its layers".into()));
        }
        if let Some(other) = file.hidden_act.filter(|it| !["silu", "swish"].contains(&it.as_str())) {
            return Err(lacking(format!("the activation `{other}`")));
        }
        let rope = file.rope_parameters.as_ref().or(file.rope_scaling.as_ref());
        let part = file.partial_rotary_factor.or(rope.and_then(|rope| rope.partial_rotary_factor));
        if let Some(part) = part.filter(|part| *part != 1.0) {
            return Err(lacking(format!("partial_rotary_factor {part}")));
        }
        let theta = file.rope_theta.or(rope.and_then(|rope| rope.rope_theta)).unwrap_or(10_000.0);
        let scaling = rope.map_or(Ok(Scaling::None), RopeFile::scaling)?;
        Self {
            hidden: file.hidden_size,
            layers: file.num_hidden_layers,
            heads: file.num_attention_heads,
            kv_heads: file.num_key_value_heads.unwrap_or(file.num_attention_heads),
            head_dim: file.head_dim.unwrap_or(file.hidden_size / file.num_attention_heads.max(1)),
            ffn: file.intermediate_size,
            eps: file.rms_norm_eps,
            rope: Rope { theta, scaling },
            vocab: file.vocab_size,
        }
        .checked()
    }

    /// Parameters of one layer.
    pub fn layer_parameters(&self) -> usize {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        self.hidden * (2 * queries + 2 * keys) + 3 * self.hidden * self.ffn + 2 * self.hidden
    }

    /// Checks that a model can have these dimensions.
    ///
    /// # Errors
    ///
    /// It cannot; the message names the dimension.
    pub(super) fn checked(self) -> Result<Self, EncoderError> {
        let impossible = |what: String| Err(EncoderError::Malformed(format!("impossible: {what}")));
        let sizes = [
            ("width", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("key and value heads", self.kv_heads),
            ("dimensions of a head", self.head_dim),
            ("width of the feed-forward layer", self.ffn),
            ("tokens", self.vocab),
        ];
        if let Some((name, size)) = sizes.into_iter().find(|(_, size)| !(1..1 << 24).contains(size)) {
            return impossible(format!("{name}: {size}"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return impossible(format!("{} heads share {} key and value heads", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return impossible(format!("rotary positions of a head of {} dimensions", self.head_dim));
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return impossible(format!("{} under the root of its norms", self.eps));
        }
        let theta = self.rope.theta;
        if !(theta.is_finite() && theta > 0.0) {
            return impossible(format!("a rotary base of {theta}"));
        }
        if let Scaling::Table(divisors) = &self.rope.scaling
            && divisors.len() != self.head_dim / 2
        {
            return impossible(format!("{} rotary divisors for {} frequencies", divisors.len(), self.head_dim / 2));
        }
        match self.rope.frequencies(self.head_dim).into_iter().find(|it| !(it.is_finite() && *it > 0.0)) {
            Some(frequency) => impossible(format!("a rotary frequency of {frequency}; its scaling is wrong")),
            None => Ok(self),
        }
    }
}

/// Refuses a model with an option that is not implemented: its states would be wrong.
pub(super) fn lacking(what: String) -> EncoderError {
    EncoderError::Malformed(format!("it needs an option that is not supported: {what}"))
}

/// An integer of any width.
pub(in crate::classifier) fn number(content: &Content, key: &str) -> Option<f64> {
    Some(match content.metadata.get(key)? {
        Value::U8(value) => f64::from(*value),
        Value::I8(value) => f64::from(*value),
        Value::U16(value) => f64::from(*value),
        Value::I16(value) => f64::from(*value),
        Value::U32(value) => f64::from(*value),
        Value::I32(value) => f64::from(*value),
        Value::U64(value) => *value as f64,
        Value::I64(value) => *value as f64,
        Value::F32(value) => f64::from(*value),
        Value::F64(value) => *value,
        Value::Bool(_) | Value::String(_) | Value::Array(_) => return None,
    })
}

/// A text.
pub(in crate::classifier) fn text(content: &Content, key: &str) -> Option<String> {
    content.metadata.get(key)?.to_string().ok().cloned()
}

/// The fields of `config.json` that are used.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeFile>,
    /// Where newer versions of the format keep both of the above.
    rope_parameters: Option<RopeFile>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    partial_rotary_factor: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct RopeFile {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

impl RopeFile {
    fn scaling(&self) -> Result<Scaling, EncoderError> {
        let need = |value: Option<f64>, key: &str| {
            value.ok_or_else(|| EncoderError::Malformed(format!("config.json has no rope_scaling.{key}")))
        };
        match self.rope_type.as_deref() {
            None | Some("default") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear { factor: need(self.factor, "factor")? }),
            Some("llama3") => Ok(Scaling::Llama3 {
                factor: need(self.factor, "factor")?,
                low_freq_factor: need(self.low_freq_factor, "low_freq_factor")?,
                high_freq_factor: need(self.high_freq_factor, "high_freq_factor")?,
                original_context: need(self.original_max_position_embeddings, "original_max_position_embeddings")?,
            }),
            Some(other) => Err(lacking(format!("rope scaling `{other}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_3_2_1B: &str = r#"{"model_type":"llama","hidden_size":2048,"intermediate_size":8192,
        "num_hidden_layers":16,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":64,"vocab_size":128256,
        "rms_norm_eps":1e-05,"rope_theta":500000.0,"tie_word_embeddings":true,"rope_scaling":{"factor":32.0,
        "high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}}"#;

    #[test]
    fn llama_3_2_is_read_with_its_stretched_frequencies() {
        let hyper = Hyper::from_json(LLAMA_3_2_1B).unwrap();
        assert_eq!((hyper.heads, hyper.kv_heads, hyper.head_dim), (32, 8, 64));
        let plain = Rope { theta: 500_000.0, scaling: Scaling::None }.frequencies(64);
        let stretched = hyper.rope.frequencies(64);
        assert_eq!(stretched[0], plain[0], "a short wave is kept");
        assert!((stretched[31] * 32.0 - plain[31]).abs() < 1e-12, "a long one is divided");
        let blended = (0..32).filter(|at| stretched[*at] < plain[*at] && stretched[*at] * 31.9 > plain[*at]).count();
        assert!((1..8).contains(&blended), "{blended} between");
    }

    #[test]
    fn newer_files_keep_the_rope_in_one_place() {
        let text = LLAMA_3_2_1B
            .replace("\"rope_theta\":500000.0,", "")
            .replace("\"rope_scaling\":{", "\"rope_parameters\":{\"rope_theta\":500000.0,");
        assert_eq!(Hyper::from_json(&text).unwrap(), Hyper::from_json(LLAMA_3_2_1B).unwrap());
    }

    #[test]
    fn other_architectures_and_impossible_sizes_are_refused() {
        let refused =
            |from: &str, to: &str| Hyper::from_json(&LLAMA_3_2_1B.replace(from, to)).unwrap_err().to_string();
        assert!(refused("\"llama\",\"hidden", "\"gpt2\",\"hidden").contains("gpt2"));
        assert!(refused("\"num_key_value_heads\":8", "\"num_key_value_heads\":5").contains("impossible"));
        assert!(refused("\"llama3\"", "\"yarn\"").contains("yarn"));
        assert!(refused("\"factor\":32.0,", "").contains("factor"));
        assert!(refused("\"factor\":32.0", "\"factor\":0.0").contains("frequency"));
        assert!(refused("500000.0", "-5.0").contains("rotary base"));
        assert!(refused("1e-05", "-1e-05").contains("norms"));
        assert!(refused("\"model_type\"", "\"hidden_act\":\"gelu\",\"model_type\"").contains("gelu"));
        assert!(refused("\"model_type\"", "\"partial_rotary_factor\":0.5,\"model_type\"").contains("partial_rotary"));
    }
}
