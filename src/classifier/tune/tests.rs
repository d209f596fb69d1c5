//! The Llama that learns against the one that serves, and its gradient against slopes.

use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use rand::RngExt;

use super::*;
use crate::classifier::Model;
use crate::classifier::encoder::{Pooling, made_llama};
use crate::config::Precision;

/// A random Llama of two layers in a file of its own: whole blocks of 32, grouped queries, stretched frequencies.
pub(crate) fn tiny_file(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.gguf");
    std::fs::write(&path, made_llama(2).gguf(GgmlDType::F32)).unwrap();
    path
}

fn plan() -> Plan {
    Plan {
        read: 2,
        tuned: 1,
        rank: 3,
        tokens: 16,
        lot: 24,
        statistics: 2,
        hidden: 4,
        latent: 2,
        dropout: 0.0,
        decay: 0.0,
        levels: vec![0.3, -0.2, 0.0],
        seed: 4,
    }
}

fn tuner(folder: &Path, plan: Plan) -> Tuner {
    Tuner::open(&Files::Gguf(tiny_file(folder)), config::Device::Cpu, plan).unwrap()
}

#[test]
fn it_reads_as_serving_does() {
    let folder = tempfile::tempdir().unwrap();
    let tuner = tuner(folder.path(), plan());
    let settings = config::Classifier {
        model: folder.path().join("tiny.gguf").display().to_string(),
        precision: Precision::Full,
        max_tokens: 16,
        threads: 1,
        ..config::Classifier::default()
    };
    let model = Model::load(&settings).unwrap();
    let prompts = ["a", "the cat", "something that is longer than may be read of it, by far"];
    let ids: Vec<Vec<u32>> = prompts.iter().map(|prompt| tuner.tokens(prompt).unwrap()).collect();
    let lots = tuner.lots(ids.iter().map(Vec::len));
    assert_eq!(lots.len(), 2, "two short ones together, padded, and the long one alone: {lots:?}");
    let own = tuner.pooled(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let served = model.encode_batch(&prompts, &Pooling::mean_of(1)).unwrap();
    let served_2 = model.encode_batch(&prompts, &Pooling::mean_of(2)).unwrap();
    for (own, served) in own.iter().zip(&served_2) {
        let far = own.iter().zip(served).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{far}");
    }
    let apart = own[1].iter().zip(&served[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 1e-3, "the layers differ, so the comparison means something");
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut tuner = tuner(folder.path(), Plan { tuned: 2, ..plan() });
    // States of a size at which the head hears them.
    tuner.standardise(&[0.0; 64], &[20.0; 64]).unwrap();
    // Away from zero, where a narrow half has no gradient at all.
    let mut rng = StdRng::seed_from_u64(7);
    for variable in tuner.reader.variables() {
        let moved: Vec<f32> = (0..variable.elem_count()).map(|_| rng.random_range(-0.2..0.2)).collect();
        let moved = Tensor::from_vec(moved, variable.shape(), &Device::Cpu).unwrap();
        variable.set(&(variable.as_tensor() + moved).unwrap()).unwrap();
    }
    let ids: Vec<Vec<u32>> =
        ["the cat", "a dog sleeps", "rain"].iter().map(|prompt| tuner.tokens(prompt).unwrap()).collect();
    let outcomes = [vec![(0, 1.0), (2, 0.0)], vec![(1, 0.25)], vec![(0, 0.0), (1, 1.0), (2, 0.5)]];
    let statistics = [0.5, -1.0];
    let batch: Vec<Example<'_>> = ids
        .iter()
        .zip(&outcomes)
        .map(|(ids, outcomes)| Example { ids, pooled: &[], statistics: &statistics, outcomes, weight: 0.7 })
        .collect();
    let (loss, gradient) = tuner.gradient(&batch).unwrap();
    assert!((loss - tuner.loss(&batch).unwrap()).abs() < 1e-5);
    let mut seen = 0;
    for variable in [tuner.reader.variables(), tuner.judge.variables()].concat() {
        let told = gradient.get(&variable).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let values = variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // The steepest direction of each variable, where rounding matters least.
        let at = (0..told.len()).max_by(|a, b| told[*a].abs().total_cmp(&told[*b].abs())).unwrap();
        let loss_at = |step: f32| {
            let mut moved = values.clone();
            moved[at] += step;
            variable.set(&Tensor::from_vec(moved, variable.shape(), &Device::Cpu).unwrap()).unwrap();
            tuner.loss(&batch).unwrap()
        };
        let slope = ((loss_at(1e-2) - loss_at(-1e-2)) / 2e-2) as f32;
        loss_at(0.0);
        assert!((told[at] - slope).abs() < 3e-4 + 0.03 * slope.abs(), "{} is not {slope}", told[at]);
        seen += usize::from(slope.abs() > 1e-3);
    }
    assert!(seen >= 12, "only {seen} slopes were steep enough to say anything");
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::Gguf(tiny_file(folder.path()));
    for plan in [Plan { read: 3, ..plan() }, Plan { tuned: 0, ..plan() }, Plan { tuned: 3, ..plan() }] {
        let error = Tuner::open(&files, config::Device::Cpu, plan).unwrap_err().to_string();
        assert!(error.contains("the encoder has 2"), "{error}");
    }
}
