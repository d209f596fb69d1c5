//! Statistics of a prompt with tools on offer: how many there are, whether one of them fits the question, and whether
//! several calls are wanted. They help to tell which models call the *right* tool, as often as asked, and none where
//! none fits (on BFCL's val: AUROC .74 with them, .72 without).

use super::share_of;

/// The separator between a question and its tools where a prompt is one text, as in the training data.
const MARK: &str = "\n\nAvailable functions:\n";
/// Bytes in which the mark is looked for, and bytes that are read of a question and of its tools.
pub(super) const WINDOW: usize = 16 << 10;
/// Most tools that are compared with the question.
const MOST: usize = 64;
/// Letters of a word that are compared, so that `retrieve` matches `retrieving`.
const STEM: usize = 6;

/// Number of these statistics.
pub(super) const COUNT: usize = 8;

/// Their names.
pub(super) const NAMES: [&str; COUNT] = [
    "tools_offered",
    "tools_question_words",
    "tools_joined_wishes",
    "tools_best_match",
    "tools_mean_match",
    "tools_parameters",
    "tools_foreign_types",
    "tools_question_numbers",
];

/// Stop words: they say nothing about what is asked for.
const EMPTY: &str =
    "the and for with from this that are you your what how can could please find get given using use value";
/// Words that join several requests.
const JOINING: [&str; 6] = ["and", "then", "also", "both", "each", "respectively"];
/// Types of languages that functions of JSON schemas do not have.
const FOREIGN: [&str; 4] = ["\"any\"", "\"String\"", "\"HashMap\"", "\"ArrayList\""];

type Stem = [u8; STEM];

/// A prompt's question and the tools it offers, a function in JSON on each line; empty where it offers none.
pub(super) fn apart(prompt: &str) -> (&str, &str) {
    match super::first_bytes(prompt, WINDOW).find(MARK) {
        Some(at) => (&prompt[..at], &prompt[at + MARK.len()..]),
        None => (prompt, ""),
    }
}

/// The statistics of a question and its tools, all 0 where there are none. Counts as `ln(1 + n)`, shares in 0..1, flags
/// 0 or 1.
pub(super) fn of(question: &str, tools: &str) -> [f32; COUNT] {
    if tools.is_empty() {
        return [0.0; COUNT];
    }
    let question = super::first_bytes(question, WINDOW);
    let tools = super::first_bytes(tools, WINDOW);
    let asked = stems(question);
    let (mut count, mut best, mut sum) = (0_usize, 0.0_f32, 0.0_f32);
    for tool in tools.lines().take(MOST) {
        let named: Vec<Stem> = {
            let mut all = stems(field(tool, "{\"name\":\""));
            all.extend(stems(field(tool, "\"description\":\"")));
            all.sort_unstable();
            all.dedup();
            all
        };
        let known = named.iter().filter(|stem| asked.binary_search(stem).is_ok()).count();
        let share = share_of(known, named.len());
        count += 1;
        best = best.max(share);
        sum += share;
    }
    let log = |count: usize| (count as f32).ln_1p();
    let words = || question.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let joined = words().filter(|word| JOINING.iter().any(|other| word.eq_ignore_ascii_case(other))).count();
    let numbers = words().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit())).count();
    let parameters = tools.matches("\"type\"").count() as f32 / count.max(1) as f32;
    let foreign = FOREIGN.iter().any(|word| tools.contains(word));
    [
        log(count),
        log(words().count()),
        log(joined),
        best,
        sum / count.max(1) as f32,
        parameters.ln_1p(),
        f32::from(u8::from(foreign)),
        log(numbers),
    ]
}

/// A JSON string behind `key`, up to its first quotation mark.
fn field<'a>(tool: &'a str, key: &str) -> &'a str {
    let behind = tool.find(key).map_or("", |at| &tool[at + key.len()..]);
    behind.split('"').next().unwrap_or_default()
}

/// What a prompt's tools take from the log-odds of a good answer (or add, below 0), by these statistics of it: for a head
/// that was fitted to prompts without tools, to which they say nothing.
///
/// Round numbers in the sense of the Berkeley Function-Calling Leaderboard's categories (Patil and others 2025): several
/// calls at once are harder than a single one, and so are functions with types of Java or JavaScript. A middling prompt
/// is about as hard as one without tools; a short question with one wish is easier. (Measured in `training/RESULTS.md`,
/// "Sources the head has not seen".)
pub(super) fn burden(statistics: &[f32]) -> f32 {
    const SHORT: f32 = 16.0;
    const MIDDLING: f32 = 0.3;
    let of = |name: &str| NAMES.iter().position(|own| *own == name).map_or(0.0, |at| statistics[at]);
    if of("tools_offered") == 0.0 {
        return 0.0;
    }
    let long = (of("tools_question_words") - SHORT.ln_1p()).max(0.0);
    0.3 * long + 0.3 * of("tools_joined_wishes") + 0.6 * of("tools_foreign_types") - MIDDLING
}

/// The beginnings of a text's words, sorted, each once; a capital within a word begins another.
fn stems(text: &str) -> Vec<Stem> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut word: Vec<u8> = Vec::new();
    let mut put = |word: &mut Vec<u8>| {
        if word.len() >= 3 && !EMPTY.split(' ').any(|empty| empty.as_bytes() == word.as_slice()) {
            let mut stem = [0; STEM];
            stem.iter_mut().zip(word.iter()).for_each(|(to, from)| *to = *from);
            all.push(stem);
        }
        word.clear();
    };
    for (at, byte) in bytes.iter().enumerate() {
        let begins = byte.is_ascii_uppercase() && at > 0 && bytes[at - 1].is_ascii_lowercase();
        if begins || !byte.is_ascii_alphabetic() {
            put(&mut word);
        }
        if byte.is_ascii_alphabetic() {
            word.push(byte.to_ascii_lowercase());
        }
    }
    put(&mut word);
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEATHER: &str = r#"{"name":"getWeather","description":"Retrieve the weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}"#;
    const STOCK: &str = r#"{"name":"stock.price","description":"The price of a share","parameters":{"type":"object","properties":{"symbol":{"type":"any"}}}}"#;

    fn get(prompt: &str, name: &str) -> f32 {
        let (question, tools) = apart(prompt);
        of(question, tools)[NAMES.iter().position(|other| *other == name).unwrap()]
    }

    #[test]
    fn a_tool_that_fits_is_told_from_one_that_does_not() {
        let fits = format!("Weather in Rome and in Oslo for 3 days?{MARK}{WEATHER}\n{STOCK}");
        let none = format!("Who wrote Faust?{MARK}{WEATHER}\n{STOCK}");
        assert!(get(&fits, "tools_best_match") > 0.3 && get(&none, "tools_best_match") == 0.0);
        assert!(get(&fits, "tools_mean_match") < get(&fits, "tools_best_match"));
        assert_eq!(get(&fits, "tools_offered"), 2f32.ln_1p());
        assert_eq!(get(&fits, "tools_joined_wishes"), 1f32.ln_1p());
        assert_eq!(get(&fits, "tools_question_numbers"), 1f32.ln_1p());
        assert_eq!(get(&fits, "tools_parameters"), 2f32.ln_1p());
        assert_eq!(get(&fits, "tools_foreign_types"), 1.0);
    }

    #[test]
    fn without_tools_there_is_nothing_to_say() {
        assert_eq!(of("Weather in Rome and in Oslo?", ""), [0.0; COUNT]);
        assert_eq!(apart("Weather in Rome?"), ("Weather in Rome?", ""));
        assert_eq!(apart(MARK), ("", ""));
        assert!(of("", "\n").iter().all(|value| value.is_finite()));
    }

    #[test]
    fn several_wishes_and_foreign_types_are_a_burden() {
        let burden = |prompt: &str| {
            let (question, tools) = apart(prompt);
            burden(&of(question, tools))
        };
        assert_eq!(burden("Weather in Rome and in Oslo?"), 0.0, "it offers none");
        let short = burden(&format!("Weather in Rome?{MARK}{WEATHER}"));
        let joined = burden(&format!("Weather in Rome and also in Oslo?{MARK}{WEATHER}"));
        let long = format!("Weather in Rome and also in Oslo? {}{MARK}{WEATHER}", "I wonder ".repeat(20));
        assert!(short < 0.0 && joined > short + 0.2 && burden(&long) > joined + 0.2);
        assert!(burden(&format!("Price of a share?{MARK}{STOCK}")) > short + 0.5);
    }

    #[test]
    fn capitals_begin_words_and_endings_do_not_count() {
        assert_eq!(stems("retrieveCity"), stems("retrieving a CITY"));
    }
}
