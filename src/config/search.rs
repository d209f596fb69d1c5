//! A rule's search for words and patterns in a text.
//!
//! Lists of words may be long (a company's customers), and so may texts (all that a coding assistant has read), and
//! the worker that searches does nothing else meanwhile. So words are not turned into a pattern, which can take
//! minutes if both are long: an automaton finds all of them in one pass over the text, and each find is then tested
//! for being a whole word.

use std::ops::{Range, RangeInclusive};

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::When;

/// A compiled search.
#[derive(Debug)]
pub struct Search {
    /// The words, in [`caseless`] form.
    words: AhoCorasick,
    patterns: Vec<Regex>,
}

impl Search {
    /// Compiles the keywords and patterns of `when`.
    ///
    /// # Errors
    ///
    /// Each key with an invalid entry, and what is wrong with it.
    pub fn new(when: &When) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let words = words(&when.keywords).map_err(|fault| faults.push(("keywords", fault))).ok();
        let patterns = when.regex.iter().map(|written| pattern(written));
        let patterns = patterns.filter_map(|read| read.map_err(|fault| faults.push(("regex", fault))).ok()).collect();
        words.filter(|_| faults.is_empty()).map(|words| Self { words, patterns }).ok_or(faults)
    }

    /// Whether one of the words is in `text`, whole and in any case, as written or without [unseen](is_unseen) characters.
    pub fn finds_word(&self, text: &str) -> bool {
        let finds = |text: &str| self.words.find_overlapping_iter(text).any(|found| is_whole(text, found.range()));
        let text = caseless(text);
        finds(&text) || seen(&text).is_some_and(|seen| finds(&seen))
    }

    /// Whether one of the patterns matches in `text`, as written or without [unseen](is_unseen) characters.
    pub fn finds_pattern(&self, text: &str) -> bool {
        let finds = |text: &str| self.patterns.iter().any(|pattern| pattern.is_match(text));
        finds(text) || !self.patterns.is_empty() && seen(text).is_some_and(|seen| finds(&seen))
    }
}

/// Characters that nobody sees, some of which stand within words of texts from web pages and documents: the soft
/// hyphen, spaces and joiners of no width, marks of a text's direction, the byte order mark, and what else Unicode has
/// as `Default_Ignorable_Code_Point`.
const UNSEEN: [RangeInclusive<char>; 17] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

fn is_unseen(letter: char) -> bool {
    !letter.is_ascii() && UNSEEN.iter().any(|range| range.contains(&letter))
}

/// A text without [unseen](is_unseen) characters; `None` where it has none.
fn seen(text: &str) -> Option<String> {
    (!text.is_ascii() && text.contains(is_unseen)).then(|| text.replace(is_unseen, ""))
}

fn words(keywords: &[String]) -> Result<AhoCorasick, String> {
    let words: Vec<String> = keywords.iter().map(|word| caseless(word.trim())).collect();
    if words.iter().any(String::is_empty) {
        return Err("an empty word is in every text".into());
    }
    AhoCorasick::new(words).map_err(|error| error.to_string())
}

fn pattern(written: &str) -> Result<Regex, String> {
    Regex::new(written).map_err(|error| {
        let error = error.to_string();
        format!("`{written}`: {}", error.lines().last().unwrap_or_default().trim())
    })
}

/// The text with each letter folded to one form for all cases.
fn caseless(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().map(folded).collect() }
}

/// The letter's form for all cases. A letter that becomes several in another case (`ß`: `SS`) stays as it is.
fn folded(letter: char) -> char {
    fn single(mut letters: impl ExactSizeIterator<Item = char>) -> Option<char> {
        letters.next().filter(|_| letters.len() == 0)
    }
    // `ı` is a letter of its own, although its upper case is that of `i`.
    if letter.is_ascii() || letter == 'ı' {
        return letter.to_ascii_lowercase();
    }
    // By way of the upper case, letters with several lower cases become one: `ſ` and `s`, `ς` and `σ`.
    let upper = single(letter.to_uppercase()).unwrap_or(letter);
    single(upper.to_lowercase()).unwrap_or(upper)
}

/// Whether the find at `range` is a whole word. In scripts without spaces every find counts, and a word that ends in
/// a mark (`C++`) ends there whatever follows. Words inside names count: a word also ends at `_`, and one of letters
/// at a digit. A word also ends at a letter of another script: Korean particles follow without a space, as does
/// everything in Japanese and Chinese.
fn is_whole(text: &str, range: Range<usize>) -> bool {
    let ends = |own: Option<char>, beside: Option<char>| match (own, beside) {
        (Some(own), Some(beside)) if own.is_ascii_alphanumeric() => {
            !(is_letter(beside) || own.is_ascii_digit() && beside.is_ascii_digit())
        }
        _ => true,
    };
    let (before, word, after) = (&text[..range.start], &text[range.clone()], &text[range.end..]);
    !word.is_ascii()
        || (ends(word.chars().next(), before.chars().next_back())
            && ends(word.chars().next_back(), after.chars().next()))
}

/// Whether a word in ASCII would continue with this character: a Latin letter, or an accent that combines with the
/// letter before it.
fn is_letter(beside: char) -> bool {
    const ACCENTS: RangeInclusive<char> = '\u{300}'..='\u{36f}';
    // Greek is the first of the other scripts; beyond lie Latin's further blocks, ligatures and full-width forms.
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

    #[test]
    fn what_nobody_sees_hides_no_word() {
        let when = When {
            keywords: vec!["confidential".into(), "\u{645}\u{6cc}\u{200c}\u{62e}".into()],
            regex: vec![r"(?i)\bproject\s+x\b".into()],
            ..When::default()
        };
        let search = Search::new(&when).unwrap();
        for unseen in UNSEEN.iter().flat_map(|range| [*range.start(), *range.end()]) {
            assert!(search.finds_word(&format!("It is Confi{unseen}den{unseen}tial.")), "{unseen:?}");
            assert!(search.finds_pattern(&format!("Pro{unseen}ject{unseen} X")), "{unseen:?}");
            // It may also stand between words, where no spaces do; but for one that joins accents.
            let between = search.finds_word(&format!("as{unseen}confidential{unseen}as"));
            assert!(between || unseen == '\u{34f}', "{unseen:?}");
        }
        assert!(search.finds_word("\u{645}\u{6cc}\u{200c}\u{62e}"), "a word may need one");
        assert!(!search.finds_word("confi-dential") && !search.finds_pattern("proj x"));
    }
}
