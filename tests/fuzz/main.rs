//! A fuzzer for what strangers send: request bodies, upstream answers, upstream streams.
//!
//! It mutates seeds, and keeps a mutant as a further seed when the codecs said something about it that they had not
//! said before. That is a guess at coverage, not a measurement of it: it needs no nightly compiler and no instrumented
//! build, so it runs with every `cargo test`, for some seconds. `POINTSMAN_FUZZ_SECONDS=3600 cargo test --release
//! --test fuzz` looks longer, `POINTSMAN_FUZZ_SEED=...` elsewhere. A failure prints the input as a Rust byte string.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic here is the failure report

mod checks;
mod seeds;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use checks::Signature;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A kept mutant is not longer than this.
const LONGEST: usize = 16 << 10;

/// Pieces that parsers stumble over.
const DICTIONARY: [&[u8]; 30] = [
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"\"",
    b"{}",
    b"[]",
    b"[[[[[[[[",
    b"\"\\ud800\"",
    b"\\u0000",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"data: ",
    b"data:",
    b"\n\n",
    b"\r\n\r\n",
    b"event: error\n",
    b"[DONE]",
    b"\"type\":\"tool_use\"",
    b"\"type\":\"image\"",
    b"\"content\":null",
    b"\"tool_calls\":[{}]",
    b"\"role\":\"tool\"",
    b"\"role\":\"system\"",
    b"\"stream\":true",
    b"\"index\":4294967295",
    b"\"done\":true",
    b"\"error\":{\"message\":\"x\"}",
    b"\"usage\":{}",
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Fuzzes one target until its time is over.
fn fuzz(name: &str, seeds: &[&str], target: impl Fn(&[u8], usize) -> Signature) {
    let seed = setting("POINTSMAN_FUZZ_SEED", 1);
    let time = Duration::from_secs(setting("POINTSMAN_FUZZ_SECONDS", 3));
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let mut known = HashSet::new();
    let started = Instant::now();
    let mut runs = 0_u64;
    let seeded = corpus.clone();
    for input in &seeded {
        known.insert(run(&target, input, 7));
    }
    while started.elapsed() < time {
        let input = mutant(&corpus, &mut rng);
        let piece = rng.random_range(1..40);
        runs += 1;
        if known.insert(run(&target, &input, piece)) && input.len() <= LONGEST {
            corpus.push(input);
        }
    }
    println!("{name}: {runs} inputs, {} kept, seed {seed}", corpus.len());
    assert!(runs > 100, "hardly anything was tried");
}

fn run(target: &impl Fn(&[u8], usize) -> Signature, input: &[u8], piece: usize) -> Signature {
    match catch_unwind(AssertUnwindSafe(|| target(input, piece))) {
        Ok(signature) => signature,
        Err(panic) => {
            println!("the input: b\"{}\", pieces of {piece}", input.escape_ascii());
            resume_unwind(panic)
        }
    }
}

fn mutant(corpus: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=input.len());
        let end = (at + rng.random_range(0..64)).min(input.len());
        match rng.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = rng.random(),
            2 => drop(input.drain(at..end)),
            3 => {
                let copied = input[at..end].to_vec();
                input.splice(at..at, copied);
            }
            4 => input.truncate(at),
            5 | 6 => {
                let piece = DICTIONARY[rng.random_range(0..DICTIONARY.len())];
                // In place of something, or between.
                let until = if rng.random() { end } else { at };
                input.splice(at..until, piece.iter().copied());
            }
            _ => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}

#[test]
fn requests_of_strangers() {
    fuzz("requests", &seeds::REQUESTS, |input, _| checks::request(input));
}

#[test]
fn answers_of_strangers() {
    fuzz("answers", &seeds::ANSWERS, |input, _| checks::answer(input));
}

#[test]
fn streams_of_strangers() {
    fuzz("streams", &seeds::STREAMS, checks::stream);
}
