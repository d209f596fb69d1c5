//! GGUF files made here from the tiny checkpoint: rows in GGUF's order, frequencies as a table, every type there is.
//!
//! Random weights have no structure that forgives rounding, so the few-bit types are held to little here; what shows a
//! wrong order or a lost table are the float types, which are held to six digits.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::*;
use crate::classifier::head::Head;
use crate::classifier::source::{Files, Source, builtin_bytes};
use crate::classifier::tokenizer::Tokenizer;
use crate::classifier::{Model, cut, open};
use crate::config::Precision;

/// A model to be written as GGUF.
pub(crate) struct Made {
    pub(crate) hyper: Hyper,
    pub(crate) tensors: Vec<(Role, Tensor)>,
}

impl Made {
    /// The checkpoint of the parity fixtures.
    fn tiny() -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/tiny");
        let mut weights = Weights::open_folder(&folder).unwrap();
        let roles = (0..2).flat_map(|layer| LayerRole::ALL.map(|role| Role::Layer(layer, role)));
        let roles: Vec<Role> = [Role::Embedding, Role::OutputNorm].into_iter().chain(roles).collect();
        let tensors = roles.into_iter().map(|role| (role, weights.tensor(role).unwrap())).collect();
        Self { hyper: weights.hyper().clone(), tensors }
    }

    /// A random layer wide enough for types with blocks of 256.
    fn wide() -> Self {
        Self::random(256, 256, 1)
    }

    /// Random layers of four query heads and two key heads.
    fn random(hidden: usize, ffn: usize, layers: usize) -> Self {
        let (heads, kv_heads, vocab) = (4, 2, 270);
        let hyper = Hyper {
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim: hidden / heads,
            ffn,
            eps: 1e-5,
            rope: Rope { theta: 10_000.0, scaling: Scaling::None },
            vocab,
        };
        let mut seed = 5_u64;
        let mut noise = |rows: usize, columns: usize| {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * 0.2
            };
            let values: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        let norm = || Tensor::ones(hidden, DType::F32, &Device::Cpu).unwrap();
        let keys = hyper.kv_heads * hyper.head_dim;
        let mut tensors = vec![(Role::Embedding, noise(vocab, hidden))];
        for (layer, role) in (0..layers).flat_map(|layer| LayerRole::ALL.map(|role| (layer, role))) {
            let tensor = match role {
                LayerRole::AttentionNorm | LayerRole::FfnNorm => norm(),
                LayerRole::Query | LayerRole::Output => noise(hidden, hidden),
                LayerRole::Key | LayerRole::Value => noise(keys, hidden),
                LayerRole::Gate | LayerRole::Up => noise(ffn, hidden),
                LayerRole::Down => noise(hidden, ffn),
            };
            tensors.push((Role::Layer(layer, role), tensor));
        }
        Self { hyper, tensors }
    }

    /// The file, with products of that type.
    pub(crate) fn gguf(&self, dtype: GgmlDType) -> Vec<u8> {
        self.gguf_with(dtype, &[], &[])
    }

    /// The file with other metadata and further tensors.
    fn gguf_with(&self, dtype: GgmlDType, other: &[(&str, Value)], further: &[(&str, Vec<f32>)]) -> Vec<u8> {
        let hyper = &self.hyper;
        let count = |value: usize| Value::U32(value as u32);
        let alphabet: Vec<String> = byte_letters().into_iter().chain(["th".into(), "the".into()]).collect();
        let tokens: Vec<String> = std::iter::once("<|begin|>".to_owned()).chain(alphabet).collect();
        let filler = (tokens.len()..hyper.vocab).map(|at| format!("<{at}>"));
        let tokens: Vec<Value> = tokens.iter().cloned().chain(filler).map(Value::String).collect();
        let kinds = (0..tokens.len()).map(|at| Value::I32(if at == 0 { 3 } else { 1 })).collect();
        let merges = ["t h", "th e"].map(|merge| Value::String(merge.into())).into();
        let mut metadata = BTreeMap::from([
            ("general.architecture", Value::String("llama".into())),
            ("llama.block_count", count(hyper.layers)),
            ("llama.embedding_length", count(hyper.hidden)),
            ("llama.feed_forward_length", count(hyper.ffn)),
            ("llama.attention.head_count", count(hyper.heads)),
            ("llama.attention.head_count_kv", count(hyper.kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(hyper.eps as f32)),
            ("llama.rope.freq_base", Value::F32(hyper.rope.theta as f32)),
            ("tokenizer.ggml.model", Value::String("gpt2".into())),
            ("tokenizer.ggml.pre", Value::String("llama-bpe".into())),
            ("tokenizer.ggml.bos_token_id", count(0)),
            ("tokenizer.ggml.tokens", Value::Array(tokens)),
            ("tokenizer.ggml.token_type", Value::Array(kinds)),
            ("tokenizer.ggml.merges", Value::Array(merges)),
        ]);
        metadata.extend(other.iter().cloned());
        let mut tensors: Vec<(String, QTensor)> = Vec::new();
        if hyper.rope.scaling != Scaling::None {
            let plain = Rope { theta: hyper.rope.theta, scaling: Scaling::None }.frequencies(hyper.head_dim);
            let table: Vec<f32> =
                plain.iter().zip(hyper.rope.frequencies(hyper.head_dim)).map(|(a, b)| (a / b) as f32).collect();
            let table = Tensor::new(table, &Device::Cpu).unwrap();
            tensors.push(("rope_freqs.weight".into(), QTensor::quantize(&table, GgmlDType::F32).unwrap()));
        }
        for (role, tensor) in &self.tensors {
            let heads = match role {
                Role::Layer(_, LayerRole::Query) => Some(hyper.heads),
                Role::Layer(_, LayerRole::Key) => Some(hyper.kv_heads),
                _ => None,
            };
            // The order llama.cpp's converter gives these rows: each head's halves interleaved.
            let tensor = match heads {
                Some(heads) => {
                    let (rows, columns) = tensor.dims2().unwrap();
                    let split = tensor.reshape((heads, 2, rows / heads / 2, columns)).unwrap();
                    split.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, columns)).unwrap()
                }
                None => tensor.clone(),
            };
            let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
            tensors.push((gguf_name(*role), QTensor::quantize(&tensor, dtype).unwrap()));
        }
        for (name, numbers) in further {
            let tensor = Tensor::new(numbers.as_slice(), &Device::Cpu).unwrap();
            tensors.push(((*name).into(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap()));
        }
        let mut file = Cursor::new(Vec::new());
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        write(&mut file, &metadata, &tensors).unwrap();
        file.into_inner()
    }
}

/// A small random Llama for whoever trains one: whole blocks for the fast way, so many layers.
pub(crate) fn made_llama(layers: usize) -> Made {
    Made::random(64, 64, layers)
}

/// The characters that stand for bytes in byte-level vocabularies, in the order of `tokenizers`' alphabet sorted.
fn byte_letters() -> Vec<String> {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut letters: Vec<u32> = (0..256).filter(printable).collect();
    letters.extend((0..256 - letters.len() as u32).map(|at| 256 + at));
    letters.into_iter().map(|letter| char::from_u32(letter).unwrap().to_string()).collect()
}

fn encoder(file: Vec<u8>, precision: Precision) -> (Encoder, Tokenizer) {
    let (mut weights, tokenizer) = open(&Files::Builtin(file.leak())).unwrap();
    let setup = Setup { device: config::Device::Cpu, precision, threads: 1, ..Setup::default() };
    (Encoder::load(&mut weights, &setup).unwrap(), tokenizer)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn gguf_gives_the_states_of_the_checkpoint_it_was_made_of() {
    let (folder, _) = (std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/tiny"), ());
    let (mut weights, reference) = open(&Files::Folder(folder)).unwrap();
    let exact = Encoder::load(&mut weights, &Setup { threads: 1, ..Setup::default() }).unwrap();
    let text = "the theory of everything, 1234 times over ".repeat(4);
    let prompt = crate::classifier::prompt::Prompt::of_text(&text);
    let expected = exact.states(&[&reference.encode(&prompt, 256).unwrap().ids], &[1, 2]).unwrap();
    let types = [
        (GgmlDType::F32, 0.999_999),
        (GgmlDType::F16, 0.999_99),
        (GgmlDType::BF16, 0.999_99),
        (GgmlDType::Q8_0, 0.995),
        (GgmlDType::Q5_1, 0.93),
        (GgmlDType::Q5_0, 0.93),
        (GgmlDType::Q4_1, 0.8),
        (GgmlDType::Q4_0, 0.8),
    ];
    for (dtype, least) in types {
        let (encoder, tokenizer) = encoder(Made::tiny().gguf(dtype), Precision::Full);
        let ids = tokenizer.encode(&prompt, 256).unwrap().ids;
        assert_eq!(ids[0], 0, "Llama 3's files begin a prompt without saying so");
        for (found, expected) in encoder.states(&[&ids], &[1, 2]).unwrap().iter().zip(&expected) {
            let cosine = cosine(found, expected);
            assert!(cosine > least, "{dtype:?}: {cosine}");
        }
    }
}

#[test]
fn types_with_large_blocks_are_read_and_come_close() {
    let prompt: Vec<u32> = (1..60).collect();
    let states = |dtype, precision| {
        let (encoder, _) = encoder(Made::wide().gguf(dtype), precision);
        encoder.states(&[&prompt], &[1]).unwrap().remove(0)
    };
    let exact = states(GgmlDType::F32, Precision::Full);
    let types = [
        (GgmlDType::Q6K, 0.99),
        (GgmlDType::Q5K, 0.97),
        (GgmlDType::Q4K, 0.9),
        (GgmlDType::Q3K, 0.7),
        (GgmlDType::Q2K, 0.4),
    ];
    for (dtype, least) in types {
        let full = states(dtype, Precision::Full);
        assert!(cosine(&full, &exact) > least, "{dtype:?}: {}", cosine(&full, &exact));
        let int8 = states(dtype, Precision::Int8);
        assert!(cosine(&int8, &full) > 0.99, "{dtype:?} in eight bits: {}", cosine(&int8, &full));
    }
}

fn print(files: &Files, precision: Precision) -> String {
    let (mut weights, tokenizer) = open(files).unwrap();
    let setup = Setup { device: config::Device::Cpu, precision, threads: 1, ..Setup::default() };
    Encoder::load(&mut weights, &setup).unwrap();
    weights.fingerprint(tokenizer.made_of())
}

#[test]
fn the_fingerprint_follows_all_that_states_depend_on_and_nothing_else() {
    let print = |file: Vec<u8>, precision| print(&Files::Builtin(file.leak()), precision);
    let made = Made::wide();
    let one = print(made.gguf(GgmlDType::Q8_0), Precision::Full);
    assert_eq!(one, print(made.gguf(GgmlDType::Q8_0), Precision::Int8), "however it is held");
    assert_ne!(one, print(made.gguf(GgmlDType::Q4K), Precision::Full), "other numbers");
    let with = |key, value| print(made.gguf_with(GgmlDType::Q8_0, &[(key, value)], &[]), Precision::Full);
    assert_eq!(one, with("general.name", Value::String("another".into())));
    assert_ne!(one, with("llama.rope.freq_base", Value::F32(1e6)));
    assert_ne!(one, with("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6)));
    assert_ne!(one, with("tokenizer.ggml.pre", Value::String("smollm".into())));
    assert_ne!(one, with("tokenizer.ggml.add_bos_token", Value::Bool(false)));

    let mut deep = made_llama(6);
    let before = print(deep.gguf(GgmlDType::Q8_0), Precision::Full);
    let (_, last) = deep.tensors.last_mut().unwrap();
    *last = last.affine(2.0, 0.0).unwrap();
    assert_ne!(before, print(deep.gguf(GgmlDType::Q8_0), Precision::Full), "the deepest layer");
    let before = print(deep.gguf(GgmlDType::Q8_0), Precision::Full);
    let (_, embedding) = deep.tensors.first_mut().unwrap();
    *embedding = embedding.affine(2.0, 0.0).unwrap();
    assert_ne!(before, print(deep.gguf(GgmlDType::Q8_0), Precision::Full), "the embeddings");
}

#[test]
fn the_builtin_encoder_keeps_its_name_wherever_its_file_lies() {
    let builtin = Source::Builtin.fetch(&config::Hub::default(), &mut ()).unwrap();
    let Files::Builtin(bytes) = &builtin else { panic!("it is in the binary") };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.gguf");
    std::fs::write(&copy, bytes).unwrap();
    let head = Head::from_bytes(builtin_bytes("builtin/head.safetensors").unwrap()).unwrap();
    assert_eq!(print(&builtin, Precision::Auto), head.description().encoder);
    assert_eq!(print(&Files::Gguf(copy), Precision::Full), head.description().encoder);
}

#[test]
fn what_a_file_wants_and_cannot_be_given_is_refused_by_the_files_name() {
    let made = Made::wide();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let load = |file: Vec<u8>| {
        std::fs::write(&path, file).unwrap();
        let name = path.display().to_string();
        let model = Model::load(&config::Classifier { model: name, threads: 1, ..config::Classifier::default() })?;
        model.encode_batch(&["Hello"], &Pooling::mean_of(1))
    };
    let refused = |other: &[(&str, Value)], further: &[(&str, Vec<f32>)], why: &str| {
        let told = load(made.gguf_with(GgmlDType::F32, other, further)).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
        assert!(told.contains("m.gguf"), "{told}");
    };
    let text = |text: &str| Value::String(text.into());
    let (kind, factor) = ("llama.rope.scaling.type", "llama.rope.scaling.factor");
    refused(&[(kind, text("yarn"))], &[], "yarn");
    refused(&[(kind, text("linear")), (factor, Value::F32(0.0))], &[], "frequency");
    refused(&[("llama.rope.dimension_count", Value::U32(16))], &[], "rope.dimension_count");
    refused(&[("llama.expert_count", Value::U32(8))], &[], "experts");
    for base in [0.0, -5.0, f32::NAN] {
        refused(&[("llama.rope.freq_base", Value::F32(base))], &[], "rotary base");
    }
    refused(&[], &[("blk.0.attn_q.bias", vec![5.0; 256])], "blk.0.attn_q.bias");
    for table in [vec![1.0; 5], vec![1.0; 50], vec![0.0; 32]] {
        refused(&[], &[("rope_freqs.weight", table)], "rotary");
    }
    refused(&[("tokenizer.ggml.pre", text("other"))], &[], "the tokenizer");
    refused(&[("llama.feed_forward_length", Value::U32(512))], &[], "blk.0.ffn_gate.weight is [256, 256]");
    refused(&[("general.architecture", text("bert"))], &[], "bert");

    assert!(
        load(made.gguf_with(GgmlDType::F32, &[(kind, text("none"))], &[("rope_freqs.weight", vec![1.0; 32])]))
            .is_ok()
    );
    let mut broken = Made::wide();
    let (_, last) = broken.tensors.last_mut().unwrap();
    *last = last.affine(f64::NAN, 0.0).unwrap();
    assert!(load(broken.gguf(GgmlDType::F32)).unwrap_err().to_string().contains("are not finite"));

    let file = made.gguf(GgmlDType::F32);
    for (bytes, why) in
        [(file.len() - 1, "cut off"), (5_000, "fetch it again"), (100, "fetch it again"), (3, "no GGUF file")]
    {
        let told = load(file[..bytes].to_vec()).unwrap_err().to_string();
        assert!(told.contains(why) && told.contains("m.gguf") && !told.contains('\n'), "{told}");
    }
}

#[test]
fn a_cut_model_reads_kept_tokens_as_its_base_does_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.gguf");
    std::fs::write(&base, Made::tiny().gguf(GgmlDType::Q8_0)).unwrap();
    let recipe = cut::Recipe {
        name: "cut".into(),
        base: "tiny".into(),
        base_sha256: cut::file_sha256(&base).unwrap(),
        license: "apache-2.0".into(),
        layers: 1,
        vocabulary: cut::Vocabulary { min_count: 2, first_merges: 1, scripts_and_marks: false, sources: Vec::new() },
    };
    let out = folder.path().join("out.gguf");
    // "the" is merged in the base; it is used too rarely to be kept, and falls apart into "th" and "e".
    let prompts = ["the", "th th"];
    let once = cut::cut(&base, &recipe, prompts.into_iter(), &out).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    assert_eq!(cut::cut(&base, &recipe, prompts.into_iter(), &out).unwrap(), once);
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
    assert_eq!((once.layers, once.tokens), (1, 1 + 256 + 1), "control token, bytes, a merged one: {once:?}");
    assert_eq!(once.counted, (4, 5));

    let (base_encoder, base_tokenizer) = encoder(std::fs::read(&base).unwrap(), Precision::Full);
    let (cut_encoder, cut_tokenizer) = encoder(bytes.clone(), Precision::Full);
    assert_eq!(cut_encoder.depth(), 1);
    let states = |encoder: &Encoder, tokenizer: &Tokenizer| {
        encoder.states(&[&tokenizer.ids("th on its own").unwrap()], &[1]).unwrap().remove(0)
    };
    let (found, expected) = (states(&cut_encoder, &cut_tokenizer), states(&base_encoder, &base_tokenizer));
    assert!(cosine(&found, &expected) > 0.999_999);
    assert_eq!((base_tokenizer.ids("the").unwrap().len(), cut_tokenizer.ids("the").unwrap().len()), (1, 2));

    let refused = |recipe: cut::Recipe| cut::cut(&base, &recipe, prompts.into_iter(), &out).unwrap_err().to_string();
    assert!(refused(cut::Recipe { base_sha256: "0".repeat(64), ..recipe.clone() }).contains("SHA-256"));
    for layers in [0, 99] {
        assert!(refused(cut::Recipe { layers, ..recipe.clone() }).contains("can be kept"), "{layers}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the base and what came of it, nothing half written: {left:?}");
    assert_eq!(std::fs::read(&out).unwrap(), bytes, "what was there before a refusal is there after it");
}
