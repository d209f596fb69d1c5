//! The forward pass against `transformers`: fixtures made by `training/parity_fixtures.py`, and files made here.
//!
//! Tolerances, as the largest distance of two states over the length of the reference: 1e-4 where both compute in
//! 32-bit floats from the same weights; 0.03 with eight-bit products (each rounds to about 0.5 % of what it
//! multiplies). Pooled vectors agree to a cosine of 0.999 with eight bits (0.9999 over many tokens), and 0.99999
//! without.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::Tensor;

use super::*;
use crate::classifier::prompt::Prompt;
use crate::classifier::source::{Files, Source};
use crate::classifier::{Model, open};
use crate::config::{Hub, Precision};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder")
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixtures().join(name), &Device::Cpu).unwrap()
}

fn floats_of(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn ids_of(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32).collect()
}

fn setup(precision: Precision) -> Setup {
    Setup { device: config::Device::Cpu, precision, threads: 1, max_tokens: 256, ..Setup::default() }
}

fn length(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / (length(a) * length(b))
}

/// Largest distance of two tokens' states, over the length of the reference.
fn worst(found: &[f32], expected: &[f32], hidden: usize) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.chunks(hidden).zip(expected.chunks(hidden));
    pairs
        .map(|(found, expected)| {
            let difference: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
            length(&difference) / length(expected)
        })
        .fold(0.0, f32::max)
}

/// A sharded checkpoint in bfloat16 with grouped queries, stretched frequencies and untied output.
#[test]
fn a_llama_3_checkpoint_gives_the_references_states() {
    let expected = tensors("tiny.safetensors");
    let (mut weights, tokenizer) = open(&Files::Folder(fixtures().join("tiny"))).unwrap();
    assert_eq!(weights.type_name(), "BF16");
    let encoder = Encoder::load(&mut weights, &setup(Precision::Auto)).unwrap();
    for prompt in 0..2 {
        let text: Vec<u8> = expected[&format!("{prompt}.text")].to_vec1().unwrap();
        let text = String::from_utf8(text).unwrap();
        let tokens = tokenizer.encode(&Prompt::of_text(&text), 256).unwrap();
        assert_eq!(tokens.ids, ids_of(&expected[&format!("{prompt}.ids")]), "beginning token and pieces");
        let states = encoder.states(&[&tokens.ids], &[0, 1]).unwrap();
        for (layer, states) in states.iter().enumerate() {
            let distance = worst(states, &floats_of(&expected[&format!("{prompt}.{layer}")]), 64);
            assert!(distance < 1e-4, "prompt {prompt}, layer {layer}: {distance}");
        }
    }
}

/// The builtin file, dequantised and with eight-bit products, against the same file read by `transformers`.
#[test]
fn the_builtin_model_gives_the_references_features() {
    let expected = tensors("builtin.safetensors");
    for (precision, least) in [(Precision::Full, 0.999_99), (Precision::Int8, 0.999)] {
        let files = Source::Builtin.fetch(&Hub::default(), &mut ()).unwrap();
        let (mut weights, _) = open(&files).unwrap();
        let encoder = Encoder::load(&mut weights, &setup(precision)).unwrap();
        let pooling = Pooling { layers: vec![1, 4, 8], mean: true, last: true };
        let ids: Vec<Vec<u32>> = (0..4).map(|prompt| ids_of(&expected[&format!("{prompt}.ids")])).collect();
        // Together: packing must not let prompts see each other.
        let prompts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let pooled = encoder.encode(&prompts, &pooling).unwrap();
        for (prompt, pooled) in pooled.iter().enumerate() {
            let names = [1, 4, 8].into_iter().flat_map(|layer| [(layer, "mean"), (layer, "last")]);
            for (found, (layer, kind)) in pooled.chunks(576).zip(names) {
                let reference = floats_of(&expected[&format!("{prompt}.{layer}.{kind}")]);
                let cosine = cosine(found, &reference);
                let least = if kind == "last" { 1.0 - 10.0 * (1.0 - least) } else { least };
                assert!(cosine > least, "{precision:?}, prompt {prompt}, layer {layer}, {kind}: {cosine}");
            }
        }
    }
}

#[test]
fn a_prompt_reads_the_same_alone_and_among_others() {
    let (mut weights, _) = open(&Files::Folder(fixtures().join("tiny"))).unwrap();
    for precision in [Precision::Full, Precision::Int8] {
        let encoder = Encoder::load(&mut weights, &setup(precision)).unwrap();
        let prompts: [&[u32]; 3] = [&[5], &[7, 8, 9, 10, 11, 12, 13], &[1, 2, 3]];
        let pooling = Pooling { layers: vec![0, 2], mean: true, last: true };
        let together = encoder.encode(&prompts, &pooling).unwrap();
        for (prompt, together) in prompts.iter().zip(together) {
            let alone = encoder.encode(&[prompt], &pooling).unwrap().remove(0);
            assert!(cosine(&alone, &together) > 0.999_999, "{precision:?}, {prompt:?}");
            assert_eq!(alone.len(), pooling.width(64));
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let (mut weights, _) = open(&Files::Folder(fixtures().join("tiny"))).unwrap();
    let encoder = Encoder::load(&mut weights, &setup(Precision::Auto)).unwrap();
    let told = |prompt: &[u32], layer| encoder.states(&[prompt], &[layer]).unwrap_err().to_string();
    assert!(told(&[], 1).contains("1 to 256 tokens"));
    assert!(told(&[1; 257], 1).contains("1 to 256 tokens"));
    assert!(told(&[300], 1).contains("no token 300"));
    assert!(told(&[1], 3).contains("2 are loaded"));
    let wanted = Setup { device: config::Device::Cuda, ..setup(Precision::Auto) };
    if !candle_core::utils::cuda_is_available() {
        let told = Encoder::load(&mut weights, &wanted).unwrap_err().to_string();
        assert!(told.contains("--features cuda") && told.contains("classifier.device"), "{told}");
    }
}

#[test]
fn words_that_the_model_was_never_given_are_passed_over_and_control_tokens_are_text() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join("tiny")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let added = |id: u32, content: &str, special: bool| {
        serde_json::json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special })
    };
    json["added_tokens"] = serde_json::json!([added(0, "<|begin|>", true), added(259, "[PAD]", false)]);
    std::fs::write(&file, json.to_string()).unwrap();
    let name = folder.path().display().to_string();
    let model =
        Model::load(&config::Classifier { model: name, threads: 1, ..config::Classifier::default() }).unwrap();
    let states = model.encode_batch(&["the [PAD]", "the ", "[PAD]"], &Pooling::mean_of(2)).unwrap();
    assert_eq!(states[0], states[1]);
    assert!(model.count_tokens("<|begin|>").unwrap() > 3);
}

#[test]
fn training_and_serving_make_the_same_features() {
    let settings = config::Classifier { threads: 1, ..config::Classifier::default() };
    let model = Model::load(&settings).unwrap();
    let pooling = Pooling::mean_of(4);
    let texts = ["What is a monad?", "Write a function that adds two numbers.", "写一首诗"];
    let batch = model.encode_batch(&texts, &pooling).unwrap();
    for (text, batch) in texts.iter().zip(batch) {
        let alone = model.encode_batch(&[text], &pooling).unwrap().remove(0);
        assert!(cosine(&alone, &batch) > 0.9999, "{text}");
    }
}
