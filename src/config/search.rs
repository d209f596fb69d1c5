//! What a rule looks for in a text, made ready to be found: its words and its patterns.
//!
//! A list of words may be long (the customers of a house), a text, too (all that a coding assistant has read), and
//! the worker that looks serves nobody else meanwhile. So words are not made a pattern, which can take minutes where
//! both are long: an automaton finds all of them in one walk over the text, and each that it finds is then looked at,
//! whether it stands there as a whole.

use std::ops::{Range, RangeInclusive};

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::When;

/// What a rule looks for.
#[derive(Debug)]
pub struct Search {
    /// Its words, [`caseless`].
    words: AhoCorasick,
    patterns: Vec<Regex>,
}

impl Search {
    /// What `when` looks for.
    ///
    /// # Errors
    ///
    /// Every key that says what cannot be looked for, and why that cannot.
    pub fn new(when: &When) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let words = words(&when.keywords).map_err(|fault| faults.push(("keywords", fault))).ok();
        let patterns = when.regex.iter().map(|written| pattern(written));
        let patterns = patterns.filter_map(|read| read.map_err(|fault| faults.push(("regex", fault))).ok()).collect();
        words.filter(|_| faults.is_empty()).map(|words| Self { words, patterns }).ok_or(faults)
    }

    /// Whether one of the words stands in `text`, whole and in any case.
    pub fn finds_word(&self, text: &str) -> bool {
        let text = caseless(text);
        self.words.find_overlapping_iter(&text).any(|found| is_whole(&text, found.range()))
    }

    /// Whether one of the patterns is found in `text`.
    pub fn finds_pattern(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(text))
    }
}

fn words(keywords: &[String]) -> Result<AhoCorasick, String> {
    let words: Vec<String> = keywords.iter().map(|word| caseless(word.trim())).collect();
    if words.iter().any(String::is_empty) {
        return Err("an empty word stands in every text".into());
    }
    AhoCorasick::new(words).map_err(|error| error.to_string())
}

fn pattern(written: &str) -> Result<Regex, String> {
    Regex::new(written).map_err(|error| {
        let error = error.to_string();
        format!("`{written}`: {}", error.lines().last().unwrap_or_default().trim())
    })
}

/// A text with each letter in the form that it shares with its other cases.
fn caseless(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().map(folded).collect() }
}

/// A letter in that form. One that is several in another case (`ß` would be `SS`) stays what it is.
fn folded(letter: char) -> char {
    fn single(mut letters: impl ExactSizeIterator<Item = char>) -> Option<char> {
        letters.next().filter(|_| letters.len() == 0)
    }
    // `ı` is a letter of its own, though its upper case is that of `i`.
    if letter.is_ascii() || letter == 'ı' {
        return letter.to_ascii_lowercase();
    }
    // The way over the upper case brings together what has several lower ones: `ſ` and `s`, `ς` and `σ`.
    let upper = single(letter.to_uppercase()).unwrap_or(letter);
    single(upper.to_lowercase()).unwrap_or(upper)
}

/// Whether what was found at `place` is a word there, and no piece of one. Scripts without spaces know no words, so
/// of them all counts; and a word that ends in a mark (`C++`) ends there whatever follows. Names hold words, too: one
/// of letters also ends at a digit, and every one at `_`. Where a letter of another script touches it, it ends, too: in
/// Korean particles always do, in Japanese and Chinese nothing parts words.
fn is_whole(text: &str, place: Range<usize>) -> bool {
    let ends = |own: Option<char>, beside: Option<char>| match (own, beside) {
        (Some(own), Some(beside)) if own.is_ascii_alphanumeric() => {
            !(is_letter(beside) || own.is_ascii_digit() && beside.is_ascii_digit())
        }
        _ => true,
    };
    let (before, word, after) = (&text[..place.start], &text[place.clone()], &text[place.end..]);
    !word.is_ascii()
        || (ends(word.chars().next(), before.chars().next_back())
            && ends(word.chars().next_back(), after.chars().next()))
}

/// A letter that a word of ASCII may go on with: a Latin one, or an accent that stands behind its letter.
fn is_letter(beside: char) -> bool {
    const ACCENTS: RangeInclusive<char> = '\u{300}'..='\u{36f}';
    // Greek is the first of the others; behind them are Latin's further blocks, its ligatures and its full width.
    const LATIN: [RangeInclusive<char>; 7] = [
        '\0'..='\u{36f}',
        '\u{1d00}'..='\u{1eff}',
        '\u{2c60}'..='\u{2c7f}',
        '\u{a720}'..='\u{a7ff}',
        '\u{ab30}'..='\u{ab6f}',
        '\u{fb00}'..='\u{fb06}',
        '\u{ff21}'..='\u{ff5a}',
    ];
    let latin = || LATIN.iter().any(|block| block.contains(&beside));
    ACCENTS.contains(&beside) || beside.is_alphabetic() && latin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_cannot_be_looked_for_is_told() {
        let when =
            When { keywords: vec!["a".into(), " ".into()], regex: vec!["(".into(), "b".into()], ..When::default() };
        let faults = Search::new(&when).unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["keywords", "regex"]);
        assert!(faults[1].1.starts_with("`(`: error: unclosed group"), "{faults:?}");
    }

    #[test]
    fn letters_are_the_same_in_any_case() {
        for (one, other) in [("Straße", "STRAẞE"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("Kelvin", "\u{212a}elvin"), ("ſo", "SO")]
        {
            assert_eq!(caseless(one), caseless(other));
        }
        for (one, other) in [("ß", "ss"), ("sınır", "sinir"), ("İ", "i")] {
            assert_ne!(caseless(one), caseless(other));
        }
    }
}
