//! What is read of a prompt, and the rules around a vocabulary.

use std::collections::HashMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{Content, Value, write};

use super::*;
use crate::classifier::open;
use crate::classifier::source::Source;
use crate::config::Hub;

fn builtin() -> Tokenizer {
    let files = Source::Builtin.fetch(&Hub::default(), &mut ()).unwrap();
    open(&files).unwrap().1
}

fn gguf(metadata: HashMap<&str, Value>) -> Content {
    let mut file = Cursor::new(Vec::new());
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    write(&mut file, &metadata, &[]).unwrap();
    file.set_position(0);
    Content::read(&mut file).unwrap()
}

fn texts(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|text| Value::String((*text).into())).collect())
}

#[test]
fn smollm_takes_digits_one_by_one_and_adds_no_space() {
    let tokenizer = builtin();
    let count = |text: &str| tokenizer.ids(text).unwrap().len();
    assert_eq!(count("Hello"), 1, "a space put before it would make another token");
    assert_eq!(count("2024"), 4);
    assert_eq!(count("What is the capital of France?"), 7);
    for text in ["写一首关于秋天的诗", "def f(x):\n        return x", "Пример", "🙂", "\0"] {
        assert!(count(text) > 0, "{text}");
    }
}

#[test]
fn a_long_turn_keeps_its_beginning_and_its_end() {
    let tokenizer = builtin();
    let text = format!("Summarise: {} Thank you.", "word ".repeat(1000));
    let tokens = tokenizer.encode(&Prompt::of_text(&text), 64).unwrap();
    assert!(tokens.truncated);
    assert_eq!(tokens.ids.len(), 64);
    let (begin, end) = (tokenizer.ids("Summarise:").unwrap(), tokenizer.ids(" Thank you.").unwrap());
    assert!(tokens.ids.starts_with(&begin));
    assert!(tokens.ids.ends_with(&end));
}

#[test]
fn texts_longer_than_the_windows_are_cut_alike() {
    let tokenizer = builtin();
    // The same words, once within the window that is tokenised whole and once far beyond it.
    let text = |words: usize| Prompt::of_text(&format!("Begin {} end", "word ".repeat(words)));
    let (short, long) = (tokenizer.encode(&text(60), 32).unwrap(), tokenizer.encode(&text(60_000), 32).unwrap());
    assert_eq!(short.ids, long.ids);
    assert!(short.truncated && long.truncated);
}

#[test]
fn the_question_before_comes_after_the_question_as_far_as_there_is_room() {
    let tokenizer = builtin();
    let tokens = |question: &str, before: &str, most: usize| {
        let prompt = Prompt { question: question.into(), before: before.into(), ..Prompt::default() };
        tokenizer.encode(&prompt, most).unwrap().ids
    };
    let alone = tokens("And in Rust?", "", 64);
    let with = tokens("And in Rust?", "sorted array in Python, please.", 64);
    assert!(with.starts_with(&alone) && with.len() > alone.len() + 5, "{} {}", with.len(), alone.len());
    assert_eq!(tokens("And in Rust?", "sorted array in Python, please.", alone.len() + 2).len(), alone.len() + 2);
}

#[test]
fn an_empty_prompt_still_has_a_token() {
    assert_eq!(builtin().encode(&Prompt::default(), 64).unwrap().ids.len(), 1);
}

#[test]
fn sentence_pieces_merge_by_score_begin_and_fall_back_to_bytes() {
    let tokens = ["<unk>", "<s>", "▁", "a", "b", "ab", "▁ab", "ba", "<0xC3>", "<0xA4>"];
    let scores = [0.0, 0.0, -9.0, -9.0, -9.0, -2.0, -3.0, -1.0, 0.0, 0.0];
    let content = gguf(HashMap::from([
        ("tokenizer.ggml.model", Value::String("llama".into())),
        ("tokenizer.ggml.tokens", texts(&tokens)),
        ("tokenizer.ggml.scores", Value::Array(scores.map(Value::F32).into())),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
    ]));
    let tokenizer = Tokenizer::from_gguf(&content).unwrap();
    let pieces = |text: &str| -> Vec<&str> {
        tokenizer.ids(text).unwrap().into_iter().map(|id| tokens[id as usize]).collect()
    };
    assert_eq!(pieces("ab"), ["▁ab"], "a space is put before");
    assert_eq!(pieces("aba"), ["▁", "a", "ba"], "`ba` scores highest and is merged first");
    assert_eq!(pieces("ä"), ["▁", "<0xC3>", "<0xA4>"]);
    assert_eq!(
        tokenizer.encode(&Prompt::of_text("ab"), 8).unwrap().ids,
        [1, 6],
        "a beginning token unless told otherwise"
    );
}

#[test]
fn unknown_rules_are_refused_by_name() {
    let told = |model: &str, pre: &str| {
        let content = gguf(HashMap::from([
            ("tokenizer.ggml.model", Value::String(model.into())),
            ("tokenizer.ggml.pre", Value::String(pre.into())),
            ("tokenizer.ggml.tokens", texts(&["a", "aa"])),
            ("tokenizer.ggml.merges", texts(&["a a"])),
        ]));
        Tokenizer::from_gguf(&content).unwrap_err().to_string()
    };
    assert!(told("wordpiece", "").contains("wordpiece"));
    assert!(told("gpt2", "tekken").contains("tekken"));
}
