//! How long the builtin encoder takes to read, by tokens, instructions and layers.
//!
//! `POINTSMAN_BENCH_GGUF=SmolLM2-135M-Instruct.Q4_1.gguf cargo bench --bench encoder` also times candle's own quantised
//! Llama on the first eight layers of that file.

#![allow(clippy::unwrap_used)] // a panic here is the failure report

use std::sync::OnceLock;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::bert;
use candle_transformers::models::quantized_llama::ModelWeights;
use divan::Bencher;
use pointsman::classifier::encoder::{Encoder, Isa, Pooling, Setup};
use pointsman::classifier::open;
use pointsman::classifier::source::Source;
use pointsman::config::{Hub, Precision};

fn main() {
    divan::main();
}

const TOKENS: [usize; 4] = [16, 64, 128, 256];

fn builtin(isa: Isa, precision: Precision, threads: usize) -> Encoder {
    let files = Source::Builtin.fetch(&Hub::default(), &mut ()).unwrap();
    let (mut weights, _) = open(&files).unwrap();
    Encoder::load(&mut weights, &Setup { isa, precision, threads, ..Setup::default() }).unwrap()
}

fn read(bencher: Bencher<'_, '_>, encoder: &Encoder, tokens: usize, layers: usize) {
    let prompt: Vec<u32> = (0..tokens as u32).map(|at| 300 + 37 * at % 20_000).collect();
    let pooling = Pooling::mean_of(layers);
    bencher.bench(|| encoder.encode(&[&prompt], &pooling).unwrap());
}

/// Eight-bit products with the best instructions there are, two threads.
#[divan::bench(args = TOKENS)]
fn int8(bencher: Bencher<'_, '_>, tokens: usize) {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    read(bencher, ENCODER.get_or_init(|| builtin(Isa::detect(), Precision::Int8, 2)), tokens, 8);
}

/// The same on one thread.
#[divan::bench(args = TOKENS)]
fn int8_one_thread(bencher: Bencher<'_, '_>, tokens: usize) {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    read(bencher, ENCODER.get_or_init(|| builtin(Isa::detect(), Precision::Int8, 1)), tokens, 8);
}

/// The same, four layers.
#[divan::bench(args = TOKENS)]
fn int8_four_layers(bencher: Bencher<'_, '_>, tokens: usize) {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    read(bencher, ENCODER.get_or_init(|| builtin(Isa::detect(), Precision::Int8, 2)), tokens, 4);
}

/// As on a processor without AVX-512.
#[divan::bench(args = TOKENS)]
fn int8_avx2(bencher: Bencher<'_, '_>, tokens: usize) {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    read(bencher, ENCODER.get_or_init(|| builtin(Isa::Avx2, Precision::Int8, 2)), tokens, 8);
}

/// Floats, through candle's own operations.
#[divan::bench(args = TOKENS)]
fn full(bencher: Bencher<'_, '_>, tokens: usize) {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    read(bencher, ENCODER.get_or_init(|| builtin(Isa::detect(), Precision::Full, 2)), tokens, 8);
}

/// candle's own quantised Llama: the first eight layers of another file, and the last token's logits, which it cannot
/// leave out.
#[divan::bench(args = TOKENS, sample_count = 5)]
fn stock(bencher: Bencher<'_, '_>, tokens: usize) {
    let Some(path) = std::env::var_os("POINTSMAN_BENCH_GGUF") else { return };
    let mut file = std::fs::File::open(path).unwrap();
    let mut content = Content::read(&mut file).unwrap();
    content.metadata.insert("llama.block_count".into(), Value::U32(8));
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    let prompt: Vec<u32> = (0..tokens as u32).map(|at| 300 + 37 * at % 20_000).collect();
    let prompt = Tensor::new(prompt, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    bencher.bench_local(|| model.forward(&prompt, 0).unwrap());
}

/// A model of MiniLM-L6's shape (what embedding routers use) in candle, floats, on all cores. Its weights are random:
/// they change what it says, not how long it takes.
#[divan::bench(args = TOKENS, sample_count = 5)]
fn minilm(bencher: Bencher<'_, '_>, tokens: usize) {
    let shape =
        bert::Config { hidden_size: 384, num_hidden_layers: 6, intermediate_size: 1536, ..bert::Config::default() };
    let weights = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let model = bert::BertModel::load(weights, &shape).unwrap();
    let prompt: Vec<u32> = (0..tokens as u32).map(|at| 300 + 37 * at % 20_000).collect();
    let prompt = Tensor::new(prompt, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let kinds = prompt.zeros_like().unwrap();
    bencher.bench_local(|| model.forward(&prompt, &kinds, None).unwrap());
}
