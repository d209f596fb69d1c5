//! The language that a question is asked in.
//!
//! Trigrams (`whatlang`) tell it from some 80 letters on, but take short questions for anything: "Fix this bug please"
//! for Hungarian. Nearly half of the words in a text, though, are the same few hundred of its language. So:
//!
//! 1. What is no prose is left out: code between backticks, names, numbers, formulas, addresses.
//! 2. A script that a single language is written in tells it.
//! 3. Else each word is a point for every language that has it among its commonest, or that writes its special letters
//!    ([`words`]).
//! 4. The guess by trigrams is worth a point or two, the more the longer the text and the clearer the guess.
//! 5. English has a head start among Latin letters, for names and technical terms look like it in any language.
//! 6. Where the best language is hardly ahead of the next, none is named: no rule is better than the wrong one.

mod words;

use whatlang::{Lang, Script};

use words::{LANGUAGES, told_by};

/// Points that the best language must be ahead of the next.
const MARGIN: f32 = 0.3;

/// The language of `text`; `None` where too little tells it.
pub fn read(text: &str) -> Option<Lang> {
    let text = prose(text);
    let guess = whatlang::detect(&text)?;
    if !matches!(guess.script(), Script::Latin | Script::Cyrillic | Script::Arabic | Script::Devanagari) {
        return Some(guess.lang());
    }
    let mut points: Vec<(Lang, f32)> = LANGUAGES.iter().map(|(language, ..)| (*language, 0.0)).collect();
    let mut count = 0;
    for word in words_of(&text.to_lowercase().replace('\u{2019}', "'")) {
        count += 1;
        told_by(word).for_each(|at| points[at].1 += 1.0);
    }
    for (language, points) in &mut points {
        *points += head_start(*language, guess.script(), count);
    }
    let letters = text.chars().filter(|letter| letter.is_alphabetic()).count();
    let clarity = (guess.confidence() as f32).sqrt();
    let guessed = (0.5 + letters as f32 / 40.0).min(2.0) * clarity;
    match points.iter_mut().find(|(language, _)| *language == guess.lang()) {
        Some((_, points)) => *points += guessed,
        // No list has its words, which would be some quarter of the text.
        None => points.push((guess.lang(), guessed.max(count as f32 / 4.0 * clarity))),
    }
    points.sort_by(|one, other| other.1.total_cmp(&one.1));
    (points[0].1 >= points[1].1 + MARGIN).then_some(points[0].0)
}

/// What a language is ahead of others before a text of so many words is read: of those that share a script, one is
/// written far more often. In a longer text, English would show. Languages that have much in common with one that is
/// written far more often (Afrikaans with Dutch, Azerbaijani with Turkish) start behind.
fn head_start(language: Lang, script: Script, words: u32) -> f32 {
    match (language, script) {
        (Lang::Eng, Script::Latin) => 0.7_f32.min(4.0 / words as f32),
        (Lang::Rus, Script::Cyrillic) | (Lang::Hin, Script::Devanagari) => 0.4,
        (Lang::Afr | Lang::Aze | Lang::Cat | Lang::Epo, _) => -0.5,
        _ => 0.0,
    }
}

/// The words of a text; what an apostrophe ends is a word of its own (`l'`).
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    // Marks above and below letters: accents, vowels in Arabic and Hindi.
    let is_mark = |mark: char| matches!(mark, '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{652}' | '\u{900}'..='\u{963}');
    let words = text.split(move |letter: char| !(letter.is_alphabetic() || letter == '\'' || is_mark(letter)));
    words.flat_map(|word| word.split_inclusive('\''))
}

/// The text without what looks the same in all languages; and without Latin letters among more of another script, as
/// names of products are in Chinese.
fn prose(text: &str) -> String {
    let outside = |mark: &str, text: &str| {
        let parts: Vec<&str> = text.split(mark).collect();
        // What is never closed counts as text.
        let last = parts.len() - 1;
        let kept = parts.iter().enumerate().filter(|(at, _)| at % 2 == 0 || *at == last);
        kept.map(|(_, part)| *part).collect::<Vec<_>>().join(" ")
    };
    let is_prose = |chunk: &&str| {
        let inside = chunk.trim_matches(|letter: char| !letter.is_alphanumeric());
        !inside.is_ascii() || inside.bytes().all(|byte| byte.is_ascii_alphabetic() || b"'-,.;:!?\"".contains(&byte))
    };
    let text = outside("`", &outside("```", text));
    let text = text.split_whitespace().filter(is_prose).collect::<Vec<_>>().join(" ");
    // In bytes: a Chinese character says as much as three Latin letters.
    let bytes = |of: fn(char) -> bool| text.chars().filter(|letter| of(*letter)).map(char::len_utf8).sum::<usize>();
    let latin = bytes(|letter| letter.is_ascii_alphabetic());
    let other = bytes(|letter| letter.is_alphabetic() && letter > '\u{36f}');
    if other < latin { text } else { text.replace(|letter: char| letter.is_ascii_alphabetic(), " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<&'static str> {
        read(text).map(|language| language.code())
    }

    #[test]
    fn short_english_is_english() {
        for text in [
            "Hi there, fix my login",
            "Fix this bug please",
            "Write a haiku about rain",
            "Explain monads",
            "Best pizza toppings",
            "Sort a dict by value",
            "Who won the 2014 world cup?",
            "I am a die hard fan of Barcelona.",
            "I need help",
            "Also update README.md and run `cargo test`",
            "Don\u{2019}t use tabs",
        ] {
            assert_eq!(code(text), Some("eng"), "{text}");
        }
    }

    #[test]
    fn short_questions_in_other_languages_are_told() {
        for (language, text) in [
            ("deu", "Wie geht es dir?"),
            ("deu", "Der Login geht nicht mehr"),
            ("deu", "Was kostet ein Brot?"),
            ("fra", "Peux-tu m'aider ?"),
            ("fra", "Pourquoi le ciel est bleu ?"),
            ("spa", "Hola, ¿quién eres?"),
            ("spa", "Necesito ayuda con mi tarea"),
            ("por", "Onde fica Recife?"),
            ("por", "Muito obrigado"),
            ("ita", "Che ore sono?"),
            ("ita", "Dove si trova Siena?"),
            ("nld", "Ik begrijp het niet"),
            ("pol", "Czy możesz mi pomóc?"),
            ("ces", "Proč je nebe modré?"),
            ("ron", "Unde se află Sibiu?"),
            ("swe", "Varför är himlen blå?"),
            ("tur", "Bana yardım eder misin?"),
            ("ind", "Saya tidak mengerti"),
            ("vie", "Bạn khỏe không?"),
            ("rus", "Сколько стоит хлеб?"),
            ("ukr", "Привіт, хто ти?"),
            ("bul", "Здравей, как си?"),
            ("ara", "كيف حالك؟"),
            ("pes", "حال شما چطور است؟"),
            ("hin", "आप कैसे हैं?"),
        ] {
            assert_eq!(code(text), Some(language), "{text}");
        }
    }

    #[test]
    fn a_script_tells_its_language_whatever_names_are_among_it() {
        for (language, text) in [
            ("cmn", "天空为什么是蓝色的?"),
            ("cmn", "如何在Kubernetes里限制内存的使用?"),
            ("jpn", "Pythonでソートする方法を教えてください"),
            ("kor", "Spring Boot 설정을 알려 주세요"),
            ("rus", "Почему Docker Compose не видит мой контейнер?"),
            ("ell", "Τι κάνεις;"),
        ] {
            assert_eq!(code(text), Some(language), "{text}");
        }
        assert_eq!(code("How do you say 你好 in Japanese?"), Some("eng"));
    }

    #[test]
    fn code_does_not_count() {
        let german =
            "Warum geht das nicht?\n```sql\nselect name from users where id in (select id from the_list)\n```";
        assert_eq!(code(german), Some("deu"));
        assert_eq!(code("Don`t do that again, please"), Some("eng"));
        assert_eq!(code("Was macht der Befehl `if it is not in the list then return`?"), Some("deu"));
    }

    #[test]
    fn where_too_little_tells_it_the_language_is_unknown() {
        for text in ["", "42", "https://example.org/la/casa", "```\nlet x = 1;\n```", "Skriv en dikt om havet"] {
            assert_eq!(code(text), None, "{text}");
        }
    }

    #[test]
    fn longer_texts_in_rarer_languages_are_told_by_trigrams() {
        let lithuanian = "Lietuvių kalba yra viena iš seniausių gyvų indoeuropiečių kalbų, kuria kalba apie tris \
                          milijonus žmonių.";
        assert_eq!(code(lithuanian), Some("lit"));
    }
}
