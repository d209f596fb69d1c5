//! Cheap text statistics of a prompt, computed in microseconds without a language model.
//!
//! Far from the training data the encoder's features mislead, while length, digits, code marks and option lists still
//! work. The same numbers feed the task label.
//!
//! One pass over the prompt's bytes counts character classes, a second over its words counts hits in a small word list,
//! a third looks at line starts, and where tools are on offer [`tools`] compares them with the question. Of a long
//! prompt only the first and last [`WINDOW`] bytes are read, so the work is bounded; its true length still counts.

mod tools;
mod words;

use words::{GROUPS, Group, LONGEST_WORD, WORDS};

/// Bytes read at each end of a prompt.
const WINDOW: usize = 2048;

/// No byte of a question that lies further from both its ends has a part in its statistics.
pub fn reach(offers_tools: bool) -> usize {
    // A character is not cut.
    if offers_tools { tools::WINDOW } else { WINDOW + 4 }
}

/// A prompt's question and the tools it offers (a function in JSON on each line; empty = none), where both are one text
/// as in the training data.
pub fn apart(prompt: &str) -> (&str, &str) {
    tools::apart(prompt)
}

/// Names of the statistics, in the order of [`TextStats::values`]; a head's file carries them, so that a head is never
/// given statistics that it was not fitted to. New ones are appended, so that an older head still works with the first
/// ones.
pub const NAMES: [&str; COUNT] = [
    "log_bytes",
    "log_words",
    "log_lines",
    "log_blocks",
    "word_length",
    "digit_share",
    "upper_share",
    "symbol_share",
    "bracket_share",
    "non_ascii_share",
    "han_share",
    "kana_hangul_share",
    "cyrillic_share",
    "arabic_indic_share",
    "latin_accent_share",
    "log_numbers",
    "longest_number",
    "log_questions",
    "ends_in_question",
    "log_options",
    "many_options",
    "log_answer_cues",
    "log_blanks",
    "log_indented",
    "code_fence",
    "log_code_words",
    "log_code_marks",
    "log_tex",
    "log_equations",
    "log_math_words",
    "log_json_marks",
    "tool_schema",
    "log_quotes",
    "wh_word",
    "negation",
    "english_share",
    "log_translate_words",
    "log_writing_words",
    "log_extract_words",
    "log_explain_words",
    "log_story_words",
    "log_law_words",
    "log_medicine_words",
    "log_science_words",
    "log_chat_words",
    "log_person_words",
    tools::NAMES[0],
    tools::NAMES[1],
    tools::NAMES[2],
    tools::NAMES[3],
    tools::NAMES[4],
    tools::NAMES[5],
    tools::NAMES[6],
    tools::NAMES[7],
];

/// Number of statistics.
pub const COUNT: usize = PLAIN + tools::COUNT;

/// Number of statistics that any prompt has; the others are of the tools that a prompt offers.
pub const PLAIN: usize = 46;

/// The statistics of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct TextStats {
    /// In the order of [`NAMES`]; shares in 0..1, counts as `ln(1 + n)`, flags 0 or 1.
    pub values: [f32; COUNT],
}

impl TextStats {
    /// The statistics of `prompt`, which may offer tools behind its question.
    pub fn of(prompt: &str) -> Self {
        let (question, tools) = apart(prompt);
        Self::of_parts(question, tools)
    }

    /// The statistics of a question and the tools it offers, a function as JSON on each line. An agent's tools are the
    /// same in every request, so only the statistics that compare the two look at them.
    pub fn of_parts(question: &str, tools: &str) -> Self {
        let (head, tail) = ends(question);
        let mut counts = Counts::default();
        for part in [head, tail] {
            counts.characters(part);
            counts.words(part);
            counts.lines(part);
        }
        let mut values = [0.0; COUNT];
        values[..PLAIN].copy_from_slice(&counts.values(question, head.len() + tail.len()));
        values[PLAIN..].copy_from_slice(&tools::of(question, tools));
        Self { values }
    }

    /// Whether the prompt offers tools.
    pub fn offers_tools(&self) -> bool {
        self.values[PLAIN] > 0.0
    }

    /// What the tools take from the log-odds of a good answer (or add, below 0), for a head that was never taught what
    /// tools do; 0 without tools.
    pub fn burden_of_tools(&self) -> f32 {
        tools::burden(&self.values[PLAIN..])
    }

    /// A statistic by its name; 0 for a name that does not exist.
    pub fn get(&self, name: &str) -> f32 {
        NAMES.iter().position(|other| *other == name).map_or(0.0, |at| self.values[at])
    }
}

/// The parts of a prompt that are read: all of a short one, both ends of a long one.
fn ends(prompt: &str) -> (&str, &str) {
    if prompt.len() <= 2 * WINDOW {
        return (prompt, "");
    }
    let boundary = |at: usize| (at..prompt.len()).find(|at| prompt.is_char_boundary(*at)).unwrap_or(prompt.len());
    (&prompt[..boundary(WINDOW)], &prompt[boundary(prompt.len() - WINDOW)..])
}

/// At most so many bytes of a text's beginning, whole characters.
pub(super) fn first_bytes(text: &str, bytes: usize) -> &str {
    &text[..(0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)]
}

fn share_of(part: usize, whole: usize) -> f32 {
    part as f32 / whole.max(1) as f32
}

#[derive(Default)]
struct Counts {
    characters: u32,
    letters: u32,
    digits: u32,
    upper: u32,
    symbols: u32,
    brackets: u32,
    non_ascii: u32,
    scripts: [u32; 5],
    numbers: u32,
    longest_number: u32,
    questions: u32,
    blanks: u32,
    code_marks: u32,
    tex: u32,
    equations: u32,
    json_marks: u32,
    quotes: u32,
    words: u32,
    english: u32,
    groups: [u32; GROUPS],
    lines: u32,
    blocks: u32,
    options: u32,
    indented: u32,
    fences: u32,
    answer_cues: u32,
}

impl Counts {
    fn characters(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut run = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let before = if at > 0 { bytes[at - 1] } else { b' ' };
            match byte {
                b'0'..=b'9' => {
                    self.digits += 1;
                    run += 1;
                    self.numbers += u32::from(run == 1);
                    self.longest_number = self.longest_number.max(run);
                    continue;
                }
                b'a'..=b'z' => self.letters += 1,
                b'A'..=b'Z' => {
                    self.letters += 1;
                    self.upper += 1;
                }
                b'?' => self.questions += 1,
                b'_' => self.blanks += u32::from(before == b'_'),
                b'(' | b')' | b'[' | b']' | b'{' | b'}' => {
                    self.brackets += 1;
                    self.tex += u32::from(before == b'\\');
                }
                b';' => self.code_marks += u32::from(bytes.get(at + 1).is_none_or(|next| *next == b'\n')),
                b'=' | b'>' | b'&' | b'|' | b':' if matches!(before, b'=' | b'-' | b'&' | b'|' | b':' | b'!') => {
                    self.code_marks += 1;
                }
                b':' => self.json_marks += u32::from(before == b'"'),
                b'=' | b'+' | b'^' | b'<' | b'>' | b'*' => self.equations += 1,
                b'$' => self.tex += 1,
                b'"' => self.quotes += 1,
                0x80.. => {}
                b if b.is_ascii_punctuation() => self.symbols += 1,
                _ => {}
            }
            // Thousands separators and decimal points do not end a number.
            if !(run > 0 && matches!(byte, b'.' | b',')) {
                run = 0;
            }
        }
        self.characters += bytes.iter().filter(|byte| !(0x80..0xc0).contains(*byte)).count() as u32;
        if !text.is_ascii() {
            text.chars().filter(|c| !c.is_ascii()).for_each(|c| self.foreign(c));
        }
    }

    fn foreign(&mut self, c: char) {
        self.non_ascii += 1;
        let script = match u32::from(c) {
            0x3400..=0x4dbf | 0x4e00..=0x9fff | 0x2_0000..=0x3_ffff => 0,
            0x3040..=0x30ff | 0xac00..=0xd7af | 0x1100..=0x11ff => 1,
            0x0370..=0x052f => 2,
            0x0590..=0x0dff => 3,
            0x00c0..=0x024f => 4,
            _ => return,
        };
        self.scripts[script] += 1;
    }

    fn words(&mut self, text: &str) {
        let list = &*WORDS;
        let mut lower = [0u8; LONGEST_WORD];
        for word in text.as_bytes().split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            self.words += 1;
            if word.len() > LONGEST_WORD {
                continue;
            }
            let lower = &mut lower[..word.len()];
            lower.copy_from_slice(word);
            lower.make_ascii_lowercase();
            match list.get(&*lower) {
                Some(Group::English) => self.english += 1,
                Some(group) => self.groups[*group as usize] += 1,
                None => {}
            }
        }
    }

    fn lines(&mut self, text: &str) {
        let mut empty_before = true;
        for line in text.split('\n') {
            self.lines += 1;
            let trimmed = line.trim_start();
            if trimmed.is_empty() {
                empty_before = true;
                continue;
            }
            self.blocks += u32::from(empty_before);
            empty_before = false;
            self.indented += u32::from(line.len() - trimmed.len() >= 2);
            self.fences += u32::from(trimmed.starts_with("```"));
            self.options += u32::from(is_option(trimmed.as_bytes()));
            self.answer_cues += u32::from(["Answer:", "A:", "答案"].iter().any(|cue| trimmed.starts_with(cue)));
        }
    }

    fn values(&self, prompt: &str, read: usize) -> [f32; PLAIN] {
        let read = read.max(1) as f32;
        let share = |count: u32| count as f32 / read;
        let log = |count: u32| (count as f32).ln_1p();
        let flag = |yes: bool| f32::from(u8::from(yes));
        let group = |group: Group| log(self.groups[group as usize]);
        // Of a long prompt only the ends were counted: counts are scaled up to the whole.
        let whole = (prompt.len() as f32 / read).max(1.0);
        let scaled = |count: u32| (count as f32 * whole).ln_1p();
        let of_characters = |count: u32| count as f32 / self.characters.max(1) as f32;
        [
            (prompt.len() as f32).ln_1p(),
            scaled(self.words),
            scaled(self.lines),
            scaled(self.blocks),
            self.letters as f32 / (self.words.max(1) as f32) / 10.0,
            share(self.digits),
            self.upper as f32 / self.letters.max(1) as f32,
            share(self.symbols),
            share(self.brackets),
            of_characters(self.non_ascii),
            of_characters(self.scripts[0]),
            of_characters(self.scripts[1]),
            of_characters(self.scripts[2]),
            of_characters(self.scripts[3]),
            of_characters(self.scripts[4]),
            log(self.numbers),
            log(self.longest_number),
            log(self.questions),
            flag(prompt.trim_end().ends_with(['?', '？'])),
            log(self.options),
            flag(self.options > 5),
            log(self.answer_cues),
            log(self.blanks),
            log(self.indented),
            flag(self.fences > 0),
            group(Group::Code),
            log(self.code_marks),
            log(self.tex),
            log(self.equations),
            group(Group::Math),
            log(self.json_marks),
            flag(prompt_has_schema(self)),
            log(self.quotes),
            flag(self.groups[Group::Wh as usize] > 0),
            flag(self.groups[Group::Negation as usize] > 0),
            self.english as f32 / self.words.max(1) as f32,
            group(Group::Translate),
            group(Group::Writing),
            group(Group::Extract),
            group(Group::Explain),
            group(Group::Story),
            group(Group::Law),
            group(Group::Medicine),
            group(Group::Science),
            group(Group::Chat),
            group(Group::Person),
        ]
    }
}

/// A function list, as callers of tools put it into a prompt: JSON with the words of a JSON schema.
fn prompt_has_schema(counts: &Counts) -> bool {
    counts.json_marks >= 4 && counts.groups[Group::Schema as usize] >= 3
}

/// Whether a line starts like one of several answers to choose from: `A.`, `B)`, `(C)`, `a)`.
fn is_option(line: &[u8]) -> bool {
    match line {
        [b'(', letter, b')', ..] => letter.is_ascii_alphabetic(),
        [letter, b'.' | b')' | b':', rest @ ..] => {
            letter.is_ascii_alphabetic() && rest.first().is_none_or(u8::is_ascii_whitespace)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
