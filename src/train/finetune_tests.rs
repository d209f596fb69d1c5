//! Tuning a tiny random Llama: which model does well is told by a letter in the prompt.

use std::path::PathBuf;

use super::*;
use crate::classifier::encoder::Pooling;
use crate::classifier::tune::tests::tiny_file;
use crate::classifier::{Model, open};
use crate::train::dataset::{Limits, read};

/// Prompts of noise; where a `q` stands among them the first model does well, else the second.
fn data(folder: &Path) -> Dataset {
    let mut seed = 9_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for (split, count) in [("train", 96), ("val", 32)] {
        let lines: Vec<String> = (0..count)
            .map(|at| {
                let mut letters: Vec<char> = (0..12).map(|_| char::from(b'a' + (next() % 14) as u8)).collect();
                let marked = at % 2 == 0;
                if marked {
                    letters[2 + next() % 9] = 'q';
                }
                let prompt: String = letters.into_iter().collect();
                let score = |good: bool| serde_json::json!({ "score": u8::from(good) });
                serde_json::json!({
                    "id": format!("{split}{at}"), "source": "made", "prompt": prompt,
                    "outcomes": { "a": score(marked), "b": score(!marked) },
                })
                .to_string()
            })
            .collect();
        std::fs::create_dir_all(folder.join(split)).unwrap();
        std::fs::write(folder.join(split).join("made.jsonl"), lines.join("\n")).unwrap();
    }
    read(folder, Split::Train, Limits::default()).unwrap()
}

fn settings() -> FinetuneSettings {
    FinetuneSettings {
        layers: 2,
        rank: 8,
        rate: 5e-3,
        head_rate: 5e-3,
        decay: 0.0,
        dropout: 0.0,
        tokens: 16,
        batch: 16,
        lot: 64,
        warm_up: 2,
        epochs: 5,
        hidden: 8,
        latent: 4,
        ..FinetuneSettings::default()
    }
}

fn tuned(base: &Path, out: &Path, dataset: &Dataset, settings: &FinetuneSettings) -> Tuned {
    finetune(settings, 2, dataset, &Files::Gguf(base.to_owned()), config::Device::Cpu, out, &()).unwrap()
}

#[test]
fn the_loss_falls_and_what_is_written_serves_with_eight_bits() {
    let folder = tempfile::tempdir().unwrap();
    let base: PathBuf = tiny_file(folder.path());
    let out = folder.path().join("encoder.gguf");
    let dataset = data(&folder.path().join("data"));
    let done = tuned(&base, &out, &dataset, &settings());
    let best = done.val.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best < done.val[0] - 0.02, "{:?}", done.val);
    let again = tuned(&base, &folder.path().join("again.gguf"), &dataset, &settings());
    assert_eq!(done, again, "the same seed gives the same file");

    let load = |path: &Path, precision| {
        let name = path.display().to_string();
        Model::load(&config::Classifier { model: name, precision, threads: 1, max_tokens: 16, ..Default::default() })
    };
    let full = load(&out, config::Precision::Full).unwrap();
    let int8 = load(&out, config::Precision::Int8).unwrap();
    let before = load(&base, config::Precision::Full).unwrap();
    assert_ne!(
        full.info().fingerprint,
        before.info().fingerprint,
        "a head of the base's must not be taken for its own"
    );
    assert_eq!(full.info().fingerprint, int8.info().fingerprint);
    assert_eq!(full.info().layers, 2);
    let states = |model: &Model| model.encode_batch(&["abcqdef", "hello there"], &Pooling::mean_of(2)).unwrap();
    let (float, rounded, old) = (states(&full), states(&int8), states(&before));
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for at in 0..2 {
        assert!(cosine(&float[at], &rounded[at]) > 0.99, "{}", cosine(&float[at], &rounded[at]));
        assert!(cosine(&float[at], &old[at]) < 0.9999, "nothing was learned");
    }
}

#[test]
fn where_nothing_is_gained_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny_file(folder.path());
    let out = folder.path().join("encoder.gguf");
    let dataset = data(&folder.path().join("data"));
    // Steps so wild that the first pass is worse than none.
    let wild = FinetuneSettings { rate: 30.0, epochs: 1, warm_up: 10, ..settings() };
    let done = tuned(&base, &out, &dataset, &wild);
    assert_eq!((done.written, out.exists()), (None, false), "{:?}", done.val);
}

#[test]
fn what_cannot_be_tuned_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("encoder.gguf");
    let dataset = data(&folder.path().join("data"));
    let refused = |base: &Files, read| {
        let cpu = config::Device::Cpu;
        finetune(&settings(), read, &dataset, base, cpu, &out, &Unheard).unwrap_err().to_string()
    };
    let safetensors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/tiny");
    let told = refused(&Files::Folder(safetensors.clone()), 2);
    assert!(told.contains("GGUF") && told.contains(&safetensors.display().to_string()), "{told}");
    let told = refused(&Files::Gguf(tiny_file(folder.path())), 4);
    assert!(told.contains("the encoder has 2") && told.contains("[pooling] layers"), "{told}");
}

/// Hears nothing, because nothing is begun.
struct Unheard;

impl Progress for Unheard {
    fn begin(&self, stage: Stage, _total: u64) {
        panic!("{stage:?} was begun");
    }

    fn at(&self, _done: u64, _note: &str) -> Result<(), Stopped> {
        Err(Stopped)
    }

    fn end(&self) {}
}

#[test]
fn what_was_not_tuned_stays_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny_file(folder.path());
    let out = folder.path().join("encoder.gguf");
    let dataset = data(&folder.path().join("data"));
    let done = tuned(&base, &out, &dataset, &FinetuneSettings { layers: 1, ..settings() });
    assert!(done.written.is_some(), "{:?}", done.val);
    let raw = |path: &Path, name: &str| open(&Files::Gguf(path.to_owned())).unwrap().0.raw(name).unwrap();
    for name in ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight", "blk.1.ffn_norm.weight"] {
        assert_eq!(raw(&base, name), raw(&out, name), "{name}");
    }
    assert_ne!(raw(&base, "blk.1.attn_q.weight"), raw(&out, "blk.1.attn_q.weight"));
}
